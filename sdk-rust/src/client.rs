//! The client: connections, credentials and limits, put together once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::HeaderValue;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::credentials::{Authority, Credentials};
use crate::error::Error;
use crate::notice::Notices;
use crate::retry::{Budget, RetryPolicy};
use crate::rules::Rules;
use crate::session::SessionKeeper;
use crate::telemetry::Observer;
use crate::transport::{Inner, Transport};

/// A client of one Sewa server. Cloning is cheap; dropping the last clone closes the connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

impl Client {
    /// Begins a client for an endpoint such as `https://api.example.com`.
    pub fn builder(endpoint: impl Into<String>) -> Builder {
        Builder::new(Target::Address(endpoint.into()))
    }

    /// Begins a client over connections of your own making, for unix sockets, private
    /// certificates or proxies.
    pub fn over(channels: impl IntoIterator<Item = Channel>) -> Builder {
        Builder::new(Target::Channels(channels.into_iter().collect()))
    }

    /// What generated stubs are built on.
    pub fn transport(&self) -> Transport {
        self.transport.clone()
    }

    /// A generated stub of this client: `client.service(WalletServiceClient::new)`.
    pub fn service<S>(&self, new: impl FnOnce(Transport) -> S) -> S {
        new(self.transport())
    }
}

/// Puts a client together.
pub struct Builder {
    target: Target,
    connections: usize,
    credentials: Credentials,
    policy: RetryPolicy,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    locale: Option<String>,
    user_agent: Option<String>,
    connect_timeout: Duration,
    observer: Option<Arc<dyn Observer>>,
    rules: Option<&'static Rules>,
}

/// Where the calls go.
enum Target {
    Address(String),
    Channels(Vec<Channel>),
}

impl Builder {
    fn new(target: Target) -> Self {
        Self {
            target,
            connections: 2,
            credentials: Credentials::None,
            policy: RetryPolicy::default(),
            timeout: None,
            attempt_timeout: None,
            locale: None,
            user_agent: None,
            connect_timeout: Duration::from_secs(5),
            observer: None,
            rules: None,
        }
    }

    /// Who the calls are made as. Nobody if not given.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// HTTP/2 connections to spread calls over, 2 if not given. One connection is served by one thread at a time on either side.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Limits of repeats.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Time of each unary call that sets none of its own with [`tonic::Request::set_timeout`]. If not given, the contract says how long.
    #[must_use]
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Language of texts for end users, sent as `accept-language` with each call that sets none: `id`, `en`.
    #[must_use]
    pub fn locale(mut self, tag: impl Into<String>) -> Self {
        self.locale = Some(tag.into());
        self
    }

    /// Name and version of your program, put before the SDK's own in `user-agent`: `shop/1.2`. Connections of your own making name themselves.
    #[must_use]
    pub fn user_agent(mut self, program: impl Into<String>) -> Self {
        self.user_agent = Some(program.into());
        self
    }

    /// Time of each attempt. If not given, an attempt may take all the time its call has left.
    #[must_use]
    pub fn attempt_timeout(mut self, span: Duration) -> Self {
        self.attempt_timeout = Some(span);
        self
    }

    /// Time to make a connection, 5 s if not given.
    #[must_use]
    pub fn connect_timeout(mut self, span: Duration) -> Self {
        self.connect_timeout = span;
        self
    }

    /// Receives every attempt, for metrics and traces.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Rules of another contract than the one built in, for services of your own that declare theirs with the `sewa.api.v1` options.
    #[must_use]
    pub fn rules(mut self, rules: &'static Rules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// Makes the client. It connects when the first call needs it, so this waits for nothing; it must run inside a tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        let channels: Box<[Channel]> = match self.target {
            Target::Channels(channels) if channels.is_empty() => {
                return Err(Status::invalid_argument("a client needs a connection").into());
            }
            Target::Channels(channels) => channels.into(),
            Target::Address(address) => {
                let agent = self.user_agent.as_deref();
                let endpoint = endpoint(address, self.connect_timeout, agent)?;
                (0..self.connections)
                    .map(|_| endpoint.connect_lazy())
                    .collect()
            }
        };
        let locale = self.locale.map(|tag| {
            HeaderValue::try_from(tag)
                .map_err(|_| Status::invalid_argument("the locale is not visible ASCII"))
        });
        let locale = locale.transpose()?;
        let plain = |authority| {
            Transport(Arc::new(Inner {
                channels: channels.clone(),
                next: AtomicUsize::new(0),
                rules: self.rules.unwrap_or_else(Rules::contract),
                policy: self.policy.clone(),
                timeout: self.timeout,
                attempt_timeout: self.attempt_timeout,
                locale: locale.clone(),
                budget: Budget::new(&self.policy),
                authority,
                observer: self.observer.clone(),
                notices: Notices::default(),
            }))
        };
        let authority = match self.credentials {
            Credentials::None => Authority::Nobody,
            Credentials::ApiKey(secret) | Credentials::Token(secret) => Authority::fixed(&secret)?,
            Credentials::Session(session) => Authority::Session(Arc::new(SessionKeeper::new(
                session,
                plain(Authority::Nobody),
            )?)),
        };
        Ok(Client {
            transport: plain(authority),
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("connections", &self.connections)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

/// Name and version, sent with each call.
const USER_AGENT: &str = concat!("sewa-sdk-rust/", env!("CARGO_PKG_VERSION"));

pub(crate) fn endpoint(
    address: String,
    connect_timeout: Duration,
    program: Option<&str>,
) -> Result<Endpoint, Error> {
    let agent = match program {
        Some(program) => format!("{program} {USER_AGENT}"),
        None => USER_AGENT.to_owned(),
    };
    let invalid = |error: tonic::transport::Error| {
        Error::from(Status::invalid_argument(format!(
            "the endpoint is not usable: {error}"
        )))
    };
    let encrypted = address.starts_with("https://");
    let endpoint = Endpoint::from_shared(address)
        .and_then(|endpoint| endpoint.user_agent(agent))
        .map_err(invalid)?
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        // A connection that died silently is noticed before the next call would hang on it.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20);
    if !encrypted {
        return Ok(endpoint);
    }
    #[cfg(feature = "tls")]
    return endpoint
        .tls_config(tonic::transport::ClientTlsConfig::new().with_webpki_roots())
        .map_err(invalid);
    #[cfg(not(feature = "tls"))]
    Err(Error::from(Status::invalid_argument(
        "https needs the feature `tls` of sewa-sdk",
    )))
}
