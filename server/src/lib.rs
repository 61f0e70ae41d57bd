//! The Sewa platform.

pub mod app;
pub mod base;
pub mod config;
pub mod dev;
pub mod service;
