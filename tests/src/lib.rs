//! Under construction.

pub mod redis;
