//! Firewalls at clouds that have them: what of the inbound traffic reaches a machine.
//!
//! At most clouds a firewall is a thing of its own that outlives its machine. So it carries our reference, as a machine does, and is looked for by it before another one is made and before
//! its absence is believed. There is one for each machine, and none for a machine whose firewall is not enabled. Clouds write the same rules in several ways, so they are compared by
//! what they let in.

mod digitalocean;
mod linode;
mod proxmox;
mod vultr;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::vendor::Vendor;

/// What a cloud does with firewalls. While a machine has one, inbound traffic that no rule allows is dropped and outbound traffic is open. Changes may be taken on and done later: a look
/// tells.
#[async_trait]
pub trait Firewalls: Send + Sync {
    /// The firewalls that carry our reference, oldest first, and how they compare with `rules`. More than one means that something was asked for twice. `machine` may be gone.
    async fn find(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError>;

    /// Makes one for a machine. It may take `change` as well until it is in force.
    async fn create(
        &self,
        machine: &str,
        instance: InstanceId,
        rules: &[Rule],
    ) -> Result<(), ProviderError>;

    /// Takes a firewall towards these rules, in front of this machine. It goes by what it finds: doing so again, after any part of it was done, goes on with the rest. What is let in
    /// before and after is let in meanwhile, as far as the cloud has room for both.
    async fn change(
        &self,
        machine: &str,
        instance: InstanceId,
        firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError>;

    /// Deletes a firewall, after which everything reaches its machine. `machine` may be gone.
    async fn delete(&self, machine: &str, firewall_ref: &str) -> Result<(), ProviderError>;
}

/// A firewall as a cloud shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cloud's own name for it.
    pub firewall_ref: String,
    /// How it compares with what is wished for.
    pub state: State,
}

/// How a firewall compares with what is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is in front of the machine and has these rules.
    Applied,
    /// The cloud has taken that on and is at it.
    Pending,
    /// It is another one.
    Other,
}

/// A network, such as `203.0.113.0/24`. Its text is canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// All of IPv4.
    pub const ALL_V4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        prefix: 0,
    };
    /// All of IPv6.
    pub const ALL_V6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        prefix: 0,
    };

    /// Reads one; `None` if it is none, has bits beyond its prefix, or is IPv4 in the clothes of IPv6, which no packet comes from.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        Self::new(address.parse().ok()?, prefix.parse().ok()?)
    }

    /// The network of that address and so many bits. `None` as for `parse`.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let mapped = matches!(address, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some());
        let network = Self { address, prefix };
        let whole = prefix <= network.width() && network.bits() & !network.mask() == 0;
        (whole && !mapped).then_some(network)
    }

    /// Its first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Its bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn width(self) -> u8 {
        if self.address.is_ipv4() { 32 } else { 128 }
    }

    fn bits(self) -> u128 {
        match self.address {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        }
    }

    /// The bits that count, of so many as its kind has.
    fn mask(self) -> u128 {
        let all = u128::MAX >> (128 - u32::from(self.width()));
        let hosts = u32::from(self.width() - self.prefix);
        all & u128::MAX.checked_shl(hosts).unwrap_or(0)
    }

    /// Whether all of another one is in it.
    pub fn covers(self, other: Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && other.bits() & self.mask() == self.bits()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no network"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// What traffic is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP from IPv4, ICMPv6 from IPv6.
    Icmp,
}

impl Protocol {
    /// By its name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Tcp, Self::Udp, Self::Icmp];
        all.into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(name))
    }

    /// Its name in small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// What is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Of what.
    pub protocol: Protocol,
    /// The first port, 1 to 65535; 0 for ICMP.
    pub first_port: u16,
    /// The last port, not below the first; 0 for ICMP.
    pub last_port: u16,
    /// Where from: at least one.
    pub sources: Vec<Network>,
    /// For people. No cloud is told.
    pub description: String,
}

impl Rule {
    /// What it lets in, by source.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.sources.iter().map(|source| Entry {
            protocol: self.protocol,
            first_port: self.first_port,
            last_port: self.last_port,
            source: *source,
        })
    }

    /// Its ports as most clouds write them, with `between` where there are several; `None` for ICMP.
    fn ports(&self, between: char) -> Option<String> {
        ports(self.protocol, self.first_port, self.last_port, between)
    }
}

fn ports(protocol: Protocol, first: u16, last: u16, between: char) -> Option<String> {
    match protocol {
        Protocol::Icmp => None,
        Protocol::Tcp | Protocol::Udp if first == last => Some(first.to_string()),
        Protocol::Tcp | Protocol::Udp => Some(format!("{first}{between}{last}")),
    }
}

/// Reads ports, `None` if they cannot be read.
fn parse_ports(protocol: Protocol, text: &str, between: char) -> Option<(u16, u16)> {
    if protocol == Protocol::Icmp {
        return Some((0, 0));
    }
    let (first, last) = text.split_once(between).unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// What is let in from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Of what.
    pub protocol: Protocol,
    /// The first port; 0 for ICMP.
    pub first_port: u16,
    /// The last port; 0 for ICMP.
    pub last_port: u16,
    /// Where from.
    pub source: Network,
}

impl Entry {
    /// Whether it lets in all that another one does.
    pub fn covers(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.first_port <= other.first_port
            && other.last_port <= self.last_port
            && self.source.covers(other.source)
    }

    fn ports(&self, between: char) -> Option<String> {
        ports(self.protocol, self.first_port, self.last_port, between)
    }
}

/// What rules let in.
fn entries(rules: &[Rule]) -> BTreeSet<Entry> {
    rules.iter().flat_map(Rule::entries).collect()
}

/// What a cloud has of entries that it keeps one by one, compared with what is wished for.
#[derive(Debug, PartialEq, Eq)]
struct Difference<T> {
    /// What is not there.
    missing: Vec<Entry>,
    /// What is there and should not be, or is there twice, by the cloud's names.
    surplus: Vec<T>,
}

impl<T> Difference<T> {
    /// `shown` is what the cloud has; `None` for what cannot be read as one of ours.
    fn of(rules: &[Rule], shown: impl IntoIterator<Item = (Option<Entry>, T)>) -> Self {
        let mut missing = entries(rules);
        let mut surplus = Vec::new();
        for (entry, name) in shown {
            if !entry.is_some_and(|entry| missing.remove(&entry)) {
                surplus.push(name);
            }
        }
        Self {
            missing: missing.into_iter().collect(),
            surplus,
        }
    }

    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty()
    }
}

/// Whether accounts at a vendor have firewalls. vCenter's API has none without NSX.
pub fn has(vendor: Vendor) -> bool {
    vendor != Vendor::Vsphere
}

#[cfg(test)]
mod tests;
