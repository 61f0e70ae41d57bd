//! What can go wrong in a sandbox.

use std::time::Duration;

use sewa_sdk::sewa::sandbox::v1::SandboxErrorReason;
use tonic::Status;

use crate::base::status;
use crate::service::wallet;

/// Errors of the sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account is a real one.
    #[error("not a sandbox account")]
    SandboxOnly,
    /// No such deposit.
    #[error("no such deposit")]
    DepositNotFound,
    /// The deposit ended otherwise.
    #[error("the deposit is {state}")]
    PaymentStatusConflict {
        /// How it ended.
        state: &'static str,
    },
    /// The account has a clock.
    #[error("the account has a clock")]
    ClockExists,
    /// The account has none.
    #[error("the account has no clock")]
    ClockNotFound,
    /// The clock is on its way.
    #[error("the clock is on its way")]
    ClockAdvancing,
    /// The wallet refuses, or failed.
    #[error("wallet")]
    Wallet(#[source] wallet::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use SandboxErrorReason as Reason;
        match error {
            Error::SandboxOnly => {
                status::refuse(Reason::SandboxOnly, "the account is not a sandbox account").status()
            }
            Error::DepositNotFound => {
                status::refuse(Reason::DepositNotFound, "there is no such deposit").status()
            }
            Error::PaymentStatusConflict { state } => {
                status::refuse(Reason::PaymentStatusConflict, "the deposit ended otherwise")
                    .meta("state", state)
                    .status()
            }
            Error::ClockExists => {
                status::refuse(Reason::ClockExists, "the account has a clock").status()
            }
            Error::ClockNotFound => {
                status::refuse(Reason::ClockNotFound, "the account has no clock").status()
            }
            Error::ClockAdvancing => {
                status::refuse(Reason::ClockAdvancing, "the clock is still on its way")
                    .retry_after(Duration::from_millis(500))
                    .status()
            }
            Error::Wallet(error) => error.into(),
            Error::Database(error) => status::database(&error),
        }
    }
}
