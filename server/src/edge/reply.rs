//! The way out: every error carries ErrorInfo and RequestInfo, every answer its request id and allowance, and the call is counted and traced once.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt as _;
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::base::contract::Method;
use crate::base::status;
use crate::edge::limit::Allowance;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const CONTRACT: HeaderName = HeaderName::from_static("x-sewa-contract");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Completes a response.
pub fn finish(
    response: Response<Body>,
    request_id: &str,
    allowance: Option<Allowance>,
) -> Response<Body> {
    let mut response = match Status::from_header_map(response.headers()) {
        Some(refusal) if refusal.code() != Code::Ok => explained(refusal, request_id).into_http(),
        _ => response,
    };
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    if let Ok(digest) = HeaderValue::from_str(sewa_sdk::contract_digest()) {
        headers.insert(CONTRACT, digest);
    }
    if let Some(allowance) = allowance {
        headers.insert(LIMIT, allowance.limit.into());
        headers.insert(REMAINING, allowance.remaining.into());
        headers.insert(RESET, allowance.reset.into());
    }
    response
}

/// Adds what an error must carry: RequestInfo always, ErrorInfo where the error was made by a library and has none.
fn explained(refusal: Status, request_id: &str) -> Status {
    let mut details = refusal.get_error_details();
    if details.error_info().is_none() {
        let reason = match refusal.code() {
            Code::InvalidArgument | Code::OutOfRange => CommonErrorReason::InvalidRequest,
            Code::Unimplemented => CommonErrorReason::Unimplemented,
            Code::Unavailable | Code::ResourceExhausted => CommonErrorReason::Unavailable,
            Code::DeadlineExceeded | Code::Cancelled => CommonErrorReason::DeadlineExceeded,
            _ => CommonErrorReason::Internal,
        };
        tracing::warn!(code = ?refusal.code(), message = refusal.message(), "an error without a reason");
        return explained(
            status::refuse(reason, "the request could not be handled").status(),
            request_id,
        );
    }
    details.set_request_info(request_id, "");
    let kept: HeaderMap = refusal.metadata().clone().into_headers();
    let mut full = Status::with_error_details(refusal.code(), refusal.message(), details);
    *full.metadata_mut() = tonic::metadata::MetadataMap::from_headers(kept);
    full
}

/// A call that is being answered, as `sewa_calls_open` counts it. Goes down however the call ends, also when its client left.
pub struct Open(metrics::Gauge);

impl Open {
    /// Counts a call.
    pub fn new(method: &'static Method) -> Self {
        let gauge = metrics::gauge!("sewa_calls_open", "method" => method.name.as_str());
        gauge.increment(1.0);
        Self(gauge)
    }

    /// Keeps a call counted until its last message is sent or nobody is there to take it.
    pub fn until_body_ends(self, response: Response<Body>) -> Response<Body> {
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _counted = &self;
                frame
            }))
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Logs and counts one call.
pub fn observe(
    method: &'static Method,
    response: &Response<Body>,
    request_id: &str,
    took: Duration,
) {
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |s| s.code());
    let micros = took.as_micros();
    if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
        tracing::error!(
            method = method.name,
            ?code,
            request_id,
            micros,
            "call failed"
        );
    } else {
        tracing::debug!(method = method.name, ?code, request_id, micros, "call");
    }
    metrics::counter!("sewa_calls_total", "method" => method.name.as_str(), "code" => code_label(code)).increment(1);
    metrics::histogram!("sewa_call_seconds", "method" => method.name.as_str())
        .record(took.as_secs_f64());
}

fn code_label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Internal => "INTERNAL",
        Code::Cancelled => "CANCELLED",
        Code::Unknown | Code::DataLoss => "OTHER",
    }
}
