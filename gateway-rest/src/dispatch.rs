//! One REST request from its head to its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::time::Instant;
use tonic::Code;
use tonic::body::Body;
use tower::{Service, ServiceExt as _};

use crate::bind::{self, Input, MediaType};
use crate::call::accept::{self, StreamFormat};
use crate::call::failure::Failure;
use crate::call::stream::{self, Plan};
use crate::call::unary::{self, Answer, Payload};
use crate::call::{frames, headers};
use crate::gateway::Core;
use crate::receive;
use crate::rejection::Rejection;
use crate::route::{Lookup, Route};

/// How long a stream may go on past its deadline. The service was told the same deadline, and how it ends a stream then is its own affair: cleanly, if that is
/// what its contract says. Only one that does not end is cut off.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Answers a request; whatever goes wrong becomes an envelope.
pub(crate) async fn answer<S, B>(
    core: Arc<Core>,
    inner: S,
    mut parts: Parts,
    body: B,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    let mut response = match prepare(&core, &parts, body).await {
        Ok(Prepared::Call(call)) => perform(Arc::clone(&core), inner, &mut parts, call).await,
        Ok(Prepared::HeadOfStream(format)) => {
            let mut response = Response::new(Body::empty());
            if let Some(content_type) = stream::json_content_type(format) {
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, content_type);
            }
            response
        }
        Err(rejection) => refuse(&core, &parts.headers, rejection),
    };
    if parts.method == Method::HEAD {
        let length = http_body::Body::size_hint(response.body()).exact();
        if let Some(length) = length.filter(|length| *length > 0) {
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, length.into());
        }
        *response.body_mut() = Body::empty();
    }
    response
}

enum Prepared {
    Call(Call),
    /// HEAD on a stream: opening one only to drop it would cost the service something for nothing.
    HeadOfStream(StreamFormat),
}

/// A request that is understood and ready to be sent.
struct Call {
    route: usize,
    frame: Bytes,
    /// What the client asked for, within the maximum.
    timeout: Option<Duration>,
}

async fn prepare<B>(core: &Core, parts: &Parts, body: B) -> Result<Prepared, Rejection>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    receive::check_head(parts, &core.config.limits)?;
    receive::check_not_grpc(parts)?;
    let (index, path) = match core.routes.table.find(parts.uri.path(), &parts.method) {
        Lookup::Found(index, path) => (index, path),
        Lookup::WrongMethod(allowed) => {
            let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            return Err(Rejection::wrong_method(allowed.join(", ")));
        }
        Lookup::NotFound => return Err(Rejection::not_found()),
    };
    let route = &core.routes.list[index];
    if route.client_streaming {
        return Err(Rejection::new(
            StatusCode::NOT_IMPLEMENTED,
            Code::Unimplemented,
            "CLIENT_STREAMING_OVER_REST",
            format!(
                "{} takes a stream of requests, which REST cannot send; use gRPC",
                route.rpc
            ),
        ));
    }
    let timeout = headers::timeout(&parts.headers, &core.config)?;
    if route.server_streaming && parts.method == Method::HEAD {
        let format = accept::stream_format(&parts.headers);
        return Ok(Prepared::HeadOfStream(format));
    }
    let media_type = MediaType::of(&parts.headers)?;
    let limits = &core.config.limits;
    let patience = timeout.map_or(limits.body_patience, |asked| {
        asked.min(limits.body_patience)
    });
    let body = tokio::time::timeout(patience, receive::body(parts, body, limits)).await;
    let input = Input {
        path,
        query: parts.uri.query(),
        body: body.map_err(|_late| Rejection::body_too_slow())??,
        media_type,
        last_event_id: last_event_id(route, &parts.headers),
    };
    let message = bind::bind(&core.schemas.main, &core.config, route, &input)?;
    Ok(Prepared::Call(Call {
        route: index,
        frame: frames::encode(&message),
        timeout,
    }))
}

fn last_event_id<'h>(route: &Route, headers: &'h HeaderMap) -> Option<&'h str> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    (route.server_streaming && !id.is_empty()).then_some(id)
}

async fn perform<S>(core: Arc<Core>, inner: S, parts: &mut Parts, call: Call) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let route = &core.routes.list[call.route];
    // A stream lives until its client leaves, unless the client said otherwise. The default is a safety net and is not sent on:
    // the service knows each RPC's own default better.
    let limit = match (call.timeout, route.server_streaming) {
        (Some(timeout), _) => timeout,
        (None, false) => core.config.default_timeout,
        (None, true) => core.config.max_timeout,
    };
    let bounded = call.timeout.is_some() || !route.server_streaming;
    let mut request = Request::new(Body::new(Full::new(call.frame)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = route.grpc_path.clone().into();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers::to_metadata(parts, &core.config, call.timeout);
    *request.extensions_mut() = std::mem::take(&mut parts.extensions);
    let deadline = Instant::now() + limit;
    if route.server_streaming {
        let plan = Plan {
            format: accept::stream_format(&parts.headers),
            deadline: bounded.then_some((deadline + LAST_WORD, limit)),
            request_id: headers::request_id(&parts.headers).map(str::to_owned),
            wants_trailers: headers::wants_trailers(&parts.headers),
        };
        return perform_stream(core, inner, parts, call.route, request, plan).await;
    }
    let exchange = async {
        let Ok(response) = inner.oneshot(request).await;
        let limit = core.config.limits.response_message_bytes;
        unary::read(&core.schemas, route, response, limit).await
    };
    let answer = tokio::time::timeout_at(deadline, exchange).await;
    let answer = answer.unwrap_or_else(|_| Answer {
        metadata: HeaderMap::new(),
        trailers: HeaderMap::new(),
        result: Err(unary::timed_out(limit)),
    });
    let wants_trailers = headers::wants_trailers(&parts.headers);
    finish(&core, &parts.headers, answer, wants_trailers)
}

async fn perform_stream<S>(
    core: Arc<Core>,
    inner: S,
    parts: &Parts,
    route: usize,
    request: Request<Body>,
    plan: Plan,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let deadline = plan.deadline;
    let opened = inner.oneshot(request);
    let response = match deadline {
        None => opened.await,
        Some((at, limit)) => match tokio::time::timeout_at(at, opened).await {
            Ok(response) => response,
            Err(_) => {
                let failure = unary::timed_out(limit);
                return fail(&core, &parts.headers, &HeaderMap::new(), failure);
            }
        },
    };
    let Ok(response) = response;
    match stream::respond(Arc::clone(&core), route, response, plan).await {
        Ok(response) => response,
        Err(unstarted) => fail(
            &core,
            &parts.headers,
            &unstarted.metadata,
            unstarted.failure,
        ),
    }
}

/// The HTTP response of a unary answer.
fn finish(
    core: &Core,
    request: &HeaderMap,
    answer: Answer,
    wants_trailers: bool,
) -> Response<Body> {
    let payload = match answer.result {
        Ok(payload) => payload,
        Err(failure) => {
            let mut metadata = answer.metadata;
            metadata.extend(answer.trailers);
            return fail(core, request, &metadata, failure);
        }
    };
    let mut trailers = HeaderMap::new();
    if wants_trailers {
        headers::copy_returned(&answer.trailers, &core.config, &mut trailers);
    }
    let mut response = Response::new(Body::empty());
    headers::copy_returned(&answer.metadata, &core.config, response.headers_mut());
    let Payload {
        content_type,
        bytes,
    } = payload;
    if let Some(content_type) = content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    *response.body_mut() = if trailers.is_empty() {
        Body::new(Full::new(bytes))
    } else {
        announce(&trailers, response.headers_mut());
        let frames = [Frame::data(bytes), Frame::trailers(trailers)].map(Ok::<_, Infallible>);
        Body::new(StreamBody::new(tokio_stream::iter(frames)).boxed_unsync())
    };
    response
}

/// HTTP/1.1 sends only the trailers its header section announced.
fn announce(trailers: &HeaderMap, headers: &mut HeaderMap) {
    let names: Vec<&str> = trailers.keys().map(header::HeaderName::as_str).collect();
    if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(header::TRAILER, value);
    }
}

fn refuse(core: &Core, request: &HeaderMap, rejection: Rejection) -> Response<Body> {
    let allow = rejection.allow.clone();
    let failure = Failure::from_rejection(rejection);
    let mut response = fail(core, request, &HeaderMap::new(), failure);
    if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The HTTP response of a failure, with the metadata that came with it.
fn fail(
    core: &Core,
    request: &HeaderMap,
    metadata: &HeaderMap,
    mut failure: Failure,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = failure.http;
    let out = response.headers_mut();
    headers::copy_returned(metadata, &core.config, out);
    if !out.contains_key(&headers::X_REQUEST_ID)
        && let Some(id) = request.get(&headers::X_REQUEST_ID)
    {
        out.insert(headers::X_REQUEST_ID, id.clone());
    }
    let json = HeaderValue::from_static("application/json");
    out.insert(header::CONTENT_TYPE, json);
    if let Some(seconds) = failure.retry_after_seconds() {
        out.insert(header::RETRY_AFTER, seconds.into());
    }
    if failure.code == Code::Unauthenticated {
        let bearer = HeaderValue::from_static("Bearer");
        out.insert(header::WWW_AUTHENTICATE, bearer);
    }
    failure.complete(&core.config.domain, headers::request_id(out));
    let envelope = failure.envelope(&core.schemas);
    *response.body_mut() = Body::new(Full::new(envelope));
    response
}
