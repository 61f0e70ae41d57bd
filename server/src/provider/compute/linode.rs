//! Linode, which Akamai runs.
//!
//! Labels are unique within an account, so a second creation under the same label is refused: that refusal means that the first one had its effect, and the
//! machine is looked for. Shutting down is the one way of powering off; it ends in a power cut where the guest does not obey. A password is set only on a
//! machine that is off. Its console is not in the published API, so none is offered.

use std::net::{Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::provider::compute::backups::Backups;
use crate::provider::compute::cloud::{
    Cloud, Listed, PAGES, Root, Standing, list, microdollars, name_of, reference_of, refusal, text,
    user_data,
};
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::line::{Ask, Dialect, Line, Reply};
use crate::provider::compute::metrics::Metrics;
use crate::provider::compute::reverse_dns::ReverseDns;
use crate::provider::compute::vendor::Access;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, Power, ProviderError, Reference,
};

const BASE: &str = "https://api.linode.com/v4";
const DIALECT: Dialect = Dialect {
    scheme: "Bearer",
    remaining: "x-ratelimit-remaining",
    reset: "x-ratelimit-reset",
    explains_failures: false,
};
/// What it can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    graceful_shutdown: true,
    reset_password: true,
    reset_password_off: true,
    user_data: true,
    rebuild: true,
    rebuild_credentials: true,
    resize: true,
    resize_disk: true,
    resize_down: true,
    resize_off: false,
    console: false,
};

/// An account at Linode.
#[derive(Debug)]
pub struct Linode {
    pub(super) line: Line,
}

impl Linode {
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

    async fn act(
        &self,
        provider_ref: &str,
        action: &str,
        body: Value,
    ) -> Result<(), ProviderError> {
        let path = format!("{}/{action}", path(provider_ref)?);
        let reply = self.line.ask(&Ask::post(path, body)).await?;
        let said = text(&reply.body, "/errors/0/reason")
            .unwrap_or_default()
            .to_lowercase();
        // Asked to be what it is already.
        let idle = said.contains("already booted") || said.contains("not running");
        if reply.status.is_success() || (reply.status.as_u16() == 400 && idle) {
            Ok(())
        } else {
            Err(refused(&reply))
        }
    }

    /// Every page of a list, of those that a filter lets through.
    pub(super) async fn pages(
        &self,
        what: &str,
        filter: Option<Value>,
    ) -> Result<Vec<Value>, ProviderError> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let mut ask = Ask::get(format!("{what}?page_size=200&page={page}"));
            if let Some(filter) = &filter {
                ask = ask.with("x-filter", filter.to_string());
            }
            let body = self.ask(&ask).await?;
            all.extend_from_slice(list(&body, "/data")?);
            let pages = body.get("pages").and_then(Value::as_u64).unwrap_or(1);
            if u64::try_from(page).unwrap_or(u64::MAX) >= pages {
                return Ok(all);
            }
        }
        Err(ProviderError::Unavailable("the list has no end".to_owned()))
    }
}

/// Their ids are numbers; anything else would make another path.
pub(super) fn path(provider_ref: &str) -> Result<String, ProviderError> {
    let id: u64 = provider_ref.parse().map_err(|_| ProviderError::NotFound)?;
    Ok(format!("/linode/instances/{id}"))
}

/// Password and keys it sets itself; the rest is for cloud-init.
fn give(body: &mut Value, boot: &Boot) {
    body["root_pass"] = Value::from(boot.password.expose_secret());
    if !boot.ssh_keys.is_empty() {
        body["authorized_keys"] = json!(boot.ssh_keys);
    }
    body["metadata"] = json!({"user_data": STANDARD.encode(user_data(boot, Root::ByCloud))});
}

fn refused(reply: &Reply) -> ProviderError {
    let message = text(&reply.body, "/errors/0/reason");
    let said = message.unwrap_or_default().to_lowercase();
    if said.contains("busy") {
        return ProviderError::Busy;
    }
    if text(&reply.body, "/errors/0/field") == Some("label") && said.contains("unique") {
        // There is one: look for it.
        return ProviderError::Unknown;
    }
    if said.contains("limit")
        || said.contains("capacity")
        || said.contains("not available in")
        || said.contains("sold out")
    {
        return ProviderError::NoCapacity;
    }
    refusal(reply, message)
}

/// An instance; `None` if it cannot be read.
fn machine(instance: &Value) -> Option<Machine> {
    let (power, busy) = match text(instance, "/status")? {
        "running" => (Power::Running, false),
        "offline" | "stopped" | "billing_suspension" => (Power::Stopped, false),
        "shutting_down" | "deleting" => (Power::Stopping, true),
        "provisioning" | "booting" | "rebooting" | "rebuilding" | "restoring" | "migrating"
        | "cloning" | "resizing" | "busy" => (Power::Booting, true),
        _ => return None,
    };
    let ipv6 = text(instance, "/ipv6").and_then(|a| a.split('/').next());
    let addresses = instance.get("ipv4")?.as_array()?;
    let mut ipv4 = addresses
        .iter()
        .filter_map(|a| a.as_str()?.parse::<Ipv4Addr>().ok());
    Some(Machine {
        provider_ref: instance.get("id")?.as_u64()?.to_string(),
        reference: reference_of(text(instance, "/label")?),
        size: text(instance, "/type")?.to_owned(),
        power,
        busy,
        ipv4: ipv4.find(|a| !a.is_private()),
        ipv6: ipv6.and_then(|a| a.parse::<Ipv6Addr>().ok()),
    })
}

fn readable(machine: Option<Machine>) -> Result<Machine, ProviderError> {
    machine.ok_or_else(|| ProviderError::Unavailable("an instance cannot be read".to_owned()))
}

#[async_trait]
impl Compute for Linode {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// Asking twice is harmless here, so this is only for what is asked for and not there yet.
    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::seconds(5)
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let mut body = json!({
            "region": wish.region,
            "type": wish.size,
            "image": wish.image,
            "label": name_of(wish.reference.instance),
            "booted": true,
            "backups_enabled": false,
            "tags": ["sewa"],
        });
        give(&mut body, &wish.boot);
        let reply = self.ask(&Ask::post("/linode/instances", body)).await?;
        // Accepted, so there is a machine, whatever became of the reply.
        machine(&reply).ok_or(ProviderError::Unknown)
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let label = name_of(reference.instance);
        let instances = self
            .pages("/linode/instances", Some(json!({"label": label})))
            .await?;
        let mut found = instances
            .iter()
            .filter(|i| text(i, "/label") == Some(&label))
            .map(|i| readable(machine(i)))
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|m| m.provider_ref.parse::<u64>().unwrap_or(u64::MAX));
        Ok(found)
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        let Ok(path) = path(provider_ref) else {
            return Ok(None);
        };
        match self.ask(&Ask::get(path)).await {
            Ok(body) => readable(machine(&body)).map(Some),
            Err(ProviderError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "boot", json!({})).await
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "shutdown", json!({})).await
    }

    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "shutdown", json!({})).await
    }

    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, "reboot", json!({})).await
    }

    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError> {
        let mut body = json!({"image": image, "booted": true});
        give(&mut body, boot);
        self.act(provider_ref, "rebuild", body).await
    }

    async fn reset_password(
        &self,
        provider_ref: &str,
        password: &SecretString,
    ) -> Result<(), ProviderError> {
        let body = json!({"root_pass": password.expose_secret()});
        self.act(provider_ref, "password", body).await
    }

    /// It moves the machine to another host, shut down meanwhile, and boots it there.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        disk_grows: bool,
    ) -> Result<(), ProviderError> {
        let body =
            json!({"type": size, "allow_auto_disk_resize": disk_grows, "migration_type": "cold"});
        self.act(provider_ref, "resize", body).await
    }

    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.ask(&Ask::delete(path(provider_ref)?)).await.map(drop)
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
impl Cloud for Linode {
    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let types = self.pages("/linode/types", None).await?;
        let cost = |size: &str, region: &str| {
            let found = types.iter().find(|t| text(t, "/id") == Some(size))?;
            // Some regions cost more.
            let own = found
                .get("region_prices")
                .and_then(Value::as_array)
                .and_then(|prices| prices.iter().find(|p| text(p, "/id") == Some(region)));
            let price = own.or_else(|| found.get("price"))?;
            microdollars(price.get("monthly")?)
        };
        let instances = self.pages("/linode/instances", None).await?;
        instances
            .iter()
            .map(|i| {
                let size = text(i, "/type").unwrap_or_default();
                let region = text(i, "/region").unwrap_or_default();
                Ok(Listed {
                    machine: readable(machine(i))?,
                    name: text(i, "/label").unwrap_or_default().to_owned(),
                    monthly_microdollars: cost(size, region),
                    region: text(i, "/region").map(str::to_owned),
                    images: text(i, "/image").map(str::to_owned).into_iter().collect(),
                })
            })
            .collect()
    }

    async fn standing(&self) -> Result<Standing, ProviderError> {
        let account = self.ask(&Ask::get("/account")).await?;
        let balance = account.get("balance").filter(|v| v.is_number());
        Ok(Standing {
            machine_limit: None,
            balance: balance.map(|b| format!("USD {b}")).unwrap_or_default(),
        })
    }
}
