//! What a gateway can be told. Every limit has a value; none is "unlimited".

use std::time::Duration;

use http::HeaderName;

/// Settings of a [`crate::Gateway`]; start from `GatewayConfig::default()` and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// `domain` of the `google.rpc.ErrorInfo` in the gateway's own errors.
    pub domain: String,
    /// Paths the gateway answers for. Empty: every path. Anything else goes to the inner service untouched.
    pub prefixes: Vec<String>,
    /// Query keys that are nobody's field and still allowed, such as those a proxy in front adds.
    pub system_query_keys: Vec<String>,
    /// Bounds on what one request may cost.
    pub limits: Limits,
    /// What becomes of `x-forwarded-for`.
    pub forwarded_for: ForwardedFor,
    /// Request headers that reach the RPC as metadata, besides the ones every RPC gets.
    pub request_headers: Vec<HeaderName>,
    /// Response metadata that must not become an HTTP header, besides `-bin`, `grpc-*` and hop-by-hop keys.
    pub denied_response_headers: Vec<HeaderName>,
    /// Longest a unary call may take whose client named no deadline. A safety net: it is not sent to the service, which applies
    /// its own default.
    pub default_timeout: Duration,
    /// Longest deadline a client may name.
    pub max_timeout: Duration,
    /// Silence after which an SSE stream sends a comment.
    pub heartbeat: Duration,
    /// How long a stream may wait for its first message before the status line goes out; an error within this time is an HTTP
    /// status, a later one a terminal line.
    pub first_message_wait: Duration,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            domain: "sewa".to_owned(),
            prefixes: Vec::new(),
            system_query_keys: Vec::new(),
            limits: Limits::default(),
            forwarded_for: ForwardedFor::Replace,
            request_headers: Vec::new(),
            denied_response_headers: Vec::new(),
            default_timeout: Duration::from_secs(60),
            max_timeout: Duration::from_secs(300),
            heartbeat: Duration::from_secs(15),
            first_message_wait: Duration::from_secs(1),
        }
    }
}

/// Bounds on what one request may cost.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request body, after decompression.
    pub body_bytes: usize,
    /// How long a request body may take to arrive. A call whose client named a shorter deadline waits no longer than that.
    pub body_patience: Duration,
    /// Nesting of a JSON body, and of a field named in the query. At most 256: reading nests as deep.
    pub json_depth: usize,
    /// Keys in a query string.
    pub query_keys: usize,
    /// Bytes of the path, before anything is decoded.
    pub path_bytes: usize,
    /// Bytes of path, query and all request headers together.
    pub header_bytes: usize,
    /// Bytes of one response message.
    pub response_message_bytes: usize,
}

impl Limits {
    /// The nesting allowed, bounded by what the stack can take.
    pub(crate) fn depth(&self) -> usize {
        self.json_depth.min(256)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            body_patience: Duration::from_secs(30),
            json_depth: 64,
            query_keys: 1000,
            path_bytes: 8 << 10,
            header_bytes: 32 << 10,
            response_message_bytes: 16 << 20,
        }
    }
}

/// What becomes of `x-forwarded-for`. The peer's address is taken from a [`ClientAddr`] in the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedFor {
    /// The client's own header is dropped; the peer's address, if known, takes its place.
    Replace,
    /// The peer's address is added to the header: for a gateway behind a proxy that is trusted.
    Append,
    /// The header passes as it came.
    Keep,
}

/// Address of the peer of a connection, to be put in a request's extensions by whoever accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub std::net::IpAddr);
