//! Firewalls of a simulated cloud, as DigitalOcean, Linode and Vultr keep them; Proxmox has its own beside its guests. They outlive their machines. What is asked and answered differs too
//! much for one shape, so it is answered in the words of each.

pub(super) mod rules;

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};
use uuid::Uuid;

use self::rules::{of_digitalocean, of_linode, of_vultr};
use super::faults::Verb;
use super::machines::{Answer, Cloud, WORK};
use super::{Dialect, Said, proxmox};

/// Rules a group of Vultr has at most.
const GROUP: usize = 50;

/// A firewall.
#[derive(Clone, Debug)]
pub struct Wall {
    /// The cloud's number for it.
    pub id: u64,
    /// Its name, label or description.
    pub name: String,
    /// The label of the machine it was made for.
    pub label: String,
    /// The machines it is in front of.
    pub machines: BTreeSet<u64>,
    /// What it lets in, each in the cloud's words.
    pub inbound: Vec<Value>,
    /// What it lets out, where that is to be said.
    pub outbound: Vec<Value>,
    /// When the last change is done.
    done_at: Instant,
}

/// What is asked of firewalls.
#[derive(Clone, Debug)]
pub enum Walling {
    /// Those of a machine or of all, of a name or of any: the page of that number, from 1, and of that size.
    List(Option<u64>, Option<String>, usize, usize),
    /// One.
    Get(u64),
    /// A new one: its name, its machines, what it lets in and out.
    Create(String, Vec<u64>, Vec<Value>, Vec<Value>),
    /// The same of one that is there.
    Replace(u64, String, Vec<u64>, Vec<Value>, Vec<Value>),
    /// What it lets in, as a whole.
    Rules(u64, Vec<Value>),
    /// The machines it is in front of.
    Devices(u64),
    /// In front of one more machine.
    Attach(u64, u64),
    /// Its rules.
    ListRules(u64),
    /// One more rule.
    AddRule(u64, Value),
    /// One rule less.
    DropRule(u64, u64),
    /// In front of a machine, instead of what was there.
    Guard(u64, u64),
    /// No longer.
    Delete(u64),
}

impl Walling {
    /// The machine's label, and what is asked for, if it is a change.
    pub(super) fn target(&self, cloud: &Cloud) -> Option<(String, Verb)> {
        let label = |id: &u64| Some(cloud.walls.get(id)?.label.clone());
        match self {
            Self::Create(name, machines, ..) => {
                let vm = machines.first().and_then(|id| cloud.machines.get(id));
                let label = vm.map_or_else(|| name.clone(), |vm| vm.label.clone());
                Some((label, Verb::CreateFirewall))
            }
            Self::Replace(id, ..)
            | Self::Rules(id, _)
            | Self::Attach(id, _)
            | Self::AddRule(id, _)
            | Self::DropRule(id, _)
            | Self::Guard(_, id) => Some((label(id)?, Verb::ChangeFirewall)),
            Self::Delete(id) => Some((label(id)?, Verb::DeleteFirewall)),
            Self::List(..) | Self::Get(_) | Self::Devices(_) | Self::ListRules(_) => None,
        }
    }
}

fn said(status: u16, body: Value) -> Answer {
    Answer::Said(Said {
        status,
        body,
        reason: None,
    })
}

impl Wall {
    /// One more rule of a group of Vultr, which takes none twice.
    fn add(&mut self, rule: &Value) -> Answer {
        if self
            .inbound
            .iter()
            .any(|own| of_vultr(own) == of_vultr(rule))
        {
            let error = "Unable to create rule: This rule is already defined";
            return said(400, json!({"error": error, "status": 400}));
        }
        if self.inbound.len() >= GROUP {
            let error = "Unable to create rule: This group has all its rules";
            return said(400, json!({"error": error, "status": 400}));
        }
        let taken = self
            .inbound
            .iter()
            .filter_map(|rule| rule["id"].as_u64())
            .max();
        let mut shown = rule.clone();
        shown["id"] = json!(taken.unwrap_or_default() + 1);
        shown["type"] = shown["ip_type"].clone();
        shown["action"] = json!("accept");
        shown["port"] = json!(rule["port"].as_str().unwrap_or_default());
        shown["source"] = json!("");
        shown["notes"] = json!("");
        self.inbound.push(shown.clone());
        said(201, json!({"firewall_rule": shown}))
    }
}

impl Cloud {
    /// What reaches a machine, sorted, as `tcp 22 203.0.113.0/24`; `None` if everything does.
    pub fn let_in(&self, machine: u64) -> Option<Vec<String>> {
        if self.dialect == Dialect::Proxmox {
            return proxmox::let_in(self, machine);
        }
        let mut walls = self.walls.values();
        let wall = walls.find(|wall| wall.machines.contains(&machine))?;
        let mut all: Vec<String> = match self.dialect {
            Dialect::DigitalOcean => wall.inbound.iter().flat_map(of_digitalocean).collect(),
            Dialect::Linode => wall.inbound.iter().flat_map(of_linode).collect(),
            _ => wall.inbound.iter().map(of_vultr).collect(),
        };
        all.sort();
        Some(all)
    }

    fn wall_shown(&self, wall: &Wall) -> Value {
        let there = wall
            .machines
            .iter()
            .filter(|id| self.machines.contains_key(id));
        let machines: Vec<&u64> = there.collect();
        let uuid = Uuid::from_u128(u128::from(wall.id));
        match self.dialect {
            Dialect::DigitalOcean => {
                let waits = Instant::now() < wall.done_at;
                let one =
                    |id: &&u64| json!({"droplet_id": id, "removing": false, "status": "waiting"});
                let pending: Vec<Value> = machines.iter().filter(|_| waits).map(one).collect();
                json!({
                    "id": uuid, "name": wall.name, "status": if waits { "waiting" } else { "succeeded" }, "created_at": format!("2026-11-21T00:00:00.{:06}Z", wall.id),
                    "pending_changes": pending, "droplet_ids": machines, "tags": [], "inbound_rules": wall.inbound, "outbound_rules": wall.outbound,
                })
            }
            Dialect::Linode => json!({
                "id": wall.id, "label": wall.name, "status": "enabled", "created": "2026-11-21T00:00:00", "updated": "2026-11-21T00:00:00", "tags": [],
                "rules": {"inbound": wall.inbound, "inbound_policy": "DROP", "outbound": [], "outbound_policy": "ACCEPT", "fingerprint": "996c9fc2", "version": 1},
            }),
            _ => json!({
                "id": uuid, "description": wall.name, "date_created": "2026-11-21T00:00:00+00:00", "date_modified": "2026-11-21T00:00:00+00:00",
                "instance_count": machines.len(), "rule_count": wall.inbound.len(), "max_rule_count": GROUP,
            }),
        }
    }

    fn list_walls(
        &self,
        machine: Option<u64>,
        name: Option<&str>,
        page: usize,
        size: usize,
    ) -> Answer {
        if machine.is_some_and(|id| !self.machines.contains_key(&id)) {
            return Answer::NotFound;
        }
        let size = size.clamp(1, self.longest_page);
        let of = |wall: &&Wall| {
            machine.is_none_or(|id| wall.machines.contains(&id))
                && name.is_none_or(|name| wall.name == name)
        };
        let all: Vec<&Wall> = self.walls.values().filter(of).collect();
        let total = all.len();
        let shown = all.into_iter().skip((page - 1) * size).take(size);
        let shown: Vec<Value> = shown.map(|wall| self.wall_shown(wall)).collect();
        let more = page * size < total;
        let next = page + 1;
        said(
            200,
            match self.dialect {
                Dialect::DigitalOcean => {
                    let next = format!("https://api.digitalocean.com/v2/firewalls?page={next}");
                    let links = if more {
                        json!({"pages": {"next": next, "last": next}})
                    } else {
                        json!({})
                    };
                    json!({"firewalls": shown, "links": links, "meta": {"total": total}})
                }
                Dialect::Linode => {
                    json!({"data": shown, "page": page, "pages": total.div_ceil(size).max(1), "results": total})
                }
                _ => {
                    let next = if more {
                        format!("page={next}")
                    } else {
                        String::new()
                    };
                    json!({"firewall_groups": shown, "meta": {"total": total, "links": {"next": next, "prev": ""}}})
                }
            },
        )
    }

    fn make_wall(
        &mut self,
        name: &str,
        machines: &[u64],
        inbound: &[Value],
        outbound: &[Value],
    ) -> Answer {
        let found = machines
            .iter()
            .map(|id| self.machines.get(id))
            .collect::<Option<Vec<_>>>();
        let Some(found) = found else {
            return Answer::NotFound;
        };
        if found.iter().any(|vm| vm.busy()) {
            return Answer::Busy;
        }
        let label = found
            .first()
            .map_or_else(|| name.to_owned(), |vm| vm.label.clone());
        if self.dialect == Dialect::Linode {
            if self.walls.values().any(|wall| wall.name == name) {
                return Answer::LabelTaken;
            }
            if let Some(taken) = machines
                .iter()
                .find(|id| self.walls.values().any(|w| w.machines.contains(id)))
            {
                let reason = format!("Linode with ID {taken} already has an enabled firewall.");
                return said(
                    400,
                    json!({"errors": [{"field": "devices.linodes", "reason": reason}]}),
                );
            }
        }
        self.next += 1;
        let wall = Wall {
            id: self.next,
            name: name.to_owned(),
            label,
            machines: machines.iter().copied().collect(),
            inbound: inbound.to_vec(),
            outbound: outbound.to_vec(),
            done_at: Instant::now() + WORK,
        };
        let shown = self.wall_shown(&wall);
        self.walls.insert(wall.id, wall);
        match self.dialect {
            Dialect::DigitalOcean => said(202, json!({"firewall": shown})),
            Dialect::Linode => said(200, shown),
            _ => said(201, json!({"firewall_group": shown})),
        }
    }

    /// A firewall that somebody put in front of a machine by hand.
    pub fn plant_wall(&mut self, name: &str, machine: u64) {
        self.make_wall(name, &[machine], &[], &[]);
    }

    pub(super) fn wall(&mut self, walling: &Walling) -> Answer {
        match walling {
            Walling::List(machine, name, page, size) => {
                return self.list_walls(*machine, name.as_deref(), *page, *size);
            }
            Walling::Create(name, machines, inbound, outbound) => {
                return self.make_wall(name, machines, inbound, outbound);
            }
            Walling::Guard(machine, id) => return self.guard(*machine, *id),
            _ => {}
        }
        let (Walling::Get(id)
        | Walling::Replace(id, ..)
        | Walling::Rules(id, _)
        | Walling::Devices(id)
        | Walling::Attach(id, _)
        | Walling::ListRules(id)
        | Walling::AddRule(id, _)
        | Walling::DropRule(id, _)
        | Walling::Delete(id)) = walling
        else {
            return Answer::NotFound;
        };
        let Some(wall) = self.walls.get_mut(id) else {
            return Answer::NotFound;
        };
        match walling {
            Walling::Replace(_, name, machines, inbound, outbound) => {
                wall.name.clone_from(name);
                wall.machines = machines.iter().copied().collect();
                wall.inbound.clone_from(inbound);
                wall.outbound.clone_from(outbound);
                wall.done_at = Instant::now() + WORK;
            }
            Walling::Rules(_, inbound) => {
                wall.inbound.clone_from(inbound);
                let rules = json!({"inbound": inbound, "inbound_policy": "DROP", "outbound": [], "outbound_policy": "ACCEPT"});
                return said(200, rules);
            }
            Walling::Attach(_, machine) => {
                wall.machines.insert(*machine);
                return said(200, device(*machine));
            }
            Walling::Devices(_) => {
                let devices: Vec<Value> = wall.machines.iter().map(|id| device(*id)).collect();
                return said(
                    200,
                    json!({"results": devices.len(), "data": devices, "page": 1, "pages": 1}),
                );
            }
            Walling::ListRules(_) => {
                let meta = json!({"total": wall.inbound.len(), "links": {"next": "", "prev": ""}});
                return said(200, json!({"firewall_rules": wall.inbound, "meta": meta}));
            }
            Walling::AddRule(_, rule) => return wall.add(rule),
            Walling::DropRule(_, number) => {
                let before = wall.inbound.len();
                wall.inbound.retain(|rule| rule["id"] != *number);
                if wall.inbound.len() == before {
                    return Answer::NotFound;
                }
                return Answer::Deleted;
            }
            Walling::Delete(_) => {
                self.walls.remove(id);
                for vm in self
                    .machines
                    .values_mut()
                    .filter(|vm| vm.group == Some(*id))
                {
                    vm.group = None;
                }
                return Answer::Deleted;
            }
            _ => {}
        }
        let shown = self.walls.get(id).map(|wall| self.wall_shown(wall));
        match self.dialect {
            Dialect::DigitalOcean => said(200, json!({"firewall": shown})),
            _ => said(200, json!(shown)),
        }
    }

    fn guard(&mut self, machine: u64, id: u64) -> Answer {
        let Some(vm) = self.machines.get_mut(&machine) else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        if !self.walls.contains_key(&id) {
            return said(
                400,
                json!({"error": "Invalid firewall group", "status": 400}),
            );
        }
        vm.group = Some(id);
        for wall in self.walls.values_mut() {
            wall.machines.remove(&machine);
            if wall.id == id {
                wall.machines.insert(machine);
            }
        }
        Answer::Guarded(vm.clone())
    }

    /// The machine that a call about firewalls is about is gone.
    pub(super) fn lose_walled(&mut self, walling: &Walling) {
        let Some((label, _)) = walling.target(self) else {
            return;
        };
        self.machines.retain(|_, vm| vm.label != label);
    }
}

fn device(machine: u64) -> Value {
    json!({
        "id": machine + 7000, "created": "2026-11-21T00:00:00", "updated": "2026-11-21T00:00:00",
        "entity": {"id": machine, "label": "a-linode", "type": "linode", "url": format!("/v4/linode/instances/{machine}")},
    })
}
