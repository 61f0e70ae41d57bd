//! Takes changes of plan through the provider and settles them. The operation of a change is leased, its machine is worked on while no transaction is open
//! (`instance/resize.rs`), and one short transaction settles money, plan and operation, if the lease still holds. Killed anywhere, it is due again when its lease ends.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::fault::{self, Step};
use crate::base::lease;
use crate::provider::compute::Machine;
use crate::service::instance::model::Event;
use crate::service::instance::resize::{self, GONE, Resized, Target};
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::store::changes::{self, PlanChange};
use crate::service::lifecycle::{change, clock, store};
use crate::service::operation;
use crate::service::operation::model::{End, Leased};
use crate::service::operation::store::{Put, Queue};
use crate::service::wallet;
use crate::service::wallet::model::Refused;

/// Changes leased at once.
const CHUNK: i64 = 50;
/// Changes worked on at once.
const CONCURRENT: usize = 8;
/// How long a change stays leased to a replica that may have died.
const LEASE: TimeDelta = TimeDelta::seconds(30);
/// The longest one attempt takes. Nobody begins with less of the lease left.
const ATTEMPT: TimeDelta = TimeDelta::seconds(20);
/// How long a change that is done waits for a wallet that is frozen, before it is looked at again.
const FROZEN: TimeDelta = TimeDelta::seconds(30);

/// Works on the changes of plan that are due, and returns how many there were.
///
/// # Errors
/// Of the database, when leasing. Faults of single changes are logged; those stay due.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let leased =
        operation::store::lease(&app.db, Queue::PlanChanges, now, now + LEASE, CHUNK).await?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |leased| async move {
            if app.clock.now() > now + LEASE - ATTEMPT {
                return;
            }
            let end = now + LEASE;
            let change = ("change of plan", leased.id);
            lease::work(&app.clock, end, change, work(app, &leased)).await;
            app.tail.wake();
        })
        .await;
    Ok(count)
}

async fn work(app: &App, leased: &Leased) -> Result<(), Error> {
    let found = changes::get_open(&app.db, leased.account, leased.id).await?;
    let Some(open) = found else {
        tracing::error!(operation = %leased.id, "an operation changes no plan");
        return Ok(());
    };
    let target = Target {
        size: open.provider_size.clone(),
        disk_grows: open.disk_grows,
        failed: open.failure.is_some(),
    };
    let resized = resize::attempt(app, leased, &target).await?;
    match apply(app, leased, &open, resized).await {
        Err(Error::Wallet(wallet::error::Error::Refused(Refused::Frozen))) => {
            let mut connection = app.db.acquire().await?;
            let put = put(leased, leased.asked_at, app.clock.now() + FROZEN);
            operation::store::put_back(&mut connection, leased, &put).await?;
            Ok(())
        }
        applied => applied,
    }
}

fn put(leased: &Leased, asked_at: Option<DateTime<Utc>>, at: DateTime<Utc>) -> Put<'static> {
    let (step, progress) = if asked_at.is_some() {
        ("working", 50)
    } else {
        ("asking", 10)
    };
    Put {
        next_attempt_at: at,
        step,
        progress,
        asked_at,
        unsure: leased.unsure,
    }
}

/// Writes down what an attempt came to, unless the lease was lost: whoever holds it now knows better.
async fn apply(
    app: &App,
    leased: &Leased,
    open: &PlanChange,
    resized: Resized,
) -> Result<(), Error> {
    let mut tx = app.db.begin().await?;
    let now = app.clock.now();
    let held = match resized {
        Resized::Later {
            after,
            asked_at,
            unsure,
        } => {
            let put = Put {
                unsure,
                ..put(leased, asked_at, now + after)
            };
            operation::store::put_back(&mut tx, leased, &put).await?
        }
        Resized::Refused(failure) => {
            changes::set_failure(&mut tx, open, failure.reason, failure.message).await?;
            let put = put(leased, leased.asked_at, now);
            operation::store::put_back(&mut tx, leased, &put).await?
        }
        Resized::Done(event, machine) => {
            let seen = (Some(event), Some(machine));
            end(app, &mut tx, leased, open, seen, None).await?
        }
        Resized::Over(event, machine) => {
            let (reason, message) = open.failure.clone().unwrap_or_default();
            let failure = Some((reason.as_str(), message.as_str()));
            end(app, &mut tx, leased, open, (event, machine), failure).await?
        }
        Resized::Lost => {
            let failure = Some((GONE.reason, GONE.message));
            let seen = (Some(Event::Lose), None);
            end(app, &mut tx, leased, open, seen, failure).await?
        }
    };
    if !held {
        return Ok(tx.rollback().await?);
    }
    Ok(fault::around(Step::PlanChange, tx.commit()).await?)
}

/// Settles a change: with money and a new plan, or without either if there is a failure. False if the lease was lost.
async fn end(
    app: &App,
    connection: &mut PgConnection,
    leased: &Leased,
    open: &PlanChange,
    (event, machine): (Option<Event>, Option<Machine>),
    failure: Option<(&str, &str)>,
) -> Result<bool, Error> {
    let (account, id) = (open.account, open.instance);
    let found = store::get_for_update(connection, account, id).await?;
    let mut subscription = found.ok_or(Error::InstanceNotFound)?;
    let recorded_at = app.clock.now();
    let (now, on_test_clock) = clock::now(app, connection, account).await?;
    let became = match failure {
        Some(failure) => {
            let subscription = &mut subscription;
            change::give_up(connection, subscription, open, failure, now, recorded_at).await?;
            None
        }
        None => {
            let subscription = &mut subscription;
            Some(change::finish(connection, subscription, open, now, recorded_at).await?)
        }
    };
    resize::ended(
        connection,
        account,
        id,
        event,
        machine.as_ref(),
        became.as_ref(),
        recorded_at,
    )
    .await?;
    let end = match failure {
        None => End::Succeeded,
        Some((reason, message)) => End::Failed {
            reason: Cow::Owned(reason.to_owned()),
            message: message.to_owned(),
        },
    };
    let held = operation::settle(connection, leased, &end, recorded_at).await?;
    if held && on_test_clock {
        // What came due while the change was under way; nobody else looks as long as the clock stands.
        clock::settle_due(app, connection, account, now).await?;
    }
    Ok(held)
}
