//! Under construction.

pub mod dev;
