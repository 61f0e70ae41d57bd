//! Operations that finished long ago are forgotten. What they did stands in the history of the order and the state of the instance.

use chrono::Duration;

use crate::app::App;
use crate::base::{id, walk};
use crate::service::operation::store;

/// Accounts in one step.
const ACCOUNTS: i64 = 100;
/// Operations of one account deleted in one step.
const EACH: i64 = 200;

/// Forgets some of the operations that were begun longer ago than the settings say and have finished. Returns how much there was to do.
///
/// # Errors
/// Of the database.
pub async fn forget(app: &App) -> sqlx::Result<usize> {
    let now = app.clock.now();
    let keep = app.config.retention.operations();
    let Some(mut turn) = walk::turn(&app.db, "forget operations", now).await? else {
        return Ok(0);
    };
    let accounts = store::accounts_after(&mut turn.tx, turn.after, ACCOUNTS).await?;
    let bound = id::first_at(now - keep);
    let gone = store::forget_finished(&mut turn.tx, &accounts, bound, EACH).await?;
    let gone_here = i64::try_from(gone).unwrap_or(i64::MAX);
    let reached = if gone_here >= EACH {
        Some(turn.after)
    } else {
        accounts.last().copied()
    };
    turn.end(reached, now + (keep / 20).min(Duration::hours(1)))
        .await?;
    Ok(usize::try_from(gone)
        .unwrap_or_default()
        .max(accounts.len()))
}
