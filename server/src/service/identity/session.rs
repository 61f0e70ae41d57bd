//! Signing in, going on, and signing out.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::base::id::UserId;
use crate::service::identity::error::Error;
use crate::service::identity::model::{self, Family, Person, Refresh, SecondFactor, Tokens};
use crate::service::identity::tokens::{Claims, Signer};
use crate::service::identity::{factor, password, store};

/// Sessions forgotten in one step.
const FORGET_AT_ONCE: i64 = 500;

/// What somebody signs in with.
pub struct SignIn {
    /// E-mail address, as it was typed.
    pub email: String,
    /// Password.
    pub password: String,
    /// Code of the second factor, or a recovery code; may be empty where there is none.
    pub code: String,
}

/// Signs a user in. An unknown address and a wrong password cost the same work and give the same error, also where the person is suspended: only who knows
/// the password learns that.
///
/// # Errors
/// `InvalidCredentials`, `SecondFactorRequired`, `CodeInvalid`, `CodeAttempts`, `Suspended`; the database.
pub async fn login(
    db: &PgPool,
    signer: &Signer,
    master: &MasterKey,
    sign_in: SignIn,
    now: DateTime<Utc>,
) -> Result<(Tokens, Person), Error> {
    let email = model::normal_email(&sign_in.email);
    let mut connection = db.acquire().await?;
    let found = store::find_credentials(&mut connection, &email).await?;
    // A hash takes a while; the connection is of more use to others.
    drop(connection);
    let (user, kept) = found.unzip();
    let right = password::verify(sign_in.password, kept).await?;
    let user = user.filter(|_| right).ok_or(Error::InvalidCredentials)?;
    let second_factor = ask_for_code(db, master, user, &sign_in.code, now).await?;
    let mut tx = db.begin().await?;
    let person = store::get_person(&mut tx, user)
        .await?
        .ok_or(Error::InvalidCredentials)?;
    let family = Family {
        second_factor,
        ..Family::new(person.id, now)
    };
    let tokens = begin(signer, &mut tx, family, &person, now).await?;
    tx.commit().await?;
    Ok((tokens, person))
}

/// Begins a session of a person, in the caller's transaction.
///
/// # Errors
/// `Suspended`, or `InvalidCredentials` for a person without a role; the database.
pub async fn open(
    signer: &Signer,
    connection: &mut PgConnection,
    person: &Person,
    now: DateTime<Utc>,
) -> Result<Tokens, Error> {
    begin(signer, connection, Family::new(person.id, now), person, now).await
}

/// Whether a code was needed and was right.
async fn ask_for_code(
    db: &PgPool,
    master: &MasterKey,
    user: UserId,
    code: &str,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let known = store::factor::get(&mut *db.acquire().await?, user).await?;
    if !matches!(known, SecondFactor::Active { .. }) {
        return Ok(false);
    }
    if code.is_empty() {
        return Err(Error::SecondFactorRequired);
    }
    factor::prove(db, master, user, code, now).await?;
    Ok(true)
}

async fn begin(
    signer: &Signer,
    connection: &mut PgConnection,
    family: Family,
    person: &Person,
    now: DateTime<Utc>,
) -> Result<Tokens, Error> {
    if person.suspended {
        return Err(Error::Suspended);
    }
    store::insert_family(connection, &family).await?;
    issue(signer, &family, person, now).await
}

/// Exchanges a refresh token for new tokens.
///
/// A client that lost the reply may send the same token again within ten seconds and gets the token it lost, under the same number; so do two tabs that refresh at
/// once. Whoever comes later with a replaced token ends the family: one of the two holders stole it, and nobody can tell which.
///
/// # Errors
/// `RefreshTokenInvalid`, `RefreshTokenReused`, `Suspended`; the database.
pub async fn refresh(
    db: &PgPool,
    signer: &Signer,
    token: &str,
    now: DateTime<Utc>,
) -> Result<Tokens, Error> {
    let (id, generation) = signer
        .open_refresh(token)
        .ok_or(Error::RefreshTokenInvalid)?;
    let mut tx = db.begin().await?;
    let mut family = store::get_family_for_update(&mut tx, id)
        .await?
        .ok_or(Error::RefreshTokenInvalid)?;
    match family.judge(generation, now) {
        Refresh::Invalid => return Err(Error::RefreshTokenInvalid),
        Refresh::Reused => {
            store::revoke_family(&mut tx, id, now).await?;
            tx.commit().await?;
            tracing::warn!(family = %id, user = %family.user_id, "a replaced refresh token was used; the family is revoked");
            return Err(Error::RefreshTokenReused);
        }
        Refresh::Again => {}
        Refresh::Rotate => {
            family = Family {
                generation: family.generation + 1,
                rotated_at: now,
                expires_at: now + model::REFRESH_LIFETIME,
                ..family
            };
            store::advance_family(&mut tx, &family).await?;
        }
    }
    let person = store::get_person(&mut tx, family.user_id)
        .await?
        .ok_or(Error::RefreshTokenInvalid)?;
    if person.suspended {
        return Err(Error::Suspended);
    }
    let tokens = issue(signer, &family, &person, now).await?;
    tx.commit().await?;
    Ok(tokens)
}

/// Ends the session a refresh token belongs to. A token that is none of ours has no session to end, which is what its holder wants.
///
/// # Errors
/// Of the database.
pub async fn logout(
    db: &PgPool,
    signer: &Signer,
    token: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some((family, _)) = signer.open_refresh(token) {
        store::revoke_family(&mut *db.acquire().await?, family, now).await?;
    }
    Ok(())
}

/// Forgets some of the sessions that ended by themselves. Signed-out and revoked ones end so too, so that a token of them is known as long as it could be used.
///
/// # Errors
/// Of the database.
pub async fn forget_ended(app: &App) -> sqlx::Result<usize> {
    let gone = store::forget_families(&app.db, app.clock.now(), FORGET_AT_ONCE).await?;
    Ok(usize::try_from(gone).unwrap_or_default())
}

/// Tokens of a session as it is.
///
/// # Errors
/// `InvalidCredentials` for a person without a role; a fault of signing.
pub async fn issue(
    signer: &Signer,
    family: &Family,
    person: &Person,
    now: DateTime<Utc>,
) -> Result<Tokens, Error> {
    let role = person.role().ok_or(Error::InvalidCredentials)?;
    let claims = Claims::new(
        person.id.0,
        person.account_id.map(|id| id.0),
        role,
        person.sandbox,
        family.id,
        now,
        signer.lifetime(),
    )
    .confirmed(family);
    Ok(Tokens {
        access: signer.sign(&claims, now).await?,
        refresh: signer.seal_refresh(family.id, family.generation)?,
        access_expires_at: now + signer.lifetime(),
        refresh_expires_at: family.expires_at,
    })
}
