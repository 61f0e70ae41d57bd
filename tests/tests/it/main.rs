//! What the platform promises, driven from outside: through the SDK, REST, gRPC-Web and grpcurl, against real servers and a real PostgreSQL.

mod catalog;
mod contract;
mod events;
mod fulfilment;
mod grpc_web;
mod grpcurl;
mod identity;
mod instance;
mod keys;
mod lifecycle;
mod limits;
mod order;
mod pages;
mod permissions;
mod replicas;
mod rest;
mod tour;
mod validation;
mod wallet;
