//! The slices, in rank order: a slice may call only those named before it. News travels the other way by events.

pub mod identity;

pub mod billing;

pub mod catalog;

pub mod promotion;

pub mod wallet;

pub mod operation;

pub mod provider;

pub mod hypervisor;

pub mod instance;

pub mod lifecycle;

pub mod inventory;

pub mod order;

pub mod invoice;

pub mod report;

pub mod event;

pub mod sandbox;

pub mod meta;
