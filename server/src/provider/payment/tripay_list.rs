//! What was paid at Tripay on a day. Its list knows no dates: it is pages of fifty, by the time transactions were opened. So the first page that may hold one of the day
//! is searched by halves, and then the pages are read on from there. Transactions opened meanwhile come at the end and move nothing.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::provider::payment::json::{items, text, unix};
use crate::provider::payment::tripay::{Tripay, transaction};
use crate::provider::payment::{GatewayError, Transaction, TransactionState};

/// How long before it was paid a transaction may have been opened: payers have a day, and late ones another two.
const BEFORE: TimeDelta = TimeDelta::days(3);
/// Transactions on a page, which is the most that Tripay gives.
const SIZE: &str = "50";
/// Pages read at most: a hundred thousand transactions.
const MOST: i64 = 2000;

struct Page {
    entries: Vec<(DateTime<Utc>, Value)>,
    last: i64,
}

/// See [`crate::provider::payment::Gateway::paid_between`].
pub(super) async fn paid_between(
    tripay: &Tripay,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Transaction>, GatewayError> {
    let mut number = first_page(tripay, from - BEFORE).await?;
    let mut found = Vec::new();
    for _ in 0..MOST {
        let page = read(tripay, number).await?;
        for (opened, entry) in &page.entries {
            if *opened >= until {
                return Ok(found);
            }
            let read = transaction(entry)?;
            let within = read.paid_at.is_some_and(|at| at >= from && at < until);
            if within && read.state == TransactionState::Paid {
                found.push(read);
            }
        }
        if number >= page.last {
            return Ok(found);
        }
        number += 1;
    }
    Err(GatewayError::Rejected(format!(
        "more than {MOST} pages of transactions"
    )))
}

/// The first page whose last transaction was opened at `from` or later; the last page if there is none.
async fn first_page(tripay: &Tripay, from: DateTime<Utc>) -> Result<i64, GatewayError> {
    let (mut low, mut high) = (1, read(tripay, 1).await?.last);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = read(tripay, middle).await?;
        if page
            .entries
            .last()
            .is_some_and(|(opened, _)| *opened < from)
        {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

async fn read(tripay: &Tripay, number: i64) -> Result<Page, GatewayError> {
    let request = tripay.api.get("/merchant/transactions").query(&[
        ("page", number.to_string().as_str()),
        ("per_page", SIZE),
        ("sort", "asc"),
    ]);
    let answer = tripay.call_whole(request).await?;
    let unreadable = |what: &str| GatewayError::Unknown(format!("a list {what}"));
    let pagination = answer.get("pagination").unwrap_or(&Value::Null);
    let last = text(pagination, "last_page").parse();
    let last = last.map_err(|_| unreadable("that does not say how long it is"))?;
    let mut entries: Vec<(DateTime<Utc>, Value)> = Vec::new();
    for entry in items(&answer, "data") {
        let opened = unix(entry, "created_at").ok_or_else(|| unreadable("without times"))?;
        if entries.last().is_some_and(|(before, _)| *before > opened) {
            return Err(unreadable("that is not in the order of time"));
        }
        entries.push((opened, entry.clone()));
    }
    Ok(Page { entries, last })
}
