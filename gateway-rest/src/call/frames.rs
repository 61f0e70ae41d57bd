//! The length-prefixed frames of gRPC, cut out of whatever chunks the transport delivers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use tonic::Code;
use tonic::body::Body;

use super::failure::Failure;

const PREFIX: usize = 5;

/// One uncompressed frame around a message.
pub(crate) fn encode(message: &DynamicMessage) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX + 128);
    out.put_bytes(0, PREFIX);
    // A BytesMut grows, so there is always room.
    let _ = message.encode(&mut out);
    let length = u32::try_from(out.len() - PREFIX).unwrap_or(u32::MAX);
    out[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

/// Reads the messages of a response body one by one.
pub(crate) struct Frames {
    body: Body,
    buffer: BytesMut,
    limit: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Frames {
    pub(crate) fn new(body: Body, limit: usize) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            limit,
            trailers: None,
            ended: false,
        }
    }

    /// The bytes of the next message, or `None` at the end. Safe to drop half-way: nothing read is lost.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(message) = self.take_buffered()? {
                return Ok(Some(message));
            }
            if self.ended {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(Failure::internal("the response ended inside a message"))
                };
            }
            let frame =
                std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.body).poll_frame(cx));
            match frame.await {
                None => self.ended = true,
                // The text of a transport error is about the inside of this process; it is logged, not sent.
                Some(Err(error)) => {
                    tracing::debug!(%error, "a response body broke off");
                    return Err(Failure::own(
                        Code::Unavailable,
                        "SERVICE_UNREACHABLE",
                        "the service broke off its answer",
                    ));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.ended = true;
                    }
                },
            }
        }
    }

    fn take_buffered(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some((prefix, rest)) = self.buffer.split_at_checked(PREFIX) else {
            return Ok(None);
        };
        if prefix[0] != 0 {
            return Err(Failure::internal("the response is compressed unasked"));
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > self.limit {
            return Err(Failure::own(
                Code::ResourceExhausted,
                "RESPONSE_TOO_LARGE",
                "the response message is larger than the gateway allows",
            ));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// The trailers, once [`Frames::next`] has returned `None`.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::body::Body;

    use super::Frames;

    fn body(chunks: Vec<Bytes>) -> Body {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = chunks
            .into_iter()
            .map(Frame::data)
            .chain([Frame::trailers(trailers)])
            .map(Ok::<_, tonic::Status>);
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    }

    /// Contract case 36.
    #[tokio::test]
    async fn chunk_borders_do_not_matter() {
        let bytes = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01z";
        for size in 1..=bytes.len() {
            let chunks = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
            let mut frames = Frames::new(body(chunks), 16);
            let mut messages = Vec::new();
            while let Some(message) = frames.next().await.unwrap() {
                messages.push(message);
            }
            assert_eq!(messages, [&b"abc"[..], b"", b"z"]);
            assert!(frames.trailers().is_some());
        }
    }

    #[tokio::test]
    async fn broken_frames_are_errors() {
        for bad in [
            &b"\0\0\0\0\x03ab"[..],
            b"\0\0\0",
            b"\x01\0\0\0\x01a",
            b"\0\0\0\0\x40",
        ] {
            let mut frames = Frames::new(body(vec![Bytes::from_static(bad)]), 16);
            assert!(frames.next().await.is_err(), "{bad:?}");
        }
    }
}
