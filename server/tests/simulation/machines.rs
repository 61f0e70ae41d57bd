//! Machines: what their owners and the platform want of them, and whoever does it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_server::base::id::{InstanceId, OperationId};
use sewa_server::provider::compute::{Machine, Power};
use sewa_server::service::instance::model::{Event, Instance, State, Wanted};
use sewa_server::service::instance::plan::{Act, Next, Work, pause};
use sewa_server::service::operation::model::is_cancellable;
use sewa_server::service::order::model::Order;

use crate::outside::Answer;
use crate::platform::{LEASE, Platform, Worker};
use crate::store::{Operation, Shared, Store};

/// After how long an operation its owner asked for is given up.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Somebody who does something to a machine.
#[derive(Clone, Debug)]
pub(crate) struct MachineWorker {
    leased: Shared<Operation>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Look,
    Act(Act, String, Option<DateTime<Utc>>),
    Apply(Outcome),
}

#[derive(Clone, Debug)]
enum Outcome {
    Ended(bool, Option<Event>),
    Later(TimeDelta, Option<DateTime<Utc>>, bool),
}

pub(crate) fn new_instance(order: &Order, now: DateTime<Utc>) -> Instance {
    Instance {
        account: order.account,
        id: order.instance,
        order: order.id,
        state: State::Provisioning,
        wanted: Wanted::Running,
        suspended: false,
        provider: "simulated".to_owned(),
        provider_size: String::new(),
        provider_account: None,
        provider_ref: None,
        unsure_until: None,
        plan: order.draft.plan,
        region: order.draft.region,
        region_code: String::new(),
        image: order.draft.image,
        image_code: String::new(),
        vcpus: 1,
        memory_mib: 1024,
        disk_gib: 20,
        hostname: order.draft.hostname.clone(),
        display_name: String::new(),
        labels: BTreeMap::new(),
        ipv4: None,
        ipv6: None,
        price: order.quote.renewal_price(),
        period: order.draft.period,
        look_at: None,
        first_password_until: None,
        revision: 1,
        created_at: now,
        updated_at: now,
    }
}

impl Store {
    /// The machine of an order cannot be had; what may be left of it is destroyed.
    pub(crate) fn mark_failed(
        &mut self,
        id: InstanceId,
        cleaning: OperationId,
        now: DateTime<Utc>,
    ) {
        let instance = self.instances.get_mut(&id).unwrap();
        if instance.state != State::Provisioning {
            return;
        }
        instance.take(Event::Fail, now).unwrap();
        if instance.provider_ref.is_some() || instance.unsure_until.is_some() {
            self.begin(cleaning, id, Kind::Delete, now);
        }
    }

    pub(crate) fn begin(
        &mut self,
        id: OperationId,
        instance: InstanceId,
        kind: Kind,
        now: DateTime<Utc>,
    ) {
        let operation = Operation {
            id,
            instance,
            kind,
            asked_at: None,
            unsure: false,
            created_at: now,
            next_attempt_at: now,
            fence: 0,
            ended: None,
        };
        assert!(self.operations.insert(id, operation.into()).is_none());
    }

    /// Something the platform decided, in place of what is under way.
    pub(crate) fn impose(
        &mut self,
        id: OperationId,
        machine: InstanceId,
        kind: Kind,
        now: DateTime<Utc>,
    ) {
        let instance = self.instances.get_mut(&machine).unwrap();
        let due = match kind {
            Kind::Suspend => !instance.suspended && instance.state.on(Event::Suspended).is_ok(),
            Kind::Resume => instance.suspended && instance.state.on(Event::Started).is_ok(),
            _ => instance.take(Event::Delete, now).is_ok(),
        };
        if !due {
            return;
        }
        if kind != Kind::Delete {
            instance.suspended = kind == Kind::Suspend;
            instance.touch(now);
        }
        if let Some(open) = self.open_operation(machine) {
            open.ended = Some(false);
            let wish = Wanted::of(open.kind).filter(|_| kind != Kind::Delete);
            if let Some(wish) = wish {
                self.instances.get_mut(&machine).unwrap().wanted = wish;
            }
        }
        self.begin(id, machine, kind, now);
    }
}

impl Platform {
    pub(crate) fn owner_asks(&mut self) {
        let machines: Vec<InstanceId> = self.store.instances.keys().copied().collect();
        let Some(machine) = self.chance.one(&machines) else {
            return;
        };
        let kinds = [
            Kind::PowerOn,
            Kind::PowerOff,
            Kind::Shutdown,
            Kind::Reboot,
            Kind::Rebuild,
            Kind::ResetPassword,
            Kind::Delete,
        ];
        let kind = self.chance.one(&kinds).unwrap();
        let (id, now) = (OperationId(self.id()), self.now);
        self.commit(|store| -> Result<(), ()> {
            let open = store.open_operation(machine).map(|open| open.id);
            let instance = store.instances.get_mut(&machine).unwrap();
            instance.admits(kind, open).map_err(drop)?;
            if kind == Kind::Delete {
                instance.take(Event::Delete, now).map_err(drop)?;
            }
            store.begin(id, machine, kind, now);
            Ok(())
        });
        self.owner_pays_ahead(machine);
    }

    pub(crate) fn leases_an_operation(&mut self) {
        let now = self.now;
        let due = |o: &&Shared<Operation>| o.ended.is_none() && o.next_attempt_at <= now;
        let due: Vec<_> = self
            .store
            .operations
            .values()
            .filter(due)
            .map(|o| o.id)
            .collect();
        let Some(id) = self.chance.one(&due) else {
            return;
        };
        let leased = self.commit(|store| -> Result<Shared<Operation>, ()> {
            let operation = store.operations.get_mut(&id).unwrap();
            operation.fence += 1;
            operation.next_attempt_at = now + LEASE;
            Ok(operation.clone())
        });
        if let Some(Ok(leased)) = leased {
            let stage = Stage::Look;
            self.workers
                .push(Worker::Machine(MachineWorker { leased, stage }));
        }
    }

    /// One step; `None` when the work is done, or whoever did it is gone.
    pub(crate) fn works_on_a_machine(
        &mut self,
        mut worker: MachineWorker,
    ) -> Option<MachineWorker> {
        let leased = &worker.leased;
        worker.stage = match worker.stage {
            Stage::Look if self.answer() != Answer::Done => Stage::Apply(self.trouble(leased)),
            Stage::Look if leased.kind == Kind::Delete => Stage::Apply(self.destroys(leased)),
            Stage::Look => self.plans(leased),
            Stage::Act(act, ref name, asked_at) => {
                Stage::Apply(self.acts(leased, act, name, asked_at))
            }
            Stage::Apply(outcome) => {
                self.applies(leased, &outcome);
                return None;
            }
        };
        Some(worker)
    }

    fn machine_of(&self, instance: &Instance) -> Option<Machine> {
        let known = instance.provider_ref.as_deref();
        let known = known.and_then(|name| self.cloud.get(name, self.now));
        known.or_else(|| self.cloud.find(instance.id.0, self.now).into_iter().next())
    }

    fn plans(&self, leased: &Operation) -> Stage {
        let instance = &self.store.instances[&leased.instance];
        let machine = self.machine_of(instance);
        let mut work = Work {
            kind: leased.kind,
            wanted: instance.wanted,
            asked_at: leased.asked_at,
            unsure: leased.unsure,
            graceful: true,
            password_off: instance.vcpus > 1,
        };
        work.asked_at = work.taken_at(machine.as_ref(), self.now);
        match work.next(machine.as_ref(), self.now) {
            Next::Act(act) => Stage::Act(act, machine.unwrap().provider_ref, work.asked_at),
            Next::Wait => Stage::Apply(self.waits(leased, work.asked_at)),
            Next::Done(event) => Stage::Apply(Outcome::Ended(true, event)),
            Next::Lost => Stage::Apply(Outcome::Ended(false, Some(Event::Lose))),
        }
    }

    fn acts(
        &mut self,
        leased: &Operation,
        act: Act,
        name: &str,
        asked_at: Option<DateTime<Utc>>,
    ) -> Outcome {
        let answer = self.answer();
        let now = self.now;
        let asked = leased.kind != Kind::ResetPassword || act == Act::ResetPassword;
        if matches!(answer, Answer::Done | Answer::Lost) {
            let busy = TimeDelta::seconds(self.chance.between(0, 20));
            match (act, self.cloud.real(name)) {
                (Act::Delete, _) => self.cloud.delete(name),
                (_, None) => return self.waits(leased, asked_at),
                (_, Some(real)) if now < real.busy_until => return self.waits(leased, asked_at),
                (act, Some(real)) => {
                    real.power = match act {
                        Act::PowerOff | Act::Shutdown => Power::Stopped,
                        Act::ResetPassword => real.power,
                        _ => Power::Running,
                    };
                    real.busy_until = now + busy;
                }
            }
        }
        match answer {
            Answer::Done => Outcome::Later(
                pause(TimeDelta::zero()),
                asked_at.or(asked.then_some(now)),
                false,
            ),
            Answer::Lost | Answer::Nothing => {
                Outcome::Later(pause(now - leased.created_at), asked_at, asked)
            }
            _ => self.trouble(leased),
        }
    }

    fn destroys(&mut self, leased: &Operation) -> Outcome {
        let instance = self.store.instances[&leased.instance].clone();
        let mut names: Vec<String> = self
            .cloud
            .find(instance.id.0, self.now)
            .into_iter()
            .map(|m| m.provider_ref)
            .collect();
        names.extend(
            instance
                .provider_ref
                .clone()
                .filter(|name| self.cloud.get(name, self.now).is_some()),
        );
        if names.is_empty() {
            return match instance.unsure_until.is_some_and(|until| self.now < until) {
                true => self.waits(leased, None),
                false => Outcome::Ended(true, Some(Event::Destroyed)),
            };
        }
        for name in names {
            match self.answer() {
                Answer::Done | Answer::Lost => self.cloud.delete(&name),
                Answer::Unavailable => return self.trouble(leased),
                Answer::Nothing | Answer::NoCapacity => {}
            }
        }
        self.waits(leased, Some(leased.asked_at.unwrap_or(self.now)))
    }

    fn gives_up_on(&self, leased: &Operation) -> bool {
        is_cancellable(leased.kind) && self.now - leased.created_at >= PATIENCE
    }

    fn waits(&self, leased: &Operation, asked_at: Option<DateTime<Utc>>) -> Outcome {
        match self.gives_up_on(leased) {
            true => Outcome::Ended(false, None),
            false => Outcome::Later(
                pause(self.now - leased.created_at),
                asked_at,
                leased.unsure && asked_at.is_none(),
            ),
        }
    }

    fn trouble(&self, leased: &Operation) -> Outcome {
        match self.gives_up_on(leased) {
            true => Outcome::Ended(false, None),
            false => Outcome::Later(
                pause(self.now - leased.created_at),
                leased.asked_at,
                leased.unsure,
            ),
        }
    }

    fn applies(&mut self, leased: &Operation, outcome: &Outcome) {
        let now = self.now;
        let held = self.commit(|store| -> Result<(), ()> {
            let operation = store.operations.get_mut(&leased.id).unwrap();
            if operation.fence != leased.fence || operation.ended.is_some() {
                return Err(());
            }
            let instance = store.instances.get_mut(&leased.instance).unwrap();
            let wish = Wanted::of(leased.kind).filter(|_| instance.wanted != Wanted::Deleted);
            match outcome {
                Outcome::Ended(done, event) => {
                    operation.ended = Some(*done);
                    if *done {
                        instance.wanted = wish.unwrap_or(instance.wanted);
                    }
                    if let Some(event) = event {
                        instance
                            .take(*event, now)
                            .expect("an operation ends as its instance takes it");
                    }
                }
                Outcome::Later(after, asked_at, unsure) => {
                    if asked_at.is_some() {
                        instance.wanted = wish.unwrap_or(instance.wanted);
                    }
                    operation.next_attempt_at = now + *after;
                    (operation.asked_at, operation.unsure) = (*asked_at, *unsure);
                }
            }
            Ok(())
        });
        if held == Some(Err(())) {
            self.note("workers overtaken");
        }
    }
}
