//! Before any handler. One layer reads the contract and does, in this order and for every method: request id, authenticate, rate limit, authorize, look whether the
//! person confirmed, read and validate the message, idempotency key, deadline; and afterwards: error details, response headers, trace and metrics. No handler repeats any of it, and no
//! code here names a method.

pub mod authenticate;
pub mod limit;
pub mod message;
pub mod permissions;
pub mod reply;

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use sewa_sdk::sewa::api::v1::{CommonErrorReason, IdempotencyMode};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::{Call, Caller, CallerKind};
use crate::base::contract::{Access, Contract, Method};
use crate::base::{status, writes};
use crate::service::identity::factor;

/// Longest idempotency key, request id and bearer taken.
const MAX_KEY: usize = 64;

/// When to try again what a server refuses whose clock is wrong; another one may be better.
const CLOCK: Duration = Duration::from_secs(1);
/// How long the question of a health check may take to arrive.
const HEALTH_BODY: Duration = Duration::from_secs(5);

/// When a call must be answered. In the request's extensions, for handlers that wait or stream.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

/// Wraps the gRPC router.
#[derive(Clone)]
pub struct EdgeLayer {
    shared: Arc<Shared>,
}

struct Shared {
    app: App,
    bearers: authenticate::Bearers,
    limits: limit::Limits,
    validator: message::Validator,
    in_flight: Mutex<HashSet<(Uuid, String)>>,
}

impl EdgeLayer {
    /// `limits` counts calls, in this process or in Redis.
    pub fn new(app: App, limits: limit::Limits) -> Self {
        let shared = Shared {
            app,
            bearers: authenticate::Bearers::default(),
            limits,
            validator: message::Validator::default(),
            in_flight: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Edge {
            shared: Arc::clone(&self.shared),
            inner,
        }
    }
}

/// The layer at work.
#[derive(Clone)]
pub struct Edge<S> {
    shared: Arc<Shared>,
    inner: S,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Edge<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let Some(method) = Contract::get().method_at(request.uri().path()) else {
            return Box::pin(outside(inner, request));
        };
        Box::pin(answer(Arc::clone(&self.shared), inner, method, request))
    }
}

/// Health and reflection carry no options of ours and pass; anything else does not exist.
async fn outside<S>(mut inner: S, request: Request<Body>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let path = request.uri().path();
    if path.starts_with("/grpc.reflection.") {
        return inner.call(request).await;
    }
    let id = request_id(request.headers());
    let refusal = if path.starts_with("/grpc.health.v1.") {
        match tokio::time::timeout(HEALTH_BODY, message::checked_health(request)).await {
            Ok(Ok(request)) => return inner.call(request).await,
            Ok(Err(refusal)) => refusal.into_http(),
            Err(_late) => late(),
        }
    } else {
        status::refuse(
            CommonErrorReason::Unimplemented,
            "this server has no such method",
        )
        .status()
        .into_http()
    };
    Ok(reply::finish(refusal, &id, None))
}

async fn answer<S>(
    shared: Arc<Shared>,
    inner: S,
    method: &'static Method,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send,
    S::Future: Send,
{
    let started = Instant::now();
    let open = reply::Open::new(method);
    let id = request_id(request.headers());
    let mut allowance = None;
    let response = match time_allowed(method, request.headers()) {
        Err(refusal) => refusal.into_http(),
        Ok(allowed) => {
            let deadline = Instant::now() + allowed;
            // Admission asks the database and waits for the body, so it is under the deadline like the handler.
            let admitting = admit(&shared, method, request, &id, &mut allowance, deadline);
            match tokio::time::timeout_at(deadline.into(), admitting).await {
                Ok(Ok((request, _in_flight))) => run(inner, method, request, deadline).await,
                Ok(Err(refusal)) => refusal.into_http(),
                Err(_late) => late(),
            }
        }
    };
    let response = reply::finish(response, &id, allowance);
    reply::observe(method, &response, &id, started.elapsed());
    Ok(if method.streaming {
        open.until_body_ends(response)
    } else {
        response
    })
}

async fn run<S>(
    mut inner: S,
    method: &Method,
    request: Request<Body>,
    deadline: Instant,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let handled = AssertUnwindSafe(inner.call(request)).catch_unwind();
    match tokio::time::timeout_at(deadline.into(), handled).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(_panic)) => {
            status::internal(format_args!("a handler of {} panicked", method.name)).into_http()
        }
        Err(_late) => late(),
    }
}

fn late() -> Response<Body> {
    status::refuse(
        CommonErrorReason::DeadlineExceeded,
        "the call did not finish in time",
    )
    .status()
    .into_http()
}

/// Removes its key from the calls in flight when the call ends, however it ends.
struct InFlight {
    shared: Arc<Shared>,
    key: (Uuid, String),
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Ok(mut in_flight) = self.shared.in_flight.lock() {
            in_flight.remove(&self.key);
        }
    }
}

type Admitted = (Request<Body>, Option<InFlight>);

async fn admit(
    shared: &Arc<Shared>,
    method: &'static Method,
    request: Request<Body>,
    request_id: &str,
    allowance: &mut Option<limit::Allowance>,
    deadline: Instant,
) -> Result<Admitted, Status> {
    let now = shared.app.clock.now();
    let ip = request
        .extensions()
        .get::<SocketAddr>()
        .map(|peer| peer.ip().to_canonical().to_string())
        .unwrap_or_default();
    if !shared.app.agreed.holds(now) {
        return Err(status::refuse(
            CommonErrorReason::Unavailable,
            "this server and its database disagree what time it is",
        )
        .retry_after(CLOCK)
        .status());
    }
    message::check_head(request.headers())?;
    let bearer = bearer(request.headers());
    let caller = match (&method.access, bearer) {
        (Access::Public, _) => Caller::anonymous(),
        (Access::Permission(_), Some(bearer)) => {
            shared.bearers.caller(&shared.app, bearer, now).await?
        }
        (Access::Permission(_), None) => {
            return Err(status::refuse(
                CommonErrorReason::Unauthenticated,
                "the call needs an access token or API key",
            )
            .status());
        }
    };
    *allowance = Some(
        shared
            .limits
            .take(&method.rate, limit_key(&caller, &ip))
            .await?,
    );
    if let Access::Permission(permission) = &method.access
        && !caller.holds(permission)
    {
        let message = match caller.kind {
            CallerKind::ApiKey => format!("the scopes of this API key do not grant {permission}"),
            CallerKind::User | CallerKind::Anonymous => {
                format!(
                    "role {} does not grant {permission} to this caller",
                    caller.role
                )
            }
        };
        return Err(status::refuse(CommonErrorReason::PermissionDenied, message)
            .meta("permission", permission)
            .status());
    }
    if method.step_up {
        Box::pin(factor::require_confirmed(&shared.app, &caller, now)).await?;
    }
    let client_key = idempotency_key(method, request.headers())?;
    let (mut parts, body) = request.into_parts();
    let frame = message::read(body, &mut parts.headers).await?;
    let decoded = shared.validator.check(method, &frame)?;
    let keyed = client_key.is_some();
    let call = Call {
        fingerprint: if keyed {
            shared.app.master.fingerprint(&message::canonical(&decoded))
        } else {
            [0; 16]
        },
        request: message::for_record(method, decoded, &frame),
        key: client_key.unwrap_or_else(|| format!("auto-{}", Uuid::now_v7())),
        keyed,
        method,
        caller,
        request_id: request_id.to_owned(),
        ip,
        now,
    };
    let in_flight = if keyed {
        Some(claim(shared, &call)?)
    } else {
        None
    };
    parts.extensions.insert(Arc::new(call));
    parts.extensions.insert(Deadline(deadline));
    Ok((Request::from_parts(parts, message::body(frame)), in_flight))
}

/// Refuses a key whose first call is still being handled by this replica. Across replicas the row in `writes` decides.
fn claim(shared: &Arc<Shared>, call: &Call) -> Result<InFlight, Status> {
    let key = (
        call.caller.principal,
        format!("{} {}", call.method.name, call.key),
    );
    let mut in_flight = shared
        .in_flight
        .lock()
        .map_err(|_| status::internal("the set of calls in flight is poisoned"))?;
    if in_flight.insert(key.clone()) {
        Ok(InFlight {
            shared: Arc::clone(shared),
            key,
        })
    } else {
        Err(writes::in_progress())
    }
}

fn limit_key(caller: &Caller, ip: &str) -> String {
    match caller.kind {
        CallerKind::Anonymous => ip.to_owned(),
        CallerKind::User | CallerKind::ApiKey => caller
            .account
            .map_or(caller.principal, |account| account.0)
            .to_string(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
        .filter(|t| !t.is_empty() && t.len() <= 4096)
}

/// The caller's request id if it is fit for logs, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let fit =
        |id: &&str| (1..=MAX_KEY).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    headers
        .get("x-request-id")
        .and_then(|v| v.to_str().ok())
        .filter(fit)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

fn idempotency_key(method: &Method, headers: &HeaderMap) -> Result<Option<String>, Status> {
    let sent = headers.get("idempotency-key");
    match (method.idempotency, sent) {
        (IdempotencyMode::None | IdempotencyMode::Unspecified, _)
        | (IdempotencyMode::KeyOptional, None) => Ok(None),
        (IdempotencyMode::KeyRequired, None) => {
            Err(key_required("the method needs an idempotency-key header"))
        }
        (IdempotencyMode::KeyOptional | IdempotencyMode::KeyRequired, Some(value)) => {
            let fit = |key: &&str| {
                (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
            };
            let key = value.to_str().ok().filter(fit).ok_or_else(|| {
                key_required("an idempotency-key is 1 to 64 visible ASCII characters")
            })?;
            Ok(Some(key.to_owned()))
        }
    }
}

fn key_required(message: &str) -> Status {
    status::refuse(CommonErrorReason::IdempotencyKeyRequired, message).status()
}

/// The contract's default, or what the client asks for, at most the contract's maximum.
fn time_allowed(method: &Method, headers: &HeaderMap) -> Result<Duration, Status> {
    let Some(asked) = headers.get("grpc-timeout") else {
        return Ok(method.default_deadline);
    };
    let asked = asked.to_str().ok().and_then(parse_timeout).ok_or_else(|| {
        message::malformed("grpc-timeout is one to eight digits and one of H, M, S, m, u, n")
    })?;
    Ok(asked.min(method.max_deadline))
}

/// `grpc-timeout` as the gRPC protocol writes it: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "S", "1", "1x", "123456789S", "-1S", "+1S", "é"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
