//! Snapshots of a simulated cloud: what was on a disk, under a name. Two of one name are two, and they outlive their machines.

use std::time::Instant;

use super::Dialect;
use super::faults::Verb;
use super::machines::{Answer, Cloud, Vm, WORK};

/// A copy of a disk.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The cloud's number for it.
    pub id: u64,
    /// Its name or description.
    pub name: String,
    /// The machine it is of.
    pub machine: u64,
    /// That machine's name or label.
    pub label: String,
    /// What was on the disk.
    pub disk: Vm,
    /// When it is whole.
    pub done_at: Instant,
}

impl Shot {
    /// Whether it is whole.
    pub fn is_whole(&self) -> bool {
        self.done_at <= Instant::now()
    }
}

impl Cloud {
    /// DigitalOcean locks the machine meanwhile; Vultr takes as many as it is asked for.
    pub(super) fn take_snapshot(&mut self, machine: u64, name: &str) -> Answer {
        let locks = self.dialect == Dialect::DigitalOcean;
        let Some(vm) = self.machines.get_mut(&machine) else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        let done_at = Instant::now() + WORK;
        let disk = vm.clone();
        vm.history.push(Verb::Snapshot);
        if locks {
            vm.work = Verb::Snapshot;
            vm.done_at = done_at;
        }
        self.next += 1;
        let shot = Shot {
            id: self.next,
            name: name.to_owned(),
            machine,
            label: disk.label.clone(),
            disk,
            done_at,
        };
        self.snapshots.insert(shot.id, shot.clone());
        Answer::Taken(shot)
    }

    /// DigitalOcean shows one when it is whole, and answers for a machine only while there is one.
    pub(super) fn list_snapshots(
        &self,
        machine: Option<u64>,
        name: Option<&str>,
        page: usize,
        size: usize,
    ) -> Answer {
        if machine.is_some_and(|id| !self.machines.contains_key(&id)) {
            return Answer::NotFound;
        }
        let early = self.dialect == Dialect::Vultr;
        let size = size.clamp(1, self.longest_page);
        let all: Vec<Shot> = self
            .snapshots
            .values()
            .filter(|shot| machine.is_none_or(|id| shot.machine == id))
            .filter(|shot| name.is_none_or(|name| shot.name == name))
            .filter(|shot| early || shot.is_whole())
            .cloned()
            .collect();
        let total = all.len();
        let shown = all.into_iter().skip((page - 1) * size).take(size);
        Answer::Snapshots(machine, shown.collect(), page, size, total)
    }

    /// The disk is what it was, and the machine boots from it.
    pub(super) fn restore(&mut self, machine: u64, snapshot: u64) -> Answer {
        let shot = self.snapshots.get(&snapshot).filter(|s| s.is_whole());
        let (Some(shot), Some(vm)) = (shot, self.machines.get_mut(&machine)) else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        vm.image.clone_from(&shot.disk.image);
        vm.password.clone_from(&shot.disk.password);
        vm.keys.clone_from(&shot.disk.keys);
        vm.on = true;
        vm.work = Verb::Restore;
        vm.done_at = Instant::now() + WORK;
        vm.history.push(Verb::Restore);
        Answer::Accepted(vm.clone())
    }

    pub(super) fn delete_snapshot(&mut self, snapshot: u64) -> Answer {
        match self.snapshots.get(&snapshot) {
            None => Answer::NotFound,
            Some(shot) if !shot.is_whole() => Answer::Busy,
            Some(_) => {
                self.snapshots.remove(&snapshot);
                Answer::Deleted
            }
        }
    }
}
