//! HTTP, one connection a call, as `curl` would make it: HTTP/1.1 or HTTP/2, in the clear or over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Who to talk to, and as whom.
#[derive(Debug, Clone)]
pub struct Http {
    address: SocketAddr,
    bearer: Option<String>,
    version: Version,
    tls: Option<Arc<ClientConfig>>,
}

/// The name in the certificates of tests.
pub const TLS_NAME: &str = "sewa.test";

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Http {
    /// Talks to a server as nobody.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            bearer: None,
            version: Version::HTTP_11,
            tls: None,
        }
    }

    /// The same over HTTP/2, by prior knowledge or, over TLS, by ALPN.
    #[must_use]
    pub fn http2(&self) -> Self {
        Self {
            version: Version::HTTP_2,
            ..self.clone()
        }
    }

    /// The same over TLS, trusting this certificate for [`TLS_NAME`] and no other.
    #[must_use]
    pub fn trusting(&self, certificate: &CertificateDer<'static>) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate.clone())
            .expect("a certificate that can be trusted");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: Some(Arc::new(config)),
            ..self.clone()
        }
    }

    /// The same with a token or key.
    #[must_use]
    pub fn bearer(&self, bearer: &str) -> Self {
        Self {
            bearer: Some(bearer.to_owned()),
            ..self.clone()
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    /// POST with JSON.
    pub async fn post(&self, path: &str, json: Value) -> Answer {
        self.send(Method::POST, path, &[], Some(json)).await
    }

    /// Any method and headers, and JSON if there is any.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        json: Option<Value>,
    ) -> Answer {
        let mut all = headers.to_vec();
        if json.is_some() {
            all.push(("content-type", "application/json"));
        }
        let body = json
            .map(|json| Bytes::from(json.to_string()))
            .unwrap_or_default();
        let response = self
            .open(method, path, &all, body)
            .await
            .expect("an answer over HTTP");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// Sends bytes and returns the answer with its body still to come.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let stream = TcpStream::connect(self.address)
            .await
            .context("connecting")?;
        let over_http2 = self.version == Version::HTTP_2;
        let mut request = Request::builder().method(method);
        request = if over_http2 {
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            request.uri(format!("{scheme}://{}{path}", self.address))
        } else {
            request.uri(path).header("host", self.address.to_string())
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(body))?;
        let Some(config) = &self.tls else {
            return exchange(stream, over_http2, request).await;
        };
        let mut config = ClientConfig::clone(config);
        let protocol: &[u8] = if over_http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from(TLS_NAME)?;
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        anyhow::ensure!(
            stream.get_ref().1.alpn_protocol() == Some(protocol),
            "ALPN chose {:?}",
            stream.get_ref().1.alpn_protocol()
        );
        exchange(stream, over_http2, request).await
    }
}

async fn exchange<I>(
    stream: I,
    over_http2: bool,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<http::Response<Incoming>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    if over_http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// The JSON of a call that succeeded.
    pub fn ok(&self) -> Value {
        assert_eq!(
            self.status,
            StatusCode::OK,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// The stable reason of a refusal.
    pub fn reason(&self) -> String {
        let json = self.json();
        let details = json["error"]["details"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let info = details.iter().find(|detail| {
            detail["@type"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("google.rpc.ErrorInfo"))
        });
        info.and_then(|info| info["reason"].as_str())
            .unwrap_or_else(|| panic!("no ErrorInfo in {json}"))
            .to_owned()
    }

    /// A header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}
