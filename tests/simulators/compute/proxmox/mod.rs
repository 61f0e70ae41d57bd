//! The dialect of Proxmox VE: forms, `{"data": …}`, tasks, locks, and failures that are sentences beside a 500.

pub mod console;
pub mod firewall;
mod guest;

use std::collections::BTreeMap;
use std::time::Instant;

use http::Method;
use serde_json::{Value, json};

use super::backups::Backups;
use super::faults::Verb;
use super::machines::{Answer, Cloud, Order, Vm, WORK};
use super::usage::{CPU, Usage};
use super::{Asked, Said};

/// What only Proxmox has of a cloud.
#[derive(Debug)]
pub struct Cluster {
    /// Nodes, with whether they are online.
    pub nodes: BTreeMap<String, bool>,
    /// The memory of each node, in bytes.
    pub memory: u64,
    /// Where each guest is, and its configuration.
    pub guests: BTreeMap<u64, (String, BTreeMap<String, String>)>,
    /// Whether a clone for which there is no room is taken on, and its task fails. Else it is refused at once.
    pub full_late: bool,
    /// Firewalls of guests.
    pub walls: BTreeMap<u64, firewall::Wall>,
    /// Whether those do anything.
    pub firewall: bool,
    /// False if no guest has an agent.
    pub agent: bool,
    /// What is on the screens of guests.
    pub screens: console::Screens,
    tasks: Vec<Task>,
}

/// Work that a call began.
#[derive(Debug)]
struct Task {
    upid: String,
    /// Whose guest.
    vmid: u64,
    ends: Instant,
    /// How.
    exit: &'static str,
}

/// A node's memory, in bytes, if it is not told another.
const MEMORY: u64 = 1 << 40;
const STORAGE: &str = "local-zfs";
const NO_SPACE: &str = "clone failed: zfs error: cannot create 'rpool/data': out of space";

impl Default for Cluster {
    fn default() -> Self {
        let template = |node: &str, vmid: u64| {
            let config = [
                ("name", "debian-13".to_owned()),
                ("template", "1".to_owned()),
                ("cores", "1".to_owned()),
                ("sockets", "1".to_owned()),
                ("memory", "512".to_owned()),
                ("boot", "order=scsi0;net0".to_owned()),
                (
                    "scsi0",
                    format!("{STORAGE}:base-{vmid}-disk-0,discard=on,size=3G"),
                ),
                ("ide2", format!("{STORAGE}:vm-{vmid}-cloudinit,media=cdrom")),
                ("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0".to_owned()),
                ("tags", "golden".to_owned()),
            ];
            let config = config.map(|(name, value)| (name.to_owned(), value));
            (vmid, (node.to_owned(), config.into_iter().collect()))
        };
        Self {
            nodes: [("pve1".to_owned(), true), ("pve2".to_owned(), true)].into(),
            guests: [template("pve1", 9000), template("pve2", 9001)].into(),
            memory: MEMORY,
            full_late: false,
            walls: BTreeMap::new(),
            firewall: true,
            agent: true,
            screens: console::Screens::default(),
            tasks: Vec::new(),
        }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: Vec<String>,
    query: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let pair: Vec<u8> = rest.by_ref().take(2).collect();
            let pair = String::from_utf8(pair).expect("two digits");
            bytes.push(u8::from_str_radix(&pair, 16).expect("two digits"));
        } else if byte == b'+' {
            bytes.push(b' ');
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// A body that is a form; of one that is not, nothing.
pub fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    if text.starts_with('{') {
        return BTreeMap::new();
    }
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

pub use firewall::let_in;

/// What is asked.
pub fn read(ask: &Asked) -> Order {
    let path = ask.path.trim_start_matches("/api2/json/");
    Order::Proxmox(Call {
        method: ask.method.clone(),
        path: path.split('/').map(decoded).collect(),
        query: ask.query.clone(),
        form: ask.form.clone(),
    })
}

/// How it is answered, where it is not Proxmox's own words.
pub fn write(answer: &Answer) -> Said {
    match answer {
        Answer::Said(said) => said.clone(),
        Answer::Unauthorized => Said {
            status: 401,
            body: Value::Null,
            reason: Some("authentication failure".to_owned()),
        },
        Answer::TooMany => Said {
            status: 429,
            body: Value::Null,
            reason: None,
        },
        Answer::Busy => failure("VM is locked (backup)"),
        Answer::Full => failure(NO_SPACE),
        _ => failure("got no answer from worker"),
    }
}

fn failure(words: &str) -> Said {
    Said {
        status: 500,
        body: json!({"data": null}),
        reason: Some(words.to_owned()),
    }
}

fn data(data: Value) -> Said {
    Said {
        status: 200,
        body: json!({"data": data}),
        reason: None,
    }
}

impl Call {
    /// Whether it makes a machine.
    pub fn is_clone(&self) -> bool {
        self.path.last().is_some_and(|last| last == "clone")
    }

    fn vmid(&self) -> Option<u64> {
        if self.is_clone() {
            return self.form.get("newid")?.parse().ok();
        }
        (self.path.get(2)? == "qemu").then(|| self.path.get(3)?.parse().ok())?
    }

    fn verb(&self) -> Option<Verb> {
        let tail: Vec<&str> = self.path.iter().skip(4).map(String::as_str).collect();
        let imports = self.form.values().any(|v| v.contains("import-from"));
        Some(match (self.method.as_str(), &tail[..]) {
            ("POST", ["clone"]) => Verb::Create,
            ("POST", ["status", "start"]) => Verb::PowerOn,
            ("POST", ["status", "stop"]) => Verb::PowerOff,
            ("POST", ["status", "shutdown"]) => Verb::Shutdown,
            ("POST", ["status", "reboot"]) => Verb::Reboot,
            ("POST", ["agent", "set-user-password"]) => Verb::ResetPassword,
            ("PUT", ["firewall", "options"])
                if self.form.contains_key("enable") && self.form["enable"] == "1" =>
            {
                Verb::CreateFirewall
            }
            ("PUT", ["firewall", "options"]) => Verb::DeleteFirewall,
            ("POST" | "DELETE", ["firewall", "rules", ..]) => Verb::ChangeFirewall,
            ("PUT", ["config"]) if self.form.len() == 1 && self.form.contains_key("net0") => {
                Verb::ChangeFirewall
            }
            ("POST", ["config"]) if imports => Verb::Rebuild,
            ("PUT", ["config"])
                if self.form.contains_key("cores") && !self.form.contains_key("name") =>
            {
                Verb::Resize
            }
            ("DELETE", []) => Verb::Delete,
            _ => return None,
        })
    }

    /// The machine it is about, by its label, and what is asked of it.
    pub(super) fn target(&self, cloud: &Cloud) -> Option<(String, Verb)> {
        let verb = self.verb()?;
        if verb == Verb::Create {
            return Some((self.form.get("name")?.clone(), verb));
        }
        Some((cloud.machines.get(&self.vmid()?)?.label.clone(), verb))
    }

    /// Its machine is gone.
    pub(super) fn lose(&self, cloud: &mut Cloud) {
        if let Some(vmid) = self.vmid() {
            cloud.machines.remove(&vmid);
            cloud.proxmox.guests.remove(&vmid);
            cloud.proxmox.walls.remove(&vmid);
        }
    }
}

fn task(cloud: &mut Cloud, node: &str, kind: &str, vmid: u64) -> Said {
    begin(cloud, node, kind, vmid, "OK")
}

/// No room, which a clone may be told late.
pub(super) fn no_room(cloud: &mut Cloud, call: &Call) -> Said {
    let late = cloud.proxmox.full_late && call.is_clone();
    let (Some(vmid), true, Some(node)) = (call.vmid(), late, call.path.get(1)) else {
        return failure(NO_SPACE);
    };
    begin(cloud, node, "qmclone", vmid, NO_SPACE)
}

fn begin(cloud: &mut Cloud, node: &str, kind: &str, vmid: u64, exit: &'static str) -> Said {
    let number = cloud.proxmox.tasks.len();
    let upid =
        format!("UPID:{node}:{number:08X}:0000BEEF:6900{number:04X}:{kind}:{vmid}:sewa@pve!test:");
    let ends = Instant::now() + WORK;
    cloud.proxmox.tasks.push(Task {
        upid: upid.clone(),
        vmid,
        ends,
        exit,
    });
    if let Some(vm) = cloud.machines.get_mut(&vmid) {
        vm.done_at = ends;
    }
    data(json!(upid))
}

/// Does what is asked.
pub fn obey(cloud: &mut Cloud, call: &Call) -> Said {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    match (call.method.as_str(), &path[..]) {
        ("GET", ["version"]) => data(json!({"version": "9.1.3", "release": "9.1"})),
        ("GET", ["access", "permissions"]) => {
            let path = call
                .query
                .get("path")
                .map(|p| decoded(p))
                .unwrap_or_default();
            data(json!({path: {"VM.Audit": 1, "VM.Clone": 1}}))
        }
        ("GET", ["cluster", "resources"]) => resources(cloud, call.query.get("type")),
        ("GET", ["nodes", node, "tasks"]) => {
            let vmid = call.query.get("vmid").and_then(|v| v.parse::<u64>().ok());
            let now = Instant::now();
            let active = cloud.proxmox.tasks.iter().filter(|task| {
                Some(task.vmid) == vmid
                    && now < task.ends
                    && task.upid.split(':').nth(1) == Some(node)
            });
            let shown = active
                .map(|t| json!({"upid": t.upid, "node": node, "type": t.upid.split(':').nth(5)}));
            data(shown.collect())
        }
        ("GET", ["nodes", _, "tasks", upid, "status"]) => {
            match cloud.proxmox.tasks.iter().find(|task| task.upid == *upid) {
                Some(task) if Instant::now() < task.ends => data(json!({"status": "running"})),
                Some(task) => data(json!({"status": "stopped", "exitstatus": task.exit})),
                None => failure("no such task"),
            }
        }
        ("GET", ["cluster", "firewall", "options"]) => {
            data(json!({"enable": u8::from(cloud.proxmox.firewall), "digest": "0"}))
        }
        ("POST", ["nodes", node, "qemu", template, "clone"]) => clone(cloud, node, template, call),
        (_, ["nodes", node, "qemu", vmid, rest @ ..]) => {
            let Ok(number) = vmid.parse::<u64>() else {
                return invalid(cloud, "vmid");
            };
            if cloud
                .proxmox
                .guests
                .get(&number)
                .is_none_or(|(at, _)| at != node)
            {
                return failure(&format!(
                    "Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist"
                ));
            }
            if let ["firewall", rest @ ..] = rest {
                return firewall::obey(cloud, number, rest, call);
            }
            guest::obey(cloud, node, number, rest, call)
        }
        _ => invalid(cloud, "path"),
    }
}

fn invalid(cloud: &mut Cloud, what: &str) -> Said {
    cloud.invalid.push(format!("{what} is wrong"));
    Said {
        status: 400,
        body: json!({"data": null, "message": "Parameter verification failed.\n", "errors": {what: "invalid format"}}),
        reason: Some("Parameter verification failed.".to_owned()),
    }
}

fn resources(cloud: &Cloud, kind: Option<&String>) -> Said {
    let wants = |what: &str| kind.is_none_or(|kind| kind == what);
    let mut all = Vec::new();
    for (node, online) in &cloud.proxmox.nodes {
        if wants("node") {
            all.push(json!({"type": "node", "id": format!("node/{node}"), "node": node, "status": if *online { "online" } else { "offline" },
                "maxcpu": 256, "cpu": 0.125, "maxmem": cloud.proxmox.memory, "mem": cloud.proxmox.memory / 8, "uptime": 3600}));
        }
        if wants("storage") {
            all.push(json!({"type": "storage", "node": node, "storage": STORAGE, "status": "available", "content": "images,rootdir", "shared": 0,
                "maxdisk": 100_u64 << 40, "disk": 1_u64 << 40, "plugintype": "zfspool"}));
        }
    }
    if wants("vm") {
        all.extend(cloud.proxmox.guests.iter().map(|(vmid, (node, config))| {
            let vm = cloud.machines.get(vmid);
            let text = |name: &str| config.get(name).cloned().unwrap_or_default();
            let number = |name: &str| text(name).parse::<u64>().unwrap_or_default();
            // One that is being made shows without its name.
            let named = vm.is_none_or(|vm| vm.work != Verb::Create || !vm.busy());
            let mut entry = json!({
                "type": "qemu", "id": format!("qemu/{vmid}"), "vmid": vmid, "node": node, "name": named.then(|| text("name")), "tags": text("tags"),
                "template": number("template"), "status": if vm.is_some_and(shown_on) { "running" } else { "stopped" },
                "maxcpu": number("cores"), "maxmem": number("memory") << 20, "maxdisk": u64::from(disk(config)) << 30,
            });
            use_of(vm, &mut entry);
            entry
        }));
    }
    data(json!(all))
}

/// What a guest uses: nothing while it is off.
pub(super) fn use_of(vm: Option<&Vm>, entry: &mut Value) {
    let on = vm.filter(|vm| shown_on(vm));
    let usage = on.map(|vm| &vm.usage);
    entry["cpu"] = json!(usage.map_or(0.0, |_| CPU));
    entry["mem"] = json!(usage.map_or(0, |_| 256_u64 << 20));
    entry["uptime"] = json!(usage.map_or(0, |u| u.on_since.elapsed().as_secs()));
    entry["netin"] = json!(usage.map_or(0, |u| u.received));
    entry["netout"] = json!(usage.map_or(0, |u| u.sent));
    entry["diskread"] = json!(usage.map_or(0, |u| u.received / 2));
    entry["diskwrite"] = json!(usage.map_or(0, |u| u.sent / 2));
}

/// What it was until the task is over.
fn shown_on(vm: &Vm) -> bool {
    match vm.work {
        Verb::PowerOff | Verb::Shutdown if vm.busy() => true,
        Verb::PowerOn if vm.busy() => false,
        _ => vm.on,
    }
}

fn disk(config: &BTreeMap<String, String>) -> u32 {
    let drive = config.get("scsi0").map(String::as_str).unwrap_or_default();
    let size = drive.split(',').find_map(|o| o.strip_prefix("size="));
    size.and_then(|s| s.strip_suffix('G')?.parse().ok())
        .unwrap_or_default()
}

fn clone(cloud: &mut Cloud, node: &str, template: &str, call: &Call) -> Said {
    let known = [
        "newid",
        "name",
        "full",
        "storage",
        "pool",
        "description",
        "target",
        "format",
    ];
    if let Some(unknown) = call.form.keys().find(|k| !known.contains(&k.as_str())) {
        return invalid(cloud, &unknown.clone());
    }
    let (Some(vmid), Some(name)) = (call.vmid(), call.form.get("name").cloned()) else {
        return invalid(cloud, "newid");
    };
    let source = template
        .parse()
        .ok()
        .and_then(|t: u64| cloud.proxmox.guests.get(&t));
    let Some((_, config)) = source.filter(|(at, _)| at == node) else {
        return failure(&format!(
            "Configuration file 'nodes/{node}/qemu-server/{template}.conf' does not exist"
        ));
    };
    if cloud.proxmox.guests.contains_key(&vmid) {
        return failure(&format!(
            "unable to create VM {vmid}: config file already exists"
        ));
    }
    let mut config = config.clone();
    config.remove("template");
    config.insert("name".to_owned(), name.clone());
    config.insert(
        "scsi0".to_owned(),
        format!("{STORAGE}:vm-{vmid}-disk-0,discard=on,size=3G"),
    );
    config.insert(
        "ide2".to_owned(),
        format!("{STORAGE}:vm-{vmid}-cloudinit,media=cdrom"),
    );
    cloud.proxmox.guests.insert(vmid, (node.to_owned(), config));
    cloud.machines.insert(
        vmid,
        Vm {
            id: vmid,
            label: name.clone(),
            region: String::new(),
            size: String::new(),
            disk: 3,
            image: template.to_owned(),
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
        },
    );
    cloud.created.push(name);
    task(cloud, node, "qmclone", vmid)
}
