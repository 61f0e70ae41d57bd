//! What always holds, and what holds when everything has ended. [I1 to I7]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sewa_server::base::id::{AccountId, DepositId, InstanceId, JournalId};
use sewa_server::provider::payment::TransactionState;
use sewa_server::service::instance::model::State as MachineState;
use sewa_server::service::lifecycle::model::State as SubscriptionState;
use sewa_server::service::order::model::{Payment as PaidBy, State as OrderState};
use sewa_server::service::wallet::model::{Journal, Kind};
use sewa_server::service::wallet::payment::{Kind as PaymentKind, Payment};
use uuid::Uuid;

use crate::platform::Platform;
use crate::store::{Period, Table};

/// How a hold has ended, if it has.
type Ends = BTreeMap<(AccountId, JournalId), Option<Kind>>;

fn sum(journal: &Journal) -> i64 {
    [
        journal.available,
        journal.held,
        journal.promo,
        journal.withdrawable,
        journal.cash_in,
        journal.revenue,
        journal.promo_expense,
        journal.refund,
        journal.gateway_fee,
        journal.adjustment,
        journal.ppn_payable,
    ]
    .iter()
    .map(|posting| posting.0)
    .sum()
}

/// What was found right already. Journals and periods are only ever added to, so each is looked at once; what else has not changed since need not be looked at again.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    journals: usize,
    periods: usize,
    sums: BTreeMap<AccountId, (i64, i64, JournalId)>,
    holds: Ends,
    charged: BTreeMap<Uuid, i64>,
    last: BTreeMap<InstanceId, (i32, DateTime<Utc>)>,
    payments: Option<Table<DepositId, Vec<Payment>>>,
}

impl Checked {
    /// I1, I2, and that a hold ends once.
    fn take(&mut self, journal: &Journal) {
        assert_eq!(sum(journal), 0, "I1: {journal:?}");
        let nothing = (0, 0, JournalId(Uuid::nil()));
        let sum = self.sums.entry(journal.account).or_insert(nothing);
        assert!(journal.id > sum.2, "journals of an account only grow");
        let (available, held) = (sum.0 + journal.available.0, sum.1 + journal.held.0);
        *sum = (available, held, journal.id);
        let after = (journal.available_after.0, journal.held_after.0);
        assert_eq!((available, held), after, "I2: {journal:?}");
        assert!(available >= 0 && held >= 0, "I2: {journal:?}");
        if journal.kind == Kind::Hold {
            let before = self.holds.insert((journal.account, journal.id), None);
            assert_eq!(before, None, "one id, one journal");
        }
        if let Some(hold) = journal.closes {
            let end = self.holds.get_mut(&(journal.account, hold));
            let end = end.expect("a hold that is");
            assert_eq!(end.replace(journal.kind), None, "a hold ends once");
        }
        if matches!(journal.kind, Kind::Charge | Kind::Capture) {
            let charged = self.charged.entry(journal.subject).or_default();
            *charged += journal.revenue.0 + journal.ppn_payable.0;
        }
    }

    /// I6: periods follow each other, and each is charged what it costs.
    fn paid(&mut self, period: &Period) {
        let charge = period.charge;
        let before = self
            .last
            .insert(period.instance, (charge.number, charge.ends_at));
        let (number, ended_at) = before.unwrap_or((0, charge.starts_at));
        assert_eq!(charge.number, number + 1, "I6: {period:?}");
        assert!(charge.starts_at >= ended_at, "I6: {period:?}");
        assert!(charge.ends_at > charge.starts_at, "I6: {period:?}");
        if charge.number > 1 {
            let due = charge.price.0 + charge.tax.0;
            assert_eq!(charge.total.0, due, "I6: {period:?}");
            *self.charged.entry(period.instance.0).or_default() -= due;
        }
    }
}

impl Platform {
    pub(crate) fn check(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut checked = std::mem::take(&mut self.checked);
        for journal in &self.journals[checked.journals..] {
            checked.take(journal);
        }
        for period in &self.periods[checked.periods..] {
            checked.paid(period);
        }
        (checked.journals, checked.periods) = (self.journals.len(), self.periods.len());
        for (account, balance) in &self.store.books.balances {
            let kept = (balance.available.0, balance.held.0, balance.last);
            assert_eq!(checked.sums[account], kept, "I2 of {account}");
        }
        self.check_orders(&checked.holds);
        self.check_subscriptions(&checked);
        let payments = &self.store.payments;
        if !checked
            .payments
            .as_ref()
            .is_some_and(|known| known.is(payments))
        {
            self.check_payments();
            checked.payments = Some(payments.clone());
        }
        self.checked = checked;
    }

    fn check_orders(&self, holds: &Ends) {
        for order in self.store.orders.values() {
            let end = order.hold.map(|hold| holds[&(order.account, hold)]);
            // The gateway took back what was held: whoever hears of it ends the order.
            let taken_back = end == Some(Some(Kind::Reversal)) && order.payment == PaidBy::Gateway;
            let right = match order.state {
                OrderState::PendingPayment | OrderState::Active | OrderState::Failed
                    if taken_back =>
                {
                    false
                }
                _ if taken_back => true,
                OrderState::PendingPayment => end.is_none(),
                OrderState::Paid | OrderState::Provisioning => end == Some(None),
                OrderState::Active => end == Some(Some(Kind::Capture)),
                OrderState::Refunded => end == Some(Some(Kind::Release)),
                OrderState::Cancelled | OrderState::Expired => {
                    end.is_none_or(|end| end == Some(Kind::Release))
                }
                OrderState::Failed => false,
            };
            assert!(right, "I4: {end:?} of {order:?}");
            let held = order
                .hold
                .map(|hold| self.store.books.holds[&(order.account, hold)].amount);
            assert!(
                held.is_none_or(|held| held == order.quote.total),
                "I4: {held:?} for {order:?}"
            );
            let moves: Vec<_> = order.history.iter().map(|step| step.to).collect();
            assert_eq!(moves.last(), Some(&order.state), "I4: {order:?}");
            let machine = self.store.subscriptions.contains_key(&order.instance);
            assert_eq!(machine, order.state == OrderState::Active, "I4: {order:?}");
        }
    }

    fn check_subscriptions(&self, checked: &Checked) {
        for subscription in self.store.subscriptions.values() {
            let left = checked.charged.get(&subscription.instance.0).copied();
            assert_eq!(left.unwrap_or_default(), 0, "I6: {subscription:?}");
            let kept = (subscription.period_number, subscription.paid_until);
            let last = checked.last[&subscription.instance];
            assert_eq!(last, kept, "I6: {subscription:?}");
        }
    }

    /// What was credited is what was paid, once; what was taken back is not more than that.
    fn check_payments(&self) {
        for (deposit, payments) in self.store.payments.iter() {
            let mut known = BTreeSet::new();
            for payment in payments
                .iter()
                .filter(|p| p.kind != PaymentKind::Reversal as i16)
            {
                assert!(
                    known.insert(&payment.gateway_ref),
                    "I7: credited twice: {payment:?}"
                );
                let truth = self
                    .gateway
                    .transactions
                    .iter()
                    .find(|t| t.gateway_ref == payment.gateway_ref);
                let truth = truth.expect("a transaction that is");
                assert_eq!(truth.state, TransactionState::Paid, "I7: {payment:?}");
                assert_eq!(truth.reference, deposit.to_string(), "I7: {payment:?}");
                assert_eq!(truth.total, payment.paid, "I7: {payment:?}");
                assert!(payment.credited <= payment.paid, "I7: {payment:?}");
                let back = payments
                    .iter()
                    .filter(|p| p.kind == PaymentKind::Reversal as i16);
                let back: i64 = back
                    .filter(|p| p.gateway_ref == payment.gateway_ref)
                    .map(|p| p.paid.0)
                    .sum();
                assert!(
                    back <= truth.refunded.0,
                    "I7: {back} taken back of {payment:?}"
                );
            }
        }
    }

    /// When nothing is under way any more.
    pub(crate) fn check_end(&mut self) {
        // All of it once more from the beginning.
        (self.changed, self.checked) = (true, Checked::default());
        self.check();
        let store = &self.store;
        for order in store.orders.values() {
            let open = matches!(order.state, OrderState::Paid | OrderState::Provisioning);
            assert!(!open, "{order:?}");
        }
        // I5: the cloud has our machines, each once, and no others.
        let alive = |state| {
            matches!(
                state,
                MachineState::Running | MachineState::Stopped | MachineState::Suspended
            )
        };
        for instance in store.instances.values() {
            let real = self
                .cloud
                .machines
                .iter()
                .filter(|real| real.reference == instance.id.0);
            let names: Vec<&str> = real.map(|real| real.name.as_str()).collect();
            match alive(instance.state) {
                true => assert_eq!(
                    names,
                    [instance.provider_ref.as_deref().unwrap()],
                    "I5: {instance:?}"
                ),
                false => assert!(names.is_empty(), "I5: {names:?} of {instance:?}"),
            }
        }
        let ours = |reference| store.instances.values().any(|i| i.id.0 == reference);
        assert!(
            self.cloud.machines.iter().all(|real| ours(real.reference)),
            "I5"
        );
        // What is held has a purpose: a period that was paid ahead.
        let holds = self.checked.holds.iter();
        let mut open: BTreeSet<_> = holds
            .filter(|(_, end)| end.is_none())
            .map(|(key, _)| *key)
            .collect();
        for subscription in store.subscriptions.values() {
            if let Some(hold) = subscription.renewal_hold {
                assert!(
                    open.remove(&(subscription.account, hold)),
                    "I4: {subscription:?}"
                );
            }
            let gone = !alive(store.instances[&subscription.instance].state);
            assert!(
                !gone || subscription.state == SubscriptionState::Ended,
                "I6: {subscription:?}"
            );
        }
        assert!(open.is_empty(), "I4: held for nothing: {open:?}");
        // I7: all that gateways were paid came in, and all that they took back is written down.
        for transaction in &self.gateway.transactions {
            let deposit = Uuid::parse_str(&transaction.reference).unwrap().into();
            let payments = store.payments.get(&deposit).cloned().unwrap_or_default();
            let of_this = payments
                .iter()
                .filter(|p| p.gateway_ref == transaction.gateway_ref);
            let (back, came): (Vec<_>, Vec<_>) =
                of_this.partition(|p| p.kind == PaymentKind::Reversal as i16);
            let total = |of: Vec<&Payment>| of.iter().map(|p| p.paid.0).sum::<i64>();
            let (came, back) = (total(came), total(back));
            let paid = transaction.state == TransactionState::Paid;
            // Money that was back before anybody looked never came.
            let never = paid && came == 0 && transaction.refunded >= transaction.total;
            let due = if paid && !never {
                transaction.total.0
            } else {
                0
            };
            assert_eq!(came, due, "I7: {transaction:?} {payments:?}");
            let due = if never { 0 } else { transaction.refunded.0 };
            assert_eq!(back, due, "I7: {transaction:?} {payments:?}");
        }
    }
}
