//! The 60 cases of transcoding, against a backend that speaks plain gRPC and knows nothing of REST.
//!
//! Each test names the numbers of the cases it holds. What reached the backend is compared through `prost-reflect`'s own JSON
//! mapping, so that a mistake in the gateway's cannot hide behind itself.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod body;
mod cost;
mod errors;
mod escapes;
mod fuzz;
mod limits;
mod patch;
mod process;
mod query;
mod responses;
mod routing;
mod serving;
mod streams;
mod table;
mod transport;
mod wire;
mod world;
