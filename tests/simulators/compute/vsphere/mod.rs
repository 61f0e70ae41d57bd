//! The dialect of vCenter: sessions, JSON that is a text or a list by itself, calls that are done when they are answered, and failures with a kind.

mod guest;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::backups::Backups;
use super::faults::Verb;
use super::machines::{Answer, Cloud, Order, Vm, WORK};
use super::usage::Usage;
use super::{Asked, Said};

/// Who signs in.
const USER: &str = "sewa@vsphere.local";
const FOLDER: &str = "group-v3";
const ITEM: &str = "0f1d6c5e-0000-4000-8000-000000000001";
/// The disk of the template, in GiB.
const TEMPLATE_DISK: u32 = 3;
const GIB: u64 = 1 << 30;

/// What only vCenter has of a cloud.
#[derive(Debug)]
pub struct Center {
    /// Hosts by what vCenter calls them, with their names and whether they are connected.
    pub hosts: BTreeMap<String, (String, bool)>,
    /// What machines have and are told.
    pub guests: BTreeMap<u64, Guest>,
    /// False if no guest runs VMware Tools.
    pub tools: bool,
    /// False if the user may not see the folder, nor what is in it.
    pub visible: bool,
    /// True if the template has a network adapter.
    pub connected_template: bool,
    /// Sessions there were, the present ones among them. Secrets.
    pub begun: Vec<String>,
    sessions: BTreeSet<String>,
}

/// What a machine has and is told.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    host: String,
    vcpus: u64,
    memory: u64,
    disk: u32,
    /// Hardware addresses of its network adapters.
    nics: Vec<String>,
    /// Metadata and user data that wait for the next start.
    pending: Option<(Value, String)>,
}

impl Default for Center {
    fn default() -> Self {
        let host = |id: &str, name: &str| (id.to_owned(), (name.to_owned(), true));
        Self {
            hosts: [host("host-10", "esx1"), host("host-11", "esx2")].into(),
            guests: BTreeMap::new(),
            tools: true,
            visible: true,
            connected_template: false,
            begun: Vec::new(),
            sessions: BTreeSet::new(),
        }
    }
}

impl Center {
    /// Ends every session, as vCenter does with those that are idle.
    pub fn end_sessions(&mut self) {
        self.sessions.clear();
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }
}

/// The credentials that go with a token.
pub fn credential(token: &str) -> String {
    format!("{USER}:{token}")
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    body: Value,
}

/// What is asked.
pub fn read(ask: &Asked) -> Order {
    let path = ask.path.trim_start_matches("/api/");
    Order::Vsphere(Call {
        method: ask.method.clone(),
        path: path.split('/').map(str::to_owned).collect(),
        query: ask.query.clone(),
        body: ask.body.clone(),
    })
}

/// How it is answered, where it is not vCenter's own words.
pub fn write(answer: &Answer) -> Said {
    match answer {
        Answer::Said(said) => said.clone(),
        Answer::Busy => failure(400, "RESOURCE_BUSY"),
        Answer::Full => failure(400, "UNABLE_TO_ALLOCATE_RESOURCE"),
        Answer::TooMany => Said {
            status: 429,
            body: Value::Null,
            reason: None,
        },
        _ => failure(500, "INTERNAL_SERVER_ERROR"),
    }
}

fn failure(status: u16, kind: &str) -> Said {
    let message = json!({"id": "com.vmware.vapi", "default_message": format!("the simulator says {kind}"), "args": []});
    Said {
        status,
        body: json!({"error_type": kind, "messages": [message]}),
        reason: None,
    }
}

fn done(body: Value) -> Said {
    let status = if body.is_null() { 204 } else { 200 };
    Said {
        status,
        body,
        reason: None,
    }
}

fn invalid(cloud: &mut Cloud, what: &str) -> Said {
    cloud.invalid.push(format!("{what} is wrong"));
    failure(400, "INVALID_ARGUMENT")
}

/// What is answered before anything is done: about sessions, and to whoever has none.
pub fn door(cloud: &mut Cloud, ask: &Asked, who: &str) -> Option<Said> {
    let outside = failure(401, "UNAUTHENTICATED");
    let inside = cloud.vsphere.sessions.contains(who);
    match (ask.method.as_str(), ask.path.as_str()) {
        ("POST", "/api/session") => {
            let expected = format!("Basic {}", STANDARD.encode(credential(&cloud.token)));
            if who != expected {
                return Some(outside);
            }
            let session = format!("planted-session-{:032x}", cloud.vsphere.begun.len() + 1);
            cloud.vsphere.begun.push(session.clone());
            cloud.vsphere.sessions.insert(session.clone());
            Some(Said {
                status: 201,
                ..done(json!(session))
            })
        }
        ("DELETE", "/api/session") if inside => {
            cloud.vsphere.sessions.remove(who);
            Some(done(Value::Null))
        }
        _ => (!inside).then_some(outside),
    }
}

fn number(id: &str) -> Option<u64> {
    id.strip_prefix("vm-")?.parse().ok()
}

impl Call {
    /// Whether it makes a machine.
    pub fn is_deployment(&self) -> bool {
        self.verb() == Some(Verb::Create)
    }

    fn action(&self) -> &str {
        self.query.get("action").map_or("", String::as_str)
    }

    fn vm(&self) -> Option<u64> {
        let of_vm = self.path.get(1)? == "vm";
        of_vm.then(|| number(self.path.get(2)?))?
    }

    fn verb(&self) -> Option<Verb> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let method = self.method.as_str();
        Some(match (method, &path[..], self.action()) {
            ("POST", ["vcenter", "vm-template", "library-items", _], "deploy") => Verb::Create,
            ("POST", ["vcenter", "vm", _, "power"], "start") => Verb::PowerOn,
            ("POST", ["vcenter", "vm", _, "power"], "stop") => Verb::PowerOff,
            ("POST", ["vcenter", "vm", _, "guest", "power"], "shutdown") => Verb::Shutdown,
            ("POST", ["vcenter", "vm", _, "guest", "power"], "reboot") => Verb::Reboot,
            ("PATCH", ["vcenter", "vm", _, "hardware", _], _) => Verb::Resize,
            ("DELETE", ["vcenter", "vm", _], _) => Verb::Delete,
            _ => return None,
        })
    }

    /// The machine it is about, by its label, and what is asked of it.
    pub(super) fn target(&self, cloud: &Cloud) -> Option<(String, Verb)> {
        let verb = self.verb()?;
        if verb == Verb::Create {
            return Some((self.body["name"].as_str()?.to_owned(), verb));
        }
        Some((cloud.machines.get(&self.vm()?)?.label.clone(), verb))
    }

    /// Its machine is gone.
    pub(super) fn lose(&self, cloud: &mut Cloud) {
        let made = self.body["name"].as_str();
        let lost = self.vm().or_else(|| {
            let mut machines = cloud.machines.values();
            Some(machines.find(|vm| Some(vm.label.as_str()) == made)?.id)
        });
        if let Some(id) = lost {
            cloud.machines.remove(&id);
            cloud.vsphere.guests.remove(&id);
        }
    }
}

/// Does what is asked.
pub fn obey(cloud: &mut Cloud, call: &Call) -> Said {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    let named = |name: &str| call.query.get("names").is_none_or(|wanted| wanted == name);
    match (call.method.as_str(), &path[..], call.action()) {
        ("GET", ["vcenter", "folder"], _) => {
            let shown = cloud.vsphere.visible && named("sewa");
            let folder = json!({"folder": FOLDER, "name": "sewa", "type": "VIRTUAL_MACHINE"});
            done(shown.then_some(folder).into_iter().collect())
        }
        ("GET", ["vcenter", "host"], _) => {
            let hosts = cloud.vsphere.hosts.iter();
            let shown = hosts.filter(|(_, (name, _))| named(name));
            done(shown.map(|(id, (name, up))| json!({"host": id, "name": name,
                "connection_state": if *up { "CONNECTED" } else { "NOT_RESPONDING" }, "power_state": "POWERED_ON"})).collect())
        }
        ("GET", ["vcenter", "datastore"], _) => done(
            json!([{"datastore": "datastore-20", "name": "san", "type": "VMFS", "capacity": 100 * 1024 * GIB,
            "free_space": 90 * 1024 * GIB}]),
        ),
        ("GET", ["vcenter", "network"], _) => {
            let network = json!({"network": "dvportgroup-30", "name": "vmbr0", "type": "DISTRIBUTED_PORTGROUP"});
            done(named("vmbr0").then_some(network).into_iter().collect())
        }
        ("POST", ["content", "library", "item"], "find") => {
            let wanted = call.body["name"].as_str();
            let fits =
                call.body["type"] == "vm-template" && wanted.is_none_or(|name| name == "debian-13");
            done(json!(fits.then_some(ITEM).into_iter().collect::<Vec<_>>()))
        }
        ("GET", ["content", "library", "item", ITEM], _) => {
            done(json!({"id": ITEM, "name": "debian-13", "type": "vm-template"}))
        }
        ("GET", ["vcenter", "vm-template", "library-items", ITEM], _) => {
            let disk = json!({"capacity": u64::from(TEMPLATE_DISK) * GIB, "disk_storage": {"datastore": "datastore-20"}});
            let nics = if cloud.vsphere.connected_template {
                json!({"4000": {"backing_type": "STANDARD_PORTGROUP", "mac_type": "ASSIGNED"}})
            } else {
                json!({})
            };
            done(
                json!({"guest_OS": "DEBIAN_12_64", "cpu": {"count": 1, "cores_per_socket": 1}, "memory": {"size_MiB": 512}, "disks": {"2000": disk},
                "nics": nics, "vm_home_storage": {"datastore": "datastore-20"}}),
            )
        }
        ("POST", ["vcenter", "vm-template", "library-items", ITEM], "deploy") => {
            deploy(cloud, call)
        }
        ("GET", ["vcenter", "vm"], _) => machines(cloud, call),
        (_, ["vcenter", "vm", id, rest @ ..], _) => {
            let found = number(id).filter(|id| cloud.machines.contains_key(id));
            match found.filter(|_| cloud.vsphere.visible) {
                Some(id) => guest::obey(cloud, id, rest, call),
                None => failure(404, "NOT_FOUND"),
            }
        }
        _ => invalid(cloud, "path"),
    }
}

/// At most 4000, of all that pass every filter.
fn machines(cloud: &Cloud, call: &Call) -> Said {
    let passes = |filter: &str, value: &str| call.query.get(filter).is_none_or(|v| v == value);
    let guests = cloud.vsphere.guests.iter();
    let shown = guests.filter_map(|(id, guest)| {
        let vm = cloud.machines.get(id)?;
        let name = format!("vm-{id}");
        let fits = cloud.vsphere.visible
            && passes("names", &vm.label)
            && passes("vms", &name)
            && passes("hosts", &guest.host)
            && passes("folders", FOLDER);
        fits.then(|| {
            json!({"vm": name, "name": vm.label, "power_state": guest::power_state(vm), "cpu_count": guest.vcpus, "memory_size_MiB": guest.memory})
        })
    });
    done(shown.collect())
}

fn deploy(cloud: &mut Cloud, call: &Call) -> Said {
    let spec = &call.body;
    let hardware = &spec["hardware_customization"];
    let number = |pointer: &str| hardware.pointer(pointer).and_then(Value::as_u64);
    let capacity = number("/disks_to_update/2000/capacity");
    let (Some(name), Some(vcpus), Some(cores), Some(memory), Some(host)) = (
        spec["name"].as_str().map(str::to_owned),
        number("/cpu_update/num_cpus"),
        number("/cpu_update/num_cores_per_socket"),
        number("/memory_update/memory"),
        spec["placement"]["host"].as_str().map(str::to_owned),
    ) else {
        return invalid(cloud, "deployment");
    };
    let stays_off = spec["powered_on"] == false;
    let stored = spec["vm_home_storage"]["datastore"] == "datastore-20"
        && spec["disk_storage"]["datastore"] == "datastore-20";
    let placed = spec["placement"]["folder"] == FOLDER && cloud.vsphere.hosts.contains_key(&host);
    let whole = vcpus % cores == 0 && memory % 4 == 0 && capacity.is_none_or(|c| c % GIB == 0);
    if !(stays_off && stored && placed && whole) {
        return invalid(cloud, "deployment");
    }
    // Names are unique in a folder.
    if cloud.machines.values().any(|vm| vm.label == name) {
        return failure(400, "ALREADY_EXISTS");
    }
    let disk = capacity.map_or(TEMPLATE_DISK, |c| u32::try_from(c / GIB).expect("GiB"));
    if disk < TEMPLATE_DISK {
        return invalid(cloud, "capacity");
    }
    cloud.next += 1;
    let id = cloud.next;
    let guest = Guest {
        host,
        vcpus,
        memory,
        disk,
        ..Guest::default()
    };
    let vm = Vm {
        id,
        label: name.clone(),
        region: String::new(),
        size: guest.size(),
        disk,
        image: "debian-13".to_owned(),
        on: false,
        work: Verb::Create,
        done_at: Instant::now() + WORK,
        password: None,
        keys: Vec::new(),
        user_data: None,
        history: vec![Verb::Create],
        told: None,
        usage: Usage::default(),
        names: BTreeMap::new(),
        backups: Backups::default(),
        group: None,
    };
    cloud.vsphere.guests.insert(id, guest);
    cloud.machines.insert(id, vm);
    cloud.created.push(name);
    done(json!(format!("vm-{id}")))
}
