//! What machines use, at clouds that tell.
//!
//! Clouds tell it in two ways. Some show what a machine does now, and counters of bytes since it was powered on, which begin anew with each start: whoever reads them adds up the
//! differences. Others have written down a series, and are asked for what is new in it since the last time. Neither of them decides here what was counted before: that is the
//! reader's, who writes it down together with what it counts.

mod digitalocean;
mod linode;
mod proxmox;
mod vultr;

use std::future::Future;

use async_trait::async_trait;
use chrono::{DateTime, Datelike, DurationRound, Months, NaiveDate, TimeDelta, Utc};
use futures_util::{StreamExt, stream};

use crate::base::time;
use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Vendor;

/// Machines of one account that are read at once, where each takes calls of its own.
const AT_ONCE: usize = 4;

/// What a cloud tells of its machines. It is only ever read.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// What it tells, and how often it may be asked.
    fn gives(&self) -> Gives;

    /// Reads machines: one answer for each, in the order they were named. `NotFound` of a machine the cloud does not have.
    async fn read(
        &self,
        asked: &[Asked],
        now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>>;
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Processor time, in percent of all virtual processors together.
    Cpu,
    /// Memory in use, in bytes.
    Memory,
    /// Read from disk, in bytes a second.
    DiskRead,
    /// Written to disk, in bytes a second.
    DiskWrite,
    /// Received, in bytes a second.
    NetworkIn,
    /// Sent, in bytes a second.
    NetworkOut,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Cpu,
        Self::Memory,
        Self::DiskRead,
        Self::DiskWrite,
        Self::NetworkIn,
        Self::NetworkOut,
    ];
}

/// What a cloud tells, and how often it may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gives {
    /// What it measures over time; nothing if it has no metrics.
    pub kinds: &'static [Kind],
    /// Whether it tells how many bytes moved over the public network.
    pub traffic: bool,
    /// Whether that is summed up from how fast they moved.
    pub estimated: bool,
    /// How often a machine is read, in minutes, where there are few.
    pub minutes: i64,
    /// Machines of one account that are read in an hour at most, which leaves most of what the cloud allows to other work; `None` where it has no limits.
    pub an_hour: Option<i64>,
}

impl Gives {
    /// How long a machine rests between two readings, in an account that has so many.
    pub fn interval(&self, machines: i64) -> TimeDelta {
        let own = TimeDelta::minutes(self.minutes);
        let fair = self.an_hour.map_or(0, |most| machines * 3600 / most.max(1));
        own.max(TimeDelta::seconds(fair))
    }

    /// Machines of one account that are read in one go.
    pub fn in_one_go(&self) -> usize {
        self.an_hour.map_or(usize::MAX, |most| {
            usize::try_from(most / 60).unwrap_or(1).max(1)
        })
    }
}

/// A machine to read.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The cloud's name for it.
    pub provider_ref: String,
    /// Its virtual processors.
    pub vcpus: i32,
    /// The end of what was read of its series so far; when it was ordered, if nothing was.
    pub since: DateTime<Utc>,
}

/// What was read of a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// What it does now.
    Now(Now),
    /// What was written down since.
    Since(Since),
}

/// What a machine does now.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Now {
    /// Processor time in percent.
    pub cpu_percent: f32,
    /// Memory in use.
    pub memory_bytes: i64,
    /// What it counted.
    pub counters: Counters,
}

/// What a machine counted since it was powered on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How long ago it was powered on; 0 if it is off.
    pub uptime_seconds: i64,
    /// Bytes received.
    pub network_in: i64,
    /// Bytes sent.
    pub network_out: i64,
    /// Bytes read from disk.
    pub disk_read: i64,
    /// Bytes written to disk.
    pub disk_write: i64,
}

/// What a cloud has written down of a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Since {
    /// The span of a sample.
    pub step: Step,
    /// Samples that are complete, oldest first; none twice.
    pub samples: Vec<Sample>,
    /// What moved after the end of what was read before, where the cloud tells how fast.
    pub moved: Vec<Moved>,
    /// What moved in whole months so far, where the cloud counts itself.
    pub months: Vec<Total>,
    /// The end of what was read now. `None` leaves it where it was.
    pub until: Option<DateTime<Utc>>,
}

/// The span of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Step {
    /// A minute.
    #[default]
    Minute,
    /// Five minutes.
    FiveMinutes,
}

impl Step {
    /// How long it is.
    pub fn span(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::FiveMinutes => TimeDelta::minutes(5),
        }
    }

    /// Where the span begins that ends with, or has in it, what was measured at this moment.
    pub fn before(self, at: DateTime<Utc>) -> DateTime<Utc> {
        floor(at - TimeDelta::milliseconds(1), self.span())
    }
}

/// The last whole multiple of a span at or before a moment.
pub fn floor(at: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
    at.duration_trunc(span).unwrap_or(at)
}

/// Averages over a span. What was not measured is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Where the span begins.
    pub at: DateTime<Utc>,
    /// Processor time in percent.
    pub cpu_percent: Option<f32>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<i64>,
    /// Read from disk, in bytes a second.
    pub disk_read: Option<i64>,
    /// Written to disk, in bytes a second.
    pub disk_write: Option<i64>,
    /// Received, in bytes a second.
    pub network_in: Option<i64>,
    /// Sent, in bytes a second.
    pub network_out: Option<i64>,
}

impl Sample {
    /// One in which nothing was measured yet.
    pub fn at(at: DateTime<Utc>) -> Self {
        Self {
            at,
            cpu_percent: None,
            memory_bytes: None,
            disk_read: None,
            disk_write: None,
            network_in: None,
            network_out: None,
        }
    }

    /// What was measured of a kind.
    pub fn value(&self, kind: Kind) -> Option<f64> {
        let whole = |number: Option<i64>| number.map(|n| n as f64);
        match kind {
            Kind::Cpu => self.cpu_percent.map(f64::from),
            Kind::Memory => whole(self.memory_bytes),
            Kind::DiskRead => whole(self.disk_read),
            Kind::DiskWrite => whole(self.disk_write),
            Kind::NetworkIn => whole(self.network_in),
            Kind::NetworkOut => whole(self.network_out),
        }
    }
}

/// Bytes that moved in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// From here on.
    pub from: DateTime<Utc>,
    /// Until here.
    pub to: DateTime<Utc>,
    /// Bytes received.
    pub received: i64,
    /// Bytes sent.
    pub sent: i64,
}

/// Bytes that moved in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// The first day of the month, by UTC.
    pub month: NaiveDate,
    /// Bytes received.
    pub received: i64,
    /// Bytes sent.
    pub sent: i64,
}

/// The first day of a moment's month, by UTC.
pub fn month_of(at: DateTime<Utc>) -> NaiveDate {
    time::first_of_month(at.date_naive())
}

/// The month of a moment, after the one before while that may still grow: until a day of the month.
fn open_months(now: DateTime<Utc>, until: u32) -> impl Iterator<Item = NaiveDate> {
    let present = month_of(now);
    let last = (now.day() <= until).then(|| present.checked_sub_months(Months::new(1)));
    last.flatten().into_iter().chain([present])
}

/// What is told of machines at a vendor; `None` if nothing is.
pub fn of(vendor: Vendor) -> Option<Gives> {
    match vendor {
        Vendor::DigitalOcean => Some(digitalocean::GIVES),
        Vendor::Linode => Some(linode::GIVES),
        Vendor::Proxmox => Some(proxmox::GIVES),
        Vendor::Vsphere => None,
        Vendor::Vultr => Some(vultr::GIVES),
    }
}

/// Waits for readings of machines that take calls of their own, a few at once.
async fn each<F>(reads: Vec<F>) -> Vec<Result<Reading, ProviderError>>
where
    F: Future<Output = Result<Since, ProviderError>> + Send,
{
    let mut reads = stream::iter(reads).buffered(AT_ONCE);
    let mut all = Vec::new();
    while let Some(read) = reads.next().await {
        all.push(read.map(Reading::Since));
    }
    all
}

/// A number of bytes, or of bytes a second, from what a cloud says in other units. Less than nothing is nothing.
fn bytes(number: f64) -> i64 {
    if number.is_finite() {
        number.round().clamp(0.0, 9e18) as i64
    } else {
        0
    }
}

/// A percentage within its bounds.
fn percent(number: f64) -> f32 {
    if number.is_finite() {
        number.clamp(0.0, 100.0) as f32
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::compute::vendor::Access;

    #[test]
    fn what_is_promised_of_a_vendor_its_adapter_does() {
        for vendor in Vendor::ALL {
            let cloud = vendor.connect(&Access::nowhere()).unwrap();
            assert_eq!(cloud.metrics().map(|m| m.gives()), of(vendor), "{vendor:?}");
        }
    }

    #[test]
    fn an_account_with_many_machines_reads_each_less_often() {
        let gives = Gives {
            kinds: &[],
            traffic: true,
            estimated: false,
            minutes: 10,
            an_hour: Some(600),
        };
        assert_eq!(gives.interval(1), TimeDelta::minutes(10));
        assert_eq!(gives.interval(100), TimeDelta::minutes(10));
        assert_eq!(gives.interval(600), TimeDelta::minutes(60));
        assert_eq!(gives.in_one_go(), 10);
        let free = Gives {
            an_hour: None,
            ..gives
        };
        assert_eq!(free.interval(1_000_000), TimeDelta::minutes(10));
    }

    #[test]
    fn what_is_measured_at_the_end_of_a_span_belongs_to_it() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let five = at("2026-11-21T00:05:00Z");
        assert_eq!(Step::FiveMinutes.before(five), at("2026-11-21T00:00:00Z"));
        assert_eq!(
            Step::Minute.before(at("2026-11-21T00:05:01Z")),
            at("2026-11-21T00:05:00Z")
        );
    }

    #[test]
    fn months_are_those_of_utc() {
        let at = "2026-11-30T23:59:59Z".parse::<DateTime<Utc>>().unwrap();
        let first = |month| NaiveDate::from_ymd_opt(2026, month, 1).unwrap();
        assert_eq!(month_of(at), first(11));
        assert_eq!(month_of(at + TimeDelta::seconds(1)), first(12));
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        assert_eq!((bytes(1.5), bytes(-1.0), bytes(f64::NAN)), (2, 0, 0));
        assert!((percent(250.0) - 100.0).abs() < f32::EPSILON);
    }
}
