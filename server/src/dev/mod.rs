//! What `sewa dev` brings along so that the platform runs on a bare machine.

pub mod postgres;
