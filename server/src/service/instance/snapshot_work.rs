//! Snapshots at their providers: taken, gone back to and deleted by the reconciler, one look and at most one call at a time; and cleared away where an operation that was cut off left
//! one that nobody wants.
//!
//! The danger is the same as with machines: a snapshot whose taking was not answered, and that somebody pays for ever. So the snapshot is written down before it is asked for, looked
//! for under our own name before it is asked for again, and forgotten only when the provider shows none and none can show up any more.

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, SnapshotId};
use crate::provider::compute::snapshots::Snapshots;
use crate::provider::compute::{Compute, Machine, ProviderError};
use crate::service::instance::calls::{CALL, in_time};
use crate::service::instance::job::{Outcome, failed, look, lost, trouble, wait};
use crate::service::instance::model::Instance;
use crate::service::instance::model::snapshot::{Snapshot, Taking};
use crate::service::instance::plan::pause;
use crate::service::instance::snapshot::ROUND;
use crate::service::instance::{boot, calls, cloud, store};
use crate::service::operation::model::{End, Leased};

/// Snapshots looked at in one step.
const CHUNK: i64 = 50;
/// Snapshots looked at at once.
const CONCURRENT: usize = 8;
/// How soon one that is being deleted is looked at again.
const SOON: TimeDelta = TimeDelta::seconds(5);

/// Takes or deletes a snapshot, one step further.
///
/// # Errors
/// Of the database.
pub(super) async fn attempt(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    instance: &Instance,
) -> Result<Outcome, sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    let found = store::snapshots::get_of_operation(&mut connection, leased).await?;
    let now = app.clock.now();
    let (Some(snapshot), Some(shelf)) = (found, provider.snapshots()) else {
        let message = "the snapshot cannot be worked on".to_owned();
        return Ok(failed("INTERNAL", message, None));
    };
    if leased.kind == Kind::DeleteSnapshot {
        // Its owner cannot take it back any more.
        store::snapshots::unwant(&mut connection, &snapshot, now + ROUND).await?;
    }
    drop(connection);
    if leased.kind == Kind::DeleteSnapshot {
        return Ok(delete(app, shelf, leased, instance, &snapshot).await);
    }
    match look(provider, instance).await {
        Ok(None) => Ok(lost()),
        Ok(Some(machine)) => take(app, provider, leased, &snapshot, machine).await,
        Err(error) => Ok(trouble(leased, &error, now)),
    }
}

async fn take(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    snapshot: &Snapshot,
    machine: Machine,
) -> Result<Outcome, sqlx::Error> {
    let (looked_at, name) = (app.clock.now(), machine.provider_ref.clone());
    let Some(shelf) = provider.snapshots() else {
        return Ok(trouble(leased, &ProviderError::NotFound, looked_at));
    };
    let found = match in_time(shelf.find(&name, snapshot.id)).await {
        Ok(found) => found,
        Err(error) => return Ok(trouble(leased, &error, app.clock.now())),
    };
    match snapshot.taking(&found, machine.busy, leased.asked_at, looked_at) {
        Taking::Done(snapshot_ref) => {
            store::snapshots::adopt(&app.db, snapshot, &snapshot_ref).await?;
            Ok(Outcome::Ended {
                end: End::Succeeded,
                event: None,
                machine: Some(machine),
            })
        }
        Taking::Prune(twins) => {
            tracing::error!(snapshot = %snapshot.id, "a snapshot was taken twice; the twins are deleted");
            for twin in &twins {
                if let Err(error) = deleted(shelf, &name, twin).await {
                    return Ok(trouble(leased, &error, app.clock.now()));
                }
            }
            Ok(wait(
                leased,
                leased.asked_at,
                Some(machine),
                app.clock.now(),
            ))
        }
        Taking::Wait => Ok(wait(
            leased,
            leased.asked_at,
            Some(machine),
            app.clock.now(),
        )),
        Taking::NotDone => {
            let message = "the provider did not take the snapshot".to_owned();
            Ok(failed("INTERNAL", message, Some(machine)))
        }
        Taking::Ask => {
            let end = looked_at + CALL;
            let claimed = end + provider.lookup_delay();
            if !store::snapshots::claim(&app.db, leased, snapshot, looked_at, claimed).await? {
                return Ok(wait(
                    leased,
                    leased.asked_at,
                    Some(machine),
                    app.clock.now(),
                ));
            }
            let answer = calls::by(end, shelf.create(&name, snapshot.id)).await;
            let now = app.clock.now();
            let unsure_until = match answer {
                Ok(()) | Err(ProviderError::Unknown) => Some(now + provider.lookup_delay()),
                Err(_) => None,
            };
            store::snapshots::unclaim(&app.db, snapshot, claimed, unsure_until).await?;
            Ok(match answer {
                Ok(()) | Err(ProviderError::Unknown) => Outcome::Later {
                    after: pause(TimeDelta::zero()),
                    asked_at: answer.is_ok().then_some(now),
                    unsure: answer.is_err(),
                    machine: Some(machine),
                },
                Err(ProviderError::Busy | ProviderError::NotFound) => {
                    wait(leased, None, Some(machine), now)
                }
                Err(error) => trouble(leased, &error, now),
            })
        }
    }
}

/// Puts the disk of the machine called `name` back.
pub(super) async fn restore(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    name: &str,
) -> Result<(), ProviderError> {
    let gone = || ProviderError::Refused("the snapshot is gone".to_owned());
    // Nobody was asked for anything yet.
    let unread = |error: sqlx::Error| ProviderError::Unavailable(error.to_string());
    let mut connection = app.db.acquire().await.map_err(unread)?;
    let found = store::snapshots::get_of_operation(&mut connection, leased).await;
    drop(connection);
    let found = found.map_err(unread)?;
    let snapshot_ref = found.and_then(|s| s.snapshot_ref).ok_or_else(gone)?;
    let shelf = provider.snapshots().ok_or_else(gone)?;
    shelf.restore(name, &snapshot_ref).await
}

async fn delete(
    app: &App,
    shelf: &dyn Snapshots,
    leased: &Leased,
    instance: &Instance,
    snapshot: &Snapshot,
) -> Outcome {
    let name = instance.provider_ref.as_deref().unwrap_or_default();
    let found = match in_time(shelf.find(name, snapshot.id)).await {
        Ok(found) => found,
        Err(error) => return trouble(leased, &error, app.clock.now()),
    };
    if found.is_empty() {
        return Outcome::Ended {
            end: End::Succeeded,
            event: None,
            machine: None,
        };
    }
    for one in &found {
        if let Err(error) = deleted(shelf, name, &one.snapshot_ref).await {
            return trouble(leased, &error, app.clock.now());
        }
    }
    let now = app.clock.now();
    wait(leased, Some(leased.asked_at.unwrap_or(now)), None, now)
}

/// Deletes one, as far as it can be said: the next look tells.
async fn deleted(
    shelf: &dyn Snapshots,
    machine: &str,
    snapshot_ref: &str,
) -> Result<(), ProviderError> {
    match in_time(shelf.delete(machine, snapshot_ref)).await {
        Err(ProviderError::NotFound | ProviderError::Busy | ProviderError::Unknown) => Ok(()),
        answer => answer,
    }
}

/// The provider has taken on to put a disk back. A first password that was made after the snapshot opens the machine no more.
///
/// # Errors
/// Of the database.
pub(super) async fn begun(
    connection: &mut PgConnection,
    instance: &Instance,
    leased: &Leased,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let found = store::snapshots::get_of_operation(connection, leased).await?;
    let made_later = |s: Snapshot| {
        instance
            .first_password_until
            .is_some_and(|until| until - boot::PASSWORD_KEPT > s.created_at)
    };
    if found.is_some_and(made_later) {
        store::boot::take_password(connection, instance.account, instance.id, now).await?;
    }
    Ok(())
}

/// Writes down what the end of an operation means for snapshots. The instance is locked, and written by the caller.
///
/// # Errors
/// Of the database.
pub(super) async fn settle(
    connection: &mut PgConnection,
    instance: &mut Instance,
    leased: &Leased,
    succeeded: bool,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    match leased.kind {
        // They end with their machine: nobody pays for them any more.
        Kind::Delete if succeeded => {
            store::snapshots::unwant_all(connection, leased.account, leased.instance, now).await
        }
        Kind::CreateSnapshot | Kind::RestoreSnapshot | Kind::DeleteSnapshot => {
            let found = store::snapshots::get_of_operation(connection, leased).await?;
            let Some(snapshot) = found else {
                return Ok(());
            };
            match (leased.kind, succeeded) {
                (Kind::CreateSnapshot, true) => store::snapshots::rest(connection, &snapshot).await,
                (Kind::CreateSnapshot, false) => {
                    store::snapshots::unwant(connection, &snapshot, now).await
                }
                (Kind::DeleteSnapshot, true) => {
                    store::snapshots::remove(connection, &snapshot).await
                }
                (Kind::RestoreSnapshot, true) => {
                    (instance.image, instance.image_code) = (snapshot.image, snapshot.image_code);
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Looks after the snapshots that no operation works on and that are not as they should be, and returns how many there were. Repeats safely; any number of replicas may do so together.
///
/// # Errors
/// Of the database, when choosing. What goes wrong with single ones is logged; they are looked at again.
pub async fn tend_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let due = store::snapshots::take_to_look_at(&app.db, now, now + ROUND, CHUNK)
        .await
        .context("choose snapshots")?;
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(CONCURRENT, |(account, id)| async move {
            if let Err(error) = tend(app, account, id).await {
                tracing::warn!(snapshot = %id, error = format!("{error:#}"), "a snapshot could not be looked after");
            }
        })
        .await;
    Ok(count)
}

async fn tend(app: &App, account: AccountId, id: SnapshotId) -> anyhow::Result<()> {
    let mut connection = app.db.acquire().await?;
    let found = store::snapshots::get(&mut connection, account, id).await?;
    let Some(snapshot) = found else {
        return Ok(());
    };
    if store::snapshots::is_worked_on(&mut connection, &snapshot).await? {
        return Ok(());
    }
    if snapshot.wanted && snapshot.snapshot_ref.is_some() {
        return Ok(store::snapshots::rest(&mut connection, &snapshot).await?);
    }
    if snapshot.wanted {
        // Its taking was called off. Whatever there is of it goes.
        store::snapshots::unwant(&mut connection, &snapshot, app.clock.now()).await?;
    }
    drop(connection);
    let found = store::get(&app.db, account, snapshot.instance).await?;
    let instance = found.with_context(|| format!("there is no instance {}", snapshot.instance))?;
    let provider = cloud::of(app, &instance).await??;
    let shelf = provider.snapshots().context("a cloud without snapshots")?;
    let (machine, looked_at) = (look(&provider, &instance).await?, app.clock.now());
    let busy = machine.is_some_and(|m| m.busy);
    let name = instance.provider_ref.as_deref().unwrap_or_default();
    let found = in_time(shelf.find(name, id)).await?;
    for one in &found {
        deleted(shelf, name, &one.snapshot_ref).await?;
    }
    let mut connection = app.db.acquire().await?;
    // A machine at work may be having its snapshot taken, which shows when it is whole.
    if found.is_empty() && !busy && !snapshot.may_show_up(looked_at) {
        store::snapshots::remove(&mut connection, &snapshot).await?;
    } else {
        let soon = app.clock.now() + SOON;
        store::snapshots::look_sooner(&mut connection, &snapshot, soon).await?;
    }
    Ok(())
}
