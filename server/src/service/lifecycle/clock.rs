//! Test clocks: an account's own time. The clock stands still until it is sent on; the worker then walks it from one due thing to the next, so that each
//! happens at its own time.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::fault::{self, Step};
use crate::base::id::AccountId;
use crate::service::lifecycle::store::{self, clocks};
use crate::service::lifecycle::sweep;

/// A clock.
#[derive(Clone, Copy, Debug)]
pub struct TestClock {
    /// What it shows.
    pub now_at: DateTime<Utc>,
    /// Where it is going.
    pub target_at: DateTime<Utc>,
}

/// The time of an account, and whether it is a test clock's or the platform's.
///
/// # Errors
/// Of the database.
pub async fn now(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<(DateTime<Utc>, bool), sqlx::Error> {
    Ok(clocks::get(connection, account)
        .await?
        .map_or_else(|| (app.clock.now(), false), |clock| (clock.now_at, true)))
}

/// Does everything that is due in one account at `now`. Each pass moves its subscriptions on, so it ends.
///
/// # Errors
/// Of the database.
pub async fn settle_due(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
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
    let Some((account, clock)) = clocks::advancing_for_update(&mut tx).await? else {
        return Ok(false);
    };
    let due = clocks::next_due(&mut tx, account, clock.target_at).await?;
    let now = due.map_or(clock.target_at, |due| due.max(clock.now_at));
    settle_due(app, &mut tx, account, now).await?;
    clocks::set(&mut tx, account, now).await?;
    fault::around(Step::ClockWalk, tx.commit()).await?;
    app.tail.wake();
    Ok(true)
}
