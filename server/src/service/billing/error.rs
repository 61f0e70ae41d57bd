//! What can go wrong with billing profiles.

use sewa_sdk::sewa::billing::v1::BillingErrorReason as Reason;
use tonic::Status;

use crate::base::status;
use crate::service::billing::model::TaxNumberKind;

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The update mask names something else than a writable field.
    #[error("the field cannot be written")]
    FieldNotWritable(String),
    /// The number has not the form of its kind. It is not repeated here, because it is personal data.
    #[error("the tax number has not the form of its kind")]
    TaxNumberMalformed(TaxNumberKind),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::FieldNotWritable(path) => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::TaxNumberMalformed(kind) => status::refuse(Reason::TaxNumberMalformed, text)
                .meta("kind", kind.as_str())
                .status(),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
