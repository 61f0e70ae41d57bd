//! Why a gateway cannot be built. Every message names the RPC, and both of them where two collide.

/// A mistake in the annotations, found at start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The path template does not parse or breaks a rule.
    #[error("{rpc}: invalid template \"{template}\": {reason}")]
    InvalidTemplate {
        /// Full name of the RPC.
        rpc: String,
        /// The template as written.
        template: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// Two bindings answer the same requests.
    #[error("{second} and {first} both bind {method} {template}")]
    Conflict {
        /// RPC that came first.
        first: String,
        /// RPC that came second.
        second: String,
        /// HTTP method of both.
        method: String,
        /// Template of the second.
        template: String,
    },
    /// A binding names a field that is not there or cannot be used that way.
    #[error("{rpc}: {place} \"{field}\" {reason}")]
    InvalidField {
        /// Full name of the RPC.
        rpc: String,
        /// `path variable`, `body` or `response_body`.
        place: &'static str,
        /// The field as written.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A binding without a pattern, with an unknown method, or nested deeper than the format allows.
    #[error("{rpc}: {reason}")]
    InvalidRule {
        /// Full name of the RPC.
        rpc: String,
        /// What is wrong with the rule.
        reason: &'static str,
    },
}
