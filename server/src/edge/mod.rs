//! Before any handler: what the contract asks of every call.

pub mod permissions;
