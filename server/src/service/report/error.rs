//! What can go wrong with reports.

use chrono::NaiveDate;
use sewa_sdk::sewa::report::v1::ReportErrorReason as Reason;
use tonic::Status;

use crate::base::status;
use crate::service::wallet;

/// An error of this slice.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// No such run of a proof.
    #[error("there is no such reconciliation")]
    ReconciliationNotFound,
    /// The day lies ahead.
    #[error("the day has not begun")]
    DayNotBegun {
        /// The present day in Jakarta.
        today: NaiveDate,
    },
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::AccountNotFound => wallet::error::Error::AccountNotFound.into(),
            Error::ReconciliationNotFound => {
                status::refuse(Reason::ReconciliationNotFound, text).status()
            }
            Error::DayNotBegun { today } => status::refuse(Reason::DayNotBegun, text)
                .meta("today", today)
                .status(),
            Error::Database(cause) => status::database(&cause),
        }
    }
}
