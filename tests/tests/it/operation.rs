//! Work on a machine: one thing at a time, called off while there is time, and carried through what goes wrong. [V2 V5 V7]

use futures_util::future::join_all;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::State as Progress;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::operation::v1::{
    CancelOperationRequest, GetOperationRequest, WaitOperationRequest,
};
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::{NOBODYS_ID, Settings, World, reason_of, refused};

use crate::instance::{VERBS, Verb, ask, done, owner_of_a_machine};

#[tokio::test]
async fn one_operation_at_a_time() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    budi.inject(FaultKind::Error, 0).await;
    let first = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    for verb in VERBS {
        let error = refused(ask(&budi, verb, &machine.id, "").await);
        assert!(
            error.is("OPERATION_IN_PROGRESS") && error.metadata("operation_id") == Some(&*first.id),
            "{verb:?}: {error:?}"
        );
    }
    assert_eq!(budi.instance(&machine.id).await.operation_id, first.id);
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    budi.finish(&first).await.unwrap();
    // Of many at once one wins, and the others are told which.
    let answers = join_all((0..8).map(|_| ask(&budi, Verb::Reboot, &machine.id, ""))).await;
    let won: Vec<&Operation> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(error.is("OPERATION_IN_PROGRESS"), "{error:?}");
    }
    budi.finish(won[0]).await.unwrap();
}

#[tokio::test]
async fn an_operation_that_has_not_begun_can_be_called_off() {
    let mut world = World::with(Settings::default().with("ROLE", "api")).await;
    let worker = world.add_worker();
    let (budi, machine) = owner_of_a_machine(&world).await;
    let cancel = |id: &str| CancelOperationRequest {
        operation_id: id.to_owned(),
    };
    world.servers[worker].kill();
    let reboot = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    let cancelled = budi
        .operations()
        .cancel_operation(cancel(&reboot.id))
        .await
        .unwrap()
        .into_inner()
        .operation
        .unwrap();
    assert!(
        cancelled.state() == Progress::Cancelled && cancelled.finish_time.is_some(),
        "{cancelled:?}"
    );
    assert_eq!(budi.instance(&machine.id).await.state(), State::Running);
    let error = refused(budi.operations().cancel_operation(cancel(&reboot.id)).await);
    assert!(
        error.is("OPERATION_NOT_CANCELLABLE") && error.metadata("state") == Some("CANCELLED"),
        "{error:?}"
    );
    for answer in [
        budi.operations()
            .cancel_operation(cancel(NOBODYS_ID))
            .await
            .map(drop),
        budi.operations()
            .get_operation(GetOperationRequest {
                operation_id: NOBODYS_ID.to_owned(),
            })
            .await
            .map(drop),
        budi.operations()
            .wait_operation(WaitOperationRequest {
                operation_id: NOBODYS_ID.to_owned(),
                timeout: None,
            })
            .await
            .map(drop),
    ] {
        assert_eq!(reason_of(answer), "OPERATION_NOT_FOUND");
    }
    // Nothing waits longer than it was told to.
    let stuck = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    let timeout = Some(prost_types::Duration {
        seconds: 0,
        nanos: 300_000_000,
    });
    let waited = budi
        .operations()
        .wait_operation(WaitOperationRequest {
            operation_id: stuck.id.clone(),
            timeout,
        })
        .await
        .unwrap()
        .into_inner();
    assert!(waited.operation.unwrap().finish_time.is_none());
    world.servers[worker].start_again().unwrap();
    budi.finish(&stuck).await.unwrap();
}

#[tokio::test]
async fn an_operation_survives_a_provider_that_errs_and_a_lost_answer() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    for fault in [FaultKind::Error, FaultKind::AnswerLost, FaultKind::Slow] {
        budi.inject(fault, 1).await;
        done(&budi, Verb::Reboot, &machine, State::Running).await;
    }
}
