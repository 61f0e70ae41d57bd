//! The tower layer: gRPC passes, everything else is routed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, Version, header};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt as _};

use crate::gateway::Core;

/// Puts a [`crate::Gateway`] in front of a gRPC service.
#[derive(Clone)]
pub struct GatewayLayer {
    pub(crate) core: Arc<Core>,
}

impl<S> Layer<S> for GatewayLayer {
    type Service = GatewayService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        GatewayService {
            core: Arc::clone(&self.core),
            inner,
        }
    }
}

/// A gRPC service that also answers REST.
#[derive(Clone)]
pub struct GatewayService<S> {
    core: Arc<Core>,
    inner: S,
}

impl<S, B> Service<Request<B>> for GatewayService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// Always ready: a request that is refused here must not wait for the service behind.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        let (parts, body) = request.into_parts();
        if passes_untouched(&self.core, &parts) {
            let request = Request::from_parts(parts, Body::new(body));
            return Box::pin(inner.oneshot(request));
        }
        let core = Arc::clone(&self.core);
        Box::pin(async move { Ok(crate::dispatch::answer(core, inner, parts, body).await) })
    }
}

fn passes_untouched(core: &Core, parts: &Parts) -> bool {
    let prefixes = &core.config.prefixes;
    let path = parts.uri.path();
    let is_ours = prefixes.is_empty() || prefixes.iter().any(|prefix| path.starts_with(prefix));
    !is_ours || is_grpc(parts)
}

/// gRPC in one of its forms. What has only the look of it (another method, gRPC proper over HTTP/1.1) is no call that anything behind could answer, and is
/// refused like any request that is not understood.
fn is_grpc(parts: &Parts) -> bool {
    let Some(kind) = parts.headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let Some(form) = kind.as_bytes().strip_prefix(b"application/grpc") else {
        return false;
    };
    let has_form = match form {
        b"-web" | b"-web+proto" | b"-web-text" | b"-web-text+proto" => true,
        [] | [b'+' | b';', ..] => parts.version >= Version::HTTP_2,
        _ => false,
    };
    has_form && parts.method == Method::POST
}
