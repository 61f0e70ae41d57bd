//! Cases 58 and 59: what passes untouched, and both faces compared.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use sewa_gateway::{Gateway, GatewayConfig};
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};
use tower_http::cors::CorsLayer;

use crate::world::{Backend, World, canonical, pool, read, request};

fn everything(json: &str) -> DynamicMessage {
    let desc = pool().get_message_by_name("echo.v1.Everything").unwrap();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(desc, &mut deserializer).unwrap()
}

fn framed(message: &DynamicMessage) -> Bytes {
    let bytes = message.encode_to_vec();
    [&[0][..], &(bytes.len() as u32).to_be_bytes(), &bytes]
        .concat()
        .into()
}

fn grpc(content_type: &str, body: Bytes) -> Request<Body> {
    let mut request = request("POST /echo.v1.Echo/Post", Some(body));
    *request.version_mut() = http::Version::HTTP_2;
    request
        .headers_mut()
        .insert("content-type", content_type.parse().unwrap());
    request
}

/// Case 58.
#[tokio::test]
async fn grpc_and_grpc_web_pass_untouched() {
    let world = World::new();
    let body = framed(&everything(r#"{"text":"a"}"#));
    let mut request = grpc("application/grpc+proto", body.clone());
    request
        .headers_mut()
        .insert("anything-bin", "AAA".parse().unwrap());
    let response = world.service.clone().oneshot(request).await.unwrap();
    assert!(world.seen().headers.contains_key("anything-bin"));
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        body
    );

    let gateway = Gateway::new(pool(), GatewayConfig::default()).unwrap();
    let service = gateway
        .layer()
        .layer(tonic_web::GrpcWebLayer::new().layer(Backend::default()));
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(&body);
    for (content_type, body) in [
        ("application/grpc-web+proto", body),
        ("application/grpc-web-text", text.into()),
    ] {
        let response = service
            .clone()
            .oneshot(grpc(content_type, body))
            .await
            .unwrap();
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("application/grpc-web")
        );
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() > 10);
    }
    // The same stack still answers REST.
    let reply = read(
        service
            .oneshot(crate::world::request("GET /v1/everything/a", None))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reply.json()["text"], "a");
}

/// Case 58: what calls itself gRPC and cannot be is refused in the envelope, and reaches nobody.
#[tokio::test]
async fn grpc_that_cannot_be_is_refused() {
    let world = World::new();
    for (method, kind, version) in [
        ("POST", "application/grpc", http::Version::HTTP_11),
        ("POST", "application/grpc-web+json", http::Version::HTTP_2),
        ("POST", "application/grpcish", http::Version::HTTP_2),
        ("PUT", "application/grpc", http::Version::HTTP_2),
        ("GET", "application/grpc-web", http::Version::HTTP_11),
    ] {
        let mut call = request(&format!("{method} /echo.v1.Echo/Post"), Some(Bytes::new()));
        *call.version_mut() = version;
        call.headers_mut()
            .insert("content-type", kind.parse().unwrap());
        let reply = read(world.service.clone().oneshot(call).await.unwrap()).await;
        assert_eq!(reply.status, 415, "{method} {kind}");
        assert_eq!(
            reply.detail("ErrorInfo")["reason"],
            "UNSUPPORTED_MEDIA_TYPE"
        );
    }
    assert_eq!(world.calls(), 0);
}

/// The usual inner service: tonic's own router.
#[tokio::test]
async fn tonic_routes_fit_behind_the_gateway() {
    let gateway = Gateway::new(pool(), GatewayConfig::default()).unwrap();
    let service = gateway.layer().layer(tonic::service::Routes::default());
    let reply = read(
        service
            .oneshot(request("GET /v1/everything", None))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        (reply.status, reply.json()["error"]["status"].clone()),
        (501, "UNIMPLEMENTED".into())
    );
}

/// Case 58: paths outside the prefixes belong to whoever is behind.
#[tokio::test]
async fn other_prefixes_pass_untouched() {
    let mut config = GatewayConfig::default();
    config.prefixes = vec!["/v1/".to_owned()];
    let gateway = Gateway::new(pool(), config).unwrap();
    let behind = tower::service_fn(|request: Request<Body>| {
        let path = request.uri().path().to_owned();
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(
            Body::new(path),
        )))
    });
    let service = gateway.layer().layer(behind);
    let reply = read(
        service
            .clone()
            .oneshot(request("GET /metrics", None))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reply.text, "/metrics");
    let reply = read(
        service
            .oneshot(request("GET /v1/nope", None))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(reply.status, 404);
}

/// Case 58.
#[tokio::test]
async fn cors_goes_around_the_gateway() {
    let cors = CorsLayer::permissive().expose_headers(tower_http::cors::Any);
    let service = cors.layer(World::new().service);
    let mut preflight = request("OPTIONS /v1/clash", None);
    for (name, value) in [
        ("origin", "http://a"),
        ("access-control-request-method", "GET"),
    ] {
        preflight.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = read(
        service
            .clone()
            .oneshot(preflight)
            .await
            .unwrap()
            .map(Body::new),
    )
    .await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, "*")
    );
    let mut get = request("GET /v1/everything", None);
    get.headers_mut()
        .insert("origin", "http://a".parse().unwrap());
    let reply = read(service.oneshot(get).await.unwrap().map(Body::new)).await;
    assert_eq!(reply.header("access-control-expose-headers"), "*");
}

/// Case 59: the same message through both faces. What REST prints reads back, by another implementation, as what gRPC returns.
#[tokio::test]
async fn both_faces_say_the_same() {
    let world = World::new();
    for json in [
        r#"{}"#,
        r#"{"flag":true,"i32":-1,"i64":"-5","u32":7,"u64":"18446744073709551615","s32":-9,"f64":"1","real":1.25,"wide":-1e300}"#,
        r#"{"text":"\u0001\"\\/é😀\u2028","blob":"AAEC/w==","color":"COLOR_BLUE","maybe":0,"maybeText":""}"#,
        r#"{"numbers":[1,2],"words":["",""],"colors":["COLOR_RED",9],"children":[{},{"name":"x"}],"times":["1970-01-01T00:00:00Z"]}"#,
        r#"{"counts":{"a":"1","":"2"},"byNumber":{"-3":{"size":1}},"byFlag":{"false":"n"}}"#,
        r#"{"branch":{"deep":{"right":0}},"at":"0001-01-01T00:00:00.000001Z","span":"-1.500s","mask":"a,bC.d"}"#,
        r#"{"object":{"a":[null,1.5,"x",{"y":false}]},"value":null,"list":[],"empty":{}}"#,
        r#"{"any":{"@type":"x/google.protobuf.Timestamp","value":"2024-02-29T23:59:59.999999999Z"}}"#,
        r#"{"any":{"@type":"x/echo.v1.Everything.Child","name":"n"},"wrappedText":"","wrappedI64":"0","wrappedBlob":"AA==","wrappedU32":0}"#,
        r#"{"real":1e38,"wide":5e-324,"wrappedWide":"Infinity"}"#,
    ] {
        let message = everything(json);
        let over_grpc = grpc("application/grpc", framed(&message));
        let response = world.service.clone().oneshot(over_grpc).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let grpc_answer = DynamicMessage::decode(message_desc(), bytes.slice(5..)).unwrap();

        let reply = world.call_with("POST /v1/everything", json).await;
        assert_eq!(reply.status, 200, "{json}: {}", reply.text);
        assert_eq!(world.seen().message, canonical(&message), "{json}");
        assert_eq!(
            canonical(&everything(&reply.text)),
            canonical(&grpc_answer),
            "{json}"
        );
    }
}

fn message_desc() -> prost_reflect::MessageDescriptor {
    pool().get_message_by_name("echo.v1.Everything").unwrap()
}
