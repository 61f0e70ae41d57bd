//! What finance looks at: movements, earnings, debts, recurring revenue, statements, and the daily proof of the books against gateways and invoices.
//!
//! Owns: `report_days`, `reconciliations`, `reconciliation_differences`. Calls: wallet (its statements' lines and errors). Reads `accounts`, `signing_keys`, `plans`,
//! `journals`, `deposits`, `payments`, `instances`, `subscriptions`,
//! `renewals`, `plan_changes`, `orders` and `invoices`. Emits nothing.
//!
//! Nobody who moves money waits for a report: there is no second set of books, only spans of time read from the one there is. Days that are over are summed once and
//! kept (`job.rs`); the present day, and days whose orders are not all at their end, are summed when they are asked for.

pub mod compare;
pub mod convert;
pub mod csv;
pub mod error;
pub mod export;
pub mod job;
pub mod model;
#[cfg(test)]
mod model_tests;
pub mod reconcile;
pub mod rpc;
pub mod store;

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;

use crate::base::db::PgPool;
use crate::base::id::AccountId;
use model::{Balances, Figures, Range};
use store::statement::Total;

/// The figures of days by plan, as they are now. Days after `today` have none.
///
/// # Errors
/// Of the database.
pub async fn figures(
    pool: &PgPool,
    days: Range,
    today: NaiveDate,
) -> Result<Vec<Figures>, sqlx::Error> {
    let days = Range {
        end: days.end.min(model::next(today)),
        ..days
    };
    if days.days() == 0 {
        return Ok(Vec::new());
    }
    let mut tx = pool.begin().await?;
    store::use_one_snapshot(&mut tx).await?;
    let mut figures = store::kept(&mut tx, days).await?;
    let mut over: BTreeMap<NaiveDate, bool> = BTreeMap::new();
    for one in &figures {
        *over.entry(one.day).or_insert(true) &= one.orders_open == 0;
    }
    let over: BTreeSet<NaiveDate> = over
        .into_iter()
        .filter_map(|(day, over)| over.then_some(day))
        .collect();
    figures.retain(|one| over.contains(&one.day));
    for gap in days.gaps(&over) {
        figures.extend(store::sums(&mut tx, gap).await?);
    }
    tx.rollback().await?;
    Ok(figures)
}

/// What a statement says besides its lines.
pub struct Statement {
    /// Balances before.
    pub opening: Balances,
    /// Balances after.
    pub closing: Balances,
    /// What moved, by kind.
    pub totals: Vec<Total>,
}

/// The statement of some days of an account.
///
/// # Errors
/// Of the database.
pub async fn statement(
    pool: &PgPool,
    account: AccountId,
    days: Range,
) -> Result<Statement, sqlx::Error> {
    let (from, until) = days.moments();
    let mut tx = pool.begin().await?;
    store::use_one_snapshot(&mut tx).await?;
    let opening = store::statement::balances_at(&mut tx, account, from).await?;
    let closing = store::statement::balances_at(&mut tx, account, until).await?;
    let totals = store::statement::totals(&mut tx, account, from, until).await?;
    tx.rollback().await?;
    Ok(Statement {
        opening,
        closing,
        totals,
    })
}
