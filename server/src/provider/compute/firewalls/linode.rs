//! Cloud Firewalls of Linode. Labels are unique within an account, so a second one under the same label is refused. A firewall is made with its Linode, and its rules are replaced together.
//! A Linode has one enabled firewall at most: where somebody attached another one, ours is refused.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use super::{Entry, Firewalls, Found, Network, Protocol, Rule, State, entries, parse_ports};
use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::line::Ask;
use crate::provider::compute::linode::Linode;

/// Digits of our names for firewalls.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Our name for the firewall of an instance: the instance's id with fewer, larger digits, because a label has 32 characters at most.
fn label_of(instance: InstanceId) -> String {
    let id = instance.0.as_u128();
    let digits = (0..26).rev().map(|place| {
        let digit = usize::try_from((id >> (5 * place)) & 31).unwrap_or_default();
        char::from(DIGITS[digit])
    });
    format!("sewa-{}", digits.collect::<String>())
}

/// Their ids are numbers; anything else would make another path.
fn path(firewall_ref: &str) -> Result<String, ProviderError> {
    let id: u64 = firewall_ref.parse().map_err(|_| ProviderError::NotFound)?;
    Ok(format!("/networking/firewalls/{id}"))
}

fn number(machine: &str) -> Result<u64, ProviderError> {
    machine.parse().map_err(|_| ProviderError::NotFound)
}

fn inbound(rule: &Rule) -> Value {
    let mut addresses = json!({});
    for (kind, is_ipv4) in [("ipv4", true), ("ipv6", false)] {
        let of_kind = rule
            .sources
            .iter()
            .filter(|s| s.address().is_ipv4() == is_ipv4);
        let of_kind: Vec<&Network> = of_kind.collect();
        // An empty list is refused.
        if !of_kind.is_empty() {
            addresses[kind] = json!(of_kind);
        }
    }
    let protocol = rule.protocol.as_str().to_uppercase();
    let mut written = json!({"action": "ACCEPT", "protocol": protocol, "addresses": addresses});
    if let Some(ports) = rule.ports('-') {
        written["ports"] = Value::from(ports);
    }
    written
}

fn body(rules: &[Rule]) -> Value {
    json!({
        "inbound": rules.iter().map(inbound).collect::<Vec<_>>(),
        "inbound_policy": "DROP",
        "outbound": [],
        "outbound_policy": "ACCEPT",
    })
}

/// What a rule lets in; `None` if it is not one of ours.
fn read(rule: &Value) -> Option<Vec<Entry>> {
    let protocol = Protocol::parse(text(rule, "/protocol")?)?;
    let (first_port, last_port) = match (protocol, text(rule, "/ports")) {
        (Protocol::Tcp | Protocol::Udp, None | Some("")) => (1, u16::MAX),
        (_, ports) => parse_ports(protocol, ports.unwrap_or_default(), '-')?,
    };
    if text(rule, "/action") != Some("ACCEPT") {
        return None;
    }
    let addresses = ["/addresses/ipv4", "/addresses/ipv6"]
        .into_iter()
        .filter_map(|kind| rule.pointer(kind)?.as_array())
        .flatten();
    let entry = |source: &Value| {
        Some(Entry {
            protocol,
            first_port,
            last_port,
            source: Network::parse(source.as_str()?)?,
        })
    };
    addresses.map(entry).collect()
}

/// Whether a firewall has these rules and no others.
fn has_rules(firewall: &Value, rules: &[Rule]) -> bool {
    let shown = firewall.pointer("/rules/inbound").and_then(Value::as_array);
    let read: Option<Vec<Vec<Entry>>> = shown.and_then(|all| all.iter().map(read).collect());
    let read = read.map(|all| all.into_iter().flatten().collect::<BTreeSet<_>>());
    let outbound = firewall.pointer("/rules/outbound");
    let open = outbound.is_none_or(|rules| rules.as_array().is_some_and(Vec::is_empty));
    read == Some(entries(rules))
        && text(firewall, "/rules/inbound_policy") == Some("DROP")
        && text(firewall, "/rules/outbound_policy") == Some("ACCEPT")
        && open
}

impl Linode {
    /// Whether a firewall is in front of a machine.
    async fn guards(&self, firewall: &str, machine: &str) -> Result<bool, ProviderError> {
        let devices = self.pages(&format!("{firewall}/devices"), None).await?;
        let id = number(machine).ok();
        Ok(devices.iter().any(|device| {
            text(device, "/entity/type") == Some("linode")
                && device.pointer("/entity/id").and_then(Value::as_u64) == id
        }))
    }
}

#[async_trait]
impl Firewalls for Linode {
    async fn find(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError> {
        let label = label_of(instance);
        let filter = Some(json!({"label": label}));
        let mut listed = self.pages("/networking/firewalls", filter).await?;
        listed.retain(|f| text(f, "/label") == Some(&label));
        let id_of = |firewall: &Value| firewall.get("id").and_then(Value::as_u64);
        listed.sort_by_key(id_of);
        let mut all = Vec::new();
        for firewall in &listed {
            let id = id_of(firewall).ok_or_else(|| {
                ProviderError::Unavailable("a firewall cannot be read".to_owned())
            })?;
            let firewall_ref = id.to_string();
            let as_wished = has_rules(firewall, rules)
                && text(firewall, "/status") == Some("enabled")
                && self.guards(&path(&firewall_ref)?, machine).await?;
            all.push(Found {
                firewall_ref,
                state: if as_wished {
                    State::Applied
                } else {
                    State::Other
                },
            });
        }
        Ok(all)
    }

    async fn create(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let body = json!({
            "label": label_of(instance),
            "rules": body(rules),
            "devices": {"linodes": [number(machine)?]},
        });
        let reply = self.ask(&Ask::post("/networking/firewalls", body)).await?;
        // Accepted, so there is one, whatever became of the reply.
        reply.get("id").map(drop).ok_or(ProviderError::Unknown)
    }

    /// Its rules, its switch, and its Linode, each unless it is so already.
    async fn change(
        &self,
        machine: &str,
        _instance: InstanceId,
        firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let path = path(firewall_ref)?;
        let seen = self.ask(&Ask::get(path.clone())).await?;
        let put = |path: String, body| Ask {
            method: Method::PUT,
            ..Ask::post(path, body)
        };
        if !has_rules(&seen, rules) {
            let ask = put(format!("{path}/rules"), body(rules));
            self.ask(&ask).await?;
        }
        if text(&seen, "/status") != Some("enabled") {
            let ask = put(path.clone(), json!({"status": "enabled"}));
            self.ask(&ask).await?;
        }
        if !self.guards(&path, machine).await? {
            let body = json!({"id": number(machine)?, "type": "linode"});
            self.ask(&Ask::post(format!("{path}/devices"), body))
                .await?;
        }
        Ok(())
    }

    async fn delete(&self, _machine: &str, firewall_ref: &str) -> Result<(), ProviderError> {
        self.ask(&Ask::delete(path(firewall_ref)?)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn labels_are_short_and_tell_instances_apart() {
        let label = label_of(InstanceId(Uuid::max()));
        assert_eq!(label, "sewa-7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert!(label.len() <= 32, "{label}");
        let one = label_of(InstanceId(Uuid::from_u128(1)));
        assert_eq!(one, "sewa-00000000000000000000000001");
    }

    #[test]
    fn rules_are_the_same_however_they_are_grouped_and_no_others() {
        let rules = [Rule {
            protocol: Protocol::Udp,
            first_port: 53,
            last_port: 53,
            sources: vec![Network::ALL_V4, Network::ALL_V6],
            description: "names".to_owned(),
        }];
        let shown = json!({"rules": body(&rules)});
        assert!(has_rules(&shown, &rules));
        assert!(!shown.to_string().contains("names"), "words stay with us");
        let one = |family: &str, from: &str| json!({"action": "ACCEPT", "protocol": "UDP", "ports": "53", "addresses": {family: [from]}});
        let mut apart = shown.clone();
        apart["rules"]["inbound"] = json!([one("ipv6", "::/0"), one("ipv4", "0.0.0.0/0")]);
        assert!(has_rules(&apart, &rules));
        let with = |pointer: &str, value: Value| {
            let mut other = apart.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            has_rules(&other, &rules)
        };
        assert!(!with("/rules/inbound/0/action", json!("DROP")));
        assert!(!with("/rules/inbound/0/ports", json!("53,80")));
        assert!(!with("/rules/inbound_policy", json!("ACCEPT")));
        assert!(!with("/rules/outbound_policy", json!("DROP")));
        assert!(!with("/rules/outbound", json!([{"action": "DROP"}])));
    }
}
