//! The SQL of what machines are given at their first boot. Everything in it is sealed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId};
use crate::base::vault::Sealed;

/// What a machine that may be created now is given.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The administrator's password: the same one however often the creation is tried.
    pub password: Sealed,
    /// Keys and user data, where there are any.
    pub wish: Option<Sealed>,
}

/// Keeps what the machine of an order is to be given.
///
/// # Errors
/// Of the database.
pub async fn keep_wish(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    sealed: &Sealed,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into first_boots (account_id, instance_id, sealed_key, sealed, created_at) values ($1, $2, $3, $4, $5)",
        account.0,
        id.0,
        sealed.key_id,
        sealed.bytes,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets what the machine of an order was to be given.
///
/// # Errors
/// Of the database.
pub async fn forget_wish(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from first_boots where account_id = $1 and instance_id = $2",
        account.0,
        id.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a machine that is being made is given, as it was when it was asked for. `None` before that.
///
/// # Errors
/// Of the database.
pub async fn given(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Claimed>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select i.first_password as "password!", i.first_password_key as "password_key!", b.sealed as "wish?", b.sealed_key as "wish_key?"
        from instances i left join first_boots b on b.account_id = i.account_id and b.instance_id = i.id
        where i.account_id = $1 and i.id = $2 and i.state = 'PROVISIONING' and i.first_password is not null"#,
        account.0,
        id.0,
    )
    .fetch_optional(pool)
    .await?;
    let sealed = |(key_id, bytes)| Sealed { key_id, bytes };
    Ok(row.map(|r| Claimed {
        password: sealed((r.password_key, r.password)),
        wish: r.wish_key.zip(r.wish).map(sealed),
    }))
}

/// Keeps a first password in place of the one there was.
///
/// # Errors
/// Of the database.
pub async fn keep_password(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    sealed: &Sealed,
    until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set first_password = $3, first_password_key = $4, first_password_until = $5 where account_id = $1 and id = $2",
        account.0,
        id.0,
        sealed.bytes,
        sealed.key_id,
        until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the first password of an instance that is locked: whoever asks next finds none.
///
/// # Errors
/// Of the database.
pub async fn take_password(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    now: DateTime<Utc>,
) -> Result<Option<Sealed>, sqlx::Error> {
    let taken = sqlx::query!(
        r#"with was as (
            select first_password, first_password_key from instances where account_id = $1 and id = $2 and first_password_until > $3
        ), gone as (
            update instances set first_password = null, first_password_key = null, first_password_until = null, revision = revision + 1, updated_at = $3
            where account_id = $1 and id = $2 and first_password is not null
        )
        select first_password as "bytes!", first_password_key as "key_id!" from was"#,
        account.0,
        id.0,
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(taken.map(|t| Sealed {
        key_id: t.key_id,
        bytes: t.bytes,
    }))
}

/// Forgets first passwords whose time is over, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_old_passwords(
    pool: &PgPool,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<usize, sqlx::Error> {
    let gone = sqlx::query!(
        "update instances i set first_password = null, first_password_key = null, first_password_until = null, revision = revision + 1, updated_at = $1
        from (
            select account_id, id from instances where first_password_until <= $1 order by first_password_until limit $2 for no key update skip locked
        ) due
        where i.account_id = due.account_id and i.id = due.id",
        now,
        limit,
    )
    .execute(pool)
    .await?;
    Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
}

/// First passwords that are sealed under another key than this one, locked.
///
/// # Errors
/// Of the database.
pub async fn list_passwords_sealed_otherwise_for_update(
    connection: &mut PgConnection,
    key_id: &str,
) -> Result<Vec<(AccountId, InstanceId, Sealed)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", id as "id: InstanceId", first_password as "bytes!", first_password_key as "key_id!" from instances
        where first_password_until is not null and first_password_key <> $1 order by account_id, id for no key update"#,
        key_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let sealed = Sealed {
                key_id: r.key_id,
                bytes: r.bytes,
            };
            (r.account, r.id, sealed)
        })
        .collect())
}

/// Writes a first password that was sealed anew. It is the same, so the revision is, too.
///
/// # Errors
/// Of the database.
pub async fn reseal_password(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    sealed: &Sealed,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set first_password = $3, first_password_key = $4 where account_id = $1 and id = $2",
        account.0,
        id.0,
        sealed.bytes,
        sealed.key_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What machines are to be given that is sealed under another key than this one, locked.
///
/// # Errors
/// Of the database.
pub async fn list_wishes_sealed_otherwise_for_update(
    connection: &mut PgConnection,
    key_id: &str,
) -> Result<Vec<(AccountId, InstanceId, Sealed)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", instance_id as "id: InstanceId", sealed, sealed_key from first_boots
        where sealed_key <> $1 order by account_id, instance_id for no key update"#,
        key_id,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let sealed = Sealed {
                key_id: r.sealed_key,
                bytes: r.sealed,
            };
            (r.account, r.id, sealed)
        })
        .collect())
}

/// Writes what was sealed anew.
///
/// # Errors
/// Of the database.
pub async fn reseal_wish(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    sealed: &Sealed,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update first_boots set sealed = $3, sealed_key = $4 where account_id = $1 and instance_id = $2",
        account.0,
        id.0,
        sealed.bytes,
        sealed.key_id,
    )
    .execute(connection)
    .await?;
    Ok(())
}
