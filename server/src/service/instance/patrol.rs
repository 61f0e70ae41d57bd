//! The patrol looks at machines that nobody works on, and writes down what changed without anybody's asking: a machine that is gone, one that its guest has shut
//! down, one that runs though it is suspended.

use anyhow::Context;
use chrono::TimeDelta;
use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::Kind;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::{Machine, Power};
use crate::service::instance::job::look;
use crate::service::instance::model::{Event, Instance, State, Wanted};
use crate::service::instance::{self, backup, cloud, store};
use crate::service::operation;

/// Machines looked at in one step.
const CHUNK: i64 = 50;
/// Machines looked at at once.
const CONCURRENT: usize = 8;
/// How often a machine is looked at.
const ROUND: TimeDelta = TimeDelta::minutes(15);

/// Looks at the machines whose turn it is, and returns how many there were. Repeats safely; any number of replicas may patrol together.
///
/// # Errors
/// Of the database, when choosing. What goes wrong with single machines is logged; they are looked at again in the next round.
pub async fn patrol_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let due = store::take_to_look_at(&app.db, now, now + ROUND, CHUNK)
        .await
        .context("choose instances")?;
    // Whatever is looked at is also measured, from its first look on.
    store::meters::begin(&app.db, &due, now)
        .await
        .context("begin to measure")?;
    backup::begin_to_watch(app, &due, now)
        .await
        .context("begin to watch over backups")?;
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(CONCURRENT, |(account, id)| async move {
            if let Err(error) = inspect(app, account, id).await {
                tracing::warn!(instance = %id, error = format!("{error:#}"), "the patrol could not look at a machine");
            }
        })
        .await;
    Ok(count)
}

/// Looks at one machine, unless somebody works on it, and writes down what changed.
///
/// # Errors
/// Of the database, or of the provider if it cannot be asked.
pub async fn inspect(app: &App, account: AccountId, id: InstanceId) -> anyhow::Result<()> {
    let Some(seen) = store::get(&app.db, account, id).await? else {
        return Ok(());
    };
    let provider = cloud::of(app, &seen).await??;
    let machine = look(&provider, &seen).await?;
    let mut tx = app.db.begin().await?;
    let Some(mut instance) = store::get_for_update(&mut tx, account, id).await? else {
        return Ok(());
    };
    if instance.revision != seen.revision
        || operation::store::get_open(&mut tx, account, id)
            .await?
            .is_some()
    {
        // Somebody works on it, or did since we looked, and knows better.
        return Ok(());
    }
    let (was, now) = (instance.state, app.clock.now());
    match finding(&instance, machine.as_ref()) {
        None if machine.is_some_and(|m| instance.see(&m)) => instance.touch(now),
        None => return Ok(()),
        Some(Finding::Changed(event)) => {
            instance.take(event, now)?;
            match instance.state {
                State::Running => instance.wanted = Wanted::Running,
                State::Stopped => instance.wanted = Wanted::Stopped,
                _ => {}
            }
        }
        Some(Finding::RunsUnpaid) => {
            operation::insert_many(
                &mut tx,
                &[instance::operation_on(&instance, Kind::Suspend, now)],
            )
            .await?;
            instance.touch(now);
        }
    }
    tracing::info!(instance = %id, was = was.as_str(), is = instance.state.as_str(), "the patrol found a machine changed");
    instance::save(&mut tx, &[(was, instance)]).await?;
    tx.commit().await?;
    app.tail.wake();
    Ok(())
}

/// What the patrol finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// The machine is not what it was.
    Changed(Event),
    /// It runs though it is suspended.
    RunsUnpaid,
}

/// What is to be said of a machine that nobody works on.
fn finding(instance: &Instance, machine: Option<&Machine>) -> Option<Finding> {
    if instance.state.on(Event::Lose).is_err() {
        return None;
    }
    let Some(machine) = machine else {
        return Some(Finding::Changed(Event::Lose));
    };
    match (machine.power, instance.state) {
        _ if machine.busy => None,
        (Power::Running, _) if instance.suspended => Some(Finding::RunsUnpaid),
        (Power::Running, State::Stopped | State::Suspended) => {
            Some(Finding::Changed(Event::Started))
        }
        (Power::Stopped, State::Running | State::Stopped) if instance.suspended => {
            Some(Finding::Changed(Event::Suspended))
        }
        (Power::Stopped, State::Running | State::Suspended) if !instance.suspended => {
            Some(Finding::Changed(Event::Stopped))
        }
        _ => None,
    }
}
