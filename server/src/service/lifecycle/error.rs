//! What can go wrong with renewals.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::lifecycle::v1::LifecycleErrorReason;
use tonic::Status;

use crate::base::id::{OperationId, PlanId};
use crate::base::money::Rupiah;
use crate::base::status;
use crate::service::instance::error::Error as InstanceError;
use crate::service::instance::model::Refused as Refusal;
use crate::service::instance::resize::Unsuitable;
use crate::service::wallet;
use crate::service::wallet::model::Refused;

/// Errors of lifecycle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such instance, or it does not run yet.
    #[error("no such subscription")]
    InstanceNotFound,
    /// The service is over.
    #[error("the subscription has ended")]
    SubscriptionEnded,
    /// The next period is paid already.
    #[error("paid ahead")]
    AlreadyPrepaid {
        /// Until when the present period runs.
        paid_until: DateTime<Utc>,
    },
    /// The period is over and the next one is not paid.
    #[error("unpaid")]
    Unpaid,
    /// Its plan is being changed by this operation.
    #[error("operation {0} changes its plan")]
    Changing(OperationId),
    /// The plan is not sold.
    #[error("plan {0} is not sold")]
    PlanUnavailable(PlanId),
    /// The plan has no price for the period.
    #[error("no price for {}", .0.as_str_name())]
    PeriodUnavailable(BillingPeriod),
    /// The machine cannot be made into one of the plan.
    #[error("unsuitable: {0:?}")]
    Unsuitable(Unsuitable),
    /// The total is another one than was expected.
    #[error("expected {expected}, is {total}")]
    PriceChanged {
        /// What the caller saw.
        expected: Rupiah,
        /// What it is.
        total: Rupiah,
    },
    /// The instance does not take it.
    #[error("instance")]
    Instance(#[source] InstanceError),
    /// No such account.
    #[error("no such account")]
    AccountNotFound,
    /// No such policy.
    #[error("no such policy")]
    PolicyNotFound,
    /// The ledger refuses, or failed.
    #[error("wallet")]
    Wallet(#[from] wallet::error::Error),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use LifecycleErrorReason as Reason;
        match error {
            Error::InstanceNotFound => status::refuse(
                Reason::InstanceNotFound,
                "there is no such running instance",
            )
            .status(),
            Error::SubscriptionEnded => {
                status::refuse(Reason::SubscriptionEnded, "the service has ended").status()
            }
            Error::AlreadyPrepaid { paid_until } => {
                status::refuse(Reason::AlreadyPrepaid, "the next period is paid already")
                    .meta("paid_until", paid_until.to_rfc3339())
                    .status()
            }
            Error::Unpaid | Error::Instance(InstanceError::Refused(Refusal::Suspended)) => {
                status::refuse(Reason::SubscriptionUnpaid, "the present period is not paid")
                    .status()
            }
            Error::Changing(operation)
            | Error::Instance(InstanceError::Refused(Refusal::Busy(operation))) => status::refuse(
                Reason::OperationInProgress,
                "another operation is under way on the instance",
            )
            .meta("operation_id", operation)
            .status(),
            Error::Instance(InstanceError::Refused(Refusal::IllegalState(state))) => {
                status::refuse(
                    Reason::IllegalState,
                    format!(
                        "the instance is {}, which does not allow this",
                        state.as_str()
                    ),
                )
                .meta("state", state.as_str())
                .status()
            }
            Error::Instance(other) => other.into(),
            Error::PlanUnavailable(plan) => {
                status::refuse(Reason::PlanUnavailable, "the plan is not sold")
                    .meta("plan_id", plan)
                    .status()
            }
            Error::PeriodUnavailable(period) => status::refuse(
                Reason::PeriodUnavailable,
                "the plan is not sold for this period",
            )
            .meta("period", period.as_str_name())
            .status(),
            Error::Unsuitable(Unsuitable::NotSupported(capability)) => status::refuse(
                Reason::NotSupportedByProvider,
                "the provider cannot do this",
            )
            .meta("capability", capability)
            .status(),
            Error::Unsuitable(Unsuitable::SamePlan) => unsuitable("same_plan", "it has this plan"),
            Error::Unsuitable(Unsuitable::OtherProvider) => {
                unsuitable("other_provider", "the plan is of another provider")
            }
            Error::Unsuitable(Unsuitable::DiskSmaller) => {
                unsuitable("disk_smaller", "a disk cannot be made smaller")
            }
            Error::PriceChanged { expected, total } => {
                status::refuse(Reason::PriceChanged, "the total is not the expected one")
                    .meta("expected", expected.0)
                    .meta("total", total.0)
                    .status()
            }
            Error::AccountNotFound => {
                status::refuse(Reason::AccountNotFound, "there is no such account").status()
            }
            Error::PolicyNotFound => {
                status::refuse(Reason::PolicyNotFound, "there is no such policy").status()
            }
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
            Error::Database(error) => status::database(&error),
        }
    }
}

fn unsuitable(problem: &'static str, message: &'static str) -> Status {
    status::refuse(LifecycleErrorReason::PlanUnsuitable, message)
        .meta("problem", problem)
        .status()
}
