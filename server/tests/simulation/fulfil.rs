//! Fulfilment: whoever leases an order takes it a step further, is overtaken, or dies.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_server::base::id::OperationId;
use sewa_server::provider::compute::Machine;
use sewa_server::service::instance::model as instance;
use sewa_server::service::instance::plan::{Making, making};
use sewa_server::service::lifecycle::model::{Charge, POLICIES, Subscription};
use sewa_server::service::order::model::{Event, Failure, Order, Payment, SYSTEM, State, backoff};
use sewa_server::service::wallet::model::Refused;

use crate::orders::{close, release};
use crate::outside::{Answer, LOOKUP_DELAY};
use crate::platform::{LEASE, Platform, Worker};
use crate::store::{Period, Shared};

const LOOK_AGAIN: TimeDelta = TimeDelta::milliseconds(300);
const CREATE: TimeDelta = TimeDelta::seconds(15);

/// Somebody who fulfils an order.
#[derive(Clone, Debug)]
pub(crate) struct OrderWorker {
    leased: Shared<Order>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Begin,
    Look,
    Create(DateTime<Utc>),
    Adopt(String, bool),
    Deliver,
    GiveUp(Failure),
    PutBack(TimeDelta, Option<&'static str>),
}

impl Platform {
    pub(crate) fn leases_an_order(&mut self) {
        let now = self.now;
        let due = |o: &Order| {
            matches!(o.state, State::Paid | State::Provisioning) && o.next_attempt_at <= now
        };
        let Some(id) = self.some_order(due) else {
            return;
        };
        let leased = self.commit(|store| -> Result<Shared<Order>, ()> {
            let order = store.orders.get_mut(&id).unwrap();
            order.fence += 1;
            order.next_attempt_at = now + LEASE;
            Ok(order.clone())
        });
        if let Some(Ok(leased)) = leased {
            let stage = Stage::Begin;
            self.workers
                .push(Worker::Order(Box::new(OrderWorker { leased, stage })));
        }
    }

    /// One step; `None` when the work is done, or whoever did it is gone.
    pub(crate) fn works_on_an_order(&mut self, mut worker: OrderWorker) -> Option<OrderWorker> {
        worker.stage = match worker.stage.clone() {
            Stage::Begin => match worker.leased.overdue(self.now) {
                Some(failure) => Stage::GiveUp(failure),
                None if worker.leased.state == State::Paid => self.begins(&worker.leased)?,
                None => Stage::Look,
            },
            Stage::Look => self.looks(&worker.leased)?,
            Stage::Create(looked_at) => self.creates(&worker.leased, looked_at)?,
            Stage::Adopt(name, was_lost) => self.adopts(&worker.leased, &name, was_lost)?,
            Stage::Deliver => return self.delivers(&worker.leased),
            Stage::GiveUp(failure) => return self.gives_up(&worker.leased, failure),
            Stage::PutBack(after, error) => return self.puts_back(&worker.leased, after, error),
        };
        Some(worker)
    }

    fn begins(&mut self, leased: &Order) -> Option<Stage> {
        let now = self.now;
        let begun = self.commit(|store| -> Result<bool, ()> {
            let mut order = store.orders[&leased.id].clone();
            if order.fence != leased.fence || order.state != State::Paid {
                return Ok(false);
            }
            order
                .take(Event::Begin, SYSTEM, "the machine was asked for", now)
                .unwrap();
            let machine = crate::machines::new_instance(&order, now);
            store.instances.insert(order.instance, machine.into());
            store.orders.insert(order.id, order);
            Ok(true)
        });
        match begun?.unwrap() {
            true => Some(Stage::Look),
            false => {
                self.note("workers overtaken");
                None
            }
        }
    }

    fn looks(&mut self, leased: &Order) -> Option<Stage> {
        let found = self.store.instances.get(&leased.instance)?.clone();
        match found.state {
            instance::State::Provisioning => {}
            instance::State::Running | instance::State::Stopped | instance::State::Suspended => {
                return Some(Stage::Deliver);
            }
            _ => return Some(Stage::GiveUp(Failure::ProviderUnavailable)),
        }
        if self.answer() != Answer::Done {
            return Some(unavailable(leased));
        }
        let now = self.now;
        let known = found
            .provider_ref
            .as_deref()
            .and_then(|name| self.cloud.get(name, now));
        if let Some(machine) = known {
            return Some(self.watches(&machine));
        }
        let first = self.cloud.find(found.id.0, now).into_iter().next();
        Some(match (first, &found.provider_ref) {
            (Some(machine), None) => Stage::Adopt(machine.provider_ref, true),
            (Some(machine), Some(_)) => self.watches(&machine),
            (None, None) => Stage::Create(now),
            (None, Some(_)) => panic!("nothing destroys a machine that is being made"),
        })
    }

    fn watches(&mut self, machine: &Machine) -> Stage {
        match making(machine) {
            Making::Done => Stage::Deliver,
            Making::Wait => Stage::PutBack(LOOK_AGAIN, None),
            Making::Prepare => panic!("machines of this cloud are made in one step"),
            Making::PowerOn => panic!("machines of this cloud boot by themselves"),
        }
    }

    /// The claim and the call. Nobody sleeps in between, but maybe since the look.
    fn creates(&mut self, leased: &Order, looked_at: DateTime<Utc>) -> Option<Stage> {
        let (id, now) = (leased.instance, self.now);
        let claimed = now + CREATE + LOOKUP_DELAY;
        let taken = self.commit(|store| -> Result<bool, ()> {
            let found = store.instances.get_mut(&id).unwrap();
            let free = found.state == instance::State::Provisioning
                && found.provider_ref.is_none()
                && found.unsure_until.is_none_or(|until| until <= looked_at);
            if free {
                found.unsure_until = Some(claimed);
            }
            Ok(free)
        });
        if !taken?.unwrap() {
            return Some(Stage::PutBack(LOOK_AGAIN, None));
        }
        let answer = match self.faults && self.chance.percent(5) {
            true => Answer::NoCapacity,
            false => self.answer(),
        };
        // What the cloud does may take as long as the call may.
        let effect =
            now + TimeDelta::milliseconds(self.chance.between(0, CREATE.num_milliseconds()));
        let mut unclaim = |until: Option<DateTime<Utc>>| {
            self.commit(|store| -> Result<(), ()> {
                let found = store.instances.get_mut(&id).unwrap();
                if found.unsure_until == Some(claimed) {
                    found.unsure_until = until;
                }
                Ok(())
            })
        };
        match answer {
            Answer::Done => Some(Stage::Adopt(
                self.cloud.create(id.0, now, &mut self.chance),
                false,
            )),
            Answer::NoCapacity => {
                unclaim(None)?.unwrap();
                Some(Stage::GiveUp(Failure::OutOfCapacity))
            }
            Answer::Unavailable => {
                unclaim(None)?.unwrap();
                Some(unavailable(leased))
            }
            Answer::Lost | Answer::Nothing => {
                if answer == Answer::Lost {
                    self.cloud.create(id.0, effect, &mut self.chance);
                }
                self.note("creations that were not answered");
                // Nobody waits for an answer any more when the call's time is over.
                self.now = self.now.max(now + CREATE);
                let until = self.now + LOOKUP_DELAY;
                self.commit(|store| -> Result<(), ()> {
                    let found = store.instances.get_mut(&id).unwrap();
                    if found.unsure_until == Some(claimed) {
                        found.unsure_until = Some(until);
                    }
                    Ok(())
                })?
                .unwrap();
                Some(Stage::PutBack(LOOK_AGAIN, None))
            }
        }
    }

    fn adopts(&mut self, leased: &Order, name: &str, was_lost: bool) -> Option<Stage> {
        let id = leased.instance;
        self.commit(|store| -> Result<(), ()> {
            let found = store.instances.get_mut(&id).unwrap();
            if found
                .provider_ref
                .as_deref()
                .is_none_or(|known| known == name)
            {
                (found.provider_ref, found.unsure_until) = (Some(name.to_owned()), None);
            }
            Ok(())
        })?
        .unwrap();
        if was_lost {
            self.note("machines adopted");
        }
        Some(Stage::PutBack(LOOK_AGAIN, None))
    }

    fn delivers(&mut self, leased: &Order) -> Option<OrderWorker> {
        let (fresh, other, now) = (self.id(), self.id(), self.now);
        let delivered = self.commit(|store| -> Result<bool, Refused> {
            let mut order = store.orders[&leased.id].clone();
            if order.fence != leased.fence || order.state != State::Provisioning {
                return Ok(false);
            }
            let capture = order
                .capture()
                .expect("money is held for what is being made");
            match store.post(&capture, fresh) {
                Err(Refused::HoldClosed) if order.payment == Payment::Gateway => {
                    close(store, order.id, Event::Cancel, [fresh, other], now);
                    return Ok(false);
                }
                captured => drop(captured?),
            }
            order
                .take(Event::Deliver, SYSTEM, "the machine runs", now)
                .unwrap();
            let start = order.subscription();
            let subscription = Subscription::begin(&start, POLICIES[0].code.to_owned(), now, false);
            let charge = Charge {
                number: 1,
                starts_at: now,
                ends_at: subscription.paid_until,
                price: order.quote.subtotal,
                tax: order.quote.tax,
                total: order.quote.total,
            };
            let instance = order.instance;
            store.periods.push(Period { instance, charge });
            let before = store.subscriptions.insert(instance, subscription.into());
            assert!(before.is_none());
            let machine = store.instances.get_mut(&instance).unwrap();
            machine
                .take(instance::Event::Started, now)
                .expect("what is being made may run");
            store.orders.insert(order.id, order);
            Ok(true)
        });
        let what = match delivered?.expect("what is held can be captured") {
            true => "orders delivered",
            false => "workers overtaken",
        };
        self.note(what);
        None
    }

    fn gives_up(&mut self, leased: &Order, failure: Failure) -> Option<OrderWorker> {
        let (fresh, cleaning, now) = (self.id(), OperationId(self.id()), self.now);
        let given = self.commit(|store| -> Result<bool, ()> {
            let mut order = store.orders[&leased.id].clone();
            if order.fence != leased.fence
                || !matches!(order.state, State::Paid | State::Provisioning)
            {
                return Ok(false);
            }
            let began = order.state == State::Provisioning;
            order
                .take(Event::Fail, SYSTEM, failure.reason(), now)
                .unwrap();
            release(store, &order, fresh);
            order
                .take(Event::Refund, SYSTEM, "the held money was released", now)
                .unwrap();
            if began {
                store.mark_failed(order.instance, cleaning, now);
            }
            store.orders.insert(order.id, order);
            Ok(true)
        });
        let what = match given?.unwrap() {
            true => "orders given back",
            false => "workers overtaken",
        };
        self.note(what);
        None
    }

    fn puts_back(
        &mut self,
        leased: &Order,
        after: TimeDelta,
        error: Option<&'static str>,
    ) -> Option<OrderWorker> {
        let at = self.now + after;
        self.commit(|store| -> Result<(), ()> {
            let order = store.orders.get_mut(&leased.id).unwrap();
            if order.fence == leased.fence {
                order.next_attempt_at = at;
                if let Some(error) = error {
                    (order.attempts, order.last_error) =
                        (leased.attempts + 1, Some(error.to_owned()));
                }
            }
            Ok(())
        });
        None
    }
}

fn unavailable(leased: &Order) -> Stage {
    Stage::PutBack(
        backoff(leased.attempts + 1, 0.5),
        Some("the provider is away"),
    )
}
