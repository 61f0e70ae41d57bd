//! Times and durations from text, strictly as protobuf's JSON mapping writes them.

use crate::fault::{OUT_OF_RANGE, Refusal};

/// Seconds of `0001-01-01T00:00:00Z` and `9999-12-31T23:59:59Z`, the range protobuf gives `Timestamp`.
const TIMESTAMP_SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// Ten thousand years, the range protobuf gives `Duration`.
const DURATION_SECONDS: std::ops::RangeInclusive<i64> = -315_576_000_000..=315_576_000_000;

/// RFC 3339, upper-case `T` and `Z`, offset allowed, up to nine digits of fraction.
pub(super) fn timestamp(text: &str) -> Result<(i64, i32), Refusal> {
    let malformed = || Refusal::invalid("expected an RFC 3339 time such as 2030-01-31T09:30:00Z");
    let bytes = text.as_bytes();
    let number = |from: usize, length: usize| -> Result<i64, Refusal> {
        let digits = bytes.get(from..from + length).ok_or_else(malformed)?;
        digits.iter().try_fold(0_i64, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
            digit.map(|digit| sum * 10 + digit).ok_or_else(malformed)
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return Err(malformed());
    }
    let (nanos, used) = fraction(&bytes[19..]).ok_or_else(malformed)?;
    let zone = 19 + used;
    let offset = match bytes.get(zone) {
        Some(b'Z') if bytes.len() == zone + 1 => 0,
        Some(sign @ (b'+' | b'-')) if bytes.len() == zone + 6 && bytes[zone + 3] == b':' => {
            let (hours, minutes) = (number(zone + 1, 2)?, number(zone + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return Err(malformed());
            }
            let seconds = hours * 3600 + minutes * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return Err(malformed()),
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return Err(Refusal::new(OUT_OF_RANGE, "no such date or time of day"));
    }
    let seconds =
        days_from_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    if !TIMESTAMP_SECONDS.contains(&seconds) {
        return Err(Refusal::new(
            OUT_OF_RANGE,
            "a time must lie in the years 1 to 9999",
        ));
    }
    Ok((seconds, nanos))
}

/// `.5` to 500,000,000 and the bytes it took; nothing is zero; ten digits or none after the point are refused.
fn fraction(bytes: &[u8]) -> Option<(i32, usize)> {
    if bytes.first() != Some(&b'.') {
        return Some((0, 0));
    }
    let digits = bytes[1..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut nanos = 0_i32;
    let mut count = 0_usize;
    for digit in digits {
        count += 1;
        if count > 9 {
            return None;
        }
        nanos = nanos * 10 + i32::from(digit - b'0');
    }
    if count == 0 {
        return None;
    }
    Some((nanos * 10_i32.pow(9 - count as u32), count + 1))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days between 1970-01-01 and a date of the proleptic Gregorian calendar, counted in 400-year eras that start in March.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `3.5s`, `-0.000000001s`.
pub(super) fn duration(text: &str) -> Result<(i64, i32), Refusal> {
    let malformed = || Refusal::invalid("expected a duration in seconds such as 3.5s");
    let body = text.strip_suffix('s').ok_or_else(malformed)?;
    let (negative, body) = match body.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    let whole = body.bytes().take_while(u8::is_ascii_digit).count();
    let (nanos, used) = fraction(&body.as_bytes()[whole..]).ok_or_else(malformed)?;
    if whole == 0 || whole + used != body.len() {
        return Err(malformed());
    }
    let seconds: i64 = body[..whole]
        .parse()
        .map_err(|_| Refusal::new(OUT_OF_RANGE, "the duration is out of range"))?;
    let (seconds, nanos) = if negative {
        (-seconds, -nanos)
    } else {
        (seconds, nanos)
    };
    if !DURATION_SECONDS.contains(&seconds) {
        return Err(Refusal::new(OUT_OF_RANGE, "the duration is out of range"));
    }
    Ok((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::{duration, timestamp};

    #[test]
    fn timestamps() {
        assert_eq!(timestamp("1970-01-01T00:00:00Z").unwrap(), (0, 0));
        assert_eq!(
            timestamp("2019-03-26T14:00:00.000000001+10:00").unwrap(),
            (1_553_572_800, 1)
        );
        assert_eq!(
            timestamp("0001-01-01T00:00:00Z").unwrap().0,
            -62_135_596_800
        );
        assert_eq!(
            timestamp("9999-12-31T23:59:59.999Z").unwrap(),
            (253_402_300_799, 999_000_000)
        );
        assert_eq!(timestamp("2024-02-29T00:00:00Z").unwrap().0, 1_709_164_800);
        for bad in [
            "",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01t00:00:00Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.0123456789Z",
            "2024-01-01T00:00:00+1000",
            "2024-01-01T00:00:00Zx",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "\u{e9}024-01-01T00:00:00Z",
        ] {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("3.000000001s").unwrap(), (3, 1));
        assert_eq!(duration("-0.5s").unwrap(), (0, -500_000_000));
        assert_eq!(duration("0s").unwrap(), (0, 0));
        for bad in [
            "",
            "s",
            "3",
            "3m",
            ".5s",
            "3.s",
            "--3s",
            "+3s",
            "3.0000000001s",
            "315576000001s",
            "\u{e9}s",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
