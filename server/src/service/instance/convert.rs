//! Instances: model to contract.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::instance::v1 as proto;
use tonic::Status;

use crate::base::id::SshKeyId;
use crate::base::time;
use crate::provider::compute::Providers;
use crate::provider::compute::firewalls::{Protocol, Rule};
use crate::provider::compute::metrics::{Kind, Sample};
use crate::service::instance::model::backup::Backup;
use crate::service::instance::model::firewall::Firewall;
use crate::service::instance::model::meter::Traffic;
use crate::service::instance::model::reverse_dns::Record;
use crate::service::instance::model::span::Resolution;
use crate::service::instance::model::{Labels, Snapshot, SshKey, State, View, snapshot};

/// An instance as its owner sees it.
pub fn instance(view: &View, providers: &Providers, now: DateTime<Utc>) -> proto::Instance {
    let (i, bill) = (&view.instance, view.bill.as_ref());
    proto::Instance {
        id: i.id.to_string(),
        account_id: i.account.to_string(),
        display_name: i.display_name.clone(),
        labels: i.labels.clone().into_iter().collect(),
        hostname: i.hostname.clone(),
        state: state(i.state) as i32,
        plan_id: i.plan.to_string(),
        region_id: i.region.to_string(),
        image_id: i.image.to_string(),
        // None made what was adopted.
        order_id: if i.order.0.is_nil() {
            String::new()
        } else {
            i.order.to_string()
        },
        ipv4_address: i.ipv4.clone().unwrap_or_default(),
        ipv6_address: i.ipv6.clone().unwrap_or_default(),
        vcpus: i.vcpus,
        memory_mib: i.memory_mib,
        disk_gib: i.disk_gib,
        price: Some(i.price.to_proto()),
        period: i.period as i32,
        paid_until: bill.map(|b| time::to_proto(b.paid_until)),
        next_charge: bill
            .and_then(|b| b.next_charge(now))
            .map(|amount| amount.to_proto()),
        next_step: bill.map(|b| b.next_step.clone()).unwrap_or_default(),
        next_step_time: bill.and_then(|b| b.next_step_at).map(time::to_proto),
        auto_renew: bill.is_some_and(|b| b.auto_renew),
        operation_id: view.operation.map(|o| o.to_string()).unwrap_or_default(),
        capabilities: providers.capabilities(&i.provider),
        create_time: Some(time::to_proto(i.created_at)),
        update_time: Some(time::to_proto(i.updated_at)),
        etag: i.etag(),
        first_password_expire_time: i.first_password_until.map(time::to_proto),
    }
}

/// A public key.
pub fn ssh_key(key: &SshKey) -> proto::SshKey {
    proto::SshKey {
        id: key.id.to_string(),
        display_name: key.display_name.clone(),
        public_key: key.public_key.clone(),
        fingerprint: key.fingerprint.clone(),
        create_time: Some(time::to_proto(key.created_at)),
    }
}

/// A snapshot.
pub fn snapshot(snapshot: &Snapshot) -> proto::Snapshot {
    let state = match snapshot.state() {
        snapshot::State::Creating => proto::snapshot::State::Creating,
        snapshot::State::Available => proto::snapshot::State::Available,
        snapshot::State::Deleting => proto::snapshot::State::Deleting,
    };
    proto::Snapshot {
        id: snapshot.id.to_string(),
        instance_id: snapshot.instance.to_string(),
        display_name: snapshot.display_name.clone(),
        state: state as i32,
        image_id: snapshot.image.to_string(),
        create_time: Some(time::to_proto(snapshot.created_at)),
    }
}

/// A backup.
pub fn backup(backup: &Backup) -> proto::Backup {
    proto::Backup {
        id: backup.id.to_string(),
        instance_id: backup.instance.to_string(),
        take_time: Some(time::to_proto(backup.taken_at)),
        image_id: backup.image.to_string(),
    }
}

/// The name of an address.
pub fn reverse_dns(record: &Record) -> proto::ReverseDnsRecord {
    proto::ReverseDnsRecord {
        address: record.address.to_string(),
        hostname: record.hostname.clone(),
        set_time: record.set_at.map(time::to_proto),
    }
}

/// A firewall; an open one if there never was one.
pub fn firewall(firewall: Option<&Firewall>) -> proto::Firewall {
    let Some(firewall) = firewall else {
        return proto::Firewall {
            in_force: true,
            ..Default::default()
        };
    };
    proto::Firewall {
        enabled: firewall.set.enabled,
        rules: firewall.set.rules.iter().map(firewall_rule).collect(),
        in_force: firewall.in_force,
        set_time: firewall.set_at.map(time::to_proto),
    }
}

fn firewall_rule(rule: &Rule) -> proto::FirewallRule {
    let protocol = match rule.protocol {
        Protocol::Tcp => proto::firewall_rule::Protocol::Tcp,
        Protocol::Udp => proto::firewall_rule::Protocol::Udp,
        Protocol::Icmp => proto::firewall_rule::Protocol::Icmp,
    };
    proto::FirewallRule {
        protocol: protocol as i32,
        first_port: i32::from(rule.first_port),
        last_port: i32::from(rule.last_port),
        source_cidrs: rule.sources.iter().map(ToString::to_string).collect(),
        description: rule.description.clone(),
    }
}

/// The labels a list asks for: those that have any value, and those that have this one. A key that is named with two values is on no instance.
pub fn label_filter(texts: &[String]) -> Labels {
    let mut labels = Labels::default();
    for text in texts {
        match text.split_once('=') {
            None => labels.present.push(text.clone()),
            Some((key, value)) => labels.pairs.push((key.to_owned(), value.to_owned())),
        }
    }
    labels
}

/// Reads the ids of keys.
///
/// # Errors
/// INVALID_REQUEST for one that is no UUID; the edge has checked them.
pub fn ssh_key_ids(ids: &[String]) -> Result<Vec<SshKeyId>, Status> {
    ids.iter()
        .map(|id| SshKeyId::parse("ssh_key_ids", id))
        .collect()
}

fn state(state: State) -> proto::instance::State {
    match state {
        State::Provisioning => proto::instance::State::Provisioning,
        State::Running => proto::instance::State::Running,
        State::Stopped => proto::instance::State::Stopped,
        State::Suspended => proto::instance::State::Suspended,
        State::Deleting => proto::instance::State::Deleting,
        State::Deleted => proto::instance::State::Deleted,
        State::Failed => proto::instance::State::Failed,
        State::Lost => proto::instance::State::Lost,
    }
}

/// The states a list asks for: one, or all but those that are over.
pub fn state_filter(number: i32) -> Vec<&'static str> {
    if number == proto::instance::State::Unspecified as i32 {
        return State::ALL
            .into_iter()
            .filter(|s| !matches!(s, State::Deleted | State::Failed))
            .map(State::as_str)
            .collect();
    }
    State::ALL
        .into_iter()
        .filter(|s| state(*s) as i32 == number)
        .map(State::as_str)
        .collect()
}

/// What is measured, as the contract names it.
pub fn metric_kind(kind: Kind) -> proto::MetricKind {
    match kind {
        Kind::Cpu => proto::MetricKind::CpuPercent,
        Kind::Memory => proto::MetricKind::MemoryBytes,
        Kind::DiskRead => proto::MetricKind::DiskReadBytesPerSecond,
        Kind::DiskWrite => proto::MetricKind::DiskWriteBytesPerSecond,
        Kind::NetworkIn => proto::MetricKind::NetworkInBytesPerSecond,
        Kind::NetworkOut => proto::MetricKind::NetworkOutBytesPerSecond,
    }
}

/// The samples in which a kind was measured.
pub fn series(kind: Kind, samples: &[Sample]) -> proto::MetricSeries {
    let points = samples.iter().filter_map(|sample| {
        Some(proto::MetricPoint {
            start_time: Some(time::to_proto(sample.at)),
            value: sample.value(kind)?,
        })
    });
    proto::MetricSeries {
        kind: metric_kind(kind) as i32,
        points: points.collect(),
    }
}

/// A resolution that is asked for; `None` leaves the choice.
pub fn resolution(asked: proto::Resolution) -> Option<Resolution> {
    match asked {
        proto::Resolution::Unspecified => None,
        proto::Resolution::OneMinute => Some(Resolution::Minute),
        proto::Resolution::FiveMinutes => Some(Resolution::FiveMinutes),
        proto::Resolution::OneHour => Some(Resolution::Hour),
    }
}

/// A resolution, as the contract names it.
pub fn resolution_to_proto(resolution: Resolution) -> proto::Resolution {
    match resolution {
        Resolution::Minute => proto::Resolution::OneMinute,
        Resolution::FiveMinutes => proto::Resolution::FiveMinutes,
        Resolution::Hour => proto::Resolution::OneHour,
    }
}

/// What an instance moved in a month.
pub fn traffic(traffic: &Traffic, estimated: bool) -> proto::Traffic {
    proto::Traffic {
        instance_id: traffic.instance.to_string(),
        month: traffic.month.format("%Y-%m").to_string(),
        in_bytes: traffic.received,
        out_bytes: traffic.sent,
        included_bytes: traffic.included,
        overage_bytes: traffic.overage(),
        as_of_time: traffic.read_at.map(time::to_proto),
        estimated,
    }
}
