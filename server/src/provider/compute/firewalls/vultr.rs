//! Firewall groups of Vultr. A group is made empty; its rules, one for each source, are added and deleted one by one; and it is put in front of an instance when it has them all. Deleting it
//! takes it away from there.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Difference, Entry, Firewalls, Found, Network, Protocol, Rule, State, parse_ports};
use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{name_of, text};
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{self, Vultr};

/// Rules a group may have, which is also what all rules together may have of sources.
const ROOM: usize = 50;

/// Their ids are UUIDs; anything else would make another path.
fn path(firewall_ref: &str) -> Result<String, ProviderError> {
    let id = Uuid::try_parse(firewall_ref).map_err(|_| ProviderError::NotFound)?;
    Ok(format!("/firewalls/{id}"))
}

fn body(entry: &Entry) -> Value {
    let source = entry.source;
    let mut body = json!({
        "ip_type": if source.address().is_ipv4() { "v4" } else { "v6" },
        "protocol": entry.protocol.as_str(),
        "subnet": source.address(),
        "subnet_size": source.prefix(),
    });
    if let Some(ports) = entry.ports(':') {
        body["port"] = Value::from(ports);
    }
    body
}

/// What a rule lets in; `None` if it is not one of ours.
fn read(rule: &Value) -> Option<Entry> {
    let protocol = Protocol::parse(text(rule, "/protocol")?)?;
    let ports = text(rule, "/port").unwrap_or_default();
    let (first_port, last_port) = parse_ports(protocol, ports, ':')?;
    let bits = rule.get("subnet_size")?.as_u64()?;
    let accepts = text(rule, "/action").is_none_or(|action| action == "accept");
    let of_network = text(rule, "/source").is_none_or(str::is_empty);
    let source = Network::new(
        text(rule, "/subnet")?.parse().ok()?,
        u8::try_from(bits).ok()?,
    )?;
    (accepts && of_network).then_some(Entry {
        protocol,
        first_port,
        last_port,
        source,
    })
}

impl Vultr {
    /// What a group at a path has, and what is to become of it.
    async fn difference(
        &self,
        path: &str,
        rules: &[Rule],
    ) -> Result<Difference<u64>, ProviderError> {
        let rules_path = format!("{path}/rules");
        let listed = self.pages_at(&rules_path, "firewall_rules", "").await?;
        let shown = listed.iter().map(|rule| {
            let id = rule.get("id").and_then(Value::as_u64).ok_or_else(|| {
                ProviderError::Unavailable("a firewall rule cannot be read".to_owned())
            })?;
            Ok((read(rule), id))
        });
        let shown = shown.collect::<Result<Vec<_>, ProviderError>>()?;
        Ok(Difference::of(rules, shown))
    }

    /// The group in front of a machine; empty for none.
    async fn group_of(&self, machine: &str) -> Result<String, ProviderError> {
        let seen = self.ask(&Ask::get(vultr::path(machine)?)).await?;
        let group = text(&seen, "/instance/firewall_group_id");
        Ok(group.unwrap_or_default().to_owned())
    }
}

#[async_trait]
impl Firewalls for Vultr {
    async fn find(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError> {
        let name = name_of(instance);
        let mut listed = self.pages_at("/firewalls", "firewall_groups", "").await?;
        listed.retain(|group| text(group, "/description") == Some(&name));
        let age = |group: &Value| {
            let part = |at| text(group, at).unwrap_or_default().to_owned();
            (part("/date_created"), part("/id"))
        };
        listed.sort_by_key(age);
        let attached = match self.group_of(machine).await {
            Err(ProviderError::NotFound) => String::new(),
            attached => attached?,
        };
        let mut all = Vec::new();
        for group in &listed {
            let id = text(group, "/id").ok_or_else(|| {
                ProviderError::Unavailable("a firewall group cannot be read".to_owned())
            })?;
            let as_wished = id == attached && self.difference(&path(id)?, rules).await?.is_none();
            all.push(Found {
                firewall_ref: id.to_owned(),
                state: if as_wished {
                    State::Applied
                } else {
                    State::Other
                },
            });
        }
        Ok(all)
    }

    /// The group alone.
    async fn create(
        &self,
        _machine: &str,
        instance: InstanceId,
        _rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let body = json!({"description": name_of(instance)});
        let reply = self.ask(&Ask::post("/firewalls", body)).await?;
        // Accepted, so there is one, whatever became of the reply.
        text(&reply, "/firewall_group/id")
            .map(drop)
            .ok_or(ProviderError::Unknown)
    }

    /// What is missing is added first, so that nothing is shut out on the way; where there is no room for that, something that is not wanted goes before.
    async fn change(
        &self,
        machine: &str,
        _instance: InstanceId,
        firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        let path = path(firewall_ref)?;
        let mut difference = self.difference(&path, rules).await?;
        let wanted = super::entries(rules).len();
        let mut held = wanted - difference.missing.len() + difference.surplus.len();
        let drop_rule = |id: u64| Ask::delete(format!("{path}/rules/{id}"));
        for entry in &difference.missing {
            if held >= ROOM
                && let Some(id) = difference.surplus.pop()
            {
                self.ask(&drop_rule(id)).await?;
                held -= 1;
            }
            let ask = Ask::post(format!("{path}/rules"), body(entry));
            match self.ask(&ask).await {
                // It is there, from a call whose answer was lost.
                Err(ProviderError::Refused(words)) if words.contains("already defined") => {}
                answer => drop(answer?),
            }
            held += 1;
        }
        for id in difference.surplus {
            self.ask(&drop_rule(id)).await?;
        }
        if self.group_of(machine).await? != firewall_ref {
            let ask = Ask {
                method: Method::PATCH,
                ..Ask::post(
                    vultr::path(machine)?,
                    json!({"firewall_group_id": firewall_ref}),
                )
            };
            self.ask(&ask).await?;
        }
        Ok(())
    }

    async fn delete(&self, _machine: &str, firewall_ref: &str) -> Result<(), ProviderError> {
        self.ask(&Ask::delete(path(firewall_ref)?)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for (protocol, ports, source) in [
            (Protocol::Tcp, (22, 22), "203.0.113.0/24"),
            (Protocol::Udp, (6000, 6010), "2001:db8::/32"),
            (Protocol::Icmp, (0, 0), "0.0.0.0/0"),
        ] {
            let entry = Entry {
                protocol,
                first_port: ports.0,
                last_port: ports.1,
                source: Network::parse(source).unwrap(),
            };
            let mut shown = body(&entry);
            assert_eq!(read(&shown), Some(entry));
            shown["action"] = json!("accept");
            shown["source"] = json!("");
            assert_eq!(read(&shown), Some(entry));
            shown["source"] = json!("cloudflare");
            assert_eq!(read(&shown), None, "those are other addresses");
        }
        let gre =
            json!({"ip_type": "v4", "protocol": "gre", "subnet": "0.0.0.0", "subnet_size": 0});
        assert_eq!(read(&gre), None);
    }
}
