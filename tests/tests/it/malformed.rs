//! Bytes that are no request, in every form of gRPC: each is refused in that form's own words, with a reason, and nothing is done. [C3]

use std::io::Write as _;

use base64::Engine as _;
use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, Method};
use http_body_util::BodyExt;
use prost::Message;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::wallet::v1::{CreateDepositRequest, deposit};
use sewa_tests::http::Http;
use sewa_tests::{Actor, World};
use sqlx::Row as _;

const CREATE: &str = "/sewa.wallet.v1.WalletService/CreateDeposit";
pub(crate) const KEY: (&str, &str) = ("idempotency-key", "malformed-1");

fn good() -> Vec<u8> {
    let request = CreateDepositRequest {
        amount: Some(Money::idr(20_000)),
        method: deposit::Method::Sandbox.into(),
        ..Default::default()
    };
    request.encode_to_vec()
}

fn framed(flag: u8, length: usize, message: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u8(flag);
    frame.put_u32(u32::try_from(length).unwrap());
    frame.extend_from_slice(message);
    frame.to_vec()
}

fn frame(message: &[u8]) -> Vec<u8> {
    framed(0, message.len(), message)
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 64 MiB that arrive as 64 KiB.
pub(crate) fn bomb() -> Vec<u8> {
    gzip(&vec![b' '; 64 << 20])
}

/// The rows that a write would leave.
pub(crate) async fn rows(world: &World) -> Vec<i64> {
    let mut database = world.behind_the_scenes().await;
    let counts = "select array[(select count(*) from writes), (select count(*) from deposits), (select count(*) from journals), (select count(*) from events)]";
    sqlx::query(counts)
        .fetch_one(&mut database)
        .await
        .unwrap()
        .get(0)
}

/// Whatever was sent before: the server answers, and nothing was half done.
pub(crate) async fn unharmed(world: &World, budi: &Actor, before: &[i64]) {
    assert_eq!(world.http().get("/readyz").await.status.as_u16(), 200);
    assert_eq!(budi.balance().await, (0, 0));
    assert_eq!(rows(world).await, before, "something was done");
}

/// One broken body: its name, its bytes, and the compression its head claims.
type Broken = (&'static str, Vec<u8>, Option<&'static str>);

/// Frames that are none.
fn broken_frames() -> Vec<Broken> {
    let good = good();
    let whole = frame(&good);
    vec![
        ("nothing", Vec::new(), None),
        ("half a prefix", whole[..3].to_vec(), None),
        ("half a message", whole[..whole.len() - 2].to_vec(), None),
        ("a length too great", framed(0, good.len() + 1, &good), None),
        ("a length too small", framed(0, good.len() - 1, &good), None),
        (
            "the greatest length",
            framed(0, u32::MAX as usize, &good),
            None,
        ),
        (
            "two messages",
            [whole.clone(), whole.clone()].concat(),
            None,
        ),
        (
            "a message and noise",
            [whole.clone(), vec![0; 3]].concat(),
            None,
        ),
        (
            "compressed without saying how",
            framed(1, good.len(), &good),
            None,
        ),
        (
            "compressed as identity",
            framed(1, good.len(), &good),
            Some("identity"),
        ),
        (
            "an unknown compression",
            framed(1, good.len(), &good),
            Some("br"),
        ),
        (
            "gzip that is none",
            framed(1, good.len(), &good),
            Some("gzip"),
        ),
        (
            "gzip broken off",
            framed(1, 12, &gzip(&good)[..12]),
            Some("gzip"),
        ),
        ("a bomb", framed(1, bomb().len(), &bomb()), Some("gzip")),
        ("an unknown flag", framed(2, good.len(), &good), None),
        ("all flags", framed(0xff, good.len(), &good), None),
        ("over a MiB", frame(&vec![b'a'; (1 << 20) + 1]), None),
    ]
}

/// Frames around messages that are none.
fn broken_messages() -> Vec<Broken> {
    let messages: Vec<(&str, Vec<u8>)> = vec![
        (
            "an endless varint",
            vec![
                0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            ],
        ),
        ("a varint broken off", vec![0x10, 0x80]),
        ("a key broken off", vec![0x80]),
        ("field number 0", vec![0x00, 0x01]),
        (
            "a field number too great",
            vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00],
        ),
        ("an unknown wire type", vec![0x0f, 0x01]),
        ("a message as a varint", vec![0x08, 0x01]),
        ("an enum as a string", vec![0x12, 0x01, b'a']),
        ("a string of invalid UTF-8", vec![0x1a, 0x02, 0xff, 0xfe]),
        (
            "an inner string of invalid UTF-8",
            vec![0x0a, 0x04, 0x0a, 0x02, 0xc3, 0x28],
        ),
        ("an inner length past the end", vec![0x0a, 0x7f, 0x0a, 0x01]),
        (
            "a string longer than the message",
            vec![0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f],
        ),
        ("the end of a group that never began", vec![0x0c]),
        ("a group that never ends", vec![0xa3, 0x06]),
        ("a group that ends as another", vec![0xa3, 0x06, 0xac, 0x06]),
        ("groups in groups", [0xa3, 0x06].repeat(200_000)),
        ("noise", (0..=255).rev().collect()),
    ];
    let framed = messages.into_iter();
    framed
        .map(|(name, message)| (name, frame(&[good(), message].concat()), None))
        .collect()
}

/// How one form of gRPC is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Grpc,
    Web,
    WebText,
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text",
        }
    }
}

/// What a call ended with: from the head if there is no body, from trailers, or from the last frame of gRPC-Web.
async fn status(
    http: &Http,
    form: Form,
    further: &[(&str, &str)],
    body: Vec<u8>,
) -> (tonic::Status, HeaderMap) {
    status_of(CREATE, http, form, further, body).await
}

async fn status_of(
    path: &str,
    http: &Http,
    form: Form,
    further: &[(&str, &str)],
    body: Vec<u8>,
) -> (tonic::Status, HeaderMap) {
    let kind = form.content_type();
    let mut headers = vec![("content-type", kind), ("accept", kind)];
    headers.extend_from_slice(further);
    let opened = http.open(Method::POST, path, &headers, body.into()).await;
    let (head, body) = opened.unwrap().into_parts();
    assert_eq!(head.status.as_u16(), 200, "{form:?} {further:?}");
    let collected = body.collect().await.unwrap();
    let mut all = head.headers;
    all.extend(collected.trailers().cloned().unwrap_or_default());
    let mut bytes = collected.to_bytes();
    if form == Form::WebText {
        let engine = base64::engine::general_purpose::STANDARD;
        let decoded = bytes
            .chunks(4)
            .flat_map(|four| engine.decode(four).unwrap());
        bytes = decoded.collect::<Vec<u8>>().into();
    }
    for line in String::from_utf8_lossy(&bytes).split("\r\n") {
        if let Some((name, value)) = line
            .rsplit_once(|c: char| c < ' ')
            .map_or(line, |it| it.1)
            .split_once(':')
            && let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.trim().parse())
        {
            all.insert(name, value);
        }
    }
    let status = tonic::Status::from_header_map(&all);
    (
        status.unwrap_or_else(|| panic!("{form:?}: no status in {all:?}")),
        all,
    )
}

/// Checks that a call was refused as INVALID_REQUEST, in the envelope every refusal has.
async fn refused(http: &Http, form: Form, further: &[(&str, &str)], name: &str, body: Vec<u8>) {
    refused_at(CREATE, http, form, further, name, body).await;
}

async fn refused_at(
    path: &str,
    http: &Http,
    form: Form,
    further: &[(&str, &str)],
    name: &str,
    body: Vec<u8>,
) {
    let (status, headers) = status_of(path, http, form, further, body).await;
    let error = sewa_sdk::Error::from(status.clone());
    assert_eq!(
        (status.code(), error.is("INVALID_REQUEST")),
        (tonic::Code::InvalidArgument, true),
        "{form:?} {name}: {error:?}"
    );
    assert!(!status.message().is_empty(), "{form:?} {name}");
    assert!(headers.contains_key("x-request-id"), "{form:?} {name}");
}

#[tokio::test]
async fn broken_frames_and_messages_are_refused_in_every_form_of_grpc() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let http = world.http().bearer(&budi.tokens.access_token);
    for (name, body, encoding) in broken_frames().into_iter().chain(broken_messages()) {
        let mut headers = vec![KEY];
        headers.extend(encoding.map(|encoding| ("grpc-encoding", encoding)));
        refused(&http.http2(), Form::Grpc, &headers, name, body.clone()).await;
        for http in [&http, &http.http2()] {
            refused(http, Form::Web, &headers, name, body.clone()).await;
            let text = base64::engine::general_purpose::STANDARD.encode(&body);
            refused(http, Form::WebText, &headers, name, text.into()).await;
        }
    }
    let text = base64::engine::general_purpose::STANDARD.encode(frame(&good()));
    for (name, body) in [
        ("no base64", "****".to_owned()),
        ("base64 broken off", text[..text.len() - 3].to_owned()),
        (
            "a newline within",
            format!("{}\n{}", &text[..4], &text[4..]),
        ),
        ("padding within", format!("AAAA=={text}")),
        (
            "bytes instead of text",
            "\u{0}\u{0}\u{0}\u{0}\u{0}".to_owned(),
        ),
    ] {
        refused(&http, Form::WebText, &[KEY], name, body.into()).await;
    }
    unharmed(&world, &budi, &before).await;
    // None of it has used the key up.
    let (status, _) = status(&http, Form::Web, &[KEY], frame(&good())).await;
    assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
}

#[tokio::test]
async fn health_and_reflection_bear_broken_bytes() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let http = world.http();
    let health = "/grpc.health.v1.Health/Check";
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    // Its only field is a string with the number 1, so what breaks the messages of a deposit does not always break the one of a health check.
    let frames = broken_frames().into_iter().map(|broken| (broken, true));
    let messages = broken_messages().into_iter().map(|broken| (broken, false));
    for ((name, body, encoding), broken) in frames.chain(messages) {
        let headers: Vec<_> = encoding
            .map(|it| ("grpc-encoding", it))
            .into_iter()
            .collect();
        for (http, form) in [(&http.http2(), Form::Grpc), (&http, Form::Web)] {
            if broken {
                refused_at(health, http, form, &headers, name, body.clone()).await;
            } else {
                status_of(health, http, form, &headers, body.clone()).await;
            }
            // A stream of questions ends where it cannot be read; what matters is that it ends.
            status_of(reflection, http, form, &headers, body.clone()).await;
        }
    }
    unharmed(&world, &budi, &before).await;
    let (status, _) = status_of(health, &http.http2(), Form::Grpc, &[], frame(&[])).await;
    assert_eq!(status.code(), tonic::Code::Ok, "{status:?}");
}

#[tokio::test]
async fn what_breaks_a_rule_is_named_by_field_in_every_form() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let http = world.http().bearer(&budi.tokens.access_token);
    // Method 77 and a reference of 65 characters, after everything that was well.
    let reference = [&[0x1a, 65][..], &[b'a'; 65]].concat();
    let body = frame(&[good(), vec![0x10, 77], reference].concat());
    let fields = |status: &tonic::Status| {
        use tonic_types::StatusExt as _;
        let details = status.get_details_bad_request().expect("field violations");
        let fields = details.field_violations.into_iter();
        let mut fields: Vec<String> = fields.map(|violation| violation.field).collect();
        fields.sort();
        fields
    };
    for (http, form) in [
        (http.http2(), Form::Grpc),
        (http.clone(), Form::Web),
        (http.clone(), Form::WebText),
    ] {
        let sent = if form == Form::WebText {
            base64::engine::general_purpose::STANDARD
                .encode(&body)
                .into()
        } else {
            body.clone()
        };
        let (status, _) = status(&http, form, &[KEY], sent).await;
        assert_eq!(fields(&status), ["client_reference", "method"], "{form:?}");
    }
    unharmed(&world, &budi, &before).await;
}

#[tokio::test]
async fn heads_that_say_two_things_or_nonsense_are_refused() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let before = rows(&world).await;
    let token = format!("Bearer {}", budi.tokens.access_token);
    let nobody = world.http();
    let http = nobody.bearer(&budi.tokens.access_token);
    let reason = async |http: &Http, form: Form, further: &[(&str, &str)]| {
        let (status, _) = status(http, form, further, frame(&good())).await;
        let error = sewa_sdk::Error::from(status);
        error
            .reason()
            .map(|reason| reason.0.clone())
            .unwrap_or_default()
    };
    for (http, form) in [(&http.http2(), Form::Grpc), (&http, Form::Web)] {
        for (further, says) in [
            (vec![KEY, ("idempotency-key", "another")], "INVALID_REQUEST"),
            (
                vec![KEY, ("authorization", "Bearer other")],
                "INVALID_REQUEST",
            ),
            (
                vec![KEY, ("grpc-encoding", "gzip"), ("grpc-encoding", "br")],
                "INVALID_REQUEST",
            ),
            (vec![KEY, ("grpc-timeout", "soon")], "INVALID_REQUEST"),
            (
                vec![KEY, ("grpc-timeout", "1S"), ("grpc-timeout", "2S")],
                "INVALID_REQUEST",
            ),
            (vec![("idempotency-key", "a b")], "IDEMPOTENCY_KEY_REQUIRED"),
            (
                vec![("idempotency-key", "k\u{fc}")],
                "IDEMPOTENCY_KEY_REQUIRED",
            ),
            (vec![], "IDEMPOTENCY_KEY_REQUIRED"),
        ] {
            assert_eq!(
                reason(http, form, &further).await,
                says,
                "{form:?} {further:?}"
            );
        }
    }
    for bearer in [
        "Bearer",
        "Bearer ",
        "Basic abc",
        "Bearer \u{fc}",
        "Bearer a.b.c",
        &token[..40],
    ] {
        for (http, form) in [(&nobody.http2(), Form::Grpc), (&nobody, Form::Web)] {
            let says = reason(http, form, &[KEY, ("authorization", bearer)]).await;
            assert_eq!(says, "UNAUTHENTICATED", "{bearer}");
        }
    }
    // Messages of another kind, another method, and gRPC where it cannot be.
    let odd = async |http: &Http, method: Method, kind: &str| {
        let headers = [("content-type", kind), KEY];
        let opened = http
            .open(method, CREATE, &headers, frame(&good()).into())
            .await;
        let opened = opened.unwrap();
        let (head, body) = opened.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, body)
    };
    let (_, headers, _) = odd(&http.http2(), Method::POST, "application/grpc+json").await;
    let refusal = sewa_sdk::Error::from(tonic::Status::from_header_map(&headers).unwrap());
    assert!(refusal.is("INVALID_REQUEST"), "{refusal:?}");
    for (http, method, kind) in [
        (&http, Method::POST, "application/grpc"),
        (&http, Method::GET, "application/grpc-web"),
        (&http.http2(), Method::PUT, "application/grpc"),
        (&http.http2(), Method::GET, "application/grpc"),
        (&http.http2(), Method::POST, "application/grpc-web+json"),
        (&http.http2(), Method::POST, "application/grpcish"),
    ] {
        let (status, _, body) = odd(http, method.clone(), kind).await;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 415, "{method} {kind}: {json}");
        assert_eq!(
            json["error"]["details"][0]["reason"],
            "UNSUPPORTED_MEDIA_TYPE"
        );
    }
    unharmed(&world, &budi, &before).await;
}
