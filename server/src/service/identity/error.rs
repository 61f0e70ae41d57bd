//! What can go wrong in this slice, and how it leaves the platform.

use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sewa_sdk::sewa::identity::v1::IdentityErrorReason;
use tonic::Status;

use crate::base::status::{self, Invalid};
use crate::service::identity::model::{CODE_ATTEMPTS, LIVE_KEYS};

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another user has the address.
    #[error("the e-mail address is taken")]
    EmailTaken,
    /// No account that may bring this one has the code.
    #[error("nobody has this referral code")]
    ReferralCodeUnknown,
    /// Wrong password or unknown address.
    #[error("e-mail or password is wrong")]
    InvalidCredentials,
    /// The refresh token is unknown, expired or revoked.
    #[error("the refresh token is not valid")]
    RefreshTokenInvalid,
    /// The refresh token was replaced before.
    #[error("the refresh token was used before")]
    RefreshTokenReused,
    /// The caller is not a user.
    #[error("the caller has no profile")]
    ProfileNotFound,
    /// An update mask names something else than a writable field.
    #[error("{path} is not a writable field")]
    FieldNotWritable {
        /// The path in the mask.
        path: String,
    },
    /// A name must not be taken away.
    #[error("a name cannot be empty")]
    EmptyName,
    /// A scope that is unknown or that the caller does not hold.
    #[error("{scope} is not a scope the caller holds")]
    UnknownScope {
        /// The scope.
        scope: String,
    },
    /// No such key in this account.
    #[error("no such API key")]
    ApiKeyNotFound,
    /// The account has as many keys as it may.
    #[error("too many live API keys")]
    ApiKeyLimit,
    /// The user or the account is suspended.
    #[error("suspended by the platform")]
    Suspended,
    /// The user has a second factor and no code was given.
    #[error("a code of the second factor is needed")]
    SecondFactorRequired,
    /// The code is wrong or was used.
    #[error("the code is not valid")]
    CodeInvalid,
    /// Too many codes were looked at.
    #[error("too many wrong codes")]
    CodeAttempts {
        /// When codes are looked at again.
        wait: std::time::Duration,
    },
    /// There is no second factor.
    #[error("there is no such second factor")]
    SecondFactorNotFound,
    /// There is a second factor.
    #[error("there is a second factor already")]
    SecondFactorExists,
    /// The session of the access token was ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The database.
    #[error("database")]
    Database(#[from] sqlx::Error),
    /// A fault of the server.
    #[error("internal")]
    Internal(#[from] anyhow::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use IdentityErrorReason as Reason;
        let text = error.to_string();
        match error {
            Error::EmailTaken => status::refuse(Reason::EmailTaken, text).status(),
            Error::ReferralCodeUnknown => {
                status::refuse(Reason::ReferralCodeUnknown, text).status()
            }
            Error::InvalidCredentials => status::refuse(Reason::InvalidCredentials, text).status(),
            Error::RefreshTokenInvalid => {
                status::refuse(Reason::RefreshTokenInvalid, text).status()
            }
            Error::RefreshTokenReused => status::refuse(Reason::RefreshTokenReused, text).status(),
            Error::ProfileNotFound => status::refuse(Reason::ProfileNotFound, text).status(),
            Error::FieldNotWritable { path } => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::EmptyName => status::invalid(Invalid::new(
                "profile.name",
                "STRING_MIN_LEN",
                "must have at least 1 character",
            )),
            Error::UnknownScope { scope } => status::refuse(Reason::UnknownScope, text)
                .meta("scope", scope)
                .status(),
            Error::ApiKeyNotFound => status::refuse(Reason::ApiKeyNotFound, text).status(),
            Error::ApiKeyLimit => status::refuse(Reason::ApiKeyLimit, text)
                .meta("limit", LIVE_KEYS)
                .status(),
            Error::SecondFactorRequired => {
                status::refuse(Reason::SecondFactorRequired, text).status()
            }
            Error::CodeInvalid => status::refuse(Reason::CodeInvalid, text).status(),
            Error::CodeAttempts { wait } => status::refuse(Reason::CodeAttemptsExceeded, text)
                .meta("limit", CODE_ATTEMPTS)
                .retry_after(wait.max(std::time::Duration::from_secs(1)))
                .status(),
            Error::SecondFactorNotFound => {
                status::refuse(Reason::SecondFactorNotFound, text).status()
            }
            Error::SecondFactorExists => status::refuse(Reason::SecondFactorExists, text).status(),
            Error::SessionEnded => {
                status::refuse(CommonErrorReason::Unauthenticated, text).status()
            }
            Error::Suspended => status::refuse(CommonErrorReason::AccountSuspended, text).status(),
            Error::Database(cause) => status::database(&cause),
            Error::Internal(cause) => status::internal(format!("{cause:#}")),
        }
    }
}
