//! People, accounts and keys: who somebody is, and what the somebody holds.
//!
//! Owns: users, accounts, memberships, refresh_families, second_factors, recovery_codes, api_keys, signing_keys. Reads: writes (the audit list). Calls: nothing. Emits: nothing.
//!
//! The one non-obvious thing: an access token is believed without a look at the database until it ends. What must take effect sooner is an API key, which is
//! looked up, a refresh token, or a method that needs the person's confirmation (`factor`), which looks at the session.

pub mod audit;
pub mod convert;
pub mod error;
pub mod factor;
pub mod model;
pub mod password;
pub mod profile;
pub mod rpc;
pub mod session;
pub mod store;
pub mod tokens;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sqlx::PgConnection;
use tonic::Status;
use uuid::Uuid;

use crate::app::App;
use crate::base::call::{Caller, CallerKind};
use crate::base::db::{PgPool, within};
use crate::base::id::{AccountId, ApiKeyId, UserId};
use crate::base::{crypto, status};
use crate::edge::permissions;
use crate::service::identity::error::Error;
use crate::service::identity::model::{AccountKind, ApiKey, Person, Suspension};
use crate::service::identity::store::keys;
use crate::service::identity::tokens::{Refused, Signer};

/// How long a note of the use of an API key may take.
const NOTING: Duration = Duration::from_secs(10);
/// What an API key begins with.
const KEY_PREFIX: &str = "sk_";

/// An account to open.
pub struct NewAccount {
    /// E-mail address of the first user.
    pub email: String,
    /// Hash of the first user's password.
    pub password_hash: String,
    /// Name of the first user.
    pub user_name: String,
    /// Name of the account.
    pub account_name: String,
    /// What it is for.
    pub kind: AccountKind,
    /// True for a sandbox account.
    pub sandbox: bool,
    /// Referral code of who brought it here; empty if nobody.
    pub referral_code: String,
}

/// Opens an account with its first user.
///
/// # Errors
/// `EmailTaken`, `ReferralCodeUnknown`; the database.
pub async fn register(
    connection: &mut PgConnection,
    new: &NewAccount,
    now: DateTime<Utc>,
) -> Result<(AccountId, UserId), Error> {
    let (account, user) = (AccountId::new(), UserId::new());
    let email = model::normal_email(&new.email);
    let row = store::NewUser {
        id: user,
        email: &email,
        password_hash: &new.password_hash,
        name: &new.user_name,
        staff_role: None,
    };
    // Play money must not bring real rewards.
    let referrer = match new.referral_code.as_str() {
        "" => None,
        code => {
            let found = store::find_referrer(connection, code, new.sandbox).await?;
            Some(found.ok_or(Error::ReferralCodeUnknown)?)
        }
    };
    store::insert_user(connection, &row, now).await?;
    store::insert_account(connection, account, new, referrer, now).await?;
    store::insert_membership(connection, account, user, new.kind.first_role(), now).await?;
    Ok((account, user))
}

/// Adds one of the platform's own people.
///
/// # Errors
/// `EmailTaken`; the database, which also refuses an unknown role.
pub async fn add_staff(
    connection: &mut PgConnection,
    email: &str,
    password_hash: &str,
    role: &str,
    now: DateTime<Utc>,
) -> Result<UserId, Error> {
    let id = UserId::new();
    let email = model::normal_email(email);
    let name = email.split('@').next().unwrap_or_default();
    store::insert_user(
        connection,
        &store::NewUser {
            id,
            email: &email,
            password_hash,
            name,
            staff_role: Some(role),
        },
        now,
    )
    .await?;
    Ok(id)
}

/// The user with an address.
///
/// # Errors
/// Of the database.
pub async fn find_person(
    connection: &mut PgConnection,
    email: &str,
) -> Result<Option<Person>, Error> {
    match store::find_credentials(connection, &model::normal_email(email)).await? {
        Some((id, _)) => Ok(store::get_person(connection, id).await?),
        None => Ok(None),
    }
}

/// Some users after an address, by address; none at the end.
///
/// # Errors
/// Of the database.
pub async fn list_users(
    connection: &mut PgConnection,
    after: &str,
) -> Result<Vec<store::Listed>, Error> {
    Ok(store::list_users(connection, after, 500).await?)
}

/// Suspends a user and ends the user's sessions, or lets the user in again. False if there is no such user.
///
/// # Errors
/// Of the database.
pub async fn suspend_user(
    connection: &mut PgConnection,
    email: &str,
    suspension: Suspension,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some((id, _)) = store::find_credentials(connection, &model::normal_email(email)).await?
    else {
        return Ok(false);
    };
    match suspension {
        Suspension::Imposed => {
            store::suspend_user(connection, id, Some(now)).await?;
            store::revoke_families(connection, id, now).await?;
        }
        Suspension::Lifted => store::suspend_user(connection, id, None).await?,
    }
    Ok(true)
}

/// Takes a user's second factor away, for somebody who lost it. False if there is no such user, or there was none.
///
/// # Errors
/// Of the database.
pub async fn forget_second_factor(
    connection: &mut PgConnection,
    email: &str,
) -> Result<bool, Error> {
    match store::find_credentials(connection, &model::normal_email(email)).await? {
        Some((id, _)) => Ok(store::factor::delete(connection, id).await?),
        None => Ok(false),
    }
}

/// Says who a bearer stands for: an access token, or an API key.
///
/// # Errors
/// UNAUTHENTICATED, TOKEN_EXPIRED, ACCOUNT_SUSPENDED; UNAVAILABLE if the database is away.
pub async fn authenticate(app: &App, bearer: &str, now: DateTime<Utc>) -> Result<Caller, Status> {
    if bearer.starts_with(KEY_PREFIX) {
        return authenticate_key(&app.db, bearer, now).await;
    }
    authenticate_user(&app.signer, bearer, now).await
}

async fn authenticate_user(
    signer: &Signer,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Caller, Status> {
    let claims = signer
        .verify(token, now)
        .await
        .map_err(|refused| match refused {
            Refused::Invalid => unauthenticated(),
            Refused::Expired => token_expired(),
        })?;
    let role = permissions::role(&claims.role).ok_or_else(unauthenticated)?;
    Ok(Caller {
        account: claims.acc.map(AccountId),
        principal: claims.sub,
        session: Some(claims.sid),
        kind: CallerKind::User,
        role,
        permissions: permissions::of_role(role),
        sandbox: claims.sandbox,
        until: DateTime::from_timestamp(claims.exp, 0),
    })
}

async fn authenticate_key(db: &PgPool, secret: &str, now: DateTime<Utc>) -> Result<Caller, Status> {
    let mut connection = db.acquire().await.map_err(|e| status::database(&e))?;
    let found = keys::find_by_digest(&mut connection, &crypto::digest(secret.as_bytes()))
        .await
        .map_err(|e| status::database(&e))?;
    drop(connection);
    let key = found
        .filter(|key| key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now))
        .ok_or_else(unauthenticated)?;
    if key.suspended {
        return Err(Error::Suspended.into());
    }
    let role = permissions::role(&key.role).ok_or_else(unauthenticated)?;
    if key
        .last_used_at
        .is_none_or(|at| now - at >= model::KEY_USE_RESOLUTION)
    {
        note_use(db, key.account_id, key.id, now);
    }
    Ok(Caller {
        account: Some(key.account_id),
        principal: key.id.0,
        session: None,
        kind: CallerKind::ApiKey,
        role,
        permissions: permissions::of_scopes(&key.scopes, &permissions::of_role(role)),
        sandbox: key.sandbox,
        until: key.expires_at,
    })
}

/// Writes `last_used_at` without keeping the call waiting. If it is lost, the next use writes it.
fn note_use(db: &PgPool, account: AccountId, id: ApiKeyId, now: DateTime<Utc>) {
    let db = db.clone();
    tokio::spawn(async move {
        let noting = async { keys::touch(&mut *db.acquire().await?, account, id, now).await };
        if let Err(cause) = within(NOTING, noting).await {
            tracing::warn!(%cause, key = %id, "the use of an API key was not noted");
        }
    });
}

/// Whether a caller who was let in would be let in again, for what goes on longer than a call. What an access token says holds until it ends; a key is looked up.
///
/// # Errors
/// TOKEN_EXPIRED, UNAUTHENTICATED; UNAVAILABLE if the database is away.
pub async fn still_stands(app: &App, caller: &Caller, now: DateTime<Utc>) -> Result<(), Status> {
    let ended = caller.until.is_some_and(|until| until <= now);
    match (caller.kind, caller.account) {
        (CallerKind::ApiKey, Some(account)) if !ended => {
            let key = (account, ApiKeyId(caller.principal));
            let stands = app.reads.keys.get(key).await?;
            stands.ok_or_else(unauthenticated)
        }
        (CallerKind::ApiKey, _) => Err(unauthenticated()),
        (CallerKind::User, _) if ended => Err(token_expired()),
        (CallerKind::User | CallerKind::Anonymous, _) => Ok(()),
    }
}

fn token_expired() -> Status {
    status::refuse(
        CommonErrorReason::TokenExpired,
        "the access token has expired",
    )
    .status()
}

fn unauthenticated() -> Status {
    status::refuse(
        CommonErrorReason::Unauthenticated,
        "the credentials do not verify",
    )
    .status()
}

/// An API key to make.
pub struct NewKey {
    /// Whose it is.
    pub account: AccountId,
    /// Who makes it.
    pub created_by: Uuid,
    /// The maker's role.
    pub role: &'static str,
    /// Name for people.
    pub display_name: String,
    /// Permissions and groups.
    pub scopes: Vec<String>,
    /// Days until it stops working; 0 for never.
    pub lifetime_days: i32,
}

/// Makes an API key that can do at most what `held` says, and returns it with its secret, which is kept nowhere.
///
/// # Errors
/// `UnknownScope`, `ApiKeyLimit`; the database.
pub async fn create_key(
    connection: &mut PgConnection,
    new: NewKey,
    held: &[&'static str],
    now: DateTime<Utc>,
) -> Result<(ApiKey, String), Error> {
    if let Some(scope) = model::unknown_scope(&new.scopes, held) {
        return Err(Error::UnknownScope {
            scope: scope.clone(),
        });
    }
    if keys::count_live_for_update(connection, new.account, now).await? >= model::LIVE_KEYS {
        return Err(Error::ApiKeyLimit);
    }
    let secret = crypto::token(KEY_PREFIX);
    let expires_at =
        (new.lifetime_days > 0).then(|| now + chrono::Duration::days(i64::from(new.lifetime_days)));
    let key = ApiKey {
        id: ApiKeyId::new(),
        display_name: new.display_name,
        scopes: new.scopes,
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    let digest = crypto::digest(secret.as_bytes());
    keys::insert(
        connection,
        &keys::NewKey {
            account: new.account,
            key: &key,
            digest: &digest,
            role: new.role,
            created_by: new.created_by,
        },
    )
    .await?;
    Ok((key, secret))
}

/// Keys of an account, newest first, from after `before`.
///
/// # Errors
/// Of the database.
pub async fn list_keys(
    connection: &mut PgConnection,
    account: AccountId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ApiKey>, Error> {
    Ok(keys::list(connection, account, before, limit).await?)
}

/// Revokes an API key. Repeating it changes nothing.
///
/// # Errors
/// `ApiKeyNotFound`; the database.
pub async fn revoke_key(
    connection: &mut PgConnection,
    account: AccountId,
    id: ApiKeyId,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if keys::revoke(connection, account, id, now).await? {
        Ok(())
    } else {
        Err(Error::ApiKeyNotFound)
    }
}

#[cfg(test)]
mod audit_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tokens_tests;
