//! Proxmox VE: hypervisors of our own.
//!
//! A machine is made in steps, because Proxmox makes it so: a template is cloned under a number of ours and under our reference, its disk grows, one change of its
//! configuration makes it what was ordered and gives it our tag, and it is powered on. `create` does the first of them; `prepare` the others, one look and one step
//! at a time, so that whoever repeats it goes on where the last one stopped. The number is chosen and written down before (`hypervisor`), and Proxmox refuses a
//! second clone under it: two machines cannot come of one order.
//!
//! A rebuild replaces the disk in place, by importing the template's. Deleting and cloning anew would leave a moment without machine, address or record of either.
//!
//! Changes answer with the number of a task. It is followed for a moment, which is enough for most; what takes longer shows in `get` as work under way. A failure
//! is a 500 with a sentence in its reason phrase: what it means is read from that sentence, and one that nobody knows may have had an effect.

pub(super) mod asking;
mod failure;
pub mod guest;
mod view;

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::StreamExt;
use http::Method;
use secrecy::{ExposeSecret, SecretString};

use self::asking::{FOLLOWED, disk_of, done, number, path_of};
use self::failure::{Meaning, meaning, refused, said};
use self::guest::{boot_disk, credentials, given, mark_of, whole_config};
use crate::provider::compute::cloud::{Cloud, Listed, Standing, escaped, name_of};
use crate::provider::compute::cluster::{Cluster, Entry, Size, Template};
use crate::provider::compute::consoles::Consoles;
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::line::{Dialect, Line};
use crate::provider::compute::metrics::Metrics;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, Power, ProviderError, Reference,
};

const DIALECT: Dialect = Dialect {
    scheme: "PVEAPIToken=",
    remaining: "",
    reset: "",
    explains_failures: true,
};
/// What it can do. User data are beyond its API: it takes none but from files on its own storage.
pub const CAPABILITIES: Capabilities = Capabilities {
    graceful_shutdown: true,
    reset_password: true,
    reset_password_off: false,
    rebuild_credentials: true,
    user_data: false,
    rebuild: true,
    resize: true,
    resize_disk: true,
    resize_down: true,
    resize_off: true,
    console: true,
};
/// How long the task of a clone is followed. Shorter than a creation may take.
const CLONING: Duration = Duration::from_secs(6);
/// How long a step of a rebuild may take. Shorter than a call may take, so that it is this adapter that knows what came of it.
const STEP: Duration = Duration::from_millis(4500);
/// Configurations of templates that are read at once.
const TEMPLATES: usize = 4;
/// A cluster.
#[derive(Debug)]
pub struct Proxmox {
    line: Line,
}

impl Proxmox {
    /// Stops the guest, imports the template's disk in place of its own, removes that, and starts it. `Busy` until the last step is taken on.
    async fn rebuild_step(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        let mark = mark_of(&boot.password);
        if !seen.has_disk_of(&mark) {
            if seen.machine.power != Power::Stopped {
                done(self.power(&seen, "stop").await?)?;
            }
            let own = disk_of(&seen.config)?;
            let (_, template) = self.template(image, &seen.node).await?;
            let theirs = disk_of(&template)?;
            let mut disk = format!("{}:0,import-from={}", own.storage(), theirs.volume);
            for option in &own.options {
                disk.push_str(&format!(",{option}"));
            }
            let mut fields: Vec<(&str, String)> = vec![
                (own.key.as_str(), disk),
                ("tags", seen.tags_with_disk(&mark)),
            ];
            for field in credentials(&boot.password, &boot.ssh_keys) {
                if given(&field) {
                    fields.push(field);
                }
            }
            if boot.ssh_keys.is_empty() && seen.config.get("sshkeys").is_some() {
                fields.push(("delete", "sshkeys".to_owned()));
            }
            let path = format!("{}/config", path_of(&seen));
            let task = self.change(Method::POST, path, &fields).await?;
            self.follow(&task, FOLLOWED).await?;
            return Err(ProviderError::Busy);
        }
        self.tidy(&seen).await?;
        self.power(&seen, "start").await.map(drop)
    }
}

#[async_trait]
impl Compute for Proxmox {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// A clone has its number and its name at once; this is for the one that has not reached its node yet.
    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::seconds(5)
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let place = wish.place.as_ref().ok_or_else(|| {
            ProviderError::Unavailable("the machine has no place on a hypervisor yet".to_owned())
        })?;
        Size::parse(&wish.size)?;
        let (template, _) = self.template(&wish.image, &place.node).await?;
        let node = escaped(&place.node);
        let fields = [
            ("newid", place.vmid.to_string()),
            ("name", name_of(wish.reference.instance)),
            ("full", "1".to_owned()),
        ];
        let path = format!("/nodes/{node}/qemu/{template}/clone");
        let task = self.change(Method::POST, path, &fields).await?;
        let ended = self.follow(&task, CLONING).await?;
        Ok(Machine {
            provider_ref: place.vmid.to_string(),
            reference: wish.reference.instance.to_string(),
            size: String::new(),
            power: Power::Stopped,
            busy: !ended,
            ipv4: None,
            ipv6: None,
        })
    }

    async fn prepare(&self, provider_ref: &str, wish: &CreateMachine) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if !seen.is_raw() {
            return Ok(());
        }
        let place = wish.place.as_ref().ok_or_else(|| {
            ProviderError::Unavailable("the machine has no place on a hypervisor".to_owned())
        })?;
        if seen.machine.reference != wish.reference.instance.to_string() {
            return Err(ProviderError::Refused(format!(
                "guest {} is another one's",
                seen.vmid
            )));
        }
        let size = Size::parse(&wish.size)?;
        self.grow(&seen, &disk_of(&seen.config)?, size.disk_gib)
            .await?;
        self.configure(&seen, &whole_config(wish, place, size))
            .await
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let mut found = Vec::new();
        for entry in self.entries().await? {
            if !entry.machine || entry.template {
                continue;
            }
            let unnamed = entry.name.is_none();
            if entry.instance() != Some(reference.instance) && !unnamed {
                continue;
            }
            match self.see_at(&entry.node, entry.vmid).await {
                Ok(seen) if seen.machine.reference == reference.instance.to_string() => {
                    found.push((entry.vmid, seen.machine));
                }
                // Gone since, or another one's.
                Ok(_) | Err(ProviderError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by_key(|(vmid, _)| *vmid);
        Ok(found.into_iter().map(|(_, machine)| machine).collect())
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        let Ok(vmid) = number(provider_ref) else {
            return Ok(None);
        };
        Ok(self.see(vmid).await?.map(|seen| seen.machine))
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if seen.is_raw() {
            return Err(ProviderError::Refused(
                "the machine is not what was ordered yet".to_owned(),
            ));
        }
        self.tidy(&seen).await?;
        self.power(&seen, "start").await.map(drop)
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        self.power(&seen, "stop").await.map(drop)
    }

    /// Asks by ACPI or the guest agent. The task waits for the guest and is left to itself.
    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        self.power(&seen, "shutdown").await.map(drop)
    }

    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        self.power(&seen, "reboot").await.map(drop)
    }

    /// In several steps. An answer that was lost on the way to the last one is no matter: what there is decides which one is next.
    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError> {
        let step = self.rebuild_step(provider_ref, image, boot);
        match tokio::time::timeout(STEP, step).await {
            Ok(Err(ProviderError::Unknown)) | Err(_) => Err(ProviderError::Busy),
            Ok(ended) => ended,
        }
    }

    /// By the guest agent while the guest runs and has one; else by cloud-init, which reads the new password when the guest starts.
    async fn reset_password(
        &self,
        provider_ref: &str,
        password: &SecretString,
    ) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        let password = password.expose_secret().to_owned();
        let runs = seen.machine.power == Power::Running;
        if runs {
            let fields = [
                ("username", "root".to_owned()),
                ("password", password.clone()),
            ];
            let path = format!("{}/agent/set-user-password", path_of(&seen));
            match self.say(Method::POST, path, &fields).await? {
                Ok(_) => return Ok(()),
                Err(reply) if meaning(&said(&reply)) == Meaning::NoAgent => {}
                Err(reply) => return Err(refused(&reply, false)),
            }
        }
        self.configure(&seen, &[("cipassword", password)]).await?;
        if runs {
            self.power(&seen, "reboot").await?;
        }
        Ok(())
    }

    /// On a guest that is off. Its tag comes last: until then it has not the size.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        disk_grows: bool,
    ) -> Result<(), ProviderError> {
        let wanted = Size::parse(size)?;
        let seen = self.idle(provider_ref).await?;
        if disk_grows {
            self.grow(&seen, &disk_of(&seen.config)?, wanted.disk_gib)
                .await?;
        }
        let fields = [
            ("cores", wanted.vcpus.to_string()),
            ("sockets", "1".to_owned()),
            ("memory", wanted.memory_mib.to_string()),
            ("tags", seen.tags_with_size(size)),
        ];
        self.configure(&seen, &fields).await
    }

    /// One that runs is stopped first.
    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if seen.machine.power != Power::Stopped {
            done(self.power(&seen, "stop").await?)?;
        }
        let path = format!("{}?purge=1&destroy-unreferenced-disks=1", path_of(&seen));
        let task = self.change(Method::DELETE, path, &[]).await?;
        self.follow(&task, FOLLOWED).await.map(drop)
    }

    fn consoles(&self) -> Option<&dyn Consoles> {
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
impl Cloud for Proxmox {
    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let entries = self.entries().await?;
        let machines = entries.iter().filter(|e| e.machine && !e.template);
        Ok(machines
            .map(|entry| Listed {
                machine: entry.machine(),
                name: entry
                    .instance()
                    .map(name_of)
                    .or_else(|| entry.name.clone())
                    .unwrap_or_default(),
                monthly_microdollars: None,
                region: None,
                images: Vec::new(),
            })
            .collect())
    }

    /// Whether the token is taken, and sees anything.
    async fn standing(&self) -> Result<Standing, ProviderError> {
        self.read("/version".to_owned()).await?;
        let nodes = self.resources("?type=node").await?;
        if nodes.is_empty() {
            return Err(ProviderError::Unauthorized(
                "the token sees no node; it needs Sys.Audit and VM.Audit".to_owned(),
            ));
        }
        Ok(Standing::default())
    }

    async fn cluster(&self) -> Result<Cluster, ProviderError> {
        let resources = self.resources("").await?;
        let mut cluster = Cluster::read(&resources);
        let templates = resources.iter().filter_map(Entry::read);
        let mut configs = futures_util::stream::iter(
            templates
                .filter(|entry| entry.template && entry.machine)
                .map(|entry| async move {
                    let path =
                        format!("/nodes/{}/qemu/{}/config", escaped(&entry.node), entry.vmid);
                    (entry, self.read(path).await)
                }),
        )
        .buffer_unordered(TEMPLATES);
        while let Some((entry, config)) = configs.next().await {
            // One on a node that does not answer is of no use now.
            let disk = config.ok().as_ref().and_then(boot_disk);
            if let (Some(disk), Some(name)) = (disk, entry.name) {
                cluster.templates.push(Template {
                    name,
                    vmid: entry.vmid,
                    node: entry.node,
                    storage: disk.storage().to_owned(),
                    disk_gib: disk.gib,
                });
            }
        }
        cluster.templates.sort_by_key(|template| template.vmid);
        Ok(cluster)
    }
}
