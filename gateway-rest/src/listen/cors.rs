//! What pages of other origins may do.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use tonic::body::Body;
use tower::{Layer, Service, ServiceExt as _};
use tower_http::cors::{self, AllowOrigin};

/// Request headers a page may send, besides those every page may.
const ALLOWED: [&str; 12] = [
    "accept-language",
    "authorization",
    "content-type",
    "grpc-timeout",
    "idempotency-key",
    "last-event-id",
    "traceparent",
    "tracestate",
    "x-account-id",
    "x-grpc-web",
    "x-request-id",
    "x-user-agent",
];

/// Response headers a page may read, besides those every page may.
const EXPOSED: [&str; 6] = [
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "retry-after",
    "www-authenticate",
    "x-request-id",
];

/// Which pages of other origins may call, and what they may read; start from `Cors::default()`, which lets none.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Cors {
    /// Origins as browsers name them, such as `https://shop.example.com`; `*` for any. Empty: no page of another origin may call.
    pub origins: Vec<String>,
    /// Further request headers a page may send.
    pub allowed_headers: Vec<HeaderName>,
    /// Further response headers a page may read.
    pub exposed_headers: Vec<HeaderName>,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            allowed_headers: Vec::new(),
            exposed_headers: Vec::new(),
            max_age: Duration::from_secs(3600),
        }
    }
}

/// An origin no browser would send, and so would never match.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not an origin; one looks like https://shop.example.com, with a port where it is not the usual one, without a path, in lower case"
)]
pub struct InvalidOrigin(pub String);

impl Cors {
    /// The layer that says so to browsers. It belongs outside everything a page may call.
    ///
    /// # Errors
    /// The first origin that is none.
    pub fn layer(&self) -> Result<CorsLayer, InvalidOrigin> {
        let all = |fixed: &[&'static str], further: &[HeaderName]| -> Vec<HeaderName> {
            let fixed = fixed.iter().copied().map(HeaderName::from_static);
            fixed.chain(further.iter().cloned()).collect()
        };
        let origins = self.origins.iter().map(|origin| checked(origin));
        let origins: Vec<HeaderValue> = origins.collect::<Result<_, _>>()?;
        let origin = if origins.iter().any(|origin| origin == "*") {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(origins)
        };
        let inner = cors::CorsLayer::new()
            .allow_origin(origin)
            .allow_methods([
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers(all(&ALLOWED, &self.allowed_headers))
            .expose_headers(all(&EXPOSED, &self.exposed_headers))
            .max_age(self.max_age);
        Ok(CorsLayer { inner })
    }
}

/// An origin in the one form browsers send it.
fn checked(origin: &str) -> Result<HeaderValue, InvalidOrigin> {
    let invalid = || InvalidOrigin(origin.to_owned());
    let plain = |uri: &Uri| {
        let port = uri.port_u16();
        let usual = match uri.scheme_str() {
            Some("http") => Some(80),
            Some("https") => Some(443),
            _ => None,
        };
        uri.scheme_str()
            .zip(uri.authority())
            .is_some_and(|(scheme, authority)| {
                origin == format!("{scheme}://{authority}")
                    && !authority.as_str().contains(['@', '*'])
            })
            && (port.is_none() || port != usual)
    };
    let is_origin = origin == "*"
        || origin
            .parse::<Uri>()
            .is_ok_and(|uri| plain(&uri) && !origin.contains(char::is_uppercase));
    if !is_origin {
        return Err(invalid());
    }
    HeaderValue::from_str(origin).map_err(|_| invalid())
}

/// Answers preflights, and tells browsers what a page may read. OPTIONS that is no preflight passes, because it may be somebody's method. Requests without an origin
/// are no page's, and their answers say only that they differ by it.
#[derive(Debug, Clone)]
pub struct CorsLayer {
    inner: cors::CorsLayer,
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService {
            cors: self.inner.layer(inner),
        }
    }
}

/// The layer at work.
#[derive(Debug, Clone)]
pub struct CorsService<S> {
    cors: cors::Cors<S>,
}

impl<S> Service<Request<Body>> for CorsService<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let headers = request.headers();
        if !headers.contains_key(ORIGIN) {
            let answering = self.cors.get_ref().clone().oneshot(request);
            return Box::pin(async move {
                let mut response = answering.await?;
                // A cache must not give this answer to a page, which would need to be told what it may read.
                let origin = HeaderValue::from_static("origin");
                response.headers_mut().append(VARY, origin);
                Ok(response)
            });
        }
        let is_preflight = headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() == Method::OPTIONS && !is_preflight {
            Box::pin(self.cors.get_ref().clone().oneshot(request))
        } else {
            Box::pin(self.cors.clone().oneshot(request))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for good in [
            "*",
            "https://shop.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "app://local",
        ] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/path",
            "https://Shop.example.com",
            "https://shop.example.com:443",
            "http://a:80",
            "https://user@shop.example.com",
            "https://*.example.com",
            "null, *",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
