//! The clocks of a call: the caller's, the contract's, and that of one attempt.
//!
//! Which of them ran out matters: when the caller's did, nobody waits any more; when an attempt's did, another connection may still answer in time.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tonic::Status;

/// A clock of this side that ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The time the caller gave with [`tonic::Request::set_timeout`].
    Caller,
    /// The time the contract gives when the caller says nothing.
    Contract,
    /// The time of one attempt, see [`crate::Builder::attempt_timeout`].
    Attempt,
}

impl Clock {
    /// Tells a status made by [`Clock::expired`] from one a server sent.
    pub(crate) fn of(status: &Status) -> Option<Self> {
        status.source()?.downcast_ref::<Self>().copied()
    }

    pub(crate) fn expired(self) -> Status {
        let mut status = Status::deadline_exceeded(self.to_string());
        status.set_source(Arc::new(self));
        status
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the time given by the caller is over",
            Self::Contract => "the time the contract allows is over",
            Self::Attempt => "one attempt took too long",
        })
    }
}

impl std::error::Error for Clock {}

const HEADER: &str = "grpc-timeout";

/// Reads the `grpc-timeout` header: up to eight digits and a unit.
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit())
    {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Writes the `grpc-timeout` header, from a second on in whole milliseconds: calls of the same method then say the same, which the connection sends as one byte.
/// This side keeps its own clock, to the microsecond.
pub(crate) fn write(headers: &mut HeaderMap, left: Duration) {
    const LIMIT: u128 = 99_999_999;
    let micros = left.as_micros();
    let text = match micros.div_ceil(1000) {
        0..1000 => format!("{}u", micros.max(1)),
        millis @ ..=LIMIT => format!("{millis}m"),
        _ => format!("{}S", u128::from(left.as_secs()).min(LIMIT)),
    };
    headers.insert(
        HEADER,
        HeaderValue::from_str(&text).expect("digits and a letter are a valid header"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(HEADER),
            HeaderValue::from_static(text),
        )])
    }

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(read(&header(text)), Some(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_no_deadline() {
        for text in ["", "S", "1", "-1S", "123456789S", "1d", "1.5S"] {
            assert_eq!(read(&header(text)), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for span in [
            Duration::from_micros(1),
            Duration::from_millis(1500),
            Duration::from_secs(90),
            Duration::from_secs(4000),
            Duration::from_secs(2_000_000),
        ] {
            let mut headers = HeaderMap::new();
            write(&mut headers, span);
            assert_eq!(read(&headers), Some(span));
        }
    }

    #[test]
    fn our_own_expiry_is_told_from_the_servers() {
        assert_eq!(Clock::of(&Clock::Attempt.expired()), Some(Clock::Attempt));
        assert_eq!(
            Clock::of(&Status::deadline_exceeded("the server gave up")),
            None
        );
    }
}
