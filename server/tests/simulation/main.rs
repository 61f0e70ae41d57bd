//! The pure core under simulation: the rules of the ledger, of orders, machines, payments and renewals, as the server has them, around a clock, ids, a store, a cloud
//! and gateways that follow from one seed. [R13]
//!
//! A run has two parts. First everything goes wrong that may: whoever works is cut off before and after each commit, works twice, or comes back late; the cloud
//! refuses, has no room, answers late or never; gateways lose answers, are paid too little, too much, twice or too late, and take money back; time jumps. Whatever
//! holds must hold after every step. Then nothing goes wrong any more, and everything that was begun must end.
//!
//! `SEWA_SIMULATIONS` says how many seeds are run. A seed that fails is printed, `SEWA_SEED` brings it back, and it belongs into [`KEPT`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod check;
mod fulfil;
mod machines;
mod money;
mod orders;
mod outside;
mod platform;
mod renewals;
mod store;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::platform::Platform;

/// Seeds that found something once: a deposit whose transaction was first seen when it was paid already, and paid with another amount, took that for what had been
/// asked, and credited what had not come.
const KEPT: &[u64] = &[10, 33, 84, 93];
/// Things that happen while anything may go wrong.
const STEPS: usize = 300;
/// Things that may still happen until all is done.
const LAST_STEPS: usize = 6000;
/// Seeds that are followed for ten years.
const TEN_YEARS: u64 = 20;
/// Seeds run by `make test`.
const FEW: u64 = 10_000;

fn simulate(seed: u64) -> Platform {
    let mut platform = Platform::new(seed);
    for _ in 0..STEPS {
        platform.something_happens();
        platform.check();
    }
    platform.nothing_goes_wrong_any_more();
    to_its_end(platform, LAST_STEPS)
}

/// What was begun ends, and what time brings.
fn to_its_end(mut platform: Platform, steps: usize) -> Platform {
    for _ in 0..steps {
        if !platform.goes_on() {
            platform.check();
            platform.check_end();
            return platform;
        }
        platform.check();
    }
    panic!("something never ends: {:?}", platform.unfinished());
}

/// Runs a seed, and says how it failed.
fn failure_of(seed: u64, seen: &Seen) -> Option<String> {
    match std::panic::catch_unwind(AssertUnwindSafe(|| simulate(seed))) {
        Ok(platform) => {
            seen.note(&platform);
            None
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(text.unwrap_or_default())
        }
    }
}

/// What has been seen to happen: a simulation in which nothing does proves nothing.
#[derive(Default)]
struct Seen([AtomicU64; 12]);

impl Seen {
    fn note(&self, platform: &Platform) {
        for (sum, count) in self.0.iter().zip(platform.seen()) {
            sum.fetch_add(count.1, Ordering::Relaxed);
        }
    }
}

/// The machines that a seed leaves behind live for ten years, and are paid by the day, the month and the year. [R8]
#[test]
fn ten_years_pass_and_every_period_is_paid_once() {
    let mut renewed = 0;
    for seed in 0..TEN_YEARS {
        let mut platform = Platform::new(seed);
        for _ in 0..STEPS {
            platform.something_happens();
            platform.check();
        }
        platform.nothing_goes_wrong_any_more();
        platform.lasts(120);
        let platform = to_its_end(platform, LAST_STEPS * 20);
        renewed += platform.periods.len();
    }
    println!("{renewed} periods in {TEN_YEARS} times ten years");
    assert!(renewed > 1000, "nobody's machine lives that long");
}

#[test]
fn seeds_that_found_something_once_find_nothing_any_more() {
    for seed in KEPT {
        assert_eq!(failure_of(*seed, &Seen::default()), None, "seed {seed}");
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has no settings of its own"
)]
fn whatever_goes_wrong_the_rules_hold_and_everything_ends() {
    let asked = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count = asked("SEWA_SIMULATIONS").unwrap_or(FEW);
    let first = asked("SEWA_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20);
    println!("seeds {first} to {}", first.wrapping_add(count - 1));
    let (next, seen, began) = (AtomicU64::new(0), Seen::default(), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failed: Vec<(u64, String)> = std::thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count || failed.len() > 3 {
                    return failed;
                }
                let seed = first.wrapping_add(number);
                failed.extend(failure_of(seed, &seen).map(|why| (seed, why)));
            }
        };
        let working: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        working
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    println!("{count} simulations in {:.1?}", began.elapsed());
    for ((what, _), sum) in Platform::new(0).seen().iter().zip(&seen.0) {
        let sum = sum.load(Ordering::Relaxed);
        println!("{sum:>9} {what}");
        assert!(
            count < 100 || sum > 0 || !failed.is_empty(),
            "never seen: {what}"
        );
    }
    failed.sort();
    for (seed, why) in &failed {
        println!(
            "\nseed {seed}: {why}\n  SEWA_SEED={seed} SEWA_SIMULATIONS=1 cargo test -p sewa-server --test simulation"
        );
    }
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}
