//! The proof of a day: what every gateway says was paid against our payments, payments against the ledger, the ledger against invoices, and kept figures against the
//! ledger.
//!
//! A gateway's day are the transactions it calls paid within it; ours, the payments written down within it. Each is looked for on the other side whenever it
//! happened there, so a payment around midnight is no difference. No transaction is open while a gateway is asked.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use uuid::Uuid;

use crate::app::App;
use crate::provider::payment::registry::Entry;
use crate::provider::payment::{GatewayError, Transaction, TransactionState};
use crate::service::report::compare::{self, Comparison, Difference, GatewayResult, Kind};
use crate::service::report::model::{Figures, NAMES, Range};
use crate::service::report::store::proof::{Ours, Undocumented};
use crate::service::report::store::runs::Outcome;
use crate::service::report::store::{self, proof};

/// Transactions of one gateway that are looked up one by one at most.
const LOOK_UPS: usize = 2000;
/// Looked up at once.
const CONCURRENT: usize = 4;
/// How long before the day a deposit may have been opened that was paid on it.
const BEFORE: TimeDelta = TimeDelta::days(3);
/// Differences of one kind that are named at most.
const MOST: i64 = 10_000;
/// How long a charge may wait for its invoice.
const COURTESY: TimeDelta = TimeDelta::minutes(5);

/// A day, and what was paid on it.
struct Day {
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    paid: Vec<Ours>,
    reversed: Vec<Ours>,
}

/// Proves a day.
///
/// # Errors
/// Of the database. A gateway that fails makes the outcome incomplete.
pub async fn run(app: &App, day: NaiveDate) -> Result<Outcome, sqlx::Error> {
    let (from, until) = Range::of(day).moments();
    let (paid, reversed) = proof::payments_within(&app.db, from, until).await?;
    let day_of = Day {
        from,
        until,
        paid,
        reversed,
    };
    let mut differences = Vec::new();
    let gateways = gateways(app, &day_of, &mut differences).await?;
    differences.extend(ledger(app, from, until).await?);
    differences.extend(invoices(app, from, until).await?);
    differences.extend(figures(app, day).await?);
    let documented = proof::documented(&app.db, from, until).await?;
    Ok(Outcome {
        complete: gateways
            .iter()
            .all(|gateway| gateway.comparison != Comparison::Incomplete),
        gateways,
        charges: documented.charges,
        charged: documented.charged,
        invoiced: documented.invoiced,
        differences,
    })
}

/// Compares every gateway that is set up, and every other one that has payments on the day.
async fn gateways(
    app: &App,
    day: &Day,
    differences: &mut Vec<Difference>,
) -> Result<Vec<GatewayResult>, sqlx::Error> {
    let set_up = app.gateways.all().iter().map(|e| compare::number(e.method));
    let paid = day.paid.iter().chain(&day.reversed).map(|ours| ours.method);
    let methods: BTreeSet<i16> = set_up.chain(paid).collect();
    let mut results = Vec::new();
    for method in methods {
        let ours = day.paid.iter().filter(|ours| ours.method == method);
        let mut result = GatewayResult {
            method,
            comparison: Comparison::Incomplete,
            payments: 0,
            paid: 0,
            gateway_payments: 0,
            gateway_paid: 0,
            fees: 0,
            note: String::new(),
        };
        for ours in ours {
            result.payments += 1;
            result.paid += ours.paid;
            result.fees += ours.fee.unwrap_or(0);
        }
        let entry = Method::try_from(i32::from(method)).ok();
        match entry.and_then(|method| app.gateways.of(method)) {
            None => "the gateway is not set up any more".clone_into(&mut result.note),
            Some(entry) => {
                let capabilities = entry.gateway.capabilities();
                let compared = if capabilities.lists {
                    with_list(app, entry, day, &mut result, differences).await
                } else if capabilities.answers {
                    one_by_one(app, entry, day, &mut result, differences).await
                } else {
                    result.comparison = Comparison::OursOnly;
                    Ok(())
                };
                match compared {
                    Ok(()) => {}
                    Err(Failure::Gateway(error)) => {
                        result.comparison = Comparison::Incomplete;
                        result.note = format!("the gateway failed: {error}");
                    }
                    Err(Failure::Database(error)) => return Err(error),
                }
            }
        }
        results.push(result);
    }
    Ok(results)
}

/// Why a gateway could not be compared.
enum Failure {
    Gateway(GatewayError),
    Database(sqlx::Error),
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        Self::Gateway(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn with_list(
    app: &App,
    entry: &Entry,
    day: &Day,
    result: &mut GatewayResult,
    differences: &mut Vec<Difference>,
) -> Result<(), Failure> {
    let asked = entry.gateway.paid_between(day.from, day.until);
    let listed = entry.call(asked).await?;
    result.comparison = Comparison::List;
    result.gateway_payments = i64::try_from(listed.len()).unwrap_or(i64::MAX);
    result.gateway_paid = listed.iter().map(|said| said.total.0).sum();
    let method = result.method;
    let references: Vec<String> = listed.iter().map(|said| said.gateway_ref.clone()).collect();
    let known = proof::payments_named(&app.db, method, &references).await?;
    let (found, unknown): (Vec<&Transaction>, Vec<&Transaction>) = listed
        .iter()
        .partition(|said| known.contains_key(&said.gateway_ref));
    let said = found
        .iter()
        .filter_map(|said| Some((known.get(&said.gateway_ref)?, *said)));
    differences.extend(said.flat_map(|(ours, said)| compare::known(ours, Some(said))));
    only_there(app, method, &unknown, differences).await?;
    // What we have and the list has not: paid there on another day, taken back since, or not at all.
    let listed: HashSet<&str> = references.iter().map(String::as_str).collect();
    let ours = day.paid.iter().chain(&day.reversed);
    let missing = ours.filter(|ours| !listed.contains(ours.gateway_ref.as_str()));
    look_up(
        entry,
        missing.filter(|ours| ours.method == method),
        result,
        differences,
    )
    .await
}

async fn one_by_one(
    app: &App,
    entry: &Entry,
    day: &Day,
    result: &mut GatewayResult,
    differences: &mut Vec<Difference>,
) -> Result<(), Failure> {
    let method = result.method;
    result.comparison = Comparison::LookUp;
    let ours = day.paid.iter().chain(&day.reversed);
    look_up(
        entry,
        ours.filter(|ours| ours.method == method),
        result,
        differences,
    )
    .await?;
    // What may have been paid and never came to our books.
    let most = i64::try_from(LOOK_UPS).unwrap_or(i64::MAX);
    let (from, until) = (day.from - BEFORE, day.until);
    let asked = proof::unpaid_within(&app.db, method, from, until, most).await?;
    if asked.len() >= LOOK_UPS {
        result.comparison = Comparison::Incomplete;
        result.note = format!("only {LOOK_UPS} deposits without a payment were looked up");
    }
    let references = asked.iter().map(|asked| asked.id.to_string());
    let references: Vec<String> = references.collect();
    let looked = references
        .into_iter()
        .map(|reference| async move { entry.call(entry.gateway.find(&reference)).await });
    let looked: Vec<_> = futures_util::stream::iter(looked)
        .buffered(CONCURRENT)
        .collect()
        .await;
    let mut unknown = Vec::new();
    for transactions in looked {
        unknown.extend(transactions?.into_iter().filter(|said| {
            let within = said
                .paid_at
                .is_none_or(|at| at >= day.from && at < day.until);
            said.state == TransactionState::Paid && within
        }));
    }
    for said in &unknown {
        result.gateway_payments += 1;
        result.gateway_paid += said.total.0;
    }
    only_there(
        app,
        method,
        &unknown.iter().collect::<Vec<_>>(),
        differences,
    )
    .await?;
    Ok(())
}

/// Names what the gateway was paid and we know nothing of.
async fn only_there(
    app: &App,
    method: i16,
    unknown: &[&Transaction],
    differences: &mut Vec<Difference>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = unknown
        .iter()
        .filter_map(|said| said.reference.parse().ok())
        .collect();
    let deposits = proof::deposits_named(&app.db, &ids).await?;
    let named = unknown
        .iter()
        .map(|said| compare::unknown(method, said, &deposits));
    // What went back before we saw it moved nothing on either side.
    differences.extend(named.filter(|difference| difference.amount() != 0));
    Ok(())
}

/// Asks the gateway about each of these payments.
async fn look_up<'o>(
    entry: &Entry,
    ours: impl Iterator<Item = &'o Ours>,
    result: &mut GatewayResult,
    differences: &mut Vec<Difference>,
) -> Result<(), Failure> {
    let mut ours: Vec<&Ours> = ours.collect();
    // A payment that came and went on one day is in both lists.
    ours.sort_by(|a, b| a.gateway_ref.cmp(&b.gateway_ref));
    ours.dedup_by(|a, b| a.gateway_ref == b.gateway_ref);
    if ours.len() > LOOK_UPS {
        let left_out = ours.len() - LOOK_UPS;
        ours.truncate(LOOK_UPS);
        result.comparison = Comparison::Incomplete;
        result.note = format!("{left_out} payments of ours were not looked up");
    }
    let is_listed = result.comparison == Comparison::List;
    let ours: Vec<Ours> = ours.into_iter().cloned().collect();
    let looked = ours.into_iter().map(|ours| async move {
        let said = entry.call(entry.gateway.get(&ours.gateway_ref)).await;
        said.map(|said| (ours, said))
    });
    let looked: Vec<_> = futures_util::stream::iter(looked)
        .buffered(CONCURRENT)
        .collect()
        .await;
    for one in looked {
        let (ours, said) = one?;
        if let Some(said) = said
            .as_ref()
            .filter(|s| s.state == TransactionState::Paid && !is_listed)
        {
            result.gateway_payments += 1;
            result.gateway_paid += said.total.0;
        }
        differences.extend(compare::known(&ours, said.as_ref()));
    }
    Ok(())
}

async fn ledger(
    app: &App,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Difference>, sqlx::Error> {
    let unequal = proof::payments_against_ledger(&app.db, from, until, MOST).await?;
    let differs = |u: proof::Unequal| {
        let (moved, credited) = (u.moved, u.credited);
        let cause = format!(
            "journals of the day moved {moved} for the deposit; its payments of the day credited {credited}"
        );
        Difference {
            account: Some(u.account),
            deposit: Some(u.deposit),
            ..Difference::new(Kind::LedgerDiffers, moved, credited, cause)
        }
    };
    Ok(unequal.into_iter().map(differs).collect())
}

async fn invoices(
    app: &App,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Difference>, sqlx::Error> {
    let settled = until.min(app.clock.now() - COURTESY);
    let mut found = proof::ledger_against_invoices(&app.db, from, settled, MOST).await?;
    found.extend(proof::invoices_without_charge(&app.db, from, until, MOST).await?);
    let issues = app.config.seller.party().is_some();
    let differs = |u: Undocumented| {
        let (moved, invoiced) = (u.moved.unwrap_or(0), u.invoiced.unwrap_or(0));
        let number = u.number.unwrap_or_default();
        let (kind, cause) = match (u.moved, u.invoice) {
            (Some(_), None) if issues => (
                Kind::InvoiceMissing,
                format!("the ledger moved {moved} and there is no invoice or credit note for it"),
            ),
            (Some(_), None) => (
                Kind::InvoiceMissing,
                format!(
                    "the ledger moved {moved} and no invoice is issued while the settings name no seller"
                ),
            ),
            (Some(_), Some(_)) => (
                Kind::InvoiceDiffers,
                format!(
                    "the ledger moved {moved}; {number} says {invoiced}, or divides it otherwise into price and tax"
                ),
            ),
            (None, _) => (
                Kind::InvoiceWithoutCharge,
                format!("{number} says {invoiced}, and the ledger has no such charge or refund"),
            ),
        };
        Difference {
            account: Some(u.account),
            journal: Some(u.journal),
            invoice: u.invoice,
            ..Difference::new(kind, moved, invoiced, cause)
        }
    };
    Ok(found.into_iter().map(differs).collect())
}

/// Compares what is kept of the day for reports with the ledger, and keeps what that says. A day of which orders were open is kept anew without a word.
async fn figures(app: &App, day: NaiveDate) -> Result<Vec<Difference>, sqlx::Error> {
    let mut tx = app.db.begin().await?;
    let kept = store::kept(&mut tx, Range::of(day)).await?;
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let now = store::sums(&mut tx, Range::of(day)).await?;
    let was_final = kept.iter().all(|f| f.orders_open == 0);
    let differences = match was_final {
        true => differing(&now, &kept),
        false => Vec::new(),
    };
    store::keep(&mut tx, day, &now, app.clock.now()).await?;
    tx.commit().await?;
    Ok(differences)
}

fn differing(now: &[Figures], kept: &[Figures]) -> Vec<Difference> {
    let plans: BTreeSet<Uuid> = now.iter().chain(kept).map(|f| f.plan).collect();
    let of = |figures: &[Figures], plan| {
        let found = figures.iter().find(|f| f.plan == plan);
        found.copied().unwrap_or_default().values()
    };
    let mut found = Vec::new();
    for plan in plans {
        let pairs = of(now, plan).into_iter().zip(of(kept, plan));
        for (name, (ours, theirs)) in NAMES.into_iter().zip(pairs) {
            if ours != theirs {
                let cause = format!(
                    "{name} of plan {plan} is {ours} by the ledger and orders, and was kept as {theirs}"
                );
                found.push(Difference::new(
                    Kind::KeptFiguresDiffer,
                    ours,
                    theirs,
                    cause,
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_figures_are_compared_one_by_one() {
        let one = |plan: u128, charged| Figures {
            plan: Uuid::from_u128(plan),
            charged,
            orders_placed: 1,
            ..Figures::default()
        };
        assert_eq!(differing(&[one(1, 100)], &[one(1, 100)]), []);
        let found = differing(&[one(1, 100), one(2, 50)], &[one(1, 90)]);
        let seen: Vec<(i64, i64)> = found.iter().map(|d| (d.ours, d.theirs)).collect();
        assert_eq!(seen, [(100, 90), (50, 0), (1, 0)]);
        assert!(found[0].cause.starts_with("charged of plan"));
    }
}
