//! Cases 49 to 55.

use std::time::Duration;

use http::Response;
use prost::Message as _;
use prost_types::Any;
use serde_json::json;
use sewa_gateway::{ClientAddr, ForwardedFor, GatewayConfig};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use crate::world::{Reply, Script, World, request};

async fn failing(status: Status, trailers_only: bool) -> Reply {
    let world = World::new();
    world.script(Script {
        status: Some(status),
        trailers_only,
        ..Script::default()
    });
    world.call("GET /v1/everything").await
}

/// Cases 49 and 51.
#[tokio::test]
async fn every_code() {
    let expected = [
        (499, "CANCELLED"),
        (500, "UNKNOWN"),
        (400, "INVALID_ARGUMENT"),
        (504, "DEADLINE_EXCEEDED"),
        (404, "NOT_FOUND"),
        (409, "ALREADY_EXISTS"),
        (403, "PERMISSION_DENIED"),
        (429, "RESOURCE_EXHAUSTED"),
        (400, "FAILED_PRECONDITION"),
        (409, "ABORTED"),
        (400, "OUT_OF_RANGE"),
        (501, "UNIMPLEMENTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (500, "DATA_LOSS"),
        (401, "UNAUTHENTICATED"),
    ];
    for (number, (http, name)) in (1..).zip(expected) {
        for trailers_only in [false, true] {
            let reply = failing(
                Status::new(Code::from_i32(number), "100% \u{e9}t\u{e9}\n"),
                trailers_only,
            )
            .await;
            assert_eq!(reply.status, http, "{name}");
            let envelope = json!({"error": {
                "code": http, "status": name, "message": "100% \u{e9}t\u{e9}\n", "details": [],
            }});
            assert_eq!(reply.json(), envelope);
            assert_eq!(reply.header("content-type"), "application/json");
        }
    }
}

/// Cases 50 and 53.
#[tokio::test]
async fn details_are_typed() {
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "OUT_OF_STOCK",
        "sewa",
        [("plan".to_owned(), "s".to_owned())],
    );
    details.set_debug_info(vec!["main.rs:1".to_owned()], "secret");
    details.set_retry_info(Some(Duration::from_millis(1200)));
    details.set_localized_message("id", "habis");
    let status = Status::with_error_details(Code::Unavailable, "no", details);
    let reply = failing(status, false).await;
    assert_eq!(reply.header("retry-after"), "2");
    assert!(!reply.text.contains("main.rs"));
    assert_eq!(
        reply.detail("ErrorInfo"),
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "OUT_OF_STOCK", "domain": "sewa",
            "metadata": {"plan": "s"},
        })
    );
    assert_eq!(reply.detail("RetryInfo")["retryDelay"], "1.200s");
    assert_eq!(reply.detail("LocalizedMessage")["message"], "habis");

    // Metadata of a failed call becomes headers, trailers or not.
    for trailers_only in [false, true] {
        let mut status = Status::resource_exhausted("slow down");
        status
            .metadata_mut()
            .insert("ratelimit-remaining", "0".parse().unwrap());
        let reply = failing(status, trailers_only).await;
        assert_eq!(
            (reply.status, reply.header("ratelimit-remaining")),
            (429, "0")
        );
    }
    let reply = failing(Status::unauthenticated("token \"x\" is bad"), true).await;
    assert_eq!(reply.header("www-authenticate"), "Bearer");
}

fn with_any(code: i32, type_url: &str, value: Vec<u8>) -> Status {
    let any = Any {
        type_url: type_url.to_owned(),
        value,
    };
    let bytes = pb::Status {
        code,
        message: String::new(),
        details: vec![any],
    };
    Status::with_details(Code::NotFound, "m", bytes.encode_to_vec().into())
}

/// Case 50.
#[tokio::test]
async fn details_nobody_knows() {
    let reply = failing(
        with_any(5, "type.googleapis.com/who.Knows", vec![1, 2, 3]),
        false,
    )
    .await;
    assert_eq!(
        reply.detail("who.Knows"),
        json!({"@type": "type.googleapis.com/who.Knows", "value": "AQID"})
    );
    // A type the service's own pool knows.
    let reply = failing(with_any(5, "x/echo.v1.Clash", vec![10, 1, b'a']), false).await;
    assert_eq!(reply.detail("Clash")["beta"], "a");
    // Bytes that are not of their type.
    let reply = failing(with_any(5, "x/google.rpc.ErrorInfo", vec![0xff]), false).await;
    assert_eq!(
        (reply.status, reply.detail("ErrorInfo")["value"].clone()),
        (404, json!("/w=="))
    );
    // A status that contradicts its own header.
    assert_eq!(
        failing(with_any(7, "x/google.rpc.ErrorInfo", vec![]), false)
            .await
            .status,
        500
    );

    for bad in ["!!!", "AQID"] {
        let world = World::new();
        world.script(Script {
            trailers: vec![("grpc-status-details-bin", bad.to_owned())],
            status: Some(Status::not_found("m")),
            ..Script::default()
        });
        let reply = world.call("GET /v1/everything").await;
        assert_eq!(reply.status, 500, "{bad}");
        assert_eq!(reply.json()["error"]["status"], "INTERNAL");
    }
}

/// Case 51, the ways a service can break.
#[tokio::test]
async fn answers_that_are_not_grpc() {
    let world = World::new();
    type Raw = fn() -> Response<Body>;
    let answers: [(Raw, u16); 4] = [
        (
            || Response::builder().status(503).body(Body::empty()).unwrap(),
            503,
        ),
        (
            || Response::builder().status(404).body(Body::empty()).unwrap(),
            501,
        ),
        (
            || {
                Response::builder()
                    .header("content-type", "text/html")
                    .body(Body::empty())
                    .unwrap()
            },
            500,
        ),
        (
            || {
                Response::builder()
                    .header("content-type", "application/grpc")
                    .body(Body::empty())
                    .unwrap()
            },
            500,
        ),
    ];
    for (raw, status) in answers {
        world.script(Script {
            raw: Some(raw),
            ..Script::default()
        });
        assert_eq!(world.call("GET /v1/everything").await.status, status);
    }
}

/// Case 52.
#[tokio::test]
async fn the_gateways_own_errors_look_the_same() {
    let world = World::new();
    for (line, body, reason, status) in [
        ("GET /nowhere", "", "ROUTE_NOT_FOUND", 404),
        ("PUT /v1/clash", "", "METHOD_NOT_ALLOWED", 405),
        ("POST /v1/everything", "{", "INVALID_JSON", 400),
        ("GET /v1/everything?i32=x", "", "INVALID_REQUEST", 400),
        ("POST /v1/collect", "{}", "CLIENT_STREAMING_OVER_REST", 501),
    ] {
        let mut request = request(line, (!body.is_empty()).then(|| body.into()));
        request
            .headers_mut()
            .insert("x-request-id", "r7".parse().unwrap());
        let reply = world.send(request).await;
        assert_eq!(reply.status, status, "{line}");
        assert_eq!(reply.json()["error"]["code"], status);
        assert_eq!(reply.detail("ErrorInfo")["reason"], reason);
        assert_eq!(reply.detail("ErrorInfo")["domain"], "sewa");
        assert_eq!(reply.detail("RequestInfo")["requestId"], "r7");
        assert_eq!(reply.header("x-request-id"), "r7");
    }
    // The id the service gave wins over the client's, and is not repeated when already there.
    world.script(Script {
        headers: vec![("x-request-id", "server".to_owned())],
        status: Some(Status::not_found("m")),
        ..Script::default()
    });
    let mut request = request("GET /v1/everything", None);
    request
        .headers_mut()
        .insert("x-request-id", "client".parse().unwrap());
    let reply = world.send(request).await;
    assert_eq!(reply.detail("RequestInfo")["requestId"], "server");
    assert_eq!(reply.header("x-request-id"), "server");
}

/// Case 54.
#[tokio::test(start_paused = true)]
async fn deadlines() {
    let world = World::in_process();
    world.script(Script {
        delay: Duration::from_secs(100),
        ..Script::default()
    });
    let send = async |timeout: &str| {
        let mut request = request("GET /v1/everything", None);
        request
            .headers_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
        world.send(request).await
    };
    let reply = send("50m").await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.json()["error"]["status"], "DEADLINE_EXCEEDED");
    assert_eq!(world.seen().headers["grpc-timeout"], "50m");
    assert_eq!(
        std::sync::Arc::strong_count(&world.backend.alive),
        2,
        "the call is cancelled"
    );
    // Beyond the cap.
    let reply = send("99H").await;
    assert_eq!(reply.status, 200);
    assert_eq!(world.seen().headers["grpc-timeout"], "300000m");
    for bad in ["1", "x", "123456789S", "-1S"] {
        let reply = send(bad).await;
        assert_eq!(reply.status, 400, "{bad}");
        assert_eq!(reply.detail("ErrorInfo")["reason"], "INVALID_TIMEOUT");
    }
    // No header: the service's own default applies, and the gateway's safety net.
    let reply = world.call("GET /v1/everything").await;
    assert_eq!(reply.status, 504);
    assert_eq!(reply.detail("ErrorInfo")["reason"], "DEADLINE_EXCEEDED");
    assert!(!world.seen().headers.contains_key("grpc-timeout"));
}

/// Case 55.
#[tokio::test]
async fn forwarded_metadata() {
    let build = |mode| {
        let mut config = GatewayConfig::default();
        config.forwarded_for = mode;
        World::with(config)
    };
    for (mode, addresses) in [
        (ForwardedFor::Replace, vec!["10.0.0.9"]),
        (ForwardedFor::Append, vec!["6.6.6.6", "10.0.0.9"]),
        (ForwardedFor::Keep, vec!["6.6.6.6"]),
    ] {
        let world = build(mode);
        let mut request = request("GET /v1/everything", None);
        request
            .extensions_mut()
            .insert(ClientAddr([10, 0, 0, 9].into()));
        for (name, value) in [
            ("authorization", "Bearer t"),
            ("idempotency-key", "k"),
            ("traceparent", "00-a"),
            ("tracestate", "s"),
            ("x-account-id", "a"),
            ("accept-language", "id"),
            ("user-agent", "ua"),
            ("x-forwarded-for", "6.6.6.6"),
            ("grpc-status", "0"),
            ("grpc-encoding", "gzip"),
            ("grpc-internal", "x"),
            ("cookie", "c"),
            ("x-evil-bin", "A"),
            ("host", "h"),
            ("connection", "x"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(world.send(request).await.status, 200);
        let seen = world.seen().headers;
        let mut names: Vec<&str> = seen.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "accept-language",
                "authorization",
                "content-type",
                "idempotency-key",
                "te",
                "traceparent",
                "tracestate",
                "user-agent",
                "x-account-id",
                "x-forwarded-for",
            ]
        );
        let forwarded: Vec<_> = seen.get_all("x-forwarded-for").iter().collect();
        assert_eq!(forwarded, addresses);
    }
}
