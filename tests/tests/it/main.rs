//! What the platform promises, driven from outside: through the SDK, REST, gRPC-Web and grpcurl, against real servers and a real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::cloned_ref_to_slice_refs,
    reason = "a test fails by panicking, and a journey is read from top to bottom"
)]

mod audit;
mod billing;
mod calendar;
mod capabilities;
mod catalog;
mod clock;
mod command_line;
mod console;
mod console_browser;
mod contract;
mod contract_errors;
mod contract_methods;
mod coupons;
mod ended;
mod events;
mod first_boot;
mod floods;
mod foreign;
mod fulfilment;
mod gateway_outage;
mod gateways;
mod go;
mod grpc_web;
mod grpcurl;
mod hypervisors;
mod identity;
mod instance;
mod instance_update;
mod inventory;
mod inventory_adoption;
mod invoices;
mod keys;
mod lifecycle;
mod limits;
mod malformed;
mod malformed_rest;
mod malformed_wire;
mod metrics;
mod metrics_providers;
mod one_port;
mod openapi;
mod operation;
mod order;
mod order_payment;
mod order_repeat;
mod order_reversal;
mod owed;
mod pages;
mod pay_page;
mod payment_orders;
mod payments;
mod permissions;
mod plan_change;
mod plan_change_faults;
mod plan_change_refused;
mod plan_promotions;
mod plan_promotions_staff;
mod policy;
mod promotions;
mod proof;
mod provider_accounts;
mod provider_compare;
mod provider_failover;
mod provider_faults;
mod providers;
mod python;
mod reconciliation;
mod replicas;
mod reports;
mod rest;
mod rest_cut;
mod rest_streams;
mod restored;
mod retention;
mod reverse_dns;
mod schedule;
mod second_factor;
mod shop;
mod smuggled;
mod snapshots;
mod ssh_keys;
mod staff;
mod statements;
mod step_up;
mod tls;
mod tour;
mod typescript;
mod validation;
mod wallet;
