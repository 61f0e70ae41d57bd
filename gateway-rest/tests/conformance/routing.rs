//! Cases 1 to 10. The matcher's own table is beside the matcher; here it is seen through requests.

use serde_json::json;
use sewa_gateway::{BuildError, Gateway, GatewayConfig};

use crate::world::{World, compile, request};

/// Cases 1, 2, 3, 4, 7, 9.
#[tokio::test]
async fn paths_lead_to_fields() {
    let world = World::new();
    for (path, message) in [
        ("/v1/everything/abc", json!({"text": "abc"})),
        ("/v1/multi/a/b/c", json!({"text": "a/b/c"})),
        ("/v1/multi/a/", json!({"text": "a/"})),
        ("/v1/multi", json!({})),
        (
            "/v1/deep/rooms/7/end",
            json!({"child": {"deep": {"text": "rooms/7"}}}),
        ),
        (
            "/v1/number/-5/true/COLOR_BLUE",
            json!({"i32": -5, "flag": true, "color": "COLOR_BLUE"}),
        ),
    ] {
        let reply = world.call(&format!("GET {path}")).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert_eq!(world.seen().message, message, "{path}");
    }
    for path in [
        "/",
        "/v1",
        "/v1/everything/",
        "/v1/everything/a/b/c",
        "/v1//everything",
        "//v1/everything",
        "/v1/deep/halls/7/end",
        "/v1/deep/rooms/7",
        "/V1/everything",
        "/v1/multi/a//b",
    ] {
        let reply = world.call(&format!("GET {path}")).await;
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.json()["error"]["status"], "NOT_FOUND", "{path}");
        assert_eq!(
            reply.detail("ErrorInfo")["reason"],
            "ROUTE_NOT_FOUND",
            "{path}"
        );
        assert!(reply.header("location").is_empty());
    }
}

/// Case 5.
#[test]
fn mistakes_in_annotations_fail_the_build_and_name_the_rpc() {
    let build = |rules: &str| {
        let text = format!(
            "syntax = \"proto3\"; package bad; import \"google/api/annotations.proto\";
             message M {{ string a = 1; repeated string r = 2; map<string, string> m = 3; M c = 4; repeated M l = 5; }}
             service S {{ {rules} }}"
        );
        Gateway::new(compile("bad.proto", Some(&text)), GatewayConfig::default())
    };
    let rpc = |name: &str, rule: &str| {
        format!("rpc {name}(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }}")
    };
    for rule in [
        "get: \"/a/**/*\"",
        "get: \"/a{a=b/**}\"",
        "get: \"/{1}\"",
        "get: \"/a/\"",
        "get: \"/***\"",
        "get: \"/{a}/{a}\"",
        "get: \"/{a={c.a}}\"",
        "get: \"/{r}\"",
        "get: \"/{m}\"",
        "get: \"/{c}\"",
        "get: \"/{l.a}\"",
        "get: \"/{nope}\"",
        "get: \"/{a.a}\"",
        "get: \"\"",
        "body: \"*\"",
        "post: \"/a\" body: \"nope\"",
        "get: \"/a\" response_body: \"nope\"",
        "custom: {kind: \"B AD\" path: \"/a\"}",
    ] {
        let error = build(&rpc("One", rule)).unwrap_err();
        assert!(error.to_string().contains("bad.S.One"), "{rule}: {error}");
    }
    let twice = [
        rpc("One", "get: \"/x/{a}\""),
        rpc("Two", "get: \"/x/{c.a=*}\""),
    ]
    .concat();
    let error = build(&twice).unwrap_err();
    assert!(matches!(error, BuildError::Conflict { .. }));
    assert_eq!(
        error.to_string(),
        "bad.S.Two and bad.S.One both bind GET /x/{c.a=*}"
    );
}

/// Case 6.
#[tokio::test]
async fn verbs_are_parts_of_the_route() {
    let world = World::new();
    for (path, rpc) in [
        ("x:stop", "Stop"),
        ("x:start", "Start"),
        ("a:b:stop", "Stop"),
    ] {
        let reply = world.call(&format!("POST /v1/shelves/{path}")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(world.seen().path, format!("/echo.v1.Echo/{rpc}"));
    }
    assert_eq!(world.seen().message, json!({"shelfId": "a:b"}));
    // An empty variable before a verb is no match; what is left are the methods of a shelf named ":stop".
    assert_eq!(
        world.call("POST /v1/shelves/:stop").await.header("allow"),
        "PATCH, DELETE"
    );
    assert_eq!(world.call("POST /v1/shelves/x:other").await.status, 405);
    assert_eq!(world.call("POST /v1/shelves/x%3Astop").await.status, 405);
    let reply = world.call("DELETE /v1/shelves/jason:other").await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.seen().message, json!({"shelfId": "jason:other"}));
}

/// Case 8.
#[tokio::test]
async fn methods() {
    let world = World::new();
    let reply = world.call("PUT /v1/everything").await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS, POST");
    assert_eq!(reply.detail("ErrorInfo")["reason"], "METHOD_NOT_ALLOWED");

    let get = world.call("GET /v1/everything").await;
    let head = world.call("HEAD /v1/everything").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.text, "");
    assert_eq!(head.header("content-length"), get.text.len().to_string());
    assert_eq!(head.header("content-type"), "application/json");

    assert_eq!(world.call("OPTIONS /v1/everything").await.status, 200);
    assert_eq!(world.seen().path, "/echo.v1.Echo/Get");
    assert_eq!(world.call("OPTIONS /v1/clash").await.status, 405);
}

/// Case 10.
#[tokio::test]
async fn method_overrides_are_ignored() {
    let world = World::new();
    let mut post = request("POST /v1/everything", None);
    post.headers_mut()
        .insert("x-http-method-override", "DELETE".parse().unwrap());
    assert_eq!(world.send(post).await.status, 200);
    assert_eq!(world.seen().path, "/echo.v1.Echo/Post");

    let mut form = request("POST /v1/everything", Some("_method=GET".into()));
    let urlencoded = "application/x-www-form-urlencoded".parse().unwrap();
    form.headers_mut().insert("content-type", urlencoded);
    assert_eq!(world.send(form).await.status, 415);
}
