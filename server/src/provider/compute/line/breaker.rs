//! Stops asking a provider that does not answer, and bounds repeats. Pure.

use std::time::{Duration, Instant};

use crate::provider::compute::ProviderError;

/// Failures in a row that open it.
const FAILURES: u32 = 8;
/// How long it stays open the first time; each further time twice as long.
const OPEN: Duration = Duration::from_millis(500);
/// The longest it stays open.
const LONGEST: Duration = Duration::from_secs(30);
/// Repeats saved up at most.
const BUDGET: f64 = 10.0;
/// What each call that went well adds to the budget: at most one call in ten is a repeat.
const SHARE: f64 = 0.1;

/// A circuit breaker and a budget of repeats.
#[derive(Clone, Debug)]
pub struct Breaker {
    failures: u32,
    openings: u32,
    open_until: Option<Instant>,
    trying: bool,
    budget: f64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 0,
            openings: 0,
            open_until: None,
            trying: false,
            budget: BUDGET,
        }
    }
}

impl Breaker {
    /// Lets a call pass. When it has been open long enough, one call passes as a trial.
    ///
    /// # Errors
    /// `Unavailable` while it is open. The call had no effect, as it was not made.
    pub fn admit(&mut self, now: Instant) -> Result<(), ProviderError> {
        match self.open_until {
            None => Ok(()),
            Some(until) if now >= until && !self.trying => {
                self.trying = true;
                // A trial that never ends must not keep the others out for good.
                self.open_until = Some(now + LONGEST);
                Ok(())
            }
            Some(until) if now >= until => {
                self.open_until = Some(now + LONGEST);
                Ok(())
            }
            Some(_) => Err(ProviderError::Unavailable(
                "the provider did not answer several times in a row".to_owned(),
            )),
        }
    }

    /// Notes how a call went.
    pub fn note(&mut self, failed: bool, now: Instant) {
        if !failed {
            let budget = (self.budget + SHARE).min(BUDGET);
            *self = Self {
                budget,
                ..Self::default()
            };
            return;
        }
        self.failures += 1;
        if self.trying || self.failures >= FAILURES {
            let time = OPEN.saturating_mul(1 << self.openings.min(6)).min(LONGEST);
            self.open_until = Some(now + time);
            self.openings += 1;
            self.trying = false;
        }
    }

    /// Whether a read may be repeated now. Counts as one.
    pub fn may_repeat(&mut self, now: Instant) -> bool {
        let may = self.budget >= 1.0 && self.open_until.is_none_or(|until| now >= until);
        if may {
            self.budget -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_one_call() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES - 1 {
            breaker.note(true, start);
        }
        assert!(breaker.admit(start).is_ok());
        breaker.note(true, start);
        assert!(breaker.admit(start).is_err());
        let later = start + OPEN;
        assert!(breaker.admit(later).is_ok(), "the trial");
        assert!(breaker.admit(later).is_err(), "one trial at a time");
        breaker.note(true, later);
        assert!(breaker.admit(later + OPEN).is_err(), "longer than before");
        let much_later = later + OPEN * 2;
        assert!(breaker.admit(much_later).is_ok());
        breaker.note(false, much_later);
        assert!(breaker.admit(much_later).is_ok() && breaker.admit(much_later).is_ok());
    }

    #[test]
    fn failures_apart_do_not_open_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..10 {
            for _ in 0..FAILURES - 1 {
                breaker.note(true, now);
            }
            breaker.note(false, now);
        }
        assert!(breaker.admit(now).is_ok());
    }

    #[test]
    fn repeats_are_bounded_by_calls_that_went_well() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        let repeats = (0..100).filter(|_| breaker.may_repeat(now)).count();
        assert_eq!(repeats, 10);
        for _ in 0..20 {
            breaker.note(false, now);
        }
        let repeats = (0..100).filter(|_| breaker.may_repeat(now)).count();
        assert!((1..=2).contains(&repeats), "{repeats}");
    }
}
