//! What can go wrong in this slice, and how it leaves the platform.

use sewa_sdk::sewa::promotion::v1::PromotionErrorReason as Reason;
use tonic::Status;

use crate::base::db;
use crate::base::status::{self, Invalid};

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such promotion.
    #[error("no such promotion")]
    PromotionNotFound,
    /// No such coupon.
    #[error("no such coupon")]
    CouponNotFound,
    /// Another coupon has the code.
    #[error("another coupon has this code")]
    CouponCodeTaken,
    /// No such account.
    #[error("no such account")]
    ReferralNotFound,
    /// An update mask names something else than a writable field.
    #[error("{path} is not a writable field")]
    FieldNotWritable {
        /// The path in the mask.
        path: String,
    },
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
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match db::broken_constraint(&error) {
            Some("coupons_code_key") => Self::CouponCodeTaken,
            _ => Self::Database(error),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::PromotionNotFound => status::refuse(Reason::PromotionNotFound, text).status(),
            Error::CouponNotFound => status::refuse(Reason::CouponNotFound, text).status(),
            Error::CouponCodeTaken => status::refuse(Reason::CouponCodeTaken, text).status(),
            Error::ReferralNotFound => status::refuse(Reason::ReferralNotFound, text).status(),
            Error::FieldNotWritable { path } => status::refuse(Reason::FieldNotWritable, text)
                .meta("path", path)
                .status(),
            Error::Invalid { field, rule, must } => {
                status::invalid(Invalid::new(field, rule, must))
            }
            Error::Database(cause) => status::database(&cause),
        }
    }
}
