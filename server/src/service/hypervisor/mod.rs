//! Hypervisors of our own: where machines are put, and which addresses they get.
//!
//! Owns: `address_pools`, `addresses`, `places`, `node_maintenance`. Calls: provider, and catalog for the images that templates are for. Emits: nothing.
//!
//! Before the machine of an instance is asked for, it is given a place: a node with room (`model::choose`), a number that no machine of the cluster ever had, and an
//! address of a pool. All of it is decided by one transaction that holds the row of the cluster's account and that of the pool, so nothing is given out twice,
//! however many decide at once; and it is written down before the cluster hears of it. The address goes back when the machine is known to be gone, in the
//! transaction that says so, and is given to nobody while its quarantine lasts. There is no job: an address whose quarantine is over is free.

pub mod convert;
pub mod error;
pub mod model;
pub mod rpc;
pub mod store;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use self::model::{Need, NoRoom, Taken, choose, first_free, fits, vmid};
use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::provider::compute::cluster::Cluster;
use crate::provider::compute::{Place, ProviderError};
use crate::service::provider;

/// Gives an instance a place in a cluster, as `cluster` shows it now; one it has that is still good stays. The caller commits.
///
/// # Errors
/// The outer one of the database; the inner one if there is no room, or no address.
pub async fn place(
    connection: &mut PgConnection,
    cluster: &Cluster,
    need: &Need,
    now: DateTime<Utc>,
) -> Result<Result<(), ProviderError>, sqlx::Error> {
    // Whoever decides in this cluster decides alone.
    let account = provider::store::get_for_update(connection, need.provider_account).await?;
    if account.is_none() {
        return Ok(Err(ProviderError::Unavailable(
            "there is no such provider account".to_owned(),
        )));
    }
    let maintenance = store::list_maintenance(connection, need.provider_account).await?;
    let mut taken = store::list_taken(connection, need.provider_account).await?;
    let held = taken.iter().position(|t| t.instance == need.instance);
    let held = held.map(|at| taken.swap_remove(at));
    if held
        .as_ref()
        .is_some_and(|own| own.is_good(cluster, need, &maintenance))
    {
        return Ok(Ok(()));
    }
    let (node, storage) = match choose(cluster, &taken, &maintenance, need) {
        Ok(chosen) => chosen,
        Err(NoRoom::NoTemplate) => {
            return Ok(Err(ProviderError::Unavailable(format!(
                "no node that takes machines has a template {}",
                need.image
            ))));
        }
        Err(NoRoom::Full) => return Ok(Err(ProviderError::NoCapacity)),
    };
    let last = store::last_vmid(connection, need.provider_account).await?;
    let Some(vmid) = vmid(cluster, last) else {
        return Ok(Err(ProviderError::NoCapacity));
    };
    let spot = store::Spot {
        node: &node,
        storage: &storage,
        vmid,
    };
    if held.is_some() {
        // It keeps its address.
        store::move_to(connection, need, &spot).await?;
        return Ok(Ok(()));
    }
    // Where it was to be before, in a cluster that refused it.
    give_up(connection, need.account, need.instance, now).await?;
    let Some((pool, address)) = allocate(connection, need, now).await? else {
        return Ok(Err(ProviderError::NoCapacity));
    };
    store::insert_place(connection, need, &spot, pool, address, now).await?;
    Ok(Ok(()))
}

/// Takes an address that nobody has: of the first pool of the cluster and region that has one.
async fn allocate(
    connection: &mut PgConnection,
    need: &Need,
    now: DateTime<Utc>,
) -> Result<Option<(uuid::Uuid, std::net::Ipv4Addr)>, sqlx::Error> {
    let pools =
        store::list_serving_for_update(connection, need.provider_account, &need.region).await?;
    for pool in pools {
        // Those that were never used come first, then what has been free for longest.
        let mut next = pool.next;
        while let Some(address) = first_free(&pool, next) {
            next = model::after(address);
            if store::hold_new(connection, pool.id, address, need, now).await? {
                store::set_next(connection, pool.id, next).await?;
                return Ok(Some((pool.id, address)));
            }
        }
        if next != pool.next {
            store::set_next(connection, pool.id, next).await?;
        }
        for address in store::list_free(connection, pool.id, now).await? {
            if model::is_usable(&pool, address) {
                store::hold_again(connection, pool.id, address, need, now).await?;
                return Ok(Some((pool.id, address)));
            }
        }
    }
    Ok(None)
}

/// Keeps room for the machine of an instance where it is, for what is wanted of vCPUs, MiB of memory and GiB of disk; it keeps what it has of each. Nothing happens to one that has
/// no place there. The caller commits.
///
/// # Errors
/// The outer one of the database; the inner one if there is no room.
pub async fn widen(
    connection: &mut PgConnection,
    cluster: &Cluster,
    id: ProviderAccountId,
    instance: InstanceId,
    wanted: [i32; 3],
) -> Result<Result<(), ProviderError>, sqlx::Error> {
    // Whoever decides in this cluster decides alone.
    provider::store::get_for_update(connection, id).await?;
    let taken = store::list_taken(connection, id).await?;
    let Some(own) = taken.iter().find(|t| t.instance == instance) else {
        return Ok(Ok(()));
    };
    let [vcpus, memory_mib, disk_gib] = wanted;
    let wide = Taken {
        vcpus: own.vcpus.max(vcpus),
        memory_mib: own.memory_mib.max(memory_mib),
        disk_gib: own.disk_gib.max(disk_gib),
        ..own.clone()
    };
    let Some(fits) = fits(cluster, &taken, &wide) else {
        return Ok(Err(ProviderError::Unavailable(
            "the node of the machine is offline".to_owned(),
        )));
    };
    if !fits {
        return Ok(Err(ProviderError::NoCapacity));
    }
    let has = [wide.vcpus, wide.memory_mib, wide.disk_gib];
    store::set_room(connection, own.account, instance, has).await?;
    Ok(Ok(()))
}

/// Writes down what the machine of an instance takes, after a change of its size. Nothing happens to one that has no place.
///
/// # Errors
/// Of the database.
pub async fn settle(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    has: [i32; 3],
) -> Result<(), sqlx::Error> {
    store::set_room(connection, account, instance, has).await
}

/// The place of an instance in a cluster, if it has one.
///
/// # Errors
/// Of the database.
pub async fn place_of(
    connection: &mut PgConnection,
    cluster: ProviderAccountId,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<Place>, sqlx::Error> {
    store::get_place(connection, cluster, account, instance).await
}

/// Gives the place of an instance up, of which no machine was ever made: its address has nothing to rest from. Nothing happens to one that has none.
///
/// # Errors
/// Of the database.
pub async fn give_up(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some((pool, address)) = store::end_place(connection, account, instance, now).await? else {
        return Ok(());
    };
    store::free(connection, pool, address, instance, now, now).await
}

/// Gives the place of an instance up, whose machine is gone: its address is in quarantine from now on. Nothing happens to one that has none.
///
/// # Errors
/// Of the database.
pub async fn release(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some((pool, address)) = store::end_place(connection, account, instance, now).await? else {
        return Ok(());
    };
    let seconds = store::quarantine_seconds(connection, pool).await?;
    let free_at = now + TimeDelta::seconds(i64::from(seconds));
    store::free(connection, pool, address, instance, free_at, now).await
}

/// Whether the machines of a provider account stand on hypervisors of our own.
pub fn is_own(account: &provider::model::Account) -> bool {
    account.vendor.is_own()
}

/// The places of a cluster that are taken, by machines that exist or are to be made.
///
/// # Errors
/// Of the database.
pub async fn taken(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> Result<Vec<model::Taken>, sqlx::Error> {
    store::list_taken(connection, id).await
}
