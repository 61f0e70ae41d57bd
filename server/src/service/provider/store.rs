//! The SQL of provider accounts.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{InstanceId, ProviderAccountId};
use crate::base::money::Rupiah;
use crate::base::vault::Sealed;
use crate::provider::compute::line::trust::Trust;
use crate::provider::compute::vendor::Vendor;
use crate::service::provider::compare::{Named, Sold};
use crate::service::provider::error::Error;
use crate::service::provider::model::{Account, Finding, Health};

/// A row of `provider_accounts`.
struct Row {
    id: ProviderAccountId,
    provider: String,
    display_name: String,
    base_url: String,
    tls_authorities: String,
    tls_fingerprint: String,
    token_key: String,
    token_sealed: Vec<u8>,
    region_codes: Vec<String>,
    plan_ids: Vec<Uuid>,
    weight: i32,
    machine_limit: i32,
    call_limit: i32,
    enabled: bool,
    revision: i64,
    health: i16,
    health_message: String,
    checked_at: Option<DateTime<Utc>>,
    provider_machine_limit: Option<i32>,
    provider_balance: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    /// `None` for an account of a vendor that an older or newer server had an adapter for, and this one has not.
    fn account(self) -> Option<Account> {
        Some(Account {
            id: self.id,
            vendor: Vendor::parse(&self.provider)?,
            display_name: self.display_name,
            base_url: self.base_url,
            trust: Trust {
                authorities: self.tls_authorities,
                fingerprint: self.tls_fingerprint,
            },
            token: Sealed {
                key_id: self.token_key,
                bytes: self.token_sealed,
            },
            region_codes: self.region_codes,
            plan_ids: self.plan_ids,
            weight: self.weight,
            machine_limit: self.machine_limit,
            call_limit: self.call_limit,
            enabled: self.enabled,
            revision: self.revision,
            health: Health::from_number(self.health),
            health_message: self.health_message,
            checked_at: self.checked_at,
            provider_machine_limit: self.provider_machine_limit,
            provider_balance: self.provider_balance,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Accounts by whatever follows the columns.
macro_rules! accounts {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select id as "id: ProviderAccountId", provider, display_name, base_url, tls_authorities, tls_fingerprint, token_key, token_sealed, region_codes, plan_ids, weight, machine_limit,
                call_limit, enabled, revision, health, health_message, checked_at, provider_machine_limit, provider_balance, created_at, updated_at
            from provider_accounts "# + $tail,
            $($argument),*
        )
    };
}

/// An account.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> sqlx::Result<Option<Account>> {
    Ok(accounts!("where id = $1", id.0)
        .fetch_optional(connection)
        .await?
        .and_then(Row::account))
}

/// An account, locked.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    id: ProviderAccountId,
) -> sqlx::Result<Option<Account>> {
    Ok(accounts!("where id = $1 for no key update", id.0)
        .fetch_optional(connection)
        .await?
        .and_then(Row::account))
}

/// Accounts, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(pool: &PgPool, before: Option<Uuid>, limit: i64) -> sqlx::Result<Vec<Account>> {
    Ok(accounts!(
        "where id < $1 order by id desc limit $2",
        before.unwrap_or(Uuid::max()),
        limit
    )
    .fetch_all(pool)
    .await?
    .into_iter()
    .filter_map(Row::account)
    .collect())
}

/// The accounts of a vendor, locked in the order of their ids: while one machine is being given a place, no other is.
///
/// # Errors
/// Of the database.
pub async fn list_for_update(
    connection: &mut PgConnection,
    vendor: Vendor,
) -> sqlx::Result<Vec<Account>> {
    Ok(accounts!(
        "where provider = $1 order by id for no key update",
        vendor.name()
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .filter_map(Row::account)
    .collect())
}

/// Adds an account.
///
/// # Errors
/// `NameTaken`; the database.
pub async fn insert(connection: &mut PgConnection, new: &Account) -> Result<(), Error> {
    let done = sqlx::query!(
        "insert into provider_accounts (id, provider, display_name, base_url, token_key, token_sealed, region_codes, plan_ids, weight, machine_limit, call_limit,
            created_at, updated_at, tls_authorities, tls_fingerprint)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14) on conflict (display_name) do nothing",
        new.id.0,
        new.vendor.name(),
        new.display_name,
        new.base_url,
        new.token.key_id,
        new.token.bytes,
        &new.region_codes,
        &new.plan_ids,
        new.weight,
        new.machine_limit,
        new.call_limit,
        new.created_at,
        new.trust.authorities,
        new.trust.fingerprint,
    )
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(Error::NameTaken)
    }
}

/// Writes what staff changed of an account that is locked.
///
/// # Errors
/// `NameTaken`; the database.
pub async fn update(connection: &mut PgConnection, changed: &Account) -> Result<(), Error> {
    let taken = sqlx::query_scalar!(
        "select id from provider_accounts where display_name = $1 and id <> $2",
        changed.display_name,
        changed.id.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    if taken.is_some() {
        return Err(Error::NameTaken);
    }
    sqlx::query!(
        "update provider_accounts set display_name = $2, token_key = $3, token_sealed = $4, region_codes = $5, plan_ids = $6, weight = $7, machine_limit = $8,
            call_limit = $9, enabled = $10, health = $11, health_message = $12, updated_at = $13, tls_authorities = $14, tls_fingerprint = $15, revision = revision + 1
        where id = $1",
        changed.id.0,
        changed.display_name,
        changed.token.key_id,
        changed.token.bytes,
        &changed.region_codes,
        &changed.plan_ids,
        changed.weight,
        changed.machine_limit,
        changed.call_limit,
        changed.enabled,
        changed.health as i16,
        changed.health_message,
        changed.updated_at,
        changed.trust.authorities,
        changed.trust.fingerprint,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Accounts whose turn it is to be asked for; nobody else gets them until the next round.
///
/// # Errors
/// Of the database.
pub async fn take_to_check(
    pool: &PgPool,
    now: DateTime<Utc>,
    checked_before: DateTime<Utc>,
) -> sqlx::Result<Vec<ProviderAccountId>> {
    sqlx::query_scalar!(
        r#"update provider_accounts set checked_at = $1
        where id in (
            select id from provider_accounts where enabled and (checked_at is null or checked_at < $2) order by id limit 20 for no key update skip locked
        )
        returning id as "id: ProviderAccountId""#,
        now,
        checked_before,
    )
    .fetch_all(pool)
    .await
}

/// Writes down how an account was found, unless staff changed it since.
///
/// # Errors
/// Of the database.
pub async fn note(
    connection: &mut PgConnection,
    id: ProviderAccountId,
    revision: i64,
    finding: &Finding,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update provider_accounts set health = $3, health_message = $4, checked_at = $5,
            provider_machine_limit = case when $6 then $7 else provider_machine_limit end,
            provider_balance = case when $6 then $8 else provider_balance end
        where id = $1 and revision = $2",
        id.0,
        revision,
        finding.health as i16,
        finding.message,
        now,
        finding.standing.is_some(),
        finding.standing.as_ref().and_then(|s| s.machine_limit),
        finding.standing.as_ref().map_or("", |s| s.balance.as_str()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Machines of ours that each account has or is making. Reads `instances`.
///
/// # Errors
/// Of the database.
pub async fn count_machines(
    connection: &mut PgConnection,
    ids: &[ProviderAccountId],
) -> sqlx::Result<std::collections::HashMap<ProviderAccountId, i64>> {
    let rows = sqlx::query!(
        r#"select provider_account_id as "id!: ProviderAccountId", count(*) as "count!" from instances
        where provider_account_id = any($1) and provider_account_id is not null and state not in ('DELETED', 'FAILED') group by 1"#,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| (r.id, r.count)).collect())
}

/// The instances that an account has machines of. Reads `instances` and `operations`.
///
/// # Errors
/// Of the database.
pub async fn list_sold(pool: &PgPool, id: ProviderAccountId) -> sqlx::Result<Vec<Sold>> {
    let rows = sqlx::query!(
        r#"select i.id as "id: InstanceId", i.state, i.provider_ref, i.provider_size, i.region_code, i.image_code, i.ipv4, i.price as "price: Rupiah", i.period,
            exists (
                select from operations o where o.account_id = i.account_id and o.instance_id = i.id and o.state in ('PENDING', 'RUNNING')
            ) as "under_way!"
        from instances i where i.provider_account_id = $1 and i.provider_account_id is not null and i.state not in ('DELETED', 'FAILED')"#,
        id.0
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Sold {
            id: r.id,
            state: r.state,
            provider_ref: r.provider_ref,
            size: r.provider_size,
            region: r.region_code,
            image: r.image_code,
            ipv4: r.ipv4,
            price: r.price,
            period: BillingPeriod::try_from(i32::from(r.period)).unwrap_or_default(),
            under_way: r.under_way,
        })
        .collect())
}

/// The instances among `ids`, whatever has become of them. Reads `instances` and `operations`.
///
/// # Errors
/// Of the database.
pub async fn list_named(
    pool: &PgPool,
    account: ProviderAccountId,
    ids: &[InstanceId],
) -> sqlx::Result<Vec<Named>> {
    sqlx::query_as!(
        Named,
        r#"select i.id as "id: InstanceId", coalesce(i.provider_account_id = $1, false) as "here!", i.state in ('DELETED', 'FAILED') as "ended!",
            exists (
                select from operations o where o.account_id = i.account_id and o.instance_id = i.id and o.state in ('PENDING', 'RUNNING')
            ) as "under_way!"
        from instances i where i.id = any($2)"#,
        account.0,
        &ids.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(pool)
    .await
}

/// The instance whose machine is the one of that name in a provider account, whatever has become of it but its end. Reads `instances`.
///
/// # Errors
/// Of the database.
pub async fn owner_of(
    connection: &mut PgConnection,
    account: ProviderAccountId,
    machine: &str,
) -> sqlx::Result<Option<InstanceId>> {
    sqlx::query_scalar!(
        r#"select id as "id: InstanceId" from instances
        where provider_account_id = $1 and provider_account_id is not null and provider_ref = $2 and state not in ('DELETED', 'FAILED') limit 1"#,
        account.0,
        machine,
    )
    .fetch_optional(connection)
    .await
}

/// Every account that is not sealed under `key`, locked.
///
/// # Errors
/// Of the database.
pub async fn list_sealed_otherwise_for_update(
    connection: &mut PgConnection,
    key: &str,
) -> sqlx::Result<Vec<(ProviderAccountId, Sealed)>> {
    let rows = sqlx::query!(
        r#"select id as "id: ProviderAccountId", token_key, token_sealed from provider_accounts where token_key <> $1 order by id for no key update"#,
        key
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let sealed = Sealed {
                key_id: r.token_key,
                bytes: r.token_sealed,
            };
            (r.id, sealed)
        })
        .collect())
}

/// Writes a token that was sealed anew. The account is the same, so its revision is, too.
///
/// # Errors
/// Of the database.
pub async fn reseal(
    connection: &mut PgConnection,
    id: ProviderAccountId,
    sealed: &Sealed,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update provider_accounts set token_key = $2, token_sealed = $3 where id = $1",
        id.0,
        sealed.key_id,
        sealed.bytes
    )
    .execute(connection)
    .await?;
    Ok(())
}
