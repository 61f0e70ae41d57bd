//! Reports and statements as CSV, read and sent a piece at a time: what is held in memory does not grow with the report.

use std::pin::Pin;

use async_stream::try_stream;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::Stream;
use sewa_sdk::sewa::report::v1::receivable::{Age as ShownAge, Kind as OwedKind};
use sewa_sdk::sewa::report::v1::reconciliation_difference::Kind as DifferenceKind;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use uuid::Uuid;

use crate::app::App;
use crate::base::id::{AccountId, ReconciliationId};
use crate::base::time;
use crate::service::report::csv::{Field, Table};
use crate::service::report::model::{self, Age, Balances, Interval, Range};
use crate::service::report::store::owed::{self, Owed};
use crate::service::report::store::transactions::{self, Filter, LEDGER_ACCOUNTS, Moved};
use crate::service::report::store::{runs, statement};
use crate::service::report::{self, store};

/// Rows read at once, and sent as one piece.
const CHUNK: i64 = 1000;

/// Pieces of a document.
pub type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, sqlx::Error>> + Send>>;

fn shown(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn is_last<T>(rows: &[T]) -> bool {
    i64::try_from(rows.len()).unwrap_or(i64::MAX) < CHUNK
}

/// The name of a value of an enum without its prefix.
fn bare(name: &'static str) -> &'static str {
    name.split_once('_').map_or(name, |(_, rest)| rest)
}

fn kind(number: i16) -> &'static str {
    bare(
        Kind::try_from(i32::from(number))
            .unwrap_or_default()
            .as_str_name(),
    )
}

fn maybe(id: Option<Uuid>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn unless_nil(id: Uuid) -> String {
    maybe(Some(id).filter(|id| !id.is_nil()))
}

/// Movements.
pub fn movements(app: App, filter: Filter) -> Pieces {
    Box::pin(try_stream! {
        let mut table = Table::default();
        let names = ["id", "time", "account_id", "account_name", "kind", "description", "subject_id"];
        table.head(&[&names[..], &LEDGER_ACCOUNTS[..]].concat());
        let mut before = None;
        loop {
            let rows = transactions::search(&app.db, &filter, before, CHUNK).await?;
            rows.iter().for_each(|moved| movement(&mut table, moved));
            before = rows.last().map(Moved::place);
            yield table.take();
            if is_last(&rows) {
                break;
            }
        }
    })
}

fn movement(table: &mut Table, moved: &Moved) {
    let (id, at) = (moved.id.to_string(), shown(moved.at));
    let (account, subject) = (moved.account.to_string(), unless_nil(moved.subject));
    let mut row: Vec<Field<'_>> = vec![
        (&id).into(),
        (&at).into(),
        (&account).into(),
        (&moved.account_name).into(),
        kind(moved.kind).into(),
        (&moved.description).into(),
        (&subject).into(),
    ];
    row.extend(moved.postings.iter().map(|amount| Field::Number(*amount)));
    table.row(&row);
}

/// What is owed.
pub fn receivables(app: App) -> Pieces {
    Box::pin(try_stream! {
        let now = app.clock.now();
        let mut table = Table::default();
        table.head(&["account_id", "account_name", "kind", "subject_id", "hostname", "amount", "due_time", "age"]);
        let mut after = None;
        loop {
            let rows = owed::list(&app.db, after, CHUNK).await?;
            rows.iter().for_each(|owed| receivable(&mut table, owed, now));
            after = rows.last().map(Owed::place);
            yield table.take();
            if is_last(&rows) {
                break;
            }
        }
    })
}

fn receivable(table: &mut Table, owed: &Owed, now: DateTime<Utc>) {
    let what = OwedKind::try_from(i32::from(owed.kind)).unwrap_or_default();
    let age = ShownAge::try_from(Age::of(owed.due, now) as i32).unwrap_or_default();
    table.row(&[
        (&owed.account.to_string()).into(),
        (&owed.account_name).into(),
        bare(what.as_str_name()).into(),
        (&owed.subject.to_string()).into(),
        (&owed.hostname).into(),
        owed.amount().0.into(),
        (&shown(owed.due)).into(),
        bare(age.as_str_name()).into(),
    ]);
}

/// Earnings.
pub fn revenue(app: App, days: Range, interval: Interval) -> Pieces {
    Box::pin(try_stream! {
        let figures = report::figures(&app.db, days, time::day_of(app.clock.now())).await?;
        let mut table = Table::default();
        table.head(&[
            "start_date", "end_date", "charges", "charged", "refunds", "refunded", "revenue", "tax", "paid_in", "paid_back", "gateway_fees", "promotions",
            "adjustments",
        ]);
        for (row, f) in model::rows(&figures, &interval.cut(days)) {
            table.row(&[
                (&row.start.to_string()).into(),
                (&row.end.to_string()).into(),
                f.charges.into(),
                f.charged.into(),
                f.refunds.into(),
                f.refunded.into(),
                f.revenue().into(),
                (f.charged_tax - f.refunded_tax).into(),
                f.paid_in.into(),
                f.paid_back.into(),
                f.gateway_fees.into(),
                f.promotions.into(),
                f.adjustments.into(),
            ]);
        }
        yield table.take();
    })
}

/// Sales by plan.
pub fn plan_sales(app: App, days: Range) -> Pieces {
    Box::pin(try_stream! {
        let figures = report::figures(&app.db, days, time::day_of(app.clock.now())).await?;
        let plans = model::by_plan(&figures);
        let ids: Vec<Uuid> = plans.iter().map(|f| f.plan).collect();
        let names = store::plan_names(&app.db, &ids).await?;
        let mut table = Table::default();
        table.head(&["plan_id", "plan_name", "orders_placed", "orders_active", "revenue"]);
        for f in &plans {
            let name = names.iter().find(|(id, _)| *id == f.plan);
            table.row(&[
                (&unless_nil(f.plan)).into(),
                name.map_or("", |(_, name)| name.as_str()).into(),
                f.orders_placed.into(),
                f.orders_active.into(),
                f.revenue().into(),
            ]);
        }
        yield table.take();
    })
}

/// Orders by day.
pub fn order_counts(app: App, days: Range) -> Pieces {
    Box::pin(try_stream! {
        let figures = report::figures(&app.db, days, time::day_of(app.clock.now())).await?;
        let mut table = Table::default();
        table.head(&["day", "placed", "active", "refunded", "cancelled", "expired", "open"]);
        for (row, f) in model::rows(&figures, &Interval::Day.cut(days)) {
            table.row(&[
                (&row.start.to_string()).into(),
                f.orders_placed.into(),
                f.orders_active.into(),
                f.orders_refunded.into(),
                f.orders_cancelled.into(),
                f.orders_expired.into(),
                f.orders_open.into(),
            ]);
        }
        yield table.take();
    })
}

/// What a proof found.
pub fn differences(app: App, run: ReconciliationId) -> Pieces {
    Box::pin(try_stream! {
        let mut table = Table::default();
        table.head(&[
            "number", "kind", "ours", "theirs", "difference", "method", "gateway_reference", "account_id", "deposit_id", "journal_id", "invoice_id", "cause",
        ]);
        let mut after = 0;
        loop {
            let rows = runs::differences(&app.db, run, after, CHUNK).await?;
            rows.iter().for_each(|d| difference(&mut table, d));
            after = rows.last().map_or(after, |d| d.number);
            yield table.take();
            if is_last(&rows) {
                break;
            }
        }
    })
}

fn difference(table: &mut Table, d: &runs::Numbered) {
    let what = DifferenceKind::try_from(i32::from(d.kind)).unwrap_or_default();
    let method = Method::try_from(i32::from(d.method)).unwrap_or_default();
    let method = Some(method).filter(|m| *m != Method::Unspecified);
    table.row(&[
        i64::from(d.number).into(),
        bare(what.as_str_name()).into(),
        d.ours.into(),
        d.theirs.into(),
        d.ours.saturating_sub(d.theirs).into(),
        method
            .map_or("", |method| bare(method.as_str_name()))
            .into(),
        (&d.gateway_ref).into(),
        (&maybe(d.account)).into(),
        (&maybe(d.deposit)).into(),
        (&maybe(d.journal)).into(),
        (&maybe(d.invoice)).into(),
        (&d.cause).into(),
    ]);
}

/// A statement, from the balances before to those after.
pub fn statement(app: App, account: AccountId, days: Range) -> Pieces {
    Box::pin(try_stream! {
        let whole = report::statement(&app.db, account, days).await?;
        let mut table = Table::default();
        table.head(&["time", "kind", "description", "subject_id", "journal_id", "available", "held", "promo", "withdrawable", "tax", "available_after", "held_after"]);
        balance(&mut table, "OPENING", &whole.opening);
        let (from, until) = days.moments();
        let mut after = None;
        loop {
            let lines = statement::lines(&app.db, account, (from, until), after, CHUNK).await?;
            for line in &lines {
                table.row(&[
                    (&shown(line.recorded_at)).into(),
                    kind(line.kind).into(),
                    (&line.description).into(),
                    (&unless_nil(line.subject)).into(),
                    (&line.id.to_string()).into(),
                    line.available.0.into(),
                    line.held.0.into(),
                    line.promo.0.into(),
                    line.withdrawable.0.into(),
                    line.ppn_payable.0.into(),
                    line.available_after.0.into(),
                    line.held_after.0.into(),
                ]);
            }
            after = lines.last().map(|line| line.id.0);
            let last = is_last(&lines);
            if last {
                balance(&mut table, "CLOSING", &whole.closing);
            }
            yield table.take();
            if last {
                break;
            }
        }
    })
}

fn balance(table: &mut Table, what: &'static str, b: &Balances) {
    table.row(&[
        "".into(),
        what.into(),
        "".into(),
        "".into(),
        "".into(),
        b.available.0.into(),
        b.held.0.into(),
        b.promo.0.into(),
        b.withdrawable.0.into(),
        "".into(),
        "".into(),
        "".into(),
    ]);
}
