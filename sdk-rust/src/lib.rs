#![doc = include_str!("../README.md")]

pub mod http_body;
pub mod money;

/// Generated from `proto/`: `sewa::<service>::v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/mod.rs"]
pub mod sewa;

mod call;
mod client;
#[doc(hidden)]
pub mod codec;
mod credentials;
mod deadline;
mod details;
mod error;
#[cfg(feature = "server")]
pub mod fake;
mod notice;
mod pages;
mod raw;
mod reply;
mod retry;
mod rules;
mod session;
mod telemetry;
mod transport;
mod wait;
mod watch;
pub mod webhook;

use std::sync::OnceLock;

use prost_reflect::DescriptorPool;

/// Compiles the snippets of the repository's README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use call::CallOptions;
pub use client::{Builder, Client};
pub use credentials::Credentials;
pub use deadline::Clock;
pub use error::{Error, FieldViolation, QuotaViolation, Reason, RetryAdvice};
pub use notice::contract_digest;
pub use pages::pages;
pub use raw::{RawMethod, to_json};
pub use retry::RetryPolicy;
pub use rules::{MethodRule, ReasonRule, Repeat, RetryClass, Rules, Shape};
pub use session::Session;
pub use telemetry::{Attempt, Observer};
pub use transport::Transport;
pub use wait::{WaitOptions, wait};
pub use watch::{WatchOptions, watch};

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, with comments and option extensions.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptor.binpb");

/// The contract's descriptors, decoded once.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        DescriptorPool::decode(DESCRIPTORS)
            .expect("the committed descriptor set decodes; a test reads it")
    })
}
