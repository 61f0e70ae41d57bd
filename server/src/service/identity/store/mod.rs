//! SQL of people, accounts and sessions; keys and the audit list have files of their own.

pub mod audit;
pub mod factor;
pub mod keys;
pub mod signing;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db;
use crate::base::id::{AccountId, UserId};
use crate::service::identity::NewAccount;
use crate::service::identity::error::Error;
use crate::service::identity::model::{Family, Person, Profile};

/// A user to insert.
pub struct NewUser<'a> {
    /// The id it gets.
    pub id: UserId,
    /// E-mail address, lower case.
    pub email: &'a str,
    /// Hash of the password.
    pub password_hash: &'a str,
    /// Name.
    pub name: &'a str,
    /// Role in the platform, for staff.
    pub staff_role: Option<&'a str>,
}

/// Inserts a user.
///
/// # Errors
/// `EmailTaken`; the database.
pub async fn insert_user(
    connection: &mut PgConnection,
    user: &NewUser<'_>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let inserted = sqlx::query!(
        "insert into users (id, email, password_hash, name, staff_role, created_at) values ($1, $2, $3, $4, $5, $6)",
        user.id.0,
        user.email,
        user.password_hash,
        user.name,
        user.staff_role,
        now,
    )
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if db::broken_constraint(&error) == Some("users_email_key") => {
            Err(Error::EmailTaken)
        }
        Err(error) => Err(error.into()),
    }
}

/// Inserts an account.
///
/// # Errors
/// Of the database.
pub async fn insert_account(
    connection: &mut PgConnection,
    id: AccountId,
    new: &NewAccount,
    referrer: Option<AccountId>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into accounts (id, kind, name, sandbox, created_at, referred_by) values ($1, $2, $3, $4, $5, $6)",
        id.0,
        new.kind as i16,
        new.account_name,
        new.sandbox,
        now,
        referrer.map(|r| r.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The account that has a referral code, if it is a sandbox account just as the new one.
///
/// # Errors
/// Of the database.
pub async fn find_referrer(
    connection: &mut PgConnection,
    code: &str,
    sandbox: bool,
) -> sqlx::Result<Option<AccountId>> {
    sqlx::query_scalar!(
        r#"select id as "id: AccountId" from accounts where referral_code = $1 and sandbox = $2"#,
        code,
        sandbox
    )
    .fetch_optional(connection)
    .await
}

/// Makes a user act for an account.
///
/// # Errors
/// Of the database.
pub async fn insert_membership(
    connection: &mut PgConnection,
    account: AccountId,
    user: UserId,
    role: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into memberships (account_id, user_id, role, created_at) values ($1, $2, $3, $4)",
        account.0,
        user.0,
        role,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The id and password hash of the user with an address.
///
/// # Errors
/// Of the database.
pub async fn find_credentials(
    connection: &mut PgConnection,
    email: &str,
) -> sqlx::Result<Option<(UserId, String)>> {
    let row = sqlx::query!(
        "select id, password_hash from users where email = $1",
        email
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (UserId(row.id), row.password_hash)))
}

/// A user with what decides what the user may do.
///
/// # Errors
/// Of the database.
pub async fn get_person(connection: &mut PgConnection, id: UserId) -> sqlx::Result<Option<Person>> {
    sqlx::query_as!(
        Person,
        r#"select u.id as "id: UserId", u.staff_role, m.account_id as "account_id?: AccountId", m.role as "member_role?",
            coalesce(a.sandbox, false) as "sandbox!", (u.suspended_at is not null or a.suspended_at is not null) as "suspended!"
        from users u left join memberships m on m.user_id = u.id left join accounts a on a.id = m.account_id
        where u.id = $1"#,
        id.0,
    )
    .fetch_optional(connection)
    .await
}

/// A user's profile.
///
/// # Errors
/// Of the database.
pub async fn get_profile(
    connection: &mut PgConnection,
    id: UserId,
) -> sqlx::Result<Option<Profile>> {
    sqlx::query_as!(
        Profile,
        r#"select u.id as "user_id: UserId", u.email, u.name, u.phone, u.language, u.created_at, m.account_id as "account_id?: AccountId",
            a.name as "account_name?", a.kind as "account_kind?", coalesce(a.sandbox, false) as "sandbox!"
        from users u left join memberships m on m.user_id = u.id left join accounts a on a.id = m.account_id
        where u.id = $1"#,
        id.0,
    )
    .fetch_optional(connection)
    .await
}

/// Locks a user's row.
///
/// # Errors
/// Of the database.
pub async fn lock_user(connection: &mut PgConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query!("select id from users where id = $1 for no key update", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(())
}

/// Writes the writable fields of a profile.
///
/// # Errors
/// Of the database.
pub async fn update_profile(connection: &mut PgConnection, profile: &Profile) -> sqlx::Result<()> {
    sqlx::query!(
        "update users set name = $2, phone = $3, language = $4 where id = $1",
        profile.user_id.0,
        profile.name,
        profile.phone,
        profile.language,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Begins a family, and forgets the user's expired ones.
///
/// # Errors
/// Of the database.
pub async fn insert_family(connection: &mut PgConnection, family: &Family) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from refresh_families where user_id = $1 and expires_at < $2",
        family.user_id.0,
        family.rotated_at
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into refresh_families (id, user_id, generation, rotated_at, expires_at, confirmed_at, second_factor)
        values ($1, $2, $3, $4, $5, $6, $7)",
        family.id,
        family.user_id.0,
        family.generation,
        family.rotated_at,
        family.expires_at,
        family.confirmed_at,
        family.second_factor,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A family, locked: of two calls with one token the second sees what the first made of it.
///
/// # Errors
/// Of the database.
pub async fn get_family_for_update(
    connection: &mut PgConnection,
    id: Uuid,
) -> sqlx::Result<Option<Family>> {
    sqlx::query_as!(
        Family,
        r#"select id, user_id as "user_id: UserId", generation, rotated_at, expires_at, revoked_at, confirmed_at, second_factor
        from refresh_families where id = $1 for no key update"#,
        id,
    )
    .fetch_optional(connection)
    .await
}

/// Moves a locked family to its next token.
///
/// # Errors
/// Of the database.
pub async fn advance_family(connection: &mut PgConnection, family: &Family) -> sqlx::Result<()> {
    sqlx::query!(
        "update refresh_families set generation = $2, rotated_at = $3, expires_at = $4 where id = $1",
        family.id,
        family.generation,
        family.rotated_at,
        family.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes some families whose time is over, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_families(
    pool: &crate::base::db::PgPool,
    expired_before: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "delete from refresh_families where id in (
            select id from refresh_families where expires_at < $1 order by expires_at limit $2 for update skip locked
        )",
        expired_before,
        limit
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Revokes a family, if it is not revoked yet.
///
/// # Errors
/// Of the database.
pub async fn revoke_family(
    connection: &mut PgConnection,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update refresh_families set revoked_at = $2 where id = $1 and revoked_at is null",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes every family of a user.
///
/// # Errors
/// Of the database.
pub async fn revoke_families(
    connection: &mut PgConnection,
    user: UserId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update refresh_families set revoked_at = $2 where user_id = $1 and revoked_at is null",
        user.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A user as operators list them.
pub struct Listed {
    /// The user.
    pub id: UserId,
    /// E-mail address.
    pub email: String,
    /// Role in the platform or in the account.
    pub role: String,
    /// The account; `None` for staff.
    pub account_id: Option<AccountId>,
    /// True if suspended.
    pub suspended: bool,
}

/// Users after an address, by address.
///
/// # Errors
/// Of the database.
pub async fn list_users(
    connection: &mut PgConnection,
    after: &str,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    sqlx::query_as!(
        Listed,
        r#"select u.id as "id: UserId", u.email, coalesce(u.staff_role, m.role, 'none') as "role!", m.account_id as "account_id?: AccountId",
            u.suspended_at is not null as "suspended!"
        from users u left join memberships m on m.user_id = u.id
        where u.email > $1 order by u.email limit $2"#,
        after,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Sets since when a user is suspended; `None` for not at all.
///
/// # Errors
/// Of the database.
pub async fn suspend_user(
    connection: &mut PgConnection,
    id: UserId,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update users set suspended_at = $2 where id = $1",
        id.0,
        since
    )
    .execute(connection)
    .await?;
    Ok(())
}
