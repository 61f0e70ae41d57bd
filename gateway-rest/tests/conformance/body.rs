//! Cases 29 to 41.

use serde_json::{Value as Json, json};

use crate::world::{World, request};

async fn accepts(cases: &[(&str, Json)]) {
    let world = World::new();
    for (body, expected) in cases {
        let reply = world
            .call_with("POST /v1/everything", body.to_string())
            .await;
        assert_eq!(reply.status, 200, "{body}: {}", reply.text);
        assert_eq!(world.seen().message, *expected, "{body}");
    }
}

async fn refuses(cases: &[(&str, &str)]) {
    let world = World::new();
    for (body, violation) in cases {
        let reply = world
            .call_with("POST /v1/everything", body.to_string())
            .await;
        assert_eq!(reply.status, 400, "{body}: {}", reply.text);
        assert_eq!(reply.violations(), [*violation], "{body}");
    }
    assert_eq!(world.calls(), 0);
}

/// Case 29.
#[tokio::test]
async fn bodies_of_every_kind() {
    let world = World::new();
    for (line, body, expected) in [
        (
            "/v1/everything",
            r#"{"text":"a","child":{"size":1}}"#,
            json!({"text": "a", "child": {"size": 1}}),
        ),
        (
            "/v1/child?text=q&numbers=1",
            r#"{"name":"n"}"#,
            json!({"text": "q", "numbers": [1], "child": {"name": "n"}}),
        ),
        (
            "/v1/numbers?text=q",
            "[1,2]",
            json!({"text": "q", "numbers": [1, 2]}),
        ),
        ("/v1/text", r#""abc""#, json!({"text": "abc"})),
        (
            "/v1/counts",
            r#"{"a":"5","b":6}"#,
            json!({"counts": {"a": "5", "b": "6"}}),
        ),
        (
            "/v1/value",
            r#"[1,"a",null]"#,
            json!({"value": [1.0, "a", null]}),
        ),
        (
            "/v1/everything/p",
            r#"{"flag":true}"#,
            json!({"text": "p", "flag": true}),
        ),
    ] {
        let reply = world.call_with(&format!("POST {line}"), body).await;
        assert_eq!(reply.status, 200, "{line}: {}", reply.text);
        assert_eq!(world.seen().message, expected, "{line}");
    }
    let reply = world
        .call_with("POST /v1/child", r#"{"size":"x","tags":{"a":1}}"#)
        .await;
    assert_eq!(
        reply.violations(),
        ["child.size: INVALID_VALUE", "child.tags[\"a\"]: WRONG_TYPE"]
    );
}

/// Case 30.
#[tokio::test]
async fn a_field_in_path_and_body_must_agree() {
    let world = World::new();
    let line = "POST /v1/everything/same/0";
    assert_eq!(
        world
            .call_with(line, r#"{"text":"same","i32":0}"#)
            .await
            .status,
        200
    );
    assert_eq!(world.call_with(line, r#"{"text":null}"#).await.status, 200);
    for (body, violation) in [
        (r#"{"text":"other"}"#, "text: FIELD_CONFLICT"),
        (r#"{"text":""}"#, "text: FIELD_CONFLICT"),
        (r#"{"i32":1}"#, "i32: FIELD_CONFLICT"),
    ] {
        let reply = world.call_with(line, body).await;
        assert_eq!(reply.status, 400, "{body}");
        assert_eq!(reply.violations(), [violation], "{body}");
    }
}

/// Case 31.
#[tokio::test]
async fn empty_and_unexpected_bodies() {
    let world = World::new();
    for line in [
        "POST /v1/everything",
        "POST /v1/child",
        "POST /v1/shelves/a:stop",
    ] {
        assert_eq!(world.call(line).await.status, 200, "{line}");
    }
    assert_eq!(world.calls(), 3);
    for line in ["GET /v1/everything", "DELETE /v1/shelves/a"] {
        assert_eq!(world.call_with(line, "").await.status, 200, "{line}");
        let reply = world.call_with(line, "{}").await;
        assert_eq!(reply.status, 400, "{line}");
        assert_eq!(reply.detail("ErrorInfo")["reason"], "UNEXPECTED_BODY");
    }
}

/// Cases 32, 34.
#[tokio::test]
async fn text_that_is_not_json() {
    let world = World::new();
    for body in [
        &b"{"[..],
        b"{}EXTRA",
        b"{\"text\":}",
        b"{'text':'a'}",
        b"{text:1}",
        b"{\"text\":\"a\",}",
        b"[1,]",
        b" ",
        b"{\"i32\":01}",
        b"{\"i32\":+1}",
        b"{\"i32\":NaN}",
        b"//\n{}",
        b"\xef\xbb\xbf{}",
        b"{\"text\":\"\xff\"}",
        br#"{"text":"\ud800"}"#,
        br#"{"text":"\udc00\ud800"}"#,
        b"{\"text\":\"a\nb\"}",
        b"{\"text\":\"a\" \"b\"}",
    ] {
        let reply = world.call_with("POST /v1/everything", body.to_vec()).await;
        assert_eq!(reply.status, 400, "{}", String::from_utf8_lossy(body));
        assert_eq!(reply.detail("ErrorInfo")["reason"], "INVALID_JSON");
    }
    refuses(&[
        ("[1]", ": WRONG_TYPE"),
        ("1", ": WRONG_TYPE"),
        ("null", ": WRONG_TYPE"),
        (r#""a""#, ": WRONG_TYPE"),
        (r#"{"text":1}"#, "text: WRONG_TYPE"),
        (r#"{"flag":"true"}"#, "flag: WRONG_TYPE"),
        (r#"{"flag":1}"#, "flag: WRONG_TYPE"),
        (r#"{"i32":true}"#, "i32: WRONG_TYPE"),
        (r#"{"numbers":1}"#, "numbers: WRONG_TYPE"),
        (r#"{"child":[]}"#, "child: WRONG_TYPE"),
        (r#"{"counts":[]}"#, "counts: WRONG_TYPE"),
        (r#"{"color":true}"#, "color: WRONG_TYPE"),
        (r#"{"color":"color_red"}"#, "color: INVALID_VALUE"),
        (r#"{"at":5}"#, "at: WRONG_TYPE"),
        (r#"{"text":"a","text":"a"}"#, "text: DUPLICATE_FIELD"),
        (
            r#"{"maybe_text":"a","maybeText":"a"}"#,
            "maybe_text: DUPLICATE_FIELD",
        ),
        (
            r#"{"counts":{"a":1,"a":1}}"#,
            "counts[\"a\"]: DUPLICATE_FIELD",
        ),
        (
            r#"{"byNumber":{"1":{},"1.0":{}}}"#,
            "by_number[\"1.0\"]: DUPLICATE_FIELD",
        ),
        (
            r#"{"object":{"a":1,"a":1}}"#,
            "object[\"a\"]: DUPLICATE_FIELD",
        ),
        (r#"{"left":"a","right":1}"#, "right: ONEOF_CONFLICT"),
    ])
    .await;
}

/// Case 33, and rule R38: every fault is reported, with its path.
#[tokio::test]
async fn unknown_fields_are_named_with_their_path() {
    refuses(&[
        (r#"{"nope":1}"#, "nope: UNKNOWN_FIELD"),
        (
            r#"{"children":[{},{"nope":1}]}"#,
            "children[1].nope: UNKNOWN_FIELD",
        ),
        (
            r#"{"byNumber":{"5":{"deep":{"nope":1}}}}"#,
            "by_number[\"5\"].deep.nope: UNKNOWN_FIELD",
        ),
        (r#"{"empty":{"nope":1}}"#, "empty.nope: UNKNOWN_FIELD"),
    ])
    .await;
    let many: Vec<String> = (0..20_000).map(|n| format!("\"nope{n}\":1")).collect();
    let reply = World::new()
        .call_with("POST /v1/everything", format!("{{{}}}", many.join(",")))
        .await;
    assert_eq!(
        reply.violations().len(),
        32,
        "a hostile body does not get an answer of its own size"
    );
    let body = r#"{"txt":1,"i32":"x","children":[{"size":1.5}]}"#;
    let reply = World::new().call_with("POST /v1/everything", body).await;
    assert_eq!(
        reply.violations(),
        [
            "txt: UNKNOWN_FIELD",
            "i32: INVALID_VALUE",
            "children[0].size: INVALID_VALUE"
        ]
    );
    assert!(
        reply.text.contains("did you mean \\\"text\\\"?"),
        "{}",
        reply.text
    );
}

/// Case 37.
#[tokio::test]
async fn numbers() {
    accepts(&[
        (
            r#"{"i64":"9007199254740993"}"#,
            json!({"i64": "9007199254740993"}),
        ),
        (
            r#"{"i64":9007199254740993}"#,
            json!({"i64": "9007199254740993"}),
        ),
        (
            r#"{"i64":-9223372036854775808}"#,
            json!({"i64": i64::MIN.to_string()}),
        ),
        (
            r#"{"u64":18446744073709551615}"#,
            json!({"u64": u64::MAX.to_string()}),
        ),
        (
            r#"{"i32":1e3,"u32":1.0,"s32":"-2e1"}"#,
            json!({"i32": 1000, "u32": 1, "s32": -20}),
        ),
        (
            r#"{"wide":"1.5","real":1}"#,
            json!({"wide": 1.5, "real": 1.0}),
        ),
        (r#"{"wide":"-Infinity"}"#, json!({"wide": "-Infinity"})),
        (
            r#"{"byNumber":{"-1":{}},"byFlag":{"true":"a"}}"#,
            json!({"byNumber": {"-1": {}}, "byFlag": {"true": "a"}}),
        ),
    ])
    .await;
    refuses(&[
        (r#"{"i32":1.5}"#, "i32: INVALID_VALUE"),
        (r#"{"i32":2147483648}"#, "i32: OUT_OF_RANGE"),
        (r#"{"i64":1e30}"#, "i64: OUT_OF_RANGE"),
        (r#"{"i64":""}"#, "i64: INVALID_VALUE"),
        (r#"{"i64":" 1"}"#, "i64: INVALID_VALUE"),
        (r#"{"real":1e39}"#, "real: OUT_OF_RANGE"),
        (r#"{"wide":1e400}"#, "wide: OUT_OF_RANGE"),
        (
            r#"{"byNumber":{"x":{}}}"#,
            "by_number[\"x\"]: INVALID_VALUE",
        ),
        (r#"{"byFlag":{"1":"a"}}"#, "by_flag[\"1\"]: WRONG_TYPE"),
    ])
    .await;
    let reply = World::new()
        .call_with("POST /v1/everything", r#"{"i64":5,"wide":1}"#)
        .await;
    assert!(reply.text.contains("\"i64\":\"5\""), "{}", reply.text);
    assert!(reply.text.contains("\"wide\":1,"), "{}", reply.text);
}

/// Case 38.
#[tokio::test]
async fn null() {
    accepts(&[
        (
            r#"{"text":null,"child":null,"numbers":null,"counts":null,"at":null,"maybe":null}"#,
            json!({}),
        ),
        (
            r#"{"wrappedText":null,"any":null,"object":null,"list":null}"#,
            json!({}),
        ),
        (r#"{"value":null}"#, json!({"value": null})),
        (r#"{"object":{"a":null}}"#, json!({"object": {"a": null}})),
        (r#"{"list":[null]}"#, json!({"list": [null]})),
        (r#"{"left":null,"right":1}"#, json!({"right": 1})),
        (r#"{"nothing":null}"#, json!({})),
        (r#"{"nothing":"NULL_VALUE"}"#, json!({})),
    ])
    .await;
    refuses(&[
        (r#"{"numbers":[1,null]}"#, "numbers[1]: WRONG_TYPE"),
        (r#"{"children":[null]}"#, "children[0]: WRONG_TYPE"),
        (r#"{"counts":{"a":null}}"#, "counts[\"a\"]: WRONG_TYPE"),
    ])
    .await;
}

/// Case 39.
#[tokio::test]
async fn dynamic_types() {
    let duration = "type.googleapis.com/google.protobuf.Duration";
    let child = "type.googleapis.com/echo.v1.Everything.Child";
    let cases = [
        json!({"any": {"@type": duration, "value": "1.500s"}}),
        json!({"any": {"@type": child, "name": "a", "size": 2}}),
        json!({"any": {"@type": "type.googleapis.com/google.protobuf.Any", "value": {"@type": child, "name": "b"}}}),
        json!({"any": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"a": [null, {"b": 1.5}]}}}),
        json!({"any": {"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}}),
        json!({"object": {"a": [1.5, {"b": true}, "c", null]}}),
        json!({"list": [1.5, [], {}]}),
        json!({"value": {"a": "b"}}),
        json!({"empty": {}}),
    ];
    let world = World::new();
    for case in cases {
        let reply = world
            .call_with("POST /v1/everything", case.to_string())
            .await;
        assert_eq!(reply.status, 200, "{case}: {}", reply.text);
        assert_eq!(world.seen().message, case);
        let (key, value) = case.as_object().unwrap().iter().next().unwrap();
        if key != "any" {
            assert_eq!(reply.json()[key], *value);
        }
    }
    refuses(&[
        (
            r#"{"any":{"@type":"type.googleapis.com/nope.Nope"}}"#,
            "any.@type: INVALID_VALUE",
        ),
        (r#"{"any":{"@type":"nope"}}"#, "any.@type: INVALID_VALUE"),
        (r#"{"any":{"value":"1s"}}"#, "any: INVALID_VALUE"),
        (r#"{"any":{"@type":1}}"#, "any: INVALID_VALUE"),
        (
            r#"{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"x"}}"#,
            "any.value: INVALID_VALUE",
        ),
        (
            r#"{"any":{"@type":"type.googleapis.com/echo.v1.Everything.Child","nope":1}}"#,
            "any.nope: UNKNOWN_FIELD",
        ),
        (r#"{"object":[]}"#, "object: WRONG_TYPE"),
        (r#"{"list":{}}"#, "list: WRONG_TYPE"),
    ])
    .await;
}

/// Case 40.
#[tokio::test]
async fn unknown_enum_numbers_survive() {
    let world = World::new();
    let first = world
        .call_with("POST /v1/everything", r#"{"color":77}"#)
        .await;
    assert_eq!(first.json()["color"], 77);
    let again = world
        .call_with("POST /v1/everything", first.text.clone())
        .await;
    assert_eq!(again.text, first.text);
}

/// Case 41.
#[tokio::test]
async fn content_types() {
    let world = World::new();
    let send = async |types: &[&str], encoding: Option<&str>| {
        let mut request = request("POST /v1/everything", Some("{}".into()));
        request.headers_mut().remove("content-type");
        for text in types {
            request
                .headers_mut()
                .append("content-type", text.parse().unwrap());
        }
        if let Some(encoding) = encoding {
            request
                .headers_mut()
                .insert("content-encoding", encoding.parse().unwrap());
        }
        world.send(request).await.status
    };
    for good in [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        "application/json; charset=UTF-8",
        "application/json; charset=\"utf-8\"",
        "application/json ; foo=bar",
        "application/json;",
    ] {
        assert_eq!(send(&[good], None).await, 200, "{good}");
    }
    for bad in [
        "text/plain",
        "application/xml",
        "application/json; charset=latin1",
        "application/jsonx",
        "",
    ] {
        assert_eq!(send(&[bad], None).await, 415, "{bad}");
    }
    assert_eq!(send(&[], None).await, 415);
    assert_eq!(
        send(&["application/json", "application/json"], None).await,
        415
    );
    assert_eq!(send(&["application/json"], Some("identity")).await, 200);
    for coding in ["br", "deflate", "gzip, gzip", "x"] {
        assert_eq!(
            send(&["application/json"], Some(coding)).await,
            415,
            "{coding}"
        );
    }
    assert_eq!(send(&["application/json"], Some("gzip")).await, 400);
}
