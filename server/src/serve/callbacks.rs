//! `POST /callbacks/<gateway>`: where payment gateways call back. Outside the contract, because each gateway has a dialect of its own, and bounded in size, in time
//! and in how many are dealt with at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use tokio::sync::Semaphore;
use tonic::body::Body;

use crate::app::App;
use crate::service::wallet::callback;

/// Bytes of a callback.
const MAX_BODY: usize = 64 << 10;
/// How long a body may take to arrive.
const READING: Duration = Duration::from_secs(5);
/// How long it may take to deal with one, its gateway asked and all written down.
const ANSWERING: Duration = Duration::from_secs(60);
/// Callbacks dealt with at once. More wait, for as long as a body may take; the gateways repeat what is refused.
const AT_ONCE: usize = 32;

/// Takes callbacks.
#[derive(Clone)]
pub struct Callbacks {
    app: App,
    places: Arc<Semaphore>,
}

impl Callbacks {
    /// For the gateways of this server.
    pub fn new(app: App) -> Self {
        Self {
            app,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Whether a request is for it. Asked of every request there is, so it looks at the path and little else.
    pub fn takes(request: &Request<Body>) -> bool {
        request.uri().path().starts_with("/callbacks/")
    }

    /// Answers a request that it takes.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (status, body) = self.take(request).await;
        answer(status, body)
    }

    async fn take(self, request: Request<Body>) -> (StatusCode, &'static str) {
        const REFUSAL: &str = r#"{"success":false}"#;
        let (head, body) = request.into_parts();
        let name = head.uri.path().trim_start_matches("/callbacks/");
        if self.app.gateways.called(name).is_none() {
            return (StatusCode::NOT_FOUND, REFUSAL);
        }
        if head.method != Method::POST {
            return (StatusCode::METHOD_NOT_ALLOWED, REFUSAL);
        }
        let read = async {
            // The place comes last: whoever sends slowly must not keep it from those who have said what they had to say.
            let body = Limited::new(body, MAX_BODY).collect().await.ok()?;
            let place = self.places.clone().acquire_owned().await.ok()?;
            Some((place, body.to_bytes()))
        };
        let Ok(Some((place, body))) = tokio::time::timeout(READING, read).await else {
            return (StatusCode::PAYLOAD_TOO_LARGE, REFUSAL);
        };
        let name = name.to_owned();
        let peer = head.extensions.get::<SocketAddr>();
        let ip = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        // A task of its own: a gateway that hangs up must not stop what it set going.
        let task = tokio::spawn(async move {
            let _place = place;
            let entry = self.app.gateways.called(&name)?;
            let receiving = callback::receive(&self.app, entry, &head.headers, &body, &ip);
            // What is not done by then is done when the gateway calls again, or is asked.
            tokio::time::timeout(ANSWERING, receiving).await.ok()
        });
        match task.await {
            Ok(Some(answer)) => answer,
            _ => (StatusCode::INTERNAL_SERVER_ERROR, REFUSAL),
        }
    }
}

fn answer(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::new(
        bytes::Bytes::from_static(body.as_bytes()),
    )));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
