//! SQL of signing keys.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A signing key as it is kept.
pub struct Row {
    /// Key id.
    pub kid: String,
    /// Which key of the platform it is, from 1.
    pub generation: i32,
    /// Uncompressed point.
    pub public_key: Vec<u8>,
    /// PKCS#8, sealed.
    pub private_key_sealed: Vec<u8>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it begins to sign.
    pub active_at: DateTime<Utc>,
    /// When it stops being published.
    pub retire_at: Option<DateTime<Utc>>,
}

/// Number of the newest key; `None` if there is none.
///
/// # Errors
/// Of the database.
pub async fn newest_generation(connection: &mut PgConnection) -> sqlx::Result<Option<i32>> {
    sqlx::query_scalar!("select max(generation) from signing_keys")
        .fetch_one(connection)
        .await
}

/// Inserts a key; false if its generation was made already.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, row: &Row) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into signing_keys (kid, generation, public_key, private_key_sealed, created_at, active_at) values ($1, $2, $3, $4, $5, $6)
        on conflict (generation) do nothing",
        row.kid,
        row.generation,
        row.public_key,
        row.private_key_sealed,
        row.created_at,
        row.active_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Says when keys older than a generation stop being published.
///
/// # Errors
/// Of the database.
pub async fn retire_before(
    connection: &mut PgConnection,
    generation: i32,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update signing_keys set retire_at = $2 where generation < $1 and retire_at is null",
        generation,
        at
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The keys still published, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(connection: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "select kid, generation, public_key, private_key_sealed, created_at, active_at, retire_at
        from signing_keys where retire_at is null or retire_at > $1
        order by generation desc",
        now,
    )
    .fetch_all(connection)
    .await
}

/// Since when the platform exists: its first key was made before anything was written.
///
/// # Errors
/// Of the database.
pub async fn began_at(connection: &mut PgConnection) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!("select min(created_at) from signing_keys")
        .fetch_one(connection)
        .await
}
