//! What is foretold, and that it happens. [L6]

use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::lifecycle::v1::scheduled_step::Kind as StepKind;
use sewa_tests::World;

use crate::lifecycle::{owner, schedule};

#[tokio::test]
async fn what_the_schedule_foretells_is_what_happens() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 2).await;
    let foretold = schedule(&budi, 120).await;
    let kinds: Vec<(StepKind, bool)> = foretold
        .iter()
        .map(|step| (step.kind(), step.covered))
        .collect();
    let expected = [
        (StepKind::Renew, true),
        (StepKind::Renew, true),
        (StepKind::Renew, false),
        (StepKind::Suspend, true),
        (StepKind::Terminate, true),
    ];
    assert_eq!(kinds, expected);
    budi.advance(120, 0).await;
    let told = [
        EventType::Renewed,
        EventType::RenewalFailed,
        EventType::Suspended,
        EventType::Terminated,
    ];
    let happened: Vec<(EventType, Option<prost_types::Timestamp>)> = budi
        .logged(foretold.len(), |event| {
            event.subject_id == machine.id && told.contains(&event.r#type())
        })
        .await
        .into_iter()
        .map(|event| (event.r#type(), event.occur_time))
        .collect();
    let foretold: Vec<(EventType, Option<prost_types::Timestamp>)> = foretold
        .iter()
        .map(|step| {
            let kind = match (step.kind(), step.covered) {
                (StepKind::Renew, true) => EventType::Renewed,
                (StepKind::Renew, false) => EventType::RenewalFailed,
                (StepKind::Suspend, _) => EventType::Suspended,
                _ => EventType::Terminated,
            };
            (kind, step.step_time)
        })
        .collect();
    assert_eq!(happened, foretold, "each thing, at its own time");
    assert!(schedule(&budi, 400).await.is_empty());
}

#[tokio::test]
async fn the_schedule_counts_one_balance_for_all_machines() {
    let world = World::new().await;
    let (budi, _) = owner(&world, 2).await;
    budi.running("web-2").await;
    let steps = schedule(&budi, 35).await;
    let renewing: Vec<bool> = steps
        .iter()
        .filter(|step| step.kind() == StepKind::Renew)
        .map(|step| step.covered)
        .collect();
    assert_eq!(
        renewing,
        [true, false],
        "money for one renewal, two machines due: {steps:?}"
    );
}
