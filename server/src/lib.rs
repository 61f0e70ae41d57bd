//! The Sewa platform.

pub mod base;
