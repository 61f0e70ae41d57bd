//! What Proxmox VE says of a cluster as a whole. Pure.

use serde_json::Value;

use crate::provider::compute::cloud::text;
use crate::provider::compute::cluster::{Cluster, Entry, Node, Storage};

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
            unmeasured: false,
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
