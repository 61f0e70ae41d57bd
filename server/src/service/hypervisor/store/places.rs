//! The SQL of places, and of the nodes that take no machines.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::address;
use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::provider::compute::Place;
use crate::service::hypervisor::model::{Need, Taken};

/// A node, a storage and a number for a machine.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'s> {
    /// The node.
    pub node: &'s str,
    /// Where its disk will be.
    pub storage: &'s str,
    /// The number.
    pub vmid: u32,
}

fn stored(vmid: u32) -> i32 {
    i32::try_from(vmid).unwrap_or(i32::MAX)
}

/// Writes a place down, of an instance that has none.
///
/// # Errors
/// Of the database.
pub async fn insert_place(
    connection: &mut PgConnection,
    need: &Need,
    spot: &Spot<'_>,
    pool: Uuid,
    address: Ipv4Addr,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into places (account_id, instance_id, provider_account_id, node, vmid, pool_id, address, vcpus, memory_mib, disk_gib, storage, created_at)
        values ($1, $2, $3, $4, $5, $6, $7::text::inet, $8, $9, $10, $11, $12)",
        need.account.0,
        need.instance.0,
        need.provider_account.0,
        spot.node,
        stored(spot.vmid),
        pool,
        address.to_string(),
        need.vcpus,
        need.memory_mib,
        need.disk_gib,
        spot.storage,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves a place whose machine does not exist to another node and number. Its address stays.
///
/// # Errors
/// Of the database.
pub async fn move_to(
    connection: &mut PgConnection,
    need: &Need,
    spot: &Spot<'_>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update places set node = $3, vmid = $4, storage = $5 where account_id = $1 and instance_id = $2 and released_at is null",
        need.account.0,
        need.instance.0,
        spot.node,
        stored(spot.vmid),
        spot.storage,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down what a place takes, of vCPUs, MiB of memory and GiB of disk.
///
/// # Errors
/// Of the database.
pub async fn set_room(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    has: [i32; 3],
) -> sqlx::Result<()> {
    let [vcpus, memory_mib, disk_gib] = has;
    sqlx::query!(
        "update places set vcpus = $3, memory_mib = $4, disk_gib = $5 where account_id = $1 and instance_id = $2 and released_at is null",
        account.0,
        instance.0,
        vcpus,
        memory_mib,
        disk_gib,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Where in a cluster an instance's machine is to be.
///
/// # Errors
/// Of the database.
pub async fn get_place(
    connection: &mut PgConnection,
    cluster: ProviderAccountId,
    account: AccountId,
    instance: InstanceId,
) -> sqlx::Result<Option<Place>> {
    let row = sqlx::query!(
        r#"select p.node, p.vmid, host(p.address) as "address!", masklen(o.cidr) as "prefix!", host(o.gateway) as "gateway!", o.bridge, o.vlan, o.nameservers
        from places p join address_pools o on o.id = p.pool_id where p.account_id = $1 and p.instance_id = $2 and p.provider_account_id = $3 and p.released_at is null"#,
        account.0,
        instance.0,
        cluster.0,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Place {
        node: row.node,
        vmid: row.vmid.unsigned_abs(),
        address: address(&row.address)?,
        prefix: u8::try_from(row.prefix).unwrap_or(32),
        gateway: address(&row.gateway)?,
        bridge: row.bridge,
        vlan: u16::try_from(row.vlan).unwrap_or_default(),
        nameservers: row
            .nameservers
            .iter()
            .map(|n| address(n))
            .collect::<sqlx::Result<_>>()?,
    }))
}

/// Ends a place, and returns its address. `None` if there is none, or it ended before.
///
/// # Errors
/// Of the database.
pub async fn end_place(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<(Uuid, Ipv4Addr)>> {
    let row = sqlx::query!(
        r#"update places set released_at = $3 where account_id = $1 and instance_id = $2 and released_at is null returning pool_id, host(address) as "address!""#,
        account.0,
        instance.0,
        now,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|r| Ok((r.pool_id, address(&r.address)?)))
        .transpose()
}

/// The places of a cluster that are taken.
///
/// # Errors
/// Of the database.
pub async fn list_taken(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> sqlx::Result<Vec<Taken>> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", instance_id as "instance: InstanceId", node, vmid, vcpus, memory_mib, disk_gib, storage from places
        where provider_account_id = $1 and released_at is null"#,
        id.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Taken {
            account: r.account,
            instance: r.instance,
            node: r.node,
            vmid: r.vmid.unsigned_abs(),
            vcpus: r.vcpus,
            memory_mib: r.memory_mib,
            disk_gib: r.disk_gib,
            storage: r.storage,
        })
        .collect())
}

/// The highest number that was given in a cluster.
///
/// # Errors
/// Of the database.
pub async fn last_vmid(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> sqlx::Result<Option<u32>> {
    let last = sqlx::query_scalar!(
        "select vmid from places where provider_account_id = $1 order by vmid desc limit 1",
        id.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map(i32::unsigned_abs))
}

/// Nodes that take no new machines.
///
/// # Errors
/// Of the database.
pub async fn list_maintenance(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> sqlx::Result<HashSet<String>> {
    let nodes = sqlx::query_scalar!(
        "select node from node_maintenance where provider_account_id = $1",
        id.0
    )
    .fetch_all(connection)
    .await?;
    Ok(nodes.into_iter().collect())
}

/// Begins or ends the maintenance of a node.
///
/// # Errors
/// Of the database.
pub async fn set_maintenance(
    connection: &mut PgConnection,
    id: ProviderAccountId,
    node: &str,
    on: bool,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if on {
        sqlx::query!(
            "insert into node_maintenance (provider_account_id, node, since) values ($1, $2, $3) on conflict do nothing",
            id.0,
            node,
            now
        )
        .execute(connection)
        .await?;
    } else {
        sqlx::query!(
            "delete from node_maintenance where provider_account_id = $1 and node = $2",
            id.0,
            node
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
