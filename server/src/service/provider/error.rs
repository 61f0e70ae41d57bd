//! What can go wrong with provider accounts.

use sewa_sdk::sewa::provider::v1::ProviderErrorReason as Reason;
use tonic::Status;

use crate::base::status::{self, Invalid};

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such account.
    #[error("there is no such provider account")]
    NotFound,
    /// There is no adapter for the provider.
    #[error("the platform has no adapter for this provider")]
    UnknownProvider(String),
    /// Another account has the name.
    #[error("another provider account has this name")]
    NameTaken,
    /// The update mask names something else than a writable field.
    #[error("the field cannot be written")]
    FieldNotWritable(String),
    /// A name must not be taken away.
    #[error("a name cannot be empty")]
    EmptyName,
    /// Tokens would be sent in the clear, or nowhere.
    #[error("a base URL is HTTPS, or HTTP to this machine alone")]
    UnsafeBase,
    /// What is said of a certificate cannot be.
    #[error("{1}")]
    Untrusted(&'static str, &'static str),
    /// The token is not what this provider signs in with.
    #[error("a token of this provider is a user name and a password with a colon between")]
    NoUserAndPassword,
    /// A token could not be sealed.
    #[error("a secret could not be sealed")]
    Secret(#[source] anyhow::Error),
    /// The provider does not answer, or not to this account.
    #[error("the provider does not answer: {0}")]
    DoesNotAnswer(String),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NotFound => status::refuse(Reason::ProviderAccountNotFound, text).status(),
            Error::UnknownProvider(provider) => status::refuse(Reason::UnknownProvider, text)
                .meta("provider", provider)
                .status(),
            Error::NameTaken => status::refuse(Reason::ProviderAccountNameTaken, text).status(),
            Error::FieldNotWritable(path) => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::EmptyName => status::invalid(Invalid::new(
                "provider_account.display_name",
                "STRING_MIN_LEN",
                "must have at least 1 character",
            )),
            Error::NoUserAndPassword => status::invalid(Invalid::new(
                "token",
                "USER_AND_PASSWORD",
                "must be a user name and a password with a colon between",
            )),
            Error::UnsafeBase => status::invalid(Invalid::new(
                "base_url",
                "SAFE_URL",
                "must be an HTTPS URL without query and user, or an HTTP URL of this machine",
            )),
            Error::Untrusted(field, message) => {
                status::invalid(Invalid::new(field, "CERTIFICATE", message))
            }
            Error::DoesNotAnswer(_) => status::refuse(Reason::ProviderDoesNotAnswer, text)
                .retry_after(std::time::Duration::from_secs(1))
                .status(),
            Error::Secret(cause) => status::internal(cause),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
