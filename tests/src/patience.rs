//! Waiting for a state instead of for a time.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a failure. Far more than it needs, so that a busy machine fails nothing.
pub const PATIENCE: Duration = Duration::from_secs(150);
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

/// The outcome of something that is to come by itself.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, coming).await;
    came.unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}

/// The next message of a stream that is to go on.
///
/// # Panics
/// If it ends, fails, or is silent for too long.
pub async fn next<T>(stream: &mut tonic::Streaming<T>) -> T {
    let message = soon("the next message of a stream", stream.message()).await;
    message
        .expect("the stream goes on")
        .expect("the stream does not end")
}
