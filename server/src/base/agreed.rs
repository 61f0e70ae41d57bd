//! Whether this process and PostgreSQL agree what time it is.
//!
//! A clock that is wrong by days would have every period renewed and every machine of whoever cannot pay suspended and deleted, and leave leases behind that end in a
//! month. So nothing is done by a clock that PostgreSQL's contradicts: jobs rest, calls are told to come again, and the server is not ready. Between two questions
//! the monotonic clock says what time it should be, so a jump is noticed at once and not at the next question.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::base::db::{PgPool, within};

/// Replicas and PostgreSQL may differ by this much. Leases and grace are longer or do not mind.
const TOLERANCE: TimeDelta = TimeDelta::minutes(15);
/// How often PostgreSQL is asked.
const EVERY: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What PostgreSQL's clock showed when this process's monotonic clock stood at zero, in microseconds since 1970.
#[derive(Clone, Debug)]
pub struct Agreed(Arc<AtomicI64>);

impl Agreed {
    /// Asks PostgreSQL now, and then again and again.
    ///
    /// # Errors
    /// If it does not answer the first time.
    pub async fn start(
        db: &PgPool,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<Self, sqlx::Error> {
        let agreed = Self(Arc::new(AtomicI64::new(origin(db).await?)));
        tokio::spawn(agreed.clone().follow(db.clone(), clock, stop));
        Ok(agreed)
    }

    async fn follow(self, db: PgPool, clock: Clock, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = clock.now();
            if !self.holds(now) {
                let apart = self.apart(now).num_seconds();
                tracing::error!(
                    seconds = apart,
                    "this clock and PostgreSQL's disagree: nothing is done by either"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            match within(PATIENCE, origin(&db)).await {
                Ok(origin) => self.0.store(origin, Ordering::Relaxed),
                // What it said last goes on by the monotonic clock.
                Err(error) => tracing::debug!(%error, "PostgreSQL was not asked for the time"),
            }
        }
    }

    /// Whether a reading of the clock is one to act on.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.apart(now).abs() <= TOLERANCE
    }

    fn apart(&self, now: DateTime<Utc>) -> TimeDelta {
        let theirs = self.0.load(Ordering::Relaxed).saturating_add(passed());
        TimeDelta::microseconds(now.timestamp_micros().saturating_sub(theirs))
    }
}

/// Microseconds of the monotonic clock.
fn passed() -> i64 {
    i64::try_from(STARTED.elapsed().as_micros()).unwrap_or(i64::MAX)
}

async fn origin(db: &PgPool) -> Result<i64, sqlx::Error> {
    let theirs = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
        .fetch_one(db)
        .await?;
    Ok(theirs.timestamp_micros().saturating_sub(passed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_may_be_minutes_away_and_not_an_hour() {
        let now = Clock.now();
        let agreed = Agreed(Arc::new(AtomicI64::new(now.timestamp_micros() - passed())));
        for (minutes, holds) in [
            (0, true),
            (10, true),
            (-10, true),
            (60, false),
            (-60, false),
            (43_200, false),
            (-43_200, false),
        ] {
            assert_eq!(
                agreed.holds(now + TimeDelta::minutes(minutes)),
                holds,
                "{minutes}"
            );
        }
    }
}
