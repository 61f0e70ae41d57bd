//! Cases 42 and 43.

use serde_json::json;

use crate::world::World;

async fn mask_of(query: &str, body: &str) -> String {
    let world = World::new();
    let reply = world
        .call_with(&format!("PATCH /v1/shelves/s1{query}"), body.to_owned())
        .await;
    assert_eq!(reply.status, 200, "{body}: {}", reply.text);
    let seen = world.seen();
    assert_eq!(seen.message["shelf"]["id"], "s1");
    seen.message["updateMask"]
        .as_str()
        .unwrap_or("-")
        .to_owned()
}

/// Case 42.
#[tokio::test]
async fn a_mask_is_derived_from_the_keys() {
    for (body, mask) in [
        (r#"{"displayName":"a"}"#, "displayName"),
        (r#"{"display_name":"a"}"#, "displayName"),
        (
            r#"{"owner":{"name":"a","deep":{"child":{"size":1}}}}"#,
            "owner.name,owner.deep.child.size",
        ),
        (r#"{"owner":{}}"#, "owner"),
        (
            r#"{"notes":{"a":"b"},"extra":{"x":{"y":1}}}"#,
            "notes,extra",
        ),
        (
            r#"{"labels":["a"],"opened":"2024-01-01T00:00:00Z"}"#,
            "labels,opened",
        ),
        (r#"{"labels":[]}"#, "labels"),
        (r#"{"weird-Name":"a"}"#, "oddName"),
        (r#"{"owner":null,"displayName":null}"#, "owner,displayName"),
        (r#"{"id":"s1","displayName":"a"}"#, "displayName"),
        (r#"{}"#, ""),
    ] {
        assert_eq!(mask_of("", body).await, mask, "{body}");
    }
    // No body says nothing, so nothing is derived.
    assert_eq!(mask_of("", "").await, "-");
}

/// Case 43.
#[tokio::test]
async fn an_explicit_mask_wins() {
    for (query, mask) in [
        ("?updateMask=labels", "labels"),
        (
            "?update_mask=displayName,owner.size",
            "displayName,owner.size",
        ),
        ("?update_mask=display_name", "displayName"),
        ("?update_mask=weird-Name", "oddName"),
        ("?update_mask=*", "*"),
    ] {
        assert_eq!(
            mask_of(query, r#"{"displayName":"a"}"#).await,
            mask,
            "{query}"
        );
    }
    let world = World::new();
    let line = "PATCH /v1/shelves/s1?updateMask=labels,displayNmae";
    let reply = world.call_with(line, "{}").await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.violations(), ["update_mask: UNKNOWN_FIELD"]);
    assert!(
        reply.text.contains("did you mean \\\"displayName\\\"?"),
        "{}",
        reply.text
    );
    let reply = world
        .call_with("PATCH /v1/shelves/s1", r#"{"id":"s2"}"#)
        .await;
    assert_eq!(reply.violations(), ["shelf.id: FIELD_CONFLICT"]);
    assert_eq!(world.calls(), 0);
    world
        .call_with("PATCH /v1/shelves/s1?pageSize=3", r#"{"labels":["x"]}"#)
        .await;
    let expected =
        json!({"shelf": {"id": "s1", "labels": ["x"]}, "updateMask": "labels", "pageSize": 3});
    assert_eq!(world.seen().message, expected);
}
