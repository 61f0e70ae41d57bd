//! Traffic at Vultr: bytes by days of UTC, some hours late. It measures nothing else, so there are no metrics.

use async_trait::async_trait;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde_json::Value;

use super::{Asked, Gives, Metrics, Reading, Since, Total, each, open_months};
use crate::provider::compute::ProviderError;
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{Vultr, path};

/// What it tells.
pub(super) const GIVES: Gives = Gives {
    kinds: &[],
    traffic: true,
    estimated: false,
    minutes: 60,
    an_hour: Some(3600),
};

/// Until which day of a month the one before is looked at again, because it is told late.
const SETTLED: u32 = 3;

/// Sums of the present month, and of the one before while it may still grow.
fn months(reply: &Value, now: DateTime<Utc>) -> Option<Vec<Total>> {
    let days = reply.get("bandwidth")?.as_object()?;
    let sum = |month: NaiveDate| {
        let of_month = days.iter().filter(|(day, _)| {
            day.parse::<NaiveDate>()
                .is_ok_and(|day| (day.year(), day.month()) == (month.year(), month.month()))
        });
        let mut total = Total {
            month,
            received: 0,
            sent: 0,
        };
        for (_, moved) in of_month {
            let whole = |name: &str| moved.get(name).and_then(Value::as_i64).unwrap_or_default();
            total.received += whole("incoming_bytes");
            total.sent += whole("outgoing_bytes");
        }
        total
    };
    Some(open_months(now, SETTLED).map(sum).collect())
}

#[async_trait]
impl Metrics for Vultr {
    fn gives(&self) -> Gives {
        GIVES
    }

    async fn read(
        &self,
        asked: &[Asked],
        now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>> {
        each(asked.iter().map(|one| self.counted(one, now)).collect()).await
    }
}

impl Vultr {
    async fn counted(&self, one: &Asked, now: DateTime<Utc>) -> Result<Since, ProviderError> {
        let path = format!("{}/bandwidth", path(&one.provider_ref)?);
        let reply = self.ask(&Ask::get(path)).await?;
        let months = months(&reply, now)
            .ok_or_else(|| ProviderError::Unavailable("the bandwidth cannot be read".to_owned()))?;
        Ok(Since {
            months,
            ..Since::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn days_are_summed_by_months_and_the_last_one_is_looked_at_for_a_while() {
        let day =
            |received: i64, sent: i64| json!({"incoming_bytes": received, "outgoing_bytes": sent});
        let reply = json!({"bandwidth": {"2026-10-31": day(1, 2), "2026-11-01": day(10, 20), "2026-11-02": day(100, 200)}});
        let total = |month, received, sent| Total {
            month: NaiveDate::from_ymd_opt(2026, month, 1).unwrap(),
            received,
            sent,
        };
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(
            months(&reply, at("2026-11-03T00:00:00Z")).unwrap(),
            [total(10, 1, 2), total(11, 110, 220)]
        );
        assert_eq!(
            months(&reply, at("2026-11-04T00:00:00Z")).unwrap(),
            [total(11, 110, 220)]
        );
        assert_eq!(months(&json!({}), at("2026-11-04T00:00:00Z")), None);
    }
}
