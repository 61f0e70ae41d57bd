//! The contract about itself: which version runs, what each method needs, what each error means.
//!
//! Owns: nothing. Calls: nothing. Emits: nothing. Everything here is read from the descriptors the server was built with, and from the permission table.

pub mod rpc;

use sewa_sdk::sewa::meta::v1 as proto;

use crate::base::contract::{Access, Contract};
use crate::base::crypto;
use crate::edge::permissions;

/// What this server is.
pub fn server_info() -> proto::ServerInfo {
    let digest = crypto::digest(sewa_sdk::DESCRIPTORS);
    proto::ServerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        contract_digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Every method with the permission it needs and the roles that hold it, by name.
pub fn permissions() -> Vec<proto::MethodPermission> {
    let mut methods: Vec<_> = Contract::get()
        .methods()
        .map(|method| {
            let (permission, roles) = match &method.access {
                Access::Public => (String::new(), Vec::new()),
                Access::Permission(permission) => (permission.clone(), holders(permission)),
            };
            proto::MethodPermission {
                method: method.name.clone(),
                permission,
                roles,
                step_up: method.step_up,
            }
        })
        .collect();
    methods.sort_by(|a, b| a.method.cmp(&b.method));
    methods
}

fn holders(permission: &str) -> Vec<String> {
    permissions::roles()
        .iter()
        .filter(|role| permissions::of_role(role).contains(&permission))
        .map(|role| (*role).to_owned())
        .collect()
}

/// Every error reason, by name. Two services may give one reason; it is listed once if it means the same.
pub fn error_reasons() -> Vec<proto::ErrorReason> {
    let mut reasons: Vec<_> = Contract::get()
        .reasons()
        .map(|(_, rule)| proto::ErrorReason {
            reason: rule.reason.clone(),
            code: code_name(rule.code).to_owned(),
            retry: rule.retry as i32,
            remedy: rule.remedy.clone(),
        })
        .collect();
    reasons.sort_by(|a, b| key(a).cmp(&key(b)));
    reasons.dedup();
    reasons
}

/// What tells two entries of the list of reasons apart.
pub fn key(reason: &proto::ErrorReason) -> (&str, &str, i32, &str) {
    (&reason.reason, &reason.code, reason.retry, &reason.remedy)
}

/// The contract's spelling of a status code.
fn code_name(code: tonic::Code) -> &'static str {
    use tonic::Code;
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_listed_with_its_holders() {
        let listed = permissions();
        assert_eq!(listed.len(), Contract::get().methods().count());
        assert!(listed.is_sorted_by(|a, b| a.method < b.method));
        for method in &listed {
            assert_eq!(
                method.permission.is_empty(),
                method.roles.is_empty(),
                "{}",
                method.method
            );
        }
        let place = listed
            .iter()
            .find(|m| m.method == "sewa.order.v1.OrderService/PlaceOrder")
            .expect("a method");
        assert_eq!(
            (place.permission.as_str(), place.roles.join(" ")),
            ("orders.place", "member owner reseller".to_owned())
        );
    }

    #[test]
    fn every_reason_is_listed_once_for_each_meaning() {
        let listed = error_reasons();
        assert!(listed.is_sorted_by(|a, b| key(a) < key(b)));
        let expired = listed
            .iter()
            .find(|r| r.reason == "TOKEN_EXPIRED")
            .expect("a reason");
        assert_eq!(expired.code, "UNAUTHENTICATED");
        assert_eq!(
            listed
                .iter()
                .filter(|r| r.reason == "FIELD_NOT_WRITABLE")
                .count(),
            1
        );
    }

    #[test]
    fn the_digest_is_that_of_the_descriptors() {
        let info = server_info();
        assert_eq!(info.contract_digest.len(), 64);
        assert_eq!(
            info.contract_digest[..2],
            format!("{:02x}", crypto::digest(sewa_sdk::DESCRIPTORS)[0])
        );
    }
}
