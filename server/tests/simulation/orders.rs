//! Orders: placed, paid, and called off.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_server::base::id::{
    AccountId, ImageId, InstanceId, OperationId, OrderId, PlanId, RegionId,
};
use sewa_server::base::money::Rupiah;
use sewa_server::service::order::model::{Draft, Event, Move, Order, Payment, State};
use sewa_server::service::order::quote::Quote;
use sewa_server::service::wallet::model::{Action, Command, Paid, Refused};
use uuid::Uuid;

use crate::platform::Platform;
use crate::store::Store;

const PATIENCE: TimeDelta = TimeDelta::minutes(10);
const PAYMENT_PATIENCE: TimeDelta = TimeDelta::days(7);

/// What the money of an order is given back by, if any is held.
pub(crate) fn release(store: &mut Store, order: &Order, fresh: Uuid) {
    if let Some(command) = order.release() {
        match store.post(&command, fresh) {
            // The gateway took back what was held, and that ended the hold.
            Err(Refused::HoldClosed) if order.payment == Payment::Gateway => {}
            released => drop(released.expect("what is held can be released")),
        }
    }
}

/// Ends an order without a machine.
pub(crate) fn close(
    store: &mut Store,
    id: OrderId,
    event: Event,
    fresh: [Uuid; 2],
    now: DateTime<Utc>,
) -> bool {
    let mut order = store.orders[&id].clone();
    let was = order.state;
    if order
        .take(event, "somebody", "it is called off", now)
        .is_err()
    {
        return false;
    }
    release(store, &order, fresh[0]);
    if was == State::Provisioning {
        store.mark_failed(order.instance, OperationId(fresh[1]), now);
    }
    store.orders.insert(id, order);
    true
}

impl Platform {
    pub(crate) fn places_an_order(&mut self) {
        let (account, key) = (self.account(), u8::try_from(self.chance.below(12)).unwrap());
        let payment = match self.chance.below(4) {
            0 => Payment::StaffApproval,
            1 => Payment::Gateway,
            _ => Payment::Wallet,
        };
        let order = self.new_order(account, payment);
        let (id, fresh, deposit) = (order.id, self.id(), order.deposit);
        let before = self.store.writes.get(&(account, key)).copied();
        let outcome = self.commit(|store| -> Result<Option<OrderId>, Refused> {
            if let Some(known) = store.writes.get(&(account, key)) {
                return Ok(*known);
            }
            let mut order = order;
            if payment == Payment::Wallet {
                let command = command(&order, Action::Hold(order.quote.total));
                match store.post(&command, fresh) {
                    Ok(hold) => order.hold = Some(hold),
                    Err(Refused::InsufficientBalance { .. }) => {
                        store.writes.insert((account, key), None);
                        return Ok(None);
                    }
                    Err(refused) => return Err(refused),
                }
            }
            store.writes.insert((account, key), Some(id));
            store.orders.insert(id, order.into());
            Ok(Some(id))
        });
        if let (Some(before), Some(Ok(answer))) = (before, &outcome) {
            assert_eq!(&before, answer, "one key, one answer");
        }
        if self.store.orders.contains_key(&id) && deposit.is_some() {
            self.opens_deposit(Some(id));
        }
    }

    fn new_order(&mut self, account: AccountId, payment: Payment) -> Order {
        let price = Rupiah(self.chance.between(1, 300_000));
        let quote = Quote::of("VPS".to_owned(), price, None, self.now).expect("a quote");
        let periods = [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year,
        ];
        let draft = Draft {
            plan: PlanId(self.id()),
            region: RegionId(self.id()),
            image: ImageId(self.id()),
            period: self.chance.one(&periods).unwrap(),
            hostname: "web".to_owned(),
            auto_renew: self.chance.percent(80),
            labels: BTreeMap::new(),
            coupon_code: String::new(),
        };
        let now = self.now;
        let (state, patience) = match payment {
            Payment::Wallet => (State::Paid, PATIENCE),
            _ => (State::PendingPayment, PAYMENT_PATIENCE),
        };
        Order {
            account,
            id: OrderId(self.id()),
            state,
            payment,
            draft,
            quote,
            instance: InstanceId(self.id()),
            operation: OperationId(self.id()),
            hold: None,
            deposit: (payment == Payment::Gateway).then(|| self.id().into()),
            client_reference: None,
            failure: None,
            history: vec![Move {
                from: None,
                to: state,
                actor: "somebody".to_owned(),
                reason: "placed".to_owned(),
                at: now,
            }],
            attempts: 0,
            last_error: None,
            fence: 0,
            next_attempt_at: now,
            deadline_at: now + patience,
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }

    pub(crate) fn some_order(&mut self, wanted: impl Fn(&Order) -> bool) -> Option<OrderId> {
        let found = self.store.orders.values().filter(|order| wanted(order));
        let found: Vec<OrderId> = found.map(|order| order.id).collect();
        self.chance.one(&found)
    }

    fn closes(&mut self, id: OrderId, event: Event) {
        let (fresh, now) = ([self.id(), self.id()], self.now);
        let work =
            |store: &mut Store| -> Result<bool, ()> { Ok(close(store, id, event, fresh, now)) };
        if self.commit(work) == Some(Ok(true)) {
            self.note("orders called off");
        }
    }

    pub(crate) fn calls_an_order_off(&mut self) {
        if let Some(id) = self.some_order(|_| true) {
            self.closes(id, Event::Cancel);
        }
    }

    pub(crate) fn expires_orders(&mut self) {
        let now = self.now;
        let due = |o: &Order| o.state == State::PendingPayment && o.deadline_at <= now;
        if let Some(id) = self.some_order(due) {
            self.closes(id, Event::Expire);
        }
    }

    pub(crate) fn staff_decide_on_an_order(&mut self) {
        self.expires_orders();
        let Some(id) = self.some_order(|order| order.state == State::PendingPayment) else {
            return;
        };
        if self.chance.percent(30) {
            return self.closes(id, Event::Reject);
        }
        let (fresh, now) = (self.id(), self.now);
        self.commit(|store| -> Result<(), Refused> {
            let mut order = store.orders[&id].clone();
            order
                .take(Event::Approve, "staff", "paid", now)
                .expect("it waits for payment");
            let received = command(&order, Action::Receive(Paid::whole(order.quote.total)));
            order.hold = Some(store.post(&received, fresh)?);
            (order.next_attempt_at, order.deadline_at) = (now, now + PATIENCE);
            store.orders.insert(id, order);
            Ok(())
        });
    }
}

fn command(order: &Order, action: Action) -> Command {
    Command {
        account: order.account,
        action,
        subject: order.id.0,
        description: String::new(),
    }
}
