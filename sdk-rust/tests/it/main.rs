//! The SDK against scripted servers, in one binary. Needs the feature `server`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod connections;
mod deadlines;
mod error_table;
mod errors;
mod notices;
mod pages;
mod raw;
mod repeats;
mod rules;
mod script;
mod session;
mod wait;
mod watch;
mod webhook;
