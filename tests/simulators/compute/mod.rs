//! Clouds as their APIs show them: real HTTP servers with a memory, in the dialects of several vendors, that can be told to misbehave.
//!
//! What a cloud is, its machines and what can be done to them, is the same for all (`machines`); a dialect says how it is asked and how it answers. Its own books
//! are the truth that the platform's are compared with.

pub mod backups;
pub mod digitalocean;
mod exchanges;
pub mod faults;
pub mod firewalls;
pub mod guest;
pub mod linode;
mod loss;
pub mod machines;
pub mod proxmox;
mod resize;
mod reverse_dns;
pub mod snapshots;
pub mod usage;
pub mod vsphere;
pub mod vultr;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::faults::{Fault, Verb};
use self::machines::{Answer, Cloud, Order};

/// Longer than anybody waits.
const TEN_MINUTES: Duration = Duration::from_secs(600);
/// Longer than a call waits, shorter than a creation does.
const LATE: Duration = Duration::from_secs(6);

/// Whose API it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// DigitalOcean's.
    DigitalOcean,
    /// Linode's.
    Linode,
    /// Proxmox VE's.
    Proxmox,
    /// vCenter's.
    Vsphere,
    /// Vultr's.
    Vultr,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::DigitalOcean,
        Self::Linode,
        Self::Proxmox,
        Self::Vsphere,
        Self::Vultr,
    ];

    /// The platform's name of the provider.
    pub fn provider(self) -> &'static str {
        match self {
            Self::DigitalOcean => "digitalocean",
            Self::Linode => "linode",
            Self::Proxmox => "proxmox",
            Self::Vsphere => "vsphere",
            Self::Vultr => "vultr",
        }
    }

    /// A size, a region and an image it has.
    pub fn catalogue(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::DigitalOcean => ("s-1vcpu-1gb", "sgp1", "debian-13-x64"),
            Self::Linode => ("g6-nanode-1", "id-cgk", "linode/debian13"),
            Self::Proxmox | Self::Vsphere => ("1c-1024m-25g", "jkt1", "debian-13"),
            Self::Vultr => ("vc2-1c-1gb", "sgp", "2625"),
        }
    }

    /// Sizes it has, the smaller first, with their disks in GiB. The first is that of the catalogue.
    pub fn sizes(self) -> [(&'static str, u32); 3] {
        match self {
            Self::DigitalOcean => [
                ("s-1vcpu-1gb", 25),
                ("s-1vcpu-2gb-25gb", 25),
                ("s-2vcpu-4gb", 80),
            ],
            Self::Linode => [
                ("g6-nanode-1", 25),
                ("g6-nanode-2", 25),
                ("g6-standard-2", 80),
            ],
            Self::Proxmox | Self::Vsphere => [
                ("1c-1024m-25g", 25),
                ("1c-2048m-25g", 25),
                ("2c-4096m-80g", 80),
            ],
            Self::Vultr => [
                ("vc2-1c-1gb", 25),
                ("vc2-1c-2gb-25", 25),
                ("vc2-2c-4gb", 80),
            ],
        }
    }

    /// Whether the platform decides where its machines are, and which addresses they have.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Proxmox | Self::Vsphere)
    }

    /// What an account is connected with, where the cloud takes this token.
    pub fn credential(self, token: &str) -> String {
        match self {
            Self::Vsphere => vsphere::credential(token),
            _ => token.to_owned(),
        }
    }

    fn read(self, ask: &Asked) -> Order {
        match self {
            Self::DigitalOcean => digitalocean::read(ask),
            Self::Linode => linode::read(ask),
            Self::Proxmox => proxmox::read(ask),
            Self::Vsphere => vsphere::read(ask),
            Self::Vultr => vultr::read(ask),
        }
    }

    fn write(self, answer: &Answer) -> Said {
        match self {
            Self::DigitalOcean => digitalocean::write(answer),
            Self::Linode => linode::write(answer),
            Self::Proxmox => proxmox::write(answer),
            Self::Vsphere => vsphere::write(answer),
            Self::Vultr => vultr::write(answer),
        }
    }
}

/// A request as a dialect reads it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// GET and the like.
    pub method: Method,
    /// Without the query.
    pub path: String,
    /// Decoded.
    pub query: BTreeMap<String, String>,
    /// `X-Filter`.
    pub filter: Value,
    /// JSON, or null.
    pub body: Value,
    /// A form.
    pub form: BTreeMap<String, String>,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Said {
    /// HTTP status.
    pub status: u16,
    /// JSON; null for none.
    pub body: Value,
    /// The sentence beside the status, where it is not the usual one.
    pub reason: Option<String>,
}

/// A cloud of one vendor, with one account.
#[derive(Debug)]
pub struct ComputeSimulator {
    /// Whose.
    pub dialect: Dialect,
    address: SocketAddr,
    cloud: Arc<Mutex<Cloud>>,
    serving: JoinHandle<()>,
}

impl ComputeSimulator {
    /// Starts one that takes this token.
    pub async fn start(dialect: Dialect, token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let cloud = Arc::new(Mutex::new(Cloud::new(dialect, token)));
        let serving = tokio::spawn(serve(listener, dialect, Arc::clone(&cloud)));
        Self {
            dialect,
            address,
            cloud,
            serving,
        }
    }

    /// The base URL for an adapter, with the path the vendor's own has.
    pub fn url(&self) -> String {
        let path = match self.dialect {
            Dialect::DigitalOcean => "",
            Dialect::Linode => "/v4",
            Dialect::Proxmox => "/api2/json",
            Dialect::Vsphere => "/api",
            Dialect::Vultr => "/v2",
        };
        format!("http://{}{path}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its books.
    pub fn books(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ComputeSimulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, dialect: Dialect, cloud: Arc<Mutex<Cloud>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let cloud = Arc::clone(&cloud);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                answer(request, dialect, Arc::clone(&cloud))
            });
            // A connection that is dropped on purpose ends in an error.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped on purpose")
    }
}

impl std::error::Error for Dropped {}

async fn answer(
    mut request: Request<Incoming>,
    dialect: Dialect,
    cloud: Arc<Mutex<Cloud>>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    if dialect == Dialect::Proxmox && request.uri().path().ends_with("/vncwebsocket") {
        return Ok(proxmox::console::open(&mut request, &cloud));
    }
    let headers = request.headers();
    let authorization = headers
        .get("authorization")
        .or_else(|| headers.get("vmware-api-session-id"))
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let asked = asked(request).await.ok_or(Dropped)?;
    let reply = answer_to(&asked, &authorization, dialect, &cloud).await?;
    exchanges::record(dialect, &asked, &reply).await;
    Ok(reply)
}

async fn answer_to(
    asked: &Asked,
    authorization: &str,
    dialect: Dialect,
    cloud: &Mutex<Cloud>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let books = || cloud.lock().unwrap_or_else(PoisonError::into_inner);
    let scheme = match dialect {
        Dialect::Proxmox => "PVEAPIToken=",
        _ => "Bearer ",
    };
    if dialect == Dialect::Vsphere {
        if let Some(said) = vsphere::door(&mut books(), asked, authorization) {
            return Ok(response(&said, &[]));
        }
    } else if authorization != format!("{scheme}{}", books().token) {
        return Ok(response(&dialect.write(&Answer::Unauthorized), &[]));
    }
    let order = dialect.read(asked);
    let fault = books().fault_for(&order);
    let say = |answer: &Answer| response(&dialect.write(answer), &[]);
    match fault {
        None => Ok(say(&books().obey(&order))),
        Some(Fault::HangBefore) => {
            tokio::time::sleep(TEN_MINUTES).await;
            Err(Dropped)
        }
        Some(Fault::HangAfter) => {
            books().obey(&order);
            tokio::time::sleep(TEN_MINUTES).await;
            Err(Dropped)
        }
        Some(Fault::LostBefore) => Err(Dropped),
        Some(Fault::Lost) => {
            books().obey(&order);
            Err(Dropped)
        }
        Some(Fault::Twice) => {
            let mut cloud = books();
            cloud.obey(&order);
            Ok(say(&cloud.obey(&order)))
        }
        Some(Fault::Late) => {
            let answer = books().obey(&order);
            tokio::time::sleep(LATE).await;
            Ok(say(&answer))
        }
        Some(Fault::TooMany) => Ok(response(
            &dialect.write(&Answer::TooMany),
            &[("retry-after", "1".to_owned())],
        )),
        Some(Fault::FailsBefore) => Ok(say(&Answer::Broken)),
        Some(Fault::FailsAfter) => {
            books().obey(&order);
            Ok(say(&Answer::Broken))
        }
        Some(Fault::Nonsense) => {
            books().obey(&order);
            Ok(Response::new(Full::from("<html>gateway</html>")))
        }
        Some(Fault::WrongState) => Ok(say(&Answer::Busy)),
        Some(Fault::Full) => Ok(match &order {
            Order::Proxmox(call) => response(&proxmox::no_room(&mut books(), call), &[]),
            _ => say(&Answer::Full),
        }),
        Some(Fault::Vanish) => {
            let mut cloud = books();
            let answer = match &order {
                Order::Create(_) => {
                    let answer = cloud.obey(&order);
                    cloud.lose(&answer);
                    answer
                }
                Order::Proxmox(call) if call.is_clone() => {
                    let answer = cloud.obey(&order);
                    cloud.lose_target(&order);
                    answer
                }
                Order::Vsphere(call) if call.is_deployment() => {
                    let answer = cloud.obey(&order);
                    cloud.lose_target(&order);
                    answer
                }
                _ => {
                    cloud.lose_target(&order);
                    cloud.obey(&order)
                }
            };
            Ok(say(&answer))
        }
    }
}

async fn asked(request: Request<Incoming>) -> Option<Asked> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let query = parts.uri.query().unwrap_or_default();
    let query = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            (
                name.to_owned(),
                value.replace("%3D", "=").replace("%2D", "-"),
            )
        })
        .collect();
    let filter = parts
        .headers
        .get("x-filter")
        .and_then(|v| serde_json::from_slice(v.as_bytes()).ok());
    Some(Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query,
        filter: filter.unwrap_or_default(),
        form: proxmox::form(&body),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

fn response(said: &Said, headers: &[(&str, String)]) -> Response<Full<Bytes>> {
    let body = if said.body.is_null() {
        Bytes::new()
    } else {
        Bytes::from(said.body.to_string())
    };
    let mut response = Response::builder()
        .status(said.status)
        .header("content-type", "application/json");
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    let mut response = response.body(Full::from(body)).expect("a response");
    if let Some(reason) = &said.reason {
        let reason = hyper::ext::ReasonPhrase::try_from(reason.clone().into_bytes());
        response.extensions_mut().insert(reason.expect("a line"));
    }
    response
}
