//! Which cloud a machine is made in, and the line to it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::ProviderAccountId;
use crate::provider::compute::cluster::Cluster;
use crate::provider::compute::cluster::Size;
use crate::provider::compute::vendor::Vendor;
use crate::provider::compute::{Compute, Machine, ProviderError};
use crate::service::hypervisor;
use crate::service::hypervisor::model::Need;
use crate::service::instance::calls::in_time;
use crate::service::instance::model::Instance;
use crate::service::instance::store;
use crate::service::provider;
use crate::service::provider::model::{NoAccount, choose};

/// The cloud that has, or may have, the machine of an instance.
///
/// # Errors
/// The outer one of the database; the inner one if there is no line to it now.
pub async fn of(
    app: &App,
    instance: &Instance,
) -> Result<Result<Arc<dyn Compute>, ProviderError>, sqlx::Error> {
    line_to(app, &instance.provider, instance.provider_account).await
}

/// The cloud of a provider's name, or the line to an account there.
///
/// # Errors
/// The outer one of the database; the inner one if there is no line to it now.
pub async fn line_to(
    app: &App,
    name: &str,
    provider_account: Option<ProviderAccountId>,
) -> Result<Result<Arc<dyn Compute>, ProviderError>, sqlx::Error> {
    if let Some(built_in) = app.providers.get(name) {
        return Ok(Ok(Arc::clone(built_in)));
    }
    let Some(id) = provider_account else {
        let message = format!("provider {name} is not configured");
        return Ok(Err(ProviderError::Unavailable(message)));
    };
    let mut connection = app.db.acquire().await?;
    let Some(account) = provider::store::get(&mut connection, id).await? else {
        let message = format!("there is no provider account {id}");
        return Ok(Err(ProviderError::Unavailable(message)));
    };
    drop(connection);
    Ok(match app.lines.to(&account) {
        Ok(line) => Ok(line),
        Err(error) => {
            tracing::error!(provider_account = %id, error = format!("{error:#}"), "there is no line to an account");
            Err(ProviderError::Unavailable(
                "the provider account's token does not open".to_owned(),
            ))
        }
    })
}

/// Gives an instance whose machine was never asked for an account of its provider that is not among `refused`, and returns the instance with it. One that needs none stays as
/// it is.
///
/// # Errors
/// The outer one of the database; the inner one if no account takes the machine.
pub async fn assign(
    app: &App,
    mut instance: Instance,
    refused: &[ProviderAccountId],
) -> Result<Result<Instance, ProviderError>, sqlx::Error> {
    let Some(vendor) = Vendor::parse(&instance.provider) else {
        return Ok(Ok(instance));
    };
    if instance.provider_account.is_some() {
        return Ok(Ok(instance));
    }
    let mut tx = app.db.begin().await?;
    match chosen(&mut tx, vendor, &instance, refused).await? {
        Ok(id) if store::assign(&mut tx, instance.account, instance.id, id).await? => {
            tx.commit().await?;
            instance.provider_account = Some(id);
            Ok(Ok(instance))
        }
        Ok(_) => Ok(Err(ProviderError::Busy)),
        Err(NoAccount::AllFull) => Ok(Err(ProviderError::NoCapacity)),
        Err(NoAccount::NoneServes) => Ok(Err(ProviderError::Unavailable(
            "no provider account serves this plan and region at present".to_owned(),
        ))),
    }
}

/// Gives the machine of an instance a place, where we decide that. The cluster is asked how it is, then one transaction decides and writes down: node, number and
/// address. A place it has that is still good stays. `Busy` if somebody may be asking for the machine meanwhile: what they ask for must not change.
///
/// # Errors
/// The outer one of the database; the inner one if there is no room, or the cluster does not answer.
pub async fn place(
    app: &App,
    instance: &Instance,
    looked_at: DateTime<Utc>,
) -> Result<Result<(), ProviderError>, sqlx::Error> {
    let Some(id) = own_cluster(instance) else {
        return Ok(Ok(()));
    };
    let cluster = match cluster(app, id).await? {
        Ok(cluster) => cluster,
        Err(error) => return Ok(Err(error)),
    };
    let need = Need {
        account: instance.account,
        instance: instance.id,
        provider_account: id,
        region: instance.region_code.clone(),
        image: instance.image_code.clone(),
        vcpus: instance.vcpus,
        memory_mib: instance.memory_mib,
        disk_gib: instance.disk_gib,
    };
    let mut tx = app.db.begin().await?;
    // The account's row before the instance's, as when an account is chosen; and the instance's before its place, as when a machine is gone.
    provider::store::get_for_update(&mut tx, id).await?;
    if !store::is_unasked_for_update(&mut tx, instance.account, instance.id, id, looked_at).await? {
        return Ok(Err(ProviderError::Busy));
    }
    if let Err(error) = hypervisor::place(&mut tx, &cluster, &need, app.clock.now()).await? {
        return Ok(Err(error));
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// Where we gave a machine its address and its cloud does not repeat it, the address that it was given.
///
/// # Errors
/// Of the database.
pub async fn addressed(
    app: &App,
    instance: &Instance,
    mut machine: Machine,
) -> Result<Machine, sqlx::Error> {
    if let Some(id) = own_cluster(instance)
        && machine.ipv4.is_none()
        && !machine.is_raw()
    {
        let mut connection = app.db.acquire().await?;
        let place =
            hypervisor::place_of(&mut connection, id, instance.account, instance.id).await?;
        machine.ipv4 = place.map(|place| place.address);
    }
    Ok(machine)
}

/// Sees to it that a machine on hypervisors of our own has room where it is for another size, and keeps that room for it.
///
/// # Errors
/// The outer one of the database; the inner one if there is no room, or the cluster does not answer.
pub async fn make_room(
    app: &App,
    instance: &Instance,
    size: &str,
    disk_grows: bool,
) -> Result<Result<(), ProviderError>, sqlx::Error> {
    let Some(id) = own_cluster(instance) else {
        return Ok(Ok(()));
    };
    let size = match Size::parse(size) {
        Ok(size) => size,
        Err(error) => return Ok(Err(error)),
    };
    let cluster = match cluster(app, id).await? {
        Ok(cluster) => cluster,
        Err(error) => return Ok(Err(error)),
    };
    let disk_gib = if disk_grows { size.disk_gib } else { 0 };
    let wanted =
        [size.vcpus, size.memory_mib, disk_gib].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    let mut tx = app.db.begin().await?;
    if let Err(error) = hypervisor::widen(&mut tx, &cluster, id, instance.id, wanted).await? {
        return Ok(Err(error));
    }
    tx.commit().await?;
    Ok(Ok(()))
}

/// The account of an instance's machine, if it is a cluster of our own.
fn own_cluster(instance: &Instance) -> Option<ProviderAccountId> {
    let own = Vendor::parse(&instance.provider).is_some_and(Vendor::is_own);
    instance.provider_account.filter(|_| own)
}

async fn cluster(
    app: &App,
    id: ProviderAccountId,
) -> Result<Result<Cluster, ProviderError>, sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    let account = provider::store::get(&mut connection, id).await?;
    drop(connection);
    let line = account.map(|account| app.lines.to(&account));
    let Some(Ok(line)) = line else {
        let message = "there is no line to the cluster".to_owned();
        return Ok(Err(ProviderError::Unavailable(message)));
    };
    // Looking has no effect, whatever became of the answer.
    Ok(match in_time(line.cluster()).await {
        Err(ProviderError::Unknown) => Err(ProviderError::Unavailable(
            "the cluster did not answer in time".to_owned(),
        )),
        seen => seen,
    })
}

/// Whether no machine can ever have been asked for, because no account was chosen.
pub fn was_never_asked(app: &App, instance: &Instance) -> bool {
    app.providers.get(&instance.provider).is_none() && instance.provider_account.is_none()
}

/// The machine of an instance is gone for sure: on hypervisors of our own somebody else may have its address, in time.
///
/// # Errors
/// Of the database.
pub async fn leave(
    connection: &mut PgConnection,
    instance: &Instance,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    hypervisor::release(connection, instance.account, instance.id, now).await
}

/// Takes an instance from its account, which refused to make its machine in this way, if it is certain that nothing was made there and another account may do better.
/// `None` if it stays; else the account that it was taken from.
///
/// # Errors
/// Of the database.
pub async fn move_away(
    app: &App,
    instance: &Instance,
    error: &ProviderError,
) -> Result<Option<ProviderAccountId>, sqlx::Error> {
    let may_do_better = match error {
        ProviderError::NoCapacity
        | ProviderError::Unauthorized(_)
        | ProviderError::RateLimited { .. }
        | ProviderError::Unavailable(_) => true,
        ProviderError::Unknown
        | ProviderError::Refused(_)
        | ProviderError::NotFound
        | ProviderError::Busy => false,
    };
    let Some(left) = instance.provider_account.filter(|_| may_do_better) else {
        return Ok(None);
    };
    if matches!(error, ProviderError::Unauthorized(_)) {
        provider::note_refused(app, left, error).await?;
    }
    if !store::release(&app.db, instance.account, instance.id, left).await? {
        return Ok(None);
    }
    tracing::warn!(instance = %instance.id, provider_account = %left, %error, "an account refused a machine; another one is looked for");
    Ok(Some(left))
}

async fn chosen(
    connection: &mut PgConnection,
    vendor: Vendor,
    instance: &Instance,
    refused: &[ProviderAccountId],
) -> Result<Result<ProviderAccountId, NoAccount>, sqlx::Error> {
    let mut accounts = provider::store::list_for_update(connection, vendor).await?;
    accounts.retain(|account| !refused.contains(&account.id));
    let ids: Vec<ProviderAccountId> = accounts.iter().map(|a| a.id).collect();
    let machines = provider::store::count_machines(connection, &ids).await?;
    Ok(choose(
        &accounts,
        &machines,
        instance.plan,
        &instance.region_code,
    ))
}
