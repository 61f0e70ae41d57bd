//! The outside world: what the platform buys and resells. Each kind of it is a narrow trait, with one module for each vendor beside it.

pub mod compute;
pub mod payment;
