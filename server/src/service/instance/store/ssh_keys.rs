//! The SQL of public keys.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, SshKeyId};
use crate::service::instance::model::SshKey;

/// How many keys an account has. Whoever else adds one to it waits until the transaction ends, so that the answer holds.
///
/// # Errors
/// Of the database.
pub async fn count_for_update(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<i64, sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('ssh_keys/' || $1::uuid::text, 0))",
        account.0
    )
    .fetch_one(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from ssh_keys where account_id = $1"#,
        account.0
    )
    .fetch_one(connection)
    .await
}

/// The key of an account that has this fingerprint.
///
/// # Errors
/// Of the database.
pub async fn find(
    connection: &mut PgConnection,
    account: AccountId,
    fingerprint: &str,
) -> Result<Option<SshKeyId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select id as "id: SshKeyId" from ssh_keys where account_id = $1 and fingerprint = $2"#,
        account.0,
        fingerprint
    )
    .fetch_optional(connection)
    .await
}

/// Writes a key.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    account: AccountId,
    key: &SshKey,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into ssh_keys (account_id, id, display_name, public_key, fingerprint, created_at) values ($1, $2, $3, $4, $5, $6)",
        account.0,
        key.id.0,
        key.display_name,
        key.public_key,
        key.fingerprint,
        key.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A key.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    account: AccountId,
    id: SshKeyId,
) -> Result<Option<SshKey>, sqlx::Error> {
    sqlx::query_as!(
        SshKey,
        r#"select id as "id: SshKeyId", display_name, public_key, fingerprint, created_at from ssh_keys where account_id = $1 and id = $2"#,
        account.0,
        id.0
    )
    .fetch_optional(connection)
    .await
}

/// Keys of an account, newest first, only before `before`.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<SshKey>, sqlx::Error> {
    sqlx::query_as!(
        SshKey,
        r#"select id as "id: SshKeyId", display_name, public_key, fingerprint, created_at from ssh_keys
        where account_id = $1 and id < $2 order by id desc limit $3"#,
        account.0,
        before.unwrap_or(Uuid::max()),
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Removes a key and returns what it was.
///
/// # Errors
/// Of the database.
pub async fn delete(
    connection: &mut PgConnection,
    account: AccountId,
    id: SshKeyId,
) -> Result<Option<SshKey>, sqlx::Error> {
    sqlx::query_as!(
        SshKey,
        r#"delete from ssh_keys where account_id = $1 and id = $2
        returning id as "id: SshKeyId", display_name, public_key, fingerprint, created_at"#,
        account.0,
        id.0
    )
    .fetch_optional(connection)
    .await
}
