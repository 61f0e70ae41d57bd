//! Cloud Firewalls of DigitalOcean. One call makes a firewall with its rules and its droplet, another replaces all of that. What it is not told to let out it drops, so everything is let
//! out by three rules. Other firewalls that somebody attaches to a droplet let in besides; they are not ours, and stay.

use std::collections::BTreeSet;

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Entry, Firewalls, Found, Network, Protocol, Rule, State, entries, parse_ports};
use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{name_of, text};
use crate::provider::compute::digitalocean::{DigitalOcean, number};
use crate::provider::compute::line::Ask;

/// How it writes all ports. ICMP, which has none, has the same.
const ALL_PORTS: &str = "0";

/// Their ids are UUIDs; anything else would make another path.
fn path(firewall_ref: &str) -> Result<String, ProviderError> {
    let id = Uuid::try_parse(firewall_ref).map_err(|_| ProviderError::NotFound)?;
    Ok(format!("/v2/firewalls/{id}"))
}

fn inbound(rule: &Rule) -> Value {
    let whole = (rule.first_port, rule.last_port) == (1, u16::MAX);
    let ports = rule.ports('-').filter(|_| !whole);
    json!({
        "protocol": rule.protocol.as_str(),
        "ports": ports.unwrap_or_else(|| ALL_PORTS.to_owned()),
        "sources": {"addresses": rule.sources},
    })
}

/// The whole of a firewall.
fn body(machine: &str, instance: InstanceId, rules: &[Rule]) -> Result<Value, ProviderError> {
    let everywhere = [Network::ALL_V4, Network::ALL_V6];
    let open = |protocol: &str| json!({"protocol": protocol, "ports": ALL_PORTS, "destinations": {"addresses": everywhere}});
    let outbound = ["tcp", "udp", "icmp"].map(open);
    Ok(json!({
        "name": name_of(instance),
        "droplet_ids": [number(machine)?],
        "inbound_rules": rules.iter().map(inbound).collect::<Vec<_>>(),
        "outbound_rules": outbound,
    }))
}

/// What a rule lets pass; `None` if it is not one of ours.
fn read(rule: &Value, ends: &str) -> Option<Vec<Entry>> {
    let protocol = Protocol::parse(text(rule, "/protocol")?)?;
    let ports = text(rule, "/ports").unwrap_or(ALL_PORTS);
    let (first_port, last_port) = match (protocol, ports) {
        (Protocol::Tcp | Protocol::Udp, ALL_PORTS | "all") => (1, u16::MAX),
        _ => parse_ports(protocol, ports, '-')?,
    };
    let others = rule.pointer(ends)?.as_object()?;
    let by_address = |(name, of): (&String, &Value)| {
        name == "addresses" || of.as_array().is_none_or(Vec::is_empty)
    };
    if !others.iter().all(by_address) {
        return None;
    }
    let addresses = rule.pointer(ends)?.get("addresses")?.as_array()?;
    let entry = |source: &Value| {
        Some(Entry {
            protocol,
            first_port,
            last_port,
            source: Network::parse(source.as_str()?)?,
        })
    };
    addresses.iter().map(entry).collect()
}

/// What the rules of one direction let pass; `None` if one of them is not one of ours.
fn passes(firewall: &Value, rules: &str, ends: &str) -> Option<BTreeSet<Entry>> {
    let shown = firewall.get(rules)?.as_array()?;
    let read: Option<Vec<Vec<Entry>>> = shown.iter().map(|rule| read(rule, ends)).collect();
    Some(read?.into_iter().flatten().collect())
}

/// What lets everything out.
fn everything() -> BTreeSet<Entry> {
    let of = |protocol, last_port| {
        let first_port = u16::from(last_port > 0);
        [Network::ALL_V4, Network::ALL_V6].map(|source| Entry {
            protocol,
            first_port,
            last_port,
            source,
        })
    };
    [
        of(Protocol::Tcp, u16::MAX),
        of(Protocol::Udp, u16::MAX),
        of(Protocol::Icmp, 0),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn state(firewall: &Value, machine: &str, rules: &[Rule]) -> State {
    let droplets = firewall.get("droplet_ids").and_then(Value::as_array);
    let id = number(machine).ok();
    let attached = droplets.is_some_and(|ids| ids.iter().any(|d| d.as_u64() == id));
    let same = passes(firewall, "inbound_rules", "/sources") == Some(entries(rules))
        && passes(firewall, "outbound_rules", "/destinations") == Some(everything());
    let pending = firewall.get("pending_changes").and_then(Value::as_array);
    match (attached && same, text(firewall, "/status")) {
        (false, _) | (true, Some("failed")) => State::Other,
        (true, Some("succeeded")) if pending.is_none_or(Vec::is_empty) => State::Applied,
        (true, _) => State::Pending,
    }
}

#[async_trait]
impl Firewalls for DigitalOcean {
    /// Those in front of the droplet; of the whole team where it has none of ours, or is gone.
    async fn find(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError> {
        let name = name_of(instance);
        let ours = |mut listed: Vec<Value>| {
            listed.retain(|f| text(f, "/name") == Some(&name));
            listed
        };
        let of_machine = match number(machine) {
            Ok(id) => {
                let path = format!("/v2/droplets/{id}/firewalls");
                self.pages(&path, "firewalls", "").await.map(ours)
            }
            Err(error) => Err(error),
        };
        let mut listed = match of_machine {
            Ok(listed) if !listed.is_empty() => listed,
            Ok(_) | Err(ProviderError::NotFound) => {
                ours(self.pages("/v2/firewalls", "firewalls", "").await?)
            }
            Err(error) => return Err(error),
        };
        listed.sort_by(|a, b| text(a, "/created_at").cmp(&text(b, "/created_at")));
        let found = |firewall: &Value| {
            let firewall_ref = text(firewall, "/id").map(str::to_owned);
            let firewall_ref = firewall_ref.ok_or_else(|| {
                ProviderError::Unavailable("a firewall cannot be read".to_owned())
            })?;
            let state = state(firewall, machine, rules);
            Ok(Found {
                firewall_ref,
                state,
            })
        };
        listed.iter().map(found).collect()
    }

    async fn create(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let reply = self
            .ask(&Ask::post("/v2/firewalls", body(machine, instance, rules)?))
            .await?;
        // Accepted, so there is one, whatever became of the reply.
        text(&reply, "/firewall/id")
            .map(drop)
            .ok_or(ProviderError::Unknown)
    }

    async fn change(
        &self,
        machine: &str,
        instance: InstanceId,
        firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let body = body(machine, instance, rules)?;
        let ask = Ask {
            method: Method::PUT,
            ..Ask::post(path(firewall_ref)?, body)
        };
        self.ask(&ask).await.map(drop)
    }

    async fn delete(&self, _machine: &str, firewall_ref: &str) -> Result<(), ProviderError> {
        self.ask(&Ask::delete(path(firewall_ref)?)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_is_ours_only_if_it_lets_in_exactly_that_and_everything_out() {
        let rules = [Rule {
            protocol: Protocol::Tcp,
            first_port: 1,
            last_port: u16::MAX,
            sources: vec![Network::ALL_V4],
            description: String::new(),
        }];
        let mut shown = body("7", InstanceId(Uuid::nil()), &rules).unwrap();
        assert_eq!(state(&shown, "7", &rules), State::Pending);
        shown["status"] = json!("succeeded");
        shown["pending_changes"] = json!([]);
        assert_eq!(state(&shown, "7", &rules), State::Applied);
        assert_eq!(state(&shown, "8", &rules), State::Other);
        assert_eq!(shown["inbound_rules"][0]["ports"], "0");
        let with = |pointer: &str, value: Value| {
            let mut other = shown.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            state(&other, "7", &rules)
        };
        assert_eq!(with("/status", json!("failed")), State::Other);
        let waits = json!([{"droplet_id": 7, "removing": false, "status": "waiting"}]);
        assert_eq!(with("/pending_changes", waits), State::Pending);
        assert_eq!(with("/outbound_rules", json!([])), State::Other);
        let tagged = json!({"addresses": ["0.0.0.0/0"], "tags": ["office"]});
        assert_eq!(with("/inbound_rules/0/sources", tagged), State::Other);
        let known = json!({"addresses": ["0.0.0.0/0"], "tags": null});
        assert_eq!(with("/inbound_rules/0/sources", known), State::Applied);
    }
}
