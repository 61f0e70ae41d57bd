//! The same cases over real sockets: the `sewa-gateway` process in front of a backend on HTTP/2. Mostly case 36, 48, 54, 55, 58.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::world::{Backend, Script, descriptors, request};

/// The gateway process; killed when the test ends.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(upstream: SocketAddr) -> Self {
        let file = std::env::temp_dir().join(format!(
            "gateway-{}-{}.binpb",
            std::process::id(),
            upstream.port()
        ));
        std::fs::write(&file, descriptors("echo.proto", None)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sewa-gateway"))
            .args([
                "--upstream",
                &format!("http://{upstream}"),
                "--listen",
                "127.0.0.1:0",
                "--descriptors",
            ])
            .arg(&file)
            .env("NO_COLOR", "1")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = log.next().unwrap().unwrap();
        // Keeps the pipe open and empty for as long as the process lives.
        std::thread::spawn(move || log.for_each(drop));
        std::fs::remove_file(&file).unwrap();
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

    /// Sends raw HTTP/1.1 and reads until the server closes.
    async fn raw(&self, chunks: &[&[u8]]) -> String {
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

async fn start() -> (Backend, Process) {
    let backend = Backend::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = backend.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = shared
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
    let process = tokio::task::spawn_blocking(move || Process::start(address))
        .await
        .unwrap();
    (backend, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_one_byte_chunks() {
    let (backend, process) = start().await;
    let head = b"POST /v1/everything HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-forwarded-for: 6.6.6.6\r\n\
        content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let body: Vec<String> =
        r#"{"text":"bit by bit"}"#.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    let mut chunks: Vec<&[u8]> = vec![head];
    chunks.extend(body.iter().map(|chunk| chunk.as_bytes()));
    chunks.push(b"0\r\n\r\n");
    let answer = process.raw(&chunks).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"text\":\"bit by bit\""), "{answer}");
    let seen = backend.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_trailers_over_http_1() {
    let (backend, process) = start().await;
    let answer = process
        .raw(&[b"HEAD /v1/everything HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"])
        .await;
    assert!(answer.contains("content-length: "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");

    backend.script.lock().unwrap().trailers = vec![("x-cost", "3".to_owned())];
    let with_te =
        b"GET /v1/everything HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let answer = process.raw(&[with_te]).await;
    assert!(answer.contains("trailer: x-cost\r\n"), "{answer}");
    assert!(answer.ends_with("0\r\nx-cost: 3\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_handler() {
    let (backend, process) = start().await;
    *backend.script.lock().unwrap() = Script {
        messages: Some(vec![json!({}); 10_000]),
        delay: Duration::from_millis(20),
        ..Script::default()
    };
    let mut socket = TcpStream::connect(process.address).await.unwrap();
    let watch = b"GET /v1/watch/t HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
    socket.write_all(watch).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("data: {") {
        let mut buffer = [0; 1024];
        let length = socket.read(&mut buffer).await.unwrap();
        assert!(length > 0, "{answer}");
        answer.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    let running = Arc::strong_count(&backend.alive);
    drop(socket);
    let cancelled = async {
        while Arc::strong_count(&backend.alive) >= running {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), cancelled)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_through_the_process() {
    let (backend, process) = start().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{}", process.address)).unwrap();
    let channel = channel.connect().await.unwrap();
    let frame = &b"\0\0\0\0\x03\x52\x01a"[..];
    let mut call = request("POST /echo.v1.Echo/Post", None);
    *call.body_mut() = Body::new(Full::new(frame.into()));
    call.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    call.headers_mut()
        .insert("anything-bin", "AAA".parse().unwrap());
    let response = channel.oneshot(call).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(collected.to_bytes(), frame);
    let seen = backend.seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!(seen.message, json!({"text": "a"}));
    assert!(seen.headers.contains_key("anything-bin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_is_503() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let process = tokio::task::spawn_blocking(move || Process::start(address))
        .await
        .unwrap();
    let answer = process
        .raw(&[b"GET /v1/everything HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"])
        .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"status\":\"UNAVAILABLE\""), "{answer}");
}
