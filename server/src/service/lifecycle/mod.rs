//! What happens to instances as time passes.
//!
//! Owns: `subscriptions`, `renewals`, `plan_changes`, `account_policies`, `test_clocks`. Calls: catalog, wallet, operation, instance. Reads `accounts` of identity. Emits:
//! RENEWED, RENEWAL_FAILED, SUSPENDED, UNSUSPENDED, TERMINATED, PLAN_CHANGED, PLAN_CHANGE_FAILED.
//!
//! Money is asked for once more before anyone is suspended or terminated, and whenever money comes in. A deleted or lost instance ends its subscription; that
//! news comes by the event log (`news.rs`), because instances are of lower rank.
//!
//! A change of plan (`change.rs`) holds its price and records an operation; a job takes that through the provider (`job.rs`) and settles money, plan and operation in one
//! transaction. In between nothing else is due for the instance.

pub mod change;
pub mod clock;
pub mod convert;
pub mod error;
pub mod job;
pub mod model;
#[cfg(test)]
mod model_tests;
pub mod news;
pub mod preview;
pub mod proration;
pub mod rpc;
pub mod store;
pub mod sweep;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::EventType;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId};
use crate::base::money::Rupiah;
use crate::base::outbox;
use crate::base::tax;
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::model::{Charge, POLICIES, Start, State, Step, Subscription};
use crate::service::lifecycle::store::{Renewal, changes};
use crate::service::wallet::model::{Action, Command};
use crate::service::{instance, wallet};

/// Begins a subscription whose first period was just paid. Repeats safely.
///
/// # Errors
/// Of the database.
pub async fn start(
    app: &App,
    connection: &mut PgConnection,
    start: Start,
) -> Result<(), sqlx::Error> {
    let (now, on_test_clock) = clock::now(app, connection, start.account).await?;
    let policy = store::get_policy(connection, start.account)
        .await?
        .unwrap_or_else(|| POLICIES[0].code.to_owned());
    let subscription = Subscription::begin(&start, policy, now, on_test_clock);
    if store::insert(connection, &subscription).await? {
        let tax = tax::ppn(start.price, now);
        let total = start.price.checked_add(tax).unwrap_or(start.price);
        let charge = Charge {
            number: 1,
            starts_at: now,
            ends_at: subscription.paid_until,
            price: start.price,
            tax,
            total,
        };
        store::insert_renewals(
            connection,
            &[sweep::renewal(&subscription, &charge, "PAID", now)],
        )
        .await?;
    }
    Ok(())
}

/// Begins a subscription to a machine that was sold elsewhere, whose present period is paid until `paid_until`. Nothing is charged for it, and so nothing of it is ever given
/// back; the next one is charged when it begins.
///
/// # Errors
/// Of the database.
pub async fn take_over(
    connection: &mut PgConnection,
    start: Start,
    paid_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let policy = store::get_policy(connection, start.account)
        .await?
        .unwrap_or_else(|| POLICIES[0].code.to_owned());
    let subscription = Subscription::take_over(&start, policy, paid_until, now);
    if store::insert(connection, &subscription).await? {
        let charge = Charge {
            number: 1,
            starts_at: subscription.present.starts_at,
            ends_at: paid_until,
            price: Rupiah(0),
            tax: Rupiah(0),
            total: Rupiah(0),
        };
        let paid = sweep::renewal(&subscription, &charge, "PAID", now);
        store::insert_renewals(connection, &[paid]).await?;
    }
    Ok(())
}

/// Switches automatic renewal.
///
/// # Errors
/// If there is no such subscription, or it has ended.
pub async fn set_auto_renew(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    auto_renew: bool,
) -> Result<Subscription, Error> {
    let mut subscription = live_for_update(connection, account, instance).await?;
    if subscription.auto_renew != auto_renew {
        subscription.auto_renew = auto_renew;
        subscription.revision += 1;
        if subscription.state == State::Active {
            subscription.next = Some(subscription.step_when_paid());
        }
        store::save(connection, std::slice::from_ref(&subscription)).await?;
    }
    Ok(subscription)
}

/// What renewing now would cost.
///
/// # Errors
/// If there is no such subscription, it has ended, or its next period is paid already.
pub fn price_renewal(subscription: &Subscription, now: DateTime<Utc>) -> Result<Charge, Error> {
    match subscription.state {
        State::Ended => Err(Error::SubscriptionEnded),
        State::Active | State::Grace | State::Suspended if subscription.renewal_hold.is_some() => {
            Err(Error::AlreadyPrepaid {
                paid_until: subscription.paid_until,
            })
        }
        State::Active | State::Grace | State::Suspended => subscription
            .next_charge(now)
            .ok_or(Error::SubscriptionEnded),
    }
}

/// Pays the next period: ahead, by a hold, while the present one runs; at once when it is over, which resumes a suspended machine.
///
/// # Errors
/// As [`price_renewal`], while its plan is being changed, or if the balance does not cover it.
pub async fn renew(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Renewal, Error> {
    let mut subscription = live_for_update(connection, account, instance).await?;
    if let Some(operation) = subscription.change {
        return Err(Error::Changing(operation));
    }
    let (now, _) = clock::now(app, connection, account).await?;
    let charge = price_renewal(&subscription, now)?;
    let recorded_at = app.clock.now();
    if subscription.state == State::Active && now < subscription.paid_until {
        let description = format!("Renewal {} of {instance}, paid ahead", charge.number);
        let hold = Command {
            account,
            action: Action::Hold(charge.total),
            subject: instance.0,
            description,
        };
        subscription.renewal_hold =
            Some(wallet::apply_one(connection, hold, recorded_at).await?.id);
        subscription.revision += 1;
        subscription.next = Some((Step::Renew, subscription.paid_until));
        let renewal = sweep::renewal(&subscription, &charge, "HELD", now);
        store::insert_renewals(connection, std::slice::from_ref(&renewal)).await?;
        store::save(connection, std::slice::from_ref(&subscription)).await?;
        return Ok(renewal);
    }
    wallet::apply_one(
        connection,
        sweep::command(&subscription, &charge),
        recorded_at,
    )
    .await?;
    let was_suspended = subscription.state == State::Suspended;
    subscription.paid(&charge);
    let renewal = sweep::renewal(&subscription, &charge, "PAID", now);
    store::insert_renewals(connection, std::slice::from_ref(&renewal)).await?;
    store::save(connection, std::slice::from_ref(&subscription)).await?;
    let mut events = vec![sweep::event(
        &subscription,
        EventType::Renewed,
        charge.total,
        now,
    )];
    if was_suspended {
        instance::resume_many(connection, &[(account, instance)], recorded_at).await?;
        events.push(sweep::event(
            &subscription,
            EventType::Unsuspended,
            charge.total,
            now,
        ));
    }
    outbox::insert(connection, &events).await?;
    Ok(renewal)
}

/// Ends a subscription whose machine is gone or going, and releases what was paid ahead. Repeats safely.
///
/// # Errors
/// Of the database.
pub async fn end(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<(), Error> {
    let Some(mut subscription) = store::get_for_update(connection, account, instance).await? else {
        return Ok(());
    };
    if subscription.state == State::Ended {
        return Ok(());
    }
    if let Some(hold) = subscription.renewal_hold {
        let description = format!("Renewal of {instance} not used");
        let release = Command {
            account,
            action: Action::Release { hold },
            subject: instance.0,
            description,
        };
        wallet::apply_one(connection, release, app.clock.now()).await?;
        store::close_held(connection, &[(account, instance)], "RELEASED").await?;
    }
    subscription.revision += 1;
    subscription.end();
    store::save(connection, std::slice::from_ref(&subscription)).await?;
    Ok(())
}

/// Ends the first period of a subscription now, because what paid for it was taken back. What follows is what follows every period: the next one is charged if its owner
/// wants that, and what is not paid goes through grace, suspension and termination by policy. A change of plan that is under way was priced for what is left of the period;
/// it goes on, and no money moves for it. False if the period is over already; what came after it was paid otherwise.
///
/// # Errors
/// Of the database.
pub async fn cut_short(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<bool, sqlx::Error> {
    let Some(mut subscription) = store::get_for_update(connection, account, instance).await? else {
        return Ok(false);
    };
    let (now, _) = clock::now(app, connection, account).await?;
    let Some(next) = subscription.cut_short(now) else {
        return Ok(false);
    };
    if let Some(operation) = subscription.change {
        changes::cut_short(connection, account, operation).await?;
    }
    store::move_end(connection, &subscription, &next).await?;
    store::save(connection, std::slice::from_ref(&subscription)).await?;
    Ok(true)
}

async fn live_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Subscription, Error> {
    let subscription = store::get_for_update(connection, account, instance)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    if subscription.state == State::Ended {
        Err(Error::SubscriptionEnded)
    } else {
        Ok(subscription)
    }
}
