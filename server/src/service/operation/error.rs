//! What can go wrong with operations.

use sewa_sdk::sewa::operation::v1::OperationErrorReason;
use tonic::Status;

use crate::base::status;
use crate::service::operation::model::State;

/// Errors of operations.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such operation in this account.
    #[error("no such operation")]
    OperationNotFound,
    /// Too late, or not the owner's to take back.
    #[error("the operation is {state:?} and cannot be cancelled")]
    NotCancellable {
        /// The present state.
        state: State,
    },
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use OperationErrorReason as Reason;
        match error {
            Error::OperationNotFound => {
                status::refuse(Reason::OperationNotFound, "there is no such operation").status()
            }
            Error::NotCancellable { state } => {
                let message =
                    "the operation is over, at the provider, or not the caller's to cancel";
                status::refuse(Reason::OperationNotCancellable, message)
                    .meta("state", state.as_str())
                    .status()
            }
            Error::Database(error) => status::database(&error),
        }
    }
}
