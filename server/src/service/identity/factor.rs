//! The second factor, and confirming with it.
//!
//! Which codes were used and how often was guessed is decided by one row of PostgreSQL for each user, so all replicas agree and nothing is forgotten when a cache is
//! (docs/decisions/0011). A code is counted before it is looked at.

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sqlx::PgConnection;
use tonic::Status;
use totp_rs::{Builder, Totp};

use crate::app::App;
use crate::base::call::{Caller, CallerKind};
use crate::base::crypto::{self, MasterKey};
use crate::base::db::PgPool;
use crate::base::id::UserId;
use crate::base::status;
use crate::service::identity::error::Error;
use crate::service::identity::model::{self, SecondFactor};
use crate::service::identity::store::{self, factor};
use crate::service::identity::{password, session};

/// Bytes of a secret, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// Recovery codes of a user.
const RECOVERY_CODES: usize = 10;
/// Letters of recovery codes: those of base32, which are not mistaken for each other.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The user and the session of a caller who is a person.
///
/// # Errors
/// `ProfileNotFound` for an API key.
pub fn person(caller: &Caller) -> Result<UserId, Error> {
    match caller.kind {
        CallerKind::User => Ok(UserId(caller.principal)),
        CallerKind::Anonymous | CallerKind::ApiKey => Err(Error::ProfileNotFound),
    }
}

/// Lets a call pass whose method needs that its caller confirmed a moment ago. An API key cannot confirm: the person that made it did, when naming the permission
/// in its scopes (`permissions::of_scopes`).
///
/// # Errors
/// STEP_UP_REQUIRED; UNAUTHENTICATED if the session has ended; UNAVAILABLE if the database is away.
pub async fn require_confirmed(
    app: &App,
    caller: &Caller,
    now: DateTime<Utc>,
) -> Result<(), Status> {
    let Some(session) = caller.session else {
        return Ok(());
    };
    let mut connection = app.db.acquire().await.map_err(|e| status::database(&e))?;
    let confirmation = factor::confirmation(&mut connection, session, now)
        .await
        .map_err(|e| status::database(&e))?
        .ok_or(Error::SessionEnded)?;
    let seconds = app.config.step_up_seconds;
    if confirmation.holds(Duration::seconds(i64::from(seconds)), now) {
        return Ok(());
    }
    let proof = if confirmation.needs_code {
        "code"
    } else {
        "password"
    };
    Err(status::refuse(
        CommonErrorReason::StepUpRequired,
        format!("the call needs a confirmation by {proof} within the last {seconds} seconds"),
    )
    .meta("confirm_with", proof)
    .meta("max_age_seconds", seconds)
    .status())
}

/// What somebody shows to confirm.
pub enum Proof {
    /// A code of the second factor, or a recovery code.
    Code(String),
    /// The password.
    Password(String),
}

/// Confirms the caller's session. Returns an access token that says so, and when it ends.
///
/// # Errors
/// `ProfileNotFound`, `InvalidCredentials`, `SecondFactorRequired`, `SecondFactorNotFound`, `CodeInvalid`, `CodeAttempts`, `SessionEnded`, `Suspended`; the database.
pub async fn step_up(
    app: &App,
    caller: &Caller,
    proof: Proof,
    now: DateTime<Utc>,
) -> Result<(String, DateTime<Utc>), Error> {
    let user = person(caller)?;
    let session = caller.session.ok_or(Error::ProfileNotFound)?;
    let mut connection = app.db.acquire().await?;
    let active = matches!(
        factor::get(&mut connection, user).await?,
        SecondFactor::Active { .. }
    );
    match proof {
        Proof::Code(code) => {
            drop(connection);
            prove(&app.db, &app.master, user, &code, now).await?;
        }
        Proof::Password(_) if active => return Err(Error::SecondFactorRequired),
        Proof::Password(password) => {
            let kept = factor::password_hash(&mut connection, user).await?;
            drop(connection);
            if !password::verify(password, kept).await? {
                return Err(Error::InvalidCredentials);
            }
        }
    }
    let mut tx = app.db.begin().await?;
    let family = factor::confirm_session(&mut tx, session, active, now)
        .await?
        .ok_or(Error::SessionEnded)?;
    let person = store::get_person(&mut tx, user)
        .await?
        .ok_or(Error::ProfileNotFound)?;
    if person.suspended {
        return Err(Error::Suspended);
    }
    let tokens = session::issue(&app.signer, &family, &person, now).await?;
    tx.commit().await?;
    Ok((tokens.access, tokens.access_expires_at))
}

/// Whether the code belongs to the user's active second factor or is one of the recovery codes. Each works once.
///
/// # Errors
/// `SecondFactorNotFound`, `CodeInvalid`, `CodeAttempts`; the database.
pub async fn prove(
    db: &PgPool,
    master: &MasterKey,
    user: UserId,
    code: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut connection = db.acquire().await?;
    let window = now - model::CODE_WINDOW;
    let attempt =
        factor::take_attempt(&mut connection, user, window, model::CODE_ATTEMPTS, now).await?;
    let Some(sealed) = attempt else {
        let since = factor::attempts_since(&mut connection, user)
            .await?
            .ok_or(Error::SecondFactorNotFound)?;
        let wait = since + model::CODE_WINDOW - now;
        return Err(Error::CodeAttempts {
            wait: wait.to_std().unwrap_or_default(),
        });
    };
    let taken = if code.len() == 6 {
        let step = matching_step(&open(master, user, &sealed)?, code, now);
        match step {
            Some(step) => factor::take_step(&mut connection, user, step).await?,
            None => false,
        }
    } else {
        factor::take_code(&mut connection, user, &digest(master, user, code)).await?
    };
    if taken {
        Ok(())
    } else {
        Err(Error::CodeInvalid)
    }
}

/// A new secret, for typing in and as an `otpauth://` address.
pub struct NewSecret {
    /// In base32.
    pub base32: String,
    /// The address.
    pub uri: String,
}

/// Makes the secret of a second factor that is not active yet.
///
/// # Errors
/// `ProfileNotFound`, `SecondFactorExists`; the database.
pub async fn begin(
    connection: &mut PgConnection,
    master: &MasterKey,
    caller: &Caller,
    now: DateTime<Utc>,
) -> Result<NewSecret, Error> {
    let user = person(caller)?;
    let profile = store::get_profile(connection, user)
        .await?
        .ok_or(Error::ProfileNotFound)?;
    let secret = crypto::random::<SECRET_BYTES>();
    let totp = builder(&secret)
        // The one character an account's name may not hold.
        .with_account_name(profile.email.replace(':', "_"))
        .build()
        .map_err(|e| anyhow::anyhow!("TOTP: {e}"))?;
    let sealed = master.seal(&secret, &context(user))?;
    if !factor::put_pending(connection, user, &sealed, now).await? {
        return Err(Error::SecondFactorExists);
    }
    Ok(NewSecret {
        base32: totp.secret().to_base32(),
        uri: totp.to_url().map_err(|e| anyhow::anyhow!("TOTP: {e}"))?,
    })
}

/// Makes the pending second factor active and returns the recovery codes. The session that did it has confirmed with a code.
///
/// Attempts are not counted: the caller knows the secret.
///
/// # Errors
/// `ProfileNotFound`, `SecondFactorNotFound`, `SecondFactorExists`, `CodeInvalid`, `SessionEnded`; the database.
pub async fn confirm(
    connection: &mut PgConnection,
    master: &MasterKey,
    caller: &Caller,
    code: &str,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    let user = person(caller)?;
    let session = caller.session.ok_or(Error::ProfileNotFound)?;
    let (sealed, active) = factor::secret_for_update(connection, user)
        .await?
        .ok_or(Error::SecondFactorNotFound)?;
    if active {
        return Err(Error::SecondFactorExists);
    }
    let step = matching_step(&open(master, user, &sealed)?, code, now).ok_or(Error::CodeInvalid)?;
    if !factor::take_step(connection, user, step).await? {
        return Err(Error::CodeInvalid);
    }
    factor::activate(connection, user, now).await?;
    factor::confirm_session(connection, session, true, now)
        .await?
        .ok_or(Error::SessionEnded)?;
    make_codes(connection, master, user).await
}

/// Replaces the recovery codes and returns the new ones.
///
/// # Errors
/// `ProfileNotFound`, `SecondFactorNotFound`; the database.
pub async fn reset_codes(
    connection: &mut PgConnection,
    master: &MasterKey,
    caller: &Caller,
) -> Result<Vec<String>, Error> {
    let user = person(caller)?;
    match factor::secret_for_update(connection, user).await? {
        Some((_, true)) => make_codes(connection, master, user).await,
        _ => Err(Error::SecondFactorNotFound),
    }
}

async fn make_codes(
    connection: &mut PgConnection,
    master: &MasterKey,
    user: UserId,
) -> Result<Vec<String>, Error> {
    let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect();
    let digests: Vec<Vec<u8>> = codes
        .iter()
        .map(|code| digest(master, user, code))
        .collect();
    factor::replace_codes(connection, user, &digests).await?;
    Ok(codes)
}

fn builder(secret: &[u8]) -> Builder {
    Builder::new()
        .with_secret(secret)
        .with_skew(1)
        .with_issuer(Some("Sewa"))
}

fn open(master: &MasterKey, user: UserId, sealed: &[u8]) -> anyhow::Result<Totp> {
    let secret = master.open(sealed, &context(user))?;
    builder(&secret)
        .build()
        .map_err(|e| anyhow::anyhow!("TOTP: {e}"))
}

/// The time step whose code it is, at most one away from now.
fn matching_step(totp: &Totp, code: &str, now: DateTime<Utc>) -> Option<i64> {
    let step = totp.check(code, u64::try_from(now.timestamp()).ok()?)?;
    i64::try_from(step).ok()
}

fn context(user: UserId) -> String {
    format!("second_factors/{user}")
}

/// Ten letters, 50 bits, in two groups.
fn recovery_code() -> String {
    let letters: String = crypto::random::<10>()
        .into_iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect();
    format!("{}-{}", &letters[..5], &letters[5..])
}

/// A recovery code as it is kept. Keyed, because 50 bits could be searched by who reads the table.
fn digest(master: &MasterKey, user: UserId, code: &str) -> Vec<u8> {
    let plain = code.replace('-', "").to_lowercase();
    master
        .fingerprint(format!("recovery_codes/{user}/{plain}").as_bytes())
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    #[test]
    fn codes_are_those_of_rfc_6238_and_good_for_one_step_around() {
        let totp = builder(b"12345678901234567890").build().expect("builds");
        // Appendix B, the last six of eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = Some(seconds / 30);
            for near in [-30, 0, 30] {
                assert_eq!(
                    matching_step(&totp, code, at(seconds + near)),
                    step,
                    "{code}"
                );
            }
            for far in [-60, 60] {
                assert_eq!(
                    matching_step(&totp, code, at(seconds + far)),
                    None,
                    "{code}"
                );
            }
        }
    }

    #[test]
    fn recovery_codes_are_known_however_they_are_typed_and_to_their_owner_alone() {
        let master = MasterKey::new([7; 32]);
        let (user, other) = (UserId::new(), UserId::new());
        let code = recovery_code();
        assert_eq!(code.len(), 11);
        let typed = code.replace('-', "").to_uppercase();
        assert_eq!(digest(&master, user, &code), digest(&master, user, &typed));
        assert_ne!(digest(&master, user, &code), digest(&master, other, &code));
    }
}
