//! Measures the product beside its baselines: both on the same PostgreSQL, in turns, within one run. Prints one line for each goal and asserts nothing, because
//! times depend on the machine and ratios within a run hardly do.
//!
//! `sewa-bench short` takes a few minutes, `sewa-bench full` longer; names of goals after it measure only those. The binary `sewa` is expected beside this one.

mod baseline;
mod frames;
mod gateway;
mod goals;
mod http1;
mod load;
mod measure;
mod open;
mod platform;
mod repeats;
mod strain;
mod sweep;

use anyhow::{Context, bail};

/// How much to measure.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Pairs of product and baseline for each goal.
    pub(crate) pairs: usize,
    /// Seconds of each measurement, the first of which is dropped.
    pub(crate) seconds: u64,
    /// Sizes of the sweep, smallest first.
    pub(crate) sweeps: &'static [i64],
    /// Due subscriptions, and two sizes of the fleet they are among.
    pub(crate) among: (i64, i64, i64),
}

const SHORT: Plan = Plan {
    pairs: 3,
    seconds: 4,
    sweeps: &[10_000, 100_000],
    among: (10_000, 30_000, 300_000),
};
const FULL: Plan = Plan {
    pairs: 5,
    seconds: 10,
    sweeps: &[10_000, 100_000, 1_000_000],
    among: (10_000, 100_000, 1_000_000),
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("short") => goals::run(SHORT, &arguments.collect::<Vec<_>>()).await,
        Some("full") => goals::run(FULL, &arguments.collect::<Vec<_>>()).await,
        Some("echo") => baseline::echo(arguments.next().context("a port")?.parse()?).await,
        _ => bail!("usage: sewa-bench short|full [goal]..., for example sewa-bench short P1 P14"),
    }
}
