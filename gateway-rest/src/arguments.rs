//! What the process is told on its command line or by variables: everything a `GatewayConfig` holds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use http::HeaderName;
use sewa_gateway::listen::{Cors, CorsLayer, InvalidOrigin, Listen, Tls, TlsError};
use sewa_gateway::{ForwardedFor, GatewayConfig};

/// Bytes of a head beyond the limit that are still read, so that the refusal can be an answer.
const HEAD_SLACK: usize = 64 << 10;

/// Answers REST, gRPC and gRPC-Web for a gRPC server, from its descriptor set.
#[derive(Parser)]
#[command(version)]
pub(crate) struct Arguments {
    /// The gRPC server, as http://host:port
    #[arg(long, env = "SEWA_GATEWAY_UPSTREAM")]
    pub(crate) upstream: String,
    /// Where to listen
    #[arg(long, env = "SEWA_GATEWAY_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// A descriptor set with its imports (buf build -o api.binpb, or protoc --include_imports -o api.binpb). Without one the server is asked, by reflection
    #[arg(long, env = "SEWA_GATEWAY_DESCRIPTORS", value_name = "FILE")]
    pub(crate) descriptors: Option<PathBuf>,
    /// A PEM file with the certificate chain, the server's own first; read again when it changes. Without one the port speaks plain text
    #[arg(
        long,
        env = "SEWA_GATEWAY_TLS_CERTIFICATE",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key
    #[arg(
        long,
        env = "SEWA_GATEWAY_TLS_KEY",
        value_name = "FILE",
        requires = "tls_certificate"
    )]
    tls_key: Option<PathBuf>,
    /// A web origin whose pages may call, or * for any; may be repeated
    #[arg(
        long,
        env = "SEWA_GATEWAY_CORS_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    cors_origin: Vec<String>,
    /// A response header that pages of other origins may read besides the gateway's own; may be repeated
    #[arg(long, value_name = "NAME")]
    cors_expose_header: Vec<HeaderName>,
    /// Seconds a browser may remember what a preflight was answered
    #[arg(long, env = "SEWA_GATEWAY_CORS_MAX_AGE_SECONDS", default_value_t = Cors::default().max_age.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    cors_max_age_seconds: u64,
    /// Domain of the gateway's own errors
    #[arg(long, default_value = "sewa")]
    domain: String,
    /// What becomes of x-forwarded-for: the peer's address replaces it or is added to it (behind a trusted proxy), or it is kept
    #[arg(long, value_enum, default_value_t = Forwarded::Replace)]
    forwarded_for: Forwarded,
    /// A query key that is no field and still allowed; may be repeated
    #[arg(long, value_name = "KEY")]
    system_query_key: Vec<String>,
    /// A further request header that reaches the RPC as metadata; may be repeated
    #[arg(long, value_name = "NAME")]
    request_header: Vec<HeaderName>,
    /// Response metadata that must not become a header; may be repeated
    #[arg(long, value_name = "NAME")]
    deny_response_header: Vec<HeaderName>,
    /// Seconds of silence after which an SSE stream sends a comment
    #[arg(long, env = "SEWA_GATEWAY_HEARTBEAT_SECONDS", default_value_t = GatewayConfig::default().heartbeat.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    heartbeat_seconds: u64,
    /// Bytes of a request body, after decompression
    #[arg(long, env = "SEWA_GATEWAY_BODY_BYTES", default_value_t = GatewayConfig::default().limits.body_bytes)]
    body_bytes: usize,
    /// Seconds a request body may take to arrive
    #[arg(long, env = "SEWA_GATEWAY_BODY_SECONDS", default_value_t = GatewayConfig::default().limits.body_patience.as_secs(), value_parser = clap::value_parser!(u64).range(1..))]
    body_seconds: u64,
    /// Nesting of a JSON body; at most 256
    #[arg(long, env = "SEWA_GATEWAY_JSON_DEPTH", default_value_t = GatewayConfig::default().limits.json_depth)]
    json_depth: usize,
    /// Keys in a query string
    #[arg(long, env = "SEWA_GATEWAY_QUERY_KEYS", default_value_t = GatewayConfig::default().limits.query_keys)]
    query_keys: usize,
    /// Bytes of the path
    #[arg(long, env = "SEWA_GATEWAY_PATH_BYTES", default_value_t = GatewayConfig::default().limits.path_bytes)]
    path_bytes: usize,
    /// Bytes of path, query and all request headers together
    #[arg(long, env = "SEWA_GATEWAY_HEADER_BYTES", default_value_t = GatewayConfig::default().limits.header_bytes)]
    header_bytes: usize,
    /// Bytes of one response message
    #[arg(long, env = "SEWA_GATEWAY_RESPONSE_MESSAGE_BYTES", default_value_t = GatewayConfig::default().limits.response_message_bytes)]
    response_message_bytes: usize,
}

/// [`ForwardedFor`] as words.
#[derive(Clone, Copy, ValueEnum)]
enum Forwarded {
    Replace,
    Append,
    Keep,
}

impl Arguments {
    /// What pages of other origins may do; `None` if nobody named one.
    pub(crate) fn cors(&self) -> Result<Option<CorsLayer>, InvalidOrigin> {
        if self.cors_origin.is_empty() {
            return Ok(None);
        }
        let mut cors = Cors::default();
        cors.origins.clone_from(&self.cors_origin);
        // What a page may not send could not reach the RPC.
        cors.allowed_headers.clone_from(&self.request_header);
        cors.exposed_headers.clone_from(&self.cors_expose_header);
        cors.max_age = Duration::from_secs(self.cors_max_age_seconds);
        cors.layer().map(Some)
    }

    /// The certificate to serve with; `None` for plain text.
    fn tls(&self) -> Result<Option<Tls>, TlsError> {
        let files = self.tls_certificate.as_deref().zip(self.tls_key.as_deref());
        files
            .map(|(certificate, key)| Tls::read(certificate, key))
            .transpose()
    }

    /// How connections are served.
    pub(crate) fn listen(&self) -> Result<Listen, TlsError> {
        let mut listen = Listen::default();
        listen.head_bytes = self.header_bytes.saturating_add(HEAD_SLACK);
        listen.tls = self.tls()?;
        Ok(listen)
    }

    /// The settings of the gateway.
    pub(crate) fn config(&self) -> GatewayConfig {
        let mut config = GatewayConfig::default();
        config.domain.clone_from(&self.domain);
        config.forwarded_for = match self.forwarded_for {
            Forwarded::Replace => ForwardedFor::Replace,
            Forwarded::Append => ForwardedFor::Append,
            Forwarded::Keep => ForwardedFor::Keep,
        };
        config.system_query_keys.clone_from(&self.system_query_key);
        config.request_headers.clone_from(&self.request_header);
        config
            .denied_response_headers
            .clone_from(&self.deny_response_header);
        config.heartbeat = Duration::from_secs(self.heartbeat_seconds);
        config.limits.body_bytes = self.body_bytes;
        config.limits.body_patience = Duration::from_secs(self.body_seconds);
        config.limits.json_depth = self.json_depth;
        config.limits.query_keys = self.query_keys;
        config.limits.path_bytes = self.path_bytes;
        config.limits.header_bytes = self.header_bytes;
        config.limits.response_message_bytes = self.response_message_bytes;
        config
    }
}
