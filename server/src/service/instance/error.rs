//! What can go wrong with instances.

use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sewa_sdk::sewa::instance::v1::InstanceErrorReason;
use tonic::Status;

use crate::base::id::ImageId;
use crate::base::status;
use crate::service::instance::model::{InvalidTransition, Refused};

/// Errors of instances.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such instance in this account.
    #[error("no such instance")]
    InstanceNotFound,
    /// What the instance is does not allow it.
    #[error("the instance refuses")]
    Refused(#[from] Refused),
    /// The image cannot be used.
    #[error("image {0} cannot be used")]
    ImageUnavailable(ImageId),
    /// The host name typed is another one.
    #[error("the host name typed is another one")]
    ConfirmationMismatch,
    /// The mask names a field that clients cannot write.
    #[error("{0} is not writable")]
    FieldNotWritable(String),
    /// The provider cannot do it.
    #[error("the provider has no {0}")]
    NotSupported(&'static str),
    /// A password could not be sealed.
    #[error("a secret could not be sealed")]
    Secret(#[source] anyhow::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<InvalidTransition> for Error {
    fn from(invalid: InvalidTransition) -> Self {
        Self::Refused(Refused::IllegalState(invalid.state))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use InstanceErrorReason as Reason;
        match error {
            Error::InstanceNotFound => {
                status::refuse(Reason::InstanceNotFound, "there is no such instance").status()
            }
            Error::Refused(Refused::Busy(operation)) => status::refuse(
                Reason::OperationInProgress,
                "another operation is under way on the instance",
            )
            .meta("operation_id", operation)
            .status(),
            Error::Refused(Refused::Suspended) => status::refuse(
                Reason::InstanceSuspended,
                "the instance is suspended because it is unpaid",
            )
            .status(),
            Error::Refused(Refused::IllegalState(state)) => {
                let message = format!(
                    "the instance is {}, which does not allow this",
                    state.as_str()
                );
                status::refuse(Reason::IllegalState, message)
                    .meta("state", state.as_str())
                    .status()
            }
            Error::Refused(Refused::EtagMismatch { sent, current }) => {
                status::refuse(CommonErrorReason::EtagMismatch, "the instance has changed")
                    .meta("sent", sent)
                    .meta("current", current)
                    .status()
            }
            Error::ImageUnavailable(id) => status::refuse(
                Reason::ImageUnavailable,
                "the image does not exist or does not fit the disk",
            )
            .meta("image_id", id)
            .status(),
            Error::ConfirmationMismatch => status::refuse(
                Reason::ConfirmationMismatch,
                "the host name typed is not the instance's",
            )
            .status(),
            Error::FieldNotWritable(path) => {
                status::refuse(Reason::FieldNotWritable, "the field cannot be written")
                    .meta("path", path)
                    .status()
            }
            Error::NotSupported(capability) => status::refuse(
                Reason::NotSupportedByProvider,
                "the provider cannot do this",
            )
            .meta("capability", capability)
            .status(),
            Error::Secret(cause) => status::internal(cause),
            Error::Database(error) => status::database(&error),
        }
    }
}
