//! What is asked of one guest of a simulated Proxmox VE: its configuration, its disk, its power.

use http::Method;
use serde_json::{Map, Value, json};

use super::{Call, STORAGE, data, decoded, disk, failure, invalid, shown_on, task};
use crate::compute::Said;
use crate::compute::faults::Verb;
use crate::compute::machines::Cloud;

/// Does what is asked of a guest that is there.
pub(super) fn obey(cloud: &mut Cloud, node: &str, vmid: u64, rest: &[&str], call: &Call) -> Said {
    let config = cloud.proxmox.guests[&vmid].1.clone();
    let busy = cloud
        .machines
        .get(&vmid)
        .filter(|vm| vm.busy())
        .map(|vm| vm.work);
    let lock = (busy == Some(Verb::Create)).then_some("clone");
    if call.method == Method::GET {
        let mut shown: Map<String, Value> = match rest {
            ["status", "current"] => {
                let on = cloud.machines.get(&vmid).is_some_and(shown_on);
                let status = if on { "running" } else { "stopped" };
                [
                    ("status".to_owned(), json!(status)),
                    ("vmid".to_owned(), json!(vmid)),
                ]
                .into_iter()
                .collect()
            }
            // Passwords are not shown.
            ["config"] => config
                .into_iter()
                .map(|(name, value)| {
                    let value = if name == "cipassword" {
                        "**********".to_owned()
                    } else {
                        value
                    };
                    (name, json!(value))
                })
                .collect(),
            _ => return invalid(cloud, "path"),
        };
        if let Some(lock) = lock {
            shown.insert("lock".to_owned(), json!(lock));
        }
        return data(Value::Object(shown));
    }
    if rest == ["vncproxy"] {
        return super::console::offer(cloud, node, vmid, call);
    }
    if lock.is_some() {
        return failure("VM is locked (clone)");
    }
    if busy.is_some() {
        return failure(&format!(
            "can't lock file '/var/lock/qemu-server/lock-{vmid}.conf' - got timeout"
        ));
    }
    match (call.method.as_str(), rest) {
        ("PUT" | "POST", ["config"]) => configure(cloud, node, vmid, call),
        ("PUT", ["resize"]) => grow(cloud, node, vmid, call),
        ("POST", ["status", verb]) => power(cloud, node, vmid, verb),
        ("POST", ["agent", "set-user-password"]) => {
            let agent = cloud.proxmox.agent;
            let vm = cloud.machines.get_mut(&vmid).expect("it was just seen");
            if !vm.on {
                return failure(&format!("VM {vmid} is not running"));
            }
            if !agent {
                return failure("QEMU guest agent is not running");
            }
            vm.password = call.form.get("password").cloned();
            vm.history.push(Verb::ResetPassword);
            data(Value::Null)
        }
        ("DELETE", []) => {
            if cloud.machines.get(&vmid).is_some_and(|vm| vm.on) {
                return failure(&format!("VM {vmid} is running - destroy failed"));
            }
            let said = task(cloud, node, "qmdestroy", vmid);
            cloud.machines.remove(&vmid);
            cloud.proxmox.guests.remove(&vmid);
            cloud.proxmox.walls.remove(&vmid);
            said
        }
        _ => invalid(cloud, "path"),
    }
}

fn power(cloud: &mut Cloud, node: &str, vmid: u64, verb: &str) -> Said {
    let config = cloud.proxmox.guests[&vmid].1.clone();
    let vm = cloud.machines.get_mut(&vmid).expect("it was just seen");
    let (done, kind) = match verb {
        "start" => (Verb::PowerOn, "qmstart"),
        "stop" => (Verb::PowerOff, "qmstop"),
        "shutdown" => (Verb::Shutdown, "qmshutdown"),
        "reboot" => (Verb::Reboot, "qmreboot"),
        _ => return invalid(cloud, "path"),
    };
    if done == Verb::PowerOn && vm.on {
        return failure(&format!("VM {vmid} already running"));
    }
    if done != Verb::PowerOn && !vm.on {
        return failure(&format!("VM {vmid} not running"));
    }
    vm.on = matches!(done, Verb::PowerOn | Verb::Reboot);
    vm.usage.restart();
    if vm.on && config.get("cipassword") != vm.user_data.as_ref() {
        // cloud-init sees another instance, and begins anew.
        vm.user_data = config.get("cipassword").cloned();
        vm.password.clone_from(&vm.user_data);
        let keys = config
            .get("sshkeys")
            .map(|keys| decoded(keys))
            .unwrap_or_default();
        vm.keys = keys.lines().map(str::to_owned).collect();
    }
    vm.work = done;
    vm.history.push(done);
    task(cloud, node, kind, vmid)
}

fn grow(cloud: &mut Cloud, node: &str, vmid: u64, call: &Call) -> Said {
    let size = call
        .form
        .get("size")
        .and_then(|s| s.strip_suffix('G')?.parse::<u32>().ok());
    let (Some(size), Some("scsi0")) = (size, call.form.get("disk").map(String::as_str)) else {
        return invalid(cloud, "size");
    };
    let (_, config) = cloud
        .proxmox
        .guests
        .get_mut(&vmid)
        .expect("it was just seen");
    let old = disk(config);
    if size < old {
        return failure("shrinking disks is not supported");
    }
    let drive = config["scsi0"].replace(&format!("size={old}G"), &format!("size={size}G"));
    config.insert("scsi0".to_owned(), drive);
    cloud
        .machines
        .get_mut(&vmid)
        .expect("it was just seen")
        .disk = size;
    task(cloud, node, "resize", vmid)
}

/// Options a change may have, of those the platform has a use for.
const OPTIONS: [&str; 16] = [
    "name",
    "cores",
    "sockets",
    "memory",
    "agent",
    "onboot",
    "net0",
    "ipconfig0",
    "nameserver",
    "tags",
    "ciuser",
    "cipassword",
    "sshkeys",
    "scsi0",
    "delete",
    "description",
];

fn configure(cloud: &mut Cloud, node: &str, vmid: u64, call: &Call) -> Said {
    let unknown = call
        .form
        .iter()
        .find(|(k, v)| !OPTIONS.contains(&k.as_str()) || v.is_empty());
    if let Some((unknown, _)) = unknown {
        return invalid(cloud, &unknown.clone());
    }
    let tags = call
        .form
        .get("tags")
        .map(String::as_str)
        .unwrap_or_default();
    let of_tags = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-+.;".contains(c);
    if !tags.chars().all(of_tags) {
        return invalid(cloud, "tags");
    }
    if call
        .form
        .get("sshkeys")
        .is_some_and(|keys| keys.contains(' ') || keys.contains('+'))
    {
        return invalid(cloud, "sshkeys");
    }
    let verb = call.verb();
    let (_, config) = cloud
        .proxmox
        .guests
        .get_mut(&vmid)
        .expect("it was just seen");
    for name in call
        .form
        .get("delete")
        .into_iter()
        .flat_map(|d| d.split(','))
    {
        config.remove(name);
    }
    for (name, value) in call.form.iter().filter(|(name, _)| *name != "delete") {
        if name == "scsi0" {
            let old = config["scsi0"]
                .split(',')
                .next()
                .unwrap_or_default()
                .to_owned();
            let next = (0..)
                .map(|n| format!("unused{n}"))
                .find(|key| !config.contains_key(key));
            config.insert(next.expect("there is no end"), old);
            let drive = format!("{STORAGE}:vm-{vmid}-disk-1,discard=on,size=3G");
            config.insert("scsi0".to_owned(), drive);
        } else {
            config.insert(name.clone(), value.clone());
        }
    }
    let ip = config
        .get("ipconfig0")
        .and_then(|c| c.strip_prefix("ip=")?.split('/').next()?.parse().ok());
    let size = tags.split(';').find_map(|t| t.strip_prefix("sewa-size-"));
    let vm = cloud.machines.get_mut(&vmid).expect("it was just seen");
    vm.told = ip;
    if let Some(size) = size {
        size.clone_into(&mut vm.size);
    }
    match verb {
        Some(Verb::Rebuild) => {
            vm.work = Verb::Rebuild;
            vm.disk = 3;
            vm.history.push(Verb::Rebuild);
            task(cloud, node, "qmconfig", vmid)
        }
        Some(Verb::Resize) => {
            vm.history.push(Verb::Resize);
            data(Value::Null)
        }
        _ => data(Value::Null),
    }
}
