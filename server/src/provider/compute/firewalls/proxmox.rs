//! The firewall of a guest of Proxmox VE. It is part of the guest and goes with it. Its rules are known by their place in a list that changes with each of them, so each one is deleted by
//! the place where it was just seen, with the digest of what was seen. Ours carry a comment; others are the operator's, and stay. Nothing works while the cluster's own firewall is off.

use async_trait::async_trait;
use http::Method;
use serde_json::Value;

use super::{Difference, Entry, Firewalls, Found, Network, Protocol, Rule, State, parse_ports};
use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{list, text};
use crate::provider::compute::proxmox::Proxmox;
use crate::provider::compute::proxmox::asking::{number, path_of, unreadable};
use crate::provider::compute::proxmox::guest::Seen;

/// On every rule of ours.
const COMMENT: &str = "sewa";

/// Switches are numbers, or texts of them.
fn is_on(value: Option<&Value>) -> bool {
    value.is_some_and(|v| v.as_u64() == Some(1) || v.as_str() == Some("1"))
}

fn fields(entry: &Entry) -> Vec<(&'static str, String)> {
    let protocol = match entry.protocol {
        Protocol::Icmp if entry.source.address().is_ipv6() => "ipv6-icmp",
        protocol => protocol.as_str(),
    };
    let mut fields = vec![
        ("type", "in".to_owned()),
        ("action", "ACCEPT".to_owned()),
        ("enable", "1".to_owned()),
        ("proto", protocol.to_owned()),
        ("source", entry.source.to_string()),
        ("comment", COMMENT.to_owned()),
    ];
    fields.extend(entry.ports(':').map(|ports| ("dport", ports)));
    fields
}

fn is_ours(rule: &Value) -> bool {
    text(rule, "/comment").map(str::trim) == Some(COMMENT)
}

/// What a rule of ours lets in; `None` if somebody made something else of it.
fn read(rule: &Value) -> Option<Entry> {
    let source = Network::parse(text(rule, "/source")?)?;
    let protocol = match (text(rule, "/proto")?, source.address().is_ipv6()) {
        ("ipv6-icmp" | "icmpv6", true) => Protocol::Icmp,
        ("icmp", true) => return None,
        (name, _) => Protocol::parse(name)?,
    };
    let ports = text(rule, "/dport").unwrap_or_default();
    let (first_port, last_port) = parse_ports(protocol, ports, ':')?;
    let narrowed = ["macro", "iface", "dest", "sport", "icmp-type"];
    let plain = text(rule, "/type") == Some("in")
        && text(rule, "/action") == Some("ACCEPT")
        && is_on(rule.get("enable"))
        && narrowed.iter().all(|name| rule.get(*name).is_none());
    plain.then_some(Entry {
        protocol,
        first_port,
        last_port,
        source,
    })
}

/// The network card, with its firewall; `None` if it has it already.
fn guarded(card: &str) -> Option<String> {
    let has_it = card.split(',').any(|option| option == "firewall=1");
    let others = card
        .split(',')
        .filter(|option| !option.starts_with("firewall="));
    let others: Vec<&str> = others.collect();
    (!has_it).then(|| format!("{},firewall=1", others.join(",")))
}

/// A guest's firewall as it was just seen.
struct Wall {
    path: String,
    rules: Vec<Value>,
    options: Value,
    /// The network card with its firewall, if that is to be switched on.
    card: Option<String>,
}

impl Wall {
    /// Where our rules are in the list, with the digest of the list.
    fn difference(&self, rules: &[Rule]) -> Difference<(u64, String)> {
        let shown = self.rules.iter().filter(|rule| is_ours(rule));
        Difference::of(rules, shown.map(|rule| (read(rule), place(rule))))
    }

    /// Whether it keeps anything out.
    fn is_closed(&self) -> bool {
        is_on(self.options.get("enable")) && text(&self.options, "/policy_in") != Some("ACCEPT")
    }

    fn drops(&self) -> bool {
        let policy = text(&self.options, "/policy_in").unwrap_or("DROP");
        is_on(self.options.get("enable")) && policy == "DROP"
    }
}

fn place(rule: &Value) -> (u64, String) {
    let place = rule.get("pos").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let digest = text(rule, "/digest").unwrap_or_default();
    (place, digest.to_owned())
}

impl Proxmox {
    /// The firewall of a guest that is ours; `None` if there is no such guest.
    async fn wall(&self, machine: &str) -> Result<Option<(Seen, Wall)>, ProviderError> {
        let seen = self.see(number(machine)?).await?;
        let Some(seen) = seen.filter(Seen::is_ours) else {
            return Ok(None);
        };
        let path = format!("{}/firewall", path_of(&seen));
        let (rules, options) = tokio::try_join!(
            self.read(format!("{path}/rules")),
            self.read(format!("{path}/options")),
        )?;
        let card = text(&seen.config, "/net0").ok_or_else(|| unreadable("a network card"))?;
        let wall = Wall {
            path,
            rules: list(&rules, "")?.to_vec(),
            options,
            card: guarded(card),
        };
        Ok(Some((seen, wall)))
    }

    /// Whether firewalls of guests work at all.
    async fn firewalls_work(&self) -> Result<bool, ProviderError> {
        let options = self.read("/cluster/firewall/options".to_owned()).await?;
        Ok(is_on(options.get("enable")))
    }

    /// Deletes the rules of ours that are not wanted, each from where it was seen just before.
    async fn prune(
        &self,
        machine: &str,
        mut wall: Wall,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        while let Some((place, digest)) = wall.difference(rules).surplus.pop() {
            let path = format!("{}/rules/{place}?digest={digest}", wall.path);
            self.change(Method::DELETE, path, &[]).await?;
            wall = self.wall(machine).await?.ok_or(ProviderError::NotFound)?.1;
        }
        Ok(())
    }
}

#[async_trait]
impl Firewalls for Proxmox {
    async fn find(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError> {
        let wall = match self.wall(machine).await {
            Err(ProviderError::NotFound) => None,
            wall => wall?,
        };
        let ours = wall.filter(|(seen, _)| seen.machine.reference == instance.to_string());
        let Some((_, wall)) = ours else {
            return Ok(Vec::new());
        };
        if !wall.is_closed() && !wall.rules.iter().any(is_ours) {
            return Ok(Vec::new());
        }
        let as_wished = wall.drops()
            && wall.card.is_none()
            && wall.difference(rules).is_none()
            && self.firewalls_work().await?;
        Ok(vec![Found {
            firewall_ref: machine.to_owned(),
            state: if as_wished {
                State::Applied
            } else {
                State::Other
            },
        }])
    }

    /// A guest has one, which only wants its rules.
    async fn create(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        Firewalls::change(self, machine, instance, machine, rules).await
    }

    /// What lets in comes first, what shuts out last.
    async fn change(
        &self,
        machine: &str,
        instance: InstanceId,
        _firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        if !self.firewalls_work().await? {
            return Err(ProviderError::Refused(
                "the firewall of the cluster is off".to_owned(),
            ));
        }
        let (seen, wall) = self.wall(machine).await?.ok_or(ProviderError::NotFound)?;
        if seen.machine.reference != instance.to_string() {
            return Err(ProviderError::NotFound);
        }
        for entry in &wall.difference(rules).missing {
            let path = format!("{}/rules", wall.path);
            self.change(Method::POST, path, &fields(entry)).await?;
        }
        if let Some(card) = &wall.card {
            let path = format!("{}/config", path_of(&seen));
            let fields = [("net0", card.clone())];
            self.change(Method::PUT, path, &fields).await?;
        }
        if !wall.drops() {
            let path = format!("{}/options", wall.path);
            let fields = [("enable", "1".to_owned()), ("policy_in", "DROP".to_owned())];
            self.change(Method::PUT, path, &fields).await?;
        }
        let wall = self.wall(machine).await?.ok_or(ProviderError::NotFound)?.1;
        self.prune(machine, wall, rules).await
    }

    /// Opens it, then deletes our rules. It is switched off unless there are the operator's.
    async fn delete(&self, machine: &str, _firewall_ref: &str) -> Result<(), ProviderError> {
        let (_, wall) = self.wall(machine).await?.ok_or(ProviderError::NotFound)?;
        if wall.is_closed() {
            let mut fields = vec![("policy_in", "ACCEPT".to_owned())];
            if wall.rules.iter().all(is_ours) {
                fields.push(("enable", "0".to_owned()));
            }
            let path = format!("{}/options", wall.path);
            self.change(Method::PUT, path, &fields).await?;
        }
        self.prune(machine, wall, &[]).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for (protocol, ports, source) in [
            (Protocol::Tcp, (22, 22), "203.0.113.0/24"),
            (Protocol::Udp, (6000, 6010), "2001:db8::/32"),
            (Protocol::Icmp, (0, 0), "0.0.0.0/0"),
            (Protocol::Icmp, (0, 0), "::/0"),
        ] {
            let entry = Entry {
                protocol,
                first_port: ports.0,
                last_port: ports.1,
                source: Network::parse(source).unwrap(),
            };
            let mut shown = json!({"pos": 0, "digest": "d"});
            for (name, value) in fields(&entry) {
                shown[name] = json!(value);
            }
            assert!(is_ours(&shown));
            assert_eq!(read(&shown), Some(entry));
            shown["enable"] = json!(0);
            assert_eq!(
                read(&shown),
                None,
                "one that is switched off lets nothing in"
            );
        }
    }

    #[test]
    fn a_card_is_guarded_once() {
        let card = "virtio=BC:24:11:00:00:01,bridge=vmbr0";
        let guarded_card = format!("{card},firewall=1");
        assert_eq!(guarded(card).as_ref(), Some(&guarded_card));
        assert_eq!(guarded(&guarded_card), None);
        assert_eq!(guarded(&format!("{card},firewall=0")), Some(guarded_card));
    }
}
