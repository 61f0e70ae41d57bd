//! The SQL of pools and addresses; that of places is beside it.

mod places;

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{InstanceId, ProviderAccountId};
use crate::service::hypervisor::error::Error;
use crate::service::hypervisor::model::{Need, Network, Pool};

pub use self::places::{
    Spot, end_place, get_place, insert_place, last_vmid, list_maintenance, list_taken, move_to,
    set_maintenance, set_room,
};

/// A row of `address_pools`.
struct Row {
    id: Uuid,
    provider_account_id: ProviderAccountId,
    display_name: String,
    region_code: String,
    cidr: String,
    gateway: String,
    bridge: String,
    vlan: i32,
    nameservers: Vec<String>,
    reserved: Vec<String>,
    quarantine_seconds: i32,
    enabled: bool,
    next_address: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

fn unreadable(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{what} in the books is no address").into())
}

fn address(text: &str) -> sqlx::Result<Ipv4Addr> {
    text.parse().map_err(|_| unreadable(text))
}

impl Row {
    fn pool(self) -> sqlx::Result<Pool> {
        let range = |text: &String| {
            let (first, last) = text.split_once('-').ok_or_else(|| unreadable(text))?;
            Ok((address(first)?, address(last)?))
        };
        Ok(Pool {
            id: self.id,
            provider_account: self.provider_account_id,
            display_name: self.display_name,
            region: self.region_code,
            network: Network::parse(&self.cidr).ok_or_else(|| unreadable(&self.cidr))?,
            gateway: address(&self.gateway)?,
            bridge: self.bridge,
            vlan: self.vlan,
            nameservers: self
                .nameservers
                .iter()
                .map(|n| address(n))
                .collect::<sqlx::Result<_>>()?,
            reserved: self
                .reserved
                .iter()
                .map(range)
                .collect::<sqlx::Result<_>>()?,
            quarantine_seconds: self.quarantine_seconds,
            enabled: self.enabled,
            next: address(&self.next_address)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Pools by whatever follows the columns.
macro_rules! pools {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select id, provider_account_id as "provider_account_id: ProviderAccountId", display_name, region_code, cidr::text as "cidr!", host(gateway) as "gateway!", bridge,
                vlan, nameservers, reserved, quarantine_seconds, enabled, host(next_address) as "next_address!", created_at, updated_at
            from address_pools "# + $tail,
            $($argument),*
        )
    };
}

fn texts(addresses: &[Ipv4Addr]) -> Vec<String> {
    addresses.iter().map(Ipv4Addr::to_string).collect()
}

fn ranges(pool: &Pool) -> Vec<String> {
    let ranges = pool.reserved.iter();
    ranges
        .map(|(first, last)| format!("{first}-{last}"))
        .collect()
}

/// Pools, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Pool>> {
    let rows = pools!(
        "where id < $1 order by id desc limit $2",
        before.unwrap_or(Uuid::max()),
        limit
    );
    let rows = rows.fetch_all(pool).await?;
    rows.into_iter().map(Row::pool).collect()
}

/// A pool.
///
/// # Errors
/// Of the database.
pub async fn get(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Pool>> {
    let row = pools!("where id = $1", id)
        .fetch_optional(connection)
        .await?;
    row.map(Row::pool).transpose()
}

/// A pool, locked: nobody takes an address of it meanwhile.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Pool>> {
    let row = pools!("where id = $1 for no key update", id)
        .fetch_optional(connection)
        .await?;
    row.map(Row::pool).transpose()
}

/// The pools that machines of a cluster and region get addresses of, locked in the order of their ids.
///
/// # Errors
/// Of the database.
pub async fn list_serving_for_update(
    connection: &mut PgConnection,
    id: ProviderAccountId,
    region: &str,
) -> sqlx::Result<Vec<Pool>> {
    let rows = pools!(
        "where provider_account_id = $1 and enabled and region_code in ('', $2) order by id for no key update",
        id.0,
        region
    );
    let rows = rows.fetch_all(connection).await?;
    rows.into_iter().map(Row::pool).collect()
}

/// Adds a pool.
///
/// # Errors
/// `PoolsOverlap`; the database.
pub async fn insert(connection: &mut PgConnection, new: &Pool) -> Result<(), Error> {
    let done = sqlx::query!(
        "insert into address_pools (id, provider_account_id, display_name, region_code, cidr, gateway, bridge, vlan, nameservers, reserved, quarantine_seconds,
            next_address, created_at, updated_at)
        values ($1, $2, $3, $4, $5::text::cidr, $6::text::inet, $7, $8, $9, $10, $11, $12::text::inet, $13, $13) on conflict do nothing",
        new.id,
        new.provider_account.0,
        new.display_name,
        new.region,
        new.network.to_string(),
        new.gateway.to_string(),
        new.bridge,
        new.vlan,
        &texts(&new.nameservers),
        &ranges(new),
        new.quarantine_seconds,
        new.next.to_string(),
        new.created_at,
    )
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::PoolsOverlap)
    }
}

/// Writes what staff changed of a pool that is locked.
///
/// # Errors
/// Of the database.
pub async fn update(connection: &mut PgConnection, changed: &Pool) -> sqlx::Result<()> {
    sqlx::query!(
        "update address_pools set display_name = $2, region_code = $3, nameservers = $4, reserved = $5, quarantine_seconds = $6, enabled = $7,
            next_address = $8::text::inet, updated_at = $9
        where id = $1",
        changed.id,
        changed.display_name,
        changed.region,
        &texts(&changed.nameservers),
        &ranges(changed),
        changed.quarantine_seconds,
        changed.enabled,
        changed.next.to_string(),
        changed.updated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes which address of a pool that is locked was never given out.
///
/// # Errors
/// Of the database.
pub async fn set_next(connection: &mut PgConnection, id: Uuid, next: Ipv4Addr) -> sqlx::Result<()> {
    sqlx::query!(
        "update address_pools set next_address = $2::text::inet where id = $1",
        id,
        next.to_string()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How long addresses of a pool rest.
///
/// # Errors
/// Of the database.
pub async fn quarantine_seconds(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<i32> {
    sqlx::query_scalar!(
        "select quarantine_seconds from address_pools where id = $1",
        id
    )
    .fetch_one(connection)
    .await
}

/// Gives an address out for the first time. False if it was reserved or given out before.
///
/// # Errors
/// Of the database.
pub async fn hold_new(
    connection: &mut PgConnection,
    pool: Uuid,
    address: Ipv4Addr,
    need: &Need,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into addresses (pool_id, address, state, account_id, instance_id, updated_at) values ($1, $2::text::inet, 'HELD', $3, $4, $5)
        on conflict (pool_id, address) do nothing",
        pool,
        address.to_string(),
        need.account.0,
        need.instance.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Addresses of a pool whose quarantine is over, the longest free first.
///
/// # Errors
/// Of the database.
pub async fn list_free(
    connection: &mut PgConnection,
    pool: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Ipv4Addr>> {
    let rows = sqlx::query_scalar!(
        r#"select host(address) as "address!" from addresses where pool_id = $1 and state = 'FREE' and free_at <= $2 order by free_at, address limit 200"#,
        pool,
        now
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(|text| address(text)).collect()
}

/// Gives a free address of a pool that is locked out again.
///
/// # Errors
/// Of the database.
pub async fn hold_again(
    connection: &mut PgConnection,
    pool: Uuid,
    address: Ipv4Addr,
    need: &Need,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update addresses set state = 'HELD', account_id = $3, instance_id = $4, free_at = null, note = '', updated_at = $5
        where pool_id = $1 and address = $2::text::inet and state = 'FREE'",
        pool,
        address.to_string(),
        need.account.0,
        need.instance.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes an address from an instance. Nothing happens to one that it does not hold.
///
/// # Errors
/// Of the database.
pub async fn free(
    connection: &mut PgConnection,
    pool: Uuid,
    address: Ipv4Addr,
    instance: InstanceId,
    free_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update addresses set state = 'FREE', free_at = $4, updated_at = $5 where pool_id = $1 and address = $2::text::inet and state = 'HELD' and instance_id = $3",
        pool,
        address.to_string(),
        instance.0,
        free_at,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// An address as its pool's books have it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The address.
    pub address: Ipv4Addr,
    /// As stored.
    pub state: String,
    /// Who has it, or had it last.
    pub instance: Option<InstanceId>,
    /// What staff wrote.
    pub note: String,
    /// When it is free.
    pub free_at: Option<DateTime<Utc>>,
    /// Since when.
    pub updated_at: DateTime<Utc>,
}

/// Addresses of a pool that are not free, the lowest first, after `after`.
///
/// # Errors
/// Of the database.
pub async fn list_known(
    pool: &PgPool,
    id: Uuid,
    after: Option<Ipv4Addr>,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Known>> {
    let rows = sqlx::query!(
        r#"select host(address) as "address!", state, instance_id as "instance: InstanceId", note, free_at, updated_at from addresses
        where pool_id = $1 and address > $2::text::inet and (state <> 'FREE' or free_at > $3) order by address limit $4"#,
        id,
        after.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string(),
        now,
        limit,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|r| {
            Ok(Known {
                address: address(&r.address)?,
                state: r.state,
                instance: r.instance,
                note: r.note,
                free_at: r.free_at,
                updated_at: r.updated_at,
            })
        })
        .collect()
}

/// An address of a pool, if it was ever given out or reserved.
///
/// # Errors
/// Of the database.
pub async fn get_known(
    connection: &mut PgConnection,
    id: Uuid,
    wanted: Ipv4Addr,
) -> sqlx::Result<Option<Known>> {
    let row = sqlx::query!(
        r#"select state, instance_id as "instance: InstanceId", note, free_at, updated_at from addresses where pool_id = $1 and address = $2::text::inet"#,
        id,
        wanted.to_string(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|r| Known {
        address: wanted,
        state: r.state,
        instance: r.instance,
        note: r.note,
        free_at: r.free_at,
        updated_at: r.updated_at,
    }))
}

/// Writes an address of a pool that is locked: reserved, or free since `free_at`. The caller has seen that nobody holds it.
///
/// # Errors
/// Of the database.
pub async fn put(connection: &mut PgConnection, id: Uuid, known: &Known) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into addresses (pool_id, address, state, note, free_at, updated_at) values ($1, $2::text::inet, $3, $4, $5, $6)
        on conflict (pool_id, address) do update set state = excluded.state, note = excluded.note, free_at = excluded.free_at, updated_at = excluded.updated_at",
        id,
        known.address.to_string(),
        known.state,
        known.note,
        known.free_at,
        known.updated_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many addresses of each pool are held, and how many are in quarantine.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    ids: &[Uuid],
    now: DateTime<Utc>,
) -> sqlx::Result<std::collections::HashMap<Uuid, (i64, i64)>> {
    let rows = sqlx::query!(
        r#"select pool_id, count(*) filter (where state = 'HELD') as "held!", count(*) filter (where state = 'FREE' and free_at > $2) as "resting!"
        from addresses where pool_id = any($1) group by 1"#,
        ids,
        now
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| (r.pool_id, (r.held, r.resting)))
        .collect())
}
