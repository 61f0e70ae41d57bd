//! Renewal, grace, suspension, resumption and the end. [L1 L2 L5 L6 L7]

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{DeleteInstanceRequest, Instance};
use sewa_sdk::sewa::lifecycle::v1::renewal::State as RenewalState;
use sewa_sdk::sewa::lifecycle::v1::scheduled_step::Kind as StepKind;
use sewa_sdk::sewa::lifecycle::v1::{
    ListPoliciesRequest, ListRenewalsRequest, PreviewRenewalRequest, PreviewScheduleRequest,
    RenewInstanceRequest, Renewal, ScheduledStep, SetAccountPolicyRequest, SetAutoRenewRequest,
};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, CreateTestClockRequest, GetTestClockRequest,
};
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of, refused};

use crate::instance::{Verb, ask};

/// Somebody with a clock, money for `periods` renewals, and a machine.
async fn owner(world: &World, periods: i64) -> (Actor, Instance) {
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

fn total(machine: &Instance) -> i64 {
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

async fn schedule(budi: &Actor, days: i32) -> Vec<ScheduledStep> {
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

#[tokio::test]
async fn an_invoiced_account_has_days_and_a_daily_prepaid_one_has_none() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.take_a_clock().await;
    let policies = budi
        .lifecycle()
        .list_policies(ListPoliciesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .policies;
    let rule = |code: &str, period: BillingPeriod| {
        let policy = policies.iter().find(|policy| policy.code == code).unwrap();
        let rule = policy
            .rules
            .iter()
            .find(|rule| rule.period() == period)
            .unwrap();
        (rule.suspend_after_hours, rule.terminate_after_hours)
    };
    assert_eq!(
        [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year
        ]
        .map(|p| rule("prepaid", p).0),
        [0, 24, 72]
    );
    assert_eq!(
        [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year
        ]
        .map(|p| rule("invoiced", p)),
        [(72, 360); 3]
    );

    let daily = OrderDraft {
        period: BillingPeriod::Day.into(),
        ..budi.draft("daily").await
    };
    budi.deposit(10_000 + rupiah(budi.preview(&daily).await.unwrap().total.as_ref()))
        .await;
    let prepaid = budi.place(daily.clone()).await.unwrap();
    budi.wait_active(&prepaid).await;
    let choose = |account: &str, policy: &str| SetAccountPolicyRequest {
        account_id: account.to_owned(),
        policy: policy.to_owned(),
    };
    finance
        .lifecycle()
        .set_account_policy(choose(&budi.account_id, "invoiced"))
        .await
        .unwrap();
    assert_eq!(
        reason_of(
            finance
                .lifecycle()
                .set_account_policy(choose(&budi.account_id, "generous"))
                .await
        ),
        "POLICY_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            finance
                .lifecycle()
                .set_account_policy(choose(NOBODYS_ID, "invoiced"))
                .await
        ),
        "ACCOUNT_NOT_FOUND"
    );
    budi.deposit(10_000 + rupiah(budi.preview(&daily).await.unwrap().total.as_ref()))
        .await;
    let invoiced = budi
        .place(OrderDraft {
            hostname: "invoiced".to_owned(),
            ..daily
        })
        .await
        .unwrap();
    budi.wait_active(&invoiced).await;
    // What is left in the wallet pays for nothing.
    let (left, _) = budi.balance().await;
    let steps = schedule(&budi, 30).await;
    let of = |id: &str, kind: StepKind| {
        let step = steps.iter().find(|step| {
            step.instance_id == id
                && step.kind() == kind
                && (kind != StepKind::Renew || !step.covered)
        });
        step.unwrap_or_else(|| panic!("{kind:?} of {id} with {left} left: {steps:?}"))
            .step_time
            .unwrap()
            .seconds
    };
    for (id, suspend, terminate) in [
        (&prepaid.order.instance_id, 0, 72),
        (&invoiced.order.instance_id, 72, 360),
    ] {
        let due = of(id, StepKind::Renew);
        assert_eq!(
            (
                of(id, StepKind::Suspend) - due,
                of(id, StepKind::Terminate) - due
            ),
            (suspend * 3600, terminate * 3600)
        );
    }
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

#[tokio::test]
async fn a_clock_is_made_once_and_moves_only_forward_and_when_it_stands() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let advance = |seconds: i64| AdvanceTestClockRequest {
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    assert_eq!(
        reason_of(budi.sandbox().get_test_clock(GetTestClockRequest {}).await),
        "CLOCK_NOT_FOUND"
    );
    assert_eq!(
        reason_of(budi.sandbox().advance_test_clock(advance(60)).await),
        "CLOCK_NOT_FOUND"
    );
    let made = budi.take_a_clock().await;
    assert_eq!(made.now_time, made.target_time);
    assert_eq!(
        reason_of(
            budi.sandbox()
                .create_test_clock(CreateTestClockRequest {})
                .await
        ),
        "CLOCK_EXISTS"
    );
    assert_eq!(
        reason_of(budi.sandbox().advance_test_clock(advance(0)).await),
        "INVALID_REQUEST"
    );
    // While it is on its way nobody sends it elsewhere; the SDK waits for it, so one attempt is asked for.
    let mut request = tonic::Request::new(advance(60));
    request.extensions_mut().insert(sewa_sdk::CallOptions {
        max_attempts: Some(1),
        ..Default::default()
    });
    let mut database = world.behind_the_scenes().await;
    let mut walking = sqlx::Connection::begin(&mut database).await.unwrap();
    sqlx::query("lock table subscriptions in access exclusive mode")
        .execute(&mut *walking)
        .await
        .unwrap();
    budi.sandbox()
        .advance_test_clock(advance(3600))
        .await
        .unwrap();
    let error = refused(budi.sandbox().advance_test_clock(request).await);
    assert!(
        error.is("CLOCK_ADVANCING") && error.retry().after.is_some(),
        "{error:?}"
    );
    walking.rollback().await.unwrap();
    let there = budi.wait_clock().await;
    assert_eq!(
        there.now_time.unwrap().seconds - made.now_time.unwrap().seconds,
        3600
    );
}

#[tokio::test]
async fn nobody_plays_with_a_real_account() {
    use sewa_sdk::sewa::sandbox::v1::{
        ClearFaultsRequest, InjectFaultRequest, ListFaultsRequest, SettleDepositRequest, fault,
        settle_deposit_request::Outcome,
    };
    let world = World::new().await;
    let real = world.real_reseller().await;
    let mut sandbox = real.sandbox();
    let answers = [
        sandbox
            .settle_deposit(SettleDepositRequest {
                deposit_id: NOBODYS_ID.to_owned(),
                outcome: Outcome::Paid.into(),
            })
            .await
            .map(drop),
        sandbox
            .inject_fault(InjectFaultRequest {
                kind: fault::Kind::Error.into(),
                times: 1,
            })
            .await
            .map(drop),
        sandbox
            .list_faults(ListFaultsRequest::default())
            .await
            .map(drop),
        sandbox.clear_faults(ClearFaultsRequest {}).await.map(drop),
        sandbox
            .create_test_clock(CreateTestClockRequest {})
            .await
            .map(drop),
        sandbox
            .get_test_clock(GetTestClockRequest {})
            .await
            .map(drop),
        sandbox
            .advance_test_clock(AdvanceTestClockRequest {
                duration: Some(prost_types::Duration {
                    seconds: 1,
                    nanos: 0,
                }),
            })
            .await
            .map(drop),
    ];
    for answer in answers {
        assert_eq!(reason_of(answer), "SANDBOX_ONLY");
    }
}
