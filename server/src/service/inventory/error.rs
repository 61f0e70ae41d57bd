//! What can go wrong with the inventory.

use sewa_sdk::sewa::inventory::v1::InventoryErrorReason as Reason;
use tonic::Status;

use crate::base::id::{InstanceId, InventoryRunId};
use crate::base::status::{self, Invalid};
use crate::service::{provider, wallet};

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such run.
    #[error("there is no such run of the inventory")]
    RunNotFound,
    /// A run of the account waits or is under way.
    #[error("run {0} of this provider account has not ended")]
    RunInProgress(InventoryRunId),
    /// The provider account has no such machine.
    #[error("the provider account has no such machine")]
    MachineNotFound,
    /// The machine is an instance's.
    #[error("the machine belongs to instance {0}")]
    MachineIsOurs(InstanceId),
    /// The provider is at work on it.
    #[error("the provider is at work on the machine")]
    MachineIsBusy,
    /// It is not what is said of it.
    #[error("the machine does not fit the {0} named")]
    MachineDoesNotFit(&'static str),
    /// No such account, or one of play money.
    #[error("there is no such account")]
    AccountNotFound,
    /// Not within one period from now.
    #[error("it is paid until a time after now, and at most one period ahead")]
    PaidUntil,
    /// Of the provider's account.
    #[error("provider account")]
    Provider(#[from] provider::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::RunNotFound => status::refuse(Reason::InventoryRunNotFound, text).status(),
            Error::RunInProgress(run) => status::refuse(Reason::InventoryRunInProgress, text)
                .meta("run_id", run)
                .status(),
            Error::MachineNotFound => status::refuse(Reason::MachineNotFound, text).status(),
            Error::MachineIsOurs(instance) => status::refuse(Reason::MachineIsOurs, text)
                .meta("instance_id", instance)
                .status(),
            Error::MachineIsBusy => status::refuse(Reason::MachineIsBusy, text)
                .retry_after(std::time::Duration::from_secs(5))
                .status(),
            Error::MachineDoesNotFit(what) => status::refuse(Reason::MachineDoesNotFit, text)
                .meta("what", what)
                .status(),
            Error::AccountNotFound => wallet::error::Error::AccountNotFound.into(),
            Error::PaidUntil => status::invalid(Invalid::new(
                "paid_until",
                "WITHIN_PERIOD",
                "must be after now, and at most one period ahead",
            )),
            Error::Provider(error) => error.into(),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
