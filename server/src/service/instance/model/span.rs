//! How long samples are kept, and which of them a question about a span of time reads. Pure.

use chrono::{DateTime, TimeDelta, Utc};

/// Samples of one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// A minute.
    Minute,
    /// Five minutes.
    FiveMinutes,
    /// An hour.
    Hour,
}

impl Resolution {
    /// All of them, the finest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::FiveMinutes, Self::Hour];

    /// The span of a sample.
    pub fn span(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::FiveMinutes => TimeDelta::minutes(5),
            Self::Hour => TimeDelta::hours(1),
        }
    }

    /// How long samples are kept, which is also the longest span that is read at once.
    pub fn kept(self) -> TimeDelta {
        match self {
            Self::Minute => TimeDelta::hours(24),
            Self::FiveMinutes => TimeDelta::days(14),
            Self::Hour => TimeDelta::days(400),
        }
    }
}

/// A span of time that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub start: DateTime<Utc>,
    /// The first moment that is not in it.
    pub end: DateTime<Utc>,
    /// Which samples.
    pub resolution: Resolution,
}

/// Why a span cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadWindow {
    /// It ends before it begins.
    Empty,
    /// It is longer than samples are kept.
    TooLong,
}

impl Window {
    /// What is read of a span: without an end until now, without a beginning an hour, and without a resolution the finest samples that are kept for so long and reach so far back.
    ///
    /// # Errors
    /// If there is no such span.
    pub fn new(
        start: Option<DateTime<Utc>>,
        end: Option<DateTime<Utc>>,
        resolution: Option<Resolution>,
        now: DateTime<Utc>,
    ) -> Result<Self, BadWindow> {
        let end = end.unwrap_or(now);
        let start = start.unwrap_or(end - TimeDelta::hours(1));
        if start >= end {
            return Err(BadWindow::Empty);
        }
        let fits = |r: Resolution| end - start <= r.kept();
        let reaches = |r: Resolution| now - start <= r.kept();
        let resolution = match resolution {
            Some(asked) => Some(asked),
            None => Resolution::ALL
                .into_iter()
                .find(|r| fits(*r) && reaches(*r))
                .or(Some(Resolution::Hour)),
        };
        match resolution.filter(|r| fits(*r)) {
            Some(resolution) => Ok(Self {
                start,
                end,
                resolution,
            }),
            None => Err(BadWindow::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finest_samples_that_reach_so_far_are_read() {
        let now: DateTime<Utc> = "2026-11-21T00:00:00Z".parse().unwrap();
        let hours = TimeDelta::hours;
        let chosen = |back: i64, until: i64| {
            Window::new(Some(now - hours(back)), Some(now - hours(until)), None, now)
                .map(|w| w.resolution)
        };
        assert_eq!(chosen(24, 0), Ok(Resolution::Minute));
        assert_eq!(chosen(25, 0), Ok(Resolution::FiveMinutes));
        assert_eq!(
            chosen(48, 47),
            Ok(Resolution::FiveMinutes),
            "older ones are gone"
        );
        assert_eq!(chosen(24 * 15, 0), Ok(Resolution::Hour));
        assert_eq!(chosen(24 * 500, 24 * 490), Ok(Resolution::Hour));
        assert_eq!(chosen(24 * 401, 0), Err(BadWindow::TooLong));
        assert_eq!(chosen(1, 1), Err(BadWindow::Empty));
        let plain = Window::new(None, None, None, now).unwrap();
        assert_eq!((plain.start, plain.end), (now - hours(1), now));
        let long = Window::new(Some(now - hours(25)), None, Some(Resolution::Minute), now);
        assert_eq!(long, Err(BadWindow::TooLong));
    }
}
