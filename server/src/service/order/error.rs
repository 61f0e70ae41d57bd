//! What can go wrong with orders.

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::order::v1::OrderErrorReason;
use tonic::Status;

use crate::base::id::{ImageId, PlanId, RegionId, SshKeyId};
use crate::base::money::Rupiah;
use crate::base::{db, status};
use crate::service::order::model::{InvalidTransition, State};
use crate::service::promotion::coupon::WhyNot;
use crate::service::wallet;
use crate::service::wallet::model::Refused;

/// Errors of orders.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such order in this account.
    #[error("no such order")]
    OrderNotFound,
    /// The plan is not sold.
    #[error("plan {0} is not sold")]
    PlanUnavailable(PlanId),
    /// The region takes no machines.
    #[error("region {0} takes no machines")]
    RegionUnavailable(RegionId),
    /// The image cannot be used.
    #[error("image {0} cannot be used")]
    ImageUnavailable(ImageId),
    /// No price for the period.
    #[error("no price for {0:?}")]
    PeriodUnavailable(BillingPeriod),
    /// The coupon is not taken.
    #[error("coupon {code} is not taken: {}", .why.as_str())]
    InvalidCoupon {
        /// The code.
        code: String,
        /// Why not.
        why: WhyNot,
    },
    /// The total is not what the caller expected.
    #[error("the total is {total}, not {expected}")]
    PriceChanged {
        /// What the caller expected.
        expected: Rupiah,
        /// What it is.
        total: Rupiah,
    },
    /// The reference was used before.
    #[error("the client reference was used before")]
    ClientReferenceTaken,
    /// No such key in this account.
    #[error("no key {0}")]
    SshKeyNotFound(SshKeyId),
    /// What the machine is to be given could not be sealed.
    #[error("a secret could not be sealed")]
    Secret(#[source] anyhow::Error),
    /// The state does not allow it.
    #[error("the order is {state:?}")]
    OrderStateConflict {
        /// The present state.
        state: State,
    },
    /// The order does not wait for payment.
    #[error("the order is {state:?} and does not wait for payment")]
    PaymentStatusConflict {
        /// The present state.
        state: State,
    },
    /// The account has not said who its invoices are made out to.
    #[error("the billing profile is incomplete")]
    BillingProfileIncomplete,
    /// The books and the order disagree; a fault of ours.
    #[error("{0}")]
    Ledger(&'static str),
    /// The ledger refuses, or failed.
    #[error("wallet")]
    Wallet(#[from] wallet::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match db::broken_constraint(&error) {
            Some("orders_client_reference_key") => Self::ClientReferenceTaken,
            _ => Self::Database(error),
        }
    }
}

impl From<InvalidTransition> for Error {
    fn from(invalid: InvalidTransition) -> Self {
        Self::OrderStateConflict {
            state: invalid.state,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use OrderErrorReason as Reason;
        match error {
            Error::OrderNotFound => {
                status::refuse(Reason::OrderNotFound, "there is no such order").status()
            }
            Error::PlanUnavailable(id) => {
                status::refuse(Reason::PlanUnavailable, "the plan is not sold")
                    .meta("plan_id", id)
                    .status()
            }
            Error::RegionUnavailable(id) => status::refuse(
                Reason::RegionUnavailable,
                "the region takes no new machines",
            )
            .meta("region_id", id)
            .status(),
            Error::ImageUnavailable(id) => status::refuse(
                Reason::ImageUnavailable,
                "the image does not exist or does not fit the plan",
            )
            .meta("image_id", id)
            .status(),
            Error::PeriodUnavailable(period) => status::refuse(
                Reason::PeriodUnavailable,
                "the plan is not sold for this period",
            )
            .meta("period", period.as_str_name())
            .status(),
            Error::InvalidCoupon { code, why } => {
                status::refuse(Reason::InvalidCoupon, "the coupon is not taken")
                    .meta("coupon_code", code)
                    .meta("why", why.as_str())
                    .status()
            }
            Error::PriceChanged { expected, total } => {
                status::refuse(Reason::PriceChanged, "the total is not the expected one")
                    .meta("expected", expected.0)
                    .meta("total", total.0)
                    .status()
            }
            Error::ClientReferenceTaken => status::refuse(
                Reason::ClientReferenceTaken,
                "the client reference was used before",
            )
            .status(),
            Error::SshKeyNotFound(id) => {
                status::refuse(Reason::SshKeyNotFound, "there is no such SSH key")
                    .meta("ssh_key_id", id)
                    .status()
            }
            Error::Secret(cause) => status::internal(cause),
            Error::OrderStateConflict { state } => status::refuse(
                Reason::OrderStateConflict,
                "the order's state does not allow it",
            )
            .meta("state", state.as_str())
            .status(),
            Error::PaymentStatusConflict { state } => status::refuse(
                Reason::PaymentStatusConflict,
                "the order does not wait for payment",
            )
            .meta("state", state.as_str())
            .status(),
            Error::BillingProfileIncomplete => status::refuse(
                Reason::BillingProfileIncomplete,
                "the billing profile lacks a name or an address",
            )
            .status(),
            Error::Wallet(wallet::error::Error::Refused(Refused::InsufficientBalance {
                required,
                available,
            })) => status::refuse(
                Reason::InsufficientBalance,
                "the available balance is too small",
            )
            .meta("required", required.0)
            .meta("available", available.0)
            .status(),
            Error::Wallet(other) => other.into(),
            Error::Ledger(fault) => status::internal(fault),
            Error::Database(error) => status::database(&error),
        }
    }
}
