//! What is answered beside the contract: some paths, in front of the services. Everything else passes as it came.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

/// Answers the requests it takes.
pub trait Beside: Clone + Send + 'static {
    /// Whether a request is for it. Asked of every request there is, so it looks at the path and little else.
    fn takes(&self, request: &Request<Body>) -> bool;

    /// Answers a request that it took.
    fn answer(self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send;
}

/// Puts it in front of a service.
#[derive(Clone, Debug)]
pub struct BesideLayer<B>(pub B);

impl<B: Clone, S> Layer<S> for BesideLayer<B> {
    type Service = BesideService<B, S>;

    fn layer(&self, inner: S) -> Self::Service {
        BesideService {
            beside: self.0.clone(),
            inner,
        }
    }
}

/// The layer at work.
#[derive(Clone, Debug)]
pub struct BesideService<B, S> {
    beside: B,
    inner: S,
}

impl<B, S> Service<Request<Body>> for BesideService<B, S>
where
    B: Beside,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.beside.takes(&request) {
            return Box::pin(self.inner.call(request));
        }
        let beside = self.beside.clone();
        Box::pin(async move { Ok(beside.answer(request).await) })
    }
}
