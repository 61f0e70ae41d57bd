//! How far back the log goes. A floor rises with time; what is below it may be gone at any moment, and cursors below it are refused.

use chrono::{DateTime, Duration, Utc};

use crate::base::db::PgPool;
use crate::base::outbox::reader::Tail;
use crate::base::walk;

/// Accounts in one step.
const ACCOUNTS: i64 = 100;
/// Events of one account deleted in one step.
const EACH: i64 = 200;
/// The floor rises in this many steps while an event grows too old.
const MARKS: i32 = 20;
/// It rises at least so often.
const LONGEST: Duration = Duration::hours(1);

/// The position up to which events are no longer promised.
///
/// # Errors
/// Of the database.
pub async fn floor(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!("select seq from log_floor")
        .fetch_one(pool)
        .await
}

/// How long one step of the floor takes.
pub fn stride(keep: Duration) -> Duration {
    (keep / MARKS).min(LONGEST)
}

/// Raises the floor to what was written at least `keep` ago and read by every consumer, and deletes some of what is below. Returns how many events went; small steps,
/// to be repeated while there is something to do.
///
/// # Errors
/// Of the database.
pub async fn forget(
    pool: &PgPool,
    tail: &Tail,
    keep: Duration,
    now: DateTime<Utc>,
) -> sqlx::Result<usize> {
    raise(pool, tail.safe(), keep, now).await?;
    let Some(mut turn) = walk::turn(pool, "forget events", now).await? else {
        return Ok(0);
    };
    // From one account to the next by the primary key, however many events each has.
    let accounts = sqlx::query_scalar!(
        r#"with recursive accounts as (
            (select account_id from events where account_id > $1 order by account_id limit 1)
            union all
            select (select e.account_id from events e where e.account_id > a.account_id order by e.account_id limit 1)
            from accounts a where a.account_id is not null
        )
        select account_id as "account_id!" from accounts where account_id is not null limit $2"#,
        turn.after,
        ACCOUNTS
    )
    .fetch_all(&mut *turn.tx)
    .await?;
    let gone = sqlx::query_scalar!(
        r#"select forget_events($1, $2) as "gone!""#,
        &accounts,
        EACH
    )
    .fetch_one(&mut *turn.tx)
    .await?;
    let reached = if gone >= EACH {
        // One of them may have more.
        Some(turn.after)
    } else {
        accounts.last().copied()
    };
    turn.end(reached, now + stride(keep)).await?;
    Ok(usize::try_from(gone)
        .unwrap_or_default()
        .max(accounts.len()))
}

async fn raise(pool: &PgPool, safe: i64, keep: Duration, now: DateTime<Utc>) -> sqlx::Result<()> {
    let since = now - stride(keep);
    // Two replicas may mark at one moment, which is no harm.
    sqlx::query!(
        "insert into log_marks (at, seq) select $1, $2::bigint where $2::bigint > 0 and not exists (select from log_marks where at > $3) on conflict do nothing",
        now,
        safe,
        since
    )
    .execute(pool)
    .await?;
    let old = now - keep;
    sqlx::query!(
        "update log_floor f set seq = least(m.seq, coalesce((select min(c.seq) from consumers c), m.seq))
        from (select seq from log_marks where at <= $1 order by at desc, seq desc limit 1) m
        where f.seq < least(m.seq, coalesce((select min(c.seq) from consumers c), m.seq))",
        old
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from log_marks where at < (select max(at) from log_marks where at <= $1)",
        old
    )
    .execute(pool)
    .await?;
    Ok(())
}
