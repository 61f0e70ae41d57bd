//! What happened, for those who want to know.
//!
//! Owns: nothing; the log is `base::outbox`. Calls: identity. Emits: nothing.

pub mod rpc;
pub mod stream;
