//! Time: what happens to a machine as months pass, played on the account's own clock.

use std::time::{Duration, SystemTime};

use sewa_sdk::Error;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{Instance, PowerOnInstanceRequest};
use sewa_sdk::sewa::lifecycle::v1::lifecycle_service_client::LifecycleServiceClient;
use sewa_sdk::sewa::lifecycle::v1::{ListRenewalsRequest, RenewInstanceRequest, Renewal, renewal};
use sewa_sdk::sewa::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, CreateTestClockRequest, GetTestClockRequest, TestClock, test_clock,
};

use super::machine::{self, read, settled};
use super::money::{self, balance};
use super::stage::{Stage, call, given, names, rupiah, units, until};

/// Gives the account a clock of its own.
pub(crate) async fn create_clock(stage: &mut Stage) -> Result<(), Error> {
    stage.asks("give the account a test clock");
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    sandbox
        .create_test_clock(call(CreateTestClockRequest {}))
        .await?;
    let clock = clock(stage).await?;
    stage.check(
        clock.state() == test_clock::State::Ready,
        format!("the clock is {:?}", clock.state()),
    )?;
    let shown = given(clock.now_time, "time")?;
    stage.sees(format!("the clock stands still at {shown}"));
    Ok(())
}

async fn clock(stage: &Stage) -> Result<TestClock, Error> {
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    let reply = sandbox.get_test_clock(call(GetTestClockRequest {})).await?;
    given(reply.into_inner().clock, "clock")
}

/// Lets time pass until the next thing the instance announces, and waits until everything due by then has happened.
async fn pass(stage: &mut Stage, instance: &Instance) -> Result<(), Error> {
    let target = given(instance.next_step_time, "time of the next step")?;
    let shown = given(clock(stage).await?.now_time, "time")?;
    let ahead = SystemTime::try_from(target)
        .ok()
        .zip(SystemTime::try_from(shown).ok())
        .and_then(|(to, from)| to.duration_since(from).ok());
    let ahead = given(ahead.filter(|span| !span.is_zero()), "step to come")?;
    let days = ahead.as_secs_f64() / Duration::from_hours(24).as_secs_f64();
    stage.asks(format!(
        "let {days:.1} days pass, to {target}, when it is to {}",
        instance.next_step
    ));
    // Clocks move by whole milliseconds; what is due between two of them is due at the later one.
    let request = AdvanceTestClockRequest {
        duration: (ahead + Duration::from_millis(1)).try_into().ok(),
    };
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    sandbox.advance_test_clock(call(request)).await?;
    until("the clock at its target", async || {
        let clock = clock(stage).await?;
        let shown = clock.now_time.map(|time| (time.seconds, time.nanos));
        let there = shown >= Some((target.seconds, target.nanos));
        Ok((there && clock.state() == test_clock::State::Ready).then_some(()))
    })
    .await
}

/// The month ends, and the machine is renewed from the wallet.
pub(crate) async fn renew(stage: &mut Stage, id: &str) -> Result<(), Error> {
    let before = read(stage, id).await?;
    let charge = units(before.next_charge.as_ref());
    let wallet = balance(stage).await?;
    pass(stage, &before).await?;
    let events = stage.follow(id, EventType::Renewed).await?;
    let (after, left) = (read(stage, id).await?, balance(stage).await?);
    let paid = newest_renewal(stage, id).await?;
    stage.check(
        charge > 0 && left.available == wallet.available - charge,
        format!(
            "{} became {} by a renewal of {}",
            rupiah(wallet.available),
            rupiah(left.available),
            rupiah(charge)
        ),
    )?;
    stage.check(
        paid.state() == renewal::State::Paid
            && paid.period_number == 2
            && paid.period_end_time == after.paid_until
            && after.paid_until != before.paid_until,
        format!("the renewal is {paid:?}"),
    )?;
    stage.sees(format!(
        "{}; the balance fell by exactly {}; paid until {}",
        last(&events),
        rupiah(charge),
        given(after.paid_until, "end of the paid time")?
    ));
    Ok(())
}

/// The next month ends with too little in the wallet.
pub(crate) async fn run_out_of_money(stage: &mut Stage, id: &str) -> Result<(), Error> {
    let before = read(stage, id).await?;
    let wallet = balance(stage).await?;
    stage.check(
        wallet.available < units(before.next_charge.as_ref()),
        format!("{} pay another month", rupiah(wallet.available)),
    )?;
    pass(stage, &before).await?;
    let events = stage.follow(id, EventType::RenewalFailed).await?;
    let (after, left) = (read(stage, id).await?, balance(stage).await?);
    stage.check(
        after.state() == State::Running
            && after.next_step == "suspend"
            && left.available == wallet.available,
        format!(
            "it is {} and next is {:?}",
            machine::word(after.state()),
            after.next_step
        ),
    )?;
    stage.sees(format!(
        "{} with {} left; it runs on until {}",
        last(&events),
        rupiah(left.available),
        given(after.next_step_time, "time of the next step")?
    ));
    Ok(())
}

/// The grace ends: the platform powers the machine off, and nobody powers it on.
pub(crate) async fn suspend(stage: &mut Stage, id: &str) -> Result<(), Error> {
    let before = read(stage, id).await?;
    pass(stage, &before).await?;
    let events = stage.follow(id, EventType::Suspended).await?;
    let after = settled(stage, id, State::Suspended).await?;
    stage.check(
        after.next_step == "terminate",
        format!("next is {:?}", after.next_step),
    )?;
    stage.sees(format!(
        "{}; the instance is SUSPENDED, to be terminated at {}",
        last(&events),
        given(after.next_step_time, "time of the next step")?
    ));

    stage.asks("power it on all the same");
    let request = PowerOnInstanceRequest {
        instance_id: id.to_owned(),
        ..Default::default()
    };
    let outcome = machine::service(stage)
        .power_on_instance(call(request))
        .await;
    let refusal = stage.refused(outcome, "INSTANCE_SUSPENDED")?;
    stage.sees(format!("refused: {refusal}"));
    Ok(())
}

/// Money comes in, and the platform does the rest.
pub(crate) async fn pay_and_resume(stage: &mut Stage, id: &str, amount: i64) -> Result<(), Error> {
    let charge = units(read(stage, id).await?.next_charge.as_ref());
    let before = balance(stage).await?;
    stage.asks(format!("pay in {}, and nothing else", rupiah(amount)));
    let deposit = money::open(stage, amount).await?;
    money::settle(stage, &deposit.id).await?;
    let events = stage.follow(id, EventType::Unsuspended).await?;
    let after = settled(stage, id, State::Running).await?;
    let left = balance(stage).await?;
    stage.check(
        charge > 0 && left.available == before.available + amount - charge,
        format!(
            "{} are available after a renewal of {}",
            rupiah(left.available),
            rupiah(charge)
        ),
    )?;
    stage.check(
        after.next_step == "renew",
        format!("next is {:?}", after.next_step),
    )?;
    stage.sees(format!(
        "events {}; the instance is RUNNING, {} were charged, paid until {}",
        names(&events),
        rupiah(charge),
        given(after.paid_until, "end of the paid time")?
    ));
    Ok(())
}

/// Pays the next period before it begins. Returns what is held for it.
pub(crate) async fn pay_ahead(stage: &mut Stage, id: &str) -> Result<i64, Error> {
    let before = balance(stage).await?;
    stage.asks("pay the next period ahead");
    let request = RenewInstanceRequest {
        instance_id: id.to_owned(),
    };
    let mut lifecycle = stage.client.service(LifecycleServiceClient::new);
    lifecycle.renew_instance(call(request)).await?;
    let renewal = newest_renewal(stage, id).await?;
    let total = units(renewal.total.as_ref());
    let after = balance(stage).await?;
    stage.check(
        renewal.state() == renewal::State::Held
            && total > 0
            && after.held == before.held + total
            && after.available == before.available - total,
        format!(
            "{} are held, {} available, and the renewal is {:?}",
            rupiah(after.held),
            rupiah(after.available),
            renewal.state()
        ),
    )?;
    stage.sees(format!(
        "renewal {} is HELD: {} held, {} available",
        renewal.period_number,
        rupiah(after.held),
        rupiah(after.available)
    ));
    Ok(total)
}

/// What was paid ahead for a machine that was deleted comes back by itself.
pub(crate) async fn release(stage: &mut Stage, id: &str, held: i64) -> Result<(), Error> {
    stage.asks("read what became of the money paid ahead");
    let freed = until("the money paid ahead, released", async || {
        let wallet = balance(stage).await?;
        Ok((wallet.held == 0).then_some(wallet))
    })
    .await?;
    let renewal = newest_renewal(stage, id).await?;
    stage.check(
        renewal.state() == renewal::State::Released && units(renewal.total.as_ref()) == held,
        format!("the renewal is {:?}", renewal.state()),
    )?;
    stage.sees(format!(
        "the renewal is RELEASED: nothing held, {} available",
        rupiah(freed.available)
    ));
    Ok(())
}

async fn newest_renewal(stage: &Stage, id: &str) -> Result<Renewal, Error> {
    let request = ListRenewalsRequest {
        instance_id: id.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let mut lifecycle = stage.client.service(LifecycleServiceClient::new);
    let reply = lifecycle.list_renewals(call(request)).await?.into_inner();
    given(reply.renewals.into_iter().next(), "renewal")
}

fn last(events: &[sewa_sdk::sewa::event::v1::Event]) -> String {
    events
        .last()
        .map(|event| super::stage::name(event.r#type()).to_owned())
        .unwrap_or_default()
}
