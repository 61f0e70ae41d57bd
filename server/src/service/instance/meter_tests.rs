//! What readings add up to: starts, months, speeds.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use super::model::meter::{Meter, Traffic, apportion, included};
use crate::base::id::{AccountId, InstanceId, PlanId};
use crate::provider::compute::metrics::{Counters, Moved, Now, Reading, Since, Total};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn noon() -> DateTime<Utc> {
    at("2026-11-21T12:00:00Z")
}

fn month(number: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, number, 1).unwrap()
}

fn meter(last: Option<(DateTime<Utc>, Counters)>) -> Meter {
    let id = Uuid::from_u128(1);
    Meter {
        account: AccountId(id),
        instance: InstanceId(id),
        fence: 1,
        last,
        read_until: None,
        created_at: at("2026-11-01T00:00:00Z"),
        provider: "simulator".to_owned(),
        provider_account: None,
        provider_ref: None,
        plan: PlanId(id),
        vcpus: 1,
    }
}

fn counters(uptime_seconds: i64, sent: i64) -> Counters {
    Counters {
        uptime_seconds,
        network_in: sent / 10,
        network_out: sent,
        disk_read: 0,
        disk_write: 0,
    }
}

fn showing(counters: Counters) -> Reading {
    Reading::Now(Now {
        cpu_percent: 12.0,
        memory_bytes: 5,
        counters,
    })
}

/// What two readings a minute apart count as sent.
fn sent(before: Counters, now: Counters, passed: TimeDelta) -> i64 {
    let booking = meter(Some((noon() - passed, before))).book(&showing(now), noon());
    booking.moved.values().map(|(_, sent)| sent).sum()
}

#[test]
fn a_difference_is_counted_and_after_a_start_all_of_it() {
    let minute = TimeDelta::minutes(1);
    assert_eq!(sent(counters(100, 1000), counters(160, 1500), minute), 500);
    assert_eq!(sent(counters(100, 1000), counters(10, 70), minute), 70);
    // Off, which counts nothing, and on again.
    assert_eq!(sent(counters(100, 1000), counters(0, 0), minute), 0);
    assert_eq!(sent(counters(0, 0), counters(30, 70), minute), 70);
    // What was counted since the start has overtaken what was counted before; that it is on for a shorter time tells.
    let hour = TimeDelta::hours(1);
    assert_eq!(sent(counters(100, 1000), counters(200, 9000), hour), 9000);
    // What a cloud shows may be a little old.
    assert_eq!(sent(counters(100, 1000), counters(110, 1500), minute), 500);
}

#[test]
fn the_same_reading_again_adds_nothing() {
    let reading = showing(counters(160, 1500));
    let first = meter(None).book(&reading, noon());
    let again = meter(first.last).book(&reading, noon());
    assert_eq!(again.moved[&month(11)], (0, 0));
    assert_eq!(
        again.samples[0].network_out, None,
        "there is no speed in no time"
    );
}

#[test]
fn the_first_reading_counts_from_the_start_of_a_machine_of_ours() {
    let ours = meter(None).book(&showing(counters(600, 1500)), noon());
    assert_eq!(ours.moved[&month(11)], (150, 1500));
    assert_eq!(ours.samples[0].network_out, None);
    assert_eq!(ours.samples[0].cpu_percent, Some(12.0));
    // It has run since before it was this instance: counting begins now.
    let month_of_seconds = 30 * 86_400;
    let adopted = meter(None).book(&showing(counters(month_of_seconds, 1500)), noon());
    assert_eq!(adopted.moved[&month(11)], (0, 0));
}

#[test]
fn speeds_are_of_the_time_that_passed_unless_that_was_long() {
    let before = counters(1000, 1000);
    let book = |passed: i64| {
        let last = Some((noon() - TimeDelta::seconds(passed), before));
        let now = counters(1000 + passed, 7000);
        meter(last).book(&showing(now), noon()).samples[0]
    };
    assert_eq!(book(60).network_out, Some(100));
    assert_eq!(book(60).network_in, Some(10));
    assert_eq!(book(301).network_out, None);
    assert_eq!(book(60).at, noon());
}

#[test]
fn what_moved_across_months_is_divided_and_nothing_is_lost() {
    let span = |from: &str, to: &str, sent| Moved {
        from: at(from),
        to: at(to),
        received: sent,
        sent,
    };
    let divided = |span: Moved| {
        let mut months = BTreeMap::new();
        apportion(&span, &mut months);
        months
    };
    let two = divided(span("2026-10-31T23:59:40Z", "2026-11-01T00:00:10Z", 100));
    assert_eq!(two, [(month(10), (66, 66)), (month(11), (34, 34))].into());
    let four = divided(span(
        "2026-08-15T00:00:00Z",
        "2026-11-10T00:00:00Z",
        1_000_003,
    ));
    assert_eq!(four.len(), 4);
    assert_eq!(four.values().map(|(_, sent)| sent).sum::<i64>(), 1_000_003);
    let edge = divided(span("2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z", 9));
    assert_eq!(edge[&month(10)], (9, 9), "midnight ends the month before");
    let instant = divided(span("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z", 9));
    assert_eq!(instant, [(month(11), (9, 9))].into());
}

#[test]
fn what_a_provider_has_written_down_is_taken_as_it_is() {
    let total = Total {
        month: month(11),
        received: 1,
        sent: 2,
    };
    let since = Since {
        months: vec![total],
        moved: vec![Moved {
            from: noon() - TimeDelta::minutes(1),
            to: noon(),
            received: 3,
            sent: 4,
        }],
        until: Some(noon()),
        ..Since::default()
    };
    let booking = meter(None).book(&Reading::Since(since), noon());
    assert_eq!(booking.totals, [total]);
    assert_eq!(booking.moved[&month(11)], (3, 4));
    assert_eq!((booking.last, booking.read_until), (None, Some(noon())));
}

#[test]
fn each_minute_has_a_reading_in_it() {
    let minute = TimeDelta::minutes(1);
    for last in [0, 100, 255] {
        let meter = Meter {
            instance: InstanceId(Uuid::from_u128(last)),
            ..meter(None)
        };
        let mut at = meter.next(noon(), minute);
        for _ in 0..200 {
            let next = meter.next(at + TimeDelta::seconds(10), minute);
            assert_eq!(next - at, minute);
            at = next;
        }
        assert!(at - noon() < minute * 202);
    }
}

#[test]
fn overage_is_what_was_sent_beyond_the_plan() {
    let moved = |sent, included| Traffic {
        instance: InstanceId(Uuid::from_u128(1)),
        provider: "simulator".to_owned(),
        month: month(11),
        received: i64::MAX,
        sent,
        included,
        read_at: None,
    };
    assert_eq!(included(0), None);
    assert_eq!(included(1), Some(1 << 30));
    assert_eq!(moved(5, Some(3)).overage(), 2);
    assert_eq!(moved(3, Some(3)).overage(), 0);
    assert_eq!(moved(5, None).overage(), 0);
}
