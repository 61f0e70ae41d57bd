//! Requests that two readers may take for different ones. Whatever a proxy in front made of them, this server answers one request or none, and never what was
//! hidden behind it. [C3]

use std::time::Duration;

use futures_util::future::join_all;
use sewa_tests::patience::PATIENCE;
use sewa_tests::{Settings, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::malformed::{rows, unharmed};
use crate::malformed_wire::h2;

/// The request that is hidden. Alone it is answered, and its connection ends.
const HIDDEN: &str = "GET /v1/plans?pageSize=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
/// One whose connection goes on.
const BEFORE: &str = "GET /v1/plans?pageSize=1 HTTP/1.1\r\nhost: x\r\n\r\n";
/// Silence after which a server that has said something says no more.
const QUIET: Duration = Duration::from_secs(3);

/// Nobody waits half a minute for a body that does not come.
async fn world() -> World {
    World::with(Settings::default().with("REST__BODY_SECONDS", 1)).await
}

/// Everything a server says to bytes on one connection.
async fn said(world: &World, bytes: &[u8]) -> Vec<u8> {
    let address = world.servers[0].address();
    let mut socket = TcpStream::connect(address).await.unwrap();
    // The server may close before all of it was taken.
    let _ = socket.write_all(bytes).await;
    let mut said = Vec::new();
    loop {
        let patience = if said.is_empty() { PATIENCE } else { QUIET };
        match tokio::time::timeout(patience, socket.read_buf(&mut said)).await {
            Ok(Ok(1..)) => {}
            Err(_) if said.is_empty() => panic!("the server neither answers nor hangs up"),
            _ => return said,
        }
    }
}

/// The status of each answer, in order.
async fn statuses(world: &World, text: &str) -> Vec<u16> {
    let said = said(world, text.as_bytes()).await;
    let said = String::from_utf8_lossy(&said).into_owned();
    let answers = said.split("HTTP/1.").skip(1);
    answers.map(|it| it[2..5].parse().unwrap()).collect()
}

/// A write that is refused for want of a key, if it is read as what it is.
fn post(token: &str, framing: &str) -> String {
    format!(
        "POST /v1/wallet/deposits HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{framing}\r\n"
    )
}

#[tokio::test]
async fn one_answer_or_none_to_what_hides_another_request() {
    let world = world().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let token = &budi.tokens.access_token;
    let hidden = HIDDEN.len();
    // What is meant is answered, as often as it is asked.
    assert_eq!(statuses(&world, HIDDEN).await, [200]);
    let three = BEFORE.repeat(2) + HIDDEN;
    assert_eq!(statuses(&world, &three).await, [200; 3]);
    let plain = post(token, "content-length: 2\r\n") + "{}" + HIDDEN;
    assert_eq!(statuses(&world, &plain).await, [400, 200]);

    // A length and chunks, in either order; the length would take the hidden request in, or cut it off from the last chunk.
    let ends = format!("0\r\n\r\n{HIDDEN}");
    let all = ends.len();
    let holds = format!("{hidden:x}\r\n{HIDDEN}\r\n0\r\n\r\n{HIDDEN}");
    for (framing, body) in [
        (
            format!("content-length: {all}\r\ntransfer-encoding: chunked\r\n"),
            &ends,
        ),
        (
            format!("transfer-encoding: chunked\r\ncontent-length: {all}\r\n"),
            &ends,
        ),
        (
            "content-length: 4\r\ntransfer-encoding: chunked\r\n".to_owned(),
            &holds,
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n".to_owned(),
            &holds,
        ),
        ("transfer-encoding:\tchunked\r\n".to_owned(), &ends),
        (
            "Transfer-Encoding: CHUNKED\r\ncontent-length: 0\r\n".to_owned(),
            &ends,
        ),
        (
            "x: y\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n".to_owned(),
            &ends,
        ),
    ] {
        let found = statuses(&world, &(post(token, &framing) + body)).await;
        assert_eq!(found.len(), 1, "{framing}: {found:?}");
        assert!(found[0] >= 400, "{framing}: {found:?}");
    }
    // Framing that nobody should guess at.
    let unclear = [
        "transfer-encoding : chunked",
        " transfer-encoding: chunked",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunkedx",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding: \u{b}chunked",
        "transfer-encoding: \"chunked\"",
        "transfer-encoding:",
        "content-length: 5, 5",
        "content-length: +5",
        "content-length: -5",
        "content-length: 0x5",
        "content-length: 5 5",
        "content-length: 5;",
        "content-length: 5.0",
        "content-length: \u{663}",
        "content-length:",
        "content-length : 5",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 0\r\ncontent-length: 5",
        "content-length: 18446744073709551616",
        "host: y",
        "host: x",
        "x\r\n y: z",
        "x: a\rb: c",
        "x\0: a",
        "x",
        ": x",
    ];
    let cases = unclear.iter().flat_map(|framing| {
        [&ends, &holds].map(|body| (framing, post(token, &format!("{framing}\r\n")) + body))
    });
    let asked = cases.map(|(framing, text)| {
        let world = &world;
        async move { (framing, statuses(world, &text).await) }
    });
    for (framing, found) in join_all(asked).await {
        let refused = found.iter().all(|status| *status >= 400);
        assert!(found.len() <= 1 && refused, "{framing}: {found:?}");
    }
    unharmed(&world, &budi, &before).await;
}

#[tokio::test]
async fn chunks_are_read_in_one_way_only() {
    let world = world().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let head = post(&budi.tokens.access_token, "transfer-encoding: chunked\r\n");
    // What is chunked as it should be ends its connection.
    for good in [
        "2\r\n{}\r\n0\r\n\r\n",
        "1;a=b\r\n{\r\n1 ; c\r\n}\r\n0\r\nx: y\r\n\r\n",
    ] {
        let found = statuses(&world, &format!("{head}{good}{HIDDEN}")).await;
        assert_eq!(found, [400], "{good}");
    }
    let long = "a".repeat(64 << 10);
    let slices = "1;abcdefghij\r\n \r\n".repeat(20_000);
    let trailers = "x: y\r\n".repeat(20_000);
    let bad = [
        "2\n{}\n0\n\n".to_owned(),
        "2\r\n{}\n0\r\n\r\n".to_owned(),
        "2\r\n{}\r\n0\n\n".to_owned(),
        "2\r\n{}0\r\n\r\n".to_owned(),
        "2\r\n{}xx0\r\n\r\n".to_owned(),
        "+2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "-2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "0x2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "2_0\r\n{}\r\n0\r\n\r\n".to_owned(),
        "\r\n{}\r\n0\r\n\r\n".to_owned(),
        ";a\r\n{}\r\n0\r\n\r\n".to_owned(),
        "2;a\nb\r\n{}\r\n0\r\n\r\n".to_owned(),
        "2\r\r\n{}\r\n0\r\n\r\n".to_owned(),
        "10000000000000002\r\n{}\r\n0\r\n\r\n".to_owned(),
        format!("2;{long}\r\n{{}}\r\n0\r\n\r\n"),
        format!("{slices}2\r\n{{}}\r\n0\r\n\r\n"),
        format!("2\r\n{{}}\r\n0\r\nx: {long}{long}\r\n\r\n"),
        format!("2\r\n{{}}\r\n0\r\n{trailers}\r\n"),
    ];
    let asked = bad.iter().map(|bad| {
        let (world, text) = (&world, format!("{head}{bad}{HIDDEN}"));
        async move { (bad, statuses(world, &text).await) }
    });
    for (bad, found) in join_all(asked).await {
        let refused = found.iter().all(|status| *status >= 400);
        let beginning = &bad[..bad.len().min(60)];
        assert!(found.len() <= 1 && refused, "{beginning}: {found:?}");
    }
    // What follows the chunks is no head: neither who calls nor how it is framed can be said there.
    let anonymous = "POST /v1/wallet/deposits HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n";
    let late = format!(
        "2\r\n{{}}\r\n0\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\n\r\n{HIDDEN}",
        budi.tokens.access_token,
        HIDDEN.len()
    );
    assert_eq!(statuses(&world, &format!("{anonymous}{late}")).await, [401]);
    unharmed(&world, &budi, &before).await;
}

#[tokio::test]
async fn who_is_asked_and_in_which_protocol_is_said_once() {
    let world = world().await;
    let get = |rest: &str| format!("GET /v1/plans?pageSize=1 {rest}\r\n\r\n");
    // After one that is answered comes another, but to a client of HTTP/1.0.
    let both: &[u16] = &[200, 200];
    for (text, expected) in [
        (get("HTTP/1.1\r\nhost: x"), both),
        (
            get("HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 0"),
            both,
        ),
        (get("HTTP/1.0"), &[200]),
        (get("HTTP/1.1"), &[400]),
        (get("HTTP/1.1\r\nhost: x\r\nhost: x"), &[400]),
        (get("HTTP/1.1\r\nhost: x\r\nhost: y"), &[400]),
        (get("HTTP/1.0\r\nhost: x\r\nhost: y"), &[400]),
        (get("HTTP/1.0\r\ntransfer-encoding: chunked"), &[400]),
        (get("HTTP/1.1\r\nhost : x"), &[400]),
        (get("HTTP/1.1 \r\nhost: x"), &[400]),
        (get(" HTTP/1.1\r\nhost: x"), &[400]),
        (get("/ HTTP/1.1\r\nhost: x"), &[400]),
        (get("HTTP/1.1\thost: x"), &[400]),
        (get("HTTP/01.1\r\nhost: x"), &[400]),
    ] {
        let found = statuses(&world, &(text.clone() + HIDDEN)).await;
        assert_eq!(found, expected, "{text}");
    }
    // Nobody is taken to HTTP/2 behind the back of a proxy that checks requests of HTTP/1.1.
    let upgrade = "HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA";
    assert_eq!(statuses(&world, &get(upgrade)).await, [200]);
    // Nor is anybody connected elsewhere: what follows is a request to this server like any other.
    let tunnel = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n".to_owned() + HIDDEN;
    assert_eq!(statuses(&world, &tunnel).await, [404, 200]);
    // A greeting of HTTP/2 after a request of HTTP/1.1 is no request.
    let mixed = BEFORE.to_owned() + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN;
    let found = statuses(&world, &mixed).await;
    assert!(
        found.len() <= 2 && found[0] == 200 && found[1..].iter().all(|it| *it >= 400),
        "{found:?}"
    );
}

/// A field of a head of HTTP/2, spelled out.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

#[tokio::test]
async fn heads_of_http_2_hold_nothing_of_http_1() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    let world = world().await;
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &h2(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    // Whether a request was answered with 200, which is 0x88 at the beginning of a head.
    let answered = async |frames: Vec<u8>| {
        let said = said(&world, &[&hello[..], &frames].concat()).await;
        let mut rest = &said[..];
        while let Some((head, more)) = rest.split_first_chunk::<9>() {
            let length =
                usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if head[3] == HEADERS && more.first() == Some(&0x88) {
                return true;
            }
            rest = more.get(length..).unwrap_or_default();
        }
        false
    };
    // `:method: GET`, `:scheme: http` by their places in the static table.
    let path = field(":path", "/v1/plans?pageSize=1");
    let get = |further: &[u8]| [&[0x82, 0x86][..], &path, further].concat();
    let ends = |block: Vec<u8>| h2(HEADERS, 5, 1, &block);
    assert!(answered(ends(get(&[]))).await, "what is meant is answered");
    let bad = [
        ("chunks", get(&field("transfer-encoding", "chunked"))),
        ("connection", get(&field("connection", "close"))),
        ("keep-alive", get(&field("keep-alive", "timeout=5"))),
        ("upgrade", get(&field("upgrade", "h2c"))),
        ("te", get(&field("te", "gzip"))),
        ("a line in a value", get(&field("x", "a\r\nhost: y"))),
        ("a feed in a value", get(&field("x", "a\nhost: y"))),
        ("a NUL in a value", get(&field("x", "a\0b"))),
        ("a line in a name", get(&field("x\r\ny", "a"))),
        ("a colon in a name", get(&field("x:y", "a"))),
        ("a space in a name", get(&field("x y", "a"))),
        ("no name", get(&field("", "a"))),
        ("a second method", get(&field(":method", "POST"))),
        ("a second path", get(&path)),
        (
            "an unknown pseudo field",
            get(&field(":protocol-of-mine", "a")),
        ),
        (
            "a path after a field",
            [&[0x82, 0x86][..], &field("x", "y"), &path].concat(),
        ),
        (
            "a path that goes on",
            [
                &[0x82, 0x86][..],
                &field(":path", "/v1/plans HTTP/1.1\r\nx: y"),
            ]
            .concat(),
        ),
        (
            "a path that is none",
            [&[0x82, 0x86][..], &field(":path", "v1/plans")].concat(),
        ),
        (
            "an empty path",
            [&[0x82, 0x86][..], &field(":path", "")].concat(),
        ),
        ("no scheme", [&[0x82][..], &path].concat()),
        ("a status", get(&field(":status", "200"))),
        (
            "a body that is not there",
            get(&field("content-length", "5")),
        ),
    ];
    let asked = bad.into_iter().map(|(what, block)| {
        let answered = &answered;
        async move { (what, answered(ends(block)).await) }
    });
    for (what, answered) in join_all(asked).await {
        assert!(!answered, "{what}");
    }
    // More or less of a body than its length says.
    for (length, body) in [
        ("1", "{}"),
        ("3", "{}"),
        ("2, 2", "{}"),
        ("+2", "{}"),
        ("2", ""),
    ] {
        let head = [
            &[0x83, 0x86][..],
            &field(":path", "/v1/auth:login"),
            &field("content-type", "application/json"),
            &field("content-length", length),
        ]
        .concat();
        let frames = [h2(HEADERS, 4, 1, &head), h2(DATA, 1, 1, body.as_bytes())].concat();
        assert!(!answered(frames).await, "{length} of {body}");
    }
}
