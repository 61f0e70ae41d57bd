//! Backups: switched on and off as plans say, read at their providers, and gone back to by the reconciler.
//!
//! Whether a machine is to have them follows from its plan, and whether it has them from a look at its provider; where the two differ the provider is told, and looked at again. So it
//! does no harm when an answer is lost, and whoever dies leaves nothing half done.

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;
use tonic::Status;

use crate::app::App;
use crate::base::id::{AccountId, BackupId, InstanceId, PlanId};
use crate::base::lease;
use crate::provider::compute::backups::Backups;
use crate::provider::compute::{Compute, Machine, ProviderError};
use crate::service::catalog;
use crate::service::instance::ask::{self, Target};
use crate::service::instance::calls::in_time;
use crate::service::instance::error::Error;
use crate::service::instance::job::{Outcome, failed, trouble, wait};
use crate::service::instance::model::Instance;
use crate::service::instance::model::backup::{Backup, Looked, Watch};
use crate::service::instance::{boot, cloud, store};
use crate::service::operation::NewOperation;
use crate::service::operation::model::Leased;

/// Instances looked at in one step.
const CHUNK: i64 = 50;
/// Instances looked at at once.
const CONCURRENT: usize = 8;
/// How long an instance stays leased to a replica that may have died.
const LEASE: TimeDelta = TimeDelta::seconds(60);

/// Asks for a machine's disk to be put back to a backup.
///
/// # Errors
/// If there is no such backup, or why the instance does not take it.
pub async fn restore(
    connection: &mut PgConnection,
    account: AccountId,
    id: BackupId,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let found = store::backups::get(connection, account, id).await?;
    let backup = found.ok_or(Error::BackupNotFound)?;
    let target = Target {
        account,
        id: backup.instance,
        etag: "",
    };
    let instance = ask::admitted(connection, target, Kind::RestoreBackup).await?;
    let operation = ask::record(connection, instance, Kind::RestoreBackup, now).await?;
    // It may have gone while its instance was waited for.
    if !store::backups::hand_to(connection, &backup, operation.id).await? {
        return Err(Error::BackupNotFound);
    }
    Ok(operation)
}

/// Why the backup of an operation cannot be gone back to now; `None` if it can. The machine is there.
pub(super) async fn hindrance(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    machine: &Machine,
) -> Option<Outcome> {
    let seen = || Some(machine.clone());
    let is_there = async {
        let (Some(backup), Some(shelf)) = (asked_for(app, leased).await?, provider.backups())
        else {
            return Ok(false);
        };
        let shown = in_time(shelf.read(&machine.provider_ref)).await?;
        let mut copies = shown.copies.iter();
        Ok(copies.any(|copy| copy.backup_ref == backup.backup_ref))
    };
    match is_there.await {
        Ok(true) => None,
        Ok(false) => {
            let message = "the provider has deleted the backup".to_owned();
            Some(failed("BACKUP_NOT_FOUND", message, seen()))
        }
        // The machine is gone: the next look tells.
        Err(ProviderError::NotFound) => Some(wait(leased, None, seen(), app.clock.now())),
        Err(error) => Some(trouble(leased, &error, app.clock.now())),
    }
}

/// The backup of an operation, unless its provider was seen to have deleted it.
async fn asked_for(app: &App, leased: &Leased) -> Result<Option<Backup>, ProviderError> {
    // Nobody was asked for anything yet.
    let unread = |error: sqlx::Error| ProviderError::Unavailable(error.to_string());
    let mut connection = app.db.acquire().await.map_err(unread)?;
    let found = store::backups::get_of_operation(&mut connection, leased).await;
    found.map_err(unread)
}

/// Puts the disk of the machine called `name` back.
pub(super) async fn put_back(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    name: &str,
) -> Result<(), ProviderError> {
    let (Some(backup), Some(shelf)) = (asked_for(app, leased).await?, provider.backups()) else {
        // It went a moment ago; the next look says so.
        return Err(ProviderError::Busy);
    };
    shelf.restore(name, &backup.backup_ref).await
}

/// The provider has taken on to put a disk back. A first password that was made after the backup opens the machine no more.
///
/// # Errors
/// Of the database.
pub(super) async fn begun(
    connection: &mut PgConnection,
    instance: &Instance,
    leased: &Leased,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let found = store::backups::get_of_operation(connection, leased).await?;
    let made_later = |b: Backup| {
        instance
            .first_password_until
            .is_some_and(|until| until - boot::PASSWORD_KEPT > b.taken_at)
    };
    // Of one that is forgotten nobody knows when it was taken.
    if found.is_none_or(made_later) {
        store::boot::take_password(connection, instance.account, instance.id, now).await?;
    }
    Ok(())
}

/// Writes down what the end of an operation means for backups. The instance is locked, and written by the caller.
///
/// # Errors
/// Of the database.
pub(super) async fn settle(
    connection: &mut PgConnection,
    instance: &mut Instance,
    leased: &Leased,
    succeeded: bool,
) -> Result<(), sqlx::Error> {
    match leased.kind {
        // They end with their machine.
        Kind::Delete if succeeded => {
            store::backups::forget(connection, leased.account, leased.instance).await
        }
        Kind::RestoreBackup if succeeded => {
            if let Some(backup) = store::backups::get_of_operation(connection, leased).await? {
                (instance.image, instance.image_code) = (backup.image, backup.image_code);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Has the backups of machines looked at from now on, of those whose plan has them.
///
/// # Errors
/// Of the database.
pub(super) async fn begin_to_watch(
    app: &App,
    machines: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    if machines.is_empty() {
        return Ok(());
    }
    let catalogue = catalog::snapshot(app).await.map_err(unreadable)?;
    let plans: Vec<PlanId> = catalogue.plans_with_backups().collect();
    Ok(store::backups::begin(&app.db, machines, &plans, now).await?)
}

/// Looks at the backups of the instances whose turn it is, and returns how many there were. Repeats safely; any number of replicas may do so together.
///
/// # Errors
/// Of the database, when leasing. What goes wrong with single ones is logged; they are due again.
pub async fn watch_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let leased = store::backups::lease(&app.db, now, now + LEASE, CHUNK)
        .await
        .context("lease the watch over backups")?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |watch| async move {
            let what = ("the watch over backups of", watch.instance);
            lease::work(&app.clock, now + LEASE, what, look_after(app, &watch)).await;
        })
        .await;
    Ok(count)
}

async fn look_after(app: &App, watch: &Watch) -> anyhow::Result<()> {
    if !watch.alive {
        let mut tx = app.db.begin().await?;
        store::backups::forget(&mut tx, watch.account, watch.instance).await?;
        return Ok(tx.commit().await?);
    }
    let catalogue = catalog::snapshot(app).await.map_err(unreadable)?;
    let wanted = catalogue.plan(watch.plan).is_some_and(|plan| plan.backups);
    let looked = match cloud::line_to(app, &watch.provider, watch.provider_account).await? {
        Ok(cloud) => match cloud.backups() {
            Some(shelf) => look(app, watch, shelf, wanted).await?,
            None => Looked::Settled,
        },
        Err(error) => Looked::Failed(error),
    };
    if let Looked::Failed(error) = &looked {
        tracing::warn!(instance = %watch.instance, %error, "backups could not be looked after");
    }
    let mut connection = app.db.acquire().await?;
    let due = app.clock.now() + looked.again_after();
    store::backups::put_off(&mut connection, watch, due).await?;
    Ok(())
}

/// One look at a provider, and at most one call that makes it what it should be.
async fn look(
    app: &App,
    watch: &Watch,
    shelf: &dyn Backups,
    wanted: bool,
) -> Result<Looked, sqlx::Error> {
    // No machine has no name.
    let name = watch.provider_ref.as_deref().unwrap_or_default();
    let shown = match in_time(shelf.read(name)).await {
        Ok(shown) => shown,
        Err(error) => return Ok(Looked::Failed(error)),
    };
    let mut tx = app.db.begin().await?;
    let now = app.clock.now();
    // Until the call below is over; what it comes to decides when the next look is due.
    if !store::backups::put_off(&mut tx, watch, now + LEASE).await? {
        return Ok(Looked::Settled);
    }
    if !wanted && !shown.on && shown.copies.is_empty() {
        store::backups::forget(&mut tx, watch.account, watch.instance).await?;
    } else {
        store::backups::keep(&mut tx, watch, shown.on, &shown.copies, now).await?;
    }
    tx.commit().await?;
    if shown.on == wanted {
        return Ok(Looked::Settled);
    }
    tracing::info!(instance = %watch.instance, on = wanted, "backups are switched");
    let answer = in_time(shelf.switch(name, wanted)).await;
    Ok(answer.map_or_else(Looked::Failed, |()| Looked::Switched))
}

fn unreadable(status: Status) -> anyhow::Error {
    anyhow::anyhow!("the catalogue: {}", status.message())
}
