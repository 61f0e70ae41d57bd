//! The only source of the present time. Tests that need another time use an account's test clock; this one lies only to tests of what a wrong clock does.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

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

    /// Does `work` until a moment, and nothing of it afterwards; `None` if it was not done by then.
    ///
    /// For what may be done only while a lease or a claim holds. A time-out alone does not do: when a process is put to sleep, or its machine is, what wakes first goes on with its
    /// work before any timer is heard, and does what somebody else has done meanwhile. So the time is looked at before each step. By two clocks: this one may be set back, and the
    /// one of timers stands while a machine sleeps.
    pub async fn until<T>(&self, end: DateTime<Utc>, work: impl Future<Output = T>) -> Option<T> {
        let left = (end - self.now()).to_std().unwrap_or(Duration::ZERO);
        let (mut timer, mut work) = (pin!(tokio::time::sleep(left)), pin!(work));
        poll_fn(|context| {
            if timer.as_mut().poll(context).is_ready() || self.now() >= end {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_begun_or_gone_on_with_too_late() {
        let late = Clock.until(Clock.now(), async { panic!("it is too late to begin") });
        assert_eq!(late.await, None::<()>);

        let end = Clock.now() + TimeDelta::milliseconds(50);
        let asleep = Clock.until(end, async {
            // The whole process, as when it is stopped: nobody hears of a timer meanwhile.
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::yield_now().await;
            panic!("it is too late to go on")
        });
        assert_eq!(asleep.await, None::<()>);

        let end = Clock.now() + TimeDelta::minutes(1);
        assert_eq!(Clock.until(end, async { 7 }).await, Some(7));
    }
}
