//! The SQL of test clocks.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::id::AccountId;
use crate::service::lifecycle::clock::TestClock;

/// An account's clock.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Option<TestClock>, sqlx::Error> {
    sqlx::query_as!(
        TestClock,
        "select now_at, target_at from test_clocks where account_id = $1",
        account.0
    )
    .fetch_optional(connection)
    .await
}

/// Gives an account a clock, and puts its subscriptions under it. `None` if it has one.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<Option<TestClock>, sqlx::Error> {
    let clock = sqlx::query_as!(
        TestClock,
        "insert into test_clocks (account_id, now_at, target_at) values ($1, $2, $2) on conflict do nothing returning now_at, target_at",
        account.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if clock.is_some() {
        sqlx::query!(
            "update subscriptions set on_test_clock = true where account_id = $1",
            account.0
        )
        .execute(connection)
        .await?;
    }
    Ok(clock)
}

/// Sets a clock's target further on. `None` if it is still on its way to the last one, or there is none.
///
/// # Errors
/// Of the database.
pub async fn send(
    connection: &mut PgConnection,
    account: AccountId,
    by: chrono::Duration,
) -> Result<Option<TestClock>, sqlx::Error> {
    sqlx::query_as!(
        TestClock,
        "update test_clocks set target_at = now_at + $2::bigint * interval '1 microsecond' where account_id = $1 and target_at = now_at
        returning now_at, target_at",
        account.0,
        by.num_microseconds().unwrap_or(i64::MAX),
    )
    .fetch_optional(connection)
    .await
}

/// Locks a clock that is on its way and that no other replica walks. That of an account whose money is frozen, or a plan of which is being changed, stands
/// still, because what is due could not be settled.
///
/// # Errors
/// Of the database.
pub async fn advancing_for_update(
    connection: &mut PgConnection,
) -> Result<Option<(AccountId, TestClock)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select account_id as "account: AccountId", now_at, target_at from test_clocks
        where target_at > now_at and account_id <> all (array(select account_id from balances where frozen_at is not null))
            and account_id <> all (array(select account_id from subscriptions where change_id is not null))
        order by target_at limit 1 for no key update skip locked"#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|r| {
        (
            r.account,
            TestClock {
                now_at: r.now_at,
                target_at: r.target_at,
            },
        )
    }))
}

/// When the next thing of an account is due, if that is no later than `until`.
///
/// # Errors
/// Of the database.
pub async fn next_due(
    connection: &mut PgConnection,
    account: AccountId,
    until: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "select min(next_step_at) from subscriptions where account_id = $1 and next_step_at is not null and next_step_at <= $2",
        account.0,
        until,
    )
    .fetch_one(connection)
    .await
}

/// Sets what a clock shows. The caller has locked it.
///
/// # Errors
/// Of the database.
pub async fn set(
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update test_clocks set now_at = $2 where account_id = $1",
        account.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
