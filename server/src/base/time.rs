//! Calendar arithmetic and the contract's spelling of times.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveTime, TimeZone, Utc};
use chrono_tz::{Asia::Jakarta, Tz};
use prost_types::Timestamp;
use sewa_sdk::sewa::api::v1::BillingPeriod;

/// A moment as people in Jakarta read it. All calendar rules of the platform use this zone.
pub fn jakarta(at: DateTime<Utc>) -> DateTime<Tz> {
    at.with_timezone(&Jakarta)
}

/// The day that a moment belongs to in Jakarta.
pub fn day_of(at: DateTime<Utc>) -> NaiveDate {
    jakarta(at).date_naive()
}

/// The first day of the month that a day belongs to.
pub fn first_of_month(day: NaiveDate) -> NaiveDate {
    day.with_day(1).unwrap_or(day)
}

/// The first day of a month written as `2026-11`.
pub fn parse_month(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(&format!("{text}-01"), "%Y-%m-%d").ok()
}

/// The first moment of a day in Jakarta.
pub fn midnight(day: NaiveDate) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    let local = Jakarta.from_local_datetime(&midnight).earliest();
    // A midnight that the clocks left out, as some did before 1964.
    local.map_or_else(|| midnight.and_utc(), |local| local.with_timezone(&Utc))
}

/// The end of period number `count` (1 for the first) of a service begun at `anchor`. Months and years are counted from the anchor and not from the last
/// end, so a service begun on 31 January ends its first month on 28 February and its second on 31 March. `None` beyond the calendar.
pub fn period_end(
    anchor: DateTime<Utc>,
    period: BillingPeriod,
    count: u32,
) -> Option<DateTime<Utc>> {
    let local = jakarta(anchor);
    let end = match period {
        BillingPeriod::Unspecified => return None,
        BillingPeriod::Hour => {
            return anchor.checked_add_signed(chrono::Duration::hours(i64::from(count)));
        }
        BillingPeriod::Day => local
            .naive_local()
            .checked_add_days(Days::new(u64::from(count))),
        BillingPeriod::Month => local.naive_local().checked_add_months(Months::new(count)),
        BillingPeriod::Year => local
            .naive_local()
            .checked_add_months(Months::new(count.checked_mul(12)?)),
    }?;
    if end.year() > 9000 {
        return None;
    }
    Jakarta
        .from_local_datetime(&end)
        .earliest()
        .map(|t| t.with_timezone(&Utc))
}

/// The begin of a period that ends at `end`, as the calendar counts back. `None` beyond the calendar.
pub fn period_before(end: DateTime<Utc>, period: BillingPeriod) -> Option<DateTime<Utc>> {
    let local = jakarta(end).naive_local();
    let begin = match period {
        BillingPeriod::Unspecified => return None,
        BillingPeriod::Hour => return end.checked_sub_signed(chrono::Duration::hours(1)),
        BillingPeriod::Day => local.checked_sub_days(Days::new(1)),
        BillingPeriod::Month => local.checked_sub_months(Months::new(1)),
        BillingPeriod::Year => local.checked_sub_months(Months::new(12)),
    }?;
    Jakarta
        .from_local_datetime(&begin)
        .earliest()
        .map(|t| t.with_timezone(&Utc))
}

/// The contract's spelling.
pub fn to_proto(at: DateTime<Utc>) -> Timestamp {
    Timestamp {
        seconds: at.timestamp(),
        nanos: i32::try_from(at.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// Reads a time from a request. `None` if it is outside the years the platform keeps.
pub fn from_proto(at: &Timestamp) -> Option<DateTime<Utc>> {
    let time = DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?)?;
    (1970..=9999).contains(&time.year()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn months_count_from_the_anchor() {
        let anchor = at("2026-01-31T03:00:00Z");
        for (count, end) in [
            (1, "2026-02-28T03:00:00Z"),
            (2, "2026-03-31T03:00:00Z"),
            (13, "2027-02-28T03:00:00Z"),
            (25, "2028-02-29T03:00:00Z"),
        ] {
            assert_eq!(
                period_end(anchor, BillingPeriod::Month, count),
                Some(at(end))
            );
        }
    }

    #[test]
    fn the_calendar_is_that_of_jakarta() {
        // 31 January 01:00 in Jakarta is still 30 January in UTC.
        let anchor = at("2026-01-30T18:00:00Z");
        assert_eq!(
            period_end(anchor, BillingPeriod::Month, 1),
            Some(at("2026-02-27T18:00:00Z"))
        );
        assert_eq!(
            period_end(at("2024-02-29T00:00:00Z"), BillingPeriod::Year, 1),
            Some(at("2025-02-28T00:00:00Z"))
        );
    }

    #[test]
    fn days_begin_at_midnight_in_jakarta() {
        let day = NaiveDate::from_ymd_opt(2026, 11, 21).expect("a day");
        assert_eq!(midnight(day), at("2026-11-20T17:00:00Z"));
        assert_eq!(day_of(at("2026-11-20T17:00:00Z")), day);
        assert_eq!(day_of(at("2026-11-21T16:59:59Z")), day);
    }

    #[test]
    fn absurd_counts_do_not_overflow() {
        assert_eq!(
            period_end(at("2026-01-01T00:00:00Z"), BillingPeriod::Year, u32::MAX),
            None
        );
    }
}
