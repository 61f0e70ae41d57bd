//! The `sewa-gateway` process in front of a backend on a socket.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sewa_gateway::{ForwardedFor, GatewayConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::world::{Backend, descriptors};

/// Settings as the flags of the binary.
pub(crate) fn flags(config: &GatewayConfig) -> Vec<String> {
    let limits = &config.limits;
    let forwarded = match config.forwarded_for {
        ForwardedFor::Replace => "replace",
        ForwardedFor::Append => "append",
        ForwardedFor::Keep => "keep",
    };
    let mut flags = vec![
        format!("--domain={}", config.domain),
        format!("--forwarded-for={forwarded}"),
        format!("--heartbeat-seconds={}", config.heartbeat.as_secs()),
        format!("--body-bytes={}", limits.body_bytes),
        format!("--body-seconds={}", limits.body_patience.as_secs()),
        format!("--json-depth={}", limits.json_depth),
        format!("--query-keys={}", limits.query_keys),
        format!("--path-bytes={}", limits.path_bytes),
        format!("--header-bytes={}", limits.header_bytes),
        format!("--response-message-bytes={}", limits.response_message_bytes),
    ];
    for key in &config.system_query_keys {
        flags.push(format!("--system-query-key={key}"));
    }
    for name in &config.request_headers {
        flags.push(format!("--request-header={name}"));
    }
    for name in &config.denied_response_headers {
        flags.push(format!("--deny-response-header={name}"));
    }
    flags
}

/// The gateway process; killed when the test ends.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) fn start(upstream: SocketAddr, flags: &[String]) -> Self {
        let file = std::env::temp_dir().join(format!(
            "gateway-{}-{}.binpb",
            std::process::id(),
            upstream.port()
        ));
        std::fs::write(&file, descriptors("echo.proto", None)).unwrap();
        let described = format!("--descriptors={}", file.display());
        let process = Self::run(upstream, &[&[described], flags].concat());
        std::fs::remove_file(&file).unwrap();
        process
    }

    /// Starts it with these flags alone, and waits until it is ready.
    fn run(upstream: SocketAddr, flags: &[String]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sewa-gateway"))
            .args([
                "--upstream",
                &format!("http://{upstream}"),
                "--listen",
                "127.0.0.1:0",
            ])
            .args(flags)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = log.next().unwrap().unwrap();
        // Keeps the pipe open and empty for as long as the process lives.
        std::thread::spawn(move || log.for_each(drop));
        let address = ready
            .split("listen=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let address = address
            .unwrap_or_else(|| panic!("{ready}"))
            .parse()
            .unwrap();
        Self { child, address }
    }

    /// Sends a request over HTTP/2, on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Body>) -> Response<Body> {
        let address = format!("http://{}", self.address);
        let endpoint = tonic::transport::Endpoint::from_shared(address).unwrap();
        let channel = endpoint.connect().await.unwrap();
        channel.oneshot(request).await.unwrap()
    }

    /// Sends raw HTTP/1.1 and reads until the server closes.
    pub(crate) async fn raw(&self, chunks: &[&[u8]]) -> String {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        for chunk in chunks {
            socket.write_all(chunk).await.unwrap();
            socket.flush().await.unwrap();
        }
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

/// A backend and the process in front of it.
pub(crate) async fn start(flags: &[String]) -> (Backend, Process) {
    let flags = flags.to_vec();
    let backend = Backend::default();
    let address = listen(backend.clone()).await;
    let process = tokio::task::spawn_blocking(move || Process::start(address, &flags))
        .await
        .unwrap();
    (backend, process)
}

/// Which version of server reflection a backend knows.
#[derive(Clone, Copy)]
pub(crate) enum Described {
    Today,
    Before,
}

/// A backend that describes itself, and the process in front of it, which was told nothing.
pub(crate) async fn start_described(described: Described) -> (Backend, Process) {
    let set = descriptors("echo.proto", None);
    let reflection =
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(&set);
    let mut routes = tonic::service::Routes::builder();
    match described {
        Described::Today => routes.add_service(reflection.build_v1().unwrap()),
        Described::Before => routes.add_service(reflection.build_v1alpha().unwrap()),
    };
    let routes = routes.routes();
    let backend = Backend::default();
    let both = {
        let backend = backend.clone();
        tower::service_fn(move |request: Request<Body>| {
            let (routes, backend) = (routes.clone(), backend.clone());
            async move {
                if request.uri().path().starts_with("/grpc.reflection.") {
                    routes.oneshot(request).await
                } else {
                    backend.oneshot(request).await
                }
            }
        })
    };
    let address = listen(both).await;
    let process = tokio::task::spawn_blocking(move || Process::run(address, &[]))
        .await
        .unwrap();
    (backend, process)
}

/// Serves on a socket for as long as the test runs.
async fn listen<S>(service: S) -> SocketAddr
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service
                .clone()
                .map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server
                    .serve_connection(TokioIo::new(socket), TowerToHyperService::new(service))
                    .await;
            });
        }
    });
    address
}
