//! Who the calls are made as.

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tonic::Status;

use crate::error::Error;
use crate::session::{Session, SessionKeeper};

/// Who the calls are made as. `Debug` never shows a secret.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nobody: only public methods work.
    #[default]
    None,
    /// An API key, `sk_…`.
    ApiKey(SecretString),
    /// An access token that somebody else renews.
    Token(SecretString),
    /// A user who signs in; the SDK renews the access token by itself.
    Session(Session),
}

impl Credentials {
    /// An API key.
    pub fn api_key(key: impl Into<String>) -> Self {
        Self::ApiKey(SecretString::from(key.into()))
    }

    /// An access token.
    pub fn token(token: impl Into<String>) -> Self {
        Self::Token(SecretString::from(token.into()))
    }

    /// A user who signs in with e-mail and password.
    pub fn login(email: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Session(Session::login(email, password))
    }

    /// The first there is of `SEWA_API_KEY`, `SEWA_TOKEN`, and the API key in the file that `SEWA_API_KEY_FILE` names; else nobody. The SDK looks at the
    /// environment nowhere else.
    ///
    /// # Errors
    /// If the file cannot be read: a program that was meant to have a key must not go on without one.
    pub fn from_env() -> Result<Self, Error> {
        Self::chain(|name| std::env::var(name).ok())
    }

    /// As [`Credentials::from_env`], with the variables of your own source.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn chain(read: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let read = |name| read(name).filter(|value| !value.is_empty());
        if let Some(key) = read("SEWA_API_KEY") {
            return Ok(Self::api_key(key));
        }
        if let Some(token) = read("SEWA_TOKEN") {
            return Ok(Self::token(token));
        }
        let Some(path) = read("SEWA_API_KEY_FILE") else {
            return Ok(Self::None);
        };
        let key = std::fs::read_to_string(&path).map_err(|error| {
            Status::unauthenticated(format!("SEWA_API_KEY_FILE, {path}, cannot be read: {error}"))
        })?;
        Ok(Self::api_key(key.trim()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::ApiKey(_) => "ApiKey([REDACTED])",
            Self::Token(_) => "Token([REDACTED])",
            Self::Session(_) => "Session([REDACTED])",
        })
    }
}

/// A header value ready to send, and which renewal it came from.
#[derive(Clone)]
pub(crate) struct Bearer {
    pub(crate) header: HeaderValue,
    pub(crate) renewal: u64,
}

impl Bearer {
    pub(crate) fn new(secret: &str, renewal: u64) -> Result<Self, Status> {
        let mut header = HeaderValue::try_from(format!("Bearer {secret}"))
            .map_err(|_| Status::unauthenticated("the credentials are not visible ASCII"))?;
        // Marked so, it is neither printed nor kept in the compression table of the connection.
        header.set_sensitive(true);
        Ok(Self { header, renewal })
    }
}

/// Credentials at work.
pub(crate) enum Authority {
    Nobody,
    Fixed(Bearer),
    Session(Arc<SessionKeeper>),
}

impl Authority {
    pub(crate) fn fixed(secret: &SecretString) -> Result<Self, Status> {
        Bearer::new(secret.expose_secret(), 0).map(Self::Fixed)
    }

    /// What to send. Signing in is put off until a method needs it, so a public method works before, or without, a session.
    pub(crate) async fn bearer(&self, public: bool) -> Result<Option<Bearer>, Status> {
        match self {
            Self::Nobody => Ok(None),
            Self::Fixed(bearer) => Ok(Some(bearer.clone())),
            Self::Session(keeper) if public => Ok(keeper.at_hand()),
            Self::Session(keeper) => keeper.bearer().await.map(Some),
        }
    }

    /// A better one after the server found this one expired; `None` where there cannot be a better one.
    pub(crate) async fn renewed(&self, refused: &Bearer) -> Option<Result<Bearer, Status>> {
        match self {
            Self::Nobody | Self::Fixed(_) => None,
            Self::Session(keeper) => Some(keeper.renewed(refused.renewal).await),
        }
    }
}
