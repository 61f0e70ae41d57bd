//! DigitalOcean.
//!
//! Names are not unique and nothing prevents a second creation, so a machine's name is our reference, and it is looked for by its name before it is made. Its
//! tags come late and are only for people. One action at a time: another one is refused with 422. There is no console in the API, and a password reset is
//! mailed to the owner of the account, so neither is offered. Machines must never be deleted by tag, which would be all of them at once: no code here can.

use std::net::{Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::provider::compute::backups::Backups;
use crate::provider::compute::cloud::{
    Cloud, Listed, PAGES, Root, Standing, list, microdollars, name_of, reference_of, refusal, text,
    user_data,
};
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::line::{Ask, Dialect, Line, Reply};
use crate::provider::compute::metrics::Metrics;
use crate::provider::compute::snapshots::Snapshots;
use crate::provider::compute::vendor::Access;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, Power, ProviderError, Reference,
};

const BASE: &str = "https://api.digitalocean.com";
const DIALECT: Dialect = Dialect {
    scheme: "Bearer",
    remaining: "ratelimit-remaining",
    reset: "ratelimit-reset",
    explains_failures: false,
};
/// What it can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    graceful_shutdown: true,
    reset_password: false,
    reset_password_off: false,
    user_data: true,
    rebuild: true,
    rebuild_credentials: false,
    resize: true,
    resize_disk: true,
    resize_down: true,
    resize_off: true,
    console: false,
};
/// On every machine of ours, for people who look into the control panel.
const TAG: &str = "sewa";

/// An account at DigitalOcean.
#[derive(Debug)]
pub struct DigitalOcean {
    line: Line,
}

impl DigitalOcean {
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

    pub(super) async fn act(&self, provider_ref: &str, action: Value) -> Result<(), ProviderError> {
        let id = number(provider_ref)?;
        let path = format!("/v2/droplets/{id}/actions");
        let reply = self.line.ask(&Ask::post(path, action)).await?;
        if reply.status.is_success() {
            return Ok(());
        }
        let said = text(&reply.body, "/message")
            .unwrap_or_default()
            .to_lowercase();
        // Asked to be what it is already.
        if reply.status.as_u16() == 422
            && (said.contains("already powered") || said.contains("already off"))
        {
            return Ok(());
        }
        Err(refused(&reply))
    }

    /// Every page of a list of droplets.
    async fn droplets(&self, query: &str) -> Result<Vec<Value>, ProviderError> {
        self.pages("/v2/droplets", "droplets", query).await
    }

    /// Every page of the list at a path, which is called `what` in the reply.
    pub(super) async fn pages(
        &self,
        path: &str,
        what: &str,
        query: &str,
    ) -> Result<Vec<Value>, ProviderError> {
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let path = format!("{path}?per_page=200&page={page}{query}");
            let body = self.ask(&Ask::get(path)).await?;
            all.extend_from_slice(list(&body, &format!("/{what}"))?);
            if body.pointer("/links/pages/next").is_none_or(Value::is_null) {
                return Ok(all);
            }
        }
        Err(ProviderError::Unavailable("the list has no end".to_owned()))
    }
}

/// Their ids are numbers; anything else would make another path.
pub(super) fn number(provider_ref: &str) -> Result<u64, ProviderError> {
    provider_ref.parse().map_err(|_| ProviderError::NotFound)
}

/// Images of their own have slugs, those of customers have numbers.
fn image_of(image: &str) -> Value {
    image
        .parse::<u64>()
        .map_or_else(|_| Value::from(image), Value::from)
}

fn refused(reply: &Reply) -> ProviderError {
    let message = text(&reply.body, "/message");
    let said = message.unwrap_or_default().to_lowercase();
    if reply.status.as_u16() == 422 {
        if said.contains("pending event") {
            return ProviderError::Busy;
        }
        if said.contains("droplet limit")
            || said.contains("not available in")
            || said.contains("currently unavailable")
            || said.contains("is not available")
        {
            return ProviderError::NoCapacity;
        }
    }
    refusal(reply, message)
}

/// The names of a droplet's image; those of customers have no slug. A disk that was put back from a copy of it shows that copy, which says nothing of the image.
fn images_of(droplet: &Value) -> Vec<String> {
    if matches!(text(droplet, "/image/type"), Some("snapshot" | "backup")) {
        return Vec::new();
    }
    let slug = text(droplet, "/image/slug").map(str::to_owned);
    let id = droplet.pointer("/image/id").map(Value::to_string);
    slug.into_iter().chain(id).collect()
}

/// A droplet; `None` if it cannot be read.
fn machine(droplet: &Value) -> Option<Machine> {
    let locked = droplet.get("locked").and_then(Value::as_bool)?;
    let (power, starting) = match text(droplet, "/status")? {
        "new" => (Power::Booting, true),
        "active" => (Power::Running, false),
        "off" | "archive" => (Power::Stopped, false),
        _ => return None,
    };
    let address = |family: &str| {
        let networks = droplet
            .pointer(&format!("/networks/{family}"))?
            .as_array()?;
        let public = networks
            .iter()
            .find(|n| text(n, "/type") == Some("public"))?;
        text(public, "/ip_address")
    };
    Some(Machine {
        provider_ref: droplet.get("id")?.as_u64()?.to_string(),
        reference: reference_of(text(droplet, "/name")?),
        size: text(droplet, "/size_slug")?.to_owned(),
        power,
        busy: locked || starting,
        ipv4: address("v4").and_then(|a| a.parse::<Ipv4Addr>().ok()),
        ipv6: address("v6").and_then(|a| a.parse::<Ipv6Addr>().ok()),
    })
}

fn readable(machine: Option<Machine>) -> Result<Machine, ProviderError> {
    machine.ok_or_else(|| ProviderError::Unavailable("a droplet cannot be read".to_owned()))
}

#[async_trait]
impl Compute for DigitalOcean {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::seconds(15)
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let body = json!({
            "name": name_of(wish.reference.instance),
            "region": wish.region,
            "size": wish.size,
            "image": image_of(&wish.image),
            "ipv6": true,
            "monitoring": true,
            "tags": [TAG],
            "user_data": user_data(&wish.boot, Root::ByCloudInit),
        });
        let reply = self.ask(&Ask::post("/v2/droplets", body)).await?;
        // Accepted, so there is a machine, whatever became of the reply.
        reply
            .get("droplet")
            .and_then(machine)
            .ok_or(ProviderError::Unknown)
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let name = name_of(reference.instance);
        let droplets = self.droplets(&format!("&name={name}")).await?;
        let mut found = droplets
            .iter()
            .filter(|d| text(d, "/name") == Some(&name))
            .map(|d| readable(machine(d)))
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|m| m.provider_ref.parse::<u64>().unwrap_or(u64::MAX));
        Ok(found)
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        let Ok(id) = number(provider_ref) else {
            return Ok(None);
        };
        match self.ask(&Ask::get(format!("/v2/droplets/{id}"))).await {
            Ok(body) => readable(body.get("droplet").and_then(machine)).map(Some),
            Err(ProviderError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, json!({"type": "power_on"})).await
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, json!({"type": "power_off"})).await
    }

    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, json!({"type": "shutdown"})).await
    }

    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, json!({"type": "reboot"})).await
    }

    /// Password, keys and all are those of the first boot again: the user data stays with the machine, cannot be changed, and a new disk reads it anew.
    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        _boot: &Boot,
    ) -> Result<(), ProviderError> {
        self.act(
            provider_ref,
            json!({"type": "rebuild", "image": image_of(image)}),
        )
        .await
    }

    async fn reset_password(
        &self,
        _provider_ref: &str,
        _password: &SecretString,
    ) -> Result<(), ProviderError> {
        Err(ProviderError::Refused(
            "DigitalOcean mails new passwords to the owner of the account".to_owned(),
        ))
    }

    /// With its disk there is no way back; without it the machine can have a smaller size again.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        disk_grows: bool,
    ) -> Result<(), ProviderError> {
        self.act(
            provider_ref,
            json!({"type": "resize", "size": size, "disk": disk_grows}),
        )
        .await
    }

    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let id = number(provider_ref)?;
        self.ask(&Ask::delete(format!("/v2/droplets/{id}")))
            .await
            .map(drop)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
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
impl Cloud for DigitalOcean {
    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let droplets = self.droplets("").await?;
        droplets
            .iter()
            .map(|d| {
                Ok(Listed {
                    machine: readable(machine(d))?,
                    name: text(d, "/name").unwrap_or_default().to_owned(),
                    monthly_microdollars: d.pointer("/size/price_monthly").and_then(microdollars),
                    region: text(d, "/region/slug").map(str::to_owned),
                    images: images_of(d),
                })
            })
            .collect()
    }

    async fn standing(&self) -> Result<Standing, ProviderError> {
        let account = self.ask(&Ask::get("/v2/account")).await?;
        let status = text(&account, "/account/status").unwrap_or_default();
        if status == "locked" {
            let message = text(&account, "/account/status_message").unwrap_or("locked");
            return Err(ProviderError::Unauthorized(message.to_owned()));
        }
        // A token may lack the scope for this, and work all the same.
        let balance = match self.ask(&Ask::get("/v2/customers/my/balance")).await {
            Ok(balance) => text(&balance, "/month_to_date_balance").map(|b| format!("USD {b}")),
            Err(ProviderError::Unauthorized(_) | ProviderError::NotFound) => None,
            Err(error) => return Err(error),
        };
        Ok(Standing {
            machine_limit: account
                .pointer("/account/droplet_limit")
                .and_then(Value::as_i64)
                .and_then(|n| i32::try_from(n).ok()),
            balance: balance.unwrap_or_default(),
        })
    }
}
