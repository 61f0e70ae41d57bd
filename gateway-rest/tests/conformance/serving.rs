//! How the `sewa-gateway` process is served and started: TLS, pages of other origins, and descriptors by reflection.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::process::{Described, start, start_described};
use crate::world::request;

const NAME: &str = "gateway.test";

/// Writes a new certificate and key into a folder.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    std::fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

fn flags(folder: &Path) -> Vec<String> {
    let flag = |name: &str, file: &str| format!("--tls-{name}={}", folder.join(file).display());
    vec![flag("certificate", "chain.pem"), flag("key", "key.pem")]
}

/// A request over TLS, trusting one certificate, and what was agreed on to speak.
async fn get(
    address: std::net::SocketAddr,
    trusted: &CertificateDer<'static>,
    offered: &[&[u8]],
) -> std::io::Result<(Option<Vec<u8>>, String)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    let socket = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut socket = connector
        .connect(ServerName::try_from(NAME).unwrap(), socket)
        .await?;
    let chosen = socket.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if chosen.as_deref() == Some(b"h2") {
        return Ok((chosen, String::new()));
    }
    socket
        .write_all(b"GET /v1/everything/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok((chosen, answer))
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_certificate_that_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let first = renew(folder.path());
    let (_backend, process) = start(&flags(folder.path())).await;
    let (chosen, answer) = get(process.address, &first, &[b"http/1.1"]).await.unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"http/1.1"[..]));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let (chosen, _) = get(process.address, &first, &[b"h2", b"http/1.1"])
        .await
        .unwrap();
    assert_eq!(chosen.as_deref(), Some(&b"h2"[..]));
    let (_, answer) = get(process.address, &first, &[]).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let second = renew(folder.path());
    let renewed = async {
        while get(process.address, &second, &[]).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, renewed).await.unwrap();
    assert!(get(process.address, &first, &[]).await.is_err());
}

/// Starts the process where it cannot, and returns what it said.
fn refused(flags: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sewa-gateway"))
        .args(["--upstream=http://127.0.0.1:1", "--listen=127.0.0.1:0"])
        .args(flags)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn settings_that_cannot_be_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    renew(folder.path());
    let [certificate, key] = flags(folder.path()).try_into().unwrap();
    let said = refused(std::slice::from_ref(&certificate));
    assert!(said.contains("--tls-key"), "{said}");
    let said = refused(&[certificate, "--tls-key=/nowhere/key.pem".to_owned()]);
    assert!(said.contains("/nowhere/key.pem cannot be read"), "{said}");
    let swapped = format!(
        "--tls-certificate={}",
        folder.path().join("key.pem").display()
    );
    let said = refused(&[swapped, key]);
    assert!(said.contains("key.pem has no certificate"), "{said}");
    let said = refused(&["--cors-origin=https://shop.example.com/".to_owned()]);
    assert!(said.contains("is not an origin"), "{said}");
    // Nobody is there to be asked for descriptors.
    let said = refused(&[]);
    assert!(
        said.contains("http://127.0.0.1:1") && said.contains("--descriptors"),
        "{said}"
    );
}

/// Case 58: preflights, and what a page may read.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins() {
    let (backend, process) = start(&[
        "--cors-origin=https://a.example".to_owned(),
        "--cors-origin=https://b.example".to_owned(),
        "--cors-expose-header=x-shop".to_owned(),
        "--cors-max-age-seconds=77".to_owned(),
        "--request-header=x-tenant".to_owned(),
    ])
    .await;
    for (origin, allowed) in [
        ("https://a.example", "https://a.example"),
        ("https://b.example", "https://b.example"),
        ("https://c.example", ""),
    ] {
        let mut preflight = request("OPTIONS /v1/everything", None);
        for (name, value) in [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-tenant"),
        ] {
            preflight.headers_mut().insert(name, value.parse().unwrap());
        }
        let answer = process.send(preflight).await;
        let header = |name: &str| {
            let value = answer.headers().get(name);
            value.map_or("", |value| value.to_str().unwrap()).to_owned()
        };
        assert_eq!(header("access-control-allow-origin"), allowed);
        assert_eq!(header("access-control-max-age"), "77");
        assert!(header("access-control-allow-headers").contains("x-tenant"));
    }
    assert!(backend.seen.lock().unwrap().is_empty());
    let mut get = request("GET /v1/everything", None);
    get.headers_mut()
        .insert("origin", "https://a.example".parse().unwrap());
    let answer = process.send(get).await;
    assert_eq!(
        answer.headers()["access-control-allow-origin"],
        "https://a.example"
    );
    let exposed = answer.headers()["access-control-expose-headers"]
        .to_str()
        .unwrap();
    assert!(exposed.contains("x-shop"), "{exposed}");
    // OPTIONS that is no preflight belongs to the service.
    let options = process.send(request("OPTIONS /v1/everything", None)).await;
    assert_eq!(options.status(), 200);
    assert_eq!(backend.seen.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_come_from_the_server_itself() {
    for described in [Described::Today, Described::Before] {
        let (backend, process) = start_described(described).await;
        let answer = process.send(request("GET /v1/everything/a", None)).await;
        assert_eq!(answer.status(), 200);
        let seen = backend.seen.lock().unwrap().last().cloned().unwrap();
        assert_eq!(seen.message, serde_json::json!({"text": "a"}));
        let document = process.send(request("GET /openapi.json", None)).await;
        assert_eq!(document.status(), 200);
    }
}
