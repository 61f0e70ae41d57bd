//! Metrics of guests on hypervisors of our own. One list of the whole cluster has what every guest does now and its counters since it was started, so a cluster costs one call a
//! minute however many guests it has. The list is some seconds old, by which nothing is lost: what is counted late is counted the next time.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Asked, Counters, Gives, Kind, Metrics, Now, Reading, percent};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::proxmox::Proxmox;

/// What it tells.
pub(super) const GIVES: Gives = Gives {
    kinds: &Kind::ALL,
    traffic: true,
    estimated: false,
    minutes: 1,
    an_hour: None,
};

/// What a guest does now; `None` if the entry is of no guest of ours, or its node does not say.
fn now_of(entry: &Value) -> Option<(String, Now)> {
    (text(entry, "/type") == Some("qemu")).then_some(())?;
    let whole = |name: &str| entry.get(name).and_then(Value::as_i64).unwrap_or_default();
    let vmid = entry.get("vmid")?.as_u64()?.to_string();
    let now = match text(entry, "/status")? {
        "running" => Now {
            cpu_percent: percent(entry.get("cpu")?.as_f64()? * 100.0),
            memory_bytes: whole("mem"),
            counters: Counters {
                uptime_seconds: whole("uptime"),
                network_in: whole("netin"),
                network_out: whole("netout"),
                disk_read: whole("diskread"),
                disk_write: whole("diskwrite"),
            },
        },
        "stopped" => Now::default(),
        _ => return None,
    };
    Some((vmid, now))
}

#[async_trait]
impl Metrics for Proxmox {
    fn gives(&self) -> Gives {
        GIVES
    }

    async fn read(
        &self,
        asked: &[Asked],
        _now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>> {
        let listed = match self.resources("?type=vm").await {
            Ok(listed) => listed,
            Err(error) => return asked.iter().map(|_| Err(error.clone())).collect(),
        };
        let guests: HashMap<String, Now> = listed.iter().filter_map(now_of).collect();
        let read = |one: &Asked| {
            let now = guests.get(&one.provider_ref).copied();
            now.map(Reading::Now).ok_or(ProviderError::NotFound)
        };
        asked.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_guest_says_what_it_does_and_one_that_is_off_does_nothing() {
        let on = json!({"type": "qemu", "vmid": 100, "status": "running", "cpu": 0.25, "mem": 5, "uptime": 60, "netin": 1, "netout": 2, "diskread": 3,
            "diskwrite": 4});
        let (vmid, now) = now_of(&on).unwrap();
        assert_eq!(vmid, "100");
        assert!((now.cpu_percent - 25.0).abs() < f32::EPSILON);
        let counters = Counters {
            uptime_seconds: 60,
            network_in: 1,
            network_out: 2,
            disk_read: 3,
            disk_write: 4,
        };
        assert_eq!((now.memory_bytes, now.counters), (5, counters));
        let off =
            json!({"type": "qemu", "vmid": 100, "status": "stopped", "netin": 7, "uptime": 0});
        assert_eq!(now_of(&off).unwrap().1, Now::default());
        // Its node does not answer: it may run for all we know.
        let unknown = json!({"type": "qemu", "vmid": 100, "status": "unknown"});
        assert_eq!(now_of(&unknown), None);
        assert_eq!(now_of(&json!({"type": "lxc", "vmid": 1})), None);
    }
}
