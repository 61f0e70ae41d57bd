//! Invoices: one for every charge of the ledger, a credit note for every refund.
//!
//! Owns: `invoices`, `invoice_counters`, `invoice_cursors`. Calls: billing (its model). Reads `journals`, `balances`, `accounts`, `billing_profiles`, `orders`,
//! `instances`, `renewals` and `plans`. Emits nothing.
//!
//! Nobody who moves money waits for an invoice. A job follows the event log, which tells whose books may have moved, and looks at the journals of these
//! accounts from where it was before (`job.rs`). A journal's amounts are the invoice's, so whatever charges in whatever way is documented without knowing of it.

pub mod convert;
pub mod coretax;
pub mod document;
pub mod error;
pub mod job;
pub mod model;
pub mod rpc;
pub mod settings;
pub mod store;
pub mod words;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use model::{Charge, Invoice, Kind, Party};

/// Journals of one account looked at in one transaction.
const EACH: i64 = 500;

/// Looks through the journals that these accounts wrote since they were last looked at, and issues what is due for them. Accounts with more than a transaction should
/// do stay marked as behind. Returns how many documents were issued.
///
/// The cursors of the accounts are locked first, in the order of their ids, and the rows that give numbers after them, by series and month. Both are held until the
/// caller commits, so documents are issued once and numbers have no gaps, however many replicas do this and wherever they die.
///
/// # Errors
/// Of the database.
pub async fn issue(
    connection: &mut PgConnection,
    seller: &Party,
    accounts: &[Uuid],
    now: DateTime<Utc>,
) -> Result<usize, sqlx::Error> {
    if accounts.is_empty() {
        return Ok(0);
    }
    let cursors = store::lock_cursors(connection, accounts).await?;
    let journals = store::journals_after(connection, &cursors, EACH).await?;
    if journals.is_empty() {
        return Ok(0);
    }
    let charges = store::charges(connection, &journals).await?;
    let count = charges.len();
    // A credit note names the last invoice before it, which may be one of these.
    for kind in [Kind::Invoice, Kind::CreditNote] {
        let of_kind = charges.iter().filter(|c| c.kind == kind).cloned().collect();
        number(connection, seller, of_kind, now).await?;
    }
    store::advance_cursors(connection, &journals, EACH).await?;
    Ok(count)
}

async fn number(
    connection: &mut PgConnection,
    seller: &Party,
    charges: Vec<Charge>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    for ((series, month), charges) in model::in_series(charges) {
        let count = i32::try_from(charges.len()).unwrap_or(i32::MAX);
        let last = store::take_numbers(connection, series, month, count).await?;
        let mut documents: Vec<Invoice> = Vec::with_capacity(charges.len());
        for (charge, sequence) in charges.into_iter().zip(last - count + 1..) {
            let corrects = match charge.kind {
                Kind::Invoice => None,
                Kind::CreditNote => store::last_number_for(connection, &charge).await?,
            };
            let corrects = corrects.unwrap_or_default();
            documents.push(model::document(charge, sequence, seller, corrects, now));
        }
        store::insert(connection, &documents).await?;
    }
    Ok(())
}
