//! `/healthz`, `/readyz` and `/metrics`: pages for machines that watch the server, in front of everything else.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tonic::body::Body;

use crate::app::App;
use crate::base::db;

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the pages.
#[derive(Clone)]
pub struct Pages {
    app: App,
    metrics: Option<PrometheusHandle>,
}

impl Pages {
    /// Installs the recorder of metrics for this process. A second server in one process, as tests have, shows none.
    pub fn new(app: App) -> Self {
        Self {
            app,
            metrics: PrometheusBuilder::new().install_recorder().ok(),
        }
    }

    /// Whether a request is for it. Asked of every request there is, so it looks at the path and little else.
    pub fn takes(request: &Request<Body>) -> bool {
        let path = request.uri().path();
        request.method() == Method::GET && ["/healthz", "/readyz", "/metrics"].contains(&path)
    }

    /// Answers a request that it takes.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/readyz" => ready(&self.app).await,
            "/metrics" => {
                let shown = self.metrics.map(|metrics| metrics.render());
                text(StatusCode::OK, shown.unwrap_or_default())
            }
            _ => text(StatusCode::OK, "ok\n".to_owned()),
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
