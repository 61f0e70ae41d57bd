//! What can go wrong in this slice, and how it leaves the platform.

use sewa_sdk::sewa::catalog::v1::CatalogErrorReason as Reason;
use tonic::Status;

use crate::base::status::{self, Invalid};

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such plan.
    #[error("no such plan")]
    PlanNotFound,
    /// Another plan has the code.
    #[error("the code is taken by another plan")]
    PlanCodeTaken,
    /// The platform has no such provider.
    #[error("the platform has no such provider")]
    UnknownProvider {
        /// The provider asked for.
        provider: String,
    },
    /// An update mask names something else than a writable field.
    #[error("{path} is not a writable field")]
    FieldNotWritable {
        /// The path in the mask.
        path: String,
    },
    /// A name must not be taken away.
    #[error("a name cannot be empty")]
    EmptyName,
    /// The price would have begun already, or one that has begun would be replaced.
    #[error("a price cannot begin in the past")]
    PriceInThePast,
    /// No such promotion of plans.
    #[error("no such promotion of plans")]
    PlanPromotionNotFound,
    /// A field of the request has a value that makes no sense.
    #[error("{field} {must}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule, in upper case.
        rule: &'static str,
        /// What it has to be.
        must: &'static str,
    },
    /// The database.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::PlanNotFound => status::refuse(Reason::PlanNotFound, text).status(),
            Error::PlanCodeTaken => status::refuse(Reason::PlanCodeTaken, text).status(),
            Error::UnknownProvider { provider } => status::refuse(Reason::UnknownProvider, text)
                .meta("provider", provider)
                .status(),
            Error::FieldNotWritable { path } => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::EmptyName => status::invalid(Invalid::new(
                "plan.display_name",
                "STRING_MIN_LEN",
                "must have at least 1 character",
            )),
            Error::PriceInThePast => status::refuse(Reason::PriceInThePast, text).status(),
            Error::PlanPromotionNotFound => {
                status::refuse(Reason::PlanPromotionNotFound, text).status()
            }
            Error::Invalid { field, rule, must } => {
                status::invalid(Invalid::new(field, rule, must))
            }
            Error::Database(cause) => status::database(&cause),
        }
    }
}
