//! What can go wrong with instances.

use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sewa_sdk::sewa::instance::v1::InstanceErrorReason;
use tonic::Status;

use crate::base::id::{ImageId, SshKeyId};
use crate::base::status::{self, Invalid};
use crate::provider::compute::ProviderError;
use crate::service::instance::model::{InvalidTransition, Refused, console, snapshot, ssh_key};

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
    /// There is no first password any more.
    #[error("the first password is gone")]
    FirstPasswordGone,
    /// No such key in this account.
    #[error("no key {0}")]
    SshKeyNotFound(SshKeyId),
    /// Not a public key that is taken.
    #[error("{0}")]
    SshKeyInvalid(&'static str),
    /// The account has this key.
    #[error("it is key {0}")]
    SshKeyExists(SshKeyId),
    /// The account has as many keys as it may have.
    #[error("too many keys")]
    SshKeyLimit,
    /// No such snapshot in this account.
    #[error("no such snapshot")]
    SnapshotNotFound,
    /// The instance has as many snapshots as it may have.
    #[error("too many snapshots")]
    SnapshotLimit,
    /// The snapshot is not there.
    #[error("the snapshot is {0:?}")]
    SnapshotNotAvailable(snapshot::State),
    /// No such backup in this account.
    #[error("no such backup")]
    BackupNotFound,
    /// The provider shows no console now.
    #[error("the provider shows no console")]
    ConsoleUnavailable(#[source] ProviderError),
    /// The instance has as many consoles as it may have.
    #[error("too many consoles")]
    ConsoleLimit,
    /// The address is none of the instance's.
    #[error("{0} is no address of the instance")]
    AddressNotOfInstance(String),
    /// A password could not be sealed or opened.
    #[error("a secret could not be sealed or opened")]
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
            Error::FirstPasswordGone => status::refuse(
                Reason::FirstPasswordGone,
                "the first password was shown before, replaced or forgotten",
            )
            .status(),
            Error::SshKeyNotFound(id) => {
                status::refuse(Reason::SshKeyNotFound, "there is no such SSH key")
                    .meta("ssh_key_id", id)
                    .status()
            }
            Error::SshKeyInvalid(problem) => {
                let message = format!("the public key cannot be taken: {problem}");
                status::refuse(Reason::SshKeyInvalid, message)
                    .meta("problem", problem)
                    .status()
            }
            Error::SshKeyExists(id) => {
                status::refuse(Reason::SshKeyExists, "the account has this key already")
                    .meta("ssh_key_id", id)
                    .status()
            }
            Error::SshKeyLimit => full(Reason::SshKeyLimit, "SSH keys", ssh_key::LIMIT),
            Error::SnapshotNotFound => {
                status::refuse(Reason::SnapshotNotFound, "there is no such snapshot").status()
            }
            Error::BackupNotFound => {
                status::refuse(Reason::BackupNotFound, "there is no such backup").status()
            }
            Error::SnapshotLimit => full(Reason::SnapshotLimit, "snapshots", snapshot::LIMIT),
            Error::SnapshotNotAvailable(state) => {
                let message = format!("the snapshot is {}", state.as_str());
                status::refuse(Reason::SnapshotNotAvailable, message)
                    .meta("state", state.as_str())
                    .status()
            }
            Error::ConsoleUnavailable(_) => status::refuse(
                Reason::ConsoleUnavailable,
                "the provider shows no console of the machine at present",
            )
            .status(),
            Error::ConsoleLimit => full(Reason::ConsoleLimit, "consoles", console::LIMIT),
            Error::AddressNotOfInstance(address) => not_of_instance(address),
            Error::Secret(cause) => status::internal(cause),
            Error::Database(error) => status::database(&error),
        }
    }
}

/// An address is somebody else's, or nobody's.
fn not_of_instance(address: String) -> Status {
    let message = "the address is not one of the instance's own";
    status::refuse(InstanceErrorReason::AddressNotOfInstance, message)
        .meta("address", address)
        .field(Invalid::new("address", "ADDRESS_NOT_OF_INSTANCE", message))
        .status()
}

/// There are as many of something as there may be.
fn full(reason: InstanceErrorReason, what: &str, limit: impl std::fmt::Display) -> Status {
    status::refuse(reason, format!("there are as many {what} as there may be"))
        .meta("limit", limit)
        .status()
}
