//! Backups of a simulated cloud: switched on and off for a machine, taken by the cloud, and gone with the machine or the switch. What is asked and answered differs too much for one
//! shape, so it is answered in the words of each.

use std::time::Instant;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::faults::Verb;
use super::machines::{Answer, Cloud, Vm, WORK};
use super::{Dialect, Said};

/// What a machine has of backups.
#[derive(Clone, Debug, Default)]
pub struct Backups {
    /// Whether they are taken.
    pub on: bool,
    /// Whether they are taken every day, where that is said apart.
    pub daily: bool,
    /// Those there are, oldest first.
    pub copies: Vec<Copy>,
}

/// A copy of a disk.
#[derive(Clone, Debug)]
pub struct Copy {
    /// The cloud's number for it.
    pub id: u64,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// The image it is of.
    pub image: String,
    /// The password of root on it.
    pub password: Option<String>,
    /// The keys of root on it.
    pub keys: Vec<String>,
}

/// What is asked of the backups of a machine.
#[derive(Clone, Debug)]
pub enum Keeping {
    /// Whether and when they are taken.
    Schedule,
    /// Which there are.
    List,
    /// Take them, or no more, which deletes them.
    Switch(bool),
    /// Take them every day.
    Daily,
    /// Put the disk back to one.
    Restore(u64),
}

fn said(status: u16, body: Value) -> Answer {
    Answer::Said(Said {
        status,
        body,
        reason: None,
    })
}

/// As each cloud writes a moment.
fn written(dialect: Dialect, at: DateTime<Utc>) -> String {
    match dialect {
        Dialect::Linode => at.format("%Y-%m-%dT%H:%M:%S").to_string(),
        Dialect::Vultr => at.format("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
        _ => at.to_rfc3339_opts(SecondsFormat::Secs, true),
    }
}

fn shown(vm: &Vm, dialect: Dialect, copy: &Copy) -> Value {
    let at = written(dialect, copy.taken_at);
    match dialect {
        Dialect::DigitalOcean => json!({
            "id": copy.id, "name": format!("{}- {at}", vm.label), "created_at": at, "regions": [vm.region], "min_disk_size": vm.disk, "size_gigabytes": 2.34,
            "type": "backup",
        }),
        Dialect::Linode => json!({
            "id": copy.id, "type": "auto", "status": "successful", "available": true, "created": at, "updated": at, "finished": at, "label": null,
            "configs": ["My Config"], "disks": [{"label": "Disk", "size": 9001, "filesystem": "ext4"}],
        }),
        _ => json!({
            "id": Uuid::from_u128(u128::from(copy.id)), "date_created": at, "description": format!("auto {}", vm.label), "size": 10_000_000, "status": "complete",
        }),
    }
}

impl Vm {
    /// As Linode shows whether an instance is backed up.
    pub(super) fn linode_backups(&self) -> Value {
        let last = self.backups.copies.last();
        json!({
            "enabled": self.backups.on, "available": !self.backups.copies.is_empty(), "schedule": {"day": "Scheduling", "window": "Scheduling"},
            "last_successful": last.map(|copy| written(Dialect::Linode, copy.taken_at)),
        })
    }

    fn schedule(&self, dialect: Dialect) -> Value {
        let Backups { on, daily, .. } = self.backups;
        if dialect == Dialect::Vultr {
            let kind = if daily { "daily" } else { "weekly" };
            let schedule = json!({"enabled": on, "type": kind, "next_scheduled_time_utc": "2026-11-22T20:00:00+00:00", "hour": 20, "dow": 0, "dom": 0});
            return json!({"backup_schedule": schedule});
        }
        let mut policy = json!({"droplet_id": self.id, "backup_enabled": on});
        if on {
            policy["backup_policy"] = json!({"plan": "daily", "weekday": "SUN", "hour": 20, "window_length_hours": 4, "retention_period_days": 7});
            policy["next_backup_window"] =
                json!({"start": "2026-11-22T20:00:00Z", "end": "2026-11-23T00:00:00Z"});
        }
        json!({"policy": policy})
    }

    fn list_backups(&self, dialect: Dialect) -> Value {
        let copies = &self.backups.copies;
        let all: Vec<Value> = copies.iter().map(|c| shown(self, dialect, c)).collect();
        match dialect {
            Dialect::DigitalOcean => {
                json!({"backups": all, "links": {}, "meta": {"total": copies.len()}})
            }
            Dialect::Linode => {
                json!({"automatic": all, "snapshot": {"current": null, "in_progress": null}})
            }
            _ => {
                let meta = json!({"total": copies.len(), "links": {"next": "", "prev": ""}});
                json!({"backups": all, "meta": meta})
            }
        }
    }
}

impl Cloud {
    /// Has the cloud take a backup of a machine now.
    pub fn take_backup(&mut self, id: u64) {
        self.next += 1;
        let copy = self.next;
        let vm = self.machines.get_mut(&id).expect("a machine");
        vm.backups.copies.push(Copy {
            id: copy,
            taken_at: Utc::now(),
            image: vm.image.clone(),
            password: vm.password.clone(),
            keys: vm.keys.clone(),
        });
    }

    /// Has the cloud delete the oldest backup of a machine, as it does by and by.
    pub fn delete_oldest_backup(&mut self, id: u64) {
        let vm = self.machines.get_mut(&id).expect("a machine");
        vm.backups.copies.remove(0);
    }

    /// A machine that is backed up from now on has its first copy at once.
    pub(super) fn keep(&mut self, id: u64, keeping: &Keeping) -> Answer {
        let dialect = self.dialect;
        let Some(vm) = self.machines.get_mut(&id) else {
            return Answer::NotFound;
        };
        match keeping {
            Keeping::Schedule => said(200, vm.schedule(dialect)),
            Keeping::List => said(200, vm.list_backups(dialect)),
            Keeping::Switch(on) => {
                vm.history.push(Verb::SwitchBackups);
                vm.backups.on = *on;
                let answer = vm.clone();
                if !on {
                    vm.backups = Backups::default();
                } else if vm.backups.copies.is_empty() {
                    self.take_backup(id);
                }
                Answer::Accepted(answer)
            }
            Keeping::Daily if !vm.backups.on => Answer::Invalid("Backups are not enabled".into()),
            Keeping::Daily => {
                vm.backups.daily = true;
                said(204, Value::Null)
            }
            Keeping::Restore(copy) => self.go_back(id, *copy),
        }
    }

    /// The disk is what it was. Linode leaves the machine off.
    fn go_back(&mut self, id: u64, copy: u64) -> Answer {
        let boots = self.dialect != Dialect::Linode;
        let Some(vm) = self.machines.get_mut(&id) else {
            return Answer::NotFound;
        };
        let Some(copy) = vm.backups.copies.iter().find(|c| c.id == copy).cloned() else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        (vm.image, vm.password, vm.keys) = (copy.image, copy.password, copy.keys);
        vm.on = boots;
        vm.work = Verb::RestoreBackup;
        vm.done_at = Instant::now() + WORK;
        vm.history.push(Verb::RestoreBackup);
        Answer::Accepted(vm.clone())
    }
}
