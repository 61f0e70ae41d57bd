//! Serves a document and a page that shows it. Both are made once, when they are first asked for, and need nothing from elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::error::BuildError;

/// The page runs nothing but its own script and talks to nobody but its own server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const DOCUMENT: &str = "/openapi.json";

/// What the page that shows the document consists of: path, type, text.
const FILES: [(&str, &str, &str); 4] = [
    (
        "/docs",
        "text/html; charset=utf-8",
        include_str!("site/index.html"),
    ),
    (
        "/docs/page.js",
        "text/javascript; charset=utf-8",
        include_str!("site/page.js"),
    ),
    (
        "/docs/operation.js",
        "text/javascript; charset=utf-8",
        include_str!("site/operation.js"),
    ),
    (
        "/docs/page.css",
        "text/css; charset=utf-8",
        include_str!("site/page.css"),
    ),
];

/// `/openapi.json` and `/docs`. Cheap to clone.
///
/// Made when somebody first asks: a server that nobody reads spends neither time nor memory on it.
#[derive(Clone)]
pub struct Site {
    pages: Arc<Pages>,
}

type Pages = LazyLock<Result<Vec<Page>, BuildError>, Make>;
type Make = Box<dyn FnOnce() -> Result<Vec<Page>, BuildError> + Send>;

struct Page {
    path: &'static str,
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl Site {
    /// A site of a document, which is made when it is asked for. If it cannot be made, which [`crate::Gateway::new`] would have said of the same
    /// descriptors, the site answers 500.
    pub fn new(document: impl FnOnce() -> Result<Value, BuildError> + Send + 'static) -> Self {
        let make = move || {
            let json = Bytes::from(document()?.to_string());
            let mut pages = vec![page(DOCUMENT, "application/json", json)];
            pages.extend(FILES.map(|(path, content_type, text)| {
                page(path, content_type, Bytes::from_static(text.as_bytes()))
            }));
            Ok(pages)
        };
        Self {
            pages: Arc::new(LazyLock::new(Box::new(make))),
        }
    }

    /// The layer that answers for the site and lets everything else pass.
    pub fn layer(&self) -> SiteLayer {
        SiteLayer { site: self.clone() }
    }

    /// Whether a path is the site's.
    fn has(path: &str) -> bool {
        path == DOCUMENT || FILES.iter().any(|(file, ..)| *file == path)
    }

    /// The answer to a request for one of its pages. Blocks the first time.
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Body> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let page = match &**self.pages {
            Ok(pages) => pages.iter().find(|page| page.path == path),
            Err(error) => {
                tracing::error!(%error, "the OpenAPI document cannot be made");
                None
            }
        };
        page.map_or_else(
            || empty(StatusCode::INTERNAL_SERVER_ERROR),
            |page| page.answer(*method == Method::HEAD, headers),
        )
    }
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

impl Page {
    fn answer(&self, head: bool, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let out = response.headers_mut();
        out.insert(header::ETAG, self.etag.clone());
        out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        out.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        out.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        let known = names(headers, header::IF_NONE_MATCH);
        let etag = self.etag.to_str().unwrap_or_default();
        if known.iter().any(|known| {
            known == "*" || known.trim_start_matches("W/") == etag.trim_start_matches("W/")
        }) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        out.insert(header::CONTENT_TYPE, self.content_type.clone());
        let takes_gzip = names(headers, header::ACCEPT_ENCODING)
            .iter()
            .any(|coding| {
                coding
                    .split(';')
                    .next()
                    .is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip"))
                    && !refused(coding)
            });
        let bytes = if takes_gzip { &self.gzip } else { &self.plain };
        if takes_gzip {
            out.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        out.insert(header::CONTENT_LENGTH, bytes.len().into());
        if !head {
            *response.body_mut() = Body::new(Full::new(bytes.clone()));
        }
        response
    }
}

/// Whether a coding is named with a weight of zero.
fn refused(coding: &str) -> bool {
    let weight = coding
        .split(';')
        .skip(1)
        .find_map(|part| part.trim().strip_prefix("q="));
    weight
        .and_then(|weight| weight.trim().parse::<f32>().ok())
        .is_some_and(|weight| weight <= 0.0)
}

fn names(headers: &HeaderMap, name: header::HeaderName) -> Vec<String> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_owned())
        .collect()
}

fn page(path: &'static str, content_type: &'static str, plain: Bytes) -> Page {
    let mut hasher = DefaultHasher::new();
    plain.hash(&mut hasher);
    // Weak: the bytes differ by their encoding, what they say does not.
    let etag = format!("W/\"{:016x}\"", hasher.finish());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let gzip = encoder.write_all(&plain).and_then(|()| encoder.finish());
    Page {
        path,
        content_type: HeaderValue::from_static(content_type),
        etag: HeaderValue::from_str(&etag)
            .expect("hexadecimal digits in quotes are a header value"),
        gzip: gzip.expect("writing to memory does not fail").into(),
        plain,
    }
}

/// Puts a [`Site`] in front of a service.
#[derive(Clone)]
pub struct SiteLayer {
    site: Site,
}

impl<S> Layer<S> for SiteLayer {
    type Service = SiteService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        SiteService {
            site: self.site.clone(),
            inner,
        }
    }
}

/// A service with a [`Site`] in front.
#[derive(Clone)]
pub struct SiteService<S> {
    site: Site,
    inner: S,
}

impl<S, B> Service<Request<B>> for SiteService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if !Site::has(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let site = self.site.clone();
        let (head, _) = request.into_parts();
        let answer = move || site.answer(&head.method, head.uri.path(), &head.headers);
        Box::pin(async move {
            let answered = spawn_blocking(answer).await;
            Ok(answered.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR)))
        })
    }
}
