//! The inventory: model to contract.

use sewa_sdk::sewa::inventory::v1 as proto;
use sewa_sdk::sewa::inventory::v1::inventory_run::State;

use crate::base::id::ProviderAccountId;
use crate::base::money::Rupiah;
use crate::base::time;
use crate::service::inventory::model::{Policy, Run};
use crate::service::inventory::store::Row;

/// A run.
pub fn run(r: &Run) -> proto::InventoryRun {
    let state = match r.state.as_str() {
        "PENDING" => State::Pending,
        "RUNNING" => State::Running,
        "DONE" => State::Done,
        _ => State::Failed,
    };
    proto::InventoryRun {
        id: r.id.to_string(),
        provider_account_id: r.account.to_string(),
        dry_run: r.dry_run,
        state: state as i32,
        requested_by: r.requested_by.map(|id| id.to_string()).unwrap_or_default(),
        machines: r.machines,
        findings: r.findings,
        daily_cost: Some(Rupiah(r.daily_cost).to_proto()),
        failure: r.failure.clone(),
        create_time: Some(time::to_proto(r.created_at)),
        end_time: r.finished_at.map(time::to_proto),
    }
}

/// A finding.
pub fn finding(r: &Row) -> proto::InventoryFinding {
    proto::InventoryFinding {
        id: r.id.to_string(),
        run_id: r.run_id.to_string(),
        provider_account_id: r.account.to_string(),
        reason: i32::from(r.reason),
        provider_machine: r.machine.clone(),
        machine_name: r.machine_name.clone(),
        instance_id: r.instance_id.map(|id| id.to_string()).unwrap_or_default(),
        detail: r.detail.clone(),
        daily_cost: (r.daily_cost > 0).then(|| Rupiah(r.daily_cost).to_proto()),
        cost_basis: i32::from(r.cost_basis),
        first_seen_time: Some(time::to_proto(r.first_seen_at)),
        repair: i32::from(r.repair),
        outcome: i32::from(r.outcome),
        words: r.words.clone(),
        repair_time: r.acted_at.map(time::to_proto),
    }
}

/// A policy.
pub fn policy(account: ProviderAccountId, p: &Policy) -> proto::InventoryPolicy {
    proto::InventoryPolicy {
        provider_account_id: account.to_string(),
        interval_minutes: p.interval_minutes,
        destroy_after_minutes: p.destroy_after_minutes,
        look_after_minutes: p.look_after_minutes,
        destroy_limit: p.destroy_limit,
    }
}
