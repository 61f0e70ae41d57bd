//! What can go wrong with hypervisors of our own.

use sewa_sdk::sewa::hypervisor::v1::HypervisorErrorReason as Reason;
use tonic::Status;

use crate::base::id::InstanceId;
use crate::base::status::{self, Invalid};
use crate::service::provider;

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such pool.
    #[error("there is no such address pool")]
    PoolNotFound,
    /// Another pool has some of the addresses.
    #[error("another pool has some of these addresses")]
    PoolsOverlap,
    /// A machine has the address.
    #[error("a machine has this address")]
    Held(InstanceId),
    /// No such node.
    #[error("the cluster has no such node")]
    NodeNotFound,
    /// The update mask names something else than a writable field.
    #[error("the field cannot be written")]
    FieldNotWritable(String),
    /// A field of the request cannot be.
    #[error("{1} {2}")]
    Invalid(&'static str, &'static str, &'static str),
    /// The cluster's account.
    #[error(transparent)]
    Account(#[from] provider::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::PoolNotFound => status::refuse(Reason::AddressPoolNotFound, text).status(),
            Error::PoolsOverlap => status::refuse(Reason::AddressPoolsOverlap, text).status(),
            Error::Held(instance) => status::refuse(Reason::AddressHeld, text)
                .meta("instance_id", instance.to_string())
                .status(),
            Error::NodeNotFound => status::refuse(Reason::NodeNotFound, text).status(),
            Error::FieldNotWritable(path) => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::Invalid(field, reason, message) => {
                status::invalid(Invalid::new(field, reason, message))
            }
            Error::Account(error) => error.into(),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
