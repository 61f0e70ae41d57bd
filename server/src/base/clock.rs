//! The only source of the present time. Tests that need another time use an account's test clock; this one never lies.

use chrono::{DateTime, Utc};

/// Tells the time.
#[derive(Clone, Debug, Default)]
pub struct Clock;

impl Clock {
    /// Now, to the microsecond, which is what PostgreSQL keeps: a time written and read again is equal.
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    pub fn now(&self) -> DateTime<Utc> {
        let now = Utc::now();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }
}
