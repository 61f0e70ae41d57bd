//! The answer to a unary call, held until its status is known.
//!
//! A status may stand in the headers or, after a message, in the trailers. To repeat a call for either, the reply is gathered first; frames are moved, not
//! copied, and a reply too big to gather is passed on as it arrives.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

/// Beyond this the rest of a reply is streamed, and an error in its trailers is no longer repeated.
const GATHER_LIMIT: usize = 1 << 20;

/// A body of which the beginning has been read.
struct Gathered {
    frames: VecDeque<Frame<Bytes>>,
    rest: Option<Body>,
}

/// Gathers a reply. The error is one of the connection.
pub(crate) async fn gather(response: Response<Body>) -> Result<Reply, Status> {
    let (mut parts, mut body) = response.into_parts();
    drop_malformed_details(&mut parts.headers);
    if let Some(status) = failure(&parts.headers) {
        return Ok(Reply { response: Response::from_parts(parts, body), failure: Some(status) });
    }
    let mut frames = VecDeque::with_capacity(2);
    let mut gathered = 0;
    let mut failure = None;
    while gathered <= GATHER_LIMIT {
        let Some(frame) = body.frame().await else { break };
        let mut frame = frame?;
        if let Some(trailers) = frame.trailers_mut() {
            drop_malformed_details(trailers);
            failure = self::failure(trailers);
        } else if let Some(data) = frame.data_ref() {
            gathered += data.len();
        }
        frames.push_back(frame);
    }
    let rest = (!body.is_end_stream()).then_some(body);
    let response = Response::from_parts(parts, Body::new(Gathered { frames, rest }));
    Ok(Reply { response, failure })
}

/// A gathered reply.
pub(crate) struct Reply {
    pub(crate) response: Response<Body>,
    /// The status, if it is not OK.
    pub(crate) failure: Option<Status>,
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
    let decoder = base64::engine::GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        base64::engine::GeneralPurposeConfig::new().with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    if headers.get(DETAILS).is_some_and(|value| decoder.decode(value.as_bytes()).is_err()) {
        headers.remove(DETAILS);
    }
}

impl http_body::Body for Gathered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match (self.frames.pop_front(), &mut self.rest) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, Some(rest)) => Pin::new(rest).poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.rest.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
