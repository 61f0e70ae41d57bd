//! What vCenter says of a machine, and what it is told to make of one. Pure.
//!
//! A machine is ours by its name. It is raw until it has a network adapter: templates have none, and it gets one after it was told its address, its password and its keys. So none is
//! ever on a network that does not know who it is.

use serde_json::{Value, json};

use crate::base::id::InstanceId;
use crate::provider::compute::cloud::{
    Root, instance_of, list, name_of, reference_of, text, user_data,
};
use crate::provider::compute::cluster::{Entry, Size};
use crate::provider::compute::{CreateMachine, Machine, Place, Power, ProviderError};

/// The first half of addresses of network adapters that VMware leaves to whoever sets them by hand.
const HARDWARE: [u8; 3] = [0x00, 0x50, 0x56];
/// How many of these there are: 22 bits.
const HARDWARE_COUNT: u32 = 1 << 22;

/// A number that vCenter calls by either of two spellings, as its versions do.
fn number(value: &Value, names: [&str; 2]) -> u32 {
    let found = names.iter().find_map(|name| value.pointer(name)?.as_u64());
    found.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// GiB of a number of bytes, rounded down.
pub fn gib(value: &Value) -> u32 {
    let bytes = value.as_u64().unwrap_or_default();
    u32::try_from(bytes >> 30).unwrap_or(u32::MAX)
}

fn power(value: &Value) -> Power {
    if text(value, "/power_state") == Some("POWERED_ON") {
        Power::Running
    } else {
        Power::Stopped
    }
}

/// A machine as `GET /vcenter/vm/{vm}` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// vCenter's name for it, for example `vm-1021`.
    pub id: String,
    /// Its own name.
    pub name: String,
    /// What it has.
    pub size: Size,
    /// Whether it is on.
    pub power: Power,
    /// Whether it has a network adapter.
    pub connected: bool,
    /// True while vCenter cannot show more of it than its name: it is being made, as a rule.
    pub busy: bool,
}

impl Seen {
    /// Reads one.
    ///
    /// # Errors
    /// `Unavailable` if it is none: nothing may be concluded from a reply that is not understood.
    pub fn read(id: &str, value: &Value) -> Result<Self, ProviderError> {
        let unreadable =
            || ProviderError::Unavailable(format!("what vCenter shows of {id} cannot be read"));
        let disks = value.get("disks").and_then(Value::as_object);
        // The one it boots from has the lowest number.
        let disk =
            disks.and_then(|disks| disks.iter().min_by_key(|(key, _)| key.parse::<u32>().ok()));
        let nics = value.get("nics").and_then(Value::as_object);
        Ok(Self {
            id: id.to_owned(),
            name: text(value, "/name").ok_or_else(unreadable)?.to_owned(),
            size: Size {
                vcpus: number(value, ["/cpu/count", "/cpu/count"]),
                memory_mib: number(value, ["/memory/size_MiB", "/memory/size_mib"]),
                disk_gib: disk.map_or(0, |(_, disk)| gib(&disk["capacity"])),
            },
            power: power(value),
            connected: !nics.ok_or_else(unreadable)?.is_empty(),
            busy: false,
        })
    }

    /// One of which a list shows no more than this.
    pub fn listed(id: &str, value: &Value) -> Self {
        Self {
            id: id.to_owned(),
            name: text(value, "/name").unwrap_or_default().to_owned(),
            size: Size {
                vcpus: 0,
                memory_mib: 0,
                disk_gib: 0,
            },
            power: power(value),
            connected: false,
            busy: true,
        }
    }

    /// The instance it is of, if it is one of ours.
    pub fn instance(&self) -> Option<InstanceId> {
        instance_of(&self.name)
    }

    /// The same as a machine. Its address is not vCenter's to tell: the guest would say it, and its owner is root there.
    pub fn machine(&self) -> Machine {
        Machine {
            provider_ref: self.id.clone(),
            reference: reference_of(&self.name),
            size: if self.connected {
                self.size.name()
            } else {
                String::new()
            },
            power: self.power,
            busy: self.busy,
            ipv4: None,
            ipv6: None,
        }
    }
}

/// A machine of a host as `GET /vcenter/vm?hosts={host}` lists it.
pub fn entry(node: &str, value: &Value) -> Entry {
    Entry {
        node: node.to_owned(),
        name: text(value, "/name").map(str::to_owned),
        machine: true,
        running: power(value) == Power::Running,
        vcpus: number(value, ["/cpu_count", "/cpu_count"]),
        memory_mib: number(value, ["/memory_size_MiB", "/memory_size_mib"]),
        ..Entry::default()
    }
}

/// A template of a content library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The library's item.
    pub item: String,
    /// Number of its disk.
    pub disk: String,
    /// Size of that.
    pub disk_gib: u32,
    /// Where that is, and where disks of machines will be.
    pub datastore: String,
}

impl Template {
    /// Reads one from `GET /vcenter/vm-template/library-items/{item}`.
    ///
    /// # Errors
    /// What keeps it from being one that machines are made from: it needs one disk and no network adapter.
    pub fn read(item: &str, value: &Value) -> Result<Self, &'static str> {
        let disks = value.get("disks").and_then(Value::as_object);
        let mut disks = disks.into_iter().flatten();
        let (Some((disk, shown)), None) = (disks.next(), disks.next()) else {
            return Err("it must have one disk");
        };
        let nics = value.get("nics").and_then(Value::as_object);
        if nics.is_none_or(|nics| !nics.is_empty()) {
            return Err("it must have no network adapter");
        }
        let datastore = text(shown, "/disk_storage/datastore").ok_or("its disk is nowhere")?;
        Ok(Self {
            item: item.to_owned(),
            disk: disk.clone(),
            disk_gib: gib(&shown["capacity"]),
            datastore: datastore.to_owned(),
        })
    }
}

/// What a machine is made from a template with: everything of its size. It stays off.
pub fn deployment(
    wish: &CreateMachine,
    size: Size,
    template: &Template,
    folder: &str,
    host: &str,
) -> Value {
    let mut hardware = json!({
        "cpu_update": {"num_cpus": size.vcpus, "num_cores_per_socket": size.vcpus},
        "memory_update": {"memory": size.memory_mib},
    });
    if size.disk_gib > template.disk_gib {
        let capacity = u64::from(size.disk_gib) << 30;
        hardware["disks_to_update"] = json!({&template.disk: {"capacity": capacity}});
    }
    json!({
        "name": name_of(wish.reference.instance),
        "vm_home_storage": {"datastore": template.datastore},
        "disk_storage": {"datastore": template.datastore},
        "placement": {"folder": folder, "host": host},
        "powered_on": false,
        "hardware_customization": hardware,
    })
}

/// The hardware address of a machine's network adapter. We choose it, so that cloud-init can be told which adapter has the machine's address before there is one. It follows from
/// that address, which no two machines have, so no two in one network of 10 bits or more have it either.
pub fn hardware_address(place: &Place) -> String {
    let [_, a, b, c] = (u32::from(place.address) % HARDWARE_COUNT).to_be_bytes();
    let [x, y, z] = HARDWARE;
    format!("{x:02x}:{y:02x}:{z:02x}:{a:02x}:{b:02x}:{c:02x}")
}

/// What cloud-init is told when the machine first boots. JSON is YAML.
pub fn customization(wish: &CreateMachine, place: &Place) -> Value {
    let metadata = json!({
        "instance-id": name_of(wish.reference.instance),
        "local-hostname": wish.boot.hostname,
        "network": {
            "version": 2,
            "ethernets": {
                "public": {
                    "match": {"macaddress": hardware_address(place)},
                    "dhcp4": false,
                    "addresses": [format!("{}/{}", place.address, place.prefix)],
                    "routes": [{"to": "0.0.0.0/0", "via": place.gateway}],
                    "nameservers": {"addresses": place.nameservers},
                },
            },
        },
    });
    let cloudinit = json!({
        "metadata": metadata.to_string(),
        "userdata": user_data(&wish.boot, Root::ByCloudInit),
    });
    json!({
        "spec": {
            "configuration_spec": {"cloud_config": {"type": "CLOUDINIT", "cloudinit": cloudinit}},
            "global_DNS_settings": {},
            "interfaces": [],
        },
    })
}

/// The network adapter that connects a machine to a port group, from `GET /vcenter/network`.
///
/// # Errors
/// `Unavailable` if there is not exactly one of that name, or it is of a kind that no adapter can be connected to.
pub fn adapter(networks: &Value, place: &Place) -> Result<Value, ProviderError> {
    let of_name = list(networks, "")?;
    let [network] = of_name else {
        return Err(ProviderError::Unavailable(format!(
            "vCenter has {} networks named {}",
            of_name.len(),
            place.bridge
        )));
    };
    let kind = text(network, "/type").unwrap_or_default();
    let id = text(network, "/network").unwrap_or_default();
    if !matches!(kind, "STANDARD_PORTGROUP" | "DISTRIBUTED_PORTGROUP") || id.is_empty() {
        return Err(ProviderError::Unavailable(format!(
            "{} is no port group",
            place.bridge
        )));
    }
    Ok(json!({
        "type": "VMXNET3",
        "mac_type": "MANUAL",
        "mac_address": hardware_address(place),
        "backing": {"type": kind, "network": id},
        "start_connected": true,
    }))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
