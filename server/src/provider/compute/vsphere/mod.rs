//! VMware vSphere: hypervisors of our own behind a vCenter, by its Automation API (7.0 U3 and 8.0).
//!
//! A machine is made in two steps. A template of a content library is deployed under our reference, with everything of its size; `prepare` then tells cloud-init who the machine is, and
//! last gives it a network adapter. The template has none, so a machine without one is raw. All machines are in one folder, where no two have one name: a second deployment under our
//! reference is refused, so two machines cannot come of one order. One that is being deployed shows its name before it shows anything else.
//!
//! What the API does not have is not offered: it makes no disk larger once the machine exists, cannot replace one without leaving the old file behind, sets no password in a guest whose
//! password it does not know, takes no snapshots, and its console speaks a protocol of VMware's own.

mod asking;
mod failure;
pub mod machine;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::Method;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::asking::path_of;
use self::machine::{adapter, customization, deployment, entry};
use crate::provider::compute::cloud::{Cloud, Listed, Standing, escaped, list, name_of, text};
use crate::provider::compute::cluster::{Cluster, Entry, Node, Size, Storage, Template};
use crate::provider::compute::line::Line;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, Power, ProviderError, Reference,
};

/// What it can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    graceful_shutdown: true,
    reset_password: false,
    reset_password_off: false,
    rebuild_credentials: false,
    user_data: true,
    rebuild: false,
    resize: true,
    resize_disk: false,
    resize_down: true,
    resize_off: true,
    console: false,
};
/// Things of a list that are read at once.
const AT_ONCE: usize = 8;

/// A vCenter.
#[derive(Debug)]
pub struct Vsphere {
    line: Arc<Line>,
    login: SecretString,
    session: Mutex<Option<SecretString>>,
}

#[async_trait]
impl Compute for Vsphere {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// A deployment has its name in the folder at once; this is for the one that has not reached vCenter yet.
    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::seconds(5)
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let place = wish.place.as_ref().ok_or_else(|| {
            ProviderError::Unavailable("the machine has no place on a host yet".to_owned())
        })?;
        let size = Size::parse(&wish.size)?;
        let (template, folder, host) = tokio::try_join!(
            self.template_named(&wish.image),
            self.folder(),
            self.host(&place.node),
        )
        .map_err(not_the_machine)?;
        if size.disk_gib < template.disk_gib {
            return Err(ProviderError::Refused(format!(
                "template {} has {} GiB, more than the size {}",
                wish.image, template.disk_gib, wish.size
            )));
        }
        let path = format!(
            "/vcenter/vm-template/library-items/{}?action=deploy",
            escaped(&template.item)
        );
        let spec = deployment(wish, size, &template, &folder, &host);
        let made = self
            .change(Method::POST, path, Some(spec))
            .await
            .map_err(not_the_machine)?;
        Ok(Machine {
            provider_ref: made.as_str().ok_or(ProviderError::Unknown)?.to_owned(),
            reference: wish.reference.instance.to_string(),
            size: String::new(),
            power: Power::Stopped,
            busy: false,
            ipv4: None,
            ipv6: None,
        })
    }

    /// Telling it who it is overwrites what it was told before, so it may be repeated; the network adapter is looked for before it is made.
    async fn prepare(&self, provider_ref: &str, wish: &CreateMachine) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if seen.connected {
            return Ok(());
        }
        let place = wish.place.as_ref().ok_or_else(|| {
            ProviderError::Unavailable("the machine has no place on a host".to_owned())
        })?;
        if seen.instance() != Some(wish.reference.instance) {
            return Err(ProviderError::Refused(format!(
                "machine {provider_ref} is another one's"
            )));
        }
        let networks = format!("/vcenter/network?names={}", escaped(&place.bridge));
        let nic = adapter(&self.read(networks).await?, place)?;
        let path = path_of(provider_ref);
        let told = customization(wish, place);
        self.change(
            Method::PUT,
            format!("{path}/guest/customization"),
            Some(told),
        )
        .await
        .map_err(|error| match error {
            // Its words may repeat what it was told, which is secret.
            ProviderError::Refused(_) => {
                ProviderError::Refused("vCenter takes no cloud-init for this guest".to_owned())
            }
            error => error,
        })?;
        self.change(Method::POST, format!("{path}/hardware/ethernet"), Some(nic))
            .await
            .map(drop)
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let name = name_of(reference.instance);
        let listed = self.listed(&format!("names={name}")).await?;
        if listed.is_empty() {
            // One that is hidden must not count as gone.
            self.folder().await?;
        }
        let mut found = Vec::new();
        for (id, _) in listed {
            if let Some(seen) = self.see(&id).await? {
                found.push(seen.machine());
            }
        }
        found.sort_by_key(|machine| age(&machine.provider_ref));
        Ok(found)
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        Ok(self.see(provider_ref).await?.map(|seen| seen.machine()))
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if !seen.connected {
            return Err(ProviderError::Refused(
                "the machine is not what was ordered yet".to_owned(),
            ));
        }
        self.power(provider_ref, "start").await
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.idle(provider_ref).await?;
        self.power(provider_ref, "stop").await
    }

    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.idle(provider_ref).await?;
        if self.ask_guest(provider_ref, "shutdown").await? {
            return Ok(());
        }
        Err(ProviderError::Unavailable(
            "VMware Tools do not run in the guest".to_owned(),
        ))
    }

    /// By the guest; by its power, where no VMware Tools would hear.
    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.idle(provider_ref).await?;
        if self.ask_guest(provider_ref, "reboot").await? {
            return Ok(());
        }
        self.power(provider_ref, "reset").await
    }

    async fn rebuild(&self, _: &str, _: &str, _: &Boot) -> Result<(), ProviderError> {
        Err(ProviderError::Refused(
            "vSphere rebuilds no machine".to_owned(),
        ))
    }

    async fn reset_password(&self, _: &str, _: &SecretString) -> Result<(), ProviderError> {
        Err(ProviderError::Refused(
            "vSphere sets no password".to_owned(),
        ))
    }

    /// On a machine that is off. What of it is done already is left out, so it may be repeated from anywhere.
    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        disk_grows: bool,
    ) -> Result<(), ProviderError> {
        let wanted = Size::parse(size)?;
        let seen = self.idle(provider_ref).await?;
        if disk_grows && wanted.disk_gib > seen.size.disk_gib {
            return Err(ProviderError::Refused(
                "vSphere makes no disk of a machine larger".to_owned(),
            ));
        }
        let path = format!("{}/hardware", path_of(provider_ref));
        if seen.size.memory_mib != wanted.memory_mib {
            let memory = json!({"size_MiB": wanted.memory_mib});
            self.change(Method::PATCH, format!("{path}/memory"), Some(memory))
                .await?;
        }
        if seen.size.vcpus != wanted.vcpus {
            let cpu = json!({"count": wanted.vcpus, "cores_per_socket": wanted.vcpus});
            self.change(Method::PATCH, format!("{path}/cpu"), Some(cpu))
                .await?;
        }
        Ok(())
    }

    /// One that runs is stopped first.
    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let seen = self.idle(provider_ref).await?;
        if seen.power != Power::Stopped {
            self.power(provider_ref, "stop").await?;
        }
        self.change(Method::DELETE, path_of(provider_ref), None)
            .await
            .map(drop)
    }
}

#[async_trait]
impl Cloud for Vsphere {
    /// Those of our folder.
    async fn list(&self) -> Result<Vec<Listed>, ProviderError> {
        let folder = self.folder().await?;
        let listed = self
            .listed(&format!("folders={}", escaped(&folder)))
            .await?;
        let mut reads = stream::iter(listed)
            .map(|(id, _)| async move { self.see(&id).await })
            .buffer_unordered(AT_ONCE);
        let mut machines = Vec::new();
        while let Some(seen) = reads.next().await {
            let Some(seen) = seen? else { continue };
            machines.push(Listed {
                machine: seen.machine(),
                name: seen.name,
                monthly_microdollars: None,
                region: None,
                images: Vec::new(),
            });
        }
        Ok(machines)
    }

    /// Whether the user is let in, and sees a host and the folder.
    async fn standing(&self) -> Result<Standing, ProviderError> {
        self.folder().await?;
        let hosts = self.read("/vcenter/host".to_owned()).await?;
        if list(&hosts, "")?.is_empty() {
            return Err(ProviderError::Unauthorized(
                "the user sees no host".to_owned(),
            ));
        }
        Ok(Standing::default())
    }

    /// Its API does not tell what processors and memory hosts have, nor which of them reaches which datastore: all have to reach those of the templates.
    async fn cluster(&self) -> Result<Cluster, ProviderError> {
        let (hosts, stores, items) = tokio::try_join!(
            self.read("/vcenter/host".to_owned()),
            self.read("/vcenter/datastore".to_owned()),
            self.items(None),
        )?;
        let stores = list(&stores, "")?;
        let storages: Vec<Storage> = stores.iter().filter_map(storage).collect();
        let hosts = list(&hosts, "")?.iter();
        let hosts: Vec<(String, Node)> = hosts.filter_map(|host| node(host, &storages)).collect();
        let looks: Vec<_> = hosts
            .iter()
            .map(|(id, node)| self.guests_of(id, &node.name))
            .collect();
        let guests: Vec<Entry> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_concat()
            .await?;
        let looks: Vec<_> = items
            .into_iter()
            .map(|item| self.usable(item, stores))
            .collect();
        let templates: Vec<Option<Template>> = stream::iter(looks)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let mut nodes: Vec<Node> = hosts.into_iter().map(|(_, node)| node).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let mut on_each: Vec<Template> = nodes
            .iter()
            .flat_map(|node| {
                templates.iter().flatten().map(|template| Template {
                    node: node.name.clone(),
                    ..template.clone()
                })
            })
            .collect();
        on_each.sort_by(|a, b| (&a.name, &a.node).cmp(&(&b.name, &b.node)));
        Ok(Cluster {
            nodes,
            guests,
            templates: on_each,
        })
    }
}

impl Vsphere {
    /// What runs on a host, and what is off there.
    async fn guests_of(&self, host: &str, name: &str) -> Result<Vec<Entry>, ProviderError> {
        let listed = self.listed(&format!("hosts={}", escaped(host))).await?;
        Ok(listed.iter().map(|(_, vm)| entry(name, vm)).collect())
    }

    /// A template that machines can be made from; `None` if this item is not fit for that, or gone meanwhile.
    async fn usable(
        &self,
        item: String,
        stores: &[Value],
    ) -> Result<Option<Template>, ProviderError> {
        let path = format!("/content/library/item/{}", escaped(&item));
        let shown = match self.read(path).await {
            Ok(shown) => shown,
            Err(ProviderError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = text(&shown, "/name").unwrap_or_default();
        let Ok(template) = self.template(&item, name).await else {
            return Ok(None);
        };
        let of_it = |store: &&Value| text(store, "/datastore") == Some(&template.datastore);
        let storage = stores.iter().find(of_it).and_then(|s| text(s, "/name"));
        Ok(storage.map(|storage| Template {
            name: name.to_owned(),
            vmid: 0,
            node: String::new(),
            storage: storage.to_owned(),
            disk_gib: template.disk_gib,
        }))
    }
}

/// A host, with what vCenter calls it.
fn node(host: &Value, storages: &[Storage]) -> Option<(String, Node)> {
    let up = text(host, "/connection_state") == Some("CONNECTED")
        && text(host, "/power_state").is_none_or(|state| state == "POWERED_ON");
    let node = Node {
        name: text(host, "/name")?.to_owned(),
        online: up,
        unmeasured: true,
        storages: storages.to_vec(),
        ..Node::default()
    };
    Some((text(host, "/host")?.to_owned(), node))
}

fn storage(store: &Value) -> Option<Storage> {
    let gib = |name: &str| store.get(name)?.as_i64().map(|bytes| bytes >> 30);
    let (size, free) = (gib("capacity")?, gib("free_space")?);
    Some(Storage {
        name: text(store, "/name")?.to_owned(),
        size_gib: size,
        used_gib: size - free,
        shared: true,
    })
}

/// What is missing here is something a machine is made of, and never the machine.
fn not_the_machine(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::NotFound => ProviderError::Unavailable(
            "vCenter misses something that the machine is made of".to_owned(),
        ),
        error => error,
    }
}

/// vCenter counts machines up: `vm-9` is older than `vm-10`.
fn age(id: &str) -> u64 {
    let number = id.rsplit('-').next().and_then(|n| n.parse().ok());
    number.unwrap_or(u64::MAX)
}
