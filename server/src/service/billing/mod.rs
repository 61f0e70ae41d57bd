//! Who an account's invoices are made out to.
//!
//! Owns: `billing_profiles`. Calls: nobody. Emits nothing: invoices take their own copy when they are issued.
//!
//! What is in a profile is personal data. It is never logged.

pub mod complete;
pub mod convert;
pub mod error;
pub mod model;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::id::AccountId;
use error::Error;
use model::{BillingProfile, Changes};

/// Changes an account's profile, and returns it as it was and as it is.
///
/// # Errors
/// If the tax number has not the form of its kind.
pub async fn update(
    connection: &mut PgConnection,
    account: AccountId,
    changes: Changes,
    now: DateTime<Utc>,
) -> Result<(BillingProfile, BillingProfile), Error> {
    store::insert_empty(connection, account, now).await?;
    let before = store::get_for_update(connection, account).await?;
    let mut after = before.clone().with(changes)?;
    after.updated_at = Some(now);
    store::save(connection, account, &after, now).await?;
    Ok((before, after))
}
