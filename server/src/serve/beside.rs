//! What is answered beside the contract: some paths, in front of the services. Everything else passes as it came.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::serve::callbacks::Callbacks;
use crate::serve::consoles::Consoles;
use crate::serve::pages::Pages;
use crate::serve::paypage::PayPage;

/// Who answers.
pub struct Beside {
    /// Pages for machines that watch the server.
    pub pages: Pages,
    /// Callbacks of payment gateways.
    pub callbacks: Callbacks,
    /// The sandbox's payment page.
    pub pay_page: PayPage,
    /// Consoles.
    pub consoles: Consoles,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn boxed(answering: impl Future<Output = Response<Body>> + Send + 'static) -> Answer {
    Box::pin(async { Ok(answering.await) })
}

/// Puts them in front of a service.
#[derive(Clone)]
pub struct BesideLayer(Arc<Beside>);

impl From<Beside> for BesideLayer {
    fn from(beside: Beside) -> Self {
        Self(Arc::new(beside))
    }
}

impl<S> Layer<S> for BesideLayer {
    type Service = BesideService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BesideService {
            beside: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The layer at work.
#[derive(Clone)]
pub struct BesideService<S> {
    beside: Arc<Beside>,
    inner: S,
}

impl<S> Service<Request<Body>> for BesideService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Answer, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let beside = &self.beside;
        Either::Left(if Pages::takes(&request) {
            boxed(beside.pages.clone().answer(request))
        } else if Callbacks::takes(&request) {
            boxed(beside.callbacks.clone().answer(request))
        } else if PayPage::takes(&request) {
            boxed(beside.pay_page.clone().answer(request))
        } else if Consoles::takes(&request) {
            boxed(beside.consoles.clone().answer(request))
        } else {
            return Either::Right(self.inner.call(request));
        })
    }
}
