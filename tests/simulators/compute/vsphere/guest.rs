//! What is asked of one machine of a simulated vCenter: what it has, its power, and what its guest is told.

use std::net::Ipv4Addr;
use std::time::Instant;

use http::Method;
use serde_json::{Map, Value, json};

use super::{Call, Guest, done, failure, invalid};
use crate::compute::Said;
use crate::compute::faults::Verb;
use crate::compute::guest::boot;
use crate::compute::machines::{Cloud, Vm, WORK};

impl Guest {
    /// Its size, as the platform names it.
    pub(super) fn size(&self) -> String {
        format!("{}c-{}m-{}g", self.vcpus, self.memory, self.disk)
    }
}

/// On until a guest that shuts down has done so.
pub(super) fn power_state(vm: &Vm) -> &'static str {
    if vm.on || (vm.work == Verb::Shutdown && vm.busy()) {
        "POWERED_ON"
    } else {
        "POWERED_OFF"
    }
}

/// Does what is asked of a machine that is there.
pub(super) fn obey(cloud: &mut Cloud, id: u64, rest: &[&str], call: &Call) -> Said {
    let vm = &cloud.machines[&id];
    let being_made = vm.work == Verb::Create && vm.busy();
    let is_on = power_state(vm) == "POWERED_ON";
    if call.method == Method::GET && rest.is_empty() {
        if being_made {
            return failure(503, "SERVICE_UNAVAILABLE");
        }
        return done(shown(vm, &cloud.vsphere.guests[&id]));
    }
    if being_made {
        return failure(400, "RESOURCE_BUSY");
    }
    match (call.method.as_str(), rest, call.action()) {
        ("POST", ["power"], verb) => power(cloud, id, is_on, verb),
        ("POST", ["guest", "power"], verb) => ask_guest(cloud, id, is_on, verb),
        // What follows is for machines that are off.
        ("DELETE" | "PUT" | "PATCH", ..) if is_on => failure(400, "NOT_ALLOWED_IN_CURRENT_STATE"),
        ("DELETE", [], _) => {
            cloud.machines.remove(&id);
            cloud.vsphere.guests.remove(&id);
            done(Value::Null)
        }
        ("PUT", ["guest", "customization"], _) => customize(cloud, id, &call.body),
        ("POST", ["hardware", "ethernet"], _) => connect(cloud, id, &call.body),
        ("PATCH", ["hardware", what], _) => resize(cloud, id, what, &call.body),
        _ => invalid(cloud, "path"),
    }
}

fn shown(vm: &Vm, guest: &Guest) -> Value {
    let nics: Map<String, Value> = guest
        .nics
        .iter()
        .zip(4000..)
        .map(|(mac, key)| {
            let nic = json!({"label": "Network adapter 1", "type": "VMXNET3", "mac_type": "MANUAL", "mac_address": mac});
            (key.to_string(), nic)
        })
        .collect();
    let disk = json!({"label": "Hard disk 1", "type": "SCSI", "capacity": u64::from(guest.disk) * super::GIB,
        "backing": {"type": "VMDK_FILE", "vmdk_file": format!("[san] {0}/{0}.vmdk", vm.label)}});
    json!({"name": vm.label, "power_state": power_state(vm), "cpu": {"count": guest.vcpus, "cores_per_socket": guest.vcpus},
        "memory": {"size_MiB": guest.memory}, "disks": {"2000": disk}, "nics": nics, "guest_OS": "DEBIAN_12_64"})
}

fn power(cloud: &mut Cloud, id: u64, is_on: bool, verb: &str) -> Said {
    let (work, on) = match verb {
        "start" => (Verb::PowerOn, true),
        "stop" => (Verb::PowerOff, false),
        "reset" => (Verb::Reboot, true),
        _ => return invalid(cloud, "action"),
    };
    if verb == "reset" && !is_on {
        return failure(400, "NOT_ALLOWED_IN_CURRENT_STATE");
    }
    if verb != "reset" && is_on == on {
        return failure(400, "ALREADY_IN_DESIRED_STATE");
    }
    let vm = cloud.machines.get_mut(&id).expect("it was just seen");
    vm.on = on;
    vm.work = work;
    vm.done_at = Instant::now();
    vm.history.push(work);
    if verb == "start" {
        first_boot(cloud, id);
    }
    done(Value::Null)
}

/// What cloud-init makes of what waits for it.
fn first_boot(cloud: &mut Cloud, id: u64) {
    let guest = cloud.vsphere.guests.get_mut(&id).expect("it has one");
    let vm = cloud.machines.get_mut(&id).expect("it was just seen");
    let Some((metadata, user_data)) = guest.pending.take() else {
        return;
    };
    let made = boot(&user_data);
    vm.password = made.password;
    vm.keys = made.keys;
    vm.user_data = Some(user_data);
    // An adapter that is not named has no address.
    let ethernets = metadata["network"]["ethernets"].as_object();
    let own = ethernets.and_then(|all| {
        all.values().find(|e| {
            let mac = e["match"]["macaddress"].as_str();
            mac.is_some_and(|mac| guest.nics.iter().any(|nic| nic == mac))
        })
    });
    let address = own.and_then(|e| e["addresses"][0].as_str()?.split('/').next()?.parse().ok());
    vm.told = Some(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
}

fn ask_guest(cloud: &mut Cloud, id: u64, is_on: bool, verb: &str) -> Said {
    if !is_on {
        return failure(400, "NOT_ALLOWED_IN_CURRENT_STATE");
    }
    if !cloud.vsphere.tools {
        return failure(503, "SERVICE_UNAVAILABLE");
    }
    let work = match verb {
        "shutdown" => Verb::Shutdown,
        "reboot" => Verb::Reboot,
        _ => return invalid(cloud, "action"),
    };
    let vm = cloud.machines.get_mut(&id).expect("it was just seen");
    vm.on = work == Verb::Reboot;
    vm.work = work;
    vm.done_at = Instant::now() + WORK;
    vm.history.push(work);
    done(Value::Null)
}

fn customize(cloud: &mut Cloud, id: u64, body: &Value) -> Said {
    let spec = &body["spec"];
    let config = &spec["configuration_spec"]["cloud_config"];
    let whole = config["type"] == "CLOUDINIT"
        && spec["global_DNS_settings"].is_object()
        && spec["interfaces"] == json!([]);
    let told = &config["cloudinit"];
    let metadata = told["metadata"].as_str().map(serde_json::from_str::<Value>);
    let (Some(Ok(metadata)), Some(user_data), true) = (metadata, told["userdata"].as_str(), whole)
    else {
        return invalid(cloud, "customization");
    };
    if metadata["instance-id"].as_str().is_none_or(str::is_empty) {
        return invalid(cloud, "instance-id");
    }
    let guest = cloud.vsphere.guests.get_mut(&id).expect("it has one");
    guest.pending = Some((metadata, user_data.to_owned()));
    done(Value::Null)
}

fn connect(cloud: &mut Cloud, id: u64, nic: &Value) -> Said {
    let mac = nic["mac_address"].as_str().unwrap_or_default().to_owned();
    let manual = mac.starts_with("00:50:56:") && mac.as_bytes().get(9).is_some_and(|c| *c < b'4');
    let taken = cloud.vsphere.guests.values().any(|g| g.nics.contains(&mac));
    let connected =
        nic["backing"] == json!({"type": "DISTRIBUTED_PORTGROUP", "network": "dvportgroup-30"});
    if !manual || taken || !connected || nic["type"] != "VMXNET3" || nic["mac_type"] != "MANUAL" {
        return invalid(cloud, "ethernet");
    }
    let guest = cloud.vsphere.guests.get_mut(&id).expect("it has one");
    guest.nics.push(mac);
    Said {
        status: 201,
        ..done(json!("4000"))
    }
}

fn resize(cloud: &mut Cloud, id: u64, what: &str, body: &Value) -> Said {
    let number = |name: &str| body[name].as_u64();
    let before = cloud.vsphere.guests[&id].clone();
    let after = match (
        what,
        number("size_MiB"),
        number("count"),
        number("cores_per_socket"),
    ) {
        ("memory", Some(memory), ..) if memory % 4 == 0 => Guest { memory, ..before },
        ("cpu", _, Some(vcpus), Some(cores)) if vcpus % cores == 0 => Guest { vcpus, ..before },
        _ => return invalid(cloud, "hardware"),
    };
    let vm = cloud.machines.get_mut(&id).expect("it was just seen");
    vm.size = after.size();
    vm.history.push(Verb::Resize);
    cloud.vsphere.guests.insert(id, after);
    done(Value::Null)
}
