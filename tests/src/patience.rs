//! Waiting for a state instead of for a time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a failure. Far more than it needs, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(20);

/// Repeats `look` until it finds something, and returns that.
///
/// # Panics
/// After [`PATIENCE`], with `what` and the last thing seen.
pub async fn eventually<T, S, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    S: std::fmt::Debug,
    F: Future<Output = Result<T, S>>,
{
    let started = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if started.elapsed() > PATIENCE => {
                panic!("waited {PATIENCE:?} in vain until {what}; last seen: {seen:?}")
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
