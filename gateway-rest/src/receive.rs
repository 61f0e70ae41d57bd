//! Reading a request off the wire, within its limits.

use std::io::Read as _;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tonic::Code;

use crate::config::Limits;
use crate::rejection::Rejection;

/// Refuses a request whose path or head is too large.
pub(crate) fn check_head(parts: &Parts, limits: &Limits) -> Result<(), Rejection> {
    if parts.uri.path().len() > limits.path_bytes {
        return Err(Rejection::new(
            StatusCode::URI_TOO_LONG,
            Code::InvalidArgument,
            "PATH_TOO_LONG",
            "the path is too long",
        ));
    }
    let uri = parts
        .uri
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    let headers: usize = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if uri + headers <= limits.header_bytes {
        return Ok(());
    }
    Err(Rejection::new(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Code::InvalidArgument,
        "HEADERS_TOO_LARGE",
        "the path, query and headers are too large",
    ))
}

/// Refuses what calls itself gRPC and cannot be a call: it was not let pass.
pub(crate) fn check_not_grpc(parts: &Parts) -> Result<(), Rejection> {
    let says_grpc = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if says_grpc {
        return Err(Rejection::unsupported_media(
            "gRPC is POST over HTTP/2 with application/grpc, gRPC-Web is POST with application/grpc-web or application/grpc-web-text",
        ));
    }
    Ok(())
}

/// Reads the whole body and undoes its content encoding.
pub(crate) async fn body<B>(parts: &Parts, body: B, limits: &Limits) -> Result<Bytes, Rejection>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    let gzip = is_gzip(&parts.headers)?;
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limits.body_bytes as u64 {
        return Err(Rejection::body_too_large());
    }
    let collected = Limited::new(body, limits.body_bytes).collect().await;
    let bytes = collected
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                Rejection::body_too_large()
            } else {
                Rejection::bad_request("BODY_UNREADABLE", "the request body broke off")
            }
        })?
        .to_bytes();
    if gzip && !bytes.is_empty() {
        gunzip(&bytes, limits.body_bytes)
    } else {
        Ok(bytes)
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Rejection> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        return Ok(false);
    };
    let single = values.next().is_none();
    match value.as_bytes() {
        coding if single && coding.eq_ignore_ascii_case(b"identity") => Ok(false),
        coding if single && coding.eq_ignore_ascii_case(b"gzip") => Ok(true),
        _ => Err(Rejection::unsupported_media(
            "the content encoding must be identity or gzip",
        )),
    }
}

/// Decompresses at most one byte more than allowed, however large the result would be.
fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, Rejection> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .take(limit as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| Rejection::bad_request("BODY_UNREADABLE", "the body is not valid gzip"))?;
    if out.len() > limit {
        return Err(Rejection::body_too_large());
    }
    Ok(out.into())
}
