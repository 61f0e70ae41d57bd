//! Over raw sockets to the `sewa-gateway` process: what a well-behaved client cannot send, and what happens in time.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;
use tower::ServiceExt as _;

use crate::process::{Process, start};
use crate::world::{Script, descriptors, request};

/// Cases 36 and 55.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_one_byte_chunks() {
    let (backend, process) = start(&[]).await;
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

/// Cases 8 and 48.
#[tokio::test(flavor = "multi_thread")]
async fn head_and_trailers_over_http_1() {
    let (backend, process) = start(&[]).await;
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

/// Cases 54 and 57.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_cancels_the_handler() {
    let (backend, process) = start(&[]).await;
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

/// Case 58.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_passes_through_the_process() {
    let (backend, process) = start(&[]).await;
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

/// Case 51.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_is_503() {
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let process = tokio::task::spawn_blocking(move || Process::start(address, &[]))
        .await
        .unwrap();
    let answer = process
        .raw(&[b"GET /v1/everything HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"])
        .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"status\":\"UNAVAILABLE\""), "{answer}");
}

/// Case 5: a process with a conflict does not start, and names both RPCs.
#[test]
fn a_conflict_stops_the_start() {
    let text = r#"syntax = "proto3"; package bad; import "google/api/annotations.proto";
        message M { string a = 1; }
        service S {
            rpc One(M) returns (M) { option (google.api.http) = {get: "/x/{a}"}; }
            rpc Two(M) returns (M) { option (google.api.http) = {get: "/x/{a=*}"}; }
        }"#;
    let file = std::env::temp_dir().join(format!("gateway-conflict-{}.binpb", std::process::id()));
    std::fs::write(&file, descriptors("conflict.proto", Some(text))).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sewa-gateway"))
        .args([
            "--upstream=http://127.0.0.1:1",
            "--listen=127.0.0.1:0",
            "--descriptors",
        ])
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        message.contains("bad.S.One") && message.contains("bad.S.Two"),
        "{message}"
    );
}

/// Case 47: raw bytes that break off are a broken connection, never a short file.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_fails_breaks_off() {
    let (backend, process) = start(&[]).await;
    *backend.script.lock().unwrap() = Script {
        messages: Some(vec![json!({"data": "aGVs"})]),
        status: Some(tonic::Status::data_loss("disk")),
        ..Script::default()
    };
    let download = b"GET /v1/download/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = process.raw(&[download]).await;
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

/// Case 54: the deadline of a REST client ends the call, whoever of gateway and channel notices first.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_504() {
    let (backend, process) = start(&[]).await;
    backend.script.lock().unwrap().delay = Duration::from_secs(1000);
    let rest =
        b"GET /v1/everything HTTP/1.1\r\nhost: x\r\ngrpc-timeout: 50m\r\nconnection: close\r\n\r\n";
    let answer = process.raw(&[rest]).await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(
        answer.contains("\"status\":\"DEADLINE_EXCEEDED\""),
        "{answer}"
    );
}

/// Cases 56 and 57: a message leaves when it is there, and silence is filled.
#[tokio::test(flavor = "multi_thread")]
async fn streams_flow_and_beat() {
    let (backend, process) = start(&["--heartbeat-seconds=1".to_owned()]).await;
    *backend.script.lock().unwrap() = Script {
        messages: Some(vec![json!({"event": {"cursor": "c1"}}), json!({})]),
        delay: Duration::from_secs(3),
        ..Script::default()
    };
    let mut call = request("GET /v1/watch/t", None);
    call.headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    let mut body = process.send(call).await.into_body();
    let mut text = String::new();
    while !text.contains("id: c1\n") {
        let frame = body.frame().await.expect("the stream goes on").unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    assert!(text.starts_with(": heartbeat\n\n"), "{text}");
}

/// Case 58: gRPC-Web, binary and text, in front of a server that speaks gRPC alone.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_is_translated() {
    let (backend, process) = start(&[]).await;
    let frame = &b"\0\0\0\0\x03\x52\x01a"[..];
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD;
    for text in [false, true] {
        let body = if text {
            base64.encode(frame).into()
        } else {
            bytes::Bytes::from_static(frame)
        };
        let mut call = request("POST /echo.v1.Echo/Post", None);
        *call.body_mut() = Body::new(Full::new(body));
        let kind = if text {
            "application/grpc-web-text"
        } else {
            "application/grpc-web"
        };
        call.headers_mut()
            .insert("content-type", kind.parse().unwrap());
        // The answer takes the form that is accepted.
        call.headers_mut().insert("accept", kind.parse().unwrap());
        let response = process.send(call).await;
        assert_eq!(response.status(), 200);
        let mut bytes = response.into_body().collect().await.unwrap().to_bytes();
        if text {
            // Each frame is padded by itself.
            let decoded: Vec<u8> = bytes
                .chunks(4)
                .flat_map(|four| base64.decode(four).unwrap())
                .collect();
            bytes = decoded.into();
        }
        assert!(bytes.starts_with(frame), "{bytes:?}");
        assert!(String::from_utf8_lossy(&bytes[frame.len()..]).contains("grpc-status:0"));
        assert_eq!(
            backend.seen.lock().unwrap().last().unwrap().message,
            json!({"text": "a"})
        );
    }
}

/// Case 60: bytes that are no request end the connection or are refused, and the process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn noise_does_no_harm() {
    let (backend, process) = start(&[]).await;
    let noise: [&[u8]; 7] = [
        b"\0\0\0\0\r\n\r\n",
        b"GET /v1/everything\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        b"GET /v1/everything HTTP/9.9\r\nhost: x\r\n\r\n",
        b"POST /v1/everything HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/everything HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for bytes in noise {
        let mut socket = TcpStream::connect(process.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an answer too.
        let _ = socket.read_to_end(&mut answer).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(
            !text.starts_with("HTTP/1.1 2") && !text.starts_with("HTTP/1.1 5"),
            "{text}"
        );
    }
    assert!(
        backend.seen.lock().unwrap().is_empty(),
        "nothing was half done"
    );
    assert_eq!(
        process
            .send(request("GET /v1/everything", None))
            .await
            .status(),
        200
    );
}
