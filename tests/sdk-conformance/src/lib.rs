//! The cases every SDK has to pass, the server that plays them, and the driver that asks a language's runner what it saw.
//!
//! `README.md` beside this crate holds the protocol between driver and runner.

pub mod case;
pub mod compare;
pub mod play;
pub mod runner;
pub mod seen;
pub mod server;
pub mod wire;
