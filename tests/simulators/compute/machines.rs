//! What a simulated cloud is, whatever its dialect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::backups::{Backups, Keeping};
use super::faults::{Fault, Verb};
use super::firewalls::{Wall, Walling};
use super::reverse_dns::Naming;
use super::snapshots::Shot;
use super::usage::{Measure, Usage};
use super::{Dialect, Said, guest, proxmox, usage, vsphere};

/// How long work takes.
pub(super) const WORK: Duration = Duration::from_millis(150);

/// A machine.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The cloud's number for it.
    pub id: u64,
    /// Its name or label.
    pub label: String,
    /// Region.
    pub region: String,
    /// Size.
    pub size: String,
    /// Its disk in GiB. It never becomes smaller.
    pub disk: u32,
    /// Image.
    pub image: String,
    /// Whether it is on, once the work is done.
    pub on: bool,
    /// What is, or was last, done to it.
    pub work: Verb,
    /// When that is done.
    pub done_at: Instant,
    /// The password of root, set by the cloud or by the guest itself.
    pub password: Option<String>,
    /// Keys that open root, set by the cloud or by the guest itself.
    pub keys: Vec<String>,
    /// What the guest boots with.
    pub user_data: Option<String>,
    /// What was done to it, in order.
    pub history: Vec<Verb>,
    /// The address it was told to have, where the cloud gives none of its own.
    pub told: Option<Ipv4Addr>,
    /// What it has used.
    pub usage: Usage,
    /// The names its addresses were given.
    pub names: BTreeMap<IpAddr, String>,
    /// Whether it is backed up, and what there is of it.
    pub backups: Backups,
    /// The firewall in front of it, where machines show that.
    pub group: Option<u64>,
}

impl Vm {
    /// Whether it is being worked on.
    pub fn busy(&self) -> bool {
        Instant::now() < self.done_at
    }

    /// Whether its disk was last made from a snapshot or a backup.
    pub fn restored(&self) -> bool {
        let mut made = self.history.iter().rev();
        let disk =
            made.find(|verb| matches!(verb, Verb::Rebuild | Verb::Restore | Verb::RestoreBackup));
        disk.is_some_and(|verb| *verb != Verb::Rebuild)
    }

    /// Its address, once it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
        if self.told.is_some() {
            return self.told;
        }
        let base = u32::from(Ipv4Addr::new(45, 0, 0, 0));
        let made = self.work == Verb::Create && self.busy();
        (!made).then(|| Ipv4Addr::from(base + u32::try_from(self.id).unwrap_or_default()))
    }
}

/// A machine to make.
#[derive(Clone, Debug, Default)]
pub struct NewVm {
    /// Name or label.
    pub label: String,
    /// Region.
    pub region: String,
    /// Size.
    pub size: String,
    /// Image.
    pub image: String,
    /// What it boots with.
    pub given: Given,
}

/// What a machine is given for a new disk.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Password of root, where the cloud sets it.
    pub password: Option<String>,
    /// Keys of root, where the cloud sets them.
    pub keys: Vec<String>,
    /// For the guest. `None` leaves what it had.
    pub user_data: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Order {
    /// A machine.
    Create(NewVm),
    /// Machines, of a label or all: the page of that number, from 1, and of that size.
    List(Option<String>, usize, usize),
    /// A machine.
    Get(u64),
    /// Work on a machine; an image or a password, where it needs one.
    Act(u64, Verb, Option<String>),
    /// Another size, with or without its disk.
    Resize(u64, String, bool),
    /// A new disk from an image, the present one if `None`.
    Rebuild(u64, Option<String>, Given),
    /// Other user data for the next disk.
    Note(u64, String),
    /// A copy of a machine's disk, under a name.
    Snapshot(u64, String),
    /// Copies of a machine's disk, or of all; of a name, or of all: the page of that number, from 1, and of that size.
    Snapshots(Option<u64>, Option<String>, usize, usize),
    /// The disk of a machine put back to a copy.
    Restore(u64, u64),
    /// What a machine uses.
    Measure(u64, Measure),
    /// The names of a machine's addresses.
    Name(u64, Naming),
    /// The backups of a machine.
    Keep(u64, Keeping),
    /// The firewalls of machines.
    Wall(Walling),
    /// No copy of that number any more.
    DeleteSnapshot(u64),
    /// Who we are.
    Account,
    /// What is owed.
    Balance,
    /// What sizes cost.
    Prices,
    /// Whatever Proxmox is asked: what it has is configurations and tasks, not orders.
    Proxmox(proxmox::Call),
    /// Whatever vCenter is asked.
    Vsphere(vsphere::Call),
    /// Something that the vendor's API would refuse.
    Invalid(String),
    /// Nothing the API has.
    Nowhere,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The new machine.
    Created(Vm),
    /// Machines: a page, its number, its size, and how many there are.
    Listed(Vec<Vm>, usize, usize, usize),
    /// The machine.
    Shown(Vm),
    /// The work was begun.
    Accepted(Vm),
    /// The machine or the copy was destroyed.
    Deleted,
    /// The new copy.
    Taken(Shot),
    /// Copies, of one machine or of all: a page, its number, its size, and how many there are.
    Snapshots(Option<u64>, Vec<Shot>, usize, usize, usize),
    /// The machine has another firewall now.
    Guarded(Vm),
    /// What a machine uses.
    Measured(Value),
    /// Who we are.
    Account,
    /// What is owed.
    Balance,
    /// What sizes cost.
    Prices,
    /// No such thing.
    NotFound,
    /// It is being worked on.
    Busy,
    /// There is no room.
    Full,
    /// There is one of this label.
    LabelTaken,
    /// It cannot be done to a machine that is on.
    MustBeOff,
    /// It is what it was asked to be.
    Already,
    /// Wrong token.
    Unauthorized,
    /// Too many calls.
    TooMany,
    /// The cloud fails.
    Broken,
    /// The request breaks the API's rules.
    Invalid(String),
    /// In the words of the cloud.
    Said(Said),
}

/// A fault that waits for its call.
#[derive(Clone, Debug)]
struct Rule {
    /// `None` for whichever machine is next.
    label: Option<String>,
    verb: Verb,
    fault: Fault,
}

/// Boots from a new disk: what the cloud sets, and what the guest does with its user data.
fn first_boot(vm: &mut Vm, given: &Given) {
    if given.user_data.is_some() {
        vm.user_data.clone_from(&given.user_data);
    }
    let guest = guest::boot(vm.user_data.as_deref().unwrap_or_default());
    vm.password = given.password.clone().or(guest.password);
    vm.keys = [given.keys.clone(), guest.keys].concat();
}

/// The books of a simulated cloud.
#[derive(Debug)]
pub struct Cloud {
    pub(super) dialect: Dialect,
    /// The token it takes.
    pub token: String,
    /// Machines.
    pub machines: BTreeMap<u64, Vm>,
    /// Copies of disks. They outlive their machines.
    pub snapshots: BTreeMap<u64, Shot>,
    /// Firewalls. They outlive their machines.
    pub walls: BTreeMap<u64, Wall>,
    /// Where names lead, for a cloud that looks before it takes one for an address.
    pub forward: BTreeMap<String, IpAddr>,
    /// The longest page it gives, whatever is asked for.
    pub longest_page: usize,
    /// Creations that had their effect, by label.
    pub created: Vec<String>,
    /// Every request that had to be refused because it breaks the API's rules.
    pub invalid: Vec<String>,
    /// What of it only Proxmox has.
    pub proxmox: proxmox::Cluster,
    /// What of it only vCenter has.
    pub vsphere: vsphere::Center,
    rules: Vec<Rule>,
    /// Labels whose creation met a fault: each meets one.
    faulted: BTreeSet<String>,
    pub(super) next: u64,
}

impl Cloud {
    pub(super) fn new(dialect: Dialect, token: &str) -> Self {
        Self {
            dialect,
            token: token.to_owned(),
            machines: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            walls: BTreeMap::new(),
            forward: BTreeMap::new(),
            longest_page: 200,
            created: Vec::new(),
            invalid: Vec::new(),
            proxmox: proxmox::Cluster::default(),
            vsphere: vsphere::Center::default(),
            rules: Vec::new(),
            faulted: BTreeSet::new(),
            next: 1000,
        }
    }

    /// Arms a fault for the next call of the verb on the machine of this label.
    pub fn arm(&mut self, label: &str, verb: Verb, fault: Fault) {
        // Linode has one call for both.
        let verb = if self.dialect == Dialect::Linode && verb == Verb::PowerOff {
            Verb::Shutdown
        } else {
            verb
        };
        self.rules.push(Rule {
            label: Some(label.to_owned()),
            verb,
            fault,
        });
    }

    /// Arms a fault for the creation of the next machine that has met none.
    pub fn arm_creation(&mut self, fault: Fault) {
        self.rules.push(Rule {
            label: None,
            verb: Verb::Create,
            fault,
        });
    }

    /// Faults that no call has met.
    pub fn armed(&self) -> usize {
        self.rules.len()
    }

    /// A machine that somebody else made.
    pub fn plant(&mut self, label: &str) -> u64 {
        let (size, region, image) = self.dialect.catalogue();
        self.make(&NewVm {
            label: label.to_owned(),
            region: region.to_owned(),
            size: size.to_owned(),
            image: image.to_owned(),
            given: Given::default(),
        })
        .id
    }

    /// The fault that falls to an order.
    pub(super) fn fault_for(&mut self, order: &Order) -> Option<Fault> {
        let (label, verb) = match order {
            Order::Create(new) => (new.label.clone(), Verb::Create),
            Order::Act(id, verb, _) => (self.machines.get(id)?.label.clone(), *verb),
            Order::Rebuild(id, ..) => (self.machines.get(id)?.label.clone(), Verb::Rebuild),
            Order::Resize(id, ..) => (self.machines.get(id)?.label.clone(), Verb::Resize),
            Order::Proxmox(call) => call.target(self)?,
            Order::Vsphere(call) => call.target(self)?,
            Order::Snapshot(id, _) => (self.machines.get(id)?.label.clone(), Verb::Snapshot),
            Order::Restore(id, _) => (self.machines.get(id)?.label.clone(), Verb::Restore),
            Order::Name(id, Naming::Set(..)) => {
                (self.machines.get(id)?.label.clone(), Verb::SetReverseDns)
            }
            Order::Keep(id, Keeping::Switch(_)) => {
                (self.machines.get(id)?.label.clone(), Verb::SwitchBackups)
            }
            Order::Keep(id, Keeping::Restore(_)) => {
                (self.machines.get(id)?.label.clone(), Verb::RestoreBackup)
            }
            Order::Wall(walling) => walling.target(self)?,
            Order::DeleteSnapshot(id) => {
                (self.snapshots.get(id)?.label.clone(), Verb::DeleteSnapshot)
            }
            _ => return None,
        };
        let at = self.rules.iter().position(|rule| {
            rule.verb == verb
                && match &rule.label {
                    Some(own) => *own == label,
                    None => !self.faulted.contains(&label),
                }
        })?;
        self.faulted.insert(label);
        Some(self.rules.remove(at).fault)
    }

    fn make(&mut self, new: &NewVm) -> Vm {
        self.next += 1;
        let mut vm = Vm {
            id: self.next,
            label: new.label.clone(),
            region: new.region.clone(),
            size: new.size.clone(),
            disk: self.disk_of(&new.size).unwrap_or(25),
            image: new.image.clone(),
            on: true,
            work: Verb::Create,
            done_at: Instant::now() + WORK,
            password: None,
            keys: Vec::new(),
            user_data: None,
            history: vec![Verb::Create],
            told: None,
            usage: Usage::default(),
            names: BTreeMap::new(),
            backups: Backups::default(),
            group: None,
        };
        first_boot(&mut vm, &new.given);
        self.created.push(vm.label.clone());
        self.machines.insert(vm.id, vm.clone());
        vm
    }

    /// Does what is asked.
    pub(super) fn obey(&mut self, order: &Order) -> Answer {
        match order {
            Order::Create(new) => {
                let unique = self.dialect == Dialect::Linode;
                if unique && self.machines.values().any(|vm| vm.label == new.label) {
                    return Answer::LabelTaken;
                }
                Answer::Created(self.make(new))
            }
            Order::List(label, page, size) => {
                let size = (*size).clamp(1, self.longest_page);
                let all: Vec<Vm> = self
                    .machines
                    .values()
                    .filter(|vm| label.as_ref().is_none_or(|l| *l == vm.label))
                    .cloned()
                    .collect();
                let total = all.len();
                let shown = all.into_iter().skip((page - 1) * size).take(size);
                Answer::Listed(shown.collect(), *page, size, total)
            }
            Order::Get(id) => match self.machines.get(id) {
                Some(vm) => Answer::Shown(vm.clone()),
                None => Answer::NotFound,
            },
            Order::Act(id, Verb::Delete, _) => match self.machines.remove(id) {
                Some(_) => Answer::Deleted,
                None => Answer::NotFound,
            },
            Order::Act(id, verb, argument) => self.work(*id, *verb, argument.as_ref()),
            Order::Resize(id, size, with_disk) => self.resize(*id, size, *with_disk),
            Order::Rebuild(id, image, given) => {
                let answer = self.work(*id, Verb::Rebuild, image.as_ref());
                let Answer::Accepted(_) = answer else {
                    return answer;
                };
                let vm = self.machines.get_mut(id).expect("it was just worked on");
                first_boot(vm, given);
                Answer::Accepted(vm.clone())
            }
            Order::Measure(id, measure) => match self.machines.get(id) {
                Some(vm) => Answer::Measured(usage::told(vm, measure)),
                None => Answer::NotFound,
            },
            Order::Name(id, naming) => self.name(*id, naming),
            Order::Keep(id, keeping) => self.keep(*id, keeping),
            Order::Wall(walling) => self.wall(walling),
            Order::Note(id, user_data) => match self.machines.get_mut(id) {
                Some(vm) => {
                    vm.user_data = Some(user_data.clone());
                    Answer::Shown(vm.clone())
                }
                None => Answer::NotFound,
            },
            Order::Proxmox(call) => Answer::Said(proxmox::obey(self, call)),
            Order::Vsphere(call) => Answer::Said(vsphere::obey(self, call)),
            Order::Snapshot(id, name) => self.take_snapshot(*id, name),
            Order::Snapshots(machine, name, page, size) => {
                self.list_snapshots(*machine, name.as_deref(), *page, *size)
            }
            Order::Restore(id, snapshot) => self.restore(*id, *snapshot),
            Order::DeleteSnapshot(id) => self.delete_snapshot(*id),
            Order::Account => Answer::Account,
            Order::Balance => Answer::Balance,
            Order::Prices => Answer::Prices,
            Order::Invalid(why) => {
                self.invalid.push(why.clone());
                Answer::Invalid(why.clone())
            }
            Order::Nowhere => {
                self.invalid.push("no such path".to_owned());
                Answer::NotFound
            }
        }
    }

    pub(super) fn disk_of(&self, size: &str) -> Option<u32> {
        let sizes = self.dialect.sizes();
        sizes.iter().find(|(name, _)| *name == size).map(|s| s.1)
    }

    fn work(&mut self, id: u64, verb: Verb, argument: Option<&String>) -> Answer {
        let Some(vm) = self.machines.get_mut(&id) else {
            return Answer::NotFound;
        };
        if vm.busy() {
            return Answer::Busy;
        }
        match verb {
            Verb::PowerOn if vm.on => return Answer::Already,
            Verb::PowerOff | Verb::Shutdown | Verb::Reboot if !vm.on => return Answer::Already,
            Verb::ResetPassword if vm.on => return Answer::MustBeOff,
            Verb::PowerOn | Verb::Rebuild | Verb::Reboot => vm.on = true,
            Verb::PowerOff | Verb::Shutdown => vm.on = false,
            Verb::ResetPassword => vm.password = argument.cloned(),
            // The others have orders of their own.
            _ => return Answer::NotFound,
        }
        if let (Verb::Rebuild, Some(image)) = (verb, argument) {
            vm.image.clone_from(image);
        }
        vm.work = verb;
        vm.done_at = Instant::now() + WORK;
        vm.history.push(verb);
        Answer::Accepted(vm.clone())
    }
}
