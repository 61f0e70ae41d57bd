//! Test clocks: an account's own time. The clock stands still until it is sent on; the worker then walks it from one due thing to the next, so that each
//! happens at its own time.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::AccountId;
use crate::service::lifecycle::{store, sweep};

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct TestClock {
    /// What it shows.
    pub now_at: DateTime<Utc>,
    /// Where it is going.
    pub target_at: DateTime<Utc>,
}

/// The time of an account: its clock's, or the platform's.
///
/// # Errors
/// Of the database.
pub async fn now(app: &App, connection: &mut PgConnection, account: AccountId) -> Result<(DateTime<Utc>, bool), sqlx::Error> {
    Ok(get(connection, account).await?.map_or_else(|| (app.clock.now(), false), |clock| (clock.now_at, true)))
}

/// An account's clock.
///
/// # Errors
/// Of the database.
pub async fn get(connection: &mut PgConnection, account: AccountId) -> Result<Option<TestClock>, sqlx::Error> {
    sqlx::query_as!(TestClock, "select now_at, target_at from test_clocks where account_id = $1", account.0).fetch_optional(connection).await
}

/// Gives an account a clock. `None` if it has one.
///
/// # Errors
/// Of the database.
pub async fn create(connection: &mut PgConnection, account: AccountId, now: DateTime<Utc>) -> Result<Option<TestClock>, sqlx::Error> {
    let clock = sqlx::query_as!(
        TestClock,
        "insert into test_clocks (account_id, now_at, target_at) values ($1, $2, $2) on conflict do nothing returning now_at, target_at",
        account.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if clock.is_some() {
        sqlx::query!("update subscriptions set on_test_clock = true where account_id = $1", account.0).execute(connection).await?;
    }
    Ok(clock)
}

/// Sends a clock on. `None` if it is still on its way, or there is none.
///
/// # Errors
/// Of the database.
pub async fn send(connection: &mut PgConnection, account: AccountId, by: chrono::Duration) -> Result<Option<TestClock>, sqlx::Error> {
    let seconds = by.num_milliseconds();
    sqlx::query_as!(
        TestClock,
        "update test_clocks set target_at = now_at + $2::bigint * interval '1 millisecond' where account_id = $1 and target_at = now_at
        returning now_at, target_at",
        account.0,
        seconds,
    )
    .fetch_optional(connection)
    .await
}

/// Does everything that is due in one account at `now`. Each pass moves its subscriptions on, so it ends.
///
/// # Errors
/// Of the database.
pub async fn settle_due(app: &App, connection: &mut PgConnection, account: AccountId, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    loop {
        let due = store::due_of_for_update(connection, account, now, sweep::CHUNK).await?;
        if due.is_empty() {
            return Ok(());
        }
        sweep::settle(app, connection, due, now).await?;
    }
}

/// Takes one clock one step further: to the next due thing, which happens, or to its target. False if no clock is on its way that no other replica walks.
///
/// # Errors
/// Of the database; nothing of the step is done then.
pub async fn walk(app: &App) -> Result<bool, sqlx::Error> {
    let mut tx = app.db.begin().await?;
    let advancing = sqlx::query!(
        r#"select account_id as "account: AccountId", now_at, target_at from test_clocks
        where target_at > now_at order by target_at limit 1 for no key update skip locked"#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(clock) = advancing else {
        return Ok(false);
    };
    let due = sqlx::query_scalar!(
        r#"select min(next_step_at) from subscriptions where account_id = $1 and next_step_at is not null and next_step_at <= $2"#,
        clock.account.0,
        clock.target_at,
    )
    .fetch_one(&mut *tx)
    .await?;
    let now = due.map_or(clock.target_at, |due| due.max(clock.now_at));
    settle_due(app, &mut tx, clock.account, now).await?;
    sqlx::query!("update test_clocks set now_at = $2 where account_id = $1", clock.account.0, now).execute(&mut *tx).await?;
    tx.commit().await?;
    app.tail.wake();
    Ok(true)
}
