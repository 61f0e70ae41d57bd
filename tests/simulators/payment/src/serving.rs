//! A server that can go away and come back in its place, and the sending of callbacks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Where a simulator listens. Gone when dropped.
#[derive(Debug)]
pub struct Place {
    address: SocketAddr,
    router: Router,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Place {
    /// Serves on a free port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn open(router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let place = Self {
            address: listener.local_addr()?,
            router,
            task: Mutex::new(None),
        };
        place.serve(listener);
        Ok(place)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes away: nobody listens, and open connections are cut.
    ///
    /// # Panics
    /// If a test panicked while it held the lock.
    pub async fn go_down(&self) {
        let task = self.task.lock().expect("the lock").take();
        if let Some(task) = task {
            task.abort();
            // Until it has ended, its connections may still answer.
            let _ = task.await;
        }
    }

    /// Comes back in its old place.
    ///
    /// # Errors
    /// If somebody else has taken it.
    pub async fn come_back(&self) -> io::Result<()> {
        self.serve(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn serve(&self, listener: TcpListener) {
        let router = self.router.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new());
                    // A client that hangs up is its own business.
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        *self.task.lock().expect("the lock") = Some(task);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(mut task) = self.task.lock()
            && let Some(task) = task.take()
        {
            task.abort();
        }
    }
}

/// A callback as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Callback {
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body, byte for byte.
    pub body: Bytes,
}

/// What a merchant's server says to a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Callback {
    /// Sends it to a plain HTTP URL.
    ///
    /// # Errors
    /// If no answer comes.
    pub async fn send(
        &self,
        url: &str,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let uri: hyper::Uri = url.parse()?;
        let authority = uri.authority().ok_or("a URL without a host")?.to_string();
        let stream = TcpStream::connect(&authority).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = hyper::Request::post(uri.path())
            .header("host", authority)
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body.clone()))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(0))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An answer that breaks off: the status is sent, and then the connection is cut.
pub(crate) fn broken_off() -> axum::response::Response {
    let cut = Err::<Bytes, _>(io::Error::other("cut"));
    let body = axum::body::Body::from_stream(futures_util::stream::iter([cut]));
    axum::response::Response::new(body)
}
