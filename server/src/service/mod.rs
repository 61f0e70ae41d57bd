//! The slices, in rank order: a slice may call only those named before it. News travels the other way by events.

pub mod identity;

pub mod catalog;

pub mod wallet;

pub mod operation;

pub mod provider;

pub mod instance;

pub mod lifecycle;

pub mod order;

pub mod event;

pub mod sandbox;

pub mod meta;
