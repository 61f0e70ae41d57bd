//! `GET /console/<ticket>`: a WebSocket to the console of a machine. Outside the contract, because it is no call: after its ticket is used, whatever passes is RFB and nobody's message.
//!
//! Pages that may call the server may come here, which are those of its own origin and of `cors_origins`, and programs that are no page. The ticket is what lets them in; that
//! other pages are kept out is for the one that would show somebody's ticket to them. The screen is connected to before the upgrade is agreed to, so that what cannot be shown is
//! an answer with a status. All refusals of a ticket are the same.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

use crate::app::App;
use crate::provider::compute::consoles::socket::{self, Farewell};
use crate::provider::compute::consoles::{BUFFER, Screen, rfb};
use crate::provider::compute::line::upgrade::VERSION;
use crate::service::instance::console;
use crate::service::instance::error::Error;
use crate::service::instance::model::console::{Console, PATH, is_ticket};
use crate::service::instance::relay::{End, relay};
use crate::service::instance::store;

/// Consoles that one replica relays at a time. Each has a few hundred KiB of buffers.
const AT_ONCE: usize = 256;
/// How long it may take to connect to a screen.
const CONNECTING: Duration = Duration::from_secs(30);
/// How long a viewer may take from the agreement to its first byte.
const UPGRADING: Duration = Duration::from_secs(10);
/// How often a viewer is asked whether it is there. Proxies cut off what is silent for a minute.
const PINGS: Duration = Duration::from_secs(30);
/// How long open consoles may take to end when the server stops.
const ENDING: Duration = Duration::from_secs(5);

/// Relays consoles.
#[derive(Clone)]
pub struct Consoles {
    app: App,
    places: Arc<Semaphore>,
    open: TaskTracker,
}

impl Consoles {
    /// For the machines of this platform.
    pub fn new(app: App) -> Self {
        Self {
            app,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            open: TaskTracker::new(),
        }
    }

    /// Waits until all have ended, which they do when the server stops.
    pub async fn ended(&self) {
        self.open.close();
        if tokio::time::timeout(ENDING, self.open.wait())
            .await
            .is_err()
        {
            tracing::warn!("consoles still open when the time to stop was over were cut off");
        }
    }

    /// Whether a request is for it. Asked of every request there is, so it looks at the path and little else.
    pub fn takes(request: &Request<Body>) -> bool {
        request.uri().path().starts_with(PATH)
    }

    /// Answers a request that it takes.
    pub async fn answer(self, request: Request<Body>) -> Response<Body> {
        // A task of its own: a viewer that hangs up must not leave half of it undone.
        match tokio::spawn(self.let_in(request)).await {
            Ok(Ok(agreed)) => agreed,
            Ok(Err((status, why))) => refusal(status, why),
            Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
        }
    }
}

type Refusal = (StatusCode, &'static str);

impl Consoles {
    async fn let_in(self, mut request: Request<Body>) -> Result<Response<Body>, Refusal> {
        const GONE: Refusal = (StatusCode::NOT_FOUND, "there is no such ticket any more");
        let key = asked_for(&request)?;
        if !is_allowed_origin(request.headers(), &self.app.config.cors_origins) {
            return Err((StatusCode::FORBIDDEN, "pages of this origin are not let in"));
        }
        let wants_protocol = offers(request.headers(), socket::PROTOCOL);
        let ticket = request.uri().path().trim_start_matches(PATH).to_owned();
        if !is_ticket(&ticket) {
            return Err(GONE);
        }
        if self.app.stop.is_cancelled() {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "the server stops"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "too many consoles"))?;
        let console = match console::redeem(&self.app, &ticket).await {
            Ok(Some(console)) => console,
            Ok(None) => return Err(GONE),
            Err(error) => {
                tracing::warn!(%error, "a ticket could not be looked up");
                return Err((StatusCode::SERVICE_UNAVAILABLE, "the database is away"));
            }
        };
        let screen = match tokio::time::timeout(CONNECTING, self.reach(&console)).await {
            Ok(Ok(screen)) => screen,
            Ok(Err(refusal)) => {
                self.forget(&console).await;
                return Err(refusal);
            }
            Err(_late) => {
                self.forget(&console).await;
                return Err((StatusCode::BAD_GATEWAY, "the provider took too long"));
            }
        };
        let upgrade = hyper::upgrade::on(&mut request);
        let open = self.open.clone();
        open.spawn(self.show(console, upgrade, screen, place));
        Ok(agreement(&key, wants_protocol))
    }

    /// The screen of a console's machine, ready for its viewer.
    async fn reach(&self, console: &Console) -> Result<DuplexStream, Refusal> {
        const DARK: Refusal = (StatusCode::BAD_GATEWAY, "the provider shows no console");
        let Screen {
            mut bytes,
            password,
        } = match console::connect(&self.app, console).await {
            Ok(screen) => screen,
            Err(Error::Refused(_) | Error::InstanceNotFound) => {
                return Err((StatusCode::CONFLICT, "the instance shows no console now"));
            }
            Err(Error::Database(error)) => {
                tracing::warn!(%error, "a console could not be opened");
                return Err((StatusCode::SERVICE_UNAVAILABLE, "the database is away"));
            }
            Err(_) => return Err(DARK),
        };
        match rfb::enter(&mut bytes, password.as_ref()).await {
            Ok(()) => Ok(bytes),
            Err(error) => {
                tracing::warn!(instance = %console.instance, %error, "a screen lets nobody in");
                Err(DARK)
            }
        }
    }

    /// Shows a screen to whoever comes of the upgrade, until either leaves or it has to end.
    async fn show(
        self,
        console: Console,
        upgrade: OnUpgrade,
        mut screen: DuplexStream,
        _place: OwnedSemaphorePermit,
    ) {
        let counted = Open::new();
        let began = Instant::now();
        let (mut viewer, near) = tokio::io::duplex(BUFFER);
        let (tell, told) = oneshot::channel();
        let carrying = async {
            // It never comes about if the viewer hangs up first.
            if let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADING, upgrade).await {
                let socket = socket::of_viewer(TokioIo::new(upgraded)).await;
                socket::carry(socket, near, Some(PINGS), Farewell::of(told)).await;
            }
        };
        let relaying = async {
            let (end, bytes) = match rfb::admit(&mut viewer).await {
                Ok(()) => relay(&self.app, &console, &mut viewer, &mut screen).await,
                Err(_) => (End::Viewer, 0),
            };
            // Nobody hears it if it was the viewer who left.
            let _ = tell.send((code_of(end), end.as_str()));
            // Whoever opens the next one need not wait until the last words of this one are heard.
            drop((viewer, screen, counted));
            self.forget(&console).await;
            (end, bytes)
        };
        let ((), (end, bytes)) = tokio::join!(carrying, relaying);
        tracing::info!(
            console = %console.id, instance = %console.instance, account = %console.account, principal = %console.principal,
            seconds = began.elapsed().as_secs(), bytes, end = end.as_str(), "a console ended"
        );
    }

    async fn forget(&self, console: &Console) {
        if let Err(error) = store::consoles::remove(&self.app.db, console).await {
            tracing::debug!(%error, "a console that ended counts until its lease is over");
        }
    }
}

fn code_of(end: End) -> CloseCode {
    match end {
        End::Viewer | End::Screen => CloseCode::Normal,
        End::Idle | End::TooLong | End::NotAllowed => CloseCode::Policy,
        End::Stopping => CloseCode::Restart,
    }
}

/// A console that is open, as `sewa_consoles_open` counts it.
struct Open(metrics::Gauge);

impl Open {
    fn new() -> Self {
        let gauge = metrics::gauge!("sewa_consoles_open");
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The key of a request for a WebSocket (RFC 6455, 4.2.1).
fn asked_for(request: &Request<Body>) -> Result<String, Refusal> {
    let headers = request.headers();
    let is_asked = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && names(headers, header::CONNECTION, "upgrade")
        && names(headers, header::UPGRADE, "websocket");
    if !is_asked {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket"));
    }
    let text = |name| {
        headers
            .get(name)
            .and_then(|v: &HeaderValue| v.to_str().ok())
    };
    if text(header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "another version is spoken here",
        ));
    }
    // 16 bytes in Base64.
    let key = text(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let key = key.ok_or((StatusCode::BAD_REQUEST, "there is no key"))?;
    Ok(key.to_owned())
}

/// Whether a list in a header has a word, in any case.
fn names(headers: &HeaderMap, header: header::HeaderName, word: &str) -> bool {
    let lists = headers.get_all(header).into_iter();
    let mut words = lists
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    words.any(|w| w.trim().eq_ignore_ascii_case(word))
}

fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    names(headers, header::SEC_WEBSOCKET_PROTOCOL, protocol)
}

/// Whether a viewer is no page, a page of this server, or one of an origin that may call it.
fn is_allowed_origin(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let (_, of) = origin.split_once("://").unwrap_or_default();
    host.is_some_and(|host| !of.is_empty() && of.eq_ignore_ascii_case(host))
        || allowed.iter().any(|one| one == "*" || one == origin)
}

fn agreement(key: &str, with_protocol: bool) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if with_protocol {
        let protocol = HeaderValue::from_static(socket::PROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}

fn refusal(status: StatusCode, why: &'static str) -> Response<Body> {
    let body = http_body_util::Full::new(bytes::Bytes::from_static(why.as_bytes()));
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(
            header::SEC_WEBSOCKET_VERSION,
            HeaderValue::from_static(VERSION),
        );
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_let_in_by_where_they_are_from() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            headers
        };
        let shop = ["https://shop.example.com".to_owned()];
        let host = ("host", "api.example.com:7070");
        for (origin, allowed, expected) in [
            ("https://shop.example.com", &shop[..], true),
            ("http://shop.example.com", &shop[..], false),
            ("https://evil.example.com", &shop[..], false),
            ("https://evil.example.com", &["*".to_owned()][..], true),
            ("https://api.example.com:7070", &[][..], true),
            ("https://api.example.com", &[][..], false),
            ("null", &shop[..], false),
            ("", &[][..], false),
        ] {
            let headers = of(&[host, ("origin", origin)]);
            assert_eq!(is_allowed_origin(&headers, allowed), expected, "{origin}");
        }
        assert!(is_allowed_origin(&of(&[host]), &[]), "no page");
    }

    #[test]
    fn words_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.append(
            "connection",
            HeaderValue::from_static("keep-alive, Upgrade"),
        );
        headers.append("sec-websocket-protocol", HeaderValue::from_static("base64"));
        headers.append("sec-websocket-protocol", HeaderValue::from_static("binary"));
        assert!(names(&headers, header::CONNECTION, "upgrade"));
        assert!(!names(&headers, header::CONNECTION, "up"));
        assert!(offers(&headers, "binary"));
        assert!(!offers(&HeaderMap::new(), "binary"));
    }
}
