//! Cases 16 to 28.

use serde_json::{Value as Json, json};
use sewa_gateway::GatewayConfig;

use crate::world::World;

async fn accepts(cases: &[(&str, Json)]) {
    let world = World::new();
    for (query, expected) in cases {
        let reply = world.call(&format!("GET /v1/everything?{query}")).await;
        assert_eq!(reply.status, 200, "{query}: {}", reply.text);
        assert_eq!(world.seen().message, *expected, "{query}");
    }
}

async fn refuses(cases: &[(&str, &str)]) {
    let world = World::new();
    for (query, violation) in cases {
        let reply = world.call(&format!("GET /v1/everything?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
        assert_eq!(reply.violations(), [*violation], "{query}");
        assert_eq!(reply.json()["error"]["status"], "INVALID_ARGUMENT");
    }
    assert_eq!(world.calls(), 0);
}

/// Case 16.
#[tokio::test]
async fn names() {
    accepts(&[
        ("maybe_text=a", json!({"maybeText": "a"})),
        ("maybeText=a", json!({"maybeText": "a"})),
        (
            "weird-Name=a&child.deep.child.name=b",
            json!({"weird-Name": "a", "child": {"deep": {"child": {"name": "b"}}}}),
        ),
        (
            "child.name=a&child.size=3",
            json!({"child": {"name": "a", "size": 3}}),
        ),
    ])
    .await;
    let world = World::new();
    world.call("GET /v1/clash?beta=first&gamma=second").await;
    assert_eq!(
        world.seen().message,
        json!({"beta": "first", "gamma": "second"})
    );
}

/// Cases 17 and 18.
#[tokio::test]
async fn repeated_keys() {
    accepts(&[
        (
            "numbers=3&numbers=1&numbers=2",
            json!({"numbers": [3, 1, 2]}),
        ),
        ("words=a,b&words=c", json!({"words": ["a,b", "c"]})),
        (
            "colors=COLOR_RED&colors=2",
            json!({"colors": ["COLOR_RED", "COLOR_BLUE"]}),
        ),
    ])
    .await;
    refuses(&[
        ("children=a", "children: UNSUPPORTED"),
        ("children.name=a", "children.name: UNKNOWN_FIELD"),
        ("counts=1", "counts: UNSUPPORTED"),
        ("counts.a=1", "counts.a: UNKNOWN_FIELD"),
        ("times=2024-01-01T00:00:00Z", "times: UNSUPPORTED"),
        ("child=a", "child: UNSUPPORTED"),
        ("text=a&text=b", "text: DUPLICATE_FIELD"),
        ("maybe_text=a&maybeText=a", "maybe_text: DUPLICATE_FIELD"),
    ])
    .await;
}

/// Case 19.
#[tokio::test]
async fn extremes_of_every_scalar() {
    accepts(&[
        ("i32=2147483647", json!({"i32": i32::MAX})),
        ("i32=-2147483648", json!({"i32": i32::MIN})),
        (
            "s32=-2147483648&g32=-2147483648",
            json!({"s32": i32::MIN, "g32": i32::MIN}),
        ),
        (
            "s32=2147483647&g32=2147483647",
            json!({"s32": i32::MAX, "g32": i32::MAX}),
        ),
        ("f32=4294967295&u32=0", json!({"f32": u32::MAX})),
        (
            "s64=9223372036854775807&g64=9223372036854775807",
            json!({"s64": i64::MAX.to_string(), "g64": i64::MAX.to_string()}),
        ),
        (
            "s64=-9223372036854775808&g64=-9223372036854775808",
            json!({"s64": i64::MIN.to_string(), "g64": i64::MIN.to_string()}),
        ),
        (
            "real=3.4028235e38&wide=-1.7976931348623157e308",
            json!({"real": f32::MAX, "wide": f64::MIN}),
        ),
        (
            "real=-3.4028235e38&wide=5e-324",
            json!({"real": f32::MIN, "wide": 5e-324}),
        ),
        ("u32=4294967295", json!({"u32": u32::MAX})),
        (
            "i64=9223372036854775807",
            json!({"i64": i64::MAX.to_string()}),
        ),
        (
            "i64=-9223372036854775808",
            json!({"i64": i64::MIN.to_string()}),
        ),
        (
            "u64=18446744073709551615",
            json!({"u64": u64::MAX.to_string()}),
        ),
        (
            "f64=18446744073709551615",
            json!({"f64": u64::MAX.to_string()}),
        ),
        (
            "wide=NaN&real=-Infinity",
            json!({"wide": "NaN", "real": "-Infinity"}),
        ),
        ("wide=Infinity", json!({"wide": "Infinity"})),
        ("wide=1.7976931348623157e308", json!({"wide": f64::MAX})),
        ("flag=true", json!({"flag": true})),
    ])
    .await;
    refuses(&[
        ("i32=2147483648", "i32: OUT_OF_RANGE"),
        ("i32=9223372036854775807", "i32: OUT_OF_RANGE"),
        ("u32=-1", "u32: OUT_OF_RANGE"),
        ("f32=4294967296", "f32: OUT_OF_RANGE"),
        ("s32=9223372036854775807", "s32: OUT_OF_RANGE"),
        ("g32=-2147483649", "g32: OUT_OF_RANGE"),
        ("s64=9223372036854775808", "s64: OUT_OF_RANGE"),
        ("g64=-9223372036854775809", "g64: OUT_OF_RANGE"),
        ("f64=-1", "f64: OUT_OF_RANGE"),
        ("u64=18446744073709551616", "u64: OUT_OF_RANGE"),
        ("real=1e39", "real: OUT_OF_RANGE"),
        ("wide=1e309", "wide: OUT_OF_RANGE"),
        ("i32=1.5", "i32: INVALID_VALUE"),
        ("i32=abc", "i32: INVALID_VALUE"),
        ("wide=inf", "wide: INVALID_VALUE"),
        ("flag=True", "flag: INVALID_VALUE"),
        ("flag=1", "flag: INVALID_VALUE"),
    ])
    .await;
}

/// Case 20.
#[tokio::test]
async fn bytes_in_both_alphabets() {
    let expected = json!({"blob": "+/8="});
    accepts(&[
        ("blob=%2B/8%3D", expected.clone()),
        ("blob=%2B/8", expected.clone()),
        ("blob=-_8%3D", expected.clone()),
        ("blob=-_8", expected),
    ])
    .await;
    refuses(&[
        ("blob=a", "blob: INVALID_VALUE"),
        ("blob=*", "blob: INVALID_VALUE"),
    ])
    .await;
}

/// Case 21.
#[tokio::test]
async fn well_known_types_as_text() {
    accepts(&[
        (
            "at=2019-03-26T14:00:00.000000001%2B10:00",
            json!({"at": "2019-03-26T04:00:00.000000001Z"}),
        ),
        ("span=3.000000001s", json!({"span": "3.000000001s"})),
        (
            "mask=displayName,owner.size",
            json!({"mask": "displayName,owner.size"}),
        ),
        (
            "wrappedText=&wrappedI64=5&wrappedFlag=false",
            json!({"wrappedText": "", "wrappedI64": "5", "wrappedFlag": false}),
        ),
        ("wrapped_blob=-_8", json!({"wrappedBlob": "+/8="})),
    ])
    .await;
    refuses(&[
        ("at=2024-02-30T00:00:00Z", "at: OUT_OF_RANGE"),
        ("at=10000-01-01T00:00:00Z", "at: INVALID_VALUE"),
        ("at=yesterday", "at: INVALID_VALUE"),
        ("span=400000000000s", "span: OUT_OF_RANGE"),
        ("span=3", "span: INVALID_VALUE"),
        ("wrappedI64=x", "wrapped_i64: INVALID_VALUE"),
    ])
    .await;
}

/// Case 22.
#[tokio::test]
async fn enums() {
    accepts(&[
        ("color=COLOR_RED", json!({"color": "COLOR_RED"})),
        ("color=2", json!({"color": "COLOR_BLUE"})),
        ("color=77", json!({"color": 77})),
    ])
    .await;
    refuses(&[
        ("color=color_red", "color: INVALID_VALUE"),
        ("color=GREEN", "color: INVALID_VALUE"),
    ])
    .await;
    let reply = World::new()
        .call("GET /v1/everything?color=COLOR_REDD")
        .await;
    assert!(
        reply.text.contains("did you mean \\\"COLOR_RED\\\"?"),
        "{}",
        reply.text
    );
}

/// Case 23.
#[tokio::test]
async fn presence() {
    accepts(&[
        ("maybe=0&maybeText=", json!({"maybe": 0, "maybeText": ""})),
        ("i32=0&text=", json!({})),
    ])
    .await;
    let reply = World::new().call("GET /v1/everything?maybe=0").await.json();
    assert_eq!(reply["maybe"], 0);
    assert_eq!(reply.get("maybeText"), None);
}

/// Case 24.
#[tokio::test]
async fn oneofs() {
    refuses(&[
        ("left=a&right=1", "right: ONEOF_CONFLICT"),
        ("left=a&branch.name=b", "branch.name: ONEOF_CONFLICT"),
    ])
    .await;
    accepts(&[
        ("right=0", json!({"right": 0})),
        (
            "branch.name=b&branch.size=1",
            json!({"branch": {"name": "b", "size": 1}}),
        ),
    ])
    .await;
    let reply = World::new().call("GET /v1/branch/x?left=a").await;
    assert_eq!(reply.violations(), ["left: ONEOF_CONFLICT"]);
}

/// Case 25.
#[tokio::test]
async fn unknown_keys() {
    refuses(&[
        ("texts=a", "texts: UNKNOWN_FIELD"),
        ("text.more=a", "text.more: UNKNOWN_FIELD"),
        ("child.nope=a", "child.nope: UNKNOWN_FIELD"),
        ("=a", ": UNKNOWN_FIELD"),
    ])
    .await;
    let reply = World::new().call("GET /v1/everything?texxt=a").await;
    assert!(
        reply.text.contains("did you mean \\\"text\\\"?"),
        "{}",
        reply.text
    );

    let mut config = GatewayConfig::default();
    config.system_query_keys = vec!["key".to_owned()];
    let world = World::with(config);
    assert_eq!(
        world.call("GET /v1/everything?key=1&text=a").await.status,
        200
    );
    assert_eq!(world.seen().message, json!({"text": "a"}));
    assert_eq!(
        world
            .call_with("POST /v1/everything?key=1", "{}")
            .await
            .status,
        200
    );
}

/// Cases 26 and 27.
#[tokio::test]
async fn a_query_cannot_repeat_what_the_body_or_the_path_says() {
    let world = World::new();
    for (line, violation) in [
        ("POST /v1/everything?text=a", "text: UNKNOWN_FIELD"),
        ("POST /v1/child?child.name=a", "child.name: FIELD_CONFLICT"),
        ("GET /v1/everything/a?text=b", "text: FIELD_CONFLICT"),
        ("GET /v1/everything/a?text=a", "text: FIELD_CONFLICT"),
    ] {
        let reply = world.call(line).await;
        assert_eq!(reply.status, 400, "{line}");
        assert_eq!(reply.violations(), [violation], "{line}");
    }
    assert_eq!(world.calls(), 0);
}

/// Case 28.
#[tokio::test]
async fn odd_query_strings() {
    accepts(&[
        ("text=", json!({})),
        ("text", json!({})),
        ("maybeText", json!({"maybeText": ""})),
        ("", json!({})),
        ("&", json!({})),
        ("&&text=a&", json!({"text": "a"})),
        ("text=a=b", json!({"text": "a=b"})),
    ])
    .await;
    refuses(&[
        ("i32=", "i32: INVALID_VALUE"),
        ("flag", "flag: INVALID_VALUE"),
    ])
    .await;
    let deep = "child.deep.".repeat(1000);
    let reply = World::new()
        .call(&format!("GET /v1/everything?{deep}text=a"))
        .await;
    assert_eq!(reply.status, 400);
    assert!(
        reply.violations()[0].ends_with(": UNSUPPORTED"),
        "{}",
        reply.text
    );
    let many = |count: usize| format!("GET /v1/everything?{}", "words=a&".repeat(count));
    let world = World::new();
    assert_eq!(world.call(&many(1000)).await.status, 200);
    let reply = world.call(&many(1001)).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.detail("ErrorInfo")["reason"], "TOO_MANY_QUERY_KEYS");
    assert_eq!(world.call(&many(4_500)).await.status, 431);
}
