//! Metrics at Linode: averages over five minutes of the last day, and the bytes of each month, which it counts itself. Its processor time is the sum over all processors. What it
//! says of disks is in blocks, reading and writing in one, so it is left out; of memory it says nothing.

use async_trait::async_trait;
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde_json::Value;
use std::collections::BTreeMap;

use super::{Asked, Gives, Kind, Metrics, Reading, Sample, Since, Step, Total, bytes, each};
use super::{floor, open_months, percent};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::list;
use crate::provider::compute::line::Ask;
use crate::provider::compute::linode::{Linode, path};

/// What it tells. Statistics may be asked for 50 times a minute.
pub(super) const GIVES: Gives = Gives {
    kinds: &[Kind::Cpu, Kind::NetworkIn, Kind::NetworkOut],
    traffic: true,
    estimated: false,
    minutes: 10,
    an_hour: Some(1200),
};

/// Until which day of a month the one before is looked at again.
const SETTLED: u32 = 2;

/// A series by the beginnings of its spans. A series that is not there is empty.
fn series(stats: &Value, pointer: &str) -> BTreeMap<DateTime<Utc>, f64> {
    let points = list(stats, pointer).unwrap_or_default().iter();
    let point = |point: &Value| {
        let at = DateTime::from_timestamp_millis(point.get(0)?.as_i64()?)?;
        Some((Step::FiveMinutes.before(at), point.get(1)?.as_f64()?))
    };
    points.filter_map(point).collect()
}

/// The samples that are new and complete.
fn samples(stats: &Value, vcpus: i32, since: DateTime<Utc>, now: DateTime<Utc>) -> Vec<Sample> {
    // In an envelope, which the published description leaves out.
    let stats = stats.get("data").unwrap_or(stats);
    let cpu = series(stats, "/cpu");
    let both = |direction: &str| {
        let mut sum = series(stats, &format!("/netv4/{direction}"));
        for (at, bits) in series(stats, &format!("/netv6/{direction}")) {
            *sum.entry(at).or_default() += bits;
        }
        sum
    };
    let (received, sent) = (both("in"), both("out"));
    let span = Step::FiveMinutes.span();
    // The span under way, and the one before that it may still be at, are not complete.
    let end = floor(now, span) - span;
    let mut spans: Vec<DateTime<Utc>> = cpu.keys().chain(received.keys()).copied().collect();
    spans.sort_unstable();
    spans.dedup();
    spans.retain(|at| *at + span <= end && *at >= since);
    spans
        .into_iter()
        .map(|at| Sample {
            cpu_percent: cpu
                .get(&at)
                .map(|sum| percent(sum / f64::from(vcpus.max(1)))),
            network_in: received.get(&at).map(|bits| bytes(bits / 8.0)),
            network_out: sent.get(&at).map(|bits| bytes(bits / 8.0)),
            ..Sample::at(at)
        })
        .collect()
}

impl Linode {
    async fn statistics(&self, one: &Asked, now: DateTime<Utc>) -> Result<Since, ProviderError> {
        let path = path(&one.provider_ref)?;
        let mut totals = Vec::new();
        for month in open_months(now, SETTLED) {
            let (year, number) = (month.year(), month.month());
            let moved = self
                .ask(&Ask::get(format!("{path}/transfer/{year}/{number}")))
                .await?;
            let whole = |name: &str| {
                moved.get(name).and_then(Value::as_i64).ok_or_else(|| {
                    ProviderError::Unavailable("the transfer cannot be read".to_owned())
                })
            };
            totals.push(Total {
                month,
                received: whole("bytes_in")?,
                sent: whole("bytes_out")?,
            });
        }
        let stats = match self.ask(&Ask::get(format!("{path}/stats"))).await {
            Ok(stats) => stats,
            // A machine that is new has none yet, which is a refusal there.
            Err(ProviderError::Refused(_) | ProviderError::NotFound) => Value::Null,
            Err(error) => return Err(error),
        };
        let samples = samples(&stats, one.vcpus, one.since, now);
        let until = samples.last().map(|last| last.at + TimeDelta::minutes(5));
        Ok(Since {
            step: Step::FiveMinutes,
            samples,
            moved: Vec::new(),
            months: totals,
            until,
        })
    }
}

#[async_trait]
impl Metrics for Linode {
    fn gives(&self) -> Gives {
        GIVES
    }

    async fn read(
        &self,
        asked: &[Asked],
        now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>> {
        each(asked.iter().map(|one| self.statistics(one, now)).collect()).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn new_spans_are_read_once_and_only_when_they_are_over() {
        let ms = |text: &str| at(text).timestamp_millis();
        let points = |value: f64| {
            json!([
                [ms("2026-11-21T00:05:00Z"), value],
                [ms("2026-11-21T00:10:00Z"), value],
                [ms("2026-11-21T00:15:00Z"), value],
            ])
        };
        let stats = json!({"data": {
            "cpu": points(100.0),
            "netv4": {"in": points(800.0), "out": points(1600.0)},
            "netv6": {"in": points(80.0), "out": points(0.0)},
        }});
        let read = |since| samples(&stats, 2, since, at("2026-11-21T00:17:00Z"));
        let all = read(at("2026-11-20T00:00:00Z"));
        let spans: Vec<_> = all.iter().map(|s| s.at).collect();
        assert_eq!(
            spans,
            [at("2026-11-21T00:00:00Z"), at("2026-11-21T00:05:00Z")]
        );
        assert_eq!(
            (all[0].network_in, all[0].network_out),
            (Some(110), Some(200))
        );
        assert!(all[0].cpu_percent.is_some_and(|p| (p - 50.0).abs() < 0.01));
        assert_eq!(all[0].memory_bytes, None);
        assert_eq!(read(at("2026-11-21T00:05:00Z")).len(), 1);
        assert_eq!(read(at("2026-11-21T00:10:00Z")).len(), 0);
    }

    #[test]
    fn the_month_before_is_asked_for_while_it_settles() {
        let numbers = |text| {
            open_months(at(text), SETTLED)
                .map(|m| m.month())
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers("2027-01-02T00:00:00Z"), [12, 1]);
        assert_eq!(numbers("2027-01-03T00:00:00Z"), [1]);
    }
}
