//! Deposits that were not paid in time expire, and callbacks of long ago are forgotten. Those of a gateway that can be asked are closed by what it says (`gateway`), because it may know better.

use chrono::Duration;

use crate::app::App;
use crate::service::wallet::deposit::DepositState;
use crate::service::wallet::gateway;
use crate::service::wallet::store::{deposits, payments};

/// Deposits handled in one transaction.
const CHUNK: i64 = 500;

/// Expires what is due, and returns how many deposits that were. Repeats safely; any number of replicas may run it together.
///
/// # Errors
/// Of the database; nothing of the chunk is done then.
pub async fn expire_deposits(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let due = deposits::expiring_deposits_for_update(&mut tx, now, CHUNK).await?;
    let count = due.len();
    for (account, id) in due {
        let Some(mut deposit) = deposits::get_deposit(&mut tx, account, id).await? else {
            continue;
        };
        let mut events = Vec::new();
        gateway::close(&mut deposit, DepositState::Expired, now, &mut events);
        gateway::finish(app, &mut tx, deposit, &events, now).await?;
    }
    tx.commit().await?;
    if count > 0 {
        app.tail.wake();
    }
    Ok(count)
}

/// Callbacks forgotten in one step.
const FORGOTTEN: i64 = 1000;

/// Forgets some of the callbacks that are older than the settings say, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_callbacks(app: &App) -> Result<usize, sqlx::Error> {
    let keep: Duration = app.config.retention.callbacks();
    let before = app.clock.now() - keep;
    let gone = payments::forget_callbacks(&app.db, before, FORGOTTEN).await?;
    Ok(usize::try_from(gone).unwrap_or_default())
}
