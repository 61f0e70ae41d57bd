//! Cases 11 to 15.

use serde_json::json;

use crate::world::World;

const RESERVED: &str = "!#$&'()*+,/:;=?@[]";

fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Cases 11 and 12.
#[tokio::test]
async fn one_segment_decodes_everything_and_many_keep_the_slash() {
    let world = World::new();
    for letter in RESERVED.chars() {
        let escaped = escape(&letter.to_string());
        world.call(&format!("GET /v1/everything/a{escaped}b")).await;
        assert_eq!(world.seen().message, json!({"text": format!("a{letter}b")}));

        world.call(&format!("GET /v1/multi/x/a{escaped}b")).await;
        let kept = if letter == '/' {
            "%2F".to_owned()
        } else {
            letter.to_string()
        };
        assert_eq!(world.seen().message, json!({"text": format!("x/a{kept}b")}));
    }
    world.call("GET /v1/multi/a%2fb").await;
    assert_eq!(world.seen().message, json!({"text": "a%2fb"}));
    // A literal may be escaped without becoming another path.
    assert_eq!(world.call("GET /v1/%65verything").await.status, 200);
}

/// Case 13.
#[tokio::test]
async fn malformed_escapes_are_refused_and_good_ones_decoded_once() {
    let world = World::new();
    for path in [
        "/v1/everything/%",
        "/v1/everything/%2",
        "/v1/everything/%zz",
        "/v1/everything/%ff",
        "/v1/multi/a/%c3%28",
        "/v1/everything?text=%zz",
        "/v1/everything?text=%ff",
        "/v1/everything?%zz=1",
    ] {
        let reply = world.call(&format!("GET {path}")).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.violations()[0].ends_with(": BAD_ESCAPE"), "{path}");
    }
    assert_eq!(world.calls(), 0);
    world.call("GET /v1/everything/%2525").await;
    assert_eq!(world.seen().message, json!({"text": "%25"}));
}

/// Case 14.
#[tokio::test]
async fn plus_is_itself_in_a_path_and_a_space_in_a_query() {
    let world = World::new();
    world.call("GET /v1/everything/a+b?left=c+d%2Be").await;
    assert_eq!(
        world.seen().message,
        json!({"text": "a+b", "left": "c d+e"})
    );
}

/// Case 15.
#[tokio::test]
async fn any_text_survives_path_query_and_body() {
    let world = World::new();
    for text in [
        "two words",
        "\"quoted\" 'too'",
        "100%",
        "naïve 日本 \u{1f600}",
        "tab\tnewline\nnul\0end",
        "\\back/slash",
        "\u{2028}\u{feff}",
        "a&b=c#d?e",
    ] {
        let expected = json!({"text": text});
        let escaped = escape(text);
        let body = expected.to_string();
        for reply in [
            world.call(&format!("GET /v1/everything/{escaped}")).await,
            world
                .call(&format!("GET /v1/everything?text={escaped}"))
                .await,
            world.call_with("POST /v1/everything", body).await,
        ] {
            assert_eq!(reply.status, 200, "{text:?}: {}", reply.text);
            assert_eq!(world.seen().message, expected);
            assert_eq!(reply.json()["text"], text);
        }
    }
}
