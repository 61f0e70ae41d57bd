//! What is repeated, when, how often, and what stays the same meanwhile. Time is virtual, so no test waits.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::script::{Line, Script, refusal, refusal_after, unavailable};
use http_body_util::{BodyExt, StreamBody};
use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::identity::v1::{
    LoginRequest, LoginResponse, identity_service_client::IdentityServiceClient,
};
use sewa_sdk::sewa::order::v1::{
    PlaceOrderRequest, PlaceOrderResponse, order_service_client::OrderServiceClient,
};
use sewa_sdk::sewa::wallet::v1::{
    GetWalletRequest, GetWalletResponse, wallet_service_client::WalletServiceClient,
};
use sewa_sdk::{Attempt, CallOptions, Client, Credentials, Error, RetryClass, RetryPolicy};
use tokio::time::Instant;
use tonic::service::{AxumRouter, Routes};
use tonic::{Code, IntoRequest, Request, Status};

const GET_WALLET: &str = "sewa.wallet.v1.WalletService/GetWallet";
const PLACE_ORDER: &str = "sewa.order.v1.OrderService/PlaceOrder";
const LOGIN: &str = "sewa.identity.v1.IdentityService/Login";

pub(crate) fn wallet(script: &Script<GetWalletResponse>) -> Fake {
    script.play::<GetWalletRequest>(Fake::default(), GET_WALLET)
}

pub(crate) async fn read(client: &Client) -> Result<GetWalletResponse, Error> {
    Ok(client
        .service(WalletServiceClient::new)
        .get_wallet(GetWalletRequest::default())
        .await?
        .into_inner())
}

async fn write(
    client: &Client,
    request: impl IntoRequest<PlaceOrderRequest>,
) -> Result<PlaceOrderResponse, Error> {
    Ok(client
        .service(OrderServiceClient::new)
        .place_order(request)
        .await?
        .into_inner())
}

fn order(script: &Script<PlaceOrderResponse>) -> Client {
    script
        .play::<PlaceOrderRequest>(Fake::default(), PLACE_ORDER)
        .client()
        .build()
        .unwrap()
}

pub(crate) fn ok() -> Line<GetWalletResponse> {
    Line::Answer(GetWalletResponse::default())
}

#[tokio::test(start_paused = true)]
async fn a_write_is_repeated_with_the_same_key_and_request_id() {
    let script = Script::new([
        unavailable(),
        unavailable(),
        Line::Answer(PlaceOrderResponse::default()),
    ]);
    write(&order(&script), PlaceOrderRequest::default())
        .await
        .unwrap();

    assert_eq!(script.count(), 3);
    for name in ["idempotency-key", "x-request-id"] {
        let sent = script.header(name);
        let first = sent[0].as_deref().unwrap();
        assert_eq!(
            uuid::Uuid::parse_str(first).unwrap().get_version_num(),
            7,
            "{name}"
        );
        assert!(
            sent.iter().all(|value| value.as_deref() == Some(first)),
            "{name}: {sent:?}"
        );
    }
    assert_ne!(
        script.header("idempotency-key"),
        script.header("x-request-id")
    );
    assert_eq!(
        script.header("x-sewa-retry-count"),
        [None, Some("1".to_owned()), Some("2".to_owned())]
    );
    assert!(
        script.header("user-agent")[0]
            .as_deref()
            .unwrap()
            .starts_with("sewa-sdk-rust/0.1.0")
    );
}

#[tokio::test(start_paused = true)]
async fn every_call_has_a_key_of_its_own_and_a_read_has_none() {
    let script = Script::new([Line::Answer(PlaceOrderResponse::default())]);
    let client = order(&script);
    write(&client, PlaceOrderRequest::default()).await.unwrap();
    write(&client, PlaceOrderRequest::default()).await.unwrap();
    let keys = script.header("idempotency-key");
    assert_ne!(keys[0], keys[1]);

    let script = Script::new([ok()]);
    read(&wallet(&script).client().build().unwrap())
        .await
        .unwrap();
    assert_eq!(script.header("idempotency-key"), [None]);
}

#[tokio::test(start_paused = true)]
async fn what_the_caller_set_is_kept() {
    let script = Script::new([unavailable(), Line::Answer(PlaceOrderResponse::default())]);
    let mut request = Request::new(PlaceOrderRequest::default());
    let own = [
        ("idempotency-key", "order-17"),
        ("x-request-id", "abc"),
        ("authorization", "Bearer mine"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
    ];
    for (name, value) in own {
        request.metadata_mut().insert(name, value.parse().unwrap());
    }
    let fake = script.play::<PlaceOrderRequest>(Fake::default(), PLACE_ORDER);
    let ours = Credentials::api_key("sk_ours");
    let client = fake.client().credentials(ours).build().unwrap();
    write(&client, request).await.unwrap();
    for (name, value) in own {
        assert_eq!(
            script.header(name),
            [Some(value.to_owned()), Some(value.to_owned())],
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_servers_hint_wins_over_backoff() {
    let hint = Duration::from_secs(3);
    let hinted = Line::Refuse(refusal_after(Code::ResourceExhausted, "RATE_LIMITED", hint));
    let mut header = Status::unavailable("a proxy said so");
    header
        .metadata_mut()
        .insert("retry-after", "3".parse().unwrap());
    for line in [hinted, Line::Refuse(header)] {
        let script = Script::new([line, ok()]);
        let client = wallet(&script).client().build().unwrap();
        let started = Instant::now();
        read(&client).await.unwrap();
        let waited = started.elapsed();
        assert!(waited >= hint && waited < hint.mul_f32(1.15), "{waited:?}");
        assert_eq!(script.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_elsewhere_is_asked_again() {
    let busy = refusal_after(
        Code::Aborted,
        "IDEMPOTENCY_IN_PROGRESS",
        Duration::from_millis(200),
    );
    let script = Script::new([
        Line::Refuse(busy),
        Line::Answer(PlaceOrderResponse::default()),
    ]);
    write(&order(&script), PlaceOrderRequest::default())
        .await
        .unwrap();
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_repeat_cannot_cure_is_returned_at_once() {
    for (code, reason, class) in [
        (
            Code::FailedPrecondition,
            "INSUFFICIENT_BALANCE",
            RetryClass::Nothing,
        ),
        (Code::Aborted, "ETAG_MISMATCH", RetryClass::UnitOfWork),
        (Code::Internal, "INTERNAL", RetryClass::Nothing),
        (
            Code::ResourceExhausted,
            "API_KEY_LIMIT",
            RetryClass::Nothing,
        ),
        (
            Code::FailedPrecondition,
            "A_REASON_OF_2031",
            RetryClass::Nothing,
        ),
    ] {
        let script = Script::new([Line::Refuse(refusal(code, reason))]);
        let error = write(&order(&script), PlaceOrderRequest::default())
            .await
            .unwrap_err();
        assert_eq!(script.count(), 1, "{reason}");
        assert!(
            error.is(reason) && error.code() == code && error.retry().class == class,
            "{error:?}"
        );
        assert_eq!(
            error.request_id(),
            script.header("x-request-id")[0].as_deref()
        );
        assert_eq!(
            error.idempotency_key(),
            script.header("idempotency-key")[0].as_deref()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_reason_is_judged_by_its_code() {
    let script = Script::new([
        Line::Refuse(refusal(Code::Unavailable, "A_REASON_OF_2031")),
        ok(),
    ]);
    read(&wallet(&script).client().build().unwrap())
        .await
        .unwrap();
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_counted() {
    let script = Script::new([unavailable()]);
    let client = wallet(&script).client().build().unwrap();
    assert!(read(&client).await.unwrap_err().is("UNAVAILABLE"));
    assert_eq!(script.count(), 5);

    let mut request = Request::new(GetWalletRequest::default());
    request.extensions_mut().insert(CallOptions {
        max_attempts: Some(1),
        ..CallOptions::default()
    });
    client
        .service(WalletServiceClient::new)
        .get_wallet(request)
        .await
        .unwrap_err();
    assert_eq!(script.count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_method_that_is_neither_read_nor_keyed_is_not_repeated() {
    let script = Script::<LoginResponse>::new([unavailable()]);
    let client = script
        .play::<LoginRequest>(Fake::default(), LOGIN)
        .client()
        .build()
        .unwrap();
    client
        .service(IdentityServiceClient::new)
        .login(LoginRequest::default())
        .await
        .unwrap_err();
    assert_eq!(script.count(), 1, "the first try may have taken effect");

    let limited = refusal_after(
        Code::ResourceExhausted,
        "RATE_LIMITED",
        Duration::from_millis(10),
    );
    let script = Script::new([
        Line::Refuse(limited),
        Line::Answer(LoginResponse::default()),
    ]);
    let client = script
        .play::<LoginRequest>(Fake::default(), LOGIN)
        .client()
        .build()
        .unwrap();
    client
        .service(IdentityServiceClient::new)
        .login(LoginRequest::default())
        .await
        .unwrap();
    assert_eq!(
        script.count(),
        2,
        "it was turned away at the door, so a repeat is safe"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_uses_the_budget_up_and_recovery_restores_it() {
    let script = Script::new(std::iter::repeat_n(unavailable(), 30).chain([ok()]));
    let policy = RetryPolicy {
        budget: 10,
        refill: 1.0,
        ..RetryPolicy::default()
    };
    let client = wallet(&script).client().retry(policy).build().unwrap();
    read(&client).await.unwrap_err();
    assert_eq!(script.count(), 5, "four repeats leave half of the tokens");
    for calls in 6..=30 {
        read(&client).await.unwrap_err();
        assert_eq!(script.count(), calls, "no repeats are left");
    }
    for _ in 0..10 {
        read(&client).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_observer_sees_every_attempt() {
    type Seen = (String, u32, Code, Option<String>, bool);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let log = Arc::clone(&seen);
    let observer = move |attempt: &Attempt<'_>| {
        let reason = attempt.reason.map(|reason| reason.0.clone());
        log.lock().unwrap().push((
            attempt.method.to_owned(),
            attempt.number,
            attempt.code,
            reason,
            attempt.repeat_after.is_some(),
        ));
    };
    let script = Script::new([unavailable(), ok()]);
    read(&wallet(&script).client().observer(observer).build().unwrap())
        .await
        .unwrap();
    let path = format!("/{GET_WALLET}");
    let expected = [
        (
            path.clone(),
            1,
            Code::Unavailable,
            Some("UNAVAILABLE".to_owned()),
            true,
        ),
        (path, 2, Code::Ok, None, false),
    ];
    assert_eq!(*seen.lock().unwrap(), expected);
}

/// Answers with these trailers after an empty message.
fn trailing(trailers: Vec<(&'static str, &'static str)>, count: Arc<Mutex<usize>>) -> Fake {
    let answer = tower::service_fn(move |request: http::Request<tonic::service::AxumBody>| {
        let (trailers, count) = (trailers.clone(), Arc::clone(&count));
        async move {
            request.into_body().collect().await.unwrap();
            *count.lock().unwrap() += 1;
            let trailers = trailers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let frames = [
                http_body::Frame::data(bytes::Bytes::from_static(&[0; 5])),
                http_body::Frame::trailers(trailers),
            ];
            let body = StreamBody::new(futures_util::stream::iter(
                frames.map(Ok::<_, std::convert::Infallible>),
            ));
            Ok::<_, std::convert::Infallible>(
                http::Response::builder()
                    .header("content-type", "application/grpc")
                    .body(body)
                    .unwrap(),
            )
        }
    });
    Fake::default().mount(Routes::from(AxumRouter::new().fallback_service(answer)))
}

#[tokio::test(start_paused = true)]
async fn a_status_in_the_trailers_counts_as_well() {
    let count = Arc::default();
    let client = trailing(
        vec![
            ("grpc-status", "14"),
            ("grpc-message", "later"),
            ("retry-after", "0"),
        ],
        Arc::clone(&count),
    )
    .client()
    .build()
    .unwrap();
    let error = read(&client).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unavailable, "later")
    );
    assert!(error.request_id().is_some());
    assert_eq!(
        error.retry().after,
        Some(Duration::ZERO),
        "trailers are kept"
    );
    assert!(
        error.status().metadata().contains_key("content-type"),
        "and headers"
    );
    assert_eq!(*count.lock().unwrap(), 5);

    let client = trailing(vec![("grpc-status", "0")], Arc::default())
        .client()
        .build()
        .unwrap();
    assert_eq!(read(&client).await.unwrap(), GetWalletResponse::default());
}

#[tokio::test(start_paused = true)]
async fn malformed_details_do_not_hide_the_status() {
    let malformed = vec![
        ("grpc-status", "9"),
        ("grpc-message", "no"),
        ("grpc-status-details-bin", "!!!"),
    ];
    let error = read(
        &trailing(malformed, Arc::default())
            .client()
            .build()
            .unwrap(),
    )
    .await
    .unwrap_err();
    assert_eq!(
        (error.code(), error.message(), error.reason()),
        (Code::FailedPrecondition, "no", None)
    );
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_speaks_no_grpc_is_understood() {
    for (http, code, attempts) in [
        (503, Code::Unavailable, 5),
        (401, Code::Unauthenticated, 1),
        (404, Code::Unimplemented, 1),
        (500, Code::Unknown, 1),
    ] {
        let count = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&count);
        let answer = tower::service_fn(move |_: http::Request<tonic::service::AxumBody>| {
            *counter.lock().unwrap() += 1;
            let response = http::Response::builder().status(http);
            std::future::ready(Ok::<_, std::convert::Infallible>(
                response.body("<html>".to_owned()).unwrap(),
            ))
        });
        let routes = Routes::from(AxumRouter::new().fallback_service(answer));
        let client = Fake::default().mount(routes).client().build().unwrap();
        let error = read(&client).await.unwrap_err();
        assert_eq!((error.code(), *count.lock().unwrap()), (code, attempts));
    }
}
