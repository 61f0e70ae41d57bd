//! JSON, paths, queries and heads that are no request: each is refused with its status, reason and field, and nothing is done. [C3]

use bytes::Bytes;
use http_body_util::BodyExt;
use sewa_tests::World;

use crate::malformed::{KEY, bomb, rows, unharmed};

/// What REST is sent, and what it says: method and path, headers, body, status, reason, and the field if there is one.
type Case<'c> = (
    &'c str,
    Vec<(&'c str, &'c str)>,
    Vec<u8>,
    u16,
    &'c str,
    Option<&'c str>,
);

const JSON: (&str, &str) = ("content-type", "application/json");

fn rest_cases() -> Vec<Case<'static>> {
    const DEPOSITS: &str = "POST /v1/wallet/deposits";
    let body = |text: &str| text.as_bytes().to_vec();
    let deposit = |rest: &str| {
        let amount =
            r#"{"amount":{"currencyCode":"IDR","units":"20000"},"method":"METHOD_SANDBOX""#;
        format!("{amount}{rest}").into_bytes()
    };
    let json = || vec![JSON, KEY];
    let with = |further: &[(&'static str, &'static str)]| [&[KEY][..], further].concat();
    vec![
        (
            DEPOSITS,
            json(),
            Vec::new(),
            400,
            "INVALID_REQUEST",
            Some("amount"),
        ),
        (DEPOSITS, json(), body("{"), 400, "INVALID_JSON", None),
        (DEPOSITS, json(), body("[]"), 400, "INVALID_REQUEST", None),
        (DEPOSITS, json(), deposit("}}"), 400, "INVALID_JSON", None),
        (
            DEPOSITS,
            json(),
            deposit(",\"clientReference\":\"\\ud800\"}"),
            400,
            "INVALID_JSON",
            None,
        ),
        (
            DEPOSITS,
            json(),
            [deposit(",\"clientReference\":\""), vec![0xff, b'"', b'}']].concat(),
            400,
            "INVALID_JSON",
            None,
        ),
        (
            DEPOSITS,
            json(),
            deposit(",\"clientReference\":\"a\",\"client_reference\":\"b\"}"),
            400,
            "INVALID_REQUEST",
            Some("client_reference"),
        ),
        (
            DEPOSITS,
            json(),
            deposit(",\"methd\":1}"),
            400,
            "INVALID_REQUEST",
            Some("methd"),
        ),
        (
            DEPOSITS,
            json(),
            deposit(",\"clientReference\":7}"),
            400,
            "INVALID_REQUEST",
            Some("client_reference"),
        ),
        (
            DEPOSITS,
            json(),
            body(&"{\"amount\":".repeat(50_000)),
            400,
            "INVALID_JSON",
            None,
        ),
        (
            DEPOSITS,
            json(),
            body(&"[".repeat(500_000)),
            400,
            "INVALID_JSON",
            None,
        ),
        (
            DEPOSITS,
            json(),
            vec![b' '; (1 << 20) + 1],
            413,
            "BODY_TOO_LARGE",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("content-encoding", "gzip")]),
            bomb(),
            413,
            "BODY_TOO_LARGE",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("content-encoding", "gzip")]),
            deposit("}"),
            400,
            "BODY_UNREADABLE",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("content-encoding", "br")]),
            deposit("}"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            None,
        ),
        (
            DEPOSITS,
            with(&[]),
            deposit("}"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            None,
        ),
        (
            DEPOSITS,
            with(&[("content-type", "text/plain")]),
            deposit("}"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("content-type", "text/plain")]),
            deposit("}"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("grpc-timeout", "soon")]),
            deposit("}"),
            400,
            "INVALID_TIMEOUT",
            None,
        ),
        (
            DEPOSITS,
            with(&[JSON, ("idempotency-key", "second")]),
            deposit("}"),
            400,
            "INVALID_REQUEST",
            None,
        ),
        (
            "POST /v1/wallet/deposits?methd=1",
            json(),
            deposit("}"),
            400,
            "INVALID_REQUEST",
            Some("methd"),
        ),
        (
            "GET /v1/wallet/deposits/%zz",
            vec![],
            vec![],
            400,
            "INVALID_REQUEST",
            None,
        ),
        (
            "GET /v1/wallet/deposits/%ff%fe",
            vec![],
            vec![],
            400,
            "INVALID_REQUEST",
            None,
        ),
        (
            "GET /v1/wallet/deposits/%00",
            vec![],
            vec![],
            400,
            "INVALID_REQUEST",
            Some("deposit_id"),
        ),
        (
            "GET /v1/wallet?accountId=%ff",
            vec![],
            vec![],
            400,
            "INVALID_REQUEST",
            None,
        ),
        (
            "GET /v1/wallet",
            vec![JSON],
            deposit("}"),
            400,
            "UNEXPECTED_BODY",
            None,
        ),
        (
            "BREW /v1/wallet",
            vec![],
            vec![],
            405,
            "METHOD_NOT_ALLOWED",
            None,
        ),
        (
            "TRACE /v1/wallet",
            vec![],
            vec![],
            405,
            "METHOD_NOT_ALLOWED",
            None,
        ),
        (
            "GET //v1/wallet",
            vec![],
            vec![],
            404,
            "ROUTE_NOT_FOUND",
            None,
        ),
    ]
}

#[tokio::test]
async fn broken_rest_is_refused_with_reason_and_field() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let long_path = format!("GET /v1/wallet/deposits/{}", "a".repeat(9000));
    let long_head = "a".repeat(40_000);
    let mut cases = rest_cases();
    cases.push((&long_path, vec![], vec![], 414, "PATH_TOO_LONG", None));
    cases.push((
        "GET /v1/wallet",
        vec![("x-long", &long_head)],
        vec![],
        431,
        "HEADERS_TOO_LARGE",
        None,
    ));
    for (line, headers, body, status, reason, field) in cases {
        let (method, path) = line.split_once(' ').unwrap();
        for http in [&http, &http.http2()] {
            let opened = http
                .open(
                    method.parse().unwrap(),
                    path,
                    &headers,
                    Bytes::from(body.clone()),
                )
                .await
                .unwrap_or_else(|error| panic!("{line}: {error:#}"));
            let (head, answer) = opened.into_parts();
            let answer = answer.collect().await.unwrap().to_bytes();
            let beginning = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
            let json: serde_json::Value = serde_json::from_slice(&answer)
                .unwrap_or_else(|error| panic!("{line} {beginning}: {error}: {answer:?}"));
            assert_eq!(head.status.as_u16(), status, "{line} {beginning}: {json}");
            let details = json["error"]["details"].as_array().expect("details");
            let reasons: Vec<&str> = details
                .iter()
                .filter_map(|it| it["reason"].as_str())
                .collect();
            assert_eq!(reasons, [reason], "{line} {beginning}: {json}");
            if let Some(field) = field {
                let fields = details
                    .iter()
                    .filter_map(|it| it["fieldViolations"].as_array());
                let mut fields = fields.flatten().filter_map(|it| it["field"].as_str());
                assert!(fields.any(|it| it == field), "{line} {beginning}: {json}");
            }
        }
    }
    unharmed(&world, &budi, &before).await;
}
