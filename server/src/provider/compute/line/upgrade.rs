//! A call that becomes a WebSocket: with the token, the trust and the limits of the line, and nobody else's TLS. From then on it counts as no call.

use std::time::Instant;

use http::{StatusCode, header};
use secrecy::ExposeSecret;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Counted, Line, WRITE_TIMEOUT};
use crate::provider::compute::ProviderError;

/// The version of WebSocket (RFC 6455).
pub const VERSION: &str = "13";

impl Line {
    /// Opens a WebSocket at `path`, of a subprotocol.
    ///
    /// # Errors
    /// `Unauthorized` if the token may not; `RateLimited` and `Unavailable` else.
    pub async fn upgrade(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> Result<reqwest::Upgraded, ProviderError> {
        let _place = self.enter().await?;
        let mut call = Counted {
            line: self,
            failed: true,
        };
        let shaking = tokio::time::timeout(WRITE_TIMEOUT, self.shake_hands(path, protocol));
        let outcome = shaking.await.unwrap_or_else(|_late| Err(unavailable()));
        call.failed = matches!(outcome, Err(ProviderError::Unavailable(_)));
        outcome
    }

    async fn shake_hands(
        &self,
        path: &str,
        protocol: &'static str,
    ) -> Result<reqwest::Upgraded, ProviderError> {
        let key = generate_key();
        let request = self
            .http
            .get(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, self.authorization.expose_secret())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, VERSION)
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        // The text of an error would hold the URL, and with it a ticket.
        let response = request.send().await.map_err(|_| unavailable())?;
        self.read_limits(response.status(), response.headers())?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ProviderError::Unauthorized(
                    "the token may not open a WebSocket".to_owned(),
                ));
            }
            status => {
                return Err(ProviderError::Unavailable(format!(
                    "the provider answered {} and no WebSocket",
                    status.as_u16()
                )));
            }
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|accepted| accepted != derive_accept_key(key.as_bytes()).as_str()) {
            return Err(unavailable());
        }
        response.upgrade().await.map_err(|_| unavailable())
    }

    /// Waits for a place among the calls, and asks whether one may be made now.
    pub(super) async fn enter(&self) -> Result<tokio::sync::SemaphorePermit<'_>, ProviderError> {
        let place = self
            .places
            .acquire()
            .await
            .map_err(|_| ProviderError::Unavailable("the line is closed".to_owned()))?;
        let mut state = self.state();
        let now = Instant::now();
        state.pace.admit(now)?;
        state.breaker.admit(now)?;
        Ok(place)
    }
}

fn unavailable() -> ProviderError {
    ProviderError::Unavailable("the provider opened no WebSocket".to_owned())
}
