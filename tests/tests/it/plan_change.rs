//! Another plan, priced to the day, and another span to pay by. [O9 V9]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::operation::State as Progress;
use sewa_sdk::sewa::api::v1::{BillingPeriod, Operation};
use sewa_sdk::sewa::catalog::v1::{ListPlansRequest, Plan};
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::invoice::v1::invoice::Kind as Document;
use sewa_sdk::sewa::invoice::v1::{Invoice, ListInvoicesRequest};
use sewa_sdk::sewa::lifecycle::v1::{
    ChangePeriodRequest, ChangePlanRequest, ChangePlanResponse, PlanChange,
    PreviewPeriodChangeRequest, PreviewPlanChangeRequest, PreviewRenewalRequest,
};
use sewa_sdk::sewa::operation::v1::GetOperationRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::wallet::v1::transaction::Kind as Moved;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, is_replay, keyed};

use crate::instance::{Verb, ask};
use crate::lifecycle::owner;

/// Two plans whose disks are as large as that of the cheapest, and one whose disk is smaller, at the built-in cloud.
pub(crate) const FAST: &str = "0192f0c1-0000-7000-8000-000000000911";
pub(crate) const FASTER: &str = "0192f0c1-0000-7000-8000-000000000912";
pub(crate) const TINY: &str = "0192f0c1-0000-7000-8000-000000000913";
/// One of the other built-in cloud.
pub(crate) const ELSEWHERE: &str = "0192f0c1-0000-7000-8000-000000000914";

/// Sells them.
pub(crate) async fn sell(world: &World, looker: &Actor) {
    let plan = |id: &str, code: &str, memory: i32, disk: i32, month: i64| {
        format!(
            "[[plan]]\nid = \"{id}\"\ncode = \"{code}\"\nname = \"{code}\"\nvcpus = 1\nmemory_mib = {memory}\ndisk_gib = {disk}\ntransfer_gib = 1000\n\
            provider_size = \"size-{code}\"\nprice = {{ hour = 200, day = {}, month = {month}, year = {} }}\n",
            month / 20,
            month * 10
        )
    };
    let ours = [
        plan(FAST, "fast", 1024, 10, 150_000),
        plan(FASTER, "faster", 2048, 10, 270_001),
        plan(TINY, "tiny", 256, 5, 50_000),
    ];
    let theirs = [plan(ELSEWHERE, "elsewhere", 1024, 10, 150_000)];
    for (provider, plans) in [
        ("simulator", ours.concat()),
        ("simulator-basic", theirs.concat()),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!("provider = \"{provider}\"\nregion = []\nimage = []\n{plans}");
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        world.sewa(&["catalogue", "--file", path], "").unwrap();
    }
    eventually("the plans are sold", || async {
        let known = plans(looker).await;
        let sold = known.iter().any(|plan| plan.id == ELSEWHERE);
        if sold { Ok(()) } else { Err(known.len()) }
    })
    .await;
}

pub(crate) async fn plans(looker: &Actor) -> Vec<Plan> {
    let request = ListPlansRequest {
        page_size: 200,
        ..Default::default()
    };
    let reply = looker.catalog().list_plans(request).await.unwrap();
    reply.into_inner().plans
}

pub(crate) async fn preview(
    owner: &Actor,
    instance_id: &str,
    plan_id: &str,
) -> Result<PlanChange, tonic::Status> {
    let request = PreviewPlanChangeRequest {
        instance_id: instance_id.to_owned(),
        plan_id: plan_id.to_owned(),
    };
    let reply = owner.lifecycle().preview_plan_change(request).await?;
    Ok(reply.into_inner().plan_change.unwrap())
}

pub(crate) async fn change(
    owner: &Actor,
    instance_id: &str,
    plan_id: &str,
) -> Result<ChangePlanResponse, tonic::Status> {
    let request = ChangePlanRequest {
        instance_id: instance_id.to_owned(),
        plan_id: plan_id.to_owned(),
        ..Default::default()
    };
    Ok(owner.lifecycle().change_plan(request).await?.into_inner())
}

/// An operation that has ended, whichever way.
pub(crate) async fn ended(owner: &Actor, operation: &Operation) -> Operation {
    eventually("the operation has ended", || async {
        let request = GetOperationRequest {
            operation_id: operation.id.clone(),
        };
        let reply = owner.operations().get_operation(request).await.unwrap();
        let seen = reply.into_inner().operation.unwrap();
        match seen.state() {
            Progress::Succeeded | Progress::Failed | Progress::Cancelled => Ok(seen),
            _ => Err(seen),
        }
    })
    .await
}

async fn documents(owner: &Actor, kind: Document, count: usize) -> Vec<Invoice> {
    eventually("the documents are issued", || async {
        let request = ListInvoicesRequest {
            kind: kind.into(),
            page_size: 200,
            ..Default::default()
        };
        let reply = owner.invoices().list_invoices(request).await.unwrap();
        let found = reply.into_inner().invoices;
        if found.len() >= count {
            Ok(found)
        } else {
            Err(found)
        }
    })
    .await
}

fn figures(change: &PlanChange) -> (i64, i64, i64) {
    let of = |money: Option<&Money>| rupiah(money);
    (
        of(change.net.as_ref()),
        of(change.tax.as_ref()),
        of(change.total.as_ref()),
    )
}

/// Half up to the rupiah, of amounts that are not negative.
fn part(amount: i64, numerator: i64, denominator: i64) -> i64 {
    (amount * numerator * 2 + denominator) / (denominator * 2)
}

#[tokio::test]
async fn an_upgrade_costs_what_its_preview_said_and_renews_at_the_new_price() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    let old = rupiah(machine.price.as_ref());
    budi.deposit(2_000_000).await;

    let first = preview(&budi, &machine.id, FASTER).await.unwrap();
    let days = i64::from(first.period_days);
    assert!((28..=31).contains(&days) && first.remaining_days == first.period_days);
    let net = 270_001 - old;
    assert_eq!(
        figures(&first),
        (net, part(net, 11, 100), net + part(net, 11, 100))
    );
    budi.advance(10, 0).await;
    let later = preview(&budi, &machine.id, FASTER).await.unwrap();
    let left = days - 10;
    assert_eq!(i64::from(later.remaining_days), left);
    let net = part(270_001, left, days) - part(old, left, days);
    assert_eq!(
        figures(&later),
        (net, part(net, 11, 100), net + part(net, 11, 100))
    );

    let request = |expected: i64| ChangePlanRequest {
        instance_id: machine.id.clone(),
        plan_id: FASTER.to_owned(),
        expected_total: Some(Money::idr(expected)),
    };
    let (_, _, total) = figures(&later);
    let stale = budi.lifecycle().change_plan(request(total + 1)).await;
    let error = sewa_tests::refused(stale);
    assert!(error.is("PRICE_CHANGED"), "{error:?}");
    assert_eq!(
        error.metadata("total"),
        Some(total.to_string().as_str()),
        "it says what it is"
    );
    let mut lifecycle = budi.lifecycle();
    let begun = lifecycle
        .change_plan(keyed("up", request(total)))
        .await
        .unwrap();
    let again = lifecycle
        .change_plan(keyed("up", request(total)))
        .await
        .unwrap();
    assert!(is_replay(&again), "the same key changes it once");
    let begun = begun.into_inner();
    assert_eq!(begun.plan_change.as_ref(), Some(&later));
    budi.finish(&begun.operation.unwrap()).await.unwrap();

    assert_eq!(budi.balance().await, (2_000_000 - total, 0));
    let changed = budi.instance(&machine.id).await;
    assert_eq!(changed.state(), State::Running);
    assert_eq!(
        (changed.plan_id.as_str(), changed.memory_mib, changed.vcpus),
        (FASTER, 2048, 1)
    );
    assert_eq!(rupiah(changed.price.as_ref()), 270_001);
    assert_eq!(changed.next_charge, later.next_charge);
    assert_eq!(changed.paid_until, machine.paid_until, "no time is lost");
    let moved: Vec<Moved> = budi.transactions().await.iter().map(|t| t.kind()).collect();
    assert_eq!(moved[..2], [Moved::Capture, Moved::Hold]);
    let invoices = documents(&budi, Document::Invoice, 2).await;
    let of_it: Vec<&Invoice> = invoices
        .iter()
        .filter(|i| rupiah(i.total.as_ref()) == total)
        .collect();
    assert_eq!(of_it.len(), 1, "{invoices:?}");
    assert!(
        of_it[0].lines[0]
            .description
            .contains(&format!("to faster, {left} of {days} days")),
        "{of_it:?}"
    );
    let told = budi
        .logged(1, |e| e.r#type() == EventType::PlanChanged)
        .await;
    match &told[0].payload {
        Some(Payload::Lifecycle(payload)) => {
            assert_eq!(rupiah(payload.amount.as_ref()), total);
        }
        other => panic!("{other:?}"),
    }

    // The next period costs the new price, and the clock goes on.
    let next = rupiah(changed.next_charge.as_ref());
    assert_eq!(next, 270_001 + part(270_001, 11, 100));
    budi.advance(left, 1).await;
    assert_eq!(budi.balance().await, (2_000_000 - total - next, 0));
}

#[tokio::test]
async fn a_downgrade_gives_back_what_is_not_used_with_a_credit_note() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    let old = rupiah(machine.price.as_ref());
    budi.deposit(1_000_000).await;
    let up = change(&budi, &machine.id, FASTER).await.unwrap();
    let (_, _, paid) = figures(up.plan_change.as_ref().unwrap());
    budi.finish(&up.operation.unwrap()).await.unwrap();
    // A machine that is off stays off.
    let off = ask(&budi, Verb::PowerOff, &machine.id, "").await.unwrap();
    budi.finish(&off).await.unwrap();
    budi.advance(15, 0).await;
    let before = budi.balance().await.0;
    assert_eq!(before, 1_000_000 - paid);

    let down = change(&budi, &machine.id, FAST).await.unwrap();
    let priced = down.plan_change.unwrap();
    let (days, left) = (
        i64::from(priced.period_days),
        i64::from(priced.remaining_days),
    );
    assert_eq!(left, days - 15);
    let net = part(270_001, left, days) - part(150_000, left, days);
    assert_eq!(
        figures(&priced),
        (-net, -part(net, 11, 100), -(net + part(net, 11, 100)))
    );
    budi.finish(&down.operation.unwrap()).await.unwrap();
    let (_, _, total) = figures(&priced);
    assert_eq!(budi.balance().await, (before - total, 0));
    let changed = budi.instance(&machine.id).await;
    assert_eq!(
        (changed.plan_id.as_str(), changed.state()),
        (FAST, State::Stopped)
    );
    let notes = documents(&budi, Document::CreditNote, 1).await;
    assert_eq!(notes.len(), 1);
    assert_eq!(rupiah(notes[0].total.as_ref()), -total);
    let upgrade = documents(&budi, Document::Invoice, 2).await;
    let upgrade = upgrade.iter().find(|i| rupiah(i.total.as_ref()) == paid);
    assert_eq!(notes[0].corrects_number, upgrade.unwrap().number);
    assert_eq!(old + part(old, 11, 100), {
        let order = budi.order(&machine.order_id).await;
        rupiah(order.quote.unwrap().total.as_ref())
    });
}

#[tokio::test]
async fn a_change_that_cannot_be_had_leaves_all_as_it_was() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    budi.deposit(500_000).await;
    budi.inject(FaultKind::NoCapacity, 1).await;
    let begun = change(&budi, &machine.id, FAST).await.unwrap();
    let failed = ended(&budi, &begun.operation.unwrap()).await;
    assert_eq!(failed.state(), Progress::Failed);
    let error = failed.error.unwrap();
    assert_eq!(error.code, tonic::Code::ResourceExhausted as i32);
    assert_eq!(budi.balance().await, (500_000, 0));
    let after = budi.instance(&machine.id).await;
    assert_eq!(after.state(), State::Running, "it has its power back");
    assert_eq!(
        (after.plan_id, after.price, after.next_charge),
        (machine.plan_id, machine.price, machine.next_charge.clone())
    );
    budi.logged(1, |e| e.r#type() == EventType::PlanChangeFailed)
        .await;
    let kinds: Vec<Moved> = budi.transactions().await.iter().map(|t| t.kind()).collect();
    assert_eq!(kinds[..2], [Moved::Release, Moved::Hold]);
    // A machine that is lost meanwhile is not paid for either.
    sqlx::query("update sim_machines set gone_at = now() - interval '1 second'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    let begun = change(&budi, &machine.id, FAST).await.unwrap();
    let failed = ended(&budi, &begun.operation.unwrap()).await;
    assert_eq!(failed.error.unwrap().code, tonic::Code::NotFound as i32);
    assert_eq!(budi.balance().await, (500_000, 0));
    assert_eq!(budi.instance(&machine.id).await.state(), State::Lost);
}

#[tokio::test]
async fn a_change_under_way_holds_renewals_up_and_a_killed_server_finishes_it() {
    let mut world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    sell(&world, &budi).await;
    budi.deposit(2_000_000).await;
    // Nothing the cloud is asked is done.
    budi.inject(FaultKind::Error, 0).await;
    let begun = change(&budi, &machine.id, FAST).await.unwrap();
    let (_, _, total) = figures(begun.plan_change.as_ref().unwrap());
    assert_eq!(budi.balance().await, (2_000_000 - total, total));
    let operation = begun.operation.unwrap();
    let request = sewa_sdk::sewa::sandbox::v1::AdvanceTestClockRequest {
        duration: Some(prost_types::Duration {
            seconds: 40 * 86_400,
            nanos: 0,
        }),
    };
    budi.sandbox().advance_test_clock(request).await.unwrap();
    world.restart();
    let now = budi.instance(&machine.id).await;
    assert_eq!(
        (now.paid_until, now.operation_id.as_str()),
        (machine.paid_until, operation.id.as_str()),
        "it neither renews nor is suspended meanwhile"
    );
    let request = sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest {};
    budi.sandbox().clear_faults(request).await.unwrap();
    // Its lease may be that of the server that was killed.
    sqlx::query("update operations set next_attempt_at = now() where finished_at is null")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    budi.finish(&operation).await.unwrap();
    budi.wait_clock().await;
    let renewed = budi.instance(&machine.id).await;
    assert!(renewed.paid_until.unwrap().seconds > machine.paid_until.unwrap().seconds);
    let next = rupiah(renewed.next_charge.as_ref());
    assert_eq!(budi.balance().await, (2_000_000 - total - next, 0));
    world.settled().await;
}

#[tokio::test]
async fn another_span_begins_with_the_next_renewal_at_the_price_of_its_preview() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    budi.deposit(3_000_000).await;
    let request = PreviewPeriodChangeRequest {
        instance_id: machine.id.clone(),
        period: BillingPeriod::Year.into(),
    };
    let reply = budi.lifecycle().preview_period_change(request).await;
    let preview = reply.unwrap().into_inner().renewal.unwrap();
    assert_eq!(preview.period_start_time, machine.paid_until);
    assert_eq!(rupiah(preview.price.as_ref()), 830_000);
    let to = async |period: BillingPeriod| {
        let request = ChangePeriodRequest {
            instance_id: machine.id.clone(),
            period: period.into(),
        };
        let reply = budi.lifecycle().change_period(request).await.unwrap();
        reply.into_inner().subscription.unwrap()
    };
    let changed = to(BillingPeriod::Year).await;
    assert_eq!(
        (changed.period(), changed.paid_until),
        (BillingPeriod::Year, machine.paid_until),
        "what is paid stays paid"
    );
    assert_eq!(
        to(BillingPeriod::Year).await,
        changed,
        "asking again changes nothing"
    );
    assert_eq!(budi.balance().await, (3_000_000, 0), "no money moves now");
    let seen = budi.instance(&machine.id).await;
    assert_eq!(seen.period(), BillingPeriod::Year);
    assert_eq!(seen.next_charge, preview.total);

    // A change of plan in between prices the month that is paid, and the year to come.
    sell(&world, &budi).await;
    let up = change(&budi, &machine.id, FAST).await.unwrap();
    let priced = up.plan_change.unwrap();
    assert_eq!(figures(&priced).0, 150_000 - 83_000, "the month");
    assert_eq!(
        (priced.period(), rupiah(priced.price.as_ref())),
        (BillingPeriod::Year, 1_500_000)
    );
    budi.finish(&up.operation.unwrap()).await.unwrap();
    let request = PreviewRenewalRequest {
        instance_id: machine.id.clone(),
    };
    let renewal = budi.lifecycle().preview_renewal(request).await.unwrap();
    let renewal = renewal.into_inner().renewal.unwrap();
    let year = rupiah(renewal.total.as_ref());
    assert_eq!(year, 1_665_000);
    let before = budi.balance().await.0;
    budi.advance(32, 0).await;
    assert_eq!(budi.balance().await, (before - year, 0));
    let renewed = budi.instance(&machine.id).await;
    assert_eq!(renewed.paid_until, renewal.period_end_time);
    // Within the year, days are those of the year.
    let next = crate::plan_change::preview(&budi, &machine.id, FASTER)
        .await
        .unwrap();
    assert!((365..=366).contains(&next.period_days), "{next:?}");
    assert_eq!(
        to(BillingPeriod::Month).await.period(),
        BillingPeriod::Month
    );
}
