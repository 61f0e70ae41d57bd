//! Firewalls of guests of a simulated Proxmox VE: options, and rules that are known by their place.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use super::{Call, data, failure, invalid};
use crate::compute::Said;
use crate::compute::firewalls::rules::line;
use crate::compute::machines::Cloud;

/// A guest's firewall.
#[derive(Clone, Debug, Default)]
pub struct Wall {
    /// Its options.
    pub options: BTreeMap<String, String>,
    /// Its rules, by place.
    pub rules: Vec<BTreeMap<String, String>>,
}

impl Wall {
    fn digest(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.rules.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// Fields a rule may have, of those the platform has a use for.
const FIELDS: [&str; 7] = [
    "type", "action", "enable", "proto", "source", "dport", "comment",
];

fn shown(fields: &BTreeMap<String, String>) -> Value {
    let number = |value: &String| value.parse::<u64>().map_or(json!(value), Value::from);
    let text = |name: &str| ["dport", "comment", "source"].contains(&name);
    let fields = fields.iter().map(|(name, value)| {
        let value = if text(name) {
            json!(value)
        } else {
            number(value)
        };
        (name.clone(), value)
    });
    Value::Object(fields.collect())
}

/// Does what is asked of a guest's firewall.
pub(super) fn obey(cloud: &mut Cloud, vmid: u64, rest: &[&str], call: &Call) -> Said {
    let wall = cloud.proxmox.walls.entry(vmid).or_default();
    match (call.method.as_str(), rest) {
        ("GET", ["options"]) => {
            let mut options = shown(&wall.options);
            options["digest"] = json!("0");
            data(options)
        }
        ("PUT", ["options"]) => {
            let known = ["enable", "policy_in"];
            if let Some(unknown) = call.form.keys().find(|k| !known.contains(&k.as_str())) {
                return invalid(cloud, &unknown.clone());
            }
            wall.options.extend(call.form.clone());
            data(Value::Null)
        }
        ("GET", ["rules"]) => {
            let digest = wall.digest();
            let rules = wall.rules.iter().enumerate().map(|(place, rule)| {
                let mut rule = shown(rule);
                rule["pos"] = json!(place);
                rule["digest"] = json!(digest);
                rule
            });
            data(rules.collect())
        }
        ("POST", ["rules"]) => match wrong(&call.form) {
            Some(wrong) => invalid(cloud, &wrong),
            None => {
                // On top.
                wall.rules.insert(0, call.form.clone());
                data(Value::Null)
            }
        },
        ("DELETE", ["rules", place]) => {
            let Some(place) = place.parse::<usize>().ok() else {
                return invalid(cloud, "pos");
            };
            if call.query.get("digest") != Some(&wall.digest()) {
                return failure(
                    "detected modified configuration - file changed by other user? Try again.",
                );
            }
            if place >= wall.rules.len() {
                return failure(&format!("no rule at position {place}"));
            }
            wall.rules.remove(place);
            data(Value::Null)
        }
        _ => invalid(cloud, "path"),
    }
}

/// The field of a new rule that is wrong.
fn wrong(form: &BTreeMap<String, String>) -> Option<String> {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if let Some(unknown) = form.keys().find(|k| !FIELDS.contains(&k.as_str())) {
        return Some(unknown.clone());
    }
    let with_ports = ["tcp", "udp"].contains(&field("proto"));
    let is_v6 = field("source").contains(':');
    let icmp = if is_v6 { "ipv6-icmp" } else { "icmp" };
    let (first, last) = field("dport")
        .split_once(':')
        .unwrap_or((field("dport"), "65535"));
    let ports = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
    let ports = ports.is_some_and(|(first, last)| 0 < first && first <= last);
    let checks = [
        ("type", ["in", "out"].contains(&field("type"))),
        ("action", ["ACCEPT", "DROP"].contains(&field("action"))),
        ("proto", with_ports || field("proto") == icmp),
        (
            "dport",
            if with_ports {
                ports
            } else {
                field("dport").is_empty()
            },
        ),
        ("source", field("source").contains('/')),
    ];
    let wrong = checks.into_iter().find(|(_, right)| !right);
    wrong.map(|(name, _)| name.to_owned())
}

/// What reaches a guest; `None` if everything does.
pub fn let_in(cloud: &Cloud, vmid: u64) -> Option<Vec<String>> {
    let wall = cloud.proxmox.walls.get(&vmid)?;
    let option = |name: &str| wall.options.get(name).map(String::as_str);
    let card = cloud.proxmox.guests.get(&vmid)?.1.get("net0")?;
    let guarded = card.split(',').any(|option| option == "firewall=1");
    if !cloud.proxmox.firewall
        || !guarded
        || option("enable") != Some("1")
        || option("policy_in") != Some("DROP")
    {
        return None;
    }
    let text =
        |rule: &BTreeMap<String, String>, name: &str| rule.get(name).cloned().unwrap_or_default();
    let one = |rule: &BTreeMap<String, String>| {
        let protocol = text(rule, "proto").replace("ipv6-icmp", "icmp");
        let ports = text(rule, "dport").replace(':', "-");
        line(&protocol, &ports, &text(rule, "source"))
    };
    let inbound = wall.rules.iter().filter(|rule| text(rule, "type") == "in");
    let mut all: Vec<String> = inbound.map(one).collect();
    all.sort();
    Some(all)
}
