//! The SQL of invoices.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InvoiceId, JournalId};
use crate::base::money::Rupiah;
use crate::service::billing::model::TaxNumberKind;
use crate::service::invoice::model::{self, Charge, Invoice, Kind, Line, Party};

/// An account, and a journal of it.
pub struct Position {
    /// The account.
    pub account: Uuid,
    /// The journal.
    pub journal: Uuid,
}

/// Locks the cursors of accounts, in the order of their ids. Accounts without one get one before their first journal.
///
/// # Errors
/// Of the database.
pub async fn lock_cursors(
    connection: &mut PgConnection,
    accounts: &[Uuid],
) -> Result<Vec<Position>, sqlx::Error> {
    let mut accounts = accounts.to_vec();
    accounts.sort_unstable();
    sqlx::query!(
        "insert into invoice_cursors (account_id, journal_id) select unnest($1::uuid[]), $2 on conflict do nothing",
        &accounts,
        Uuid::nil(),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_as!(
        Position,
        "select account_id as account, journal_id as journal from invoice_cursors where account_id = any($1) order by account_id for no key update",
        &accounts,
    )
    .fetch_all(connection)
    .await
}

/// The journals after the cursors, at most `each` of one account.
///
/// # Errors
/// Of the database.
pub async fn journals_after(
    connection: &mut PgConnection,
    cursors: &[Position],
    each: i64,
) -> Result<Vec<Position>, sqlx::Error> {
    sqlx::query_as!(
        Position,
        "select j.account_id as account, j.id as journal
        from unnest($1::uuid[], $2::uuid[]) as c (account_id, journal_id)
        cross join lateral (
            select account_id, id from journals where account_id = c.account_id and id > c.journal_id order by id limit $3
        ) j",
        &cursors.iter().map(|c| c.account).collect::<Vec<_>>(),
        &cursors.iter().map(|c| c.journal).collect::<Vec<_>>(),
        each,
    )
    .fetch_all(connection)
    .await
}

/// Those of the journals that charged or gave back and have no document yet, with what documents say of them.
///
/// # Errors
/// Of the database.
pub async fn charges(
    connection: &mut PgConnection,
    journals: &[Position],
) -> Result<Vec<Charge>, sqlx::Error> {
    // A renewal is found by the number its journal names.
    let rows = sqlx::query!(
        r#"select j.account_id as "account: AccountId", j.id as "journal: JournalId", j.kind, j.subject_id, j.description,
            abs(j.revenue + j.refund) as "net!: Rupiah", abs(j.ppn_payable) as "tax!: Rupiah", j.recorded_at, a.sandbox, a.name as account_name,
            coalesce(o.plan_name, p.display_name, '') as "plan_name!", coalesce(o.hostname, i.hostname, '') as "hostname!", nullif(i.order_id, '00000000-0000-0000-0000-000000000000') as "order?",
            r.starts_at as "starts_at?", r.ends_at as "ends_at?",
            b.name as "name?", b.tax_number_kind as "tax_number_kind?", b.tax_number as "tax_number?", b.branch as "branch?", b.address as "address?",
            b.city as "city?", b.province as "province?", b.postal_code as "postal_code?", b.email as "email?", b.language as "language?"
        from unnest($1::uuid[], $2::uuid[]) as n (account_id, id)
        join journals j on j.account_id = n.account_id and j.id = n.id
        join accounts a on a.id = j.account_id
        left join billing_profiles b on b.account_id = j.account_id
        left join orders o on o.account_id = j.account_id and o.id = j.subject_id
        left join instances i on i.account_id = j.account_id and i.id = coalesce(o.instance_id, j.subject_id)
        left join plans p on p.id = i.plan_id
        left join renewals r on r.account_id = j.account_id and r.instance_id = i.id and r.state = 'PAID'
            and r.period_number = case when o.id is not null then 1 else substring(j.description from '^Renewal ([0-9]{1,6}) of ')::integer end
        where j.kind in (3, 5, 6) and j.revenue + j.refund + j.ppn_payable <> 0
            and not exists (select from invoices x where x.account_id = j.account_id and x.journal_id = j.id)"#,
        &journals.iter().map(|j| j.account).collect::<Vec<_>>(),
        &journals.iter().map(|j| j.journal).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    let charges = rows.into_iter().map(|r| {
        let text = |field: Option<String>| field.unwrap_or_default();
        let town = format!("{} {}", text(r.city), text(r.postal_code));
        let address = [text(r.address), town, text(r.province)];
        let address = address.iter().map(|line| line.trim().to_owned());
        Charge {
            account: r.account,
            journal: r.journal,
            kind: if r.kind == REFUND {
                Kind::CreditNote
            } else {
                Kind::Invoice
            },
            subject: r.subject_id,
            order: r.order,
            line: Line {
                description: r.description,
                plan_name: r.plan_name,
                hostname: r.hostname,
                starts_at: r.starts_at,
                ends_at: r.ends_at,
                net: r.net,
            },
            tax: r.tax,
            at: r.recorded_at,
            sandbox: r.sandbox,
            buyer: Party {
                name: r.name.filter(|n| !n.is_empty()).unwrap_or(r.account_name),
                address: address.filter(|line| !line.is_empty()).collect(),
                tax_number_kind: TaxNumberKind::from_number(r.tax_number_kind.unwrap_or(0)),
                tax_number: text(r.tax_number),
                branch: text(r.branch),
                email: text(r.email),
            },
            language: r
                .language
                .filter(|l| !l.is_empty())
                .unwrap_or_else(|| "id".to_owned()),
        }
    });
    Ok(charges.collect())
}

/// Number of the kind of journal that gives money back.
const REFUND: i16 = 6;

/// Takes the next numbers of a series and month, and returns the last of them. The row stays locked until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn take_numbers(
    connection: &mut PgConnection,
    series: &str,
    month: NaiveDate,
    count: i32,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar!(
        "insert into invoice_counters (series, month, last) values ($1, $2, $3)
        on conflict (series, month) do update set last = invoice_counters.last + excluded.last returning last",
        series,
        month,
        count,
    )
    .fetch_one(connection)
    .await
}

/// The number of the last invoice for what a charge is for: the instance, or the order that made it.
///
/// # Errors
/// Of the database.
pub async fn last_number_for(
    connection: &mut PgConnection,
    charge: &Charge,
) -> Result<Option<String>, sqlx::Error> {
    if charge.subject.is_nil() {
        return Ok(None);
    }
    let row = sqlx::query!(
        "select series, month, sequence from invoices where account_id = $1 and subject_id = any($2) and kind = 1 order by id desc limit 1",
        charge.account.0,
        &[charge.subject, charge.order.unwrap_or_default()],
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|r| model::number(&r.series, r.month, r.sequence)))
}

/// Writes documents.
///
/// # Errors
/// Of the database; `invoices_journal_key` if a journal has one, which the lock on its account's cursor rules out.
pub async fn insert(
    connection: &mut PgConnection,
    documents: &[Invoice],
) -> Result<(), sqlx::Error> {
    let json = |of: fn(&Invoice) -> Result<serde_json::Value, serde_json::Error>| {
        let values: Result<Vec<_>, _> = documents.iter().map(of).collect();
        values.map_err(|error| sqlx::Error::Encode(error.into()))
    };
    let lines = json(|d| serde_json::to_value(&d.lines))?;
    let sellers = json(|d| serde_json::to_value(&d.seller))?;
    let buyers = json(|d| serde_json::to_value(&d.buyer))?;
    sqlx::query!(
        "insert into invoices (account_id, id, kind, series, month, sequence, journal_id, subject_id, corrects, net, tax_base, tax_percent, tax, total, lines,
            seller, buyer, has_tax_number, language, sandbox, issued_at, created_at)
        select * from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::date[], $6::integer[], $7::uuid[], $8::uuid[], $9::text[], $10::bigint[],
            $11::bigint[], $12::integer[], $13::bigint[], $14::bigint[], $15::jsonb[], $16::jsonb[], $17::jsonb[], $18::boolean[], $19::text[], $20::boolean[],
            $21::timestamptz[], $22::timestamptz[])",
        &documents.iter().map(|d| d.account.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.id.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.kind as i16).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.series.as_str()).collect::<Vec<_>>() as &[&str],
        &documents.iter().map(|d| d.month).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.sequence).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.journal.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.subject).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.corrects.as_str()).collect::<Vec<_>>() as &[&str],
        &documents.iter().map(|d| d.net.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.tax_base.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.tax_percent).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.tax.0).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.total.0).collect::<Vec<_>>(),
        &lines,
        &sellers,
        &buyers,
        &documents.iter().map(|d| !d.buyer.tax_number.is_empty()).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.language.as_str()).collect::<Vec<_>>() as &[&str],
        &documents.iter().map(|d| d.sandbox).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.issued_at).collect::<Vec<_>>(),
        &documents.iter().map(|d| d.created_at).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves cursors to the last of the journals that were looked at. An account of which `each` were may have more.
///
/// # Errors
/// Of the database.
pub async fn advance_cursors(
    connection: &mut PgConnection,
    journals: &[Position],
    each: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update invoice_cursors c set journal_id = n.last, behind = n.behind
        from (
            select account_id, (max(id::text))::uuid as last, count(*) >= $3 as behind
            from unnest($1::uuid[], $2::uuid[]) as n (account_id, id) group by account_id
        ) n
        where c.account_id = n.account_id",
        &journals.iter().map(|j| j.account).collect::<Vec<_>>(),
        &journals.iter().map(|j| j.journal).collect::<Vec<_>>(),
        each,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Accounts that had more journals than one transaction looked at.
///
/// # Errors
/// Of the database.
pub async fn behind(connection: &mut PgConnection, limit: i64) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select account_id from invoice_cursors where behind order by account_id limit $1",
        limit
    )
    .fetch_all(connection)
    .await
}

/// The next accounts with a balance.
///
/// # Errors
/// Of the database.
pub async fn accounts_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select account_id from balances where account_id > $1 order by account_id limit $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

struct Row {
    account_id: AccountId,
    id: InvoiceId,
    kind: i16,
    series: String,
    month: NaiveDate,
    sequence: i32,
    journal_id: JournalId,
    subject_id: Uuid,
    corrects: String,
    net: Rupiah,
    tax_base: Rupiah,
    tax_percent: i32,
    tax: Rupiah,
    total: Rupiah,
    lines: Json<Vec<Line>>,
    seller: Json<Party>,
    buyer: Json<Party>,
    language: String,
    sandbox: bool,
    issued_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl From<Row> for Invoice {
    fn from(r: Row) -> Self {
        Self {
            account: r.account_id,
            id: r.id,
            kind: Kind::from_number(r.kind),
            series: r.series,
            month: r.month,
            sequence: r.sequence,
            journal: r.journal_id,
            subject: r.subject_id,
            corrects: r.corrects,
            net: r.net,
            tax_base: r.tax_base,
            tax_percent: r.tax_percent,
            tax: r.tax,
            total: r.total,
            lines: r.lines.0,
            seller: r.seller.0,
            buyer: r.buyer.0,
            language: r.language,
            sandbox: r.sandbox,
            issued_at: r.issued_at,
            created_at: r.created_at,
        }
    }
}

macro_rules! invoices {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select account_id as "account_id: AccountId", id as "id: InvoiceId", kind, series, month, sequence, journal_id as "journal_id: JournalId",
                subject_id, corrects, net as "net: Rupiah", tax_base as "tax_base: Rupiah", tax_percent, tax as "tax: Rupiah", total as "total: Rupiah",
                lines as "lines: Json<Vec<Line>>", seller as "seller: Json<Party>", buyer as "buyer: Json<Party>", language, sandbox, issued_at, created_at
            from invoices "# + $tail,
            $($argument),*
        )
    };
}

/// The account an invoice belongs to, for staff.
///
/// # Errors
/// Of the database.
pub async fn account_of(pool: &PgPool, id: InvoiceId) -> Result<Option<AccountId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account: AccountId" from invoices where id = $1"#,
        id.0
    )
    .fetch_optional(pool)
    .await
}

/// One invoice.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    account: AccountId,
    id: InvoiceId,
) -> Result<Option<Invoice>, sqlx::Error> {
    let row = invoices!("where account_id = $1 and id = $2", account.0, id.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(Into::into))
}

/// Invoices of an account before `before`, newest first; of one kind unless `kind` is 0.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    before: Option<Uuid>,
    kind: i16,
    limit: i64,
) -> Result<Vec<Invoice>, sqlx::Error> {
    let rows = invoices!(
        "where account_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($3::smallint = 0 or kind = $3)
        order by id desc limit $4",
        account.0,
        before,
        kind,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Documents of a series and month after a number, in order.
///
/// # Errors
/// Of the database.
pub async fn of_month(
    pool: &PgPool,
    series: &str,
    month: NaiveDate,
    after: i32,
    limit: i64,
) -> Result<Vec<Invoice>, sqlx::Error> {
    let rows = invoices!(
        "where series = $1 and month = $2 and sequence > $3 order by sequence limit $4",
        series,
        month,
        after,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// What the documents of a series and month come to.
pub struct Sums {
    /// How many there are.
    pub count: i64,
    /// Prices without tax.
    pub net: i64,
    /// Tax.
    pub tax: i64,
    /// Those whose buyer gave no tax number.
    pub without_tax_number: i64,
}

/// Sums the documents of a series and month.
///
/// # Errors
/// Of the database.
pub async fn sums(pool: &PgPool, series: &str, month: NaiveDate) -> Result<Sums, sqlx::Error> {
    sqlx::query_as!(
        Sums,
        r#"select count(*) as "count!", coalesce(sum(net), 0)::bigint as "net!", coalesce(sum(tax), 0)::bigint as "tax!",
            count(*) filter (where not has_tax_number) as "without_tax_number!"
        from invoices where series = $1 and month = $2"#,
        series,
        month,
    )
    .fetch_one(pool)
    .await
}
