//! Vultr.
//!
//! Labels are not unique and nothing prevents a second creation, so a machine's label is our reference, and it is looked for by its label before it is made.
//! There are no actions to follow: a machine tells by three states at once how it is. Halting cuts the power, nothing asks a guest to shut down, and no call sets
//! a password, so neither is offered.

use std::net::{Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::provider::compute::backups::Backups;
use crate::provider::compute::cloud::{
    Cloud, Listed, PAGES, Root, Standing, list, microdollars, name_of, reference_of, refusal, text,
    user_data,
};
use crate::provider::compute::consoles::Consoles;
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::line::{Ask, Dialect, Line, Reply};
use crate::provider::compute::metrics::Metrics;
use crate::provider::compute::reverse_dns::ReverseDns;
use crate::provider::compute::snapshots::Snapshots;
use crate::provider::compute::vendor::Access;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, Power, ProviderError, Reference,
};

const BASE: &str = "https://api.vultr.com/v2";
const DIALECT: Dialect = Dialect {
    scheme: "Bearer",
    // It documents none.
    remaining: "x-ratelimit-remaining",
    reset: "x-ratelimit-reset",
    explains_failures: false,
};
/// What it can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    graceful_shutdown: false,
    reset_password: false,
    reset_password_off: false,
    user_data: true,
    rebuild: true,
    rebuild_credentials: true,
    resize: true,
    resize_disk: true,
    resize_down: false,
    resize_off: false,
    console: true,
};

/// An account at Vultr.
#[derive(Debug)]
pub struct Vultr {
    pub(super) line: Line,
}

impl Vultr {
    /// A line to the account.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(access: &Access) -> anyhow::Result<Self> {
        let line = Line::new(access, BASE, DIALECT)?;
        Ok(Self { line })
    }

    pub(super) async fn ask(&self, ask: &Ask) -> Result<Value, ProviderError> {
        let reply = self.line.ask(ask).await?;
        if reply.status.is_success() {
            Ok(reply.body)
        } else {
            Err(refused(&reply))
        }
    }

    async fn act(&self, provider_ref: &str, action: &str) -> Result<(), ProviderError> {
        let path = format!("{}/{action}", path(provider_ref)?);
        self.ask(&Ask::post(path, json!({}))).await.map(drop)
    }

    /// Every page of a list.
    pub(super) async fn pages(&self, what: &str, query: &str) -> Result<Vec<Value>, ProviderError> {
        self.pages_at(&format!("/{what}"), what, query).await
    }

    /// Every page of the list at a path, which is called `what` in the reply.
    pub(super) async fn pages_at(
        &self,
        path: &str,
        what: &str,
        query: &str,
    ) -> Result<Vec<Value>, ProviderError> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        for _ in 0..PAGES {
            let path = format!("{path}?per_page=500&cursor={cursor}{query}");
            let body = self.ask(&Ask::get(path)).await?;
            all.extend_from_slice(list(&body, &format!("/{what}"))?);
            match text(&body, "/meta/links/next") {
                None | Some("") => return Ok(all),
                Some(next) => {
                    cursor = percent_encoding::utf8_percent_encode(
                        next,
                        percent_encoding::NON_ALPHANUMERIC,
                    )
                    .to_string();
                }
            }
        }
        Err(ProviderError::Unavailable("the list has no end".to_owned()))
    }
}

/// Their ids are UUIDs; anything else would make another path.
pub(super) fn path(provider_ref: &str) -> Result<String, ProviderError> {
    let id = uuid::Uuid::try_parse(provider_ref).map_err(|_| ProviderError::NotFound)?;
    Ok(format!("/instances/{id}"))
}

/// Operating systems have numbers, applications of the marketplace have names.
fn with_image(mut body: Value, image: &str) -> Value {
    match image.parse::<u64>() {
        Ok(os) => body["os_id"] = Value::from(os),
        Err(_) => body["image_id"] = Value::from(image),
    }
    body
}

/// What stands for the operating system of a disk that was put back from a snapshot, or from a backup.
const COPIES: [u64; 2] = [164, 180];

/// The names of an instance's image: applications of the marketplace have an operating system as well. A copy of a disk says nothing of the image.
fn image_of(instance: &Value) -> Vec<String> {
    let os = instance.get("os_id").and_then(Value::as_u64);
    if os.is_some_and(|os| COPIES.contains(&os)) {
        return Vec::new();
    }
    let os = os.filter(|os| *os != 0).map(|os| os.to_string());
    let image = text(instance, "/image_id").filter(|image| !image.is_empty());
    os.into_iter().chain(image.map(str::to_owned)).collect()
}

fn encoded(boot: &Boot) -> String {
    STANDARD.encode(user_data(boot, Root::ByCloudInit))
}

fn refused(reply: &Reply) -> ProviderError {
    let message = text(&reply.body, "/error");
    let said = message.unwrap_or_default().to_lowercase();
    if said.contains("locked") || said.contains("pending") {
        return ProviderError::Busy;
    }
    if said.contains("not available in")
        || said.contains("sold out")
        || said.contains("maximum")
        || said.contains("limit reached")
    {
        return ProviderError::NoCapacity;
    }
    refusal(reply, message)
}

/// An instance; `None` if it cannot be read.
fn machine(instance: &Value) -> Option<Machine> {
    let status = text(instance, "/status")?;
    let server = text(instance, "/server_status")?;
    let power = match text(instance, "/power_status")? {
        _ if status == "pending" => Power::Booting,
        // Its boot scripts run; that may last.
        "running" if server == "installingbooting" => Power::Booting,
        "running" => Power::Running,
        "stopped" => Power::Stopped,
        _ => return None,
    };
    let ipv4 = text(instance, "/main_ip").and_then(|a| a.parse::<Ipv4Addr>().ok());
    Some(Machine {
        provider_ref: text(instance, "/id")?.to_owned(),
        reference: reference_of(text(instance, "/label")?),
        size: text(instance, "/plan")?.to_owned(),
        power,
        busy: matches!(status, "pending" | "resizing") || server == "locked",
        ipv4: ipv4.filter(|a| !a.is_unspecified()),
        ipv6: text(instance, "/v6_main_ip").and_then(|a| a.parse::<Ipv6Addr>().ok()),
    })
}

fn readable(machine: Option<Machine>) -> Result<Machine, ProviderError> {
    machine.ok_or_else(|| ProviderError::Unavailable("an instance cannot be read".to_owned()))
}

#[async_trait]
impl Compute for Vultr {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::seconds(15)
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let body = json!({
            "region": wish.region,
            "plan": wish.size,
            "label": name_of(wish.reference.instance),
            "hostname": wish.boot.hostname,
            "tags": ["sewa"],
            "enable_ipv6": true,
            "backups": "disabled",
            "activation_email": false,
            "user_data": encoded(&wish.boot),
        });
        let reply = self
            .ask(&Ask::post("/instances", with_image(body, &wish.image)))
            .await?;
        // Accepted, so there is a machine, whatever became of the reply.
        reply
            .get("instance")
            .and_then(machine)
            .ok_or(ProviderError::Unknown)
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let label = name_of(reference.instance);
        let instances = self.pages("instances", &format!("&label={label}")).await?;
        let mut found: Vec<&Value> = instances
            .iter()
            .filter(|i| text(i, "/label") == Some(&label))
            .collect();
        found.sort_by_key(|i| text(i, "/date_created"));
        found.into_iter().map(|i| readable(machine(i))).collect()
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        let Ok(path) = path(provider_ref) else {
            return Ok(None);
        };
        match self.ask(&Ask::get(path)).await {
            Ok(body) => readable(body.get("instance").and_then(machine)).map(Some),
            Err(ProviderError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "start").await
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "halt").await
    }

    async fn shutdown(&self, _provider_ref: &str) -> Result<(), ProviderError> {
        Err(ProviderError::Refused(
            "Vultr cannot ask a guest to shut down".to_owned(),
        ))
    }

    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "reboot").await
    }

    /// A reinstallation reads the user data that the machine has, so that is replaced first. Doing so has no other effect, and may be repeated.
    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError> {
        let path = path(provider_ref)?;
        let seen = self.ask(&Ask::get(path.clone())).await?;
        let os = seen.pointer("/instance/os_id").and_then(Value::as_u64);
        let patch = |body| Ask {
            method: Method::PATCH,
            ..Ask::post(path.clone(), body)
        };
        let fresh = json!({"user_data": encoded(boot)});
        if os.is_some_and(|os| image == os.to_string()) {
            self.ask(&patch(fresh)).await?;
            return self.act(provider_ref, "reinstall").await;
        }
        self.ask(&patch(with_image(fresh, image))).await.map(drop)
    }

    async fn reset_password(
        &self,
        _provider_ref: &str,
        _password: &SecretString,
    ) -> Result<(), ProviderError> {
        Err(ProviderError::Refused("Vultr sets no passwords".to_owned()))
    }

    /// Only upwards, and always with the disk. It restarts the machine.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        _disk_grows: bool,
    ) -> Result<(), ProviderError> {
        let ask = Ask {
            method: Method::PATCH,
            ..Ask::post(path(provider_ref)?, json!({"plan": size}))
        };
        self.ask(&ask).await.map(drop)
    }

    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.ask(&Ask::delete(path(provider_ref)?)).await.map(drop)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }

    fn consoles(&self) -> Option<&dyn Consoles> {
        Some(self)
    }

    fn reverse_dns(&self) -> Option<&dyn ReverseDns> {
        Some(self)
    }

    fn backups(&self) -> Option<&dyn Backups> {
        Some(self)
    }

    fn firewalls(&self) -> Option<&dyn Firewalls> {
        Some(self)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        Some(self)
    }
}

#[async_trait]
impl Cloud for Vultr {
    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let plans = self.pages("plans", "").await?;
        let cost = |size: &str| {
            let plan = plans.iter().find(|p| text(p, "/id") == Some(size))?;
            microdollars(plan.get("monthly_cost")?)
        };
        let instances = self.pages("instances", "").await?;
        instances
            .iter()
            .map(|i| {
                let size = text(i, "/plan").unwrap_or_default();
                Ok(Listed {
                    machine: readable(machine(i))?,
                    name: text(i, "/label").unwrap_or_default().to_owned(),
                    monthly_microdollars: cost(size),
                    region: text(i, "/region").map(str::to_owned),
                    images: image_of(i),
                })
            })
            .collect()
    }

    async fn standing(&self) -> Result<Standing, ProviderError> {
        let account = self.ask(&Ask::get("/account")).await?;
        let pending = account
            .pointer("/account/pending_charges")
            .filter(|v| v.is_number());
        Ok(Standing {
            machine_limit: None,
            balance: pending.map(|p| format!("USD {p}")).unwrap_or_default(),
        })
    }
}
