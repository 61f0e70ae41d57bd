//! What the platform is built to survive, done to real servers: PostgreSQL and Redis cut off, stalled and ended, replicas put to sleep, readers that do not read.
//! Each test prints its seed and has a short form; `make soak` repeats it with `SEWA_SOAK`.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test fails by panicking, and a journey is read from top to bottom"
)]

mod clocks;
mod conflicts;
mod database;
mod histories;
mod lives;
mod load;
mod paused;
mod postgres;
mod readers;
mod redis;
mod silent;
mod steps;
mod upgrade;
