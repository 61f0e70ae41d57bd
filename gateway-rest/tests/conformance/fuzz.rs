//! Random and mutated requests: what goes out is a 200 or a 4xx in the error envelope, never a 500 and never a panic.
//!
//! `PROPTEST_CASES` says how many; `make fuzz` asks for minutes of them. The template parser and the matcher have theirs
//! beside the code, as `never_panics`.

use std::sync::OnceLock;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tonic::body::Body;

use crate::world::{World, request};

/// Well-formed bodies that between them visit every kind of field.
const BODIES: &[&str] = &[
    r#"{"flag":true,"i32":-1,"i64":"-5","u64":"18446744073709551615","f64":"1","real":1.25e3,"wide":"-Infinity"}"#,
    r#"{"text":"\u0001\"\\é\ud83d\ude00","blob":"AAEC/w==","color":"COLOR_BLUE","maybe":0}"#,
    r#"{"numbers":[1,2],"words":["",""],"colors":["COLOR_RED",9],"children":[{},{"name":"x"}]}"#,
    r#"{"counts":{"a":"1","":"2"},"byNumber":{"-3":{"size":1}},"byFlag":{"false":"n"}}"#,
    r#"{"branch":{"deep":{"right":0}},"at":"0001-01-01T00:00:00.000001Z","span":"-1.500s","mask":"a,bC.d"}"#,
    r#"{"object":{"a":[null,1.5,"x",{"y":false}]},"value":null,"list":[],"empty":{}}"#,
    r#"{"any":{"@type":"x/google.protobuf.Timestamp","value":"2024-02-29T23:59:59.999999999Z"}}"#,
    r#"{"any":{"@type":"x/echo.v1.Everything.Child","name":"n"},"wrappedI64":"0","wrappedBlob":"AA=="}"#,
];

/// Queries of every kind of field a query can hold.
const QUERIES: &[&str] = &[
    "i32=-2147483648&i64=9223372036854775807&f64=NaN",
    "text=a+b%20c&maybeText=&blob=_-8%3D",
    "words=a&words=b&colors=COLOR_RED&colors=9",
    "at=2024-02-29T23:59:59.5%2B07:00&span=3.000000001s&mask=a,b.c",
    "child.deep.child.text=x&child.name=y",
    "wrappedI64=5&wrappedText=&flag=true&&=",
];

/// One change of a text: what is replaced, and by what.
type Change = (Index, usize, Vec<u8>);

/// Bytes that mean something to a parser are likelier than others.
fn changes(meaningful: &'static [&'static str]) -> impl Strategy<Value = Vec<Change>> {
    let insert = prop_oneof![
        4 => select(meaningful).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec((any::<Index>(), 0_usize..6, insert), 0..4)
}

fn changed(text: &str, changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, cut, insert) in changes {
        let start = at.index(bytes.len() + 1);
        let end = (start + cut).min(bytes.len());
        bytes.splice(start..end, insert.iter().copied());
    }
    bytes
}

/// Sends to a gateway that is made once; its backend forgets what it saw.
fn answer(request: Request<Body>) -> (u16, serde_json::Value) {
    static WORLD: OnceLock<World> = OnceLock::new();
    let world = WORLD.get_or_init(World::in_process);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let reply = runtime.block_on(world.send(request));
    world.backend.seen.lock().unwrap().clear();
    (reply.status, reply.json())
}

fn check(request: Request<Body>) -> Result<(), TestCaseError> {
    let (status, json) = answer(request);
    prop_assert!(
        status == 200 || (400..500).contains(&status),
        "{status} {json}"
    );
    if status != 200 {
        prop_assert_eq!(&json["error"]["code"], status);
        let reason = json["error"]["details"][0]["reason"].as_str();
        prop_assert!(reason.is_some_and(|reason| !reason.is_empty()), "{json}");
    }
    Ok(())
}

fn post(body: Vec<u8>) -> Request<Body> {
    let mut request = request("POST /v1/everything", None);
    *request.body_mut() = Body::new(Full::new(Bytes::from(body)));
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("content-type", json);
    request
}

proptest! {
    /// Case 60.
    #[test]
    fn random_paths_and_queries(
        path in "(/v1)?/(everything|multi|number|deep|shelves)?[a-z0-9/%:.*=+~-]{0,12}",
        query in "([a-zA-Z0-9_.%+]{0,8}(=[a-zA-Z0-9_.%+-]{0,6})?&?){0,3}",
    ) {
        let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
        prop_assume!(uri.parse::<http::Uri>().is_ok());
        check(request(&format!("GET {uri}"), None))?;
    }

    /// Case 60.
    #[test]
    fn mutated_queries(
        seed in select(QUERIES),
        changes in changes(&["&", "=", ".", "%", "%2", "%00", "+", "-", "9", "e308", "i32", "child.", "color=", "_"]),
    ) {
        let uri = [b"/v1/everything?", changed(seed, &changes).as_slice()].concat();
        let Ok(uri) = http::Uri::try_from(uri) else { return Ok(()) };
        let mut get = request("GET /", None);
        *get.uri_mut() = uri;
        check(get)?;
    }

    /// Case 60.
    #[test]
    fn random_bodies(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        check(post(body))?;
    }

    /// Case 60.
    #[test]
    fn mutated_bodies(
        seed in select(BODIES),
        changes in changes(&["{", "}", "[", "]", "\"", ":", ",", "null", "-", "1e999", "\\u", "\\ud800", "\"@type\"", "\u{feff}", "0", ".5"]),
    ) {
        check(post(changed(seed, &changes)))?;
    }
}
