//! OpenAPI 3.1 and a documentation page, from the descriptors the gateway routes by.
//!
//! What `google.api.http`, `google.api.field_behavior` and `buf.validate` say is read here. What options of your own say (who may
//! call, which errors there are) comes in as plain data, by the full name of each RPC: see [`Settings`].
//!
//! `document` walks the bindings; `operation` makes one operation of one binding, with `parameters` and `responses`; `schema` makes
//! the JSON Schema of messages, with `rules` for what validation adds; `site` serves the result.

mod comments;
mod document;
mod operation;
mod options;
mod parameters;
mod responses;
mod rules;
mod schema;
mod settings;
mod site;
#[cfg(test)]
mod tests;

pub use document::document;
pub use settings::{ErrorReason, KeyUse, Operation, SecretUse, Settings};
pub use site::{Site, SiteLayer, SiteService};
