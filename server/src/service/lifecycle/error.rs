//! What can go wrong with renewals.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::lifecycle::v1::LifecycleErrorReason;
use tonic::Status;

use crate::base::status;
use crate::service::wallet;
use crate::service::wallet::model::Refused;

/// Errors of lifecycle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such instance, or it does not run yet.
    #[error("no such subscription")]
    InstanceNotFound,
    /// The service is over.
    #[error("the subscription has ended")]
    SubscriptionEnded,
    /// The next period is paid already.
    #[error("paid ahead")]
    AlreadyPrepaid {
        /// Until when the present period runs.
        paid_until: DateTime<Utc>,
    },
    /// No such account.
    #[error("no such account")]
    AccountNotFound,
    /// No such policy.
    #[error("no such policy")]
    PolicyNotFound,
    /// The ledger refuses, or failed.
    #[error("wallet")]
    Wallet(#[from] wallet::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use LifecycleErrorReason as Reason;
        match error {
            Error::InstanceNotFound => status::refuse(
                Reason::InstanceNotFound,
                "there is no such running instance",
            )
            .status(),
            Error::SubscriptionEnded => {
                status::refuse(Reason::SubscriptionEnded, "the service has ended").status()
            }
            Error::AlreadyPrepaid { paid_until } => {
                status::refuse(Reason::AlreadyPrepaid, "the next period is paid already")
                    .meta("paid_until", paid_until.to_rfc3339())
                    .status()
            }
            Error::AccountNotFound => {
                status::refuse(Reason::AccountNotFound, "there is no such account").status()
            }
            Error::PolicyNotFound => {
                status::refuse(Reason::PolicyNotFound, "there is no such policy").status()
            }
            Error::Wallet(wallet::error::Error::Refused(Refused::InsufficientBalance {
                required,
                available,
            })) => status::refuse(
                Reason::InsufficientBalance,
                "the available balance is too small",
            )
            .meta("required", required.0)
            .meta("available", available.0)
            .status(),
            Error::Wallet(other) => other.into(),
            Error::Database(error) => status::database(&error),
        }
    }
}
