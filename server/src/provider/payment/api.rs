//! One call to a gateway over HTTP: bounded in time and size, and its failures sorted by whether something may have happened.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::provider::payment::GatewayError;

/// Bytes of an answer that are read at most.
const MAX_ANSWER: usize = 1 << 20;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The way to a gateway.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    /// `base` is a whole URL with its path; `timeout` bounds a call from connecting to the last byte.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(base: &str, timeout: Duration) -> anyhow::Result<Self> {
        let client = Client::builder()
            .connect_timeout(CONNECT.min(timeout))
            .timeout(timeout)
            // A gateway that sends us elsewhere would send our keys along.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sewa/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// Begins a GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    /// Begins a POST.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base))
    }
}

/// Sends a request and reads a JSON answer, of success or refusal. What is no answer, or one of a server in trouble, is an error.
///
/// # Errors
/// `Unreachable` if nothing was sent, `Denied` if our keys were refused, `Unknown` if it may have been carried out.
pub async fn send(request: RequestBuilder) -> Result<(StatusCode, Value), GatewayError> {
    let mut answer = request.send().await.map_err(unsent)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(GatewayError::Unknown("the answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(GatewayError::Unreachable("too many calls".to_owned()));
    }
    if status.is_server_error() {
        return Err(GatewayError::Unknown(format!("status {status}")));
    }
    let json = serde_json::from_slice(&body)
        .map_err(|_| GatewayError::Unknown(format!("status {status} without JSON")))?;
    Ok((status, json))
}

fn unsent(error: reqwest::Error) -> GatewayError {
    let connecting = error.is_connect() || error.is_builder();
    // The URL may hold what is nobody's business.
    let said = chain(&error.without_url());
    if connecting {
        GatewayError::Unreachable(said)
    } else {
        GatewayError::Unknown(said)
    }
}

fn lost(error: reqwest::Error) -> GatewayError {
    GatewayError::Unknown(chain(&error.without_url()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        said = format!("{said}: {cause}");
        source = cause.source();
    }
    said
}
