//! Hypervisors of our own: model to contract and back.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::hypervisor::v1 as proto;
use sewa_sdk::sewa::hypervisor::v1::pool_address::State;

use crate::base::time;
use crate::provider::compute::cluster::{Node, Template};
use crate::provider::compute::vendor::Vendor;
use crate::service::catalog::model::Snapshot;
use crate::service::hypervisor::error::Error;
use crate::service::hypervisor::model::{Committed, Pool, free, size};
use crate::service::hypervisor::store::Known;

fn narrow(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

/// A pool, with how many of its addresses are held and in quarantine.
pub fn pool(p: &Pool, (held, resting): (i64, i64)) -> proto::AddressPool {
    proto::AddressPool {
        id: p.id.to_string(),
        provider_account_id: p.provider_account.to_string(),
        display_name: p.display_name.clone(),
        region_code: p.region.clone(),
        cidr: p.network.to_string(),
        gateway: p.gateway.to_string(),
        bridge: p.bridge.clone(),
        vlan: p.vlan,
        nameservers: p.nameservers.iter().map(Ipv4Addr::to_string).collect(),
        reserved_ranges: p
            .reserved
            .iter()
            .map(|(first, last)| proto::AddressRange {
                first: first.to_string(),
                last: last.to_string(),
            })
            .collect(),
        quarantine: Some(prost_types::Duration {
            seconds: i64::from(p.quarantine_seconds),
            nanos: 0,
        }),
        enabled: p.enabled,
        addresses: narrow(size(p)),
        held: narrow(held),
        quarantined: narrow(resting),
        create_time: Some(time::to_proto(p.created_at)),
        update_time: Some(time::to_proto(p.updated_at)),
    }
}

/// An address.
pub fn address(known: &Known, now: DateTime<Utc>) -> proto::PoolAddress {
    let resting = known.free_at.is_some_and(|at| at > now);
    let state = match known.state.as_str() {
        "HELD" => State::Held,
        "RESERVED" => State::Reserved,
        _ if resting => State::Quarantined,
        _ => State::Free,
    };
    proto::PoolAddress {
        address: known.address.to_string(),
        state: state.into(),
        instance_id: known.instance.map(|id| id.to_string()).unwrap_or_default(),
        note: known.note.clone(),
        free_time: known.free_at.filter(|_| resting).map(time::to_proto),
        update_time: Some(time::to_proto(known.updated_at)),
    }
}

/// A node, with what of it is given away.
pub fn node(n: &Node, given: Committed, maintenance: bool) -> proto::Node {
    let (free_vcpus, free_memory_mib) = if n.unmeasured { (0, 0) } else { free(n, given) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the bounds are set just before"
    )]
    let cpu_percent = (n.cpu * 100.0).clamp(0.0, 100.0).round() as i32;
    proto::Node {
        name: n.name.clone(),
        online: n.online,
        maintenance,
        cpus: narrow(n.cpus),
        cpu_percent,
        committed_vcpus: narrow(given.vcpus),
        free_vcpus: narrow(free_vcpus.max(0)),
        memory_mib: n.memory_mib,
        used_memory_mib: n.used_mib,
        committed_memory_mib: given.memory_mib,
        free_memory_mib: free_memory_mib.max(0),
        guests: narrow(given.guests),
        uptime: Some(prost_types::Duration {
            seconds: n.uptime_seconds,
            nanos: 0,
        }),
        storages: n
            .storages
            .iter()
            .map(|s| proto::NodeStorage {
                name: s.name.clone(),
                size_gib: s.size_gib,
                used_gib: s.used_gib,
                free_gib: (s.size_gib - s.used_gib).max(0),
                shared: s.shared,
            })
            .collect(),
    }
}

/// A template, with the images that are made from it.
pub fn template(t: &Template, catalogue: &Snapshot, provider: &str) -> proto::Template {
    let images = catalogue.images();
    let made = images
        .iter()
        .filter(|image| image.provider == provider && image.provider_image == t.name);
    proto::Template {
        name: t.name.clone(),
        vmid: narrow(t.vmid),
        node: t.node.clone(),
        storage: t.storage.clone(),
        disk_gib: narrow(t.disk_gib),
        image_ids: made.map(|image| image.id.to_string()).collect(),
    }
}

/// An address of a request. The edge has checked its form.
///
/// # Errors
/// `Invalid` if it is none.
pub fn parse(field: &'static str, text: &str) -> Result<Ipv4Addr, Error> {
    text.parse()
        .map_err(|_| Error::Invalid(field, "STRING_IPV4", "must be an IPv4 address"))
}

/// The VLAN of a pool, where machines of this vendor carry none of their own.
///
/// # Errors
/// `Invalid` if it names one all the same.
pub fn check_vlan(vlan: i32, vendor: Vendor) -> Result<(), Error> {
    if vlan == 0 || vendor.tags_vlans() {
        return Ok(());
    }
    let message = "must be 0: the port group has the VLAN";
    Err(Error::Invalid("vlan", "OF_PORT_GROUP", message))
}

/// Addresses of a request.
///
/// # Errors
/// As of [`parse`].
pub fn parse_all(field: &'static str, texts: &[String]) -> Result<Vec<Ipv4Addr>, Error> {
    texts.iter().map(|text| parse(field, text)).collect()
}

/// Ranges of a request.
///
/// # Errors
/// As of [`parse`]; `Invalid` if one ends before it begins.
pub fn ranges(
    field: &'static str,
    sent: &[proto::AddressRange],
) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>, Error> {
    sent.iter()
        .map(|range| {
            let (first, last) = (parse(field, &range.first)?, parse(field, &range.last)?);
            if first <= last {
                Ok((first, last))
            } else {
                Err(Error::Invalid(
                    field,
                    "RANGE",
                    "must not end before it begins",
                ))
            }
        })
        .collect()
}
