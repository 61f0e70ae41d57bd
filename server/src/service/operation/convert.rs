//! Operations: model to contract.

use prost::Message;
use sewa_sdk::sewa::api::v1 as proto;
use sewa_sdk::sewa::api::v1::operation::Kind;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::base::{status, time, writes};
use crate::service::operation::model::{NewOperation, Operation, State};

/// An operation.
pub fn operation(o: &Operation) -> proto::Operation {
    proto::Operation {
        id: o.id.to_string(),
        kind: o.kind as i32,
        state: state(o.state) as i32,
        instance_id: o.instance.to_string(),
        order_id: o.order.map(|order| order.to_string()).unwrap_or_default(),
        step: o.step.clone(),
        progress_percent: i32::from(o.progress),
        create_time: Some(time::to_proto(o.created_at)),
        finish_time: o.finished_at.map(time::to_proto),
        error: o
            .error
            .as_ref()
            .map(|(reason, message)| failure(reason, message)),
    }
}

/// An operation just recorded.
pub fn new_to_proto(new: &NewOperation) -> proto::Operation {
    operation(&Operation::from(new))
}

/// A kind as events name it, for example `REBOOT`.
pub fn kind_name(kind: Kind) -> &'static str {
    kind.as_str_name().trim_start_matches("KIND_")
}

fn state(state: State) -> proto::operation::State {
    match state {
        State::Pending => proto::operation::State::Pending,
        State::Running => proto::operation::State::Running,
        State::Succeeded => proto::operation::State::Succeeded,
        State::Failed => proto::operation::State::Failed,
        State::Cancelled => proto::operation::State::Cancelled,
    }
}

/// Why it failed, as a status with one ErrorInfo.
fn failure(reason: &str, message: &str) -> tonic_types::Status {
    let code = match reason {
        "PROVIDER_UNAVAILABLE" | "UNAVAILABLE" => Code::Unavailable,
        "PROVISIONING_TIMEOUT" | "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        "OUT_OF_CAPACITY" => Code::ResourceExhausted,
        "INSTANCE_NOT_FOUND" | "BACKUP_NOT_FOUND" => Code::NotFound,
        "REVERSE_DNS_REFUSED" | "FIREWALL_REFUSED" => Code::FailedPrecondition,
        _ => Code::Internal,
    };
    let details =
        ErrorDetails::with_error_info(reason, status::DOMAIN, std::collections::HashMap::new());
    let encoded = writes::encode_status(&Status::with_error_details(code, message, details));
    tonic_types::Status::decode(encoded.as_slice()).unwrap_or_else(|_| tonic_types::Status {
        code: code as i32,
        message: message.to_owned(),
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_an_operation_fails_for_has_its_code_and_an_error_info() {
        let codes = [
            ("PROVIDER_UNAVAILABLE", Code::Unavailable),
            ("PROVISIONING_TIMEOUT", Code::DeadlineExceeded),
            ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
            ("OUT_OF_CAPACITY", Code::ResourceExhausted),
            ("INSTANCE_NOT_FOUND", Code::NotFound),
            ("BACKUP_NOT_FOUND", Code::NotFound),
            ("REVERSE_DNS_REFUSED", Code::FailedPrecondition),
            ("FIREWALL_REFUSED", Code::FailedPrecondition),
            ("INTERNAL", Code::Internal),
        ];
        for (reason, code) in codes {
            let failed = failure(reason, "message");
            assert_eq!(
                (failed.code, failed.message.as_str(), failed.details.len()),
                (code as i32, "message", 1),
                "{reason}"
            );
            assert!(failed.details[0].type_url.ends_with("google.rpc.ErrorInfo"));
        }
    }

    #[test]
    fn kinds_lose_their_prefix() {
        assert_eq!(kind_name(Kind::ResetPassword), "RESET_PASSWORD");
    }
}
