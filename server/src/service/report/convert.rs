//! Reports: model to contract.

use std::collections::HashMap;

use sewa_sdk::money::Money;
use sewa_sdk::sewa::report::v1 as proto;
use uuid::Uuid;

use crate::base::money::Rupiah;
use crate::base::time;
use crate::service::report::compare::GatewayResult;
use crate::service::report::model::{self, Age, Balances, Figures, Range, Recurring};
use crate::service::report::store::owed::Owed;
use crate::service::report::store::runs::{Numbered, Run};
use crate::service::report::store::statement::Total;
use crate::service::report::store::transactions::{LEDGER_ACCOUNTS, Moved};

fn money(amount: i64) -> Option<Money> {
    Some(Rupiah(amount).to_proto())
}

fn id(id: Uuid) -> String {
    if id.is_nil() {
        String::new()
    } else {
        id.to_string()
    }
}

fn maybe(found: Option<Uuid>) -> String {
    found.map(|id| id.to_string()).unwrap_or_default()
}

/// A movement.
pub fn transaction(moved: &Moved) -> proto::LedgerTransaction {
    let postings = LEDGER_ACCOUNTS.iter().zip(&moved.postings);
    let postings = postings.filter(|(_, amount)| **amount != 0);
    proto::LedgerTransaction {
        id: moved.id.to_string(),
        account_id: moved.account.to_string(),
        account_name: moved.account_name.clone(),
        kind: i32::from(moved.kind),
        description: moved.description.clone(),
        subject_id: id(moved.subject),
        postings: postings
            .map(|(name, amount)| proto::Posting {
                ledger_account: (*name).to_owned(),
                amount: money(*amount),
            })
            .collect(),
        create_time: Some(time::to_proto(moved.at)),
    }
}

/// Something owed.
pub fn receivable(owed: &Owed, age: Age) -> proto::Receivable {
    proto::Receivable {
        account_id: owed.account.to_string(),
        account_name: owed.account_name.clone(),
        kind: i32::from(owed.kind),
        subject_id: owed.subject.to_string(),
        hostname: owed.hostname.clone(),
        amount: Some(owed.amount().to_proto()),
        due_time: Some(time::to_proto(owed.due)),
        age: age as i32,
    }
}

/// Earnings of a row.
pub fn revenue(row: Range, f: &Figures) -> proto::RevenueRow {
    proto::RevenueRow {
        start_date: row.start.to_string(),
        end_date: row.end.to_string(),
        charges: f.charges,
        charged: money(f.charged),
        refunds: f.refunds,
        refunded: money(f.refunded),
        revenue: money(f.revenue()),
        tax: money(f.charged_tax - f.refunded_tax),
        paid_in: money(f.paid_in),
        paid_back: money(f.paid_back),
        gateway_fees: money(f.gateway_fees),
        promotions: money(f.promotions),
        adjustments: money(f.adjustments),
    }
}

/// Sales of a plan.
pub fn plan_sales(f: &Figures, names: &HashMap<Uuid, String>) -> proto::PlanSales {
    proto::PlanSales {
        plan_id: id(f.plan),
        plan_name: names.get(&f.plan).cloned().unwrap_or_default(),
        orders_placed: f.orders_placed,
        orders_active: f.orders_active,
        revenue: money(f.revenue()),
    }
}

/// Orders of a day.
pub fn order_counts(day: String, f: &Figures) -> proto::OrderCounts {
    proto::OrderCounts {
        day,
        placed: f.orders_placed,
        active: f.orders_active,
        refunded: f.orders_refunded,
        cancelled: f.orders_cancelled,
        expired: f.orders_expired,
        open: f.orders_open,
    }
}

/// Recurring revenue and churn.
pub fn metrics(
    month: String,
    end: chrono::DateTime<chrono::Utc>,
    r: &Recurring,
) -> proto::SubscriptionMetrics {
    proto::SubscriptionMetrics {
        month,
        end_time: Some(time::to_proto(end)),
        mrr_start: money(r.mrr_start),
        mrr_new: money(r.mrr_new),
        mrr_churned: money(r.mrr_churned),
        mrr_changed: money(r.mrr_changed()),
        mrr_end: money(r.mrr_end),
        instances_start: r.instances_start,
        instances_new: r.instances_new,
        instances_churned: r.instances_churned,
        instances_end: r.instances_end,
        accounts_start: r.accounts_start,
        accounts_new: r.accounts_new,
        accounts_churned: r.accounts_churned,
        accounts_end: r.accounts_end,
        mrr_churn_basis_points: model::basis_points(r.mrr_churned, r.mrr_start),
        account_churn_basis_points: model::basis_points(r.accounts_churned, r.accounts_start),
    }
}

const STATES: [(&str, proto::reconciliation::State); 4] = [
    ("PENDING", proto::reconciliation::State::Pending),
    ("RUNNING", proto::reconciliation::State::Running),
    ("DONE", proto::reconciliation::State::Done),
    ("FAILED", proto::reconciliation::State::Failed),
];

/// A run of the proof.
pub fn reconciliation(run: &Run) -> proto::Reconciliation {
    let state = STATES.iter().find(|(name, _)| *name == run.state);
    proto::Reconciliation {
        id: run.id.to_string(),
        day: run.day.to_string(),
        state: state.map(|(_, state)| *state).unwrap_or_default() as i32,
        requested_by: maybe(run.requested_by),
        create_time: Some(time::to_proto(run.created_at)),
        finish_time: run.finished_at.map(time::to_proto),
        complete: run.complete,
        differences: run.differences,
        differing: money(run.differing),
        gateways: run.gateways.iter().map(gateway).collect(),
        charges: run.charges,
        charged: money(run.charged),
        invoiced: money(run.invoiced),
        failure: run.failure.clone(),
    }
}

fn gateway(result: &GatewayResult) -> proto::GatewayComparison {
    proto::GatewayComparison {
        method: i32::from(result.method),
        comparison: result.comparison as i32,
        payments: result.payments,
        paid: money(result.paid),
        gateway_payments: result.gateway_payments,
        gateway_paid: money(result.gateway_paid),
        fees: money(result.fees),
        note: result.note.clone(),
    }
}

/// Something that differs.
pub fn difference(d: &Numbered) -> proto::ReconciliationDifference {
    proto::ReconciliationDifference {
        number: d.number,
        kind: i32::from(d.kind),
        cause: d.cause.clone(),
        ours: money(d.ours),
        theirs: money(d.theirs),
        difference: money(d.ours.saturating_sub(d.theirs)),
        method: i32::from(d.method),
        gateway_reference: d.gateway_ref.clone(),
        account_id: maybe(d.account),
        deposit_id: maybe(d.deposit),
        journal_id: maybe(d.journal),
        invoice_id: maybe(d.invoice),
    }
}

/// Balances at a moment.
pub fn balances(b: &Balances) -> proto::StatementBalance {
    proto::StatementBalance {
        available: Some(b.available.to_proto()),
        held: Some(b.held.to_proto()),
        promo: Some(b.promo.to_proto()),
        withdrawable: Some(b.withdrawable.to_proto()),
    }
}

/// What the movements of a kind add up to.
pub fn statement_total(t: &Total) -> proto::StatementTotal {
    proto::StatementTotal {
        kind: i32::from(t.kind),
        count: t.count,
        available_change: Some(t.available.to_proto()),
        held_change: Some(t.held.to_proto()),
        promo_change: Some(t.promo.to_proto()),
        withdrawable_change: Some(t.withdrawable.to_proto()),
    }
}
