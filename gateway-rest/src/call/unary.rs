//! A unary answer: one message and a status, or one failure.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use tonic::Code;
use tonic::body::Body;

use super::failure::{Failure, Schemas};
use super::frames::Frames;
use crate::json::wire::{self, Malformed, Raw};
use crate::json::write::Writer;
use crate::route::Route;
use crate::schema::{Form, MessageId, Schema, Shape, Type};

/// A body for HTTP.
#[derive(Debug)]
pub(crate) struct Payload {
    /// `None` for an `HttpBody` that names no type.
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: Bytes,
}

/// What came back from the service, whichever way it ended.
pub(crate) struct Answer {
    pub(crate) metadata: HeaderMap,
    pub(crate) trailers: HeaderMap,
    pub(crate) result: Result<Payload, Failure>,
}

/// Refuses a response that is not gRPC, and takes the status of one that has only headers.
pub(crate) fn check_head(response: &Response<Body>) -> Result<(), Failure> {
    if let Some(status) = Failure::from_headers(response.headers()) {
        return status;
    }
    if !response.status().is_success() {
        let code = match response.status().as_u16() {
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Internal,
        };
        return Err(Failure::own(
            code,
            "SERVICE_UNREACHABLE",
            "the service answered without a gRPC status",
        ));
    }
    let is_grpc = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        Ok(())
    } else {
        Err(Failure::internal("the service did not answer with gRPC"))
    }
}

/// Reads the whole answer of a unary call.
pub(crate) async fn read(
    schemas: &Schemas,
    route: &Route,
    response: Response<Body>,
    limit: usize,
) -> Answer {
    let head = check_head(&response);
    let headers_only = response.headers().contains_key("grpc-status");
    let (parts, body) = response.into_parts();
    let mut answer = Answer {
        metadata: parts.headers,
        trailers: HeaderMap::new(),
        result: Err(Failure::internal("the service sent no message")),
    };
    if headers_only || head.is_err() {
        if let Err(failure) = head {
            answer.result = Err(failure);
        }
        return answer;
    }
    let mut frames = Frames::new(body, limit);
    let read = read_one(&mut frames).await;
    answer.trailers = frames.trailers().unwrap_or_default();
    answer.result = match (read, Failure::from_headers(&answer.trailers)) {
        // What the service says of itself explains more than what was seen of its frames.
        (_, Some(Err(failure))) | (Err(failure), _) => Err(failure),
        (Ok(_), None) => Err(Failure::internal("the response ended without a status")),
        (Ok(None), Some(Ok(()))) => Err(Failure::internal("the service sent no message")),
        (Ok(Some(bytes)), Some(Ok(()))) => payload(&schemas.main, route, &bytes),
    };
    answer
}

async fn read_one(frames: &mut Frames) -> Result<Option<Bytes>, Failure> {
    let Some(message) = frames.next().await? else {
        return Ok(None);
    };
    match frames.next().await? {
        None => Ok(Some(message)),
        Some(_) => Err(Failure::internal("a unary call was answered twice")),
    }
}

/// Turns the bytes of a response message into the body of an HTTP response.
pub(crate) fn payload(schema: &Schema, route: &Route, bytes: &Bytes) -> Result<Payload, Failure> {
    if returns_http_body(schema, route) {
        return http_body(schema, route, bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() * 3 + 64);
    write_json(schema, route, bytes, &mut out)?;
    Ok(Payload {
        content_type: Some("application/json".to_owned()),
        bytes: out.into(),
    })
}

/// Writes the message, or the part of it `response_body` names.
pub(crate) fn write_json(
    schema: &Schema,
    route: &Route,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Failure> {
    let mut writer = Writer::new(schema, out);
    let written = match route.response_body {
        None => writer.message(route.output, bytes),
        Some(field) => writer.field(schema.message(field.message), field.get(schema), bytes),
    };
    written.map_err(unreadable)
}

/// The failure of a call whose answer is no message of its type.
pub(crate) fn unreadable(_: Malformed) -> Failure {
    Failure::internal("the service sent a message the gateway cannot read")
}

/// The type of what goes out, if that is a message.
fn response_type(schema: &Schema, route: &Route) -> Option<MessageId> {
    match route.response_body.map(|field| field.get(schema).shape) {
        None => Some(route.output),
        Some(Shape::One(Type::Message(id))) => Some(id),
        Some(_) => None,
    }
}

/// Whether a route answers with raw bytes.
pub(crate) fn returns_http_body(schema: &Schema, route: &Route) -> bool {
    response_type(schema, route).is_some_and(|id| schema.message(id).form == Form::HttpBody)
}

/// The raw body of a route that answers with `HttpBody`.
pub(crate) fn http_body(schema: &Schema, route: &Route, bytes: &Bytes) -> Result<Payload, Failure> {
    let read = || {
        let inner = match route.response_body {
            None => Cow::Borrowed(&**bytes),
            Some(field) => wire::submessage(bytes, field.get(schema).desc.number())?,
        };
        let content_type = wire::last(&inner, 1)?.map_or(Ok(""), wire::text)?;
        let data = match wire::last(&inner, 2)? {
            None => Bytes::new(),
            Some(Raw::Bytes(data)) if matches!(inner, Cow::Borrowed(_)) => bytes.slice_ref(data),
            Some(Raw::Bytes(data)) => Bytes::copy_from_slice(data),
            Some(_) => return Err(Malformed),
        };
        Ok(Payload {
            content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
            bytes: data,
        })
    };
    read().map_err(unreadable)
}

/// The failure of a call that took too long.
pub(crate) fn timed_out(after: Duration) -> Failure {
    let text = format!("no answer within {} ms", after.as_millis());
    Failure::own(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", text)
}
