//! The machines at providers against ours: what differs, what it costs, what is put right by policy, and machines that are taken in.
//!
//! Owns: `inventory_runs`, `inventory_findings`, `inventory_policies`. Calls: catalog, wallet, operation, provider, instance, lifecycle. Reads `provider_accounts` of provider.
//! Emits: nothing of its own; what it has instances do, they tell.
//!
//! A run looks at every machine of one account (`run.rs`). A repair is decided by a pure rule (`model.rs`), written down before it is begun, and begun only after a fresh look
//! at the machine and the instance (`repair.rs`). The platform destroys nothing but machines that carry the reference of an instance of its own which has ended or has its machine.

pub mod adopt;
pub mod convert;
pub mod error;
pub mod job;
pub mod model;
pub mod repair;
pub mod rpc;
pub mod run;
pub mod store;
