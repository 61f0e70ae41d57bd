//! Renewal, grace, suspension, resumption and the end. [L1 L2 L5 L6 L7]

use sewa_sdk::sewa::event::v1::{Event, EventType};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{DeleteInstanceRequest, Instance};
use sewa_sdk::sewa::lifecycle::v1::renewal::State as RenewalState;
use sewa_sdk::sewa::lifecycle::v1::{
    ListRenewalsRequest, PreviewRenewalRequest, PreviewScheduleRequest, RenewInstanceRequest,
    Renewal, ScheduledStep, SetAutoRenewRequest,
};
use sewa_sdk::sewa::sandbox::v1::GetTestClockRequest;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

use crate::instance::{Verb, ask};

/// Somebody with a clock, money for `periods` renewals, and a machine.
pub(crate) async fn owner(world: &World, periods: i64) -> (Actor, Instance) {
    let budi = world.reseller().await;
    budi.take_a_clock().await;
    let total = rupiah(
        budi.preview(&budi.draft("web-1").await)
            .await
            .unwrap()
            .total
            .as_ref(),
    );
    // Deposits have a least amount; what is too much is taken back by the order of things below.
    budi.deposit(total * (periods + 1)).await;
    let machine = budi.running("web-1").await;
    assert_eq!(budi.balance().await, (total * periods, 0));
    (budi, machine)
}

pub(crate) fn total(machine: &Instance) -> i64 {
    rupiah(machine.next_charge.as_ref())
}

async fn renewals(budi: &Actor) -> Vec<Renewal> {
    let request = ListRenewalsRequest {
        page_size: 200,
        ..Default::default()
    };
    budi.lifecycle()
        .list_renewals(request)
        .await
        .expect("listing renewals")
        .into_inner()
        .renewals
}

pub(crate) async fn schedule(budi: &Actor, days: i32) -> Vec<ScheduledStep> {
    let request = PreviewScheduleRequest {
        days,
        page_size: 200,
        ..Default::default()
    };
    budi.lifecycle()
        .preview_schedule(request)
        .await
        .expect("previewing the schedule")
        .into_inner()
        .steps
}

/// Waits until the log tells this of a machine's paying side, and sees that it tells nothing else.
async fn story_is(budi: &Actor, machine: &Instance, expected: &[EventType]) {
    let told = [
        EventType::Renewed,
        EventType::RenewalFailed,
        EventType::Suspended,
        EventType::Unsuspended,
        EventType::Terminated,
    ];
    let of_it = |event: &Event| event.subject_id == machine.id && told.contains(&event.r#type());
    let events = budi.logged(expected.len(), of_it).await;
    let kinds: Vec<EventType> = events.iter().map(Event::r#type).collect();
    assert_eq!(kinds, expected);
}

fn renew(machine: &Instance) -> RenewInstanceRequest {
    RenewInstanceRequest {
        instance_id: machine.id.clone(),
    }
}

#[tokio::test]
async fn a_machine_renews_on_time_for_a_year() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 12).await;
    let clock = budi.advance(366, 0).await;
    assert_eq!(
        budi.balance().await,
        (0, 0),
        "twelve periods of a month were paid"
    );
    let mut paid = renewals(&budi).await;
    paid.reverse();
    assert_eq!(
        paid.iter().map(|r| r.period_number).collect::<Vec<_>>(),
        (1..=13).collect::<Vec<_>>()
    );
    assert!(paid.iter().all(|r| r.state() == RenewalState::Paid && rupiah(r.total.as_ref()) == total(&machine)));
    for pair in paid.windows(2) {
        assert_eq!(
            pair[0].period_end_time, pair[1].period_start_time,
            "without gap or overlap"
        );
    }
    let day = |time: Option<prost_types::Timestamp>| {
        chrono::DateTime::from_timestamp(time.unwrap().seconds, 0).unwrap()
    };
    let (first, last) = (
        day(paid[0].period_start_time),
        day(paid[12].period_end_time),
    );
    let jakarta = chrono::FixedOffset::east_opt(7 * 3600).unwrap();
    assert_eq!(
        first
            .with_timezone(&jakarta)
            .checked_add_months(chrono::Months::new(13))
            .unwrap(),
        last.with_timezone(&jakarta),
        "the anchor day is kept"
    );
    assert!(day(budi.instance(&machine.id).await.paid_until) > day(clock.now_time));
    story_is(&budi, &machine, &[EventType::Renewed; 12]).await;
    assert_eq!(
        budi.transactions()
            .await
            .iter()
            .filter(|t| t.kind() == Kind::Charge)
            .count(),
        12
    );
}

#[tokio::test]
async fn unpaid_leads_through_grace_and_suspension_to_the_end() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    let due = machine.paid_until.unwrap().seconds;
    let clock = budi
        .sandbox()
        .get_test_clock(GetTestClockRequest {})
        .await
        .unwrap()
        .into_inner()
        .clock
        .unwrap();
    let hours_to_due = (due - clock.now_time.unwrap().seconds) / 3600 + 1;
    budi.advance(0, hours_to_due).await;
    story_is(&budi, &machine, &[EventType::RenewalFailed]).await;
    let graced = budi.instance(&machine.id).await;
    assert_eq!(
        (graced.state(), graced.next_step.as_str()),
        (State::Running, "suspend")
    );
    assert_eq!(
        graced.next_step_time.unwrap().seconds,
        due + 24 * 3600,
        "a month has 24 hours of grace"
    );

    budi.advance(0, 24).await;
    let suspended = budi
        .wait_instance(&machine.id, "is suspended", |i| {
            i.state() == State::Suspended && i.operation_id.is_empty()
        })
        .await;
    assert_eq!(suspended.next_step, "terminate");
    for verb in [
        Verb::PowerOn,
        Verb::PowerOff,
        Verb::Shutdown,
        Verb::Reboot,
        Verb::Rebuild,
        Verb::ResetPassword,
    ] {
        assert_eq!(
            reason_of(ask(&budi, verb, &machine.id, "").await),
            "INSTANCE_SUSPENDED",
            "{verb:?}"
        );
    }

    let step = suspended.next_step_time.unwrap().seconds;
    budi.advance(0, (step - due) / 3600).await;
    let gone = budi
        .wait_instance(&machine.id, "is deleted", |i| i.state() == State::Deleted)
        .await;
    assert_eq!((gone.next_step.as_str(), gone.next_charge), ("", None));
    story_is(
        &budi,
        &machine,
        &[
            EventType::RenewalFailed,
            EventType::Suspended,
            EventType::Terminated,
        ],
    )
    .await;
    let over = [
        budi.lifecycle()
            .renew_instance(renew(&machine))
            .await
            .map(drop),
        budi.lifecycle()
            .preview_renewal(PreviewRenewalRequest {
                instance_id: machine.id.clone(),
            })
            .await
            .map(drop),
        budi.lifecycle()
            .set_auto_renew(SetAutoRenewRequest {
                instance_id: machine.id.clone(),
                auto_renew: true,
            })
            .await
            .map(drop),
    ];
    for answer in over {
        assert_eq!(reason_of(answer), "SUBSCRIPTION_ENDED");
    }
}

#[tokio::test]
async fn money_that_comes_in_wakes_a_suspended_machine() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    budi.advance(33, 0).await;
    budi.wait_instance(&machine.id, "is suspended", |i| {
        i.state() == State::Suspended
    })
    .await;
    assert_eq!(
        reason_of(budi.lifecycle().renew_instance(renew(&machine)).await),
        "INSUFFICIENT_BALANCE"
    );
    budi.deposit(total(&machine) + 10_000).await;
    let awake = budi
        .wait_instance(&machine.id, "runs again", |i| {
            i.state() == State::Running && i.operation_id.is_empty()
        })
        .await;
    assert_eq!(awake.next_step, "renew");
    assert_eq!(budi.balance().await, (10_000, 0));
    story_is(
        &budi,
        &machine,
        &[
            EventType::RenewalFailed,
            EventType::Suspended,
            EventType::Renewed,
            EventType::Unsuspended,
        ],
    )
    .await;
    let clock = budi
        .sandbox()
        .get_test_clock(GetTestClockRequest {})
        .await
        .unwrap()
        .into_inner()
        .clock
        .unwrap();
    assert!(
        awake.paid_until.unwrap().seconds > clock.now_time.unwrap().seconds + 27 * 86_400,
        "a whole period from now"
    );
}

#[tokio::test]
async fn a_renewal_paid_ahead_is_held_and_given_back_with_the_machine() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 2).await;
    let price = total(&machine);
    let preview = budi
        .lifecycle()
        .preview_renewal(PreviewRenewalRequest {
            instance_id: machine.id.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .renewal
        .unwrap();
    assert_eq!(
        (
            preview.state(),
            preview.id.as_str(),
            rupiah(preview.total.as_ref())
        ),
        (RenewalState::Preview, "", price)
    );
    let held = budi
        .lifecycle()
        .renew_instance(renew(&machine))
        .await
        .unwrap()
        .into_inner()
        .renewal
        .unwrap();
    assert_eq!((held.state(), held.period_number), (RenewalState::Held, 2));
    assert_eq!(held.period_start_time, machine.paid_until);
    assert_eq!(budi.balance().await, (price, price));
    for answer in [
        budi.lifecycle()
            .renew_instance(renew(&machine))
            .await
            .map(drop),
        budi.lifecycle()
            .preview_renewal(PreviewRenewalRequest {
                instance_id: machine.id.clone(),
            })
            .await
            .map(drop),
    ] {
        let error = refused(answer);
        assert!(
            error.is("ALREADY_PREPAID") && error.metadata("paid_until").is_some(),
            "{error:?}"
        );
    }
    // Captured when its period begins.
    budi.advance(32, 0).await;
    assert_eq!(budi.balance().await, (price, 0));
    assert_eq!(renewals(&budi).await[0].state(), RenewalState::Paid);
    // Held once more, then the machine goes.
    budi.lifecycle()
        .renew_instance(renew(&machine))
        .await
        .unwrap();
    assert_eq!(budi.balance().await, (0, price));
    let delete = DeleteInstanceRequest {
        instance_id: machine.id.clone(),
        confirm_hostname: "web-1".to_owned(),
        etag: String::new(),
    };
    let operation = budi
        .instances()
        .delete_instance(delete)
        .await
        .unwrap()
        .into_inner()
        .operation
        .unwrap();
    budi.finish(&operation).await.unwrap();
    eventually("the unused hold is back", || async {
        match budi.balance().await {
            (back, 0) if back == price => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(renewals(&budi).await[0].state(), RenewalState::Released);
}

#[tokio::test]
async fn a_machine_that_is_not_to_renew_ends_though_there_is_money() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 5).await;
    let request = SetAutoRenewRequest {
        instance_id: machine.id.clone(),
        auto_renew: false,
    };
    let subscription = budi
        .lifecycle()
        .set_auto_renew(request)
        .await
        .unwrap()
        .into_inner()
        .subscription
        .unwrap();
    assert_eq!(
        (subscription.auto_renew, subscription.next_step.as_str()),
        (false, "suspend")
    );
    assert!(!budi.instance(&machine.id).await.auto_renew);
    let before = budi.balance().await;
    budi.advance(60, 0).await;
    budi.wait_instance(&machine.id, "is deleted", |i| i.state() == State::Deleted)
        .await;
    assert_eq!(budi.balance().await, before);
    story_is(
        &budi,
        &machine,
        &[EventType::Suspended, EventType::Terminated],
    )
    .await;
}

#[tokio::test]
async fn a_foreign_machine_cannot_be_renewed() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 1).await;
    let siti = world.reseller().await;
    for id in [machine.id.as_str(), NOBODYS_ID] {
        let id = || id.to_owned();
        for answer in [
            siti.lifecycle()
                .renew_instance(RenewInstanceRequest { instance_id: id() })
                .await
                .map(drop),
            siti.lifecycle()
                .preview_renewal(PreviewRenewalRequest { instance_id: id() })
                .await
                .map(drop),
            siti.lifecycle()
                .set_auto_renew(SetAutoRenewRequest {
                    instance_id: id(),
                    auto_renew: false,
                })
                .await
                .map(drop),
        ] {
            assert_eq!(reason_of(answer), "INSTANCE_NOT_FOUND");
        }
    }
    assert!(budi.instance(&machine.id).await.auto_renew);
}
