//! The only source of the present time. Tests that need another time use an account's test clock; this one lies only to tests of what a wrong clock does.

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time.
#[derive(Clone, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Now, to the microsecond, which is what PostgreSQL keeps: a time written and read again is equal.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> DateTime<Utc> {
        let now = Utc::now() + moved();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }
}

#[cfg(not(debug_assertions))]
fn moved() -> TimeDelta {
    TimeDelta::zero()
}

/// By how much a test has moved this clock: in a debug build `SEWA_FAULT_CLOCK` names a file that holds a number of seconds.
#[cfg(debug_assertions)]
#[expect(
    clippy::disallowed_methods,
    reason = "what a test asks for is no setting of the platform"
)]
fn moved() -> TimeDelta {
    static FILE: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let file = FILE.get_or_init(|| std::env::var_os("SEWA_FAULT_CLOCK"));
    let text = file
        .as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok());
    let seconds = text.and_then(|text| text.trim().parse().ok());
    TimeDelta::seconds(seconds.unwrap_or_default())
}
