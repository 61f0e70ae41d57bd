//! The proof: recomputes from the journals what balances, orders, subscriptions and deposits say about money, within one snapshot, and names every row that differs.
//!
//! One library for all who ask: `sewa prove`, ProveLedger, every test when it ends, and the guard that looks all the time (`guard.rs`). It reads what all slices
//! wrote and takes nobody's word, constraints of tables included. Every rule holds after every commit, so a finding is never a matter of time.

mod books;
mod changes;
mod deposits;
pub mod guard;
mod orders;
mod periods;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::wallet::v1::{LedgerFinding, LedgerProof};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::AccountId;
use crate::base::time;

/// Findings of one rule that are reported at most.
const MAX_FINDINGS: i64 = 1000;

/// Which accounts are looked at: those with ids between the two, both included.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// The first id.
    pub first: Uuid,
    /// The last id.
    pub last: Uuid,
}

impl Scope {
    /// Every account, and rows of accounts that do not exist.
    pub const ALL: Self = Self {
        first: Uuid::nil(),
        last: Uuid::max(),
    };

    /// One account.
    pub fn of(account: AccountId) -> Self {
        Self {
            first: account.0,
            last: account.0,
        }
    }
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose row it is; `None` if the difference is that of all books together.
    pub account: Option<AccountId>,
    /// The table of the row; empty if it is no single one.
    pub table: &'static str,
    /// The key of the row within its account.
    pub id: Option<Uuid>,
    /// The rule that does not hold.
    pub rule: String,
    /// What is there and what should be.
    pub detail: String,
}

impl Finding {
    /// The row, for people: its table and its key.
    pub fn row(&self) -> String {
        match self.id {
            Some(id) => format!("{} {id}", self.table),
            None => self.table.to_owned(),
        }
    }

    fn to_proto(&self) -> LedgerFinding {
        let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        LedgerFinding {
            account_id: text(self.account.map(|a| a.0)),
            journal_id: text(self.id.filter(|_| self.table == "journals")),
            rule: self.rule.clone(),
            detail: self.detail.clone(),
            row: self.row(),
        }
    }
}

/// A row that breaks a rule, as the queries of the rules give it.
struct Broken {
    account: Uuid,
    id: Uuid,
    rule: String,
    detail: String,
}

fn findings(table: &'static str, broken: Vec<Broken>) -> impl Iterator<Item = Finding> {
    broken.into_iter().map(move |b| Finding {
        account: Some(AccountId(b.account)),
        table,
        id: Some(b.id),
        rule: b.rule,
        detail: b.detail,
    })
}

/// What a proof came to.
#[derive(Debug)]
pub struct Proof {
    /// Accounts that have journals.
    pub accounts: i64,
    /// Journals looked at.
    pub journals: i64,
    /// Sum of the postings of each ledger account, whole rupiah.
    pub trial_balance: HashMap<String, i64>,
    /// What differs.
    pub findings: Vec<Finding>,
    /// When the snapshot was taken.
    pub snapshot_at: DateTime<Utc>,
}

impl Proof {
    /// As the contract shows it.
    pub fn to_proto(&self) -> LedgerProof {
        let most = usize::try_from(MAX_FINDINGS).unwrap_or(usize::MAX);
        LedgerProof {
            proved: self.findings.is_empty(),
            accounts: self.accounts,
            journals: self.journals,
            trial_balance: self.trial_balance.clone(),
            findings: self
                .findings
                .iter()
                .take(most)
                .map(Finding::to_proto)
                .collect(),
            snapshot_time: Some(time::to_proto(self.snapshot_at)),
        }
    }
}

/// Proves the books of the accounts in `scope`.
///
/// # Errors
/// Of the database.
pub async fn prove(pool: &PgPool, scope: Scope) -> Result<Proof, sqlx::Error> {
    let mut tx = pool.begin().await?;
    books::use_one_snapshot(&mut tx).await?;
    let mut proof = books::totals(&mut tx, scope).await?;
    let total: i64 = proof.trial_balance.values().sum();
    if total != 0 {
        proof.findings.push(Finding {
            account: None,
            table: "journals",
            id: None,
            rule: "trial_balance_is_zero".to_owned(),
            detail: format!("the ledger accounts add up to {total}"),
        });
    }
    proof.findings.extend(rows(&mut tx, scope).await?);
    tx.rollback().await?;
    Ok(proof)
}

/// Looks at the rows of the accounts in `scope`, without the totals.
///
/// # Errors
/// Of the database.
pub async fn look(pool: &PgPool, scope: Scope) -> Result<Vec<Finding>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    books::use_one_snapshot(&mut tx).await?;
    let found = rows(&mut tx, scope).await?;
    tx.rollback().await?;
    Ok(found)
}

async fn rows(connection: &mut PgConnection, scope: Scope) -> Result<Vec<Finding>, sqlx::Error> {
    let mut found = Vec::new();
    // The journals first: what is wrong with them is the reason for what follows.
    found.extend(books::journals(connection, scope).await?);
    found.extend(books::holds(connection, scope).await?);
    found.extend(books::balances(connection, scope).await?);
    found.extend(orders::look(connection, scope).await?);
    found.extend(periods::look(connection, scope).await?);
    found.extend(changes::look(connection, scope).await?);
    found.extend(deposits::look(connection, scope).await?);
    Ok(found)
}
