//! SQL of second factors and of what a session has confirmed.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::id::UserId;
use crate::service::identity::model::{Confirmation, Family, SecondFactor};

/// A user's second factor, pending or active.
///
/// # Errors
/// Of the database.
pub async fn get(connection: &mut PgConnection, user: UserId) -> sqlx::Result<SecondFactor> {
    let row = sqlx::query!(
        r#"select confirmed_at, (select count(*) from recovery_codes c where c.user_id = f.user_id) as "codes!"
        from second_factors f where user_id = $1"#,
        user.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(match row {
        None => SecondFactor::None,
        Some(row) => match row.confirmed_at {
            None => SecondFactor::Pending,
            Some(confirmed_at) => SecondFactor::Active {
                confirmed_at,
                codes_left: i32::try_from(row.codes).unwrap_or(i32::MAX),
            },
        },
    })
}

/// Keeps a new secret that no code was seen of yet. False if the user has an active one.
///
/// # Errors
/// Of the database.
pub async fn put_pending(
    connection: &mut PgConnection,
    user: UserId,
    secret_sealed: &[u8],
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into second_factors (user_id, secret_sealed, created_at, attempts_since) values ($1, $2, $3, $3)
        on conflict (user_id) do update set secret_sealed = excluded.secret_sealed, created_at = excluded.created_at, last_step = 0
        where second_factors.confirmed_at is null",
        user.0,
        secret_sealed,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A second factor's sealed secret and whether it is active, locked.
///
/// # Errors
/// Of the database.
pub async fn secret_for_update(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<(Vec<u8>, bool)>> {
    let row = sqlx::query!(
        r#"select secret_sealed, confirmed_at is not null as "active!" from second_factors where user_id = $1 for no key update"#,
        user.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.secret_sealed, row.active)))
}

/// Counts a code before it is looked at, and returns the sealed secret; `None` if `limit` were looked at since `window`, or there is no active second factor.
/// Many guesses at once are counted one after the other by the row's lock.
///
/// # Errors
/// Of the database.
pub async fn take_attempt(
    connection: &mut PgConnection,
    user: UserId,
    window: DateTime<Utc>,
    limit: i16,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Vec<u8>>> {
    let row = sqlx::query!(
        "update second_factors set attempts = case when attempts_since <= $2 then 1 else attempts + 1 end,
            attempts_since = case when attempts_since <= $2 then $4 else attempts_since end
        where user_id = $1 and confirmed_at is not null and (attempts_since <= $2 or attempts < $3)
        returning secret_sealed",
        user.0,
        window,
        limit,
        now,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.secret_sealed))
}

/// Since when codes of an active second factor are counted; `None` if there is none.
///
/// # Errors
/// Of the database.
pub async fn attempts_since(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "select attempts_since from second_factors where user_id = $1 and confirmed_at is not null",
        user.0
    )
    .fetch_optional(connection)
    .await
}

/// Takes the code of a time step. False if that step or a later one was taken before.
///
/// # Errors
/// Of the database.
pub async fn take_step(
    connection: &mut PgConnection,
    user: UserId,
    step: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "update second_factors set last_step = $2, attempts = 0 where user_id = $1 and last_step < $2",
        user.0,
        step
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes a pending second factor active.
///
/// # Errors
/// Of the database.
pub async fn activate(
    connection: &mut PgConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update second_factors set confirmed_at = $2 where user_id = $1 and confirmed_at is null",
        user.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a second factor and its recovery codes away. False if there was none.
///
/// # Errors
/// Of the database.
pub async fn delete(connection: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let done = sqlx::query!("delete from second_factors where user_id = $1", user.0)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces the recovery codes.
///
/// # Errors
/// Of the database.
pub async fn replace_codes(
    connection: &mut PgConnection,
    user: UserId,
    digests: &[Vec<u8>],
) -> sqlx::Result<()> {
    sqlx::query!("delete from recovery_codes where user_id = $1", user.0)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "insert into recovery_codes (user_id, digest) select $1, digest from unnest($2::bytea[]) as digest",
        user.0,
        digests
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes a recovery code, and sets the count of attempts back. False if it is none, or was used.
///
/// # Errors
/// Of the database.
pub async fn take_code(
    connection: &mut PgConnection,
    user: UserId,
    digest: &[u8],
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "with used as (delete from recovery_codes where user_id = $1 and digest = $2 returning user_id)
        update second_factors set attempts = 0 where user_id in (select user_id from used)",
        user.0,
        digest
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The hash of a user's password.
///
/// # Errors
/// Of the database.
pub async fn password_hash(
    connection: &mut PgConnection,
    user: UserId,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select password_hash from users where id = $1", user.0)
        .fetch_optional(connection)
        .await
}

/// What a session has confirmed, and whether its user has a second factor; `None` if it has ended.
///
/// # Errors
/// Of the database.
pub async fn confirmation(
    connection: &mut PgConnection,
    session: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Confirmation>> {
    sqlx::query_as!(
        Confirmation,
        r#"select f.confirmed_at, f.second_factor, s.confirmed_at is not null as "needs_code!"
        from refresh_families f left join second_factors s on s.user_id = f.user_id
        where f.id = $1 and f.revoked_at is null and f.expires_at > $2"#,
        session,
        now
    )
    .fetch_optional(connection)
    .await
}

/// Notes that the person of a session confirmed; `None` if it has ended.
///
/// # Errors
/// Of the database.
pub async fn confirm_session(
    connection: &mut PgConnection,
    session: Uuid,
    second_factor: bool,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Family>> {
    sqlx::query_as!(
        Family,
        r#"update refresh_families set confirmed_at = $2, second_factor = $3
        where id = $1 and revoked_at is null and expires_at > $2
        returning id, user_id as "user_id: UserId", generation, rotated_at, expires_at, revoked_at, confirmed_at, second_factor"#,
        session,
        now,
        second_factor
    )
    .fetch_optional(connection)
    .await
}
