//! What the platform promises, driven from outside: through the SDK, REST, gRPC-Web and grpcurl, against real servers and a real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::cloned_ref_to_slice_refs,
    reason = "a test fails by panicking, and a journey is read from top to bottom"
)]

mod audit;
mod capabilities;
mod catalog;
mod clock;
mod command_line;
mod contract;
mod contract_errors;
mod contract_methods;
mod events;
mod fulfilment;
mod gateways;
mod go;
mod grpc_web;
mod grpcurl;
mod identity;
mod instance;
mod instance_update;
mod keys;
mod lifecycle;
mod limits;
mod malformed;
mod malformed_rest;
mod malformed_wire;
mod one_port;
mod openapi;
mod operation;
mod order;
mod order_repeat;
mod pages;
mod payment_orders;
mod payments;
mod permissions;
mod policy;
mod provider_accounts;
mod provider_compare;
mod provider_faults;
mod providers;
mod python;
mod replicas;
mod rest;
mod rest_cut;
mod rest_streams;
mod retention;
mod schedule;
mod second_factor;
mod shop;
mod staff;
mod step_up;
mod tls;
mod tour;
mod typescript;
mod validation;
mod wallet;
