//! Waiting for an operation.

use std::time::Duration;

use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::State;
use sewa_sdk::sewa::operation::v1::{WaitOperationRequest, WaitOperationResponse};
use sewa_sdk::{Clock, Error, WaitOptions, wait};
use tokio::time::Instant;
use tonic::Code;

use crate::script::{Line, Script, refusal};
use sewa_sdk::fake::Fake;

const WAIT: &str = "sewa.operation.v1.OperationService/WaitOperation";

fn operation(state: State, progress_percent: i32) -> Operation {
    Operation {
        id: "o1".into(),
        state: state.into(),
        progress_percent,
        ..Operation::default()
    }
}

fn answer(operation: Operation) -> Line<WaitOperationResponse> {
    Line::Answer(WaitOperationResponse {
        operation: Some(operation),
    })
}

async fn wait_for(
    script: &Script<WaitOperationResponse>,
    options: WaitOptions<'_>,
) -> Result<Operation, Error> {
    let client = script
        .play::<WaitOperationRequest>(Fake::default(), WAIT)
        .client()
        .attempt_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    wait(&client, "o1", options).await
}

#[tokio::test(start_paused = true)]
async fn progress_is_shown_once_per_step_and_the_result_returned() {
    let slow = Line::Late(
        Duration::from_secs(3),
        WaitOperationResponse {
            operation: Some(operation(State::Running, 60)),
        },
    );
    let script = Script::new([
        answer(operation(State::Pending, 0)),
        answer(operation(State::Running, 30)),
        answer(operation(State::Running, 30)),
        slow,
        answer(operation(State::Succeeded, 100)),
    ]);
    let mut shown = Vec::new();
    let done = wait_for(
        &script,
        WaitOptions::default().progress(|operation| shown.push(operation.progress_percent)),
    )
    .await
    .unwrap();
    assert_eq!(done.state(), State::Succeeded);
    assert_eq!(shown, [0, 30, 60, 100]);
    assert_eq!(
        script.count(),
        5,
        "a long poll outlasts the time of an attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn without_progress_to_show_one_call_waits_long() {
    let slow = Line::Late(
        Duration::from_secs(25),
        WaitOperationResponse {
            operation: Some(operation(State::Succeeded, 100)),
        },
    );
    let script = Script::new([slow]);
    wait_for(&script, WaitOptions::default()).await.unwrap();
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_operation_is_its_own_error() {
    let status = tonic_types::Status::from_details(refusal(Code::ResourceExhausted, "NO_CAPACITY"));
    let failed = Operation {
        error: Some(status),
        ..operation(State::Failed, 40)
    };
    let error = wait_for(&Script::new([answer(failed)]), WaitOptions::default())
        .await
        .unwrap_err();
    assert!(error.is("NO_CAPACITY"));
    assert_eq!(
        (error.code(), error.message()),
        (Code::ResourceExhausted, "NO_CAPACITY happened")
    );

    let error = wait_for(
        &Script::new([answer(operation(State::Cancelled, 0))]),
        WaitOptions::default(),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_a_call_is_waited_out() {
    let outage = std::iter::repeat_n(Line::Refuse(refusal(Code::Unavailable, "UNAVAILABLE")), 23);
    let script = Script::new(outage.chain([answer(operation(State::Succeeded, 100))]));
    wait_for(&script, WaitOptions::default()).await.unwrap();
    assert_eq!(script.count(), 24);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_operation_is_not_waited_for() {
    let script = Script::new([Line::Refuse(refusal(Code::NotFound, "OPERATION_NOT_FOUND"))]);
    assert!(
        wait_for(&script, WaitOptions::default())
            .await
            .unwrap_err()
            .is("OPERATION_NOT_FOUND")
    );
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_callers_patience_ends_the_wait_and_an_eager_server_is_not_hammered() {
    let script = Script::new([answer(operation(State::Running, 10))]);
    let started = Instant::now();
    let error = wait_for(
        &script,
        WaitOptions::default().timeout(Duration::from_secs(120)),
    )
    .await
    .unwrap_err();
    assert_eq!(error.timed_out(), Some(Clock::Caller));
    assert!(
        (120.0..121.0).contains(&started.elapsed().as_secs_f32()),
        "{:?}",
        started.elapsed()
    );
    assert!(script.count() < 150, "{} polls", script.count());
}

trait FromDetails {
    fn from_details(status: tonic::Status) -> Self;
}

impl FromDetails for tonic_types::Status {
    fn from_details(status: tonic::Status) -> Self {
        prost::Message::decode(status.details()).unwrap()
    }
}
