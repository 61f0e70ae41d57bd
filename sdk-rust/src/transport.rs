//! The service every generated stub calls: it adds what a call needs and repeats what may be repeated, all by the rules of the contract.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::Service;

use crate::call::Call;
use crate::credentials::Authority;
use crate::notice::Notices;
use crate::reply;
use crate::retry::{Budget, RetryPolicy};
use crate::rules::{Rules, Shape};
use crate::telemetry::Observer;

/// What generated stubs are built on: `WalletServiceClient::new(client.transport())`. Cloning is cheap, and clones share connections, session and retry budget.
#[derive(Clone)]
pub struct Transport(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) channels: Box<[Channel]>,
    pub(crate) next: AtomicUsize,
    pub(crate) rules: &'static Rules,
    pub(crate) policy: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) locale: Option<HeaderValue>,
    pub(crate) budget: Budget,
    pub(crate) authority: Authority,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) notices: Notices,
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    /// Always ready: a connection is chosen, and waited for, by each attempt.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.call(request).await })
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("connections", &self.0.channels.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let rule = self.rules.method(head.uri.path());
        match rule.map(|rule| rule.shape) {
            Some(Shape::Unary) => {
                Call::new(self, rule, head, buffer(body).await?)
                    .repeat()
                    .await
            }
            Some(Shape::ServerStream) => {
                Call::new(self, rule, head, buffer(body).await?)
                    .open()
                    .await
            }
            // A stream of requests cannot be sent twice, nor can what the contract does not know.
            Some(Shape::ClientStream) | None => {
                let call = Call::new(self, rule, head, Bytes::new());
                let (head, _) = call.authorized().await?;
                self.send(Request::from_parts(head, body)).await
            }
        }
    }

    /// Sends one request over the next connection. Every error is one of the connection.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut channel = self.channels[turn].clone();
        poll_fn(|cx| channel.poll_ready(cx)).await.map_err(broken)?;
        let mut response = channel.call(request).await.map_err(broken)?;
        reply::drop_malformed_details(response.headers_mut());
        Ok(response)
    }
}

/// A unary request is one frame, so nothing is copied here.
async fn buffer(body: Body) -> Result<Bytes, Status> {
    Ok(body.collect().await?.to_bytes())
}

pub(crate) fn full(body: Bytes) -> Body {
    Body::new(Full::new(body))
}

/// tonic sees in a broken connection anything from `Cancelled` to `Unknown`, by the layer that noticed it. For a caller it is one thing: the server is out of
/// reach.
pub(crate) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Status {
    let error: Arc<dyn std::error::Error + Send + Sync> = Arc::from(error.into());
    let mut status = Status::unavailable(format!("the connection failed: {error}"));
    status.set_source(error);
    status
}
