//! One call: the headers it needs, its clocks, and its attempts.

use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::credentials::Bearer;
use crate::deadline::{self, Clock};
use crate::details::Details;
use crate::error::{self, Reason};
use crate::reply::{self, Reply};
use crate::retry;
use crate::rules::{MethodRule, Repeat, RetryClass, Shape};
use crate::telemetry::Attempt;
use crate::transport::{Inner, broken, full};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REQUEST_ID: &str = "x-request-id";
const RETRY_COUNT: &str = "x-sewa-retry-count";

/// What one call may do differently. Put it into the extensions of a [`tonic::Request`].
///
/// ```
/// # use sewa_sdk::CallOptions;
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(CallOptions { max_attempts: Some(1), ..CallOptions::default() });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CallOptions {
    /// Attempts, the first included. 1 turns repeats off.
    pub max_attempts: Option<u32>,
    /// Time of each attempt.
    pub attempt_timeout: Option<Duration>,
}

pub(crate) struct Call<'a> {
    inner: &'a Inner,
    rule: Option<&'a MethodRule>,
    head: Parts,
    body: Bytes,
    deadline: Option<(Instant, Clock)>,
    options: CallOptions,
    attempts: u32,
    renewed: bool,
}

/// How an attempt ended.
enum Outcome {
    Answer(Response<Body>),
    /// The server said no, or no reply came.
    Failed(Status),
    /// There were no credentials to send it with. Getting them has had its own repeats.
    Unsent(Status),
}

/// What follows a failure.
enum Next {
    GiveUp,
    Repeat(Duration),
    /// The credentials are expired.
    Renew(Bearer),
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        inner: &'a Inner,
        rule: Option<&'a MethodRule>,
        mut head: Parts,
        body: Bytes,
    ) -> Self {
        let id = |id: Uuid| {
            let text = id.hyphenated();
            let mut id = HeaderValue::from_str(text.encode_lower(&mut Uuid::encode_buffer()))
                .expect("a UUID is a valid header");
            // Keeps what is used once out of the connection's table of headers, where it would push out what every call repeats.
            id.set_sensitive(true);
            id
        };
        if !head.headers.contains_key(REQUEST_ID) {
            head.headers.insert(REQUEST_ID, id(Uuid::now_v7()));
        }
        if let Some(locale) = &inner.locale {
            let headers = &mut head.headers;
            headers
                .entry(http::header::ACCEPT_LANGUAGE)
                .or_insert_with(|| locale.clone());
        }
        if rule.is_some_and(|rule| rule.repeat == Repeat::Keyed)
            && !head.headers.contains_key(IDEMPOTENCY_KEY)
        {
            head.headers.insert(IDEMPOTENCY_KEY, id(Uuid::now_v7()));
        }
        let options = head
            .extensions
            .get::<CallOptions>()
            .copied()
            .unwrap_or_default();
        let unary = rule.is_some_and(|rule| rule.shape == Shape::Unary);
        let asked = deadline::read(&head.headers)
            .or(inner.timeout.filter(|_| unary))
            .map(|span| (span, Clock::Caller));
        let declared = || Some((rule?.default_deadline?, Clock::Contract));
        // A span too long for the clock is as good as none.
        let deadline = asked
            .or_else(declared)
            .and_then(|(span, clock)| Some((Instant::now().checked_add(span)?, clock)));
        Self {
            inner,
            rule,
            head,
            body,
            deadline,
            options,
            attempts: 0,
            renewed: false,
        }
    }

    /// Makes a unary call, with as many attempts as its rule, its time and the policy allow.
    pub(crate) async fn repeat(mut self) -> Result<Response<Body>, Status> {
        loop {
            self.attempts += 1;
            let started = Instant::now();
            let (used, outcome) = self.attempt().await;
            let status = match outcome {
                Outcome::Answer(response) => {
                    self.inner.budget.succeeded();
                    self.observe(Code::Ok, None, started, None);
                    self.inner
                        .notices
                        .read(self.head.uri.path(), response.headers());
                    return Ok(response);
                }
                Outcome::Unsent(status) => return Err(self.give_up(status)),
                Outcome::Failed(status) => status,
            };
            let details = Details::read(status.details());
            let next = self.next(&status, &details, used);
            self.observe(
                status.code(),
                details.reason.as_ref(),
                started,
                next.delay(),
            );
            match next {
                Next::Repeat(delay) => sleep(delay).await,
                Next::Renew(refused) => {
                    self.renewed = true;
                    match self.in_time(self.inner.authority.renewed(&refused)).await {
                        Ok(Some(Ok(_))) => {}
                        Ok(Some(Err(status))) | Err(status) => return Err(self.give_up(status)),
                        Ok(None) => return Err(self.give_up(status)),
                    }
                }
                Next::GiveUp => return Err(self.give_up(status)),
            }
        }
    }

    /// Opens a stream. It is not opened again once it runs, because only its reader knows how far it came; an expired token is renewed, because then nothing
    /// has been read.
    pub(crate) async fn open(mut self) -> Result<Response<Body>, Status> {
        self.attempts = 1;
        let started = Instant::now();
        let (head, used) = self.authorized().await?;
        let mut response = self
            .inner
            .send(Request::from_parts(head, full(self.body.clone())))
            .await;
        let refused = response
            .as_ref()
            .ok()
            .and_then(|response| reply::failure(response.headers()));
        if let (Some(status), Some(used)) = (refused, used)
            && expired(&Details::read(status.details()))
            && let Some(renewed) = self.inner.authority.renewed(&used).await
        {
            self.attempts = 2;
            let head = self.with(Some(&renewed?));
            response = self
                .inner
                .send(Request::from_parts(head, full(self.body.clone())))
                .await;
        }
        let failure = match &response {
            Ok(response) => reply::failure(response.headers()),
            Err(status) => Some(status.clone()),
        };
        let code = failure.as_ref().map_or(Code::Ok, Status::code);
        let reason = failure.and_then(|status| Details::read(status.details()).reason);
        self.observe(code, reason.as_ref(), started, None);
        match response {
            Ok(response) => {
                self.inner
                    .notices
                    .read(self.head.uri.path(), response.headers());
                Ok(response)
            }
            Err(status) => Err(self.give_up(status)),
        }
    }

    /// The head of the request with credentials, and the credentials if they are ours to renew.
    pub(crate) async fn authorized(&self) -> Result<(Parts, Option<Bearer>), Status> {
        if self.head.headers.contains_key(http::header::AUTHORIZATION) {
            return Ok((self.with(None), None));
        }
        let bearer = self
            .inner
            .authority
            .bearer(self.rule.is_some_and(|rule| rule.public))
            .await?;
        Ok((self.with(bearer.as_ref()), bearer))
    }

    fn with(&self, bearer: Option<&Bearer>) -> Parts {
        let mut head = self.head.clone();
        if let Some(bearer) = bearer {
            head.headers
                .insert(http::header::AUTHORIZATION, bearer.header.clone());
        }
        if self.attempts > 1 {
            head.headers
                .insert(RETRY_COUNT, HeaderValue::from(self.attempts - 1));
        }
        head
    }

    async fn attempt(&self) -> (Option<Bearer>, Outcome) {
        let (mut head, used) = match self
            .in_time(self.authorized())
            .await
            .and_then(|authorized| authorized)
        {
            Ok(authorized) => authorized,
            Err(status) => return (None, Outcome::Unsent(status)),
        };
        let now = Instant::now();
        let own = self
            .options
            .attempt_timeout
            .or(self.inner.attempt_timeout)
            .and_then(|span| now.checked_add(span));
        let limit = match (self.deadline, own) {
            (Some((end, _)), Some(own)) if own < end => Some((own, Clock::Attempt)),
            (None, Some(own)) => Some((own, Clock::Attempt)),
            (deadline, _) => deadline,
        };
        let Some((end, clock)) = limit else {
            return (used, self.exchange(head).await);
        };
        deadline::write(&mut head.headers, end.saturating_duration_since(now));
        let outcome = timeout_at(end, self.exchange(head))
            .await
            .unwrap_or(Outcome::Failed(clock.expired()));
        let outcome = match outcome {
            Outcome::Failed(status) if is::<tonic::TimeoutExpired>(&status) => {
                Outcome::Failed(clock.expired())
            }
            other => other,
        };
        (used, outcome)
    }

    async fn exchange(&self, head: Parts) -> Outcome {
        let response = match self
            .inner
            .send(Request::from_parts(head, full(self.body.clone())))
            .await
        {
            Ok(response) => response,
            Err(status) => return Outcome::Failed(status),
        };
        match reply::gather(response).await {
            Ok(Reply::Answer(response)) => Outcome::Answer(response),
            Ok(Reply::Refused(status)) => Outcome::Failed(status),
            Err(status) => Outcome::Failed(broken(status)),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Status> {
        match self.deadline {
            Some((end, clock)) => timeout_at(end, work).await.map_err(|_| clock.expired()),
            None => Ok(work.await),
        }
    }

    fn next(&self, status: &Status, details: &Details, used: Option<Bearer>) -> Next {
        if expired(details) {
            // Once: a server that finds a token expired which it has just issued will not change its mind.
            return used
                .filter(|_| !self.renewed)
                .map_or(Next::GiveUp, Next::Renew);
        }
        let most = self
            .options
            .max_attempts
            .unwrap_or(self.inner.policy.max_attempts);
        if !self.repeatable(status, details) || !self.inner.budget.failed() || self.attempts >= most
        {
            return Next::GiveUp;
        }
        let hint = details.retry_after.or_else(|| error::header_delay(status));
        let delay = self
            .inner
            .policy
            .delay(self.attempts, hint, retry::chance());
        match self.deadline {
            // Better the server's own words now than a time-out later.
            Some((end, _)) if Instant::now() + delay >= end => Next::GiveUp,
            _ => Next::Repeat(delay),
        }
    }

    fn repeatable(&self, status: &Status, details: &Details) -> bool {
        if matches!(Clock::of(status), Some(Clock::Caller | Clock::Contract)) {
            return false;
        }
        let known = details
            .reason
            .as_ref()
            .and_then(|reason| self.inner.rules.reason(&reason.0));
        let advised = match known {
            Some(rule) => rule.retry == RetryClass::Call,
            None => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded => true,
                Code::ResourceExhausted | Code::Aborted => details.retry_after.is_some(),
                _ => false,
            },
        };
        match self.rule.map_or(Repeat::Unsafe, |rule| rule.repeat) {
            Repeat::Free | Repeat::Keyed => advised,
            // Only what surely never began: the connection was not made, or the call was turned away at the door.
            Repeat::Unsafe => {
                is::<tonic::ConnectError>(status)
                    || (advised && status.code() == Code::ResourceExhausted)
            }
        }
    }

    fn observe(
        &self,
        code: Code,
        reason: Option<&Reason>,
        started: Instant,
        repeat_after: Option<Duration>,
    ) {
        if let Some(observer) = &self.inner.observer {
            observer.on_attempt(&Attempt {
                method: self.head.uri.path(),
                request_id: self
                    .head
                    .headers
                    .get(REQUEST_ID)
                    .and_then(|id| id.to_str().ok())
                    .unwrap_or_default(),
                number: self.attempts,
                code,
                reason,
                elapsed: started.elapsed(),
                repeat_after,
            });
        }
    }

    /// Adds to a failure the request id to report and the key to repeat with.
    fn give_up(&self, mut status: Status) -> Status {
        let mut headers = std::mem::take(status.metadata_mut()).into_headers();
        for name in [REQUEST_ID, IDEMPOTENCY_KEY] {
            if let Some(value) = self.head.headers.get(name) {
                let mut value = value.clone();
                // Whoever prints the failure wants to see it.
                value.set_sensitive(false);
                headers.entry(name).or_insert(value);
            }
        }
        *status.metadata_mut() = MetadataMap::from_headers(headers);
        status
    }
}

impl Next {
    fn delay(&self) -> Option<Duration> {
        match self {
            Self::GiveUp => None,
            Self::Repeat(delay) => Some(*delay),
            Self::Renew(_) => Some(Duration::ZERO),
        }
    }
}

fn expired(details: &Details) -> bool {
    details
        .reason
        .as_ref()
        .is_some_and(|reason| reason.0 == "TOKEN_EXPIRED")
}

/// Whether an error of this type is behind the status.
fn is<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut next = status.source();
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}
