//! A gRPC status on its way to becoming an HTTP error: its code, its details, and AIP-193's envelope around them.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use prost_types::Any;
use tonic::Code;
use tonic_types::pb;

use crate::json::write::Writer;
use crate::json::write_known;
use crate::percent;
use crate::rejection::Rejection;
use crate::schema::Schema;

/// gRPC's binary headers are base64 with or without padding.
const BINARY_HEADER: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const GOOGLE_RPC: &str = "type.googleapis.com/google.rpc.";

/// A failed call, or a refused request.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) http: StatusCode,
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) details: Vec<Any>,
    /// `reason` of the `ErrorInfo` of a failure the gateway itself is the author of.
    own_reason: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            http: http_status(code),
            code,
            message: message.into(),
            details: Vec::new(),
            own_reason: None,
        }
    }

    /// A failure the gateway is the author of.
    pub(crate) fn own(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            own_reason: Some(reason),
            ..Self::new(code, message)
        }
    }

    /// Something between the gateway and the service is broken; the client can do nothing about it.
    pub(crate) fn internal(message: &str) -> Self {
        Self::own(Code::Internal, "SERVICE_ANSWER_UNREADABLE", message)
    }

    /// The gateway's own refusal, with the details an RPC error would have.
    pub(crate) fn from_rejection(rejection: Rejection) -> Self {
        let mut details = Vec::new();
        if !rejection.faults.is_empty() {
            let violation = |fault: crate::fault::Fault| pb::bad_request::FieldViolation {
                field: fault.field,
                description: fault.description,
                reason: fault.reason.to_owned(),
                ..Default::default()
            };
            details.push(any(
                "BadRequest",
                &pb::BadRequest {
                    field_violations: rejection.faults.into_iter().map(violation).collect(),
                },
            ));
        }
        Self {
            http: rejection.http,
            code: rejection.code,
            message: rejection.message.into_owned(),
            details,
            own_reason: Some(rejection.reason),
        }
    }

    /// Reads `grpc-status` and its companions. `None`: the map holds no status.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Result<(), Self>> {
        let code = headers.get("grpc-status")?;
        let code = Code::from_bytes(code.as_bytes());
        if code == Code::Ok {
            return Some(Ok(()));
        }
        let message = headers
            .get("grpc-message")
            .map(|message| percent::decode_grpc_message(message.as_bytes()))
            .unwrap_or_default();
        let failure = Self::new(code, message);
        let Some(details) = headers.get("grpc-status-details-bin") else {
            return Some(Err(failure));
        };
        Some(Err(match BINARY_HEADER.decode(details) {
            Ok(details) => failure.with_details(&details),
            Err(_) => Self::internal("the service sent malformed error details"),
        }))
    }

    /// Adds the details of an encoded `google.rpc.Status`. One that cannot be read, or that speaks of another code, makes the
    /// failure internal: it is not known what the service meant to say.
    fn with_details(mut self, bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return self;
        }
        match pb::Status::decode(bytes) {
            Ok(status) if status.code == self.code as i32 => {
                self.details = status.details;
                // Stack traces and the like are for the operator's logs.
                self.details.retain(|any| !is(any, "DebugInfo"));
                self
            }
            _ => Self::internal("the service sent malformed error details"),
        }
    }

    /// Adds the `ErrorInfo` of a failure of the gateway's own, and `RequestInfo` unless the service already did.
    pub(crate) fn complete(&mut self, domain: &str, request_id: Option<&str>) {
        if let Some(reason) = self.own_reason.take() {
            let info = pb::ErrorInfo {
                reason: reason.to_owned(),
                domain: domain.to_owned(),
                ..Default::default()
            };
            self.details.insert(0, any("ErrorInfo", &info));
        }
        let Some(request_id) = request_id else { return };
        if !self.details.iter().any(|any| is(any, "RequestInfo")) {
            self.details.push(any(
                "RequestInfo",
                &pb::RequestInfo {
                    request_id: request_id.to_owned(),
                    ..Default::default()
                },
            ));
        }
    }

    /// Whole seconds of the `RetryInfo`, rounded up: a client that comes a little late is better than one that comes early.
    pub(crate) fn retry_after_seconds(&self) -> Option<u64> {
        let info = self.details.iter().find(|any| is(any, "RetryInfo"))?;
        let delay = pb::RetryInfo::decode(info.value.as_slice())
            .ok()?
            .retry_delay?;
        let seconds = u64::try_from(delay.seconds).ok()?;
        Some(seconds.saturating_add(u64::from(delay.nanos > 0)))
    }

    /// `{"error": {…}}`.
    pub(crate) fn envelope(&self, schemas: &Schemas) -> Bytes {
        let mut out = Vec::with_capacity(256);
        let mut writer = Writer::new(&schemas.main, &mut out);
        let status = status_name(self.code);
        writer.display(format_args!(
            "{{\"error\":{{\"code\":{},\"status\":\"{status}\",\"message\":",
            self.http.as_u16()
        ));
        writer.string(&self.message);
        writer.raw(",\"details\":[");
        for (index, detail) in self.details.iter().enumerate() {
            if index > 0 {
                writer.raw(",");
            }
            writer.schema = schemas.holding(&detail.type_url);
            write_known::any_parts(&mut writer, &detail.type_url, &detail.value);
        }
        writer.raw("]}}");
        out.into()
    }
}

/// The service's own types, and `google.rpc` for error details of services that do not import it.
pub(crate) struct Schemas {
    pub(crate) main: Schema,
    pub(crate) google_rpc: Schema,
}

impl Schemas {
    fn holding(&self, type_url: &str) -> &Schema {
        let name = type_url.rsplit_once('/').map_or(type_url, |(_, name)| name);
        if self.main.find(name).is_some() {
            &self.main
        } else {
            &self.google_rpc
        }
    }
}

/// Packs one of the `google.rpc` detail messages.
fn any(name: &str, message: &impl prost::Message) -> Any {
    Any {
        type_url: format!("{GOOGLE_RPC}{name}"),
        value: message.encode_to_vec(),
    }
}

/// Whether a detail is the named `google.rpc` message.
fn is(any: &Any, name: &str) -> bool {
    let full_name = any.type_url.rsplit_once('/').map(|(_, name)| name);
    full_name.and_then(|full| full.strip_prefix("google.rpc.")) == Some(name)
}

/// HTTP status of a gRPC code. `FAILED_PRECONDITION` is 400 and not 412, which is about headers; `CANCELLED` is 499.
pub(crate) fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(crate) fn status_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
