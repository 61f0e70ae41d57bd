//! What is written while a machine is being made, each by one statement of its own: no transaction is open while its provider is asked.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::base::vault::Sealed;
use crate::service::instance::model::Instance;
use crate::service::instance::store::boot::Claimed;

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

/// Whether nobody can be asking for the machine of an instance, of which there was none at `looked_at` in this account; and until the transaction ends nobody can.
///
/// # Errors
/// Of the database.
pub async fn is_unasked_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    provider_account: ProviderAccountId,
    looked_at: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select id from instances
        where account_id = $1 and id = $2 and provider_account_id = $3 and state = 'PROVISIONING' and provider_ref is null and (unsure_until is null or unsure_until <= $4)
        for no key update",
        account.0,
        id.0,
        provider_account.0,
        looked_at,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Notes the machine of an instance that was made elsewhere.
///
/// # Errors
/// Of the database; `RowNotFound` if the instance is not one that was just recorded.
pub async fn take_in(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    provider_account: ProviderAccountId,
    provider_ref: &str,
) -> Result<(), sqlx::Error> {
    let done = sqlx::query!(
        "update instances set provider_account_id = $3, provider_ref = $4
        where account_id = $1 and id = $2 and state = 'PROVISIONING' and provider_account_id is null and provider_ref is null",
        account.0,
        id.0,
        provider_account.0,
        provider_ref,
    )
    .execute(connection)
    .await?;
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(sqlx::Error::RowNotFound)
    }
}

/// Takes an instance from the account that its machine was to be made in, because that account made none for sure: after a claim that ended so, or before any. False if a creation
/// there was ever begun whose end is not known, or a machine is known, or none is wanted any more: then it stays.
///
/// # Errors
/// Of the database.
pub async fn release(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
    provider_account: ProviderAccountId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update instances set provider_account_id = null
        where account_id = $1 and id = $2 and provider_account_id = $3 and state = 'PROVISIONING' and provider_ref is null and unsure_until is null and not unanswered",
        account.0,
        id.0,
        provider_account.0,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes the right to create the machine of an instance, of which there was none at `looked_at`: until `unsure_until` nobody else may. Returns what the machine is to be given; `password` is its administrator's until
/// `password_until` unless one was made before. `None` if somebody else has the right, or the instance is another account's by now, or a machine is known, or none is wanted any more.
///
/// # Errors
/// Of the database.
pub async fn claim(
    pool: &PgPool,
    instance: &Instance,
    looked_at: DateTime<Utc>,
    unsure_until: DateTime<Utc>,
    password: &Sealed,
    password_until: DateTime<Utc>,
) -> Result<Option<Claimed>, sqlx::Error> {
    let claimed = sqlx::query!(
        r#"with claimed as (
            update instances set unsure_until = $4, unanswered = unanswered or unsure_until is not null, first_password = coalesce(first_password, $5), first_password_key = coalesce(first_password_key, $6),
                first_password_until = coalesce(first_password_until, $7)
            where account_id = $1 and id = $2 and state = 'PROVISIONING' and provider_ref is null and (unsure_until is null or unsure_until <= $3)
                and provider_account_id is not distinct from $8
            returning account_id, id, first_password, first_password_key
        )
        select c.first_password as "password!", c.first_password_key as "password_key!", b.sealed as "wish?", b.sealed_key as "wish_key?"
        from claimed c left join first_boots b on b.account_id = c.account_id and b.instance_id = c.id"#,
        instance.account.0,
        instance.id.0,
        looked_at,
        unsure_until,
        password.bytes,
        password.key_id,
        password_until,
        instance.provider_account.map(|a| a.0),
    )
    .fetch_optional(pool)
    .await?;
    let sealed = |(key_id, bytes)| Sealed { key_id, bytes };
    Ok(claimed.map(|c| Claimed {
        password: sealed((c.password_key, c.password)),
        wish: c.wish_key.zip(c.wish).map(sealed),
    }))
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
        "update instances set unsure_until = $4, unanswered = unanswered or $4::timestamptz is not null where account_id = $1 and id = $2 and unsure_until = $3",
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
        "update instances set provider_ref = null, unsure_until = $4, unanswered = true
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
