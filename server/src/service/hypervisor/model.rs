//! The rules of places and addresses. Pure.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::provider::compute::cluster::{Cluster, Entry, Node};

/// Fields of a pool that staff may change.
pub const WRITABLE: &[&str] = &[
    "display_name",
    "region_code",
    "nameservers",
    "reserved_ranges",
    "quarantine",
    "enabled",
];
/// The first number that the platform gives to a machine. What people make by hand is numbered from 100.
pub const FIRST_VMID: u32 = 1_000_000;
/// The last number that Proxmox takes.
const LAST_VMID: u32 = 999_999_999;
/// vCPUs given for each processor.
const OVERCOMMIT: i64 = 4;
/// What a node gives that does not tell what it has, of vCPUs and of MiB: more than all machines take.
const UNTOLD: i64 = 1 << 40;
/// Of a node's memory, this part stays its own: one in twenty.
const OWN_MEMORY: i64 = 20;

/// What the machine of an instance takes.
#[derive(Clone, Debug)]
pub struct Need {
    /// Its owner, whose machines are kept apart.
    pub account: AccountId,
    /// The instance.
    pub instance: InstanceId,
    /// The cluster.
    pub provider_account: ProviderAccountId,
    /// The provider's name of the region.
    pub region: String,
    /// The template.
    pub image: String,
    /// vCPUs.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
}

/// A place that was given to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its owner.
    pub account: AccountId,
    /// Whose machine.
    pub instance: InstanceId,
    /// The node it was made on.
    pub node: String,
    /// Its number.
    pub vmid: u32,
    /// vCPUs.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// Where its disk is.
    pub storage: String,
}

impl Taken {
    /// Whether the machine can still be made there: its node takes machines and has the template, and nobody else uses the number.
    pub fn is_good(&self, cluster: &Cluster, need: &Need, maintenance: &HashSet<String>) -> bool {
        let node = cluster
            .nodes
            .iter()
            .any(|n| n.name == self.node && n.online);
        let template = cluster
            .templates
            .iter()
            .any(|t| t.node == self.node && t.name == need.image);
        let foreign = is_used(cluster, self.vmid, need.instance);
        node && template && !foreign && !maintenance.contains(&self.node)
    }
}

/// Whether a number is that of something else than this instance's machine.
fn is_used(cluster: &Cluster, vmid: u32, instance: InstanceId) -> bool {
    cluster.templates.iter().any(|t| t.vmid == vmid)
        || cluster
            .guests
            .iter()
            .any(|g| g.vmid == vmid && g.instance() != Some(instance) && g.name.is_some())
}

/// A number for a machine: beyond all that were given before, and none that the cluster has. `None` if there is none left.
pub fn vmid(cluster: &Cluster, last: Option<u32>) -> Option<u32> {
    let used: HashSet<u32> = cluster
        .guests
        .iter()
        .map(|g| g.vmid)
        .chain(cluster.templates.iter().map(|t| t.vmid))
        .collect();
    let first = last.map_or(FIRST_VMID, |last| last + 1);
    (first..=LAST_VMID).find(|number| !used.contains(number))
}

/// What of a node is given away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// vCPUs.
    pub vcpus: i64,
    /// Memory.
    pub memory_mib: i64,
    /// Guests, those that are to be made too.
    pub guests: i64,
}

/// What of each node is given away: to the guests it has, on or off, and to those that were given a place and do not show yet.
pub fn committed(cluster: &Cluster, taken: &[Taken]) -> HashMap<String, Committed> {
    let mut sums: HashMap<String, Committed> = HashMap::new();
    let mut add = |node: &str, vcpus: i64, memory: i64| {
        let sum = sums.entry(node.to_owned()).or_default();
        sum.vcpus += vcpus;
        sum.memory_mib += memory;
        sum.guests += 1;
    };
    let by_number: HashMap<u32, &Taken> = taken.iter().map(|t| (t.vmid, t)).collect();
    let by_instance: HashMap<InstanceId, &Taken> = taken.iter().map(|t| (t.instance, t)).collect();
    for guest in &cluster.guests {
        // One that is being made is as small as its template.
        let planned = by_number
            .get(&guest.vmid)
            .or_else(|| by_instance.get(&guest.instance()?));
        let vcpus = planned.map_or(0, |t| i64::from(t.vcpus));
        let memory = planned.map_or(0, |t| i64::from(t.memory_mib));
        add(
            &guest.node,
            i64::from(guest.vcpus).max(vcpus),
            i64::from(guest.memory_mib).max(memory),
        );
    }
    for place in unseen(cluster, taken) {
        add(
            &place.node,
            i64::from(place.vcpus),
            i64::from(place.memory_mib),
        );
    }
    sums
}

fn unseen<'t>(cluster: &Cluster, taken: &'t [Taken]) -> impl Iterator<Item = &'t Taken> {
    let numbers: HashSet<u32> = cluster.guests.iter().map(|g| g.vmid).collect();
    let instances: HashSet<InstanceId> =
        cluster.guests.iter().filter_map(|g| g.instance()).collect();
    taken
        .iter()
        .filter(move |t| !numbers.contains(&t.vmid) && !instances.contains(&t.instance))
}

/// What a node can still give.
pub fn free(node: &Node, committed: Committed) -> (i64, i64) {
    if node.unmeasured {
        return (UNTOLD - committed.vcpus, UNTOLD - committed.memory_mib);
    }
    (
        i64::from(node.cpus) * OVERCOMMIT - committed.vcpus,
        node.memory_mib - node.memory_mib / OWN_MEMORY - committed.memory_mib,
    )
}

/// Why no node takes a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// None that takes machines has the template.
    NoTemplate,
    /// None of them has room.
    Full,
}

/// The node for a machine, and where its disk will be. Of the nodes that are up, take machines, have the template and have room, the one with the fewest machines of
/// the same owner; among those the one with most memory left.
///
/// # Errors
/// Why there is none.
pub fn choose(
    cluster: &Cluster,
    taken: &[Taken],
    maintenance: &HashSet<String>,
    need: &Need,
) -> Result<(String, String), NoRoom> {
    let sums = committed(cluster, taken);
    let of_owner = |node: &str| {
        let own = taken.iter().filter(|t| t.account == need.account);
        own.filter(|t| node_of(cluster, t) == node).count()
    };
    let mut candidates = Vec::new();
    let mut has_template = false;
    for node in &cluster.nodes {
        if !node.online || maintenance.contains(&node.name) {
            continue;
        }
        let template = cluster
            .templates
            .iter()
            .find(|t| t.node == node.name && t.name == need.image);
        let Some(template) = template else { continue };
        has_template = true;
        let (vcpus, memory) = free(node, sums.get(&node.name).copied().unwrap_or_default());
        let enough = vcpus >= i64::from(need.vcpus)
            && memory >= i64::from(need.memory_mib)
            && room_on(cluster, taken, node, &template.storage) >= i64::from(need.disk_gib);
        if enough {
            candidates.push((of_owner(&node.name), -memory, node, template));
        }
    }
    candidates
        .into_iter()
        .min_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)))
        .map(|(_, _, node, template)| (node.name.clone(), template.storage.clone()))
        .ok_or(if has_template {
            NoRoom::Full
        } else {
            NoRoom::NoTemplate
        })
}

/// Where a machine is now, should it have moved.
fn node_of<'c>(cluster: &'c Cluster, taken: &'c Taken) -> &'c str {
    let is_of = |g: &&Entry| g.vmid == taken.vmid || g.instance() == Some(taken.instance);
    let guest = cluster.guests.iter().find(is_of);
    guest.map_or(&taken.node, |guest| &guest.node)
}

/// Whether the node of a machine has room for it as `wide` says; `None` if the node does not show what it has. What it has already is never refused.
pub fn fits(cluster: &Cluster, taken: &[Taken], wide: &Taken) -> Option<bool> {
    let name = node_of(cluster, wide);
    let node = cluster.nodes.iter().find(|n| n.name == name && n.online)?;
    let room = |taken: &[Taken]| {
        let sum = committed(cluster, taken).get(name).copied();
        let (vcpus, memory) = free(node, sum.unwrap_or_default());
        [vcpus, memory, room_on(cluster, taken, node, &wide.storage)]
    };
    let mut then = taken.to_vec();
    then.retain(|t| t.instance != wide.instance);
    then.push(wide.clone());
    let (now, then) = (room(taken), room(&then));
    Some(
        now.iter()
            .zip(then)
            .all(|(now, then)| then >= 0 || then >= *now),
    )
}

/// GiB left on a storage: of what is not used, less what machines will take that do not show yet; and no more than what is not promised to any, because a disk that was
/// given fills up later.
fn room_on(cluster: &Cluster, taken: &[Taken], node: &Node, storage: &str) -> i64 {
    let Some(found) = node.storages.iter().find(|s| s.name == storage) else {
        return 0;
    };
    let on_it =
        |t: &&Taken| t.storage == storage && (found.shared || node_of(cluster, t) == node.name);
    let coming: i64 = unseen(cluster, taken)
        .filter(on_it)
        .map(|t| i64::from(t.disk_gib))
        .sum();
    let promised: i64 = taken
        .iter()
        .filter(on_it)
        .map(|t| i64::from(t.disk_gib))
        .sum();
    (found.size_gib - found.used_gib - coming).min(found.size_gib - promised)
}

/// A pool of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Identifier.
    pub id: Uuid,
    /// The cluster.
    pub provider_account: ProviderAccountId,
    /// Name for people.
    pub display_name: String,
    /// Region; every one if empty.
    pub region: String,
    /// The network.
    pub network: Network,
    /// The router.
    pub gateway: Ipv4Addr,
    /// The switch.
    pub bridge: String,
    /// The VLAN; 0 for none.
    pub vlan: i32,
    /// Where machines ask for names.
    pub nameservers: Vec<Ipv4Addr>,
    /// Ranges that no machine gets, first and last.
    pub reserved: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// How long an address rests.
    pub quarantine_seconds: i32,
    /// Whether machines get addresses of it.
    pub enabled: bool,
    /// The first address that was never given out.
    pub next: Ipv4Addr,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When staff last changed it.
    pub updated_at: DateTime<Utc>,
}

/// An IPv4 network of 8 to 30 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: u32,
    /// Bits of the network.
    pub prefix: u8,
}

impl Network {
    /// Reads one; `None` if it is no network, or too large or small for a pool.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let first = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let prefix = prefix.parse::<u8>().ok()?;
        let hosts = u32::MAX.checked_shr(u32::from(prefix))?;
        ((8..=30).contains(&prefix) && first & hosts == 0).then_some(Self { first, prefix })
    }

    fn last(self) -> u32 {
        self.first | u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0)
    }

    /// Whether an address is of it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last()).contains(&u32::from(address))
    }

    /// Whether a machine could have the address.
    pub fn is_host(self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.first < number && number < self.last()
    }

    /// The lowest address a machine could have.
    pub fn first_host(self) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 1)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.first), self.prefix)
    }
}

/// The address after this one; the last one again at the end of all.
pub fn after(address: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(address).saturating_add(1))
}

/// Whether a machine may get this address, if nobody has it.
pub fn is_usable(pool: &Pool, address: Ipv4Addr) -> bool {
    pool.network.is_host(address) && address != pool.gateway && range_of(pool, address).is_none()
}

fn range_of(pool: &Pool, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let within = |(first, last): &&(Ipv4Addr, Ipv4Addr)| *first <= address && address <= *last;
    pool.reserved
        .iter()
        .filter(within)
        .map(|(_, last)| *last)
        .max()
}

/// The first address from `from` on that a machine may get. Reserved ranges are passed at once, however long they are.
pub fn first_free(pool: &Pool, from: Ipv4Addr) -> Option<Ipv4Addr> {
    let mut address = from.max(pool.network.first_host());
    while pool.network.is_host(address) {
        match range_of(pool, address) {
            Some(last) => address = after(last),
            None if address == pool.gateway => address = after(address),
            None => return Some(address),
        }
    }
    None
}

/// Addresses that machines may get.
pub fn size(pool: &Pool) -> u32 {
    let (mut count, mut at) = (0, pool.network.first_host());
    let mut stops: Vec<(u32, u32)> = pool
        .reserved
        .iter()
        .map(|(first, last)| (u32::from(*first), u32::from(*last)))
        .chain([(u32::from(pool.gateway), u32::from(pool.gateway))])
        .collect();
    stops.sort_unstable();
    let end = pool.network.last();
    for (first, last) in stops {
        let from = u32::from(at);
        if first > from {
            count += first.min(end) - from.min(end);
        }
        at = Ipv4Addr::from(from.max(last.saturating_add(1)));
    }
    count + end.saturating_sub(u32::from(at))
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
