//! Metrics at DigitalOcean, which its agent in the guest writes down: processor time as seconds by mode, added up since the machine booted; memory; and how fast bytes move on the
//! public network, in megabits a second. It counts no bytes for one machine, so they are summed up from that. Of disks it says how full they are, and not what moves.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::{Asked, Gives, Kind, Metrics, Moved, Reading, Sample, Since, Step, bytes, each};
use super::{floor, percent};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{list, text};
use crate::provider::compute::digitalocean::{DigitalOcean, number};
use crate::provider::compute::line::Ask;

/// What it tells. Each reading takes five calls, of 5,000 an hour and 250 a minute.
pub(super) const GIVES: Gives = Gives {
    kinds: &[Kind::Cpu, Kind::Memory, Kind::NetworkIn, Kind::NetworkOut],
    traffic: true,
    estimated: true,
    minutes: 15,
    an_hour: Some(400),
};

/// How late a point may come.
const LATE: TimeDelta = TimeDelta::minutes(2);
/// The longest that one point is taken to stand for. Points come every minute or so; where there are none for longer the machine was off, or its agent was.
const GAP: TimeDelta = TimeDelta::minutes(10);
/// How far back is looked.
const BACK: TimeDelta = TimeDelta::hours(24);
/// Bytes in a megabit.
const MEGABIT: f64 = 125_000.0;

type Points = BTreeMap<DateTime<Utc>, f64>;

/// The points of one series.
fn points(series: &Value) -> Points {
    let point = |point: &Value| {
        let at = DateTime::from_timestamp(point.get(0)?.as_i64()?, 0)?;
        Some((at, point.get(1)?.as_str()?.parse::<f64>().ok()?))
    };
    let values = list(series, "/values").unwrap_or_default();
    values.iter().filter_map(point).collect()
}

/// The points of a metric that has one series; where it has several, as one for each address, their sum.
fn sum(reply: &Value) -> Points {
    let mut all = Points::new();
    for series in list(reply, "/data/result").unwrap_or_default() {
        for (at, value) in points(series) {
            *all.entry(at).or_default() += value;
        }
    }
    all
}

/// One of them.
type Point<'p> = (&'p DateTime<Utc>, &'p f64);

/// Percentages from seconds by mode: what was not idle, of all that passed between two points. A total that went back is a machine that booted.
fn busy(reply: &Value) -> Points {
    let (mut all, mut idle) = (Points::new(), Points::new());
    for series in list(reply, "/data/result").unwrap_or_default() {
        let waits = matches!(text(series, "/metric/mode"), Some("idle" | "iowait"));
        for (at, seconds) in points(series) {
            *all.entry(at).or_default() += seconds;
            if waits {
                *idle.entry(at).or_default() += seconds;
            }
        }
    }
    let pairs = all.iter().zip(all.iter().skip(1));
    let share = |((before, was), (at, is)): (Point<'_>, Point<'_>)| {
        let passed = is - was;
        let idled = idle.get(at).copied().unwrap_or_default()
            - idle.get(before).copied().unwrap_or_default();
        let usable = passed > 0.0 && idled >= 0.0 && *at - *before <= GAP;
        usable.then(|| (*at, (1.0 - idled / passed) * 100.0))
    };
    pairs.filter_map(share).collect()
}

/// What was in use: all there is without what is available.
fn used(total: &Points, available: &Points) -> Points {
    let both = |(at, all): Point<'_>| Some((*at, all - available.get(at)?));
    total.iter().filter_map(both).collect()
}

/// Averages by minutes, of points after `since` and up to `until`.
fn by_minutes(
    points: &Points,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> BTreeMap<DateTime<Utc>, f64> {
    let mut sums: BTreeMap<DateTime<Utc>, (f64, f64)> = BTreeMap::new();
    for (at, value) in points
        .iter()
        .filter(|(at, _)| **at > since && **at <= until)
    {
        let (sum, count) = sums.entry(Step::Minute.before(*at)).or_default();
        *sum += value;
        *count += 1.0;
    }
    sums.into_iter()
        .map(|(at, (sum, count))| (at, sum / count))
        .collect()
}

/// Bytes by the points after `since` and up to `until`, each standing for the time since the one before it.
fn moved(
    received: &Points,
    sent: &Points,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<Moved> {
    let mut all = Vec::new();
    for (points, is_sent) in [(received, false), (sent, true)] {
        for ((before, _), (at, megabits)) in points.iter().zip(points.iter().skip(1)) {
            if *at <= since || *at > until {
                continue;
            }
            let from = (*before).max(*at - GAP);
            let seconds = (*at - from).num_milliseconds() as f64 / 1000.0;
            let amount = bytes(megabits * MEGABIT * seconds);
            all.push(Moved {
                from,
                to: *at,
                received: if is_sent { 0 } else { amount },
                sent: if is_sent { amount } else { 0 },
            });
        }
    }
    all
}

/// What is new in five replies: received, sent, processor, memory, memory available.
fn new_in(replies: &[Value; 5], since: DateTime<Utc>, now: DateTime<Utc>) -> Since {
    let [received, sent, cpu, total, available] = replies;
    let (received, sent) = (sum(received), sum(sent));
    let (cpu, memory) = (busy(cpu), used(&sum(total), &sum(available)));
    // Only as far as every series of bytes has come: what is past that is read the next time.
    let ends = [&received, &sent].map(|s| s.last_key_value().map(|(at, _)| *at));
    let [Some(a), Some(b)] = ends else {
        return Since::default();
    };
    let until = floor((now - LATE).min(a).min(b), Step::Minute.span());
    if until <= since {
        return Since::default();
    }
    let [cpu, memory, inward, outward] =
        [&cpu, &memory, &received, &sent].map(|points| by_minutes(points, since, until));
    let mut minutes: Vec<DateTime<Utc>> = [&cpu, &memory, &inward, &outward]
        .into_iter()
        .flat_map(|m| m.keys().copied())
        .collect();
    minutes.sort_unstable();
    minutes.dedup();
    let sample = |at: DateTime<Utc>| Sample {
        cpu_percent: cpu.get(&at).map(|p| percent(*p)),
        memory_bytes: memory.get(&at).map(|b| bytes(*b)),
        network_in: inward.get(&at).map(|m| bytes(m * MEGABIT)),
        network_out: outward.get(&at).map(|m| bytes(m * MEGABIT)),
        ..Sample::at(at)
    };
    Since {
        step: Step::Minute,
        samples: minutes.into_iter().map(sample).collect(),
        moved: moved(&received, &sent, since, until),
        months: Vec::new(),
        until: Some(until),
    }
}

impl DigitalOcean {
    async fn monitored(&self, one: &Asked, now: DateTime<Utc>) -> Result<Since, ProviderError> {
        let id = number(&one.provider_ref)?;
        let since = one.since.max(now - BACK);
        // The point before the first new one says since when that one holds.
        let (start, end) = ((since - GAP).timestamp(), now.timestamp());
        let mut replies: [Value; 5] = Default::default();
        let metrics = [
            ("bandwidth", "&interface=public&direction=inbound"),
            ("bandwidth", "&interface=public&direction=outbound"),
            ("cpu", ""),
            ("memory_total", ""),
            ("memory_available", ""),
        ];
        for (reply, (metric, query)) in replies.iter_mut().zip(metrics) {
            let path = format!(
                "/v2/monitoring/metrics/droplet/{metric}?host_id={id}{query}&start={start}&end={end}"
            );
            *reply = self.ask(&Ask::get(path)).await?;
        }
        Ok(new_in(&replies, since, now))
    }
}

#[async_trait]
impl Metrics for DigitalOcean {
    fn gives(&self) -> Gives {
        GIVES
    }

    async fn read(
        &self,
        asked: &[Asked],
        now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>> {
        each(asked.iter().map(|one| self.monitored(one, now)).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_219_200 + seconds, 0).unwrap()
    }

    fn one(mode: &str, values: &[(i64, f64)]) -> Value {
        let values: Vec<Value> = values
            .iter()
            .map(|(s, v)| json!([at(*s).timestamp(), v.to_string()]))
            .collect();
        json!({"metric": {"host_id": "1", "mode": mode}, "values": values})
    }

    fn reply(series: &[Value]) -> Value {
        json!({"status": "success", "data": {"resultType": "matrix", "result": series}})
    }

    #[test]
    fn percentages_come_from_seconds_and_a_boot_gives_none() {
        let cpu = reply(&[
            one("idle", &[(0, 100.0), (60, 130.0), (120, 5.0), (180, 65.0)]),
            one("user", &[(0, 10.0), (60, 40.0), (120, 1.0), (180, 1.0)]),
        ]);
        let shares = busy(&cpu);
        assert_eq!(
            shares.keys().copied().collect::<Vec<_>>(),
            [at(60), at(180)]
        );
        assert!((shares[&at(60)] - 50.0).abs() < 0.001);
        assert!(shares[&at(180)].abs() < 0.001);
    }

    #[test]
    fn bytes_are_summed_up_once_whatever_the_windows() {
        let speed = |values: &[(i64, f64)]| reply(&[one("", values)]);
        let inbound: Vec<(i64, f64)> = (0..=20).map(|n| (n * 60, 8.0)).collect();
        let outbound: Vec<(i64, f64)> = (0..=20).map(|n| (n * 60, 0.8)).collect();
        let replies = [
            speed(&inbound),
            speed(&outbound),
            reply(&[]),
            speed(&[(300, 1000.0)]),
            speed(&[(300, 400.0)]),
        ];
        let first = new_in(&replies, at(0), at(600));
        assert_eq!(first.until, Some(at(480)), "two minutes may be late");
        let second = new_in(&replies, at(480), at(1500));
        assert_eq!(second.until, Some(at(1200)));
        let sums = |since: &Since| {
            let sum = |f: fn(&Moved) -> i64| since.moved.iter().map(f).sum::<i64>();
            (sum(|m| m.received), sum(|m| m.sent))
        };
        let (a, b) = (sums(&first), sums(&second));
        // A megabyte, and a tenth of it, each second for twenty minutes.
        assert_eq!((a.0 + b.0, a.1 + b.1), (1_200_000_000, 120_000_000));
        assert_eq!(first.samples.len() + second.samples.len(), 20);
        let fifth = first.samples.iter().find(|s| s.at == at(240)).unwrap();
        assert_eq!(
            (fifth.memory_bytes, fifth.network_in),
            (Some(600), Some(1_000_000))
        );
        assert_eq!((fifth.disk_read, fifth.cpu_percent), (None, None));
        let nothing_new = new_in(&replies, at(1200), at(9000));
        assert_eq!(nothing_new, Since::default());
    }

    #[test]
    fn a_gap_is_not_filled() {
        let speed = sum(&reply(&[one("", &[(0, 8.0), (7200, 8.0)])]));
        let all = moved(&speed, &Points::new(), at(0), at(7200));
        assert_eq!(all.iter().map(|m| m.received).sum::<i64>(), 600_000_000);
    }
}
