//! What is written while a machine is being made, each by one statement of its own: no transaction is open while its provider is asked.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::service::instance::model::Instance;

/// Gives an instance the account that its machine is to be made in. False if it has one, or a machine may exist, or none is wanted any more.
///
/// # Errors
/// Of the database.
pub async fn assign(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    provider_account: ProviderAccountId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update instances set provider_account_id = $3
        where account_id = $1 and id = $2 and state = 'PROVISIONING' and provider_account_id is null and provider_ref is null and unsure_until is null",
        account.0,
        id.0,
        provider_account.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the right to create the machine of an instance: until `unsure_until` nobody else may. False if somebody else has it, or a machine is known, or none is
/// wanted any more.
///
/// # Errors
/// Of the database.
pub async fn claim(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
    now: DateTime<Utc>,
    unsure_until: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update instances set unsure_until = $4
        where account_id = $1 and id = $2 and state = 'PROVISIONING' and provider_ref is null and (unsure_until is null or unsure_until <= $3)",
        account.0,
        id.0,
        now,
        unsure_until,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a claim whose call ended: `None` if it made no machine for sure, else until when one may still show up. Somebody else's claim is left alone.
///
/// # Errors
/// Of the database.
pub async fn unclaim(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
    claimed: DateTime<Utc>,
    unsure_until: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set unsure_until = $4 where account_id = $1 and id = $2 and unsure_until = $3",
        account.0,
        id.0,
        claimed,
        unsure_until,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Remembers the machine of an instance, also of one that is not wanted any more: whoever cleans up needs to know. False if another one is known.
///
/// # Errors
/// Of the database.
pub async fn adopt(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
    provider_ref: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update instances set provider_ref = $3, unsure_until = null where account_id = $1 and id = $2 and (provider_ref is null or provider_ref = $3)",
        account.0,
        id.0,
        provider_ref,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets the machine of `instance`, which was gone before it ran, so that another one can be made once this one cannot show up again.
///
/// # Errors
/// Of the database.
pub async fn forget(
    pool: &PgPool,
    instance: &Instance,
    unsure_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set provider_ref = null, unsure_until = $4
        where account_id = $1 and id = $2 and state = 'PROVISIONING' and provider_ref = $3",
        instance.account.0,
        instance.id.0,
        instance.provider_ref,
        unsure_until,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Remembers the addresses of a machine that is being made.
///
/// # Errors
/// Of the database.
pub async fn set_addresses(
    pool: &PgPool,
    seen: &Instance,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set ipv4 = $3, ipv6 = $4, revision = revision + 1, updated_at = $5
        where account_id = $1 and id = $2 and state = 'PROVISIONING' and (ipv4, ipv6) is distinct from ($3, $4)",
        seen.account.0,
        seen.id.0,
        seen.ipv4,
        seen.ipv6,
        now,
    )
    .execute(pool)
    .await?;
    Ok(())
}
