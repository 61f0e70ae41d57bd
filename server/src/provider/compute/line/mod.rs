//! The line to a provider's API: one for each account. Everything an adapter says goes through here, so that time-outs, the provider's rate limits, a bound on
//! calls at once, a budget of repeats and a circuit breaker are the same for all of them.
//!
//! What matters most is what an error says about effects. A call that never left, or that the provider refused, had none; one that was sent and not answered
//! may have had one, and is `Unknown`. Only reads are ever repeated here. What changes something is repeated by the reconciler, after it has looked.

pub mod breaker;
pub mod pace;
pub mod trust;
pub mod upgrade;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::breaker::Breaker;
use self::pace::Pace;
use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Access;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a call that changes something may take. Its callers wait no longer than that either.
const WRITE_TIMEOUT: Duration = Duration::from_secs(12);
/// The longest reply that is read: 8 MiB.
const LONGEST_REPLY: usize = 8 << 20;

/// How a provider carries its limits and its token.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What stands before the token in the `authorization` header, with a blank between unless it ends in `=`.
    pub scheme: &'static str,
    /// Header with the calls left in the present window, if there is one.
    pub remaining: &'static str,
    /// Header with the moment the window ends, in unix seconds.
    pub reset: &'static str,
    /// True if a failure of the server (5xx) says what it means. It is then a reply like any other, for the adapter to understand.
    pub explains_failures: bool,
}

/// The line to one account.
pub struct Line {
    http: reqwest::Client,
    base: String,
    authorization: SecretString,
    dialect: Dialect,
    places: Semaphore,
    state: Mutex<State>,
}

struct State {
    pace: Pace,
    breaker: Breaker,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// GET for a read; only those are repeated.
    pub method: Method,
    /// After the base URL, with its query.
    pub path: String,
    /// JSON.
    pub body: Option<Value>,
    /// A form, encoded, where that is what the provider wants.
    pub form: Option<String>,
    /// A further header.
    pub header: Option<(&'static str, String)>,
    /// The header that says who asks, where that is not the token in `authorization`.
    pub bears: Option<(&'static str, SecretString)>,
}

impl Ask {
    /// A read.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            form: None,
            header: None,
            bears: None,
        }
    }

    /// A change.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(path)
        }
    }

    /// An end.
    pub fn delete(path: impl Into<String>) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(path)
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(self, name: &'static str, value: String) -> Self {
        Self {
            header: Some((name, value)),
            ..self
        }
    }

    /// The same with another header than `authorization` to say who asks.
    #[must_use]
    pub fn bearing(self, name: &'static str, value: SecretString) -> Self {
        Self {
            bears: Some((name, value)),
            ..self
        }
    }
}

/// A reply that says whether the call had its effect: 2xx, or a refusal; or a failure that explains itself.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Not 429, and below 500 unless the provider explains its failures.
    pub status: StatusCode,
    /// JSON, or null.
    pub body: Value,
    /// The sentence beside the status.
    pub reason: String,
}

impl Line {
    /// A line to an account. `own` is the vendor's own address, an absolute URL with its path.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(access: &Access, own: &str, dialect: Dialect) -> anyhow::Result<Self> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            // A token must not follow a redirection to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sewa/", env!("CARGO_PKG_VERSION")));
        if let Some(tls) = access.trust.tls()? {
            http = http.tls_backend_preconfigured(tls);
        }
        let blank = if dialect.scheme.ends_with('=') {
            ""
        } else {
            " "
        };
        let token = access.token.expose_secret();
        let authorization = format!("{}{blank}{token}", dialect.scheme);
        Ok(Self {
            http: http.build()?,
            base: access.base(own).trim_end_matches('/').to_owned(),
            authorization: SecretString::from(authorization),
            dialect,
            places: Semaphore::new(access.places().max(1)),
            state: Mutex::new(State {
                pace: Pace::default(),
                breaker: Breaker::default(),
            }),
        })
    }

    /// Asks, and returns what the provider decided. A read that failed is repeated once, while the budget of repeats lasts.
    ///
    /// # Errors
    /// `Unknown` if a change may have had its effect; `RateLimited`, `Unavailable` if it had none.
    pub async fn ask(&self, ask: &Ask) -> Result<Reply, ProviderError> {
        let first = self.once(ask).await;
        let repeat = ask.method == Method::GET
            && matches!(first, Err(ProviderError::Unavailable(_)))
            && self.state().breaker.may_repeat(Instant::now());
        if repeat { self.once(ask).await } else { first }
    }

    async fn once(&self, ask: &Ask) -> Result<Reply, ProviderError> {
        let _place = self.enter().await?;
        let mut call = Counted {
            line: self,
            failed: true,
        };
        let outcome = self.send(ask).await;
        call.failed = matches!(
            outcome,
            Err(ProviderError::Unknown | ProviderError::Unavailable(_))
        );
        outcome
    }

    async fn send(&self, ask: &Ask) -> Result<Reply, ProviderError> {
        let reads = ask.method == Method::GET;
        let url = format!("{}{}", self.base, ask.path);
        let (who, secret) = match &ask.bears {
            Some((name, secret)) => (*name, secret),
            None => ("authorization", &self.authorization),
        };
        let mut request = self
            .http
            .request(ask.method.clone(), url)
            .timeout(if reads { READ_TIMEOUT } else { WRITE_TIMEOUT })
            .header(who, secret.expose_secret())
            .header(http::header::ACCEPT, "application/json");
        if let Some((name, value)) = &ask.header {
            request = request.header(*name, value);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        if let Some(form) = &ask.form {
            request = request
                .header(
                    http::header::CONTENT_TYPE,
                    "application/x-www-form-urlencoded",
                )
                .body(form.clone());
        }
        let unanswered = |error: &reqwest::Error| {
            // The text of such an error may hold the URL, never a header or a body.
            if error.is_connect() || error.is_builder() || reads {
                ProviderError::Unavailable(described(error).to_owned())
            } else {
                ProviderError::Unknown
            }
        };
        let mut response = request.send().await.map_err(|e| unanswered(&e))?;
        let status = response.status();
        let limits = self.read_limits(status, response.headers());
        let reason = response
            .extensions()
            .get::<hyper::ext::ReasonPhrase>()
            .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned())
            .unwrap_or_default();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unanswered(&e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_REPLY {
                return Err(ProviderError::Unknown);
            }
        }
        limits?;
        if status.is_server_error() && !self.dialect.explains_failures {
            // A provider that fails may have done its part before.
            return Err(if reads {
                ProviderError::Unavailable(format!("the provider answered {}", status.as_u16()))
            } else {
                ProviderError::Unknown
            });
        }
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() || !status.is_success() => Value::Null,
            Err(_) if reads => {
                return Err(ProviderError::Unavailable(
                    "the provider answered with something else than JSON".to_owned(),
                ));
            }
            Err(_) => return Err(ProviderError::Unknown),
        };
        Ok(Reply {
            status,
            body,
            reason,
        })
    }

    /// Notes the provider's limits. An error if this very call was refused because of them.
    fn read_limits(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), ProviderError> {
        let number = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok())
        };
        let unix_now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default()
            .as_secs();
        let until_reset =
            number(self.dialect.reset).map(|at| Duration::from_secs(at.saturating_sub(unix_now)));
        let now = Instant::now();
        let mut state = self.state();
        if status == StatusCode::TOO_MANY_REQUESTS {
            let after = number("retry-after")
                .map(Duration::from_secs)
                .or(until_reset);
            return Err(ProviderError::RateLimited {
                after: state.pace.refused(after, now),
            });
        }
        if number(self.dialect.remaining) == Some(0) {
            state.pace.spent(until_reset, now);
        }
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Tells the breaker how a call went; one whose caller gave up waiting has failed.
struct Counted<'l> {
    line: &'l Line,
    failed: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.line.state().breaker.note(self.failed, Instant::now());
    }
}

fn described(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "the provider did not answer in time"
    } else if error.is_connect() {
        "the provider cannot be reached"
    } else {
        "the connection to the provider broke"
    }
}
