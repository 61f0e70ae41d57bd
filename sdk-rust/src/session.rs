//! A user's session: signs in once, renews the access token before it ends, and signs in again when the refresh token is gone.
//!
//! A refresh token works once and its second use revokes the session, so there is never more than one renewal under way, and a renewal once begun is finished
//! even if the call that wanted it is dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::credentials::Bearer;
use crate::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use crate::sewa::identity::v1::{LoginRequest, RefreshTokenRequest, Tokens};
use crate::transport::Transport;

/// Renewal begins in the background when less than this is left, or a fifth of the token's life if that is less.
const RENEW_AHEAD: Duration = Duration::from_secs(120);
/// A token is trusted at least this long, so that a wrong clock on this side cannot make each call renew. If it ends sooner, the server says so.
const SHORTEST_LIFE: Duration = Duration::from_secs(5);
/// The pause after a renewal in the background failed.
const PAUSE: Duration = Duration::from_secs(5);

/// How a user signs in.
#[derive(Clone)]
pub struct Session {
    login: Option<(String, SecretString)>,
    tokens: Option<Tokens>,
}

impl Session {
    /// Signs in with e-mail and password when the first call needs it.
    pub fn login(email: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            login: Some((email.into(), SecretString::from(password.into()))),
            tokens: None,
        }
    }

    /// Goes on with tokens received before, for example from `Register`.
    pub fn resume(tokens: Tokens) -> Self {
        Self {
            login: None,
            tokens: Some(tokens),
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session([REDACTED])")
    }
}

/// The tokens in use.
#[derive(Clone)]
struct Live {
    bearer: Bearer,
    refresh: SecretString,
    renew_at: Instant,
    ends_at: Instant,
}

/// What the last renewal came to, and how many there were.
struct Outcome {
    live: Option<Live>,
    renewals: u64,
    failure: Option<Status>,
}

/// Keeps a session alive.
pub(crate) struct SessionKeeper {
    login: Option<(String, SecretString)>,
    identity: IdentityServiceClient<Transport>,
    outcome: Mutex<Outcome>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl SessionKeeper {
    /// `transport` carries no credentials.
    pub(crate) fn new(session: Session, transport: Transport) -> Result<Self, Status> {
        let live = session
            .tokens
            .map(|tokens| Live::new(tokens, 0))
            .transpose()?;
        Ok(Self {
            login: session.login,
            identity: IdentityServiceClient::new(transport),
            outcome: Mutex::new(Outcome {
                live,
                renewals: 0,
                failure: None,
            }),
            turn: Arc::default(),
        })
    }

    /// The token if there is one, without waiting for anything.
    pub(crate) fn at_hand(&self) -> Option<Bearer> {
        let now = Instant::now();
        self.read(|outcome| {
            outcome
                .live
                .as_ref()
                .filter(|live| live.ends_at > now)
                .map(|live| live.bearer.clone())
        })
    }

    /// A token that has not ended. One that ends soon is renewed in the background meanwhile.
    pub(crate) async fn bearer(self: &Arc<Self>) -> Result<Bearer, Status> {
        let now = Instant::now();
        let (live, renewals) = self.read(|outcome| {
            (
                outcome
                    .live
                    .as_ref()
                    .map(|live| (live.bearer.clone(), live.renew_at, live.ends_at)),
                outcome.renewals,
            )
        });
        match live {
            Some((bearer, renew_at, _)) if now < renew_at => Ok(bearer),
            Some((bearer, _, ends_at)) if now < ends_at => {
                if let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
                    self.renew(turn);
                }
                Ok(bearer)
            }
            _ => self.after(renewals).await,
        }
    }

    /// A token other than the refused one.
    pub(crate) async fn renewed(self: &Arc<Self>, refused: u64) -> Result<Bearer, Status> {
        let (newer, renewals) = self.read(|outcome| {
            let newer = outcome
                .live
                .as_ref()
                .filter(|live| live.bearer.renewal > refused);
            (newer.map(|live| live.bearer.clone()), outcome.renewals)
        });
        match newer {
            Some(bearer) => Ok(bearer),
            None => self.after(renewals).await,
        }
    }

    /// The outcome of the first renewal after the given one. Whoever waited while it ran shares it, be it a failure: a wrong password is not tried once per call.
    async fn after(self: &Arc<Self>, before: u64) -> Result<Bearer, Status> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if self.read(|outcome| outcome.renewals) == before {
            let task = self.renew(turn);
            task.await
                .map_err(|_| Status::unavailable("the runtime is shutting down"))?;
        }
        self.read(|outcome| match (&outcome.live, &outcome.failure) {
            (_, Some(failure)) => Err(failure.clone()),
            (Some(live), None) => Ok(live.bearer.clone()),
            (None, None) => Err(Status::unauthenticated("the session has no tokens")),
        })
    }

    fn renew(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> tokio::task::JoinHandle<()> {
        let keeper = Arc::clone(self);
        tokio::spawn(async move {
            let number = keeper.read(|outcome| outcome.renewals) + 1;
            let result = keeper
                .obtain()
                .await
                .and_then(|tokens| Live::new(tokens, number));
            let mut outcome = keeper
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            outcome.renewals = number;
            match result {
                Ok(live) => (outcome.live, outcome.failure) = (Some(live), None),
                Err(status) => outcome.fail(status),
            }
            drop(outcome);
            drop(turn);
        })
    }

    async fn obtain(&self) -> Result<Tokens, Status> {
        let refresh = self.read(|outcome| outcome.live.as_ref().map(|live| live.refresh.clone()));
        let mut identity = self.identity.clone();
        let refused = match refresh {
            Some(token) => {
                let request = RefreshTokenRequest {
                    refresh_token: token.expose_secret().to_owned(),
                };
                match identity.refresh_token(request).await {
                    Ok(reply) => return reply.into_inner().tokens.ok_or_else(no_tokens),
                    Err(status) => status,
                }
            }
            None => Status::unauthenticated("the session has no refresh token"),
        };
        // After any failure the refresh token may have been used up, so with a password at hand a new sign-in is the safe way on.
        let Some((email, password)) = &self.login else {
            return Err(refused);
        };
        let request = LoginRequest {
            email: email.clone(),
            password: password.expose_secret().to_owned(),
            ..Default::default()
        };
        identity
            .login(request)
            .await?
            .into_inner()
            .tokens
            .ok_or_else(no_tokens)
    }

    fn read<T>(&self, look: impl FnOnce(&Outcome) -> T) -> T {
        look(&self.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Outcome {
    fn fail(&mut self, status: Status) {
        tracing::warn!(code = ?status.code(), message = status.message(), "the session could not be renewed");
        if status.code() == Code::Unauthenticated {
            self.live = None;
        }
        if let Some(live) = &mut self.live {
            live.renew_at = Instant::now() + PAUSE;
        }
        self.failure = Some(status);
    }
}

impl Live {
    fn new(tokens: Tokens, renewal: u64) -> Result<Self, Status> {
        let now = Instant::now();
        let life = tokens
            .access_expire_time
            .and_then(|time| SystemTime::try_from(time).ok())
            .and_then(|time| time.duration_since(SystemTime::now()).ok())
            .unwrap_or_default()
            .max(SHORTEST_LIFE);
        Ok(Self {
            bearer: Bearer::new(&tokens.access_token, renewal)?,
            refresh: SecretString::from(tokens.refresh_token),
            renew_at: now + life - RENEW_AHEAD.min(life / 5),
            ends_at: now + life,
        })
    }
}

fn no_tokens() -> Status {
    Status::internal("the server signed the user in without tokens")
}
