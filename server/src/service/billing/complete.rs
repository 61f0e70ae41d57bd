//! Which accounts have a complete profile, remembered for a while: every order of an account with real money asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Duration, Utc};

use crate::app::App;
use crate::base::id::AccountId;
use crate::service::billing::store;

/// Accounts remembered at most.
const MOST: usize = 100_000;
/// How long an answer is remembered; a profile that another replica empties counts as complete for so long.
const MEMORY: Duration = Duration::minutes(1);

/// The memory. Only complete profiles are in it, so that who has just completed theirs may order at once.
#[derive(Clone, Debug, Default)]
pub struct Complete(Arc<Mutex<HashMap<AccountId, DateTime<Utc>>>>);

impl Complete {
    /// Looks at the profile when it is asked next.
    pub fn forget(&self, account: AccountId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&account);
    }

    fn knows(&self, account: AccountId, now: DateTime<Utc>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&account).is_some_and(|until| now < *until)
    }

    fn learn(&self, account: AccountId, now: DateTime<Utc>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(account, now + MEMORY);
    }
}

/// Whether an account's profile has what an order with real money needs.
///
/// # Errors
/// Of the database.
pub async fn is_complete(app: &App, account: AccountId) -> Result<bool, sqlx::Error> {
    let now = app.clock.now();
    if app.billing.knows(account, now) {
        return Ok(true);
    }
    // Boxed, as it is rare and large.
    let complete = Box::pin(store::get(&app.db, account)).await?.is_complete();
    if complete {
        app.billing.learn(account, now);
    }
    Ok(complete)
}
