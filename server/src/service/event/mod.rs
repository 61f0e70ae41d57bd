//! What happened, for those who want to know.
//!
//! Owns: nothing; the log is `base::outbox`. Calls: nobody. Emits: nothing.

pub mod rpc;
pub mod stream;
