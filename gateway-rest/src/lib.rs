//! REST/JSON, JSON lines and server-sent events in front of any tonic service, from its descriptors alone.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let descriptors: &[u8] = &[];
//! # let routes = tonic::service::Routes::default();
//! use sewa_gateway::{Gateway, GatewayConfig};
//! use tower::Layer as _;
//!
//! let pool = prost_reflect::DescriptorPool::decode(descriptors)?;
//! let gateway = Gateway::new(pool, GatewayConfig::default())?;
//! let service = gateway.layer().layer(routes); // answers gRPC, gRPC-Web and REST
//! # let _: sewa_gateway::GatewayService<tonic::service::Routes> = service;
//! # Ok(()) }
//! ```
//!
//! How a request travels: `service` lets gRPC pass; `dispatch` asks `route` which RPC it is, `receive` for the body, `bind` for
//! the message (with `json` and `schema`), sends one gRPC frame to the inner service, and has `call` turn what comes back into
//! HTTP. Authentication, validation and rate limits are the inner service's: it sees an ordinary gRPC request.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod bind;
mod call;
mod config;
mod dispatch;
mod error;
mod fault;
mod gateway;
mod json;
pub mod listen;
pub mod openapi;
mod percent;
mod receive;
mod rejection;
mod route;
mod schema;
mod service;
mod suggest;

pub use config::{ClientAddr, ForwardedFor, GatewayConfig, Limits};
pub use error::BuildError;
pub use gateway::Gateway;
pub use service::{GatewayLayer, GatewayService};

/// The examples of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
