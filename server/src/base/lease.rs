//! Work on what is leased: rows that one replica at a time takes, for a while.

use std::fmt::Display;
use std::future::Future;

use chrono::{DateTime, Utc};

use crate::base::clock::Clock;

/// Does `work` until the lease ends, and logs what kept it from its end; what was leased stays due then. `what` is its kind and `id` its name.
pub async fn work<E: Display>(
    clock: &Clock,
    end: DateTime<Utc>,
    (what, id): (&str, impl Display),
    work: impl Future<Output = Result<(), E>>,
) {
    match clock.until(end, work).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::error!(what, %id, error = format!("{error:#}"), "work failed; it stays due");
        }
        None => tracing::warn!(what, %id, "a lease ended before its work; it stays due"),
    }
}
