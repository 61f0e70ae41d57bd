//! The answer to a unary call, held until its status is known.
//!
//! A status may stand in the headers or, after a message, in the trailers. To repeat a call for either, the reply is gathered first; frames are moved, not
//! copied, and a reply too big to gather is passed on as it arrives.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// Beyond this the rest of a reply is streamed, and an error in its trailers is no longer repeated.
const GATHER_LIMIT: usize = 1 << 20;

/// What a server made of a call.
pub(crate) enum Reply {
    /// It did it.
    Answer(Response<Body>),
    /// It did not. The status carries headers and trailers alike.
    Refused(Status),
}

/// A body of which the beginning has been read.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
}

/// Gathers a reply. An error here is one of the connection.
pub(crate) async fn gather(response: Response<Body>) -> Result<Reply, Status> {
    let (parts, mut body) = response.into_parts();
    if let Some(status) = failure(&parts.headers).or_else(|| foreign(&parts)) {
        return Ok(Reply::Refused(status));
    }
    let mut frames = VecDeque::with_capacity(2);
    let mut gathered = 0;
    while gathered <= GATHER_LIMIT {
        let Some(frame) = body.frame().await else {
            break;
        };
        let mut frame = frame?;
        if let Some(trailers) = frame.trailers_mut() {
            drop_malformed_details(trailers);
            if let Some(mut status) = failure(trailers) {
                let trailers = std::mem::take(status.metadata_mut()).into_headers();
                let mut all = parts.headers;
                all.extend(trailers);
                *status.metadata_mut() = MetadataMap::from_headers(all);
                return Ok(Reply::Refused(status));
            }
        } else if let Some(data) = frame.data_ref() {
            gathered += data.len();
        }
        frames.push_back(frame);
    }
    let rest = (!body.is_end_stream()).then_some(body);
    Ok(Reply::Answer(Response::from_parts(
        parts,
        Body::new(Gathered { frames, rest }),
    )))
}

/// What an answer means that no gRPC server gave, as gRPC over HTTP/2 maps it.
fn foreign(parts: &Parts) -> Option<Status> {
    let code = match parts.status {
        StatusCode::OK => return None,
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    };
    let message = format!(
        "something before the server answered with HTTP status {}",
        parts.status.as_u16()
    );
    Some(Status::with_metadata(
        code,
        message,
        MetadataMap::from_headers(parts.headers.clone()),
    ))
}

/// The status in these headers or trailers, if there is one and it is not OK.
pub(crate) fn failure(headers: &HeaderMap) -> Option<Status> {
    match headers.get(Status::GRPC_STATUS)?.as_bytes() {
        b"0" => None,
        _ => Status::from_header_map(headers).filter(|status| status.code() != Code::Ok),
    }
}

/// tonic panics over details that are not base64, and a server must not be able to do that to a client.
pub(crate) fn drop_malformed_details(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    // A constant, because making its tables takes longer than the look at the headers.
    const DECODER: base64::engine::GeneralPurpose = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    if headers
        .get(DETAILS)
        .is_some_and(|value| DECODER.decode(value.as_bytes()).is_err())
    {
        headers.remove(DETAILS);
    }
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match (self.frames.pop_front(), &mut self.rest) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && self
                .rest
                .as_ref()
                .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
