//! Machines of a simulated cloud that are given another size.

use std::time::Instant;

use super::machines::{Answer, Cloud, WORK};
use super::{Dialect, Verb};

impl Cloud {
    /// DigitalOcean wants the machine off; Vultr only goes up, and restarts it; Linode moves it elsewhere and boots it there.
    pub(super) fn resize(&mut self, id: u64, size: &str, with_disk: bool) -> Answer {
        let rank = |name: &str| {
            let sizes = self.dialect.sizes();
            sizes.iter().position(|(known, _)| *known == name)
        };
        let (Some(disk), Some(wanted)) = (self.disk_of(size), rank(size)) else {
            return Answer::Invalid(format!("no size {size}"));
        };
        let present = self.machines.get(&id).and_then(|vm| rank(&vm.size));
        let down = present.is_some_and(|present| present > wanted);
        let dialect = self.dialect;
        let Some(vm) = self.machines.get_mut(&id) else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        if dialect == Dialect::DigitalOcean && vm.on {
            return Answer::MustBeOff;
        }
        if vm.disk > disk || (down && dialect == Dialect::Vultr) {
            let why = format!("{} cannot become {size}", vm.size);
            self.invalid.push(why.clone());
            return Answer::Invalid(why);
        }
        size.clone_into(&mut vm.size);
        if with_disk || dialect == Dialect::Vultr {
            vm.disk = disk;
        }
        vm.on = vm.on || dialect == Dialect::Linode;
        vm.work = Verb::Resize;
        vm.done_at = Instant::now() + WORK;
        vm.history.push(Verb::Resize);
        Answer::Accepted(vm.clone())
    }
}
