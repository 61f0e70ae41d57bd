//! Cases 36 and 44 to 48.

use http_body_util::BodyExt as _;
use serde_json::json;
use sewa_gateway::GatewayConfig;
use tower::ServiceExt as _;

use crate::world::{Script, World, request};

/// Case 36.
#[tokio::test]
async fn chunk_borders_do_not_matter() {
    let world = World::new();
    world.script(Script {
        dribble: true,
        ..Script::default()
    });
    let reply = world
        .call_with("POST /v1/everything", r#"{"text":"dribbled"}"#)
        .await;
    assert_eq!(reply.json()["text"], "dribbled");
}

/// Case 44.
#[tokio::test]
async fn response_body() {
    let world = World::new();
    let answer = json!({
        "name": "n", "labels": ["a", "b"], "shelf": {"id": "i"}, "updateMask": "pageSize",
    });
    world.script(Script {
        messages: Some(vec![answer]),
        ..Script::default()
    });
    let get = async |version: &str| {
        world
            .call(&format!("GET /{version}/shelves/1/books/2"))
            .await
    };
    assert_eq!(get("v1").await.text, "\"n\"");
    assert_eq!(get("v2").await.text, "[\"a\",\"b\"]");
    assert_eq!(get("v3").await.json()["id"], "i");
    assert_eq!(get("v4").await.text, "\"pageSize\"");
    assert_eq!(world.seen().message, json!({"name": "shelves/1/books/2"}));
}

/// Case 45.
#[tokio::test]
async fn empty_is_an_empty_object() {
    let reply = World::new().call("DELETE /v1/shelves/1").await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    assert_eq!(reply.header("content-type"), "application/json");
}

/// Case 46: the whole of a default message, letter by letter.
#[tokio::test]
async fn default_values() {
    let reply = World::new().call_with("POST /v1/everything", "{}").await;
    let expected = concat!(
        r#"{"flag":false,"i32":0,"i64":"0","u32":0,"u64":"0","s32":0,"f64":"0","real":0,"wide":0,"text":"","blob":"","#,
        r#""color":"COLOR_UNSPECIFIED","numbers":[],"words":[],"colors":[],"children":[],"counts":{},"byNumber":{},"#,
        r#""byFlag":{},"nothing":null,"times":[],"weird-Name":"","s64":"0","f32":0,"g32":0,"g64":"0"}"#
    );
    assert_eq!(reply.text, expected);
    let reply = World::new()
        .call_with(
            "POST /v1/everything",
            r#"{"child":{},"maybe":0,"right":0,"wrappedText":"","wrappedWide":"NaN"}"#,
        )
        .await
        .json();
    assert_eq!(reply["child"], json!({"name": "", "size": 0, "tags": {}}));
    assert_eq!(
        (&reply["maybe"], &reply["right"], &reply["wrappedText"]),
        (&json!(0), &json!(0), &json!(""))
    );
    assert_eq!(reply["wrappedWide"], "NaN");
    assert_eq!(reply.get("left"), None);
}

/// Case 47.
#[tokio::test]
async fn raw_bodies() {
    let world = World::new();
    world.script(Script {
        messages: Some(vec![json!({"contentType": "image/png", "data": "iVBO"})]),
        ..Script::default()
    });
    let mut upload = request("PUT /v1/files/cat", Some("raw \u{e9} {".into()));
    upload
        .headers_mut()
        .insert("content-type", "text/plain; charset=x".parse().unwrap());
    let reply = world.send(upload).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "image/png");
    assert_eq!(
        world.seen().message,
        json!({
            "name": "cat", "file": {"contentType": "text/plain; charset=x", "data": "cmF3IMOpIHs="},
        })
    );

    world.script(Script {
        messages: Some(vec![json!({"data": "aGVs"}), json!({"data": "bG8="})]),
        ..Script::default()
    });
    let reply = world.call("GET /v1/download/x").await;
    assert_eq!(reply.text, "hello");
    assert_eq!(reply.header("content-type"), "");

    // A content type that is not one must not become a header.
    world.script(Script {
        messages: Some(vec![json!({"contentType": "a\r\nb", "data": "aGVs"})]),
        ..Script::default()
    });
    assert_eq!(
        world
            .call("GET /v1/download/x")
            .await
            .header("content-type"),
        ""
    );

    world.script(Script {
        messages: Some(vec![json!({"data": "aGVs"})]),
        status: Some(tonic::Status::data_loss("disk")),
        ..Script::default()
    });
    let response = world
        .service
        .clone()
        .oneshot(request("GET /v1/download/x", None))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.into_body().collect().await.is_err());
}

/// Case 48.
#[tokio::test]
async fn metadata_becomes_headers() {
    let mut config = GatewayConfig::default();
    config.denied_response_headers = vec!["x-internal".parse().unwrap()];
    let world = World::with(config);
    let pairs = |list: &[(&'static str, &str)]| {
        list.iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    world.script(Script {
        headers: pairs(&[
            ("x-request-id", "r1"),
            ("idempotency-replayed", "true"),
            ("ratelimit-remaining", "5"),
            ("warnings", "a"),
            ("warnings", "b"),
            ("deprecation", "@1"),
            ("sunset", "x"),
            ("secret-bin", "AAA"),
            ("x-internal", "no"),
            ("connection", "close"),
            ("grpc-encoding", "identity"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ]),
        trailers: pairs(&[("x-cost", "3"), ("more-bin", "AAA")]),
        ..Script::default()
    });
    let reply = world.call("GET /v1/everything").await;
    let mut names: Vec<&str> = reply.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "content-type",
            "deprecation",
            "idempotency-replayed",
            "ratelimit-remaining",
            "sunset",
            "warnings",
            "x-request-id",
        ]
    );
    assert_eq!(reply.headers.get_all("warnings").iter().count(), 2);
    assert!(reply.trailers.is_none());

    let mut asking = request("GET /v1/everything", None);
    asking
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let reply = world.send(asking).await;
    assert_eq!(reply.header("trailer"), "x-cost");
    let trailers = reply.trailers.unwrap();
    assert_eq!(
        (trailers.len(), &trailers["x-cost"]),
        (1, &"3".parse().unwrap())
    );
}
