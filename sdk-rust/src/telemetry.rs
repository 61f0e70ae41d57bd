//! What the SDK tells its host about each attempt.

use std::time::Duration;

use tonic::Code;

use crate::error::Reason;

/// One attempt of a call, after it ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// Path of the method, `/package.Service/Method`.
    pub method: &'a str,
    /// The id all attempts of one call share.
    pub request_id: &'a str,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// How it ended. A stream counts as `Ok` once it is open.
    pub code: Code,
    /// The reason, if it failed and the server gave one.
    pub reason: Option<&'a Reason>,
    /// How long it took.
    pub elapsed: Duration,
    /// The wait before the next attempt; `None` after the last one.
    pub repeat_after: Option<Duration>,
}

/// Receives every attempt, for metrics and traces. Any `Fn(&Attempt)` is one. It is called on the path of the call and must not block.
pub trait Observer: Send + Sync + 'static {
    /// Called when an attempt has ended.
    fn on_attempt(&self, attempt: &Attempt<'_>);
}

impl<F> Observer for F
where
    F: Fn(&Attempt<'_>) + Send + Sync + 'static,
{
    fn on_attempt(&self, attempt: &Attempt<'_>) {
        self(attempt);
    }
}
