//! The SQL of the inventory.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::inventory::v1::inventory_finding::{Outcome, Repair};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{InstanceId, InventoryFindingId, InventoryRunId, ProviderAccountId};
use crate::service::inventory::model::{Finding, Policy, Run};

macro_rules! runs {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Run,
            r#"select id as "id: InventoryRunId", provider_account_id as "account: ProviderAccountId", dry_run, state, requested_by, machines, findings,
                daily_cost, failure, created_at, finished_at
            from inventory_runs "# + $tail,
            $($argument),*
        )
    };
}

/// A run by its id.
///
/// # Errors
/// Of the database.
pub async fn get(pool: &PgPool, id: InventoryRunId) -> Result<Option<Run>, sqlx::Error> {
    runs!("where id = $1", id.0).fetch_optional(pool).await
}

/// The run of an account that waits or is under way.
///
/// # Errors
/// Of the database.
pub async fn get_open(
    connection: &mut PgConnection,
    account: ProviderAccountId,
) -> Result<Option<Run>, sqlx::Error> {
    runs!(
        "where provider_account_id = $1 and state in ('PENDING', 'RUNNING')",
        account.0
    )
    .fetch_optional(connection)
    .await
}

/// Runs before `before`, newest first, of one account if given.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: Option<ProviderAccountId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Run>, sqlx::Error> {
    let before = before.unwrap_or(Uuid::max());
    match account {
        Some(account) => {
            runs!(
                "where provider_account_id = $1 and id < $2 order by id desc limit $3",
                account.0,
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

/// Adds a run that waits. False if one of the account does already.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, new: &Run) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into inventory_runs (id, provider_account_id, dry_run, requested_by, state, created_at) values ($1, $2, $3, $4, 'PENDING', $5)
        on conflict (provider_account_id) where state in ('PENDING', 'RUNNING') do nothing",
        new.id.0,
        new.account.0,
        new.dry_run,
        new.requested_by,
        new.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Accounts whose last run was begun longer ago than their policy says, or `usual_minutes` where they have none. Reads `provider_accounts`.
///
/// # Errors
/// Of the database.
pub async fn list_due(
    pool: &PgPool,
    now: DateTime<Utc>,
    usual_minutes: i32,
) -> Result<Vec<ProviderAccountId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select a.id as "id!: ProviderAccountId" from provider_accounts a left join inventory_policies p on p.provider_account_id = a.id
        where coalesce(p.interval_minutes, $2::integer) > 0 and coalesce(
            (select r.created_at from inventory_runs r where r.provider_account_id = a.id order by r.id desc limit 1), a.created_at
        ) <= $1::timestamptz - coalesce(p.interval_minutes, $2) * interval '1 minute'"#,
        now,
        usual_minutes,
    )
    .fetch_all(pool)
    .await
}

/// A run that is this replica's until its lease ends.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The run.
    pub id: InventoryRunId,
    /// The provider account.
    pub account: ProviderAccountId,
    /// True if it changes nothing.
    pub dry_run: bool,
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
        r#"update inventory_runs set state = 'RUNNING', fence = fence + 1, leased_until = $2
        where id = (
            select id from inventory_runs where state in ('PENDING', 'RUNNING') and (state = 'PENDING' or leased_until <= $1)
            order by id limit 1 for update skip locked
        )
        returning id as "id: InventoryRunId", provider_account_id as "account: ProviderAccountId", dry_run, fence"#,
        now,
        until,
    )
    .fetch_optional(pool)
    .await
}

/// Ends a run. False if somebody else has taken it meanwhile.
///
/// # Errors
/// Of the database.
pub async fn finish(
    pool: &PgPool,
    run: &Leased,
    failure: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update inventory_runs set state = case when $3::text is null then 'DONE' else 'FAILED' end, failure = coalesce($3, ''), finished_at = $4,
            leased_until = null
        where id = $1 and fence = $2 and state = 'RUNNING'",
        run.id.0,
        run.fence,
        failure,
        now,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What an earlier run knew of a difference.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it is.
    pub reason: i16,
    /// The provider's name of the machine; empty if there is none.
    pub machine: String,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// Since when it was found.
    pub first_seen_at: DateTime<Utc>,
}

/// What the last run of an account that ended found.
///
/// # Errors
/// Of the database.
pub async fn list_seen(
    connection: &mut PgConnection,
    account: ProviderAccountId,
) -> Result<Vec<Seen>, sqlx::Error> {
    sqlx::query_as!(
        Seen,
        r#"select reason, machine, instance_id as "instance: InstanceId", first_seen_at from inventory_findings
        where run_id = (select id from inventory_runs where provider_account_id = $1 and state = 'DONE' order by id desc limit 1)"#,
        account.0,
    )
    .fetch_all(connection)
    .await
}

/// Writes down what a run found, in place of what an earlier attempt of it found and did nothing about. False if somebody else has taken it meanwhile.
///
/// # Errors
/// Of the database.
pub async fn keep(
    connection: &mut PgConnection,
    run: &Leased,
    machines: i32,
    findings: &[Finding],
) -> Result<bool, sqlx::Error> {
    let cost: i64 = findings.iter().map(|f| f.difference.daily.0).sum();
    let held = sqlx::query!(
        "update inventory_runs set machines = $3, findings = $4, daily_cost = $5 where id = $1 and fence = $2 and state = 'RUNNING'",
        run.id.0,
        run.fence,
        machines,
        i32::try_from(findings.len()).unwrap_or(i32::MAX),
        cost,
    )
    .execute(&mut *connection)
    .await?;
    if held.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query!(
        "delete from inventory_findings where run_id = $1 and acted_at is null",
        run.id.0
    )
    .execute(&mut *connection)
    .await?;
    let machine = |f: &Finding| f.difference.machine.clone().unwrap_or_default();
    sqlx::query!(
        "insert into inventory_findings (id, run_id, provider_account_id, reason, machine, machine_name, instance_id, detail, daily_cost, cost_basis, first_seen_at,
            repair, outcome, words)
        select n.id, $1, $2, n.re, n.ma, n.na, n.ins, n.de, n.co, n.ba, n.fi, n.rp, n.ou, n.wo
        from unnest($3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::bigint[], $10::smallint[], $11::timestamptz[], $12::smallint[],
            $13::smallint[], $14::text[]) as n (id, re, ma, na, ins, de, co, ba, fi, rp, ou, wo)",
        run.id.0,
        run.account.0,
        &findings.iter().map(|f| f.id.0).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.difference.reason as i16).collect::<Vec<_>>(),
        &findings.iter().map(|f| machine(f).0).collect::<Vec<_>>(),
        &findings.iter().map(|f| machine(f).1).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.difference.instance.map(|i| i.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &findings.iter().map(|f| f.difference.detail.clone()).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.difference.daily.0).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.difference.basis as i16).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.first_seen_at).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.repair as i16).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.outcome as i16).collect::<Vec<_>>(),
        &findings.iter().map(|f| f.words.clone()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(true)
}

/// Machines whose destruction was begun by any attempt of a run.
///
/// # Errors
/// Of the database.
pub async fn count_destroyed(
    connection: &mut PgConnection,
    run: InventoryRunId,
) -> Result<i32, sqlx::Error> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from inventory_findings where run_id = $1 and acted_at is not null and repair = $2"#,
        run.0,
        Repair::DestroyMachine as i16,
    )
    .fetch_one(connection)
    .await?;
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

/// Notes that a repair is begun, before it is. False if the run is somebody else's by now.
///
/// # Errors
/// Of the database.
pub async fn begin_repair(
    pool: &PgPool,
    run: &Leased,
    finding: InventoryFindingId,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update inventory_findings f set outcome = $3, acted_at = $4 from inventory_runs r
        where f.id = $1 and r.id = f.run_id and r.fence = $2 and r.state = 'RUNNING'",
        finding.0,
        run.fence,
        Outcome::Begun as i16,
        now,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes what became of a repair.
///
/// # Errors
/// Of the database.
pub async fn end_repair(
    pool: &PgPool,
    finding: InventoryFindingId,
    outcome: Outcome,
    words: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update inventory_findings set outcome = $2, words = $3 where id = $1",
        finding.0,
        outcome as i16,
        words,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets what runs of an account that were asked for before `before` found and did nothing about.
///
/// # Errors
/// Of the database.
pub async fn forget(
    pool: &PgPool,
    account: ProviderAccountId,
    before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from inventory_findings where id in (
            select f.id from inventory_runs r join inventory_findings f on f.run_id = r.id
            where r.provider_account_id = $1 and r.created_at < $2 and f.acted_at is null limit 10000
        )",
        account.0,
        before,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// A row of `inventory_findings`.
#[derive(Clone, Debug)]
pub struct Row {
    /// Identifier.
    pub id: InventoryFindingId,
    /// The run.
    pub run_id: InventoryRunId,
    /// The provider account.
    pub account: ProviderAccountId,
    /// What it is.
    pub reason: i16,
    /// The provider's name of the machine.
    pub machine: String,
    /// Its label.
    pub machine_name: String,
    /// The instance.
    pub instance_id: Option<Uuid>,
    /// What is seen, and what should be.
    pub detail: String,
    /// Rupiah a day.
    pub daily_cost: i64,
    /// What that is derived from.
    pub cost_basis: i16,
    /// Since when it was found.
    pub first_seen_at: DateTime<Utc>,
    /// What puts it right.
    pub repair: i16,
    /// What became of that.
    pub outcome: i16,
    /// In words.
    pub words: String,
    /// When the repair was begun.
    pub acted_at: Option<DateTime<Utc>>,
}

macro_rules! findings {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select id as "id: InventoryFindingId", run_id as "run_id: InventoryRunId", provider_account_id as "account: ProviderAccountId", reason, machine,
                machine_name, instance_id, detail, daily_cost, cost_basis, first_seen_at, repair, outcome, words, acted_at
            from inventory_findings "# + $tail,
            $($argument),*
        )
    };
}

/// What a run found after `after`. They were written down in the order of their cost, and their ids grow.
///
/// # Errors
/// Of the database.
pub async fn list_findings(
    pool: &PgPool,
    run: InventoryRunId,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    findings!(
        "where run_id = $1 and id > $2 order by id limit $3",
        run.0,
        after.unwrap_or(Uuid::nil()),
        limit
    )
    .fetch_all(pool)
    .await
}

/// Findings whose repair was begun, before `before`, newest first, of one account if given.
///
/// # Errors
/// Of the database.
pub async fn list_repairs(
    pool: &PgPool,
    account: Option<ProviderAccountId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    findings!(
        "where ($1::uuid is null or provider_account_id = $1) and acted_at is not null and id < $2 order by id desc limit $3",
        account.map(|a| a.0),
        before.unwrap_or(Uuid::max()),
        limit
    )
    .fetch_all(pool)
    .await
}

/// The policy of an account, if it was given one.
///
/// # Errors
/// Of the database.
pub async fn get_policy(
    connection: &mut PgConnection,
    account: ProviderAccountId,
) -> Result<Option<Policy>, sqlx::Error> {
    sqlx::query_as!(
        Policy,
        "select interval_minutes, destroy_after_minutes, look_after_minutes, destroy_limit from inventory_policies where provider_account_id = $1",
        account.0
    )
    .fetch_optional(connection)
    .await
}

/// Gives an account a policy.
///
/// # Errors
/// Of the database.
pub async fn set_policy(
    connection: &mut PgConnection,
    account: ProviderAccountId,
    policy: &Policy,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into inventory_policies (provider_account_id, interval_minutes, destroy_after_minutes, look_after_minutes, destroy_limit) values ($1, $2, $3, $4, $5)
        on conflict (provider_account_id) do update set interval_minutes = excluded.interval_minutes, destroy_after_minutes = excluded.destroy_after_minutes,
            look_after_minutes = excluded.look_after_minutes, destroy_limit = excluded.destroy_limit",
        account.0,
        policy.interval_minutes,
        policy.destroy_after_minutes,
        policy.look_after_minutes,
        policy.destroy_limit,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether an account exists whose money is real. Reads `accounts`.
///
/// # Errors
/// Of the database.
pub async fn is_real_account(
    connection: &mut PgConnection,
    account: Uuid,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from accounts where id = $1 and not sandbox) as "exists!""#,
        account
    )
    .fetch_one(connection)
    .await
}
