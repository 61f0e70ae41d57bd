//! The SQL of what the proof of a day compares: payments, deposits, journals and invoices.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::db::PgPool;

/// A payment in our books, with what was taken back of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Whose money.
    pub account: Uuid,
    /// The deposit.
    pub deposit: Uuid,
    /// Number of the way to pay.
    pub method: i16,
    /// The gateway's reference.
    pub gateway_ref: String,
    /// What was paid.
    pub paid: i64,
    /// What was credited of it.
    pub credited: i64,
    /// What the gateway kept, as it was posted.
    pub fee: Option<i64>,
    /// What was taken back.
    pub reversed: i64,
}

/// The payments of a span of time, and those of which something was taken back in it.
///
/// # Errors
/// Of the database.
pub async fn payments_within(
    pool: &PgPool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<(Vec<Ours>, Vec<Ours>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"with named as (
            select distinct p.account_id, p.deposit_id, p.method, p.gateway_ref, p.kind = 6 as is_reversal
            from payments p join accounts a on a.id = p.account_id and not a.sandbox
            where p.recorded_at >= $1 and p.recorded_at < $2
        )
        select n.is_reversal as "is_reversal!", p.account_id, p.deposit_id, p.method, p.gateway_ref, p.paid, p.credited, p.gateway_fee,
            (select coalesce(sum(v.paid), 0)::bigint from payments v
                where v.account_id = p.account_id and v.deposit_id = p.deposit_id and v.kind = 6 and v.gateway_ref = p.gateway_ref) as "reversed!"
        from named n
        join payments p on p.account_id = n.account_id and p.deposit_id = n.deposit_id and p.method = n.method and p.gateway_ref = n.gateway_ref and p.kind <> 6
        order by p.id"#,
        from,
        until,
    )
    .fetch_all(pool)
    .await?;
    let (mut paid, mut reversed) = (Vec::new(), Vec::new());
    for r in rows {
        let ours = Ours {
            account: r.account_id,
            deposit: r.deposit_id,
            method: r.method,
            gateway_ref: r.gateway_ref,
            paid: r.paid,
            credited: r.credited,
            fee: r.gateway_fee,
            reversed: r.reversed,
        };
        if r.is_reversal {
            reversed.push(ours);
        } else {
            paid.push(ours);
        }
    }
    Ok((paid, reversed))
}

/// The payments that gateways name so, by their references, whenever they came.
///
/// # Errors
/// Of the database.
pub async fn payments_named(
    pool: &PgPool,
    method: i16,
    references: &[String],
) -> Result<HashMap<String, Ours>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Ours,
        r#"select p.account_id as account, p.deposit_id as deposit, p.method, p.gateway_ref, p.paid, p.credited, p.gateway_fee as fee,
            (select coalesce(sum(v.paid), 0)::bigint from payments v
                where v.account_id = p.account_id and v.deposit_id = p.deposit_id and v.kind = 6 and v.gateway_ref = p.gateway_ref) as "reversed!"
        from payments p where p.method = $1 and p.gateway_ref = any($2) and p.kind <> 6"#,
        method,
        references,
    )
    .fetch_all(pool)
    .await?;
    let named = rows
        .into_iter()
        .map(|ours| (ours.gateway_ref.clone(), ours));
    Ok(named.collect())
}

/// A deposit, as far as the proof wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose.
    pub account: Uuid,
    /// Identifier.
    pub id: Uuid,
    /// How far it is.
    pub state: String,
}

/// Deposits by their ids.
///
/// # Errors
/// Of the database.
pub async fn deposits_named(
    pool: &PgPool,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Asked>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Asked,
        "select account_id as account, id, state from deposits where id = any($1)",
        ids
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|asked| (asked.id, asked)).collect())
}

/// Deposits by one way to pay that were opened in a span of time and have no payment, oldest first.
///
/// # Errors
/// Of the database.
pub async fn unpaid_within(
    pool: &PgPool,
    method: i16,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Asked>, sqlx::Error> {
    sqlx::query_as!(
        Asked,
        "select d.account_id as account, d.id, d.state from deposits d join accounts a on a.id = d.account_id and not a.sandbox
        where d.method = $1 and d.created_at >= $2 and d.created_at < $3
            and not exists (select from payments p where p.account_id = d.account_id and p.deposit_id = d.id)
        order by d.created_at, d.id limit $4",
        method,
        from,
        until,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// A deposit for which payments and journals of a day say different things.
pub struct Unequal {
    /// Whose money.
    pub account: Uuid,
    /// The deposit, or what else the journals name.
    pub deposit: Uuid,
    /// What journals moved.
    pub moved: i64,
    /// What payments credited.
    pub credited: i64,
}

/// Deposits of a span of time whose payments credited something else than journals moved.
///
/// # Errors
/// Of the database.
pub async fn payments_against_ledger(
    pool: &PgPool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Unequal>, sqlx::Error> {
    sqlx::query_as!(
        Unequal,
        r#"with came as (
            select account_id, deposit_id, sum(credited)::bigint as credited from payments where recorded_at >= $1 and recorded_at < $2 group by 1, 2
        ), moved as (
            select account_id, subject_id, sum(available + held)::bigint as moved, bool_or(kind <> 2) as named from journals
            where recorded_at >= $1 and recorded_at < $2 and (kind in (1, 8) or (kind = 2 and (cash_in <> 0 or gateway_fee <> 0))) group by 1, 2
        ), both_sides as (
            select coalesce(c.account_id, m.account_id) as account_id, coalesce(c.deposit_id, m.subject_id) as deposit_id, coalesce(m.moved, 0) as moved,
                coalesce(c.credited, 0) as credited, c.account_id is null and not m.named as by_staff
            from came c full join moved m on m.account_id = c.account_id and m.subject_id = c.deposit_id
        )
        select b.account_id as "account!", b.deposit_id as "deposit!", b.moved as "moved!", b.credited as "credited!"
        from both_sides b join accounts a on a.id = b.account_id and not a.sandbox
        where b.moved <> b.credited and not b.by_staff
        order by b.account_id, b.deposit_id limit $3"#,
        from,
        until,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// A charge or refund and its document, of which one is missing or both differ. Charges are positive, refunds negative; all with tax.
pub struct Undocumented {
    /// Whose.
    pub account: Uuid,
    /// The journal.
    pub journal: Uuid,
    /// What it moved.
    pub moved: Option<i64>,
    /// The document.
    pub invoice: Option<Uuid>,
    /// What it says.
    pub invoiced: Option<i64>,
    /// Its number, for people.
    pub number: Option<String>,
}

/// Charges and refunds of a span of time that have no document, or one that says something else.
///
/// # Errors
/// Of the database.
pub async fn ledger_against_invoices(
    pool: &PgPool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Undocumented>, sqlx::Error> {
    sqlx::query_as!(
        Undocumented,
        r#"select j.account_id as account, j.id as journal, j.revenue + j.refund + j.ppn_payable as moved, x.id as "invoice?",
            case x.kind when 2 then -x.total else x.total end as invoiced, x.series || '/' || to_char(x.month, 'YYYYMM') || '/' || lpad(x.sequence::text, 6, '0') as number
        from journals j
        join accounts a on a.id = j.account_id and not a.sandbox
        left join invoices x on x.account_id = j.account_id and x.journal_id = j.id
        where j.recorded_at >= $1 and j.recorded_at < $2 and j.kind in (3, 5, 6) and j.revenue + j.refund + j.ppn_payable <> 0
            and (x.id is null or x.net <> abs(j.revenue + j.refund) or x.tax <> abs(j.ppn_payable) or (x.kind = 2) <> (j.kind = 6))
        order by j.id limit $3"#,
        from,
        until,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Documents of a span of time for which the ledger has no charge or refund.
///
/// # Errors
/// Of the database.
pub async fn invoices_without_charge(
    pool: &PgPool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Undocumented>, sqlx::Error> {
    sqlx::query_as!(
        Undocumented,
        r#"select x.account_id as account, x.journal_id as journal, null::bigint as moved, x.id as "invoice?",
            case x.kind when 2 then -x.total else x.total end as invoiced, x.series || '/' || to_char(x.month, 'YYYYMM') || '/' || lpad(x.sequence::text, 6, '0') as number
        from invoices x
        where x.issued_at >= $1 and x.issued_at < $2 and not x.sandbox
            and not exists (select from journals j where j.account_id = x.account_id and j.id = x.journal_id and j.kind in (3, 5, 6))
        order by x.id limit $3"#,
        from,
        until,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// What charges and documents of a span of time come to.
pub struct Documented {
    /// Journals that charged or refunded.
    pub charges: i64,
    /// Charges less refunds, with tax.
    pub charged: i64,
    /// Invoices less credit notes, with tax.
    pub invoiced: i64,
}

/// Sums charges and documents.
///
/// # Errors
/// Of the database.
pub async fn documented(
    pool: &PgPool,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Documented, sqlx::Error> {
    sqlx::query_as!(
        Documented,
        r#"select
            (select count(*) from journals j join accounts a on a.id = j.account_id and not a.sandbox
                where j.recorded_at >= $1 and j.recorded_at < $2 and j.kind in (3, 5, 6) and j.revenue + j.refund + j.ppn_payable <> 0) as "charges!",
            (select coalesce(sum(j.revenue + j.refund + j.ppn_payable), 0)::bigint from journals j join accounts a on a.id = j.account_id and not a.sandbox
                where j.recorded_at >= $1 and j.recorded_at < $2 and j.kind in (3, 5, 6)) as "charged!",
            (select coalesce(sum(case x.kind when 2 then -x.total else x.total end), 0)::bigint from invoices x
                where x.issued_at >= $1 and x.issued_at < $2 and not x.sandbox) as "invoiced!""#,
        from,
        until,
    )
    .fetch_one(pool)
    .await
}
