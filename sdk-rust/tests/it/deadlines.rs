//! The clocks of a call. Time is virtual, so no test waits.

use std::time::Duration;

use sewa_sdk::sewa::wallet::v1::{
    GetWalletRequest, GetWalletResponse, wallet_service_client::WalletServiceClient,
};
use sewa_sdk::{Clock, Error};
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::repeats::{ok, read, wallet};
use crate::script::{Line, Script, refusal_after, unavailable};

#[tokio::test(start_paused = true)]
async fn the_contract_gives_the_time_when_the_caller_does_not() {
    let script = Script::new([Line::Late(
        Duration::from_secs(3600),
        GetWalletResponse::default(),
    )]);
    let client = wallet(&script).client().build().unwrap();
    let started = Instant::now();
    let error = read(&client).await.unwrap_err();
    assert_eq!(
        (error.code(), error.timed_out()),
        (Code::DeadlineExceeded, Some(Clock::Contract))
    );
    assert!(
        (5.0..5.1).contains(&started.elapsed().as_secs_f32()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(script.count(), 1);
    assert!(
        script.header("grpc-timeout")[0].is_some(),
        "the server is told"
    );
    assert!(error.request_id().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_callers_time_is_kept_over_all_attempts() {
    let script = Script::new([
        unavailable(),
        Line::Late(Duration::from_secs(3600), GetWalletResponse::default()),
    ]);
    let client = wallet(&script).client().build().unwrap();
    let mut request = Request::new(GetWalletRequest::default());
    request.set_timeout(Duration::from_secs(2));
    let started = Instant::now();
    let error = Error::from(
        client
            .service(WalletServiceClient::new)
            .get_wallet(request)
            .await
            .unwrap_err(),
    );
    assert_eq!(error.timed_out(), Some(Clock::Caller));
    assert!(
        (2.0..2.1).contains(&started.elapsed().as_secs_f32()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(script.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_gives_way_to_another() {
    let script = Script::new([
        Line::Late(Duration::from_secs(3600), GetWalletResponse::default()),
        ok(),
    ]);
    let client = wallet(&script)
        .client()
        .attempt_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let started = Instant::now();
    read(&client).await.unwrap();
    assert_eq!(script.count(), 2);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_wait_longer_than_the_time_left_is_not_begun() {
    let script = Script::new([Line::Refuse(refusal_after(
        Code::Unavailable,
        "UNAVAILABLE",
        Duration::from_secs(20),
    ))]);
    let client = wallet(&script).client().build().unwrap();
    let started = Instant::now();
    let error = read(&client).await.unwrap_err();
    assert!(error.is("UNAVAILABLE") && error.timed_out().is_none());
    assert_eq!(error.retry().after, Some(Duration::from_secs(20)));
    assert!(started.elapsed() < Duration::from_millis(100));
}
