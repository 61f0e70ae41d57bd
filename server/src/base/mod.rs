//! What everything else stands on. Knows nothing of virtual servers, and names no service.

pub mod agreed;
pub mod call;
pub mod clock;
pub mod contract;
pub mod crypto;
pub mod db;
pub mod fault;
pub mod id;
pub mod lane;
pub mod lease;
pub mod mask;
pub mod money;
pub mod outbox;
pub mod page;
pub mod pdf;
pub mod reads;
pub mod repeats;
pub mod status;
pub mod tax;
pub mod time;
pub mod vault;
pub mod walk;
pub mod writes;
