//! What can go wrong with money.

use sewa_sdk::sewa::wallet::v1::WalletErrorReason;
use tonic::Status;

use crate::base::{db, status};
use crate::service::wallet::model::Refused;

/// Errors of the wallet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger refuses.
    #[error("the ledger refuses")]
    Refused(#[from] Refused),
    /// No such account.
    #[error("no such account")]
    AccountNotFound,
    /// No such deposit in this account.
    #[error("no such deposit")]
    DepositNotFound,
    /// The deposit ended otherwise.
    #[error("the deposit is {state}")]
    DepositClosed {
        /// How it ended.
        state: &'static str,
    },
    /// The account cannot pay this way.
    #[error("the account cannot use {method}")]
    MethodUnavailable {
        /// The method.
        method: &'static str,
    },
    /// The reference was used before.
    #[error("the client reference was used before")]
    ClientReferenceTaken,
    /// The database failed.
    #[error("database")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match db::broken_constraint(&error) {
            Some("deposits_client_reference_key") => Self::ClientReferenceTaken,
            _ => Self::Database(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use WalletErrorReason as Reason;
        match error {
            Error::Refused(Refused::InsufficientBalance {
                required,
                available,
            }) => status::refuse(
                Reason::InsufficientBalance,
                "the available balance is too small",
            )
            .meta("required", required.0)
            .meta("available", available.0)
            .status(),
            Error::Refused(
                refused @ (Refused::HoldNotFound | Refused::HoldClosed | Refused::AmountOutOfRange),
            ) => status::internal(refused),
            Error::AccountNotFound => {
                status::refuse(Reason::AccountNotFound, "there is no such account").status()
            }
            Error::DepositNotFound => {
                status::refuse(Reason::DepositNotFound, "there is no such deposit").status()
            }
            Error::DepositClosed { state } => {
                status::internal(format_args!("a deposit that is {state} was settled again"))
            }
            Error::MethodUnavailable { method } => status::refuse(
                Reason::DepositMethodUnavailable,
                "only sandbox accounts may use this method",
            )
            .meta("method", method)
            .status(),
            Error::ClientReferenceTaken => status::refuse(
                Reason::ClientReferenceTaken,
                "the client reference was used before",
            )
            .status(),
            Error::Database(error) => status::database(&error),
        }
    }
}
