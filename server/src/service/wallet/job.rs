//! Deposits that were not paid in time expire.

use crate::app::App;
use crate::base::outbox;
use crate::service::wallet::deposit::DepositState;
use crate::service::wallet::store;
use sewa_sdk::sewa::event::v1::EventType;

/// Deposits handled in one transaction.
const CHUNK: i64 = 500;

/// Expires what is due, and returns how many deposits that were. Repeats safely; any number of replicas may run it together.
///
/// # Errors
/// Of the database; nothing of the chunk is done then.
pub async fn expire_deposits(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let due = store::expiring_deposits_for_update(&mut tx, now, CHUNK).await?;
    let mut events = Vec::with_capacity(due.len());
    for (account, id, amount) in &due {
        if store::advance_deposit(&mut tx, *account, *id, DepositState::Expired, now).await? {
            events.push(super::deposit_event(
                *account,
                *id,
                2,
                EventType::DepositClosed,
                *amount,
                DepositState::Expired.as_str(),
                now,
            ));
        }
    }
    outbox::insert(&mut tx, &events).await?;
    tx.commit().await?;
    if !events.is_empty() {
        app.tail.wake();
    }
    Ok(events.len())
}
