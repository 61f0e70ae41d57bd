//! Provider accounts: model to contract and back.

use sewa_sdk::sewa::provider::v1 as proto;
use tonic::Status;
use uuid::Uuid;

use crate::base::id::PlanId;
use crate::base::time;
use crate::service::provider::compare::Difference;
use crate::service::provider::model::Account;

/// An account, with the number of machines it has. The token stays here.
pub fn account(a: &Account, machines: i64) -> proto::ProviderAccount {
    proto::ProviderAccount {
        id: a.id.to_string(),
        provider: a.vendor.name().to_owned(),
        display_name: a.display_name.clone(),
        base_url: a.base_url.clone(),
        certificate_authorities: a.trust.authorities.clone(),
        certificate_fingerprint: a.trust.fingerprint.clone(),
        region_codes: a.region_codes.clone(),
        plan_ids: a.plan_ids.iter().map(Uuid::to_string).collect(),
        weight: a.weight,
        machine_limit: a.machine_limit,
        call_limit: a.call_limit,
        enabled: a.enabled,
        machines: i32::try_from(machines).unwrap_or(i32::MAX),
        health: a.health as i32,
        health_message: a.health_message.clone(),
        check_time: a.checked_at.map(time::to_proto),
        provider_machine_limit: a.provider_machine_limit.unwrap_or_default(),
        provider_balance: a.provider_balance.clone(),
        capabilities: a
            .vendor
            .capabilities()
            .names()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        credential_key: a.token.key_id.clone(),
        create_time: Some(time::to_proto(a.created_at)),
        update_time: Some(time::to_proto(a.updated_at)),
    }
}

/// A difference.
pub fn difference(d: &Difference) -> proto::Difference {
    let (provider_machine, machine_name) = d.machine.clone().unwrap_or_default();
    proto::Difference {
        kind: d.kind() as i32,
        provider_machine,
        machine_name,
        instance_id: d.instance.map(|id| id.to_string()).unwrap_or_default(),
        detail: d.detail.clone(),
        daily_cost: (d.daily.0 > 0).then(|| d.daily.to_proto()),
    }
}

/// The plans of a request.
///
/// # Errors
/// INVALID_REQUEST for an id that is no UUID; the edge has checked before.
pub fn plan_ids(ids: &[String]) -> Result<Vec<Uuid>, Status> {
    ids.iter()
        .map(|id| PlanId::parse("plan_ids", id).map(|id| id.0))
        .collect()
}
