//! How much a simulated machine does: a pure function of the machine and the time, so that what it counted between two moments is the same whoever asks, and however often. It does
//! little by night and more by day, each machine as much as its id says; one that is off does nothing, and when it is powered on it counts from nothing.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::provider::compute::metrics::{Counters, Now};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;
/// When the quiet part of a day ends, in milliseconds: at six by UTC.
const MORNING: i64 = 6 * 3_600_000;
/// Memory in use by day, in bytes.
const MEMORY: i64 = 300 << 20;

/// How busy a machine is: 1 for the laziest, up to 8.
fn diligence(id: Uuid) -> i64 {
    // The last bits are random.
    let last = id.as_bytes().last().copied().unwrap_or_default();
    1 + i64::from(last % 8)
}

/// Busy milliseconds from the beginning of the calendar to a moment.
fn busy_ms(at: DateTime<Utc>) -> i64 {
    let ms = at.timestamp_millis();
    let (days, today) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    days * (DAY - MORNING) + (today - MORNING).max(0)
}

/// What a machine that has been on for so long does now.
pub(super) fn now(id: Uuid, on_for: Duration, at: DateTime<Utc>) -> Now {
    let diligence = diligence(id);
    let by_day = at.timestamp_millis().rem_euclid(DAY) >= MORNING;
    let began = at - on_for;
    // By day twice as much as by night.
    let work = on_for.num_milliseconds() + busy_ms(at) - busy_ms(began);
    // Bytes for each unit of work, which is a millisecond by night.
    let counted = |each: i64| work.saturating_mul(each * diligence);
    let minute = at.timestamp().div_euclid(60).rem_euclid(5);
    let cpu = diligence * if by_day { 6 } else { 3 } + minute;
    Now {
        cpu_percent: f32::from(i16::try_from(cpu).unwrap_or(100)),
        memory_bytes: MEMORY / if by_day { 1 } else { 2 } + (diligence << 20),
        counters: Counters {
            uptime_seconds: on_for.num_seconds(),
            network_in: counted(20),
            network_out: counted(50),
            disk_read: counted(5),
            disk_write: counted(10),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_counted_adds_up_however_it_is_cut() {
        let (id, began) = (Uuid::from_u128(3), at("2026-11-21T05:00:00Z"));
        let sent = |moment: DateTime<Utc>| now(id, moment - began, moment).counters.network_out;
        assert_eq!(sent(began), 0);
        // An hour by night, then an hour by day, in which it does twice as much.
        let (night, day) = (
            sent(at("2026-11-21T06:00:00Z")),
            sent(at("2026-11-21T07:00:00Z")),
        );
        assert_eq!(night, 3_600_000 * 50 * 4);
        assert_eq!(day - night, 2 * night);
        let mut last = 0;
        for hour in 0..100 {
            let next = sent(began + Duration::hours(hour));
            assert!(next >= last, "it never goes back");
            last = next;
        }
    }

    #[test]
    fn it_is_within_what_a_machine_can_do() {
        for last in 0..=255_u8 {
            let id = Uuid::from_bytes([last; 16]);
            for hour in 0..24 {
                let moment = at("2026-11-21T00:04:00Z") + Duration::hours(hour);
                let does = now(id, Duration::hours(1), moment);
                assert!((1.0..100.0).contains(&does.cpu_percent), "{does:?}");
                assert!((150 << 20..512 << 20).contains(&does.memory_bytes));
            }
        }
    }
}
