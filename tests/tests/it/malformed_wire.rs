//! Bytes that are hardly HTTP: connections end, and nothing is done. [C3]

use bytes::{BufMut, BytesMut};
use sewa_tests::World;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::malformed::{rows, unharmed};

/// Sends bytes and reads until the server closes, as it has to: with an answer that is a refusal, or without one.
async fn noise(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(world.servers[0].address())
        .await
        .unwrap();
    // The server may have closed before all of it was taken.
    let _ = socket.write_all(bytes).await;
    let _ = socket.shutdown().await;
    let mut answer = Vec::new();
    let read = socket.read_to_end(&mut answer);
    let _ = sewa_tests::patience::soon("the end of a connection", read).await;
    answer
}

#[tokio::test]
async fn oddities_of_http_1_do_nothing() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let token = &budi.tokens.access_token;
    let post = format!(
        "POST /v1/wallet/deposits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nidempotency-key: odd\r\ncontent-type: application/json\r\n"
    );
    let body = r#"{"amount":{"currencyCode":"IDR","units":"20000"},"method":"METHOD_SANDBOX"}"#;
    let length = body.len();
    for odd in [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /v1/wallet\r\n\r\n".to_owned(),
        "GET /v1/wallet HTTP/3.7\r\nhost: x\r\n\r\n".to_owned(),
        "GET v1/wallet HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "CONNECT sewa:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET http:///v1/wallet HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /v1/wallet HTTP/1.1\r\nhost: x\r\nbad name: 1\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /v1/wallet HTTP/1.1\r\nhost: x\r\nx: a\0b\r\nconnection: close\r\n\r\n".to_owned(),
        "GET /v1/wallet HTTP/1.1\r\nhost: x\r\nx: a\r\n folded\r\nconnection: close\r\n\r\n"
            .to_owned(),
        format!(
            "GET /v1/wallet HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "x: y\r\n".repeat(20_000)
        ),
        format!("{post}content-length: -1\r\n\r\n{body}"),
        format!("{post}content-length: {length}\r\ncontent-length: 1\r\n\r\n{body}"),
        format!("{post}content-length: 99999999999999999999\r\n\r\n{body}"),
        // Broken off: the body is shorter than its length.
        format!("{post}content-length: {}\r\n\r\n{body}", length + 9),
        format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n{body}"),
        format!("{post}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}"),
        format!("{post}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{body}"),
        format!("{post}transfer-encoding: gzip\r\n\r\n{body}"),
        format!("{post}transfer-encoding: chunked, identity\r\n\r\n{body}"),
    ] {
        let answer = noise(&world, odd.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{}: {answer}",
            &odd[..odd.len().min(300)]
        );
    }
    // A length and chunks at once: what smuggles requests past proxies. The chunks would win; here nobody wins.
    unharmed(&world, &budi, &before).await;
}

/// A frame of HTTP/2.
pub(crate) fn h2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.extend_from_slice(payload);
    frame.to_vec()
}

#[tokio::test]
async fn oddities_of_http_2_do_nothing() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST: u8 = 3;
    const SETTINGS: u8 = 4;
    const PUSH: u8 = 5;
    const PING: u8 = 6;
    const WINDOW: u8 = 8;
    const CONTINUATION: u8 = 9;
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &h2(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    // `:method: GET`, `:scheme: http`, `:path: /` by their places in the static table.
    let get = [0x82, 0x86, 0x84];
    let mut rapid = Vec::new();
    for stream in (1..4001).step_by(2) {
        rapid.extend(h2(HEADERS, 5, stream, &get));
        rapid.extend(h2(RST, 0, stream, &[0, 0, 0, 8]));
    }
    let odd: Vec<(&str, Vec<u8>)> = vec![
        ("half a greeting", Vec::new()),
        ("noise", vec![0xff; 64]),
        ("data before a head", h2(DATA, 1, 1, b"hello")),
        ("a head on stream 0", h2(HEADERS, 5, 0, &get)),
        ("a head on an even stream", h2(HEADERS, 5, 2, &get)),
        ("no method", h2(HEADERS, 5, 1, &[0x86, 0x84])),
        (
            "an index beyond the table",
            h2(HEADERS, 5, 1, &[0xff, 0xff, 0xff, 0x7f]),
        ),
        (
            "a string longer than the frame",
            h2(HEADERS, 5, 1, &[0x82, 0x40, 0x7f, 0xff]),
        ),
        (
            "a name in capitals",
            h2(HEADERS, 5, 1, &[0x82, 0x86, 0x84, 0x00, 1, b'X', 1, b'y']),
        ),
        ("a window of nothing", h2(WINDOW, 0, 0, &[0; 4])),
        (
            "a window too great",
            [
                h2(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                h2(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
        ),
        ("settings of a wrong length", h2(SETTINGS, 0, 0, &[1])),
        (
            "a promise from a client",
            h2(PUSH, 4, 1, &[0, 0, 0, 2, 0x82]),
        ),
        (
            "more of a head that never began",
            h2(CONTINUATION, 4, 1, &get),
        ),
        (
            "a head without end",
            [
                h2(HEADERS, 1, 1, &get),
                h2(CONTINUATION, 0, 1, &[0x00, 1, b'a', 1, b'b']).repeat(20_000),
            ]
            .concat(),
        ),
        ("a frame too long", h2(DATA, 0, 1, &vec![0; 20_000])),
        ("a ping of a wrong length", h2(PING, 0, 0, &[1, 2, 3])),
        ("opened and reset, over and over", rapid),
    ];
    for (name, frames) in odd {
        let bytes = if name == "half a greeting" {
            hello[..20].to_vec()
        } else {
            [&hello[..], &frames].concat()
        };
        noise(&world, &bytes).await;
        unharmed(&world, &budi, &before).await;
    }
}
