//! What a simulated cloud is, whatever its dialect.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Dialect;
use super::faults::{Fault, Verb};

/// How long work takes.
const WORK: Duration = Duration::from_millis(150);

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
    /// Image.
    pub image: String,
    /// Whether it is on, once the work is done.
    pub on: bool,
    /// What is, or was last, done to it.
    pub work: Verb,
    /// When that is done.
    pub done_at: Instant,
    /// The password of root, where the cloud sets it.
    pub password: Option<String>,
    /// What was done to it, in order.
    pub history: Vec<Verb>,
}

impl Vm {
    /// Whether it is being worked on.
    pub fn busy(&self) -> bool {
        Instant::now() < self.done_at
    }

    /// Its address, once it has one.
    pub fn address(&self) -> Option<Ipv4Addr> {
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
    /// Password of root, where the cloud sets it.
    pub password: Option<String>,
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
    /// Who we are.
    Account,
    /// What is owed.
    Balance,
    /// What sizes cost.
    Prices,
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
    /// The machine was destroyed.
    Deleted,
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
}

/// A fault that waits for its call.
#[derive(Clone, Debug)]
struct Rule {
    /// `None` for whichever machine is next.
    label: Option<String>,
    verb: Verb,
    fault: Fault,
}

/// The books of a simulated cloud.
#[derive(Debug)]
pub struct Cloud {
    dialect: Dialect,
    /// The token it takes.
    pub token: String,
    /// Machines.
    pub machines: BTreeMap<u64, Vm>,
    /// The longest page it gives, whatever is asked for.
    pub longest_page: usize,
    /// Creations that had their effect, by label.
    pub created: Vec<String>,
    /// Every request that had to be refused because it breaks the API's rules.
    pub invalid: Vec<String>,
    rules: Vec<Rule>,
    /// Labels whose creation met a fault: each meets one.
    faulted: BTreeSet<String>,
    next: u64,
}

impl Cloud {
    pub(super) fn new(dialect: Dialect, token: &str) -> Self {
        Self {
            dialect,
            token: token.to_owned(),
            machines: BTreeMap::new(),
            longest_page: 200,
            created: Vec::new(),
            invalid: Vec::new(),
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
            password: None,
        })
        .id
    }

    /// The fault that falls to an order.
    pub(super) fn fault_for(&mut self, order: &Order) -> Option<Fault> {
        let (label, verb) = match order {
            Order::Create(new) => (new.label.clone(), Verb::Create),
            Order::Act(id, verb, _) => (self.machines.get(id)?.label.clone(), *verb),
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

    pub(super) fn lose(&mut self, answer: &Answer) {
        if let Answer::Created(vm) = answer {
            self.machines.remove(&vm.id);
        }
    }

    pub(super) fn lose_target(&mut self, order: &Order) {
        if let Order::Act(id, ..) = order {
            self.machines.remove(id);
        }
    }

    fn make(&mut self, new: &NewVm) -> Vm {
        self.next += 1;
        let vm = Vm {
            id: self.next,
            label: new.label.clone(),
            region: new.region.clone(),
            size: new.size.clone(),
            image: new.image.clone(),
            on: true,
            work: Verb::Create,
            done_at: Instant::now() + WORK,
            password: new.password.clone(),
            history: vec![Verb::Create],
        };
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
            Verb::Create | Verb::Delete => return Answer::NotFound,
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
