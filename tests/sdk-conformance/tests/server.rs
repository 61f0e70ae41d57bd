//! The scripted server itself: what a browser sends, and what a case must not let pass.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sewa_sdk_conformance::case::{Case, Seen};
use sewa_sdk_conformance::seen;
use sewa_sdk_conformance::server::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GET_WALLET: &str = "sewa.wallet.v1.WalletService/GetWallet";
/// A request without a message in it.
const EMPTY: &[u8] = &[0, 0, 0, 0, 0];

fn case() -> Case {
    serde_json::from_value(json!({
        "case": "x",
        "server": {"methods": {GET_WALLET: [{"reply": {"wallet": {"accountId": "a1"}}}]}},
        "steps": [],
        "expect": {},
    }))
    .expect("a case")
}

/// Posts over HTTP/1.1 as a browser does, and returns headers and body as they came.
async fn post(server: &Server, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.address)
        .await
        .expect("a connection");
    let head = format!(
        "POST /{GET_WALLET} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\naccept: {kind}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    answer
}

fn holds(answer: &[u8], wanted: &[u8]) -> bool {
    answer.windows(wanted.len()).any(|part| part == wanted)
}

#[tokio::test]
async fn grpc_web_is_served_in_binary_and_as_text() {
    let server = Server::start(case().server).await.expect("a server");
    let answer = post(&server, "application/grpc-web+proto", EMPTY).await;
    assert!(
        holds(&answer, b"a1"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(
        holds(&answer, b"grpc-status:0"),
        "{}",
        String::from_utf8_lossy(&answer)
    );

    let text = STANDARD.encode(EMPTY);
    let answer = post(&server, "application/grpc-web-text+proto", text.as_bytes()).await;
    assert!(
        holds(&answer, b"application/grpc-web-text"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert!(
        !holds(&answer, b"grpc-status:0"),
        "the trailers are text as well"
    );
    assert_eq!(server.seen()[GET_WALLET].len(), 2);
}

#[tokio::test]
async fn what_a_case_does_not_expect_is_a_difference() {
    let server = Server::start(case().server).await.expect("a server");
    for _ in 0..2 {
        post(&server, "application/grpc-web+proto", EMPTY).await;
    }
    let seen = server.seen();
    let expect = |expected: serde_json::Value| {
        let expected: Seen = serde_json::from_value(expected).expect("an expectation");
        seen::check(&BTreeMap::from([(GET_WALLET.to_owned(), expected)]), &seen)
    };
    for holds in [
        json!({"attempts": 2}),
        json!({"attempts": 2, "headers": {"host": "x", "authorization": null}}),
        json!({"attempts": 2, "same": ["host"]}),
        json!({"attempts": 2, "requests": [{}, {}]}),
    ] {
        assert!(expect(holds.clone()).is_empty(), "{holds}");
    }
    for fails in [
        json!({"attempts": 1}),
        json!({"attempts": 2, "headers": {"host": "y"}}),
        json!({"attempts": 2, "headers": {"authorization": "Bearer x"}}),
        json!({"attempts": 2, "same": ["idempotency-key"]}),
        json!({"attempts": 2, "different": ["host"]}),
        json!({"attempts": 2, "deadline_ms": {"$min": 1}}),
        json!({"attempts": 2, "requests": [{}]}),
        json!({"attempts": 2, "at_least_ms": 3_600_000}),
        json!({"attempts": 2, "abandoned": 1}),
    ] {
        assert!(!expect(fails.clone()).is_empty(), "{fails}");
    }
    assert!(
        !seen::check(&BTreeMap::new(), &seen).is_empty(),
        "a call nobody expected"
    );
}
