//! The settings of what one REST request may cost.

use std::time::Duration;

use serde::Deserialize;

/// Bounds on one REST request, as the gateway counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestLimits {
    /// Bytes of a request body, after decompression.
    pub body_bytes: usize,
    /// Seconds a request body may take to arrive.
    pub body_seconds: usize,
    /// Nesting of a JSON body; at most 256.
    pub json_depth: usize,
    /// Keys in a query string.
    pub query_keys: usize,
    /// Bytes of the path.
    pub path_bytes: usize,
    /// Bytes of path, query and all headers together.
    pub header_bytes: usize,
}

impl Default for RestLimits {
    fn default() -> Self {
        let limits = sewa_gateway::Limits::default();
        Self {
            body_bytes: limits.body_bytes,
            body_seconds: usize::try_from(limits.body_patience.as_secs()).unwrap_or(usize::MAX),
            json_depth: limits.json_depth,
            query_keys: limits.query_keys,
            path_bytes: limits.path_bytes,
            header_bytes: limits.header_bytes,
        }
    }
}

impl RestLimits {
    /// The gateway's settings with these bounds.
    pub fn gateway(&self) -> sewa_gateway::GatewayConfig {
        let mut config = sewa_gateway::GatewayConfig::default();
        config.limits.body_bytes = self.body_bytes;
        config.limits.body_patience = Duration::from_secs(self.body_seconds as u64);
        config.limits.json_depth = self.json_depth;
        config.limits.query_keys = self.query_keys;
        config.limits.path_bytes = self.path_bytes;
        config.limits.header_bytes = self.header_bytes;
        config
    }

    /// What is wrong with them.
    pub fn problems(&self) -> Vec<String> {
        [
            ("body_bytes", self.body_bytes, 1024..=64 << 20),
            ("body_seconds", self.body_seconds, 1..=300),
            ("json_depth", self.json_depth, 8..=256),
            ("query_keys", self.query_keys, 1..=100_000),
            ("path_bytes", self.path_bytes, 256..=64 << 10),
            ("header_bytes", self.header_bytes, 4096..=1 << 20),
        ]
        .into_iter()
        .filter(|(_, value, allowed)| !allowed.contains(value))
        .map(|(name, value, allowed)| {
            let (from, to) = allowed.into_inner();
            format!("rest.{name} must be {from} to {to}, not {value}")
        })
        .collect()
    }
}
