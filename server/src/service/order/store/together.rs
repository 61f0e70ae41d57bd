//! The one statement that places a batch: idempotency records, wallets, journals, orders, operations and events in a single round trip and a single commit.
//! It writes the tables of five slices, which nothing else may (docs/decisions/0009): the fixed cost of a statement is what a lightly loaded server pays for each
//! order. It either places the whole batch or nothing of it; what does not fit as a whole is decided one by one, each slice writing its own tables
//! ([`crate::service::order::place`]).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind as OperationKind;
use sewa_sdk::sewa::event::v1::EventType;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::db;
use crate::base::db::PgPool;
use crate::base::id::JournalId;
use crate::service::operation::model::WAITING;
use crate::service::order::model::{Move, Payment};
use crate::service::order::place::Placement;
use crate::service::wallet::model::Kind as JournalKind;

/// What the batch takes from each wallet, in the order of their accounts, which is the order in which everybody locks them.
#[derive(Default)]
struct Shares {
    accounts: Vec<Uuid>,
    totals: Vec<i64>,
    firsts: Vec<Uuid>,
    lasts: Vec<Uuid>,
    /// For each order the position of its wallet, from 1 as PostgreSQL counts.
    of_line: Vec<i32>,
    /// For each order what later orders of the batch take from the same wallet: the balance after it is that much above the one at the end.
    rests: Vec<i64>,
}

/// Places all of these orders, or none. False if one of them needs a closer look: a key or client reference was used before, a wallet lacks the money, has
/// promo credit to spend first, is frozen or does not exist yet, or holds a journal with a later id than ours, because the clock of another replica is ahead.
///
/// # Errors
/// Of the database, if it may succeed another time.
pub async fn place(
    pool: &PgPool,
    lines: &[&Placement],
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let Some(first) = lines.first() else {
        return Ok(true);
    };
    let holds: Vec<Uuid> = lines.iter().map(|_| JournalId::new().0).collect();
    let shares = shares(lines, &holds);
    let placed = sqlx::query_scalar!(
        r#"with o as materialized (
            select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::uuid[], $9::uuid[], $10::uuid[], $11::smallint[],
                $12::text[], $13::boolean[], $14::jsonb[], $15::bigint[], $16::bigint[], $17::text[], $18::timestamptz[], $19::text[], $20::jsonb[], $21::timestamptz[],
                $22::timestamptz[], $23::uuid[], $24::bytea[], $25::uuid[], $26::text[], $27::bytea[], $28::bytea[], $29::bytea[], $30::text[], $31::text[], $32::integer[])
            as o (account_id, id, instance_id, operation_id, hold_id, description, rest, plan_id, region_id, image_id, period, hostname, auto_renew, labels, subtotal, tax,
                plan_name, price_until, client_reference, history, created_at, deadline_at, event_id, news, principal_id, key, fingerprint, reply, request, request_id, ip, share)
        ), kept as (
            insert into writes (account_id, principal_id, method, key, fingerprint, code, reply, request, request_id, ip, recorded_at)
            select account_id, principal_id, $33, key, fingerprint, 0, reply, request, request_id, ip, created_at from o
            on conflict do nothing
            returning 1
        ), moved as (
            update balances b set available = b.available - n.total, held = b.held + n.total, last_journal_id = n.last, updated_at = $34
            from unnest($35::uuid[], $36::bigint[], $37::uuid[], $38::uuid[]) with ordinality as n (account_id, total, first, last, number)
            where b.account_id = n.account_id and b.available >= n.total and b.promo = 0 and b.last_journal_id < n.first and b.frozen_at is null
            returning n.number, b.available, b.held
        ), heads as materialized (
            select array_agg(available order by number) as available, array_agg(held order by number) as held from moved
        ), booked as (
            insert into journals (account_id, id, kind, subject_id, description, available, held, available_after, held_after, recorded_at)
            select account_id, hold_id, $39, id, description, -(subtotal + tax), subtotal + tax,
                (select available from heads)[share] + rest, (select held from heads)[share] - rest, $34
            from o
        ), placed as (
            insert into orders (account_id, id, state, payment, plan_id, region_id, image_id, period, hostname, auto_renew, labels, subtotal, tax, total, plan_name,
                price_until, instance_id, operation_id, hold_id, client_reference, history, next_attempt_at, deadline_at, revision, created_at, updated_at)
            select account_id, id, 'PAID', $40, plan_id, region_id, image_id, period, hostname, auto_renew, labels, subtotal, tax, subtotal + tax, plan_name,
                price_until, instance_id, operation_id, hold_id, client_reference, history, created_at, deadline_at, 1, created_at, created_at
            from o
        ), opened as (
            insert into operations (account_id, id, instance_id, order_id, kind, state, step, progress, next_attempt_at, created_at)
            select account_id, operation_id, instance_id, id, $41, 'PENDING', $42, 0, created_at, created_at from o
        ), told as (
            insert into events (account_id, id, type, subject_id, revision, occurred_at, payload)
            select account_id, event_id, $43, id, 1, created_at, news from o where (select available from heads) is not null
        )
        select (1 / ((select count(*) from kept) = cardinality($1::uuid[]) and (select count(*) from moved) = cardinality($35::uuid[]))::integer) = 1 as "placed!""#,
        &each(lines, |l| l.order.account.0),
        &each(lines, |l| l.order.id.0),
        &each(lines, |l| l.order.instance.0),
        &each(lines, |l| l.order.operation.0),
        &holds,
        &each(lines, |l| l.description.as_str()) as &[&str],
        &shares.rests,
        &each(lines, |l| l.order.draft.plan.0),
        &each(lines, |l| l.order.draft.region.0),
        &each(lines, |l| l.order.draft.image.0),
        &each(lines, |l| l.order.draft.period as i16),
        &each(lines, |l| l.order.draft.hostname.as_str()) as &[&str],
        &each(lines, |l| l.order.draft.auto_renew),
        &each(lines, |l| Json(&l.order.draft.labels)) as &[Json<&BTreeMap<String, String>>],
        &each(lines, |l| l.order.quote.subtotal.0),
        &each(lines, |l| l.order.quote.tax.0),
        &each(lines, |l| l.order.quote.plan_name.as_str()) as &[&str],
        &each(lines, |l| l.order.quote.until) as &[Option<DateTime<Utc>>],
        &each(lines, |l| l.order.client_reference.as_deref()) as &[Option<&str>],
        &each(lines, |l| Json(&l.order.history)) as &[Json<&Vec<Move>>],
        &each(lines, |l| l.order.created_at),
        &each(lines, |l| l.order.deadline_at),
        &each(lines, |_| Uuid::now_v7()),
        &each(lines, |l| l.news.as_slice()) as &[&[u8]],
        &each(lines, |l| l.record.principal_id),
        &each(lines, |l| l.record.key.as_str()) as &[&str],
        &each(lines, |l| l.record.fingerprint.as_slice()) as &[&[u8]],
        &each(lines, |l| l.record.reply.as_slice()) as &[&[u8]],
        &each(lines, |l| l.record.request.as_ref()) as &[&[u8]],
        &each(lines, |l| l.record.request_id.as_str()) as &[&str],
        &each(lines, |l| l.record.ip.as_str()) as &[&str],
        &shares.of_line,
        first.record.method,
        now,
        &shares.accounts,
        &shares.totals,
        &shares.firsts,
        &shares.lasts,
        JournalKind::Hold as i16,
        Payment::Wallet as i16,
        OperationKind::Create as i16,
        WAITING,
        EventType::OrderPlaced as i16,
    )
    .fetch_one(pool)
    .await;
    match placed {
        Ok(placed) => Ok(placed),
        Err(error) if error.as_database_error().is_some() && !db::is_transient(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn each<'a, T>(lines: &[&'a Placement], of: impl Fn(&'a Placement) -> T) -> Vec<T> {
    lines.iter().map(|line| of(line)).collect()
}

fn shares(lines: &[&Placement], holds: &[Uuid]) -> Shares {
    let mut wallets: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (i, line) in lines.iter().enumerate() {
        wallets.entry(line.order.account.0).or_default().push(i);
    }
    let mut shares = Shares {
        of_line: vec![0; lines.len()],
        rests: vec![0; lines.len()],
        ..Shares::default()
    };
    for (number, (account, positions)) in (1..).zip(wallets) {
        let mut total = 0;
        for &i in positions.iter().rev() {
            shares.of_line[i] = number;
            shares.rests[i] = total;
            total += lines[i].order.quote.total.0;
        }
        shares.accounts.push(account);
        shares.totals.push(total);
        shares.firsts.push(holds[positions[0]]);
        shares.lasts.push(holds[positions[positions.len() - 1]]);
    }
    shares
}
