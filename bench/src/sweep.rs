//! Renewal sweeps of many subscriptions, and the same work done one transaction at a time.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::measure::Memory;
use crate::platform::Platform;

/// What a sweep took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swept {
    /// Renewals a second, without the start of the process.
    pub(crate) rate: f64,
    /// Sequential scans of the table.
    pub(crate) scans: i64,
    /// Rows of the table fetched for each renewal.
    pub(crate) fetched: f64,
    /// Memory of the worker.
    pub(crate) memory: Memory,
}

/// Fills the table with `fleet` subscriptions, `due` of which are due, owned by accounts with money.
pub(crate) async fn fill(pool: &PgPool, fleet: i64, due: i64) -> anyhow::Result<()> {
    sqlx::raw_sql("truncate subscriptions, renewals")
        .execute(pool)
        .await?;
    sqlx::query(
        "insert into subscriptions (account_id, instance_id, order_id, price_idr, period, anchor_at, anchor_number, period_number, paid_until, auto_renew, policy,
            state, next_step, next_step_at, on_test_clock, revision, present_starts_at, present_period, present_price, present_bought, present_paid)
         select ('00000000-0000-7000-8000-' || lpad(to_hex(1 + i % 1000), 12, '0'))::uuid, gen_random_uuid(), gen_random_uuid(), 5000, 3, t - interval '1 month', 1, 1, t,
            true, 'prepaid', 'ACTIVE', 'renew', t, false, 1, t - interval '1 month', 3, 5000, 5000, 5000
         from (select i, case when i <= $2 then now() - interval '1 hour' + i * interval '1 microsecond' else now() + interval '10 days' + i * interval '1 second' end as t
               from generate_series(1, $1) i) n",
    )
    .bind(fleet)
    .bind(due)
    .execute(pool)
    .await?;
    // Each alone: several statements sent as one are one transaction, in which a table cannot be vacuumed.
    for statement in ["vacuum analyze subscriptions", "checkpoint"] {
        sqlx::raw_sql(statement).execute(pool).await?;
    }
    Ok(())
}

/// Lets a worker sweep everything that is due, and times it from the first chunk to the last.
pub(crate) async fn sweep(platform: &Platform, due: i64) -> anyhow::Result<Swept> {
    let before = table(&platform.pool).await?;
    let worker = platform.serve("worker").await?;
    let patience = Instant::now() + Duration::from_secs(600);
    let first = loop {
        let done: i64 = sqlx::query_scalar("select count(*) from renewals")
            .fetch_one(&platform.pool)
            .await?;
        if done > 0 {
            break (Instant::now(), done);
        }
        anyhow::ensure!(Instant::now() < patience, "the sweep did not begin");
        tokio::time::sleep(Duration::from_millis(3)).await;
    };
    loop {
        let left: bool = sqlx::query_scalar("select exists (select from subscriptions where next_step_at <= now() and not on_test_clock)").fetch_one(&platform.pool).await?;
        if !left {
            break;
        }
        anyhow::ensure!(Instant::now() < patience, "the sweep did not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = first.0.elapsed();
    let memory = worker.memory();
    drop(worker);
    let renewed: i64 = sqlx::query_scalar("select count(*) from renewals where state = 'PAID'")
        .fetch_one(&platform.pool)
        .await?;
    anyhow::ensure!(renewed == due, "{renewed} of {due} were renewed");
    // Statistics of ended sessions reach the table a moment later.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let after = table(&platform.pool).await?;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let swept = Swept {
        rate: (due - first.1) as f64 / took.as_secs_f64(),
        scans: after.0 - before.0,
        fetched: (after.1 - before.1) as f64 / due as f64,
        memory,
    };
    Ok(swept)
}

/// Sequential scans by the server's role, and rows fetched by index.
async fn table(pool: &PgPool) -> anyhow::Result<(i64, i64)> {
    Ok(sqlx::query_as("select seq_scan, coalesce(idx_tup_fetch, 0) from pg_stat_user_tables where relname = 'subscriptions'").fetch_one(pool).await?)
}

/// Renews `count` due subscriptions with one transaction each over eight connections, and returns how many a second that were.
pub(crate) async fn one_by_one(platform: &Platform, count: i64) -> anyhow::Result<f64> {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(8)
        .connect(&platform.url())
        .await?;
    let due: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select account_id, instance_id from subscriptions where next_step_at <= now() limit $1",
    )
    .bind(count)
    .fetch_all(&pool)
    .await?;
    let begin = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for part in due.chunks(due.len().div_ceil(8).max(1)) {
        let (pool, part) = (pool.clone(), part.to_vec());
        tasks.spawn(async move {
            for (account, instance) in part {
                renew(&pool, account, instance).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = due.len() as f64 / begin.elapsed().as_secs_f64();
    Ok(rate)
}

async fn renew(pool: &PgPool, account: Uuid, instance: Uuid) -> anyhow::Result<()> {
    let now: DateTime<Utc> = sewa_server::base::clock::Clock.now();
    let mut tx = pool.begin().await?;
    let (paid_until, number): (DateTime<Utc>, i32) =
        sqlx::query_as("select paid_until, period_number from subscriptions where account_id = $1 and instance_id = $2 for no key update").bind(account).bind(instance).fetch_one(&mut *tx).await?;
    let (available, held): (i64, i64) = sqlx::query_as(
        "select available, held from balances where account_id = $1 for no key update",
    )
    .bind(account)
    .fetch_one(&mut *tx)
    .await?;
    let journal = Uuid::now_v7();
    sqlx::query("insert into journals (account_id, id, kind, subject_id, description, available, revenue, ppn_payable, available_after, held_after, recorded_at) values ($1, $2, 5, $3, 'Renewal', -5550, 5000, 550, $4, $5, $6)")
        .bind(account).bind(journal).bind(instance).bind(available - 5550).bind(held).bind(now).execute(&mut *tx).await?;
    sqlx::query("update balances set available = $2, last_journal_id = $3, updated_at = $4 where account_id = $1")
        .bind(account).bind(available - 5550).bind(journal).bind(now).execute(&mut *tx).await?;
    sqlx::query("insert into renewals (account_id, id, instance_id, period_number, starts_at, ends_at, price, tax, state, created_at) values ($1, $2, $3, $4, $5, $5 + interval '1 month', 5000, 550, 'PAID', $6)")
        .bind(account).bind(Uuid::now_v7()).bind(instance).bind(number + 1).bind(paid_until).bind(now).execute(&mut *tx).await?;
    sqlx::query("update subscriptions set period_number = $3, paid_until = paid_until + interval '1 month', next_step_at = paid_until + interval '1 month', revision = revision + 1 where account_id = $1 and instance_id = $2")
        .bind(account).bind(instance).bind(number + 1).execute(&mut *tx).await?;
    sqlx::query("insert into events (account_id, id, type, subject_id, revision, occurred_at, payload) values ($1, $2, 15, $3, 2, $4, '\\x')")
        .bind(account).bind(Uuid::now_v7()).bind(instance).bind(now).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}
