//! Handing what the gateway makes of requests to a gRPC channel.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyStream, StreamBody};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service, ServiceExt as _};

/// Headers of one HTTP/1 connection, which HTTP/2 does not allow, and the length, which gRPC-Web's text form changes.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The gRPC server behind, with its transport errors turned into gRPC answers.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) channel: Channel,
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for name in &HOP_BY_HOP {
            request.headers_mut().remove(name);
        }
        // A length that is known would be sent, and gRPC-Web's text form still counts the bytes before decoding.
        let request = request.map(|body| Body::new(StreamBody::new(BodyStream::new(body))));
        let call = self.channel.clone().oneshot(request);
        Box::pin(async move {
            Ok(call
                .await
                .unwrap_or_else(|error| status_of(&error).into_http()))
        })
    }
}

/// The channel keeps the deadline of a call as well; whoever of the two is first must say the same.
fn status_of(error: &(dyn std::error::Error + 'static)) -> tonic::Status {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.is::<tonic::TimeoutExpired>() {
            return tonic::Status::deadline_exceeded("the deadline has passed");
        }
        cause = current.source();
    }
    tracing::warn!(error, "upstream call failed");
    tonic::Status::unavailable("the service cannot be reached")
}
