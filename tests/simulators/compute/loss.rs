//! What a fault takes away: the machine that a call is about, or what it made.

use super::machines::{Answer, Cloud, Order};

impl Cloud {
    pub(super) fn lose(&mut self, answer: &Answer) {
        if let Answer::Created(vm) = answer {
            self.machines.remove(&vm.id);
        }
    }

    pub(super) fn lose_target(&mut self, order: &Order) {
        match order {
            Order::Act(id, ..)
            | Order::Rebuild(id, ..)
            | Order::Resize(id, ..)
            | Order::Snapshot(id, ..)
            | Order::Restore(id, ..)
            | Order::Name(id, ..)
            | Order::Keep(id, ..) => {
                self.machines.remove(id);
            }
            Order::Wall(walling) => self.lose_walled(walling),
            Order::DeleteSnapshot(id) => {
                self.snapshots.remove(id);
            }
            _ => {}
        }
        match order {
            Order::Proxmox(call) => call.lose(self),
            Order::Vsphere(call) => call.lose(self),
            _ => {}
        }
    }
}
