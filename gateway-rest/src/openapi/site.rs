//! Serves a document and a page that shows it. Both are made once and need nothing from elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;
use tonic::body::Body;
use tower::{Layer, Service};

/// The page runs nothing but its own script and talks to nobody but its own server.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `/openapi.json` and `/docs`. Cheap to clone.
#[derive(Clone)]
pub struct Site {
    pages: Arc<[Page]>,
}

struct Page {
    path: &'static str,
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

impl Site {
    /// Prepares the bytes of a document and its page.
    pub fn new(document: &Value) -> Self {
        let json = Bytes::from(document.to_string());
        let text = |text: &'static str| Bytes::from_static(text.as_bytes());
        let pages = [
            page("/openapi.json", "application/json", json),
            page(
                "/docs",
                "text/html; charset=utf-8",
                text(include_str!("site/index.html")),
            ),
            page(
                "/docs/page.js",
                "text/javascript; charset=utf-8",
                text(include_str!("site/page.js")),
            ),
            page(
                "/docs/operation.js",
                "text/javascript; charset=utf-8",
                text(include_str!("site/operation.js")),
            ),
            page(
                "/docs/page.css",
                "text/css; charset=utf-8",
                text(include_str!("site/page.css")),
            ),
        ];
        Self {
            pages: pages.into(),
        }
    }

    /// The layer that answers for the site and lets everything else pass.
    pub fn layer(&self) -> SiteLayer {
        SiteLayer { site: self.clone() }
    }

    /// The answer to a request, if it is for the site.
    fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let page = self.pages.iter().find(|page| page.path == path)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        Some(page.answer(*method == Method::HEAD, headers))
    }
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
        match self
            .site
            .answer(request.method(), request.uri().path(), request.headers())
        {
            Some(response) => Box::pin(std::future::ready(Ok(response))),
            None => Box::pin(self.inner.call(request)),
        }
    }
}
