//! Accepting connections, and handing what the gateway makes of them to a gRPC channel.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyStream, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use sewa_gateway::openapi::Site;
use sewa_gateway::{ClientAddr, Gateway};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Layer as _, Service, ServiceExt as _};

/// A client that has not sent its headers by then is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on after a stop signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of a head beyond the limit that are still read, so that the refusal can be an answer.
const HEAD_SLACK: usize = 64 << 10;

/// Headers of one HTTP/1 connection, which HTTP/2 does not allow, and the length, which gRPC-Web's text form changes.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Serves until `stop` resolves, then lets open requests finish.
pub(crate) async fn serve(
    listener: TcpListener,
    gateway: &Gateway,
    site: &Site,
    channel: Channel,
    header_bytes: usize,
    stop: impl Future<Output = ()>,
) {
    let grpc = tonic_web::GrpcWebLayer::new().layer(Upstream { channel });
    let service = site.layer().layer(gateway.layer().layer(grpc));
    let open = GracefulShutdown::new();
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    // The gateway says in its envelope what is too large; below it only what no gateway should hold is cut off.
    let head = header_bytes.saturating_add(HEAD_SLACK);
    server.http1().max_buf_size(head);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: waiting lets some connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        prepare(&socket);
        let client = ClientAddr(peer.ip());
        let service = service.clone();
        let service = tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(client);
            service.clone().oneshot(request)
        });
        let connection = server
            .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
            .into_owned();
        let watched = open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests still open after the drain time were cut off");
    }
}

fn prepare(socket: &TcpStream) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
}

/// The gRPC server behind, with its transport errors turned into gRPC answers.
#[derive(Clone)]
struct Upstream {
    channel: Channel,
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for name in &HOP_BY_HOP {
            request.headers_mut().remove(name);
        }
        // A length that is known would be sent, and gRPC-Web's text form still counts the bytes before decoding.
        let request = request.map(|body| Body::new(StreamBody::new(BodyStream::new(body))));
        let call = self.channel.clone().oneshot(request);
        Box::pin(async move {
            Ok(call
                .await
                .unwrap_or_else(|error| status_of(&error).into_http()))
        })
    }
}

/// The channel keeps the deadline of a call as well; whoever of the two is first must say the same.
fn status_of(error: &(dyn std::error::Error + 'static)) -> tonic::Status {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.is::<tonic::TimeoutExpired>() {
            return tonic::Status::deadline_exceeded("the deadline has passed");
        }
        cause = current.source();
    }
    tracing::warn!(error, "upstream call failed");
    tonic::Status::unavailable("the service cannot be reached")
}
