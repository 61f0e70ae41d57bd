//! Errors as they leave the platform: a gRPC status with one ErrorInfo, whose code comes from the contract's error catalogue and so cannot differ from it.

use std::collections::HashMap;
use std::time::Duration;

use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sewa_sdk::sewa::billing::v1::BillingErrorReason;
use sewa_sdk::sewa::catalog::v1::CatalogErrorReason;
use sewa_sdk::sewa::event::v1::EventErrorReason;
use sewa_sdk::sewa::hypervisor::v1::HypervisorErrorReason;
use sewa_sdk::sewa::identity::v1::IdentityErrorReason;
use sewa_sdk::sewa::instance::v1::InstanceErrorReason;
use sewa_sdk::sewa::inventory::v1::InventoryErrorReason;
use sewa_sdk::sewa::invoice::v1::InvoiceErrorReason;
use sewa_sdk::sewa::lifecycle::v1::LifecycleErrorReason;
use sewa_sdk::sewa::operation::v1::OperationErrorReason;
use sewa_sdk::sewa::order::v1::OrderErrorReason;
use sewa_sdk::sewa::promotion::v1::PromotionErrorReason;
use sewa_sdk::sewa::provider::v1::ProviderErrorReason;
use sewa_sdk::sewa::report::v1::ReportErrorReason;
use sewa_sdk::sewa::sandbox::v1::SandboxErrorReason;
use sewa_sdk::sewa::wallet::v1::WalletErrorReason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::base::contract::Contract;

/// `google.rpc.ErrorInfo.domain` of every error.
pub const DOMAIN: &str = "sewa";

/// A value of one of the contract's `*ErrorReason` enums.
pub trait Reason: Copy {
    /// Full name of the value, for example `ORDER_ERROR_REASON_PRICE_CHANGED`.
    fn value_name(self) -> &'static str;
}

macro_rules! reasons {
    ($($name:ty),+ $(,)?) => {$(
        impl Reason for $name {
            fn value_name(self) -> &'static str {
                self.as_str_name()
            }
        }
    )+};
}

reasons!(
    CommonErrorReason,
    BillingErrorReason,
    CatalogErrorReason,
    EventErrorReason,
    HypervisorErrorReason,
    IdentityErrorReason,
    InstanceErrorReason,
    InventoryErrorReason,
    InvoiceErrorReason,
    LifecycleErrorReason,
    OperationErrorReason,
    OrderErrorReason,
    PromotionErrorReason,
    ProviderErrorReason,
    ReportErrorReason,
    SandboxErrorReason,
    WalletErrorReason,
);

/// An error on its way out: `refuse(reason, message).meta(key, value).status()`.
pub struct Refusal {
    code: Code,
    message: String,
    details: ErrorDetails,
}

/// Begins an error. `message` is for developers, in English; it must hold no internals.
pub fn refuse(reason: impl Reason, message: impl Into<String>) -> Refusal {
    let rule = Contract::get().reason(reason.value_name());
    let mut details = ErrorDetails::new();
    details.set_error_info(rule.reason.clone(), DOMAIN, HashMap::new());
    Refusal {
        code: rule.code,
        message: message.into(),
        details,
    }
}

impl Refusal {
    /// Adds metadata. The key must be among those the contract lists for the reason; a debug build checks it.
    #[must_use]
    pub fn meta(mut self, key: &'static str, value: impl ToString) -> Self {
        if let Some(info) = self.details.error_info() {
            debug_assert!(
                Contract::get().allows_metadata(&info.reason, key),
                "{} does not declare metadata {key}",
                info.reason
            );
            let (reason, mut metadata) = (info.reason.clone(), info.metadata.clone());
            metadata.insert(key.to_owned(), value.to_string());
            self.details.set_error_info(reason, DOMAIN, metadata);
        }
        self
    }

    /// Says which field of the request it is about.
    #[must_use]
    pub fn field(mut self, invalid: Invalid) -> Self {
        self.details.set_bad_request(vec![invalid.violation]);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// The finished status.
    pub fn status(self) -> Status {
        Status::with_error_details(self.code, self.message, self.details)
    }
}

/// One broken rule of a request.
pub struct Invalid {
    violation: FieldViolation,
}

impl Invalid {
    /// `field` is a path such as `items[2].plan_id`; `rule` the rule's id in upper case.
    pub fn new(
        field: impl Into<String>,
        rule: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        let mut violation = FieldViolation::new(field, description);
        violation.reason = rule.into();
        Self { violation }
    }
}

/// INVALID_REQUEST with one violation.
pub fn invalid(violation: Invalid) -> Status {
    invalid_all(vec![violation])
}

/// INVALID_REQUEST with all violations.
pub fn invalid_all(violations: Vec<Invalid>) -> Status {
    let mut message = String::from("the request breaks the contract");
    for (i, Invalid { violation }) in violations.iter().enumerate().take(5) {
        message.push_str(if i == 0 { ": " } else { "; " });
        message.push_str(&violation.field);
        message.push(' ');
        message.push_str(&violation.description);
    }
    let mut refusal = refuse(CommonErrorReason::InvalidRequest, message);
    refusal.details.set_bad_request(
        violations
            .into_iter()
            .map(|v| v.violation)
            .collect::<Vec<_>>(),
    );
    refusal.status()
}

/// INTERNAL. The cause is logged here, once, and never leaves the server.
pub fn internal(cause: impl std::fmt::Display) -> Status {
    tracing::error!(%cause, "internal error");
    refuse(CommonErrorReason::Internal, "internal error").status()
}

/// A database error as callers see it: UNAVAILABLE where the database could not be reached or gave up, INTERNAL otherwise.
pub fn database(cause: &sqlx::Error) -> Status {
    if crate::base::db::is_transient(cause) {
        tracing::warn!(%cause, "database unavailable");
        refuse(
            CommonErrorReason::Unavailable,
            "the database is not available",
        )
        .retry_after(Duration::from_secs(1))
        .status()
    } else {
        internal(cause)
    }
}

/// The reason of a status made here, for tests and logs.
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}
