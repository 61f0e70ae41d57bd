//! One port: gRPC, gRPC-Web in both its forms, REST, events as they come, the documentation and the metrics, over HTTP/1.1 and HTTP/2. [N3]

use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use serde_json::Value;
use sewa_sdk::sewa::event::v1::{WatchEventsRequest, WatchEventsResponse};
use sewa_sdk::sewa::wallet::v1::{GetWalletRequest, GetWalletResponse};
use sewa_tests::actor::rupiah;
use sewa_tests::http::Http;
use sewa_tests::patience::soon;
use sewa_tests::{Settings, World};

const GET_WALLET: &str = "/sewa.wallet.v1.WalletService/GetWallet";
const WATCH: &str = "/sewa.event.v1.EventService/WatchEvents";
const ORIGIN: &str = "https://shop.example.com";

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

async fn whole(response: Response<Incoming>) -> (Bytes, HeaderMap) {
    let (head, body) = response.into_parts();
    assert_eq!(head.status.as_u16(), 200);
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (collected.to_bytes(), trailers)
}

/// The first bytes of an answer that goes on, once `enough` says so.
async fn first(response: Response<Incoming>, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    assert_eq!(response.status().as_u16(), 200);
    let mut body = response.into_body();
    let mut read = Vec::new();
    while !enough(&read) {
        let frame = soon("a frame", body.frame())
            .await
            .expect("the stream goes on");
        read.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    read
}

/// Whole groups of four are decoded one by one, because each frame is padded by itself.
fn unbase64(text: &[u8]) -> Vec<u8> {
    let engine = base64::engine::general_purpose::STANDARD;
    text.chunks_exact(4)
        .flat_map(|four| engine.decode(four).unwrap())
        .collect()
}

fn balance_in(body: &[u8]) -> i64 {
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    let message = GetWalletResponse::decode(&body[5..5 + length]).unwrap();
    rupiah(message.wallet.unwrap().available.as_ref())
}

async fn grpc_web(http: &Http) {
    let engine = base64::engine::general_purpose::STANDARD;
    let wallet = frame(&GetWalletRequest::default());
    for (kind, body) in [
        ("application/grpc-web+proto", wallet.clone()),
        ("application/grpc-web-text", engine.encode(&wallet).into()),
    ] {
        let headers = [("content-type", kind), ("accept", kind)];
        let opened = http.open(Method::POST, GET_WALLET, &headers, body).await;
        let (mut body, _) = whole(opened.unwrap()).await;
        if kind.contains("text") {
            body = unbase64(&body).into();
        }
        assert_eq!(balance_in(&body), 20_000, "{kind}");
        assert!(
            String::from_utf8_lossy(&body).contains("grpc-status:0"),
            "{kind}"
        );
    }
}

async fn rest_and_streams(http: &Http) {
    let wallet = http.get("/v1/wallet").await.ok();
    assert_eq!(wallet["available"]["units"], "20000");
    for (accept, begin) in [
        ("text/event-stream", "id: c"),
        ("application/x-ndjson", "{\"cursor\":\"c"),
    ] {
        let opened = http
            .open(
                Method::GET,
                "/v1/events:watch?checkpoints=true",
                &[("accept", accept)],
                Bytes::new(),
            )
            .await
            .unwrap();
        let kind = opened.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(kind, accept);
        let read = first(opened, |read| read.contains(&b'\n')).await;
        let read = String::from_utf8(read).unwrap();
        assert!(read.starts_with(begin), "{read}");
    }
}

async fn pages(http: &Http) {
    for (path, has) in [
        ("/docs", "<!doctype html>"),
        ("/openapi.json", "\"openapi\":\"3.1"),
        ("/metrics", "sewa_calls_total"),
        ("/healthz", "ok"),
        ("/readyz", "ready"),
    ] {
        let page = http.get(path).await;
        assert_eq!(page.status.as_u16(), 200, "{path}");
        assert!(page.text().contains(has), "{path}: {}", page.text());
    }
    let nothing = http.get("/v1/nothing").await;
    assert_eq!(
        (nothing.status.as_u16(), nothing.reason().as_str()),
        (404, "ROUTE_NOT_FOUND")
    );
}

pub(crate) async fn grpc(http: &Http) {
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let opened = http
        .open(
            Method::POST,
            GET_WALLET,
            &headers,
            frame(&GetWalletRequest::default()),
        )
        .await;
    let (body, trailers) = whole(opened.unwrap()).await;
    assert_eq!(balance_in(&body), 20_000);
    assert_eq!(trailers["grpc-status"], "0");
    let request = WatchEventsRequest {
        checkpoints: true,
        ..Default::default()
    };
    let opened = http
        .open(Method::POST, WATCH, &headers, frame(&request))
        .await;
    let read = first(opened.unwrap(), |read| {
        read.len() > 5
            && read.len() >= 5 + u32::from_be_bytes(read[1..5].try_into().unwrap()) as usize
    })
    .await;
    assert!(
        WatchEventsResponse::decode(&read[5..])
            .unwrap()
            .cursor
            .starts_with('c')
    );
}

/// All but gRPC, for somebody who has 20000 in the wallet.
pub(crate) async fn everything_but_cors(http: &Http) {
    rest_and_streams(http).await;
    grpc_web(http).await;
    pages(http).await;
}

#[tokio::test]
async fn one_port_speaks_every_protocol() {
    let world = World::with(Settings::default().with("CORS_ORIGINS", ORIGIN)).await;
    let budi = world.reseller().await;
    budi.deposit(20_000).await;
    let http = world.http().bearer(&budi.tokens.access_token);
    for http in [http.clone(), http.http2()] {
        everything_but_cors(&http).await;
        let wallet = http
            .send(Method::GET, "/v1/wallet", &[("origin", ORIGIN)], None)
            .await;
        assert_eq!(wallet.header("access-control-allow-origin"), ORIGIN);
    }
    grpc(&http.http2()).await;
    // gRPC proper needs HTTP/2, and says so to those who try without.
    let headers = [("content-type", "application/grpc")];
    let opened = http
        .open(
            Method::POST,
            GET_WALLET,
            &headers,
            frame(&GetWalletRequest::default()),
        )
        .await
        .unwrap();
    assert_eq!(opened.status().as_u16(), 415);
    let said = opened.into_body().collect().await.unwrap().to_bytes();
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert!(
        said["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("HTTP/2")),
        "{said}"
    );
}

async fn preflight(
    http: &Http,
    origin: &str,
    path: &str,
    method: &str,
) -> sewa_tests::http::Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        (
            "access-control-request-headers",
            "authorization,content-type,idempotency-key,last-event-id,x-grpc-web",
        ),
    ];
    http.send(Method::OPTIONS, path, &headers, None).await
}

#[tokio::test]
async fn pages_of_other_origins_do_what_the_settings_say() {
    let settings = Settings::default()
        .with("CORS_ORIGINS", ORIGIN)
        .with("CORS_EXPOSED_HEADERS", "x-shop,date")
        .with("CORS_MAX_AGE_SECONDS", 77);
    let world = World::with(settings).await;
    for http in [world.http(), world.http().http2()] {
        for path in ["/v1/orders", GET_WALLET] {
            let allowed = preflight(&http, ORIGIN, path, "POST").await;
            assert_eq!(allowed.status.as_u16(), 200, "{path}");
            assert_eq!(allowed.header("access-control-allow-origin"), ORIGIN);
            assert_eq!(allowed.header("access-control-max-age"), "77");
            assert!(allowed.header("vary").to_lowercase().contains("origin"));
            assert!(
                allowed
                    .header("access-control-allow-headers")
                    .contains("last-event-id")
            );
            let strange = preflight(&http, "https://evil.example.com", path, "POST").await;
            assert_eq!(strange.header("access-control-allow-origin"), "");
        }
        // A refusal is read by the page as well, and what it may read includes what the operator named.
        let refused = http
            .send(Method::GET, "/v1/wallet", &[("origin", ORIGIN)], None)
            .await;
        assert_eq!(refused.status.as_u16(), 401);
        let exposed = refused.header("access-control-expose-headers");
        for name in [
            "x-shop",
            "date",
            "ratelimit-remaining",
            "retry-after",
            "grpc-status",
        ] {
            assert!(exposed.split(',').any(|it| it == name), "{name}: {exposed}");
        }
        // Who is no page is told nothing of it, but a cache must know that a page's answer differs.
        let plain = http.send(Method::GET, "/v1/wallet", &[], None).await;
        assert_eq!(plain.header("access-control-expose-headers"), "");
        assert_eq!(plain.header("vary"), "origin");
        // OPTIONS by itself is a method like others.
        let options = http.send(Method::OPTIONS, "/v1/wallet", &[], None).await;
        assert_eq!(
            (options.status.as_u16(), options.reason().as_str()),
            (405, "METHOD_NOT_ALLOWED")
        );
    }
    let said = world
        .sewa_with(
            &["serve"],
            Settings::default()
                .with("CORS_ORIGINS", "https://shop.example.com/")
                .with("TLS_KEY", "key.pem"),
        )
        .unwrap_err();
    for word in [
        "https://shop.example.com/",
        "not an origin",
        "tls_certificate",
    ] {
        assert!(said.contains(word), "{said}");
    }
}
