//! What can go wrong with invoices.

use sewa_sdk::sewa::invoice::v1::InvoiceErrorReason as Reason;
use tonic::Status;

use crate::base::status;

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such invoice in this account.
    #[error("there is no such invoice")]
    NotFound,
    /// The settings name no seller.
    #[error("the operator has not said who sells")]
    SellerNotSet,
    /// The month has fewer parts.
    #[error("the month has no such part")]
    PartNotFound {
        /// How many it has.
        parts: i64,
    },
    /// A document could not be written.
    #[error("document")]
    Document(#[source] anyhow::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::NotFound => status::refuse(Reason::InvoiceNotFound, text).status(),
            Error::SellerNotSet => status::refuse(Reason::SellerNotSet, text).status(),
            Error::PartNotFound { parts } => status::refuse(Reason::TaxPartNotFound, text)
                .meta("parts", parts)
                .status(),
            Error::Document(cause) => status::internal(cause),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
