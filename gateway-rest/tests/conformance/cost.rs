//! What a read through the gateway costs above the same read over gRPC. Meaningful only with optimisation:
//! `cargo test --release -p sewa-gateway --test conformance cost -- --ignored --nocapture`.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::json;
use sewa_gateway::{Gateway, GatewayConfig};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

use crate::world::{pool, request};

const CALLS: u32 = 20_000;

/// A resource of ordinary size: a dozen fields, two nested messages, a map, a time.
fn answer() -> Bytes {
    let desc = pool().get_message_by_name("echo.v1.ShelfRequest").unwrap();
    let shelf = json!({"id": "0190b5a4-7c3e-7d0a-b1d4-3f6f0c9a2e11", "displayName": "web-1", "labels": ["a", "b", "c"],
        "owner": {"name": "someone", "size": 3}, "notes": {"env": "prod", "team": "core"},
        "opened": "2030-01-31T09:30:00.123Z"});
    let json =
        json!({"shelfId": "s1", "shelf": shelf, "pageSize": 50, "name": "n", "shelves": [shelf]});
    let bytes = DynamicMessage::deserialize(desc, &json)
        .unwrap()
        .encode_to_vec();
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes]
        .concat()
        .into()
}

#[tokio::test]
#[ignore = "a measurement; run it with --release"]
async fn a_read_costs_less_than_30_microseconds() {
    let frame = answer();
    let backend = tower::service_fn(move |_: Request<Body>| {
        let frame = frame.clone();
        async move {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let frames = [Frame::data(frame), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
            let mut response =
                Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))));
            response
                .headers_mut()
                .insert("content-type", HeaderValue::from_static("application/grpc"));
            Ok::<_, Infallible>(response)
        }
    });
    let gateway = Gateway::new(pool(), GatewayConfig::default()).unwrap();
    let service = gateway.layer().layer(backend);
    let measure = async |build: &dyn Fn() -> Request<Body>| {
        let start = Instant::now();
        for _ in 0..CALLS {
            let response = service.clone().oneshot(build()).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
        }
        start.elapsed() / CALLS
    };
    let grpc = measure(&|| {
        let mut call = request("POST /echo.v1.Echo/Named", None);
        let content_type = HeaderValue::from_static("application/grpc");
        call.headers_mut().insert("content-type", content_type);
        call
    })
    .await;
    let rest = measure(&|| request("GET /v3/shelves/1/books/2?pageSize=50&labels=a", None)).await;
    let cost = rest.saturating_sub(grpc);
    println!("gRPC {grpc:?}, REST {rest:?}, the gateway costs {cost:?}");
    if !cfg!(debug_assertions) {
        assert!(cost < Duration::from_micros(30), "{cost:?}");
    }
}
