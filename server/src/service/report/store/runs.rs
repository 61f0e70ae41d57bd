//! The SQL of runs of the proof, and of what they found.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::ReconciliationId;
use crate::service::report::compare::{Difference, GatewayResult};

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Identifier.
    pub id: ReconciliationId,
    /// The day.
    pub day: NaiveDate,
    /// `PENDING`, `RUNNING`, `DONE` or `FAILED`.
    pub state: String,
    /// Who asked for it; `None` if it is the daily one.
    pub requested_by: Option<Uuid>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether every gateway that can be compared was compared whole.
    pub complete: bool,
    /// How many differences there are.
    pub differences: i64,
    /// Their sum, each without its sign.
    pub differing: i64,
    /// How each gateway compares.
    pub gateways: Json<Vec<GatewayResult>>,
    /// Journals that charged or refunded.
    pub charges: i64,
    /// What they come to.
    pub charged: i64,
    /// What documents come to.
    pub invoiced: i64,
    /// Why it failed.
    pub failure: String,
}

macro_rules! runs {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Run,
            r#"select id as "id: ReconciliationId", day, state, requested_by, created_at, finished_at, complete, differences, differing,
                gateways as "gateways: Json<Vec<GatewayResult>>", charges, charged, invoiced, failure
            from reconciliations "# + $tail,
            $($argument),*
        )
    };
}

/// A run by its id.
///
/// # Errors
/// Of the database.
pub async fn get(pool: &PgPool, id: ReconciliationId) -> Result<Option<Run>, sqlx::Error> {
    runs!("where id = $1", id.0).fetch_optional(pool).await
}

/// Runs before `before`, newest first, of one day if given.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    day: Option<NaiveDate>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Run>, sqlx::Error> {
    let before = before.unwrap_or(Uuid::max());
    match day {
        Some(day) => {
            runs!(
                "where day = $1 and id < $2 order by id desc limit $3",
                day,
                before,
                limit
            )
            .fetch_all(pool)
            .await
        }
        None => {
            runs!("where id < $1 order by id desc limit $2", before, limit)
                .fetch_all(pool)
                .await
        }
    }
}

/// Asks for the proof of a day, if none waits or is under way, and returns the one that does.
///
/// # Errors
/// Of the database.
pub async fn request(
    connection: &mut PgConnection,
    day: NaiveDate,
    requested_by: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<Run, sqlx::Error> {
    sqlx::query!(
        "insert into reconciliations (id, day, requested_by, state, created_at) values ($1, $2, $3, 'PENDING', $4)
        on conflict (day) where state in ('PENDING', 'RUNNING') do nothing",
        ReconciliationId::new().0,
        day,
        requested_by,
        now,
    )
    .execute(&mut *connection)
    .await?;
    // One that has ended in between is as good: it was under way when it was asked for.
    runs!("where day = $1 order by id desc limit 1", day)
        .fetch_one(connection)
        .await
}

/// Whether a day was ever proved with every gateway, or was last asked for after `since`.
///
/// # Errors
/// Of the database.
pub async fn is_settled(
    pool: &PgPool,
    day: NaiveDate,
    since: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
            select from reconciliations where day = $1 and (state in ('PENDING', 'RUNNING') or created_at > $2 or (state = 'DONE' and complete))
        ) as "settled!""#,
        day,
        since,
    )
    .fetch_one(pool)
    .await
}

/// A run that is this replica's until its lease ends.
pub struct Leased {
    /// The run.
    pub id: ReconciliationId,
    /// The day.
    pub day: NaiveDate,
    /// Which attempt it is.
    pub fence: i32,
}

/// Takes the oldest run that waits, or whose lease is over.
///
/// # Errors
/// Of the database.
pub async fn lease(
    pool: &PgPool,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Leased>, sqlx::Error> {
    sqlx::query_as!(
        Leased,
        r#"update reconciliations set state = 'RUNNING', fence = fence + 1, leased_until = $2
        where id = (
            select id from reconciliations where state in ('PENDING', 'RUNNING') and (state = 'PENDING' or leased_until <= $1)
            order by id limit 1 for update skip locked
        )
        returning id as "id: ReconciliationId", day, fence"#,
        now,
        until,
    )
    .fetch_optional(pool)
    .await
}

/// What a run came to.
pub struct Outcome {
    /// Whether every gateway that can be compared was compared whole.
    pub complete: bool,
    /// How each gateway compares.
    pub gateways: Vec<GatewayResult>,
    /// Journals that charged or refunded.
    pub charges: i64,
    /// What they come to.
    pub charged: i64,
    /// What documents come to.
    pub invoiced: i64,
    /// What differs.
    pub differences: Vec<Difference>,
}

/// Ends a run and writes down what it found. False if somebody else has taken it meanwhile; nothing is written then.
///
/// # Errors
/// Of the database.
pub async fn finish(
    connection: &mut PgConnection,
    run: &Leased,
    outcome: &Outcome,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let found = &outcome.differences;
    let differing: i64 = found
        .iter()
        .map(Difference::amount)
        .fold(0, i64::saturating_add);
    let done = sqlx::query!(
        "update reconciliations set state = 'DONE', finished_at = $3, complete = $4, differences = $5, differing = $6, gateways = $7, charges = $8, charged = $9,
            invoiced = $10, leased_until = null
        where id = $1 and fence = $2 and state = 'RUNNING'",
        run.id.0,
        run.fence,
        now,
        outcome.complete,
        i64::try_from(found.len()).unwrap_or(i64::MAX),
        differing,
        Json(&outcome.gateways) as _,
        outcome.charges,
        outcome.charged,
        outcome.invoiced,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let numbers: Vec<i32> = (1..).take(found.len()).collect();
    sqlx::query!(
        "insert into reconciliation_differences (reconciliation_id, number, kind, cause, ours, theirs, method, gateway_ref, account_id, deposit_id, journal_id,
            invoice_id)
        select $1, n.number, n.kind, n.cause, n.ours, n.theirs, n.method, n.gateway_ref, n.account_id, n.deposit_id, n.journal_id, n.invoice_id
        from unnest($2::integer[], $3::smallint[], $4::text[], $5::bigint[], $6::bigint[], $7::smallint[], $8::text[], $9::uuid[], $10::uuid[], $11::uuid[],
            $12::uuid[])
            as n (number, kind, cause, ours, theirs, method, gateway_ref, account_id, deposit_id, journal_id, invoice_id)",
        run.id.0,
        &numbers,
        &found.iter().map(|d| d.kind as i16).collect::<Vec<_>>(),
        &found.iter().map(|d| d.cause.as_str()).collect::<Vec<_>>() as &[&str],
        &found.iter().map(|d| d.ours).collect::<Vec<_>>(),
        &found.iter().map(|d| d.theirs).collect::<Vec<_>>(),
        &found.iter().map(|d| d.method).collect::<Vec<_>>(),
        &found.iter().map(|d| d.gateway_ref.as_str()).collect::<Vec<_>>() as &[&str],
        &found.iter().map(|d| d.account).collect::<Vec<_>>() as &[Option<Uuid>],
        &found.iter().map(|d| d.deposit).collect::<Vec<_>>() as &[Option<Uuid>],
        &found.iter().map(|d| d.journal).collect::<Vec<_>>() as &[Option<Uuid>],
        &found.iter().map(|d| d.invoice).collect::<Vec<_>>() as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Gives a run up.
///
/// # Errors
/// Of the database.
pub async fn fail(
    pool: &PgPool,
    run: &Leased,
    why: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update reconciliations set state = 'FAILED', finished_at = $3, failure = $4, leased_until = null where id = $1 and fence = $2 and state = 'RUNNING'",
        run.id.0,
        run.fence,
        now,
        why,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A difference, with its number.
pub struct Numbered {
    /// From 1 on.
    pub number: i32,
    /// Number of its kind.
    pub kind: i16,
    /// In words.
    pub cause: String,
    /// What our books say.
    pub ours: i64,
    /// What the other side says.
    pub theirs: i64,
    /// Number of the way to pay; 0 if it concerns none.
    pub method: i16,
    /// The gateway's reference, or empty.
    pub gateway_ref: String,
    /// Whose money.
    pub account: Option<Uuid>,
    /// The deposit.
    pub deposit: Option<Uuid>,
    /// The journal.
    pub journal: Option<Uuid>,
    /// The invoice.
    pub invoice: Option<Uuid>,
}

/// What a run found after a number, in order.
///
/// # Errors
/// Of the database.
pub async fn differences(
    pool: &PgPool,
    run: ReconciliationId,
    after: i32,
    limit: i64,
) -> Result<Vec<Numbered>, sqlx::Error> {
    sqlx::query_as!(
        Numbered,
        "select number, kind, cause, ours, theirs, method, gateway_ref, account_id as account, deposit_id as deposit, journal_id as journal, invoice_id as invoice
        from reconciliation_differences where reconciliation_id = $1 and number > $2 order by number limit $3",
        run.0,
        after,
        limit,
    )
    .fetch_all(pool)
    .await
}
