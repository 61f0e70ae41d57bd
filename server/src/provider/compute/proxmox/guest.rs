//! What Proxmox VE says of a guest, and what we make of it. Pure.
//!
//! A guest is ours by a tag that holds our reference; it gets that tag together with everything else it is to be, in one change of its configuration. Until then it
//! is raw: a copy of a template under our reference as its name. A second tag holds the name of its size, a third one says which rebuild made its disk.

use std::net::Ipv4Addr;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::base::id::InstanceId;
use crate::provider::compute::cloud::{escaped, instance_of, name_of, reference_of, text};
use crate::provider::compute::cluster::{Entry, Size};
use crate::provider::compute::{CreateMachine, Machine, Place, Power};

/// Before the name of a size, in a tag.
const SIZE_TAG: &str = "sewa-size-";
/// Before the mark of a rebuild, in a tag.
const DISK_TAG: &str = "sewa-disk-";
/// A form, as bodies are sent.
pub fn form(fields: &[(&str, String)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    pairs.join("&")
}

fn whole(value: &Value, name: &str) -> Option<u64> {
    let value = value.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Tags are one text, with semicolons between; older versions write commas or blanks.
pub fn tags(value: &Value) -> Vec<String> {
    text(value, "/tags")
        .unwrap_or_default()
        .split([';', ',', ' '])
        .filter(|tag| !tag.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Entry {
    /// Reads one; `None` if it is no guest.
    pub fn read(value: &Value) -> Option<Self> {
        let kind = text(value, "/type")?;
        if kind != "qemu" && kind != "lxc" {
            return None;
        }
        Some(Self {
            vmid: narrow(whole(value, "vmid")?),
            node: text(value, "/node")?.to_owned(),
            name: text(value, "/name").map(str::to_owned),
            tags: tags(value),
            template: whole(value, "template") == Some(1),
            machine: kind == "qemu",
            running: text(value, "/status") == Some("running"),
            locked: text(value, "/lock").is_some_and(|lock| !lock.is_empty()),
            vcpus: narrow(whole(value, "maxcpu").unwrap_or_default()),
            memory_mib: narrow(whole(value, "maxmem").unwrap_or_default() >> 20),
            disk_gib: narrow(whole(value, "maxdisk").unwrap_or_default() >> 30),
        })
    }

    /// The instance it is of, if it is one of ours.
    pub fn instance(&self) -> Option<InstanceId> {
        owner(&self.tags, self.name.as_deref().unwrap_or_default())
    }

    /// The same as a machine. Its address is not in the list.
    pub fn machine(&self) -> Machine {
        Machine {
            provider_ref: self.vmid.to_string(),
            reference: self.instance().map_or_else(
                || self.name.clone().unwrap_or_default(),
                |id| id.to_string(),
            ),
            size: size_of(
                &self.tags,
                Size {
                    vcpus: self.vcpus,
                    memory_mib: self.memory_mib,
                    disk_gib: self.disk_gib,
                },
            ),
            power: if self.running {
                Power::Running
            } else {
                Power::Stopped
            },
            busy: self.locked,
            ipv4: None,
            ipv6: None,
        }
    }
}

/// The instance of a guest by its tags, or by its name while it is raw.
fn owner(tags: &[String], name: &str) -> Option<InstanceId> {
    tags.iter()
        .find_map(|tag| instance_of(tag))
        .or_else(|| instance_of(name))
}

/// The name of the size, which is empty for a raw guest. A tag counts as long as the guest is what it says; its disk may be smaller, where it was not to grow.
fn size_of(tags: &[String], seen: Size) -> String {
    if !tags.iter().any(|tag| instance_of(tag).is_some()) {
        return String::new();
    }
    let tagged = tags.iter().find_map(|tag| tag.strip_prefix(SIZE_TAG));
    let fits = tagged.filter(|name| {
        Size::parse(name)
            .is_ok_and(|size| (size.vcpus, size.memory_mib) == (seen.vcpus, seen.memory_mib))
    });
    fits.map_or_else(|| seen.name(), str::to_owned)
}

/// A guest, as its node shows it now.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Where it is.
    pub node: String,
    /// Its number.
    pub vmid: u32,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its configuration.
    pub config: Value,
    /// What it is.
    pub machine: Machine,
}

impl Seen {
    /// Puts together what its node says: its status, its configuration and whether a task is under way on it.
    pub fn new(node: &str, vmid: u32, status: &Value, config: &Value, at_work: bool) -> Self {
        let tags = tags(config);
        let name = text(config, "/name").unwrap_or_default();
        let locked = [status, config]
            .iter()
            .any(|v| text(v, "/lock").is_some_and(|lock| !lock.is_empty()));
        let seen = Size {
            vcpus: narrow(
                whole(config, "cores").unwrap_or(1) * whole(config, "sockets").unwrap_or(1),
            ),
            memory_mib: narrow(whole(config, "memory").unwrap_or(512)),
            disk_gib: boot_disk(config).map_or(0, |disk| disk.gib),
        };
        let machine = Machine {
            provider_ref: vmid.to_string(),
            reference: owner(&tags, name).map_or_else(|| reference_of(name), |id| id.to_string()),
            size: size_of(&tags, seen),
            power: if text(status, "/status") == Some("running") {
                Power::Running
            } else {
                Power::Stopped
            },
            busy: locked || at_work,
            ipv4: address(config),
            ipv6: None,
        };
        Self {
            node: node.to_owned(),
            vmid,
            tags,
            config: config.clone(),
            machine,
        }
    }

    /// Whether it is one of ours. What is not must not be touched, whatever number it has.
    pub fn is_ours(&self) -> bool {
        owner(&self.tags, text(&self.config, "/name").unwrap_or_default()).is_some()
    }

    /// Whether it still is a bare copy of its template.
    pub fn is_raw(&self) -> bool {
        self.machine.is_raw()
    }

    /// Its tags, with another size.
    pub fn tags_with_size(&self, size: &str) -> String {
        self.tags_with(SIZE_TAG, size)
    }

    /// Its tags, with the mark of a rebuild.
    pub fn tags_with_disk(&self, mark: &str) -> String {
        self.tags_with(DISK_TAG, mark)
    }

    fn tags_with(&self, prefix: &str, value: &str) -> String {
        let mut tags: Vec<String> = self
            .tags
            .iter()
            .filter(|tag| !tag.starts_with(prefix))
            .cloned()
            .collect();
        tags.push(format!("{prefix}{value}"));
        tags.join(";")
    }

    /// Whether its disk was made by the rebuild of this mark.
    pub fn has_disk_of(&self, mark: &str) -> bool {
        self.tags
            .iter()
            .any(|tag| tag.strip_prefix(DISK_TAG) == Some(mark))
    }

    /// Disks that were replaced, and wait to be removed.
    pub fn unused(&self) -> Vec<String> {
        let keys = self.config.as_object().into_iter().flat_map(|o| o.keys());
        keys.filter(|key| key.starts_with("unused"))
            .cloned()
            .collect()
    }
}

/// The mark of a rebuild: different for each, because each has its own password, and of no use to whoever would guess that password.
pub fn mark_of(password: &SecretString) -> String {
    let digest = Sha256::digest(format!("rebuild {}", password.expose_secret()));
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The disk a guest boots from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootDisk {
    /// Its place in the configuration, for example `scsi0`.
    pub key: String,
    /// Its volume, for example `local-zfs:vm-100-disk-0`.
    pub volume: String,
    /// Options besides its size, as they stand there.
    pub options: Vec<String>,
    /// Its size, rounded down.
    pub gib: u32,
}

impl BootDisk {
    /// Where it is stored.
    pub fn storage(&self) -> &str {
        self.volume.split(':').next().unwrap_or_default()
    }
}

/// The disk a guest boots from, if it has one.
pub fn boot_disk(config: &Value) -> Option<BootDisk> {
    let order = text(config, "/boot").and_then(|boot| boot.strip_prefix("order="));
    let mut keys: Vec<&str> = order.unwrap_or_default().split(';').collect();
    keys.extend(text(config, "/bootdisk"));
    keys.extend(["scsi0", "virtio0", "sata0", "ide0"]);
    keys.into_iter().find_map(|key| {
        let mut parts = text(config, &format!("/{key}"))?.split(',');
        let volume = parts.next()?;
        let options: Vec<&str> = parts.collect();
        if !volume.contains(':') || options.contains(&"media=cdrom") || key.starts_with("net") {
            return None;
        }
        let size = options.iter().find_map(|o| o.strip_prefix("size="));
        Some(BootDisk {
            key: key.to_owned(),
            volume: volume.to_owned(),
            gib: size.map_or(0, gib),
            options: options
                .iter()
                .filter(|o| !o.starts_with("size="))
                .map(|o| (*o).to_owned())
                .collect(),
        })
    })
}

/// Sizes of disks have a letter: `2252M`, `10G`, `1T`.
fn gib(size: &str) -> u32 {
    let (number, shift) = match size.as_bytes().last() {
        Some(b'T') => (&size[..size.len() - 1], 40),
        Some(b'G') => (&size[..size.len() - 1], 30),
        Some(b'M') => (&size[..size.len() - 1], 20),
        Some(b'K') => (&size[..size.len() - 1], 10),
        _ => (size, 0),
    };
    let bytes = number.parse::<u64>().unwrap_or_default();
    narrow(
        (u128::from(bytes) << shift >> 30)
            .try_into()
            .unwrap_or(u64::MAX),
    )
}

/// The address that a guest was given: `ip=203.0.113.7/24,gw=203.0.113.1`.
fn address(config: &Value) -> Option<Ipv4Addr> {
    let ip = text(config, "/ipconfig0")?
        .split(',')
        .find_map(|part| part.strip_prefix("ip="))?;
    ip.split('/').next()?.parse().ok()
}

/// Password and keys for cloud-init. Keys are escaped once more within the form.
pub fn credentials(password: &SecretString, keys: &[String]) -> [(&'static str, String); 3] {
    [
        ("ciuser", "root".to_owned()),
        ("cipassword", password.expose_secret().to_owned()),
        ("sshkeys", escaped(&keys.join("\n"))),
    ]
}

/// Everything that makes a raw guest what was ordered.
pub fn whole_config(
    wish: &CreateMachine,
    place: &Place,
    size: Size,
) -> Vec<(&'static str, String)> {
    let boot = &wish.boot;
    let mut net = format!("virtio,bridge={}", place.bridge);
    if place.vlan > 0 {
        net.push_str(&format!(",tag={}", place.vlan));
    }
    let mut fields = vec![
        // cloud-init takes the host name from it.
        ("name", boot.hostname.clone()),
        ("cores", size.vcpus.to_string()),
        ("sockets", "1".to_owned()),
        ("memory", size.memory_mib.to_string()),
        ("agent", "1".to_owned()),
        ("onboot", "1".to_owned()),
        ("net0", net),
        (
            "ipconfig0",
            format!("ip={}/{},gw={}", place.address, place.prefix, place.gateway),
        ),
        (
            "tags",
            format!(
                "{};{SIZE_TAG}{}",
                name_of(wish.reference.instance),
                wish.size
            ),
        ),
    ];
    if !place.nameservers.is_empty() {
        let servers: Vec<String> = place.nameservers.iter().map(Ipv4Addr::to_string).collect();
        fields.push(("nameserver", servers.join(" ")));
    }
    fields.extend(
        credentials(&boot.password, &boot.ssh_keys)
            .into_iter()
            .filter(given),
    );
    fields
}

/// An option that is empty is not sent: Proxmox takes no empty ones.
pub fn given(field: &(&str, String)) -> bool {
    !field.1.is_empty()
}

#[cfg(test)]
#[path = "guest_tests.rs"]
mod tests;
