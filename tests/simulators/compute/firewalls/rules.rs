//! Rules of firewalls in the words of each vendor: what of them is refused, and what the others let in.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::Walling;
use crate::compute::Asked;
use crate::compute::machines::Order;

/// Whether it is a network of that kind, without bits beyond its prefix.
fn is_network(address: &str, bits: u64) -> bool {
    let (whole, width) = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => (u128::from(ip.to_bits()), 32),
        Ok(IpAddr::V6(ip)) => (ip.to_bits(), 128),
        Err(_) => return false,
    };
    let hosts = u32::try_from(width - bits.min(width)).expect("small");
    bits <= width && whole & !u128::MAX.checked_shl(hosts).unwrap_or(0) == 0
}

fn is_cidr(text: &Value) -> bool {
    let parts = text.as_str().and_then(|text| text.split_once('/'));
    parts.is_some_and(|(ip, bits)| bits.parse().is_ok_and(|bits| is_network(ip, bits)))
}

/// Whether ports are one, or two with something between that go up.
fn are_ports(text: &str, between: char) -> bool {
    let port = |text: &str| {
        let plain = !text.starts_with('0');
        text.parse::<u16>().ok().filter(|port| plain && *port > 0)
    };
    match text.split_once(between) {
        None => port(text).is_some(),
        Some((first, last)) => port(first).zip(port(last)).is_some_and(|(a, b)| a < b),
    }
}

fn only(body: &Value, fields: &[&str]) -> Result<(), String> {
    let unknown = body
        .as_object()
        .and_then(|o| o.keys().find(|k| !fields.contains(&k.as_str())));
    unknown.map_or(Ok(()), |unknown| Err(format!("no field {unknown}")))
}

fn listed(body: &Value, field: &str) -> Result<Vec<Value>, String> {
    let list = body[field].as_array().cloned();
    list.ok_or_else(|| format!("{field} is required"))
}

fn numbers(list: &[Value]) -> Vec<u64> {
    list.iter().filter_map(Value::as_u64).collect()
}

/// The body of a firewall of DigitalOcean.
pub(in crate::compute) fn digitalocean(id: Option<u64>, body: &Value) -> Order {
    let read = || {
        only(
            body,
            &["name", "droplet_ids", "inbound_rules", "outbound_rules"],
        )?;
        let inbound = listed(body, "inbound_rules")?;
        let outbound = listed(body, "outbound_rules")?;
        if inbound.len() + outbound.len() > 50 {
            return Err("a firewall has 50 rules at most".to_owned());
        }
        let sides = [(&inbound, "sources"), (&outbound, "destinations")];
        for (rule, ends) in sides
            .iter()
            .flat_map(|(all, e)| all.iter().map(move |r| (r, e)))
        {
            let ports = rule["ports"].as_str().unwrap_or_default();
            let known =
                ["tcp", "udp", "icmp"].contains(&rule["protocol"].as_str().unwrap_or_default());
            let addresses = rule[*ends]["addresses"].as_array();
            let whole = ports == "0" || (rule["protocol"] != "icmp" && are_ports(ports, '-'));
            let from = addresses.is_some_and(|all| !all.is_empty() && all.iter().all(is_cidr));
            if !known || !whole || !from {
                return Err(format!("{rule} is no rule"));
            }
        }
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(of_a_name) {
            return Err("name is invalid".to_owned());
        }
        Ok((
            name,
            numbers(&listed(body, "droplet_ids")?),
            inbound,
            outbound,
        ))
    };
    match (read(), id) {
        (Err(why), _) => Order::Invalid(why),
        (Ok((name, machines, inbound, outbound)), Some(id)) => {
            Order::Wall(Walling::Replace(id, name, machines, inbound, outbound))
        }
        (Ok((name, machines, inbound, outbound)), None) => {
            Order::Wall(Walling::Create(name, machines, inbound, outbound))
        }
    }
}

/// The rules of a firewall of Linode.
pub(in crate::compute) fn linode_rules(body: &Value) -> Result<Vec<Value>, String> {
    only(
        body,
        &["inbound", "inbound_policy", "outbound", "outbound_policy"],
    )?;
    if (&body["inbound_policy"], &body["outbound_policy"]) != (&json!("DROP"), &json!("ACCEPT")) {
        return Err("the policies are required".to_owned());
    }
    let inbound = listed(body, "inbound")?;
    if inbound.len() + listed(body, "outbound")?.len() > 25 {
        return Err("a firewall has 25 rules at most".to_owned());
    }
    for rule in &inbound {
        only(rule, &["action", "protocol", "ports", "addresses"])?;
        let protocol = rule["protocol"].as_str().unwrap_or_default();
        let ports = rule["ports"].as_str();
        let with_ports = ["TCP", "UDP"].contains(&protocol);
        let whole = match ports {
            Some(ports) => with_ports && are_ports(ports, '-'),
            None => with_ports || protocol == "ICMP",
        };
        let lists = rule["addresses"].as_object().cloned().unwrap_or_default();
        let of = |(kind, all): (&String, &Value)| {
            let is_v4 = |one: &Value| one.as_str().is_some_and(|text| !text.contains(':'));
            all.as_array().is_some_and(|all| {
                let fits = |one: &Value| is_cidr(one) && is_v4(one) == (kind == "ipv4");
                !all.is_empty() && all.iter().all(fits)
            })
        };
        let from = !lists.is_empty() && lists.iter().all(of);
        if rule["action"] != "ACCEPT" || !whole || !from {
            return Err(format!("{rule} is no rule"));
        }
    }
    Ok(inbound)
}

/// The body of a new firewall of Linode.
pub(in crate::compute) fn linode(body: &Value) -> Order {
    let read = || {
        only(body, &["label", "rules", "devices"])?;
        let label = body["label"].as_str().unwrap_or_default();
        let of_a_label = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let short = (3..=32).contains(&label.len()) && !label.contains("--");
        if !short || !label.chars().all(of_a_label) {
            return Err("label must be 3 to 32 characters".to_owned());
        }
        let linodes = numbers(&listed(&body["devices"], "linodes")?);
        Ok((label.to_owned(), linodes, linode_rules(&body["rules"])?))
    };
    match read() {
        Ok((name, machines, inbound)) => {
            Order::Wall(Walling::Create(name, machines, inbound, Vec::new()))
        }
        Err(why) => Order::Invalid(why),
    }
}

/// A new rule of a group of Vultr.
pub(in crate::compute) fn vultr_rule(group: u64, body: &Value) -> Order {
    let known = ["ip_type", "protocol", "subnet", "subnet_size", "port"];
    let subnet = body["subnet"].as_str().unwrap_or_default();
    let bits = body["subnet_size"].as_u64().unwrap_or(u64::MAX);
    let kind = if subnet.contains(':') { "v6" } else { "v4" };
    let port = match (body["protocol"].as_str(), body["port"].as_str()) {
        (Some("tcp" | "udp"), Some(port)) => are_ports(port, ':'),
        (Some("icmp"), None) => true,
        _ => false,
    };
    let whole = port && body["ip_type"] == kind && is_network(subnet, bits);
    match only(body, &known) {
        Err(why) => Order::Invalid(why),
        Ok(()) if !whole => Order::Invalid(format!("{body} is no rule")),
        Ok(()) => Order::Wall(Walling::AddRule(group, body.clone())),
    }
}

/// Which page of firewalls DigitalOcean and Linode are asked for.
pub(in crate::compute) fn list(ask: &Asked, machine: Option<u64>, size: &str) -> Order {
    let number = |name: &str, usual| {
        let asked = ask.query.get(name).and_then(|n| n.parse().ok());
        asked.unwrap_or(usual)
    };
    let label = ask.filter["label"].as_str().map(str::to_owned);
    Order::Wall(Walling::List(
        machine,
        label,
        number("page", 1),
        number(size, 20),
    ))
}

pub(super) fn of_digitalocean(rule: &Value) -> Vec<String> {
    let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let all = rule["sources"]["addresses"].as_array().cloned();
    let ports = match (text("protocol").as_str(), text("ports").as_str()) {
        ("icmp", _) => String::new(),
        (_, "0") => "1-65535".to_owned(),
        (_, ports) => ports.to_owned(),
    };
    let one = |from: Value| line(&text("protocol"), &ports, from.as_str().unwrap_or_default());
    all.unwrap_or_default().into_iter().map(one).collect()
}

pub(super) fn of_linode(rule: &Value) -> Vec<String> {
    let protocol = rule["protocol"].as_str().unwrap_or_default().to_lowercase();
    let ports = rule["ports"].as_str().unwrap_or_default();
    let lists = rule["addresses"].as_object().cloned().unwrap_or_default();
    let all = lists
        .into_iter()
        .filter_map(|(_, list)| list.as_array().cloned());
    let one = |from: Value| line(&protocol, ports, from.as_str().unwrap_or_default());
    all.flatten().map(one).collect()
}

pub(super) fn of_vultr(rule: &Value) -> String {
    let text = |field: &str| rule[field].as_str().unwrap_or_default().to_owned();
    let ports = text("port").replace(':', "-");
    let from = format!("{}/{}", text("subnet"), rule["subnet_size"]);
    line(&text("protocol"), &ports, &from)
}

/// What one rule lets in from one source, in the same words for all clouds.
pub(in crate::compute) fn line(protocol: &str, ports: &str, from: &str) -> String {
    let parts = [protocol, ports, from];
    let given: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    given.join(" ")
}
