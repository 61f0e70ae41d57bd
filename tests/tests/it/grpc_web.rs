//! What a browser does: gRPC-Web in binary over HTTP/1.1, with its preflight. [C2]

use base64::Engine as _;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use prost::Message;
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{EventType, WatchEventsRequest, WatchEventsResponse};
use sewa_sdk::sewa::wallet::v1::{GetDepositRequest, GetWalletRequest, GetWalletResponse};
use sewa_tests::actor::rupiah;
use sewa_tests::patience::soon;
use sewa_tests::{NOBODYS_ID, Settings, World};

const ORIGIN: &str = "https://shop.example.com";
const BINARY: [(&str, &str); 3] = [
    ("content-type", "application/grpc-web+proto"),
    ("x-grpc-web", "1"),
    ("origin", ORIGIN),
];

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

/// The messages of a body, and its trailers, which come as a last frame.
fn frames(mut body: Bytes) -> (Vec<Bytes>, String) {
    let mut messages = Vec::new();
    while body.has_remaining() {
        let (flags, length) = (body.get_u8(), body.get_u32() as usize);
        let frame = body.split_to(length);
        if flags & 0x80 != 0 {
            return (messages, String::from_utf8(frame.to_vec()).unwrap());
        }
        messages.push(frame);
    }
    (messages, String::new())
}

#[tokio::test]
async fn a_browser_calls_and_reads_its_trailers_from_the_body() {
    let world = World::with(Settings::default().with("CORS_ORIGINS", ORIGIN)).await;
    let budi = world.reseller().await;
    budi.deposit(20_000).await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let response = http
        .open(
            Method::POST,
            "/sewa.wallet.v1.WalletService/GetWallet",
            &BINARY,
            frame(&GetWalletRequest::default()),
        )
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, http::Version::HTTP_11)
    );
    assert_eq!(response.headers()["access-control-allow-origin"], ORIGIN);
    assert_eq!(
        response.headers()["content-type"],
        "application/grpc-web+proto"
    );
    let (messages, trailers) = frames(response.into_body().collect().await.unwrap().to_bytes());
    let wallet = GetWalletResponse::decode(messages[0].clone())
        .unwrap()
        .wallet
        .unwrap();
    assert_eq!(rupiah(wallet.available.as_ref()), 20_000);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
}

#[tokio::test]
async fn a_browser_reads_why_it_was_refused() {
    let world = World::with(Settings::default().with("CORS_ORIGINS", ORIGIN)).await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let request = GetDepositRequest {
        deposit_id: NOBODYS_ID.to_owned(),
    };
    let response = http
        .open(
            Method::POST,
            "/sewa.wallet.v1.WalletService/GetDeposit",
            &BINARY,
            frame(&request),
        )
        .await
        .unwrap();
    let headers = response.headers().clone();
    let (_, trailers) = frames(response.into_body().collect().await.unwrap().to_bytes());
    let word = |name: &str| {
        let trailer = trailers
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}:")))
            .map(|value| value.trim().to_owned());
        trailer.or_else(|| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        })
    };
    assert_eq!(
        word("grpc-status").as_deref(),
        Some("5"),
        "NOT_FOUND: {trailers} {headers:?}"
    );
    let details = word("grpc-status-details-bin").expect("details");
    let details = base64::engine::general_purpose::STANDARD_NO_PAD
        .decode(details.trim_end_matches('='))
        .unwrap();
    let status = tonic::Status::with_details(tonic::Code::NotFound, "", details.into());
    assert!(sewa_sdk::Error::from(status).is("DEPOSIT_NOT_FOUND"));
    let exposed = headers["access-control-expose-headers"]
        .to_str()
        .unwrap()
        .to_lowercase();
    for needed in ["grpc-status", "grpc-message", "x-request-id", "retry-after"] {
        assert!(
            exposed.contains(needed),
            "a page cannot read {needed}: {exposed}"
        );
    }
}

#[tokio::test]
async fn a_preflight_is_answered_for_known_origins_only() {
    let world = World::with(Settings::default().with(
        "CORS_ORIGINS",
        format!("{ORIGIN},https://staff.example.com"),
    ))
    .await;
    let ask = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type,x-grpc-web,idempotency-key,grpc-timeout",
            ),
        ];
        world
            .http()
            .send(
                Method::OPTIONS,
                "/sewa.order.v1.OrderService/PlaceOrder",
                &headers,
                None,
            )
            .await
    };
    for origin in [ORIGIN, "https://staff.example.com"] {
        let answer = ask(origin).await;
        assert!(answer.status.is_success(), "{}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        let allowed = answer.header("access-control-allow-headers").to_lowercase();
        for needed in [
            "authorization",
            "x-grpc-web",
            "idempotency-key",
            "grpc-timeout",
        ] {
            assert!(allowed.contains(needed), "{allowed}");
        }
        assert!(
            answer
                .header("access-control-allow-methods")
                .contains("POST")
        );
    }
    assert_eq!(
        ask("https://evil.example.com")
            .await
            .header("access-control-allow-origin"),
        ""
    );
}

#[tokio::test]
async fn a_browser_watches_events() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let request = WatchEventsRequest {
        types: vec![EventType::DepositPaid.into()],
        checkpoints: true,
        ..Default::default()
    };
    let response = http
        .open(
            Method::POST,
            "/sewa.event.v1.EventService/WatchEvents",
            &BINARY,
            frame(&request),
        )
        .await
        .unwrap();
    let mut body = response.into_body();
    let mut read = BytesMut::new();
    let mut deposited = None;
    loop {
        let chunk = soon("a frame", body.frame())
            .await
            .expect("the stream goes on")
            .unwrap()
            .into_data()
            .unwrap_or_default();
        read.extend_from_slice(&chunk);
        while read.len() >= 5
            && read.len() >= 5 + u32::from_be_bytes([read[1], read[2], read[3], read[4]]) as usize
        {
            read.get_u8();
            let length = read.get_u32() as usize;
            let message = WatchEventsResponse::decode(read.split_to(length)).unwrap();
            match message.item {
                Some(Item::Checkpoint(_)) if deposited.is_none() => {
                    deposited = Some(budi.deposit(30_000).await.id)
                }
                Some(Item::Event(event)) => {
                    assert_eq!(
                        (event.r#type(), Some(event.subject_id)),
                        (EventType::DepositPaid, deposited)
                    );
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
