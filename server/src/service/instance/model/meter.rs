//! The rules of measuring: what a reading of a machine adds to what was written down before. Pure.
//!
//! Counters of a machine begin anew when it is powered on. A reading that shows a start since the last one adds all it shows, one that shows none adds the difference. What a machine
//! moved between the last reading and its end is not known, and not made up.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::base::id::{AccountId, InstanceId, PlanId, ProviderAccountId};
use crate::provider::compute::metrics::{
    Counters, Moved, Now, Reading, Sample, Step, Total, floor, month_of,
};

/// How old what a cloud shows may be: by less than this, nothing is concluded from how long a machine has been on.
const STALE: TimeDelta = TimeDelta::seconds(60);
/// The longest time over which a speed is reckoned. What moved in a longer one is counted, and not drawn as if it had moved in its last minute.
const LONGEST: TimeDelta = TimeDelta::minutes(5);
/// Bytes of a GiB.
const GIB: i64 = 1 << 30;

/// How far the reading of a machine has come.
#[derive(Clone, Debug)]
pub struct Meter {
    /// The account.
    pub account: AccountId,
    /// Whose machine it is.
    pub instance: InstanceId,
    /// Raised by whoever reads it.
    pub fence: i64,
    /// The counters of the last reading, and when that was.
    pub last: Option<(DateTime<Utc>, Counters)>,
    /// The end of what was read of its series.
    pub read_until: Option<DateTime<Utc>>,
    /// When the instance was ordered. What its machine counted before is somebody else's.
    pub created_at: DateTime<Utc>,
    /// Who runs it.
    pub provider: String,
    /// The account it is at.
    pub provider_account: Option<ProviderAccountId>,
    /// The provider's name of it.
    pub provider_ref: Option<String>,
    /// The plan.
    pub plan: PlanId,
    /// Its virtual processors.
    pub vcpus: i32,
}

/// What is written down of a reading.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Booking {
    /// The counters of this reading; those of the last one stay if `None`.
    pub last: Option<(DateTime<Utc>, Counters)>,
    /// The end of what was read of its series; it stays if `None`.
    pub read_until: Option<DateTime<Utc>>,
    /// The span of the samples.
    pub step: Step,
    /// Samples.
    pub samples: Vec<Sample>,
    /// Bytes to add to months: received, sent.
    pub moved: BTreeMap<NaiveDate, (i64, i64)>,
    /// Sums of months as the provider counts them.
    pub totals: Vec<Total>,
}

impl Meter {
    /// What a reading made at a moment adds.
    pub fn book(&self, reading: &Reading, at: DateTime<Utc>) -> Booking {
        match reading {
            Reading::Now(now) => self.book_now(now, at),
            Reading::Since(since) => {
                let mut moved = BTreeMap::new();
                for span in &since.moved {
                    apportion(span, &mut moved);
                }
                Booking {
                    last: None,
                    read_until: since.until,
                    step: since.step,
                    samples: since.samples.clone(),
                    moved,
                    totals: since.months.clone(),
                }
            }
        }
    }

    /// When it is read next. Each machine has its own place in the first three quarters of the interval, so that they do not all come at once, and so that each minute has a reading
    /// in it though whoever reads comes a little late.
    pub fn next(&self, read_at: DateTime<Utc>, interval: TimeDelta) -> DateTime<Utc> {
        // The last bits of an id are random.
        let last = self.instance.0.as_bytes().last().copied();
        let place = interval * i32::from(last.unwrap_or_default()) / 340;
        floor(read_at, interval) + interval + place
    }

    fn book_now(&self, now: &Now, at: DateTime<Utc>) -> Booking {
        let counted = self.counted(&now.counters, at);
        let mut moved = BTreeMap::new();
        if let Some((from, counted)) = counted {
            let span = Moved {
                from,
                to: at,
                received: counted.network_in,
                sent: counted.network_out,
            };
            apportion(&span, &mut moved);
        }
        // A month without traffic has a row, too: that it was read is what it says.
        moved.entry(month_of(at)).or_default();
        let passed = self.last.map(|(last, _)| at - last);
        let speed = |bytes: fn(&Counters) -> i64| {
            let (_, counted) = counted?;
            let ms = passed.filter(|p| *p <= LONGEST)?.num_milliseconds();
            (ms > 0)
                .then(|| i64::try_from(i128::from(bytes(&counted)) * 1000 / i128::from(ms)))?
                .ok()
        };
        let sample = Sample {
            cpu_percent: Some(now.cpu_percent),
            memory_bytes: Some(now.memory_bytes),
            disk_read: speed(|c| c.disk_read),
            disk_write: speed(|c| c.disk_write),
            network_in: speed(|c| c.network_in),
            network_out: speed(|c| c.network_out),
            at: floor(at, Step::Minute.span()),
        };
        Booking {
            last: Some((at, now.counters)),
            read_until: Some(at),
            step: Step::Minute,
            samples: vec![sample],
            moved,
            totals: Vec::new(),
        }
    }

    /// What was counted since the last reading, and since when; `None` if that is not known.
    fn counted(&self, now: &Counters, at: DateTime<Utc>) -> Option<(DateTime<Utc>, Counters)> {
        let started = at - TimeDelta::seconds(now.uptime_seconds);
        match self.last {
            Some((last, before)) if !restarted(&before, now, at - last) => {
                Some((last, minus(now, &before)))
            }
            Some((last, _)) => Some((started.max(last), *now)),
            // The first reading of a machine that was made for this instance; of one that was there before, its counters are where counting begins.
            None => (started + STALE >= self.created_at).then_some((started, *now)),
        }
    }
}

/// Whether a machine was powered on between two readings.
fn restarted(before: &Counters, now: &Counters, passed: TimeDelta) -> bool {
    let pairs = [
        (before.uptime_seconds, now.uptime_seconds),
        (before.network_in, now.network_in),
        (before.network_out, now.network_out),
        (before.disk_read, now.disk_read),
        (before.disk_write, now.disk_write),
    ];
    let went_back = pairs.iter().any(|(before, now)| now < before);
    // Its counters may have overtaken the old ones since, but it would have been on for longer.
    let expected = before.uptime_seconds + (passed - STALE).num_seconds();
    went_back || now.uptime_seconds < expected
}

fn minus(now: &Counters, before: &Counters) -> Counters {
    Counters {
        uptime_seconds: now.uptime_seconds,
        network_in: now.network_in - before.network_in,
        network_out: now.network_out - before.network_out,
        disk_read: now.disk_read - before.disk_read,
        disk_write: now.disk_write - before.disk_write,
    }
}

/// The first moment of a month, by UTC.
pub fn begin_of(month: NaiveDate) -> DateTime<Utc> {
    month.and_time(NaiveTime::MIN).and_utc()
}

/// The first day of the month after.
pub fn next(month: NaiveDate) -> NaiveDate {
    month.checked_add_months(Months::new(1)).unwrap_or(month)
}

/// Adds what moved in a span to the months the span is in, by their parts of it. Nothing is lost in rounding: the last month gets the rest.
pub fn apportion(span: &Moved, months: &mut BTreeMap<NaiveDate, (i64, i64)>) {
    let whole = (span.to - span.from).num_milliseconds();
    let (mut received, mut sent) = (span.received.max(0), span.sent.max(0));
    let mut from = span.from;
    while whole > 0 && month_of(from) < month_of(span.to) {
        let end = begin_of(next(month_of(from)));
        let part = |bytes: i64| {
            let share = i128::from(bytes) * i128::from((end - from).num_milliseconds());
            i64::try_from(share / i128::from(whole)).unwrap_or(i64::MAX)
        };
        let (a, b) = (
            part(span.received.max(0)).min(received),
            part(span.sent.max(0)).min(sent),
        );
        let month = months.entry(month_of(from)).or_default();
        *month = (month.0 + a, month.1 + b);
        (received, sent, from) = (received - a, sent - b, end);
    }
    // A month that ends with the span has all of it.
    let last = month_of((span.to - TimeDelta::milliseconds(1)).max(from));
    let month = months.entry(last).or_default();
    *month = (month.0 + received, month.1 + sent);
}

/// What a plan includes in a month, in bytes; `None` if it has no limit.
pub fn included(transfer_gib: i32) -> Option<i64> {
    (transfer_gib > 0).then(|| i64::from(transfer_gib) * GIB)
}

/// What an instance moved in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The instance.
    pub instance: InstanceId,
    /// Who runs it.
    pub provider: String,
    /// The first day of the month, by UTC.
    pub month: NaiveDate,
    /// Bytes received.
    pub received: i64,
    /// Bytes sent.
    pub sent: i64,
    /// Bytes that may be sent; `None` if there is no limit.
    pub included: Option<i64>,
    /// Until when it is counted; `None` if nothing was read.
    pub read_at: Option<DateTime<Utc>>,
}

impl Traffic {
    /// Bytes sent beyond what is included.
    pub fn overage(&self) -> i64 {
        self.included
            .map_or(0, |included| (self.sent - included).max(0))
    }
}
