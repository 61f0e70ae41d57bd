//! The scripted server: gRPC and gRPC-Web on one port, a fresh one for each case.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, ServiceExt, service_fn};

use crate::case::{Line, Script};
use crate::play;
use crate::seen::Attempt;

/// A server that plays the script of one case. Dropping it closes its port.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    stage: Arc<Stage>,
    task: JoinHandle<()>,
}

/// What the calls of one server share.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) script: Script,
    seen: Mutex<BTreeMap<String, Vec<Attempt>>>,
    taken: Mutex<BTreeMap<String, usize>>,
    given_up: tokio::sync::Notify,
}

/// Names one attempt, to mark it later.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    method: String,
    number: usize,
}

/// Leaves each connection alone for a while, which the kernel has made already.
struct Slow(TcpListener, Duration);

impl Listener for Slow {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        tokio::time::sleep(self.1).await;
        Listener::accept(&mut self.0).await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Server {
    /// Begins to play.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start(script: Script) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let stage = Arc::new(Stage {
            script,
            seen: Mutex::default(),
            taken: Mutex::default(),
            given_up: tokio::sync::Notify::new(),
        });
        let played = Arc::clone(&stage);
        let grpc = service_fn(move |request: http::Request<Body>| {
            let stage = Arc::clone(&played);
            async move { Ok::<_, std::convert::Infallible>(play::answer(stage, request).await) }
        });
        let service = GrpcWebLayer::new()
            .layer(grpc)
            .map_request(|request: http::Request<axum::body::Body>| request.map(Body::new));
        let router = axum::Router::new().fallback_service(service);
        let listener = Slow(
            listener,
            Duration::from_millis(stage.script.greets_after_ms),
        );
        let task = tokio::spawn(async move {
            // Ends with the task alone.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            address,
            stage,
            task,
        })
    }

    /// What it saw up to now.
    pub fn seen(&self) -> BTreeMap<String, Vec<Attempt>> {
        std::mem::take(
            &mut self
                .stage
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Waits until as many attempts of the method were given up. Word of a cancelled call travels on its own, so it cannot be asked for at once.
    pub async fn abandoned(&self, method: &str, wanted: usize) {
        loop {
            let more = self.stage.given_up.notified();
            let count = {
                let seen = self
                    .stage
                    .seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                let all = seen.get(method).map_or(&[][..], Vec::as_slice);
                all.iter().filter(|one| one.abandoned).count()
            };
            if count >= wanted {
                return;
            }
            more.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stage {
    /// Writes an attempt down.
    pub(crate) fn note(&self, method: &str, mut attempt: Attempt) -> Mark {
        attempt.at = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let all = seen.entry(method.to_owned()).or_default();
        all.push(attempt);
        Mark {
            method: method.to_owned(),
            number: all.len() - 1,
        }
    }

    /// The client gave this attempt up.
    pub(crate) fn abandon(&self, mark: &Mark) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = seen
            .get_mut(&mark.method)
            .and_then(|all| all.get_mut(mark.number))
        {
            one.abandoned = true;
        }
        drop(seen);
        self.given_up.notify_one();
    }

    /// The line the next call of a method gets.
    pub(crate) fn next(&self, method: &str) -> Option<Line> {
        let lines = self.script.methods.get(method)?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let at = taken.entry(method.to_owned()).or_default();
        let line = lines.get(*at).or(lines.last()).cloned();
        *at += 1;
        line
    }
}
