//! One port for every protocol: accepts connections, takes TLS off them where it is wanted, speaks HTTP/1.1 and HTTP/2, and stops gracefully.

mod cors;
mod first_bytes;
mod plain;
mod tls;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::{Service as HyperService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::codegen::StdError;
use tower::{Service, ServiceExt as _};

use crate::config::ClientAddr;

use first_bytes::FirstBytes;
use plain::Framing;

pub use cors::{Cors, CorsLayer, CorsService, InvalidOrigin};
pub use tls::{Tls, TlsError};

/// How connections are served; start from `Listen::default()` and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listen {
    /// Bytes of a request's head that are read. More than [`crate::Limits::header_bytes`], so that the refusal of a larger one is an answer.
    pub head_bytes: usize,
    /// How long a client may take for its TLS handshake, and for the head of a request.
    pub head_patience: Duration,
    /// How long open requests may go on after the stop.
    pub drain: Duration,
    /// The certificate. Without one the port speaks plain text.
    pub tls: Option<Tls>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            head_patience: Duration::from_secs(30),
            drain: Duration::from_secs(25),
            tls: None,
        }
    }
}

/// Serves until `stop` resolves, then lets open requests finish for as long as `listen.drain` says. Each request has the peer in its extensions, as a
/// [`SocketAddr`] and as a [`ClientAddr`].
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    listen: Listen,
    stop: impl Future<Output = ()>,
) where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    let server = server(&listen);
    let open = GracefulShutdown::new();
    let following = listen.tls.clone().map(|tls| tokio::spawn(tls.follow()));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: waiting lets some connections end.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = for_peer(service.clone(), peer);
        let connection = attend(
            server.clone(),
            socket,
            service,
            listen.clone(),
            open.watcher(),
        );
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection broke");
            }
        });
    }
    drop(listener);
    if let Some(following) = following {
        following.abort();
    }
    if tokio::time::timeout(listen.drain, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests still open when the time to stop was over were cut off");
    }
}

fn server(listen: &Listen) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(listen.head_patience)
        .max_buf_size(listen.head_bytes);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(listen.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(1024)
        .keep_alive_interval(Duration::from_secs(30))
        .adaptive_window(false);
    server
}

/// Tells the service who is at the other end, and keeps from it what two readers might take for different requests.
fn for_peer<S, B>(
    service: S,
    peer: SocketAddr,
) -> impl HyperService<
    Request<Incoming>,
    Response = Response<Body>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
> + Send
+ 'static
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    service_fn(move |request: Request<Incoming>| {
        let service = service.clone();
        let framing = plain::framing(&request);
        async move {
            let mut request = match framing {
                Framing::Unclear(status) => return Ok(plain::last(status)),
                Framing::Plain | Framing::Chunked => request.map(Body::new),
            };
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(ClientAddr(peer.ip()));
            let response = service.oneshot(request).await?.map(Body::new);
            Ok(match framing {
                Framing::Chunked => plain::closing(response),
                Framing::Plain | Framing::Unclear(_) => response,
            })
        }
    })
}

/// One connection, from its first byte to its end.
async fn attend<S>(
    server: auto::Builder<TokioExecutor>,
    socket: TcpStream,
    service: S,
    listen: Listen,
    watcher: Watcher,
) -> Result<(), StdError>
where
    S: HyperService<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    // Fails if the client was gone before it was greeted.
    socket.set_nodelay(true)?;
    let patience = listen.head_patience;
    match listen.tls {
        None => {
            let socket = FirstBytes::within(patience, socket);
            converse(&server, socket, service, watcher).await
        }
        Some(tls) => {
            let greeted = tokio::time::timeout(patience, tls.accept(socket)).await??;
            let greeted = FirstBytes::within(patience, greeted);
            converse(&server, greeted, service, watcher).await
        }
    }
}

async fn converse<I, S>(
    server: &auto::Builder<TokioExecutor>,
    io: I,
    service: S,
    watcher: Watcher,
) -> Result<(), StdError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HyperService<Request<Incoming>, Response = Response<Body>, Error = Infallible>
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    // With upgrades, for services that go on as something else than HTTP; those are theirs to end.
    let connection = server
        .serve_connection_with_upgrades(TokioIo::new(io), service)
        .into_owned();
    watcher.watch(connection).await
}
