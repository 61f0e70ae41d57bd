//! More than anybody needs: floods of frames, heads that grow when they are unpacked, bodies that never come. Others are answered meanwhile, and memory stays what
//! it was. [C3 R11]

use std::time::Duration;

use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::patience::{eventually, soon};
use sewa_tests::{Settings, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::malformed_wire::h2;
use crate::shop::{Shop, open};

/// Memory that a server may have more of after a flood, in KiB. A flood that is kept would be ten times as much.
const MORE: u64 = 48 << 10;

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.servers[0].address())
        .await
        .unwrap()
}

/// Sends all of it, without reading a byte, for as long as the server takes it.
async fn pour(mut socket: TcpStream, bytes: Vec<u8>) -> TcpStream {
    let pouring = socket.write_all(&bytes);
    // A server that takes no more, or has hung up, has done what it should.
    let _ = tokio::time::timeout(Duration::from_secs(5), pouring).await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_drown_nobody() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const PRIORITY: u8 = 2;
    const RST: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW: u8 = 8;
    const CONTINUATION: u8 = 9;
    let world = World::new().await;
    let hello = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &h2(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    // `:method: POST`, `:scheme: http`, `:path: /`.
    let post = [0x83, 0x86, 0x84];
    let rapid = |end: bool| -> Vec<u8> {
        let flags = if end { 5 } else { 4 };
        let streams = (1..60_001_u32).step_by(2);
        streams
            .flat_map(|stream| {
                [
                    h2(HEADERS, flags, stream, &post),
                    h2(RST, 0, stream, &[0, 0, 0, 8]),
                ]
                .concat()
            })
            .collect()
    };
    // One field of 4000 bytes put into the table, and then named by a byte, again and again.
    let mut grows = vec![0x40, 1, b'x', 0x7f, 0xa1, 0x1e];
    grows.extend([b'y'; 4000]);
    let grows = [&post[..], &grows, &[0xbe].repeat(12_000)].concat();
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("opened and reset", rapid(false)),
        ("asked and reset", rapid(true)),
        (
            "settings",
            h2(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]).repeat(200_000),
        ),
        ("pings", h2(PING, 0, 0, &[7; 8]).repeat(200_000)),
        (
            "priorities",
            h2(PRIORITY, 0, 1, &[0, 0, 0, 3, 16]).repeat(200_000),
        ),
        (
            "windows",
            [
                h2(HEADERS, 4, 1, &post),
                h2(WINDOW, 0, 1, &[0, 0, 0, 1]).repeat(200_000),
            ]
            .concat(),
        ),
        (
            "data without data",
            [
                h2(HEADERS, 4, 1, &post),
                h2(DATA, 0, 1, &[]).repeat(200_000),
            ]
            .concat(),
        ),
        (
            "a head that goes on",
            [
                h2(HEADERS, 0, 1, &post),
                h2(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b'].repeat(3000)).repeat(500),
            ]
            .concat(),
        ),
        (
            "a head that goes on with nothing",
            [
                h2(HEADERS, 0, 1, &post),
                h2(CONTINUATION, 0, 1, &[]).repeat(200_000),
            ]
            .concat(),
        ),
        (
            "heads that grow",
            (1..201_u32)
                .step_by(2)
                .flat_map(|stream| h2(HEADERS, 4, stream, &grows))
                .collect(),
        ),
    ];
    // What is allocated once is there.
    for _ in 0..50 {
        world.http().http2().get("/v1/plans").await;
    }
    let before = world.servers[0].memory_kib().unwrap();
    for (name, frames) in floods {
        let bytes = [&hello[..], &frames].concat();
        let mut pouring = Vec::new();
        for _ in 0..4 {
            pouring.push(tokio::spawn(pour(connect(&world).await, bytes.clone())));
        }
        let answer = soon("an answer beside a flood", world.http().get("/v1/plans")).await;
        assert_eq!(answer.status.as_u16(), 200, "{name}");
        let mut open = Vec::new();
        for pouring in pouring {
            open.push(pouring.await.unwrap());
        }
        // While they are open: nothing of it is kept.
        let now = world.servers[0].memory_kib().unwrap();
        assert!(
            now < before + MORE,
            "{name}: {before} KiB before, {now} after"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_given_up_before_it_has_grown() {
    use crate::malformed::{KEY, bomb};
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().http2().bearer(&budi.tokens.access_token);
    let bomb = bomb();
    let mut frame = vec![1];
    frame.extend(u32::try_from(bomb.len()).unwrap().to_be_bytes());
    frame.extend(&bomb);
    let send = async |path: &str, headers: &[(&str, &str)], body: Vec<u8>| {
        let sent = http.open(http::Method::POST, path, headers, body.into());
        sent.await.unwrap().status().as_u16()
    };
    let grpc = [
        ("content-type", "application/grpc"),
        ("grpc-encoding", "gzip"),
        KEY,
    ];
    let rest = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        KEY,
    ];
    let deposit = "/sewa.wallet.v1.WalletService/CreateDeposit";
    send(deposit, &grpc, frame.clone()).await;
    let before = world.servers[0].memory_kib().unwrap();
    let all = (0..32).map(|n| {
        let (send, frame, bomb) = (&send, frame.clone(), bomb.clone());
        async move {
            if n % 2 == 0 {
                send(deposit, &grpc, frame).await
            } else {
                send("/v1/wallet/deposits", &rest, bomb).await
            }
        }
    });
    let answers = futures_util::future::join_all(all).await;
    assert!(
        answers.iter().all(|status| [200, 413].contains(status)),
        "{answers:?}"
    );
    let now = world.servers[0].memory_kib().unwrap();
    // Two GiB would have come out of them.
    assert!(now < before + 2 * MORE, "{before} KiB before, {now} after");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_not_waited_for() {
    let world = World::with(Settings::default().with("REST__BODY_SECONDS", 1)).await;
    let budi = world.reseller().await;
    let token = &budi.tokens.access_token;
    // Nobody has to be known to make the server wait.
    for (who, path) in [
        ("", "/v1/auth:login"),
        (token.as_str(), "/v1/wallet/deposits"),
    ] {
        for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
            let mut socket = connect(&world).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {who}\r\nidempotency-key: slow\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            let (mut reads, mut writes) = socket.into_split();
            let dripping = tokio::spawn(async move {
                // A byte now and then, so that no silence is seen.
                while writes
                    .write_all(if framing.starts_with('c') {
                        b" "
                    } else {
                        b"1\r\n \r\n"
                    })
                    .await
                    .is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            let mut answer = vec![0; 12];
            soon("an answer", reads.read_exact(&mut answer))
                .await
                .unwrap();
            assert_eq!(answer, b"HTTP/1.1 408", "{path} {framing}");
            let mut rest = String::new();
            let _ = soon("the end of the connection", reads.read_to_string(&mut rest)).await;
            assert!(rest.contains("BODY_TOO_SLOW"), "{rest}");
            soon("nobody to write to", dripping).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks_that_never_come_keep_no_place_from_those_that_do() {
    let shop = Shop::open(60_000).await;
    let deposit = open(&shop.budi, Method::Tripay, "BRIVA", 50_000).await;
    shop.tripay.move_to(
        &deposit.gateway_reference,
        sewa_payment_simulators::Status::Paid,
    );
    let callback = shop.tripay.callback(&deposit.gateway_reference);
    // On a busy machine it may take as long as the slow ones are waited for, which would show nothing; then it comes again.
    eventually("an answer while the slow ones are still waited for", || async {
        let mut slow = Vec::new();
        for _ in 0..80 {
            let mut socket = connect(&shop.world).await;
            let head = "POST /callbacks/tripay HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
            socket.write_all(head.as_bytes()).await.unwrap();
            slow.push(socket);
        }
        let answer = shop.deliver(&callback).await;
        assert_eq!(answer.0, 200, "{answer:?}");
        let given_up = slow.iter().filter(|socket| {
            let mut byte = [0];
            socket.try_read(&mut byte).is_ok()
        });
        match given_up.count() {
            0 => Ok(()),
            some => Err(some),
        }
    })
    .await;
    assert_eq!(shop.budi.balance().await, (50_000, 0));
}
