//! Operations that finished long ago are forgotten. What they did stands in the history of the order and the state of the instance.

use chrono::Duration;
use uuid::Uuid;

use crate::app::App;
use crate::base::walk;
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
    let bound = first_id_at((now - keep).timestamp_millis());
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

/// The least id of version 7 made at that time, in milliseconds. Ids are made by the wall clock, whatever an account's test clock says.
fn first_id_at(millis: i64) -> Uuid {
    Uuid::from_u128(u128::try_from(millis).unwrap_or_default() << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_are_beyond_the_bound() {
        let id = Uuid::now_v7();
        let (seconds, nanos) = id.get_timestamp().expect("a time").to_unix();
        let millis = i64::try_from(seconds * 1000 + u64::from(nanos) / 1_000_000).expect("a time");
        assert!(first_id_at(millis) <= id && id < first_id_at(millis + 1));
    }
}
