//! The names of addresses, as Linode and Vultr keep them. What is asked and answered differs too much for one shape, so it is answered in the words of each.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use super::faults::Verb;
use super::machines::{Answer, Cloud, Order, Vm};
use super::{Dialect, Said};

/// What is asked of the names of a machine's addresses.
#[derive(Clone, Debug)]
pub enum Naming {
    /// That of one address.
    Get(IpAddr),
    /// Those of its IPv4 addresses.
    List4,
    /// Those of its IPv6 addresses that have one.
    List6,
    /// Another one; the default if `None`.
    Set(IpAddr, Option<String>),
}

/// Reads an address to be named, which some clouds take only written in full.
pub(super) fn set(id: Option<u64>, address: &str, in_full: bool, name: Option<&str>) -> Order {
    let short = in_full && address.contains(':') && address.len() != 39;
    match (id, address.parse()) {
        (Some(_), Ok(_)) if short => {
            Order::Invalid("the address is not in full, expanded format".to_owned())
        }
        (Some(id), Ok(address)) => Order::Name(id, Naming::Set(address, name.map(str::to_owned))),
        _ => Order::Nowhere,
    }
}

fn said(status: u16, body: Value) -> Answer {
    Answer::Said(Said {
        status,
        body,
        reason: None,
    })
}

fn default_of(address: IpAddr) -> String {
    let dashed = address.to_string().replace(['.', ':'], "-");
    format!("{dashed}.ip.cloud.test")
}

impl Vm {
    /// Its IPv6 address, where the dialect shows one of each machine.
    pub(super) fn ipv6(&self) -> Ipv6Addr {
        let base = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 3, 0, 0, 0, 0, 0));
        Ipv6Addr::from(base + u128::from(self.id))
    }

    fn owns(&self, dialect: Dialect, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => self.address() == Some(ip),
            // All of Linode's have the same one.
            IpAddr::V6(ip) => dialect == Dialect::Linode || self.ipv6() == ip,
        }
    }

    fn shown(&self, address: IpAddr) -> Value {
        let name = self.names.get(&address).cloned();
        json!(name.or_else(|| address.is_ipv4().then(|| default_of(address))))
    }

    /// As Linode shows an address.
    fn linode_ip(&self, address: IpAddr) -> Value {
        let (kind, mask, prefix) = match address {
            IpAddr::V4(_) => ("ipv4", "255.255.255.0", 24),
            IpAddr::V6(_) => ("ipv6", "ffff:ffff:ffff:ffff::", 64),
        };
        json!({
            "address": address, "gateway": null, "linode_id": self.id, "prefix": prefix, "public": true, "rdns": self.shown(address),
            "region": self.region, "subnet_mask": mask, "type": kind,
        })
    }
}

impl Cloud {
    /// Whether a name resolves to an address, where the cloud wants that.
    fn resolves(&self, name: &str, address: IpAddr) -> bool {
        self.dialect != Dialect::Linode || self.forward.get(name) == Some(&address)
    }

    pub(super) fn name(&mut self, id: u64, naming: &Naming) -> Answer {
        let dialect = self.dialect;
        let Some(vm) = self.machines.get(&id) else {
            return Answer::NotFound;
        };
        match naming {
            Naming::Get(address) if vm.owns(dialect, *address) => said(200, vm.linode_ip(*address)),
            Naming::Get(_) => Answer::NotFound,
            Naming::List4 => {
                let of = |ip| json!({"ip": ip, "netmask": "255.255.254.0", "gateway": "45.0.0.1", "type": "main_ip", "reverse": vm.shown(ip)});
                let all: Vec<Value> = vm.address().into_iter().map(|a| of(a.into())).collect();
                let meta = json!({"total": all.len(), "links": {"next": "", "prev": ""}});
                said(200, json!({"ipv4s": all, "meta": meta}))
            }
            Naming::List6 => {
                let named = vm.names.iter().filter(|(address, _)| address.is_ipv6());
                let all: Vec<Value> = named
                    .map(|(ip, name)| json!({"ip": ip, "reverse": name}))
                    .collect();
                said(200, json!({"reverse_ipv6s": all}))
            }
            Naming::Set(address, name) => self.give_name(id, *address, name.as_deref()),
        }
    }

    fn give_name(&mut self, id: u64, address: IpAddr, name: Option<&str>) -> Answer {
        let dialect = self.dialect;
        if let Some(name) = name.filter(|name| !self.resolves(name, address)) {
            let reason = format!(
                "No match was found for {name}. Reverse DNS must have a matching forward entry."
            );
            return said(
                400,
                json!({"errors": [{"field": "rdns", "reason": reason}]}),
            );
        }
        let Some(vm) = self.machines.get_mut(&id) else {
            return Answer::NotFound;
        };
        if !vm.owns(dialect, address) {
            return Answer::NotFound;
        }
        vm.history.push(Verb::SetReverseDns);
        let had = match name {
            Some(name) => vm.names.insert(address, name.to_owned()).is_some(),
            None => vm.names.remove(&address).is_some(),
        };
        match dialect {
            Dialect::Linode => said(200, vm.linode_ip(address)),
            // What Vultr deletes has to be there.
            _ if name.is_none() && address.is_ipv6() && !had => Answer::NotFound,
            _ => said(204, Value::Null),
        }
    }
}
