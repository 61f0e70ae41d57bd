//! Obeys a provider's rate limits: after a refusal nobody calls before the time it named. Pure.

use std::time::{Duration, Instant};

use crate::provider::compute::ProviderError;

/// The wait after a refusal that named no time.
const UNNAMED: Duration = Duration::from_secs(2);
/// The longest wait that is believed. Windows last an hour at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// Until when nobody calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    until: Option<Instant>,
}

impl Pace {
    /// Lets a call pass.
    ///
    /// # Errors
    /// `RateLimited` with the rest of the wait. The call had no effect, as it was not made.
    pub fn admit(&self, now: Instant) -> Result<(), ProviderError> {
        match self.until {
            Some(until) if until > now => Err(ProviderError::RateLimited { after: until - now }),
            _ => Ok(()),
        }
    }

    /// Notes that a call was refused; returns the wait.
    pub fn refused(&mut self, after: Option<Duration>, now: Instant) -> Duration {
        let after = after.unwrap_or(UNNAMED).min(LONGEST);
        self.wait_until(now + after);
        after
    }

    /// Notes that the last call of a window was made: the next one would be refused.
    pub fn spent(&mut self, until_reset: Option<Duration>, now: Instant) {
        self.wait_until(now + until_reset.unwrap_or(UNNAMED).min(LONGEST));
    }

    fn wait_until(&mut self, until: Instant) {
        self.until = Some(self.until.map_or(until, |known| known.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_stops_every_call_until_its_time() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.admit(now).is_ok());
        let wait = Duration::from_secs(7);
        assert_eq!(pace.refused(Some(wait), now), wait);
        pace.spent(Some(Duration::from_secs(1)), now);
        let rest = Duration::from_secs(2);
        assert_eq!(
            pace.admit(now + Duration::from_secs(5)),
            Err(ProviderError::RateLimited { after: rest })
        );
        assert!(pace.admit(now + wait).is_ok());
    }

    #[test]
    fn a_time_that_makes_no_sense_is_bounded() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.refused(Some(Duration::MAX), now), LONGEST);
        assert_eq!(Pace::default().refused(None, now), UNNAMED);
    }
}
