//! How long to wait before a repeat, and when repeating would only add to the load.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Limits of repeats.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Attempts of one call, the first included. 1 turns repeats off.
    pub max_attempts: u32,
    /// The first wait is at most this long; each later one at most twice the one before.
    pub first_delay: Duration,
    /// No wait the SDK chooses is longer.
    pub max_delay: Duration,
    /// A wait the server asks for is cut to this.
    pub max_hint: Duration,
    /// Failures in a row after which repeats stop until calls succeed again, as `retryThrottling.maxTokens` of gRPC: repeats are made while more than half
    /// of the tokens are left.
    pub budget: u32,
    /// Part of a token that a success gives back, as `retryThrottling.tokenRatio` of gRPC.
    pub refill: f32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(5),
            max_hint: Duration::from_secs(30),
            budget: 100,
            refill: 0.1,
        }
    }
}

impl RetryPolicy {
    /// The wait before repeat number `repeat` (from 1). The server's hint wins, with a little added so that callers told the same do not come back at once.
    /// Otherwise full jitter: anything between nothing and the exponential ceiling. `chance` is uniform over all of `u64`.
    pub(crate) fn delay(&self, repeat: u32, hint: Option<Duration>, chance: u64) -> Duration {
        match hint {
            Some(hint) => {
                let hint = hint.min(self.max_hint);
                hint + part(hint / 10, chance)
            }
            None => {
                let doublings = repeat.saturating_sub(1).min(16);
                part(
                    self.first_delay
                        .saturating_mul(1 << doublings)
                        .min(self.max_delay),
                    chance,
                )
            }
        }
    }
}

/// A uniform part of the span.
fn part(span: Duration, chance: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(
        u64::try_from((u128::from(nanos) * u128::from(chance)) >> 64).unwrap_or(nanos),
    )
}

/// A uniform number. Without randomness from the system the wait is the longest one.
pub(crate) fn chance() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX)
}

/// Tokens that failures take and successes give back. One bucket is shared by all calls of a client, so that during an outage the repeats of many callers
/// fade out together.
#[derive(Debug)]
pub(crate) struct Budget {
    milli_tokens: AtomicI64,
    full: i64,
    refill: i64,
}

const TOKEN: i64 = 1000;

impl Budget {
    pub(crate) fn new(policy: &RetryPolicy) -> Self {
        let full = i64::from(policy.budget) * TOKEN;
        Self {
            milli_tokens: AtomicI64::new(full),
            full,
            refill: (policy.refill.clamp(0.0, 1000.0) * 1000.0) as i64,
        }
    }

    pub(crate) fn succeeded(&self) {
        // The common case, a full bucket, must not make every core write to one cache line.
        if self.milli_tokens.load(Ordering::Relaxed) < self.full {
            self.move_by(self.refill);
        }
    }

    /// Takes a token for a failure and tells whether it may be followed by a repeat.
    pub(crate) fn failed(&self) -> bool {
        self.move_by(-TOKEN) > self.full / 2
    }

    fn move_by(&self, amount: i64) -> i64 {
        let moved = |tokens: i64| (tokens + amount).clamp(0, self.full);
        let before =
            self.milli_tokens
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                    Some(moved(tokens))
                });
        moved(before.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_with_full_jitter() {
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(100),
            max_delay: Duration::from_millis(350),
            ..RetryPolicy::default()
        };
        let ceilings = [100, 200, 350, 350].map(Duration::from_millis);
        for (repeat, ceiling) in (1..).zip(ceilings) {
            assert_eq!(policy.delay(repeat, None, 0), Duration::ZERO);
            let longest = policy.delay(repeat, None, u64::MAX);
            assert!(
                longest < ceiling && ceiling - longest < Duration::from_micros(1),
                "{repeat}: {longest:?}"
            );
            assert_eq!(policy.delay(repeat, None, 1 << 63), ceiling / 2);
        }
        assert!(policy.delay(u32::MAX, None, u64::MAX) < policy.max_delay);
    }

    #[test]
    fn the_hint_wins_and_is_capped() {
        let policy = RetryPolicy {
            max_hint: Duration::from_secs(10),
            ..RetryPolicy::default()
        };
        assert_eq!(
            policy.delay(1, Some(Duration::from_secs(7)), 0),
            Duration::from_secs(7)
        );
        assert_eq!(
            policy.delay(1, Some(Duration::from_secs(3600)), 0),
            Duration::from_secs(10)
        );
        assert!(
            policy.delay(1, Some(Duration::from_secs(7)), u64::MAX) < Duration::from_millis(7701)
        );
    }

    #[test]
    fn failures_use_the_budget_up_and_successes_refill_it() {
        let budget = Budget::new(&RetryPolicy {
            budget: 10,
            refill: 0.5,
            ..RetryPolicy::default()
        });
        let allowed = (0..10).filter(|_| budget.failed()).count();
        assert_eq!(allowed, 4, "repeats stop at half of the tokens");
        for _ in 0..13 {
            budget.succeeded();
        }
        assert!(budget.failed(), "5.5 of 10 tokens are left");
        assert!(!budget.failed(), "4.5 of 10 tokens are left");
    }
}
