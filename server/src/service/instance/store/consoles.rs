//! The SQL of consoles.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, ApiKeyId, ConsoleId, InstanceId};
use crate::service::instance::model::console::Console;

/// How many consoles an instance has, and ways to one. The instance is locked.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from consoles where account_id = $1 and instance_id = $2 and until > $3"#,
        account.0,
        instance.0,
        now,
    )
    .fetch_one(connection)
    .await
}

/// Writes a way to a console, which a ticket of this digest opens until then.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    new: &Console,
    ticket_digest: &[u8; 32],
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into consoles (account_id, id, instance_id, principal_id, key_id, ticket_digest, until, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        new.account.0,
        new.id.0,
        new.instance.0,
        new.principal,
        new.key.map(|key| key.0),
        ticket_digest,
        until,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Uses a ticket: whoever comes with it next finds none. The console counts until `until` then.
///
/// # Errors
/// Of the database.
pub async fn redeem(
    pool: &PgPool,
    ticket_digest: &[u8; 32],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Console>, sqlx::Error> {
    sqlx::query_as!(
        Console,
        r#"update consoles set ticket_digest = null, until = $3 where ticket_digest = $1 and until > $2
        returning account_id as "account: AccountId", id as "id: ConsoleId", instance_id as "instance: InstanceId", principal_id as "principal: Uuid",
            key_id as "key: ApiKeyId""#,
        ticket_digest,
        now,
        until,
    )
    .fetch_optional(pool)
    .await
}

/// Says that a console is open. False if it may not be any more, because its instance does not run or is suspended.
///
/// # Errors
/// Of the database.
pub async fn keep(
    pool: &PgPool,
    console: &Console,
    until: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update consoles c set until = $4 from instances i
        where c.account_id = $1 and c.id = $2 and i.account_id = $1 and i.id = $3 and i.state = 'RUNNING' and not i.suspended",
        console.account.0,
        console.id.0,
        console.instance.0,
        until,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets a console that has ended.
///
/// # Errors
/// Of the database.
pub async fn remove(pool: &PgPool, console: &Console) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from consoles where account_id = $1 and id = $2",
        console.account.0,
        console.id.0,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets consoles whose time is over, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget(pool: &PgPool, now: DateTime<Utc>, limit: i64) -> Result<usize, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from consoles c using (select account_id, id from consoles where until <= $1 order by until limit $2 for update skip locked) over
        where c.account_id = over.account_id and c.id = over.id",
        now,
        limit,
    )
    .execute(pool)
    .await?;
    Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
}
