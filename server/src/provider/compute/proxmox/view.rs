//! A cluster as a whole: its nodes, what is stored where, and the templates machines are made from. Pure but for its types.

use serde_json::Value;

use crate::provider::compute::cloud::text;
use crate::provider::compute::proxmox::guest::Entry;

/// A cluster, as it is now.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Every guest that is no template, ours or not.
    pub guests: Vec<Entry>,
    /// Templates.
    pub templates: Vec<Template>,
}

/// A hypervisor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether it answers its cluster.
    pub online: bool,
    /// Processors.
    pub cpus: u32,
    /// How much of them is used, 0 to 1.
    pub cpu: f64,
    /// Memory it has.
    pub memory_mib: i64,
    /// Memory that is used.
    pub used_mib: i64,
    /// Seconds since it booted.
    pub uptime_seconds: i64,
    /// What it can store guests on.
    pub storages: Vec<Storage>,
}

/// A place for disks, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_gib: i64,
    /// How much of it is used.
    pub used_gib: i64,
    /// Whether other nodes share it.
    pub shared: bool,
}

/// Something machines are cloned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name, which images are mapped to.
    pub name: String,
    /// Its number.
    pub vmid: u32,
    /// Where it is. Machines of it are made there.
    pub node: String,
    /// Where its disk is, and theirs will be.
    pub storage: String,
    /// Its disk.
    pub disk_gib: u32,
}

fn amount(value: &Value, name: &str) -> i64 {
    value.get(name).and_then(Value::as_i64).unwrap_or_default()
}

impl Node {
    /// Reads one of the entries of `/cluster/resources`.
    pub fn read(value: &Value) -> Option<Self> {
        (text(value, "/type") == Some("node")).then_some(())?;
        Some(Self {
            name: text(value, "/node")?.to_owned(),
            online: text(value, "/status") == Some("online"),
            cpus: u32::try_from(amount(value, "maxcpu")).unwrap_or_default(),
            cpu: value.get("cpu").and_then(Value::as_f64).unwrap_or_default(),
            memory_mib: amount(value, "maxmem") >> 20,
            used_mib: amount(value, "mem") >> 20,
            uptime_seconds: amount(value, "uptime"),
            storages: Vec::new(),
        })
    }
}

impl Storage {
    /// Reads one of the entries of `/cluster/resources`: the node, and the storage. Only those that take disks of guests and are there.
    pub fn read(value: &Value) -> Option<(String, Self)> {
        let usable = text(value, "/type") == Some("storage")
            && text(value, "/status") == Some("available")
            && text(value, "/content").is_some_and(|c| c.split(',').any(|kind| kind == "images"));
        usable.then_some(())?;
        let storage = Self {
            name: text(value, "/storage")?.to_owned(),
            size_gib: amount(value, "maxdisk") >> 30,
            used_gib: amount(value, "disk") >> 30,
            shared: amount(value, "shared") == 1,
        };
        Some((text(value, "/node")?.to_owned(), storage))
    }
}

impl Cluster {
    /// Puts the entries of `/cluster/resources` together. Templates are added by whoever has read their configurations.
    pub fn read(resources: &[Value]) -> Self {
        let mut nodes: Vec<Node> = resources.iter().filter_map(Node::read).collect();
        for (node, storage) in resources.iter().filter_map(Storage::read) {
            if let Some(node) = nodes.iter_mut().find(|n| n.name == node) {
                node.storages.push(storage);
            }
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let guests = resources.iter().filter_map(Entry::read);
        Self {
            nodes,
            guests: guests.filter(|guest| !guest.template).collect(),
            templates: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cluster_is_read_from_one_list() {
        let resources = [
            json!({"type": "node", "node": "pve2", "status": "offline"}),
            json!({"type": "node", "node": "pve1", "status": "online", "maxcpu": 16, "cpu": 0.25, "maxmem": 64_i64 << 30, "mem": 8_i64 << 30, "uptime": 9}),
            json!({"type": "storage", "node": "pve1", "storage": "zfs", "status": "available", "content": "images,rootdir", "maxdisk": 100_i64 << 30,
                "disk": 40_i64 << 30, "shared": 0}),
            json!({"type": "storage", "node": "pve1", "storage": "iso", "status": "available", "content": "iso"}),
            json!({"type": "qemu", "node": "pve1", "vmid": 100, "name": "a", "status": "running", "maxcpu": 2, "maxmem": 1_i64 << 30, "maxdisk": 1_i64 << 30}),
            json!({"type": "qemu", "node": "pve1", "vmid": 9000, "name": "debian", "template": 1}),
            json!({"type": "lxc", "node": "pve1", "vmid": 101, "status": "running", "maxcpu": 1, "maxmem": 1_i64 << 29}),
            json!({"type": "sdn", "node": "pve1", "sdn": "localnetwork"}),
        ];
        let cluster = Cluster::read(&resources);
        let names: Vec<&str> = cluster.nodes.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["pve1", "pve2"]);
        let node = &cluster.nodes[0];
        assert_eq!(
            (node.online, node.memory_mib, node.used_mib),
            (true, 65_536, 8192)
        );
        assert_eq!(node.storages.len(), 1);
        let numbers: Vec<u32> = cluster.guests.iter().map(|g| g.vmid).collect();
        assert_eq!(
            numbers,
            [100, 101],
            "containers take room, templates do not"
        );
    }
}
