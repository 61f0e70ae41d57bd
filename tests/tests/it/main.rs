//! What the platform promises, driven from outside: through the SDK, REST, gRPC-Web and grpcurl, against real servers and a real PostgreSQL.

mod catalog;
mod contract;
mod events;
mod fulfilment;
mod identity;
mod instance;
mod keys;
mod lifecycle;
mod limits;
mod order;
mod permissions;
mod validation;
mod wallet;
