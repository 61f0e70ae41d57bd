//! Changes of what an owner pays for: another plan, now, or another span, from the next renewal on. What is priced here is what is charged: a preview asks the same
//! functions.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::event::v1::EventType;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId, JournalId, PlanId};
use crate::base::money::Rupiah;
use crate::base::{outbox, tax};
use crate::service::catalog::Snapshot;
use crate::service::catalog::model::Plan;
use crate::service::instance::model::Instance;
use crate::service::instance::resize::{self, Became};
use crate::service::instance::store as instances;
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::model::{Charge, State, Subscription};
use crate::service::lifecycle::proration::{Proration, prorate};
use crate::service::lifecycle::store::changes::{self, PlanChange};
use crate::service::lifecycle::{clock, store, sweep};
use crate::service::operation::NewOperation;
use crate::service::wallet;
use crate::service::wallet::model::{Action, Command};

/// A change of plan and its price.
#[derive(Clone, Debug)]
pub struct Priced<'p> {
    /// The machine.
    pub instance: InstanceId,
    /// The plan it has.
    pub from: PlanId,
    /// The plan it is to have.
    pub plan: &'p Plan,
    /// What the change costs.
    pub proration: Proration,
    /// What the new plan costs for the whole present period.
    pub present_price: Rupiah,
    /// Price of one period without tax, from the next one on.
    pub price: Rupiah,
    /// The span it pays for.
    pub period: BillingPeriod,
    /// What the next renewal will charge, tax included.
    pub next_charge: Rupiah,
}

/// Whether what an owner pays for can be changed at `now`.
fn changeable(subscription: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    let paid = subscription.state == State::Active && now < subscription.paid_until;
    match subscription.state {
        State::Ended => Err(Error::SubscriptionEnded),
        _ if !paid => Err(Error::Unpaid),
        _ => match (subscription.change, subscription.renewal_hold) {
            (Some(operation), _) => Err(Error::Changing(operation)),
            (None, Some(_)) => Err(Error::AlreadyPrepaid {
                paid_until: subscription.paid_until,
            }),
            (None, None) => Ok(()),
        },
    }
}

/// What a plan that is sold costs for a period at present.
fn price_of(
    catalogue: &Snapshot,
    plan: &Plan,
    period: BillingPeriod,
    at: DateTime<Utc>,
) -> Result<Rupiah, Error> {
    let price = catalogue.price(plan.id, period, at);
    let price = price.filter(|price| price.available);
    Ok(price.ok_or(Error::PeriodUnavailable(period))?.amount)
}

/// Prices a change of plan. `now` is the account's time; prices of the catalogue are those of the platform's.
///
/// # Errors
/// Why the subscription or the machine does not take it, or the plan is not sold.
pub fn price_plan<'p>(
    app: &App,
    catalogue: &'p Snapshot,
    subscription: &Subscription,
    instance: &Instance,
    plan: PlanId,
    now: DateTime<Utc>,
) -> Result<Priced<'p>, Error> {
    changeable(subscription, now)?;
    let at = app.clock.now();
    let plan = catalogue
        .plan(plan)
        .filter(|plan| catalogue.sells(plan, at))
        .ok_or(Error::PlanUnavailable(plan))?;
    let can = app.providers.capabilities_of(&instance.provider);
    // A provider that is not configured any more can do nothing.
    let can = can.ok_or(Error::Unsuitable(resize::Unsuitable::NotSupported(
        "resize",
    )))?;
    resize::suits(instance, plan, can).map_err(Error::Unsuitable)?;
    let price = price_of(catalogue, plan, subscription.period, at)?;
    let present_price = price_of(catalogue, plan, subscription.present.period, at)?;
    let proration = prorate(
        &subscription.present,
        subscription.paid_until,
        present_price,
        now,
    );
    let next_tax = tax::ppn(price, subscription.paid_until);
    Ok(Priced {
        instance: subscription.instance,
        from: instance.plan,
        plan,
        proration,
        present_price,
        price,
        period: subscription.period,
        next_charge: Rupiah(price.0.saturating_add(next_tax.0)),
    })
}

/// Holds what a change of plan costs, and records the operation that makes it.
///
/// # Errors
/// As [`price_plan`]; if the total is not `expected`, the balance does not cover it, or the instance does not take it.
pub async fn begin<'p>(
    app: &App,
    connection: &mut PgConnection,
    catalogue: &'p Snapshot,
    (account, id): (AccountId, InstanceId),
    plan: PlanId,
    expected: Option<Rupiah>,
) -> Result<(Priced<'p>, NewOperation), Error> {
    let mut subscription = super::live_for_update(connection, account, id).await?;
    let instance = instances::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    let (now, _) = clock::now(app, connection, account).await?;
    let priced = price_plan(app, catalogue, &subscription, &instance, plan, now)?;
    let total = priced.proration.total();
    if let Some(expected) = expected.filter(|expected| *expected != total) {
        return Err(Error::PriceChanged { expected, total });
    }
    let recorded_at = app.clock.now();
    let operation = resize::ask(connection, account, id, recorded_at)
        .await
        .map_err(Error::Instance)?;
    let mut change = PlanChange {
        account,
        operation: operation.id,
        instance: id,
        from_plan: instance.plan,
        plan: priced.plan.id,
        from_plan_name: catalogue
            .plan(instance.plan)
            .map(|plan| plan.display_name.clone())
            .unwrap_or_default(),
        plan_name: priced.plan.display_name.clone(),
        provider_size: priced.plan.provider_size.clone(),
        vcpus: priced.plan.vcpus,
        memory_mib: priced.plan.memory_mib,
        disk_gib: priced.plan.disk_gib,
        disk_grows: priced.plan.disk_gib > instance.disk_gib,
        price: priced.price,
        present_price: priced.present_price,
        remaining_days: priced.proration.remaining_days,
        period_days: priced.proration.period_days,
        net: priced.proration.net,
        tax: priced.proration.tax,
        hold: None,
        failure: None,
        created_at: recorded_at,
    };
    if total > Rupiah::ZERO {
        let hold = command(&change, Action::Hold(total));
        change.hold = Some(wallet::apply_one(connection, hold, recorded_at).await?.id);
    }
    changes::insert(connection, &change).await?;
    subscription.change = Some(operation.id);
    subscription.revision += 1;
    store::save(connection, std::slice::from_ref(&subscription)).await?;
    Ok((priced, operation))
}

/// A movement of money for a change of plan. Its description is what the invoice says.
fn command(change: &PlanChange, action: Action) -> Command {
    let description = format!(
        "Plan of {} from {} to {}, {} of {} days",
        change.instance,
        change.from_plan_name,
        change.plan_name,
        change.remaining_days,
        change.period_days,
    );
    Command {
        account: change.account,
        action,
        subject: change.instance.0,
        description,
    }
}

/// The machine has its new size: takes or gives back the money, and makes plan and price the new ones. No money moves if the period it was priced for was cut short.
///
/// # Errors
/// Of the ledger, or the database.
pub(super) async fn finish(
    connection: &mut PgConnection,
    subscription: &mut Subscription,
    change: &PlanChange,
    now: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
) -> Result<Became, Error> {
    let mut refund: Option<JournalId> = None;
    let tax = Rupiah(change.tax.0.abs());
    // Asked under the lock of the subscription, which is also taken by who cuts its period short.
    let cut_short = changes::is_cut_short(connection, change).await?;
    if cut_short {
        if let Some(hold) = change.hold {
            let release = command(change, Action::Release { hold });
            wallet::apply_one(connection, release, recorded_at).await?;
        }
    } else if let Some(hold) = change.hold {
        let capture = command(change, Action::Capture { hold, tax });
        wallet::apply_one(connection, capture, recorded_at).await?;
    } else if change.net < Rupiah::ZERO {
        let total = Rupiah(change.net.0.abs().saturating_add(tax.0));
        let back = command(change, Action::Refund { total, tax });
        refund = Some(wallet::apply_one(connection, back, recorded_at).await?.id);
    }
    changes::end(connection, change, refund, None, recorded_at).await?;
    subscription.price = change.price;
    subscription.present.price = change.present_price;
    close(connection, subscription).await?;
    let amount = if cut_short {
        Rupiah::ZERO
    } else {
        Rupiah(change.net.0.saturating_add(change.tax.0))
    };
    let event = sweep::event(subscription, EventType::PlanChanged, amount, now);
    outbox::insert(connection, &[event]).await?;
    Ok(Became {
        plan: change.plan,
        size: change.provider_size.clone(),
        vcpus: change.vcpus,
        memory_mib: change.memory_mib,
        disk_gib: change.disk_gib,
        price: change.price,
    })
}

/// The change cannot be had, and its money is given back.
///
/// # Errors
/// Of the ledger, or the database.
pub(super) async fn give_up(
    connection: &mut PgConnection,
    subscription: &mut Subscription,
    change: &PlanChange,
    failure: (&str, &str),
    now: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(hold) = change.hold {
        let release = command(change, Action::Release { hold });
        wallet::apply_one(connection, release, recorded_at).await?;
    }
    changes::end(connection, change, None, Some(failure), recorded_at).await?;
    close(connection, subscription).await?;
    let kind = EventType::PlanChangeFailed;
    let event = sweep::event(subscription, kind, Rupiah::ZERO, now);
    Ok(outbox::insert(connection, &[event]).await?)
}

/// Nothing is under way any more.
async fn close(
    connection: &mut PgConnection,
    subscription: &mut Subscription,
) -> Result<(), sqlx::Error> {
    subscription.change = None;
    subscription.revision += 1;
    store::save(connection, std::slice::from_ref(subscription)).await
}

/// The subscription as it would be, paid by another span from the next period on, and what that period would be. Asking for the span it has changes nothing.
///
/// # Errors
/// Why the subscription does not take it, or the plan is not sold for the span.
pub fn price_period(
    app: &App,
    catalogue: &Snapshot,
    mut subscription: Subscription,
    instance: &Instance,
    period: BillingPeriod,
    now: DateTime<Utc>,
) -> Result<(Subscription, Charge), Error> {
    changeable(&subscription, now)?;
    if period != subscription.period {
        let at = app.clock.now();
        let plan = catalogue
            .plan(instance.plan)
            .filter(|plan| catalogue.sells(plan, at))
            .ok_or(Error::PlanUnavailable(instance.plan))?;
        let price = price_of(catalogue, plan, period, at)?;
        subscription.change_period(period, price);
    }
    let charge = subscription
        .next_charge(subscription.paid_until)
        .ok_or(Error::PeriodUnavailable(period))?;
    Ok((subscription, charge))
}

/// Pays by another span from the next renewal on.
///
/// # Errors
/// As [`price_period`].
pub async fn set_period(
    app: &App,
    connection: &mut PgConnection,
    catalogue: &Snapshot,
    (account, id): (AccountId, InstanceId),
    period: BillingPeriod,
) -> Result<Subscription, Error> {
    let subscription = super::live_for_update(connection, account, id).await?;
    let instance = instances::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    let (now, _) = clock::now(app, connection, account).await?;
    let (changed, _) = price_period(app, catalogue, subscription, &instance, period, now)?;
    store::save(connection, std::slice::from_ref(&changed)).await?;
    let (period, price) = (changed.period, changed.price);
    instances::set_period(connection, account, id, period, price, app.clock.now()).await?;
    Ok(changed)
}
