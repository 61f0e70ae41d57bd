//! What the tests of a whole platform stand on: a [`World`] has a database, one or more servers as real processes, and people who use them through the SDK.
//!
//! Nothing in here knows the server's insides. What is done from behind, by SQL, is only what no customer can do, and is said so where it happens.

pub mod actor;
pub mod database;
pub mod http;
pub mod patience;
pub mod random;
pub mod redis;
pub mod seen;
pub mod server;
pub mod world;

pub use actor::Actor;
pub use world::{Settings, World};
