//! SQL of API keys.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, ApiKeyId};
use crate::service::identity::model::ApiKey;

/// A key to insert.
pub struct NewKey<'a> {
    /// Whose it is.
    pub account: AccountId,
    /// The key.
    pub key: &'a ApiKey,
    /// Digest of the secret.
    pub digest: &'a [u8],
    /// The maker's role.
    pub role: &'a str,
    /// The maker.
    pub created_by: Uuid,
}

/// A key as it is checked.
pub struct Presented {
    /// Whose it is.
    pub account_id: AccountId,
    /// The key.
    pub id: ApiKeyId,
    /// Permissions and groups.
    pub scopes: Vec<String>,
    /// The maker's role.
    pub role: String,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// True for a sandbox account.
    pub sandbox: bool,
    /// True if the account is suspended.
    pub suspended: bool,
}

/// How many keys of an account work now. Locks the account, so that the answer holds until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn count_live_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query!(
        "select id from accounts where id = $1 for no key update",
        account.0
    )
    .fetch_optional(&mut *connection)
    .await?;
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from api_keys where account_id = $1 and revoked_at is null and (expires_at is null or expires_at > $2)"#,
        account.0,
        now,
    )
    .fetch_one(connection)
    .await
}

/// Inserts a key.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, new: &NewKey<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into api_keys (account_id, id, digest, display_name, scopes, role, created_by, created_at, expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        new.account.0,
        new.key.id.0,
        new.digest,
        new.key.display_name,
        &new.key.scopes,
        new.role,
        new.created_by,
        new.key.created_at,
        new.key.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keys of an account, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    connection: &mut PgConnection,
    account: AccountId,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<ApiKey>> {
    sqlx::query_as!(
        ApiKey,
        r#"select id as "id: ApiKeyId", display_name, scopes, created_at, expires_at, revoked_at, last_used_at
        from api_keys where account_id = $1 and ($2::uuid is null or id < $2)
        order by id desc limit $3"#,
        account.0,
        before,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Revokes a key; the first revocation counts. False if the account has no such key.
///
/// # Errors
/// Of the database.
pub async fn revoke(
    connection: &mut PgConnection,
    account: AccountId,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!("update api_keys set revoked_at = coalesce(revoked_at, $3) where account_id = $1 and id = $2", account.0, id.0, now)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// The key with a digest.
///
/// # Errors
/// Of the database.
pub async fn find_by_digest(
    connection: &mut PgConnection,
    digest: &[u8],
) -> sqlx::Result<Option<Presented>> {
    sqlx::query_as!(
        Presented,
        r#"select k.account_id as "account_id: AccountId", k.id as "id: ApiKeyId", k.scopes, k.role, k.expires_at, k.revoked_at, k.last_used_at,
            a.sandbox, a.suspended_at is not null as "suspended!"
        from api_keys k join accounts a on a.id = k.account_id
        where k.digest = $1"#,
        digest,
    )
    .fetch_optional(connection)
    .await
}

/// Which of some keys are neither revoked nor of a suspended account.
///
/// # Errors
/// Of the database.
pub async fn standing(
    pool: &PgPool,
    asked: &[(AccountId, ApiKeyId)],
) -> sqlx::Result<HashMap<(AccountId, ApiKeyId), ()>> {
    let (accounts, ids): (Vec<Uuid>, Vec<Uuid>) = asked.iter().map(|(a, id)| (a.0, id.0)).unzip();
    let rows = sqlx::query!(
        r#"select k.account_id as "account: AccountId", k.id as "id: ApiKeyId" from api_keys k join accounts a on a.id = k.account_id
        where (k.account_id, k.id) in (select * from unnest($1::uuid[], $2::uuid[])) and k.revoked_at is null and a.suspended_at is null"#,
        &accounts,
        &ids
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.account, row.id), ()))
        .collect())
}

/// Notes that a key was used, unless a later use is noted already.
///
/// # Errors
/// Of the database.
pub async fn touch(
    connection: &mut PgConnection,
    account: AccountId,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update api_keys set last_used_at = $3 where account_id = $1 and id = $2 and (last_used_at is null or last_used_at < $3)",
        account.0,
        id.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
