//! What a document says beyond the descriptors. Plain data, so that it can come from options, a file or a constant.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tonic::Code;

/// Everything about an API that its descriptors do not say in a way this library can read.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `info.title`; "API" if empty.
    pub title: String,
    /// `info.version`; "0" if empty.
    pub version: String,
    /// `info.description`, Markdown.
    pub description: String,
    /// Only services whose full name begins so. Empty: every service that has bindings.
    pub package: String,
    /// `components.securitySchemes`.
    pub security_schemes: Map<String, Value>,
    /// Headers of every response, by name: Header Objects.
    pub response_headers: Map<String, Value>,
    /// What RPCs declare, by full name (`shop.v1.OrderService.PlaceOrder`). One that is not listed is described from its
    /// descriptor alone.
    pub operations: HashMap<String, Operation>,
    /// Secret fields by full name (`shop.v1.LoginRequest.password`).
    pub secrets: HashMap<String, SecretUse>,
    /// The catalogue of error reasons, by reason.
    pub reasons: HashMap<String, ErrorReason>,
}

/// What one RPC declares.
#[derive(Debug, Clone, Default)]
pub struct Operation {
    /// Ways to be allowed, any of which will do: Security Requirement Objects. `None`: nothing is said.
    /// `Some` of nothing: everybody may call.
    pub security: Option<Vec<Value>>,
    /// Whether an `idempotency-key` header is taken.
    pub key: KeyUse,
    /// Reasons it can fail for, each listed in [`Settings::reasons`]. The gateway's own are added.
    pub reasons: Vec<String>,
    /// Further members of the Operation Object; names begin with `x-`.
    pub extensions: Map<String, Value>,
}

/// Whether an RPC takes an idempotency key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyUse {
    /// A key is ignored.
    #[default]
    Ignored,
    /// With a key the call may be repeated.
    Optional,
    /// Without a key the call is refused.
    Required,
}

/// When a secret field is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretUse {
    /// In requests only.
    Sent,
    /// In one reply only.
    ReturnedOnce,
}

/// One error reason.
#[derive(Debug, Clone)]
pub struct ErrorReason {
    /// The status it comes with.
    pub code: Code,
    /// What it means, in a sentence.
    pub meaning: String,
    /// What to do, in a sentence.
    pub remedy: String,
    /// What may be repeated, in the API's own word.
    pub retry: String,
    /// Whether repeating the same call can help; such statuses are named to generators as worth a retry.
    pub repeat: bool,
    /// Keys of `ErrorInfo.metadata`.
    pub metadata_keys: Vec<String>,
}
