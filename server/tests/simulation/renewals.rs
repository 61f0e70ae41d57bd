//! Renewals: what is due, and what follows.

use chrono::TimeDelta;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_server::base::id::{InstanceId, OperationId};
use sewa_server::service::instance::model::State as MachineState;
use sewa_server::service::lifecycle::model::{State, Step, Subscription, policy};
use sewa_server::service::lifecycle::{price_renewal, sweep};
use sewa_server::service::wallet::model::{Action, Command, Refused};
use uuid::Uuid;

use crate::platform::Platform;
use crate::store::{Period, Shared, Store};

/// When an unpaid subscription may be suspended, by its policy.
fn grace(subscription: &Subscription) -> TimeDelta {
    let rules = policy(&subscription.policy).unwrap().rules;
    let rule = rules.iter().find(|rule| rule.period == subscription.period);
    TimeDelta::hours(rule.unwrap().suspend_after_hours.into())
}

impl Store {
    fn paid(
        &mut self,
        id: InstanceId,
        charge: sewa_server::service::lifecycle::model::Charge,
    ) -> bool {
        let subscription = self.subscriptions.get_mut(&id).unwrap();
        let was_suspended = subscription.state == State::Suspended;
        subscription.paid(&charge);
        self.periods.push(Period {
            instance: id,
            charge,
        });
        was_suspended
    }
}

impl Platform {
    /// Settles one subscription that is due, as a sweep settles a thousand.
    pub(crate) fn sweeps(&mut self) {
        let now = self.now;
        let due = |s: &&Shared<Subscription>| s.next.is_some_and(|(_, at)| at <= now);
        let due: Vec<InstanceId> = self
            .store
            .subscriptions
            .values()
            .filter(due)
            .map(|s| s.instance)
            .collect();
        let Some(id) = self.chance.one(&due) else {
            return;
        };
        let (fresh, work) = (self.id(), OperationId(self.id()));
        let done = self.commit(|store| -> Result<&'static str, Refused> {
            let subscription = store.subscriptions[&id].clone();
            let (step, at) = subscription.next.unwrap();
            assert!(at <= now);
            let charge = subscription
                .asks_for_money()
                .then(|| subscription.next_charge(now))
                .flatten();
            if let Some(charge) = charge {
                match store.post(&sweep::command(&subscription, &charge), fresh) {
                    Ok(_) => {
                        if store.paid(id, charge) {
                            store.impose(work, id, Kind::Resume, now);
                        }
                        return Ok("periods renewed");
                    }
                    Err(Refused::InsufficientBalance { .. }) => {}
                    Err(refused) => return Err(refused),
                }
            }
            let live = store.subscriptions.get_mut(&id).unwrap();
            live.unpaid(step);
            match step {
                Step::Renew => {}
                Step::Suspend => {
                    assert!(
                        now >= subscription.paid_until + grace(&subscription),
                        "suspended too early"
                    );
                    store.impose(work, id, Kind::Suspend, now);
                    return Ok("machines suspended");
                }
                Step::Terminate => store.impose(work, id, Kind::Delete, now),
            }
            Ok("")
        });
        match done {
            Some(Err(refused)) => panic!("a renewal was refused: {refused}"),
            Some(Ok(what)) if !what.is_empty() => self.note(what),
            _ => {}
        }
    }

    /// The owner renews by hand: ahead by a hold, or at once when the period is over.
    pub(crate) fn owner_pays_ahead(&mut self, id: InstanceId) {
        let (fresh, work, now) = (self.id(), OperationId(self.id()), self.now);
        self.commit(|store| -> Result<(), ()> {
            let subscription = store.subscriptions.get(&id).ok_or(())?.clone();
            let charge = price_renewal(&subscription, now).map_err(drop)?;
            if subscription.state == State::Active && now < subscription.paid_until {
                let hold = Command {
                    account: subscription.account,
                    action: Action::Hold(charge.total),
                    subject: id.0,
                    description: String::new(),
                };
                let hold = store.post(&hold, fresh).map_err(drop)?;
                let live = store.subscriptions.get_mut(&id).unwrap();
                live.renewal_hold = Some(hold);
                live.next = Some((Step::Renew, live.paid_until));
                return Ok(());
            }
            store
                .post(&sweep::command(&subscription, &charge), fresh)
                .map_err(drop)?;
            if store.paid(id, charge) {
                store.impose(work, id, Kind::Resume, now);
            }
            Ok(())
        });
    }

    /// A subscription of a machine that is gone or going, and that has still to end.
    pub(crate) fn bereft(&self) -> Option<&Subscription> {
        use MachineState::{Deleted, Deleting, Failed, Lost};
        let gone = |s: &&Shared<Subscription>| {
            let state = self.store.instances[&s.instance].state;
            s.state != State::Ended && matches!(state, Deleting | Deleted | Failed | Lost)
        };
        let found = self.store.subscriptions.values().find(gone);
        found.map(|found| &**found)
    }

    /// Subscriptions of machines that are gone or going end, and what was paid ahead comes back.
    pub(crate) fn ends_subscriptions(&mut self) {
        let Some(id) = self.bereft().map(|ending| ending.instance) else {
            return;
        };
        let fresh: Uuid = self.id();
        self.commit(|store| -> Result<(), ()> {
            let subscription = store.subscriptions[&id].clone();
            if let Some(hold) = subscription.renewal_hold {
                let release = Command {
                    account: subscription.account,
                    action: Action::Release { hold },
                    subject: id.0,
                    description: String::new(),
                };
                store
                    .post(&release, fresh)
                    .expect("what was paid ahead can be given back");
            }
            store.subscriptions.get_mut(&id).unwrap().end();
            Ok(())
        });
    }
}
