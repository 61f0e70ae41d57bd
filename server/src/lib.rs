//! The Sewa platform: contract, ledger, orders and machines in one binary.

pub mod app;
pub mod base;
pub mod cli;
pub mod compare;
pub mod config;
#[cfg(test)]
mod config_tests;
pub mod dev;
pub mod edge;
pub mod logs;
pub mod prove;
pub mod provider;
pub mod serve;
pub mod service;
pub mod work;
