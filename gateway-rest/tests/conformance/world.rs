//! A gateway in front of a scripted gRPC backend, in process; every request sent through [`World::send`] also goes through the
//! standalone binary, and both must say the same.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::Value as Json;
use sewa_gateway::{Gateway, GatewayConfig, GatewayService};
use tonic::body::Body;
use tower::{Layer as _, Service, ServiceExt as _};

use crate::process::{self, Process};

/// Descriptors of `tests/proto`, compiled once.
pub(crate) fn pool() -> DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| compile("echo.proto", None)).clone()
}

/// Compiles one file of `tests/proto`, or a text in its place.
pub(crate) fn compile(name: &str, text: Option<&str>) -> DescriptorPool {
    DescriptorPool::decode(descriptors(name, text).as_slice()).unwrap()
}

/// The encoded descriptor set of a file, imports included.
pub(crate) fn descriptors(name: &str, text: Option<&str>) -> Vec<u8> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let third_party = root.join("../third_party");
    assert!(
        third_party.join("google/api/annotations.proto").exists(),
        "third_party is missing: run the repository's setup first"
    );
    let scratch = std::env::temp_dir().join(format!("gateway-protos-{}", std::process::id()));
    let folder = match text {
        None => root.join("tests/proto"),
        Some(text) => {
            std::fs::create_dir_all(&scratch).unwrap();
            std::fs::write(scratch.join(name), text).unwrap();
            scratch
        }
    };
    let mut compiler = protox::Compiler::new([folder, third_party]).unwrap();
    compiler.include_imports(true).open_file(name).unwrap();
    compiler.encode_file_descriptor_set()
}

/// What the backend answers instead of an echo.
#[derive(Clone, Default)]
pub(crate) struct Script {
    /// Messages as JSON; `None` echoes the request.
    pub(crate) messages: Option<Vec<Json>>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) trailers: Vec<(&'static str, String)>,
    /// Ends with this status instead of OK.
    pub(crate) status: Option<tonic::Status>,
    /// Sends the status as the only header section.
    pub(crate) trailers_only: bool,
    /// Wait before each message and before the end.
    pub(crate) delay: Duration,
    /// Cuts the body into chunks of one byte.
    pub(crate) dribble: bool,
    /// Replaces the HTTP response altogether.
    pub(crate) raw: Option<fn() -> Response<Body>>,
}

/// A request as the backend saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) message: Json,
}

#[derive(Clone, Default)]
pub(crate) struct Backend {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    /// Bodies not yet dropped: a cancelled call brings this back to zero.
    pub(crate) alive: Arc<()>,
}

/// Canonical JSON by an independent implementation, or why there is none: it writes no mask with a path like `a_9`, which a client may name all the same, and a service refuses.
pub(crate) fn canonical(message: &DynamicMessage) -> Json {
    let options = SerializeOptions::new();
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap_or_else(|error| Json::String(error.to_string()))
}

fn frame(message: &DynamicMessage) -> Bytes {
    let bytes = message.encode_to_vec();
    let mut out = vec![0];
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
    out.into()
}

fn append(map: &mut HeaderMap, pairs: &[(&'static str, String)]) {
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
}

impl Backend {
    async fn serve(self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let (service, method) = path[1..].split_once('/').unwrap();
        let method = pool()
            .get_service_by_name(service)
            .and_then(|service| service.methods().find(|found| found.name() == method))
            .unwrap();
        let bytes = body.collect().await.unwrap().to_bytes();
        let message = DynamicMessage::decode(method.input(), bytes.slice(5..)).unwrap();
        self.seen.lock().unwrap().push(Seen {
            path: path.clone(),
            headers: parts.headers,
            message: canonical(&message),
        });
        let script = self.script.lock().unwrap().clone();
        if let Some(raw) = script.raw {
            return raw();
        }
        let frames: Vec<Bytes> = match &script.messages {
            None if method.output() == method.input() => vec![frame(&message)],
            None => vec![frame(&DynamicMessage::new(method.output()))],
            Some(list) => list
                .iter()
                .map(|json| frame(&DynamicMessage::deserialize(method.output(), json).unwrap()))
                .collect(),
        };
        self.respond(script, frames)
    }

    fn respond(self, script: Script, frames: Vec<Bytes>) -> Response<Body> {
        let mut trailers = HeaderMap::new();
        let status = script
            .status
            .clone()
            .unwrap_or_else(|| tonic::Status::ok(""));
        status.add_header(&mut trailers).unwrap();
        append(&mut trailers, &script.trailers);
        let mut response = Response::new(Body::empty());
        append(response.headers_mut(), &script.headers);
        let grpc = "application/grpc".parse().unwrap();
        response.headers_mut().insert("content-type", grpc);
        if script.trailers_only {
            response.headers_mut().extend(trailers);
            return response;
        }
        let send_messages = script.status.is_none() || script.messages.is_some();
        let alive = Arc::clone(&self.alive);
        let body = async_stream::stream! {
            let _alive = alive;
            for bytes in frames.into_iter().filter(|_| send_messages) {
                tokio::time::sleep(script.delay).await;
                let size = if script.dribble { 1 } else { bytes.len() };
                for start in (0..bytes.len()).step_by(size) {
                    let chunk = bytes.slice(start..(start + size).min(bytes.len()));
                    yield Ok::<_, tonic::Status>(Frame::data(chunk));
                }
            }
            tokio::time::sleep(script.delay).await;
            yield Ok(Frame::trailers(trailers));
        };
        *response.body_mut() = Body::new(StreamBody::new(body));
        response
    }
}

impl Service<Request<Body>> for Backend {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let backend = self.clone();
        Box::pin(async move { Ok(backend.serve(request).await) })
    }
}

/// A gateway, its backend, and how to talk to them.
pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) service: GatewayService<Backend>,
    /// Flags that give the binary the same settings; `None` where time stands still, which no other process can share.
    flags: Option<Vec<String>>,
    twin: tokio::sync::OnceCell<(Backend, Process)>,
}

/// A response read to its end.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) text: String,
}

impl Reply {
    /// Everything but what each HTTP server adds by itself.
    fn comparable(&self) -> (u16, Vec<String>, Vec<String>, &str) {
        let list = |headers: &HeaderMap| {
            let mut list: Vec<String> = headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_str(), "date" | "content-length"))
                .map(|(name, value)| format!("{name}: {value:?}"))
                .collect();
            list.sort();
            list
        };
        let trailers = self.trailers.as_ref().map(list).unwrap_or_default();
        (self.status, list(&self.headers), trailers, &self.text)
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The detail of a type in the error envelope.
    pub(crate) fn detail(&self, name: &str) -> Json {
        let envelope = self.json();
        let details = envelope["error"]["details"].as_array().unwrap().clone();
        details
            .into_iter()
            .find(|detail| detail["@type"].as_str().unwrap().ends_with(name))
            .unwrap_or(Json::Null)
    }

    /// `field: REASON` of every field violation.
    pub(crate) fn violations(&self) -> Vec<String> {
        let detail = self.detail("google.rpc.BadRequest");
        let list = detail["fieldViolations"].as_array().cloned();
        list.unwrap_or_default()
            .iter()
            .map(|item| {
                let field = item["field"].as_str().unwrap();
                format!("{field}: {}", item["reason"].as_str().unwrap())
            })
            .collect()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(GatewayConfig::default())
    }

    /// Without the binary: for tests that hold the clock, and for random input, which is too much for a process each.
    pub(crate) fn in_process() -> Self {
        Self {
            flags: None,
            ..Self::new()
        }
    }

    pub(crate) fn with(config: GatewayConfig) -> Self {
        let flags = Some(process::flags(&config));
        let backend = Backend::default();
        let gateway = Gateway::new(pool(), config).unwrap();
        Self {
            service: gateway.layer().layer(backend.clone()),
            backend,
            flags,
            twin: tokio::sync::OnceCell::new(),
        }
    }

    pub(crate) fn script(&self, script: Script) {
        *self.backend.script.lock().unwrap() = script;
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let Some(flags) = &self.flags else {
            return read(self.service.clone().oneshot(request).await.unwrap()).await;
        };
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let copy = || Request::from_parts(parts.clone(), Body::new(Full::new(bytes.clone())));
        let here = read(self.service.clone().oneshot(copy()).await.unwrap()).await;
        let (backend, process) = self.twin.get_or_init(|| process::start(flags)).await;
        *backend.script.lock().unwrap() = self.backend.script.lock().unwrap().clone();
        backend.seen.lock().unwrap().clear();
        let there = read(process.send(copy()).await).await;
        let line = format!("{} {}", parts.method, parts.uri);
        assert_eq!(
            here.comparable(),
            there.comparable(),
            "{line}, in process and through the binary"
        );
        if let Some(seen) = backend.seen.lock().unwrap().last() {
            let expected = self.seen();
            assert_eq!(
                (&seen.path, &seen.message),
                (&expected.path, &expected.message),
                "{line}"
            );
        }
        here
    }

    /// `GET /path` and so on, with no body.
    pub(crate) async fn call(&self, line: &str) -> Reply {
        self.send(request(line, None)).await
    }

    /// `POST /path` with a JSON body.
    pub(crate) async fn call_with(&self, line: &str, body: impl Into<Bytes>) -> Reply {
        self.send(request(line, Some(body.into()))).await
    }

    /// What the backend saw last.
    pub(crate) fn seen(&self) -> Seen {
        self.backend.seen.lock().unwrap().last().cloned().unwrap()
    }

    pub(crate) fn calls(&self) -> usize {
        self.backend.seen.lock().unwrap().len()
    }
}

pub(crate) fn request(line: &str, body: Option<Bytes>) -> Request<Body> {
    let (method, path) = line.split_once(' ').unwrap();
    let builder = Request::builder().method(method).uri(path);
    match body {
        None => builder.body(Body::empty()),
        Some(bytes) => builder
            .header("content-type", "application/json")
            .body(Body::new(Full::new(bytes))),
    }
    .unwrap()
}

pub(crate) async fn read(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Reply {
        status: parts.status.as_u16(),
        headers: parts.headers,
        trailers,
        text: String::from_utf8_lossy(&collected.to_bytes()).into_owned(),
    }
}
