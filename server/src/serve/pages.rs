//! `/healthz`, `/readyz` and `/metrics`: pages for machines that watch the server, in front of everything else.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::app::App;
use crate::base::db;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the pages.
#[derive(Clone)]
pub struct PagesLayer {
    app: App,
    metrics: Option<PrometheusHandle>,
}

impl PagesLayer {
    /// Installs the recorder of metrics for this process. A second server in one process, as tests have, shows none.
    pub fn new(app: App) -> Self {
        Self {
            app,
            metrics: PrometheusBuilder::new().install_recorder().ok(),
        }
    }
}

impl<S> Layer<S> for PagesLayer {
    type Service = Pages<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Pages {
            pages: self.clone(),
            inner,
        }
    }
}

/// The layer at work.
#[derive(Clone)]
pub struct Pages<S> {
    pages: PagesLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Pages<S>
where
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
        let pages = self.pages.clone();
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/healthz") => {
                Box::pin(async { Ok(text(StatusCode::OK, "ok\n".to_owned())) })
            }
            (&Method::GET, "/readyz") => Box::pin(async move { Ok(ready(&pages.app).await) }),
            (&Method::GET, "/metrics") => Box::pin(async move {
                Ok(text(
                    StatusCode::OK,
                    pages.metrics.map(|m| m.render()).unwrap_or_default(),
                ))
            }),
            _ => Box::pin(self.inner.call(request)),
        }
    }
}

/// Ready while the database answers, and agrees what time it is, and nobody asked the server to stop. Redis may be away: everything works without it, only less together.
async fn ready(app: &App) -> Response<Body> {
    if app.stop.is_cancelled() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    if !app.agreed.holds(app.clock.now()) {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "the clock and the database's disagree\n".to_owned(),
        );
    }
    match tokio::time::timeout(PATIENCE, db::ping(&app.db)).await {
        Ok(Ok(_)) => text(StatusCode::OK, "ready\n".to_owned()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database failed");
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                "database unavailable\n".to_owned(),
            )
        }
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "database slow\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(bytes::Bytes::from(
        body,
    ))));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
