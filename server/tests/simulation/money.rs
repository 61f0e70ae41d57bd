//! Deposits: opened at a gateway, paid there or not, and credited by what the gateway says.

use chrono::TimeDelta;
use sewa_server::base::id::{AccountId, DepositId, OrderId};
use sewa_server::base::money::Rupiah;
use sewa_server::provider::payment::{Transaction, TransactionState};
use sewa_server::service::order::model::{Event, SYSTEM, State as OrderState};
use sewa_server::service::wallet::deposit::{Deposit, DepositState};
use sewa_server::service::wallet::model::{Action, Command, Kind as JournalKind, Paid, Refused};
use sewa_server::service::wallet::payment::{self, Kind, Payment, Step};
use uuid::Uuid;

use crate::orders::close;
use crate::outside::Answer;
use crate::platform::Platform;
use crate::store::{Shared, Store};

/// How long a deposit may be paid.
const LIFE: TimeDelta = TimeDelta::hours(24);
const POLL: TimeDelta = TimeDelta::seconds(20);

impl Platform {
    /// Money for the wallet, or for an order that waits for it.
    pub(crate) fn opens_deposit(&mut self, order: Option<OrderId>) {
        let order = order.map(|id| self.store.orders[&id].clone());
        let account = order
            .as_ref()
            .map_or_else(|| self.account(), |order| order.account);
        let id = order.as_ref().and_then(|order| order.deposit);
        let deposit = Deposit {
            account,
            id: id.unwrap_or_else(|| DepositId(self.id())),
            amount: order.as_ref().map_or_else(
                || Rupiah(self.chance.between(1, 2_000_000)),
                |order| order.quote.total,
            ),
            method: 2,
            channel: String::new(),
            state: DepositState::Preparing,
            client_reference: None,
            order: order.map(|order| order.id),
            hold: None,
            payable: None,
            fee: None,
            gateway_ref: String::new(),
            pay_url: String::new(),
            pay_code: String::new(),
            qr_string: String::new(),
            instructions: Vec::new(),
            failure: String::new(),
            revision: 1,
            asked_at: Some(self.now),
            next_look_at: Some(self.now),
            created_at: self.now,
            expires_at: self.now + LIFE,
            closed_at: None,
        };
        let id = deposit.id;
        // An order and its deposit are of one transaction, which has happened.
        self.store.deposits.insert(id, deposit.into());
        self.asks_gateway(id);
    }

    fn asks_gateway(&mut self, id: DepositId) {
        let deposit = self.store.deposits[&id].clone();
        let fee = self.chance.between(0, 4500);
        let answer = self.answer();
        if matches!(answer, Answer::Done | Answer::Lost) {
            let opened = self
                .gateway
                .open(id.0, deposit.amount, fee, deposit.expires_at);
            if answer == Answer::Done {
                self.settles(id, &[opened]);
            }
        }
    }

    /// A payer does as told, or not; a gateway closes what nobody pays, and takes money back.
    pub(crate) fn somebody_pays(&mut self) {
        if self.gateway.transactions.is_empty() {
            return;
        }
        let (now, which) = (self.now, self.chance.below(self.gateway.transactions.len()));
        let (other, late) = (self.chance.between(-5000, 5000), self.chance.percent(20));
        let (kind, part) = (self.chance.below(20), self.chance.between(1, 100));
        let paid = &mut self.gateway.transactions[which];
        match (paid.state, kind) {
            (TransactionState::Unpaid, 0) => paid.state = TransactionState::Expired,
            (TransactionState::Unpaid, 1) => paid.state = TransactionState::Failed,
            (TransactionState::Unpaid, _) => {
                if kind == 2 {
                    paid.total = Rupiah((paid.total.0 + other).max(1));
                }
                paid.state = TransactionState::Paid;
                paid.paid_at = (!late).then_some(now);
            }
            (TransactionState::Paid, 0..4) => {
                let back = paid.total.0 * part / 100 + i64::from(part > 90);
                paid.refunded = Rupiah(paid.refunded.0.max(back.min(paid.total.0)));
            }
            (TransactionState::Paid, 4) => {
                // The payer pays a second time, by a transaction with the same reference.
                let mut again = paid.clone();
                again.refunded = Rupiah::ZERO;
                again.gateway_ref = format!("g{}", self.gateway.transactions.len());
                self.gateway.transactions.push(again);
            }
            _ => {}
        }
    }

    pub(crate) fn looks_at_a_deposit(&mut self) {
        let known: Vec<DepositId> = self.store.deposits.keys().copied().collect();
        let Some(id) = self.chance.one(&known) else {
            return;
        };
        if self.answer() == Answer::Done {
            let mut found = self.gateway.find(id.0);
            if self.chance.percent(50) {
                found.reverse();
            }
            let preparing = self.store.deposits[&id].state == DepositState::Preparing;
            match preparing && found.is_empty() {
                true => self.asks_gateway(id),
                false => self.settles(id, &found),
            }
        }
    }

    /// Each deposit that a gateway still has something to say of.
    pub(crate) fn looks_at_all_deposits(&mut self, nothing_else_is_open: bool) {
        let known: Vec<DepositId> = self.store.deposits.keys().copied().collect();
        for id in known {
            let found = self.gateway.find(id.0);
            let preparing = self.store.deposits[&id].state == DepositState::Preparing;
            match preparing && found.is_empty() {
                true => self.asks_gateway(id),
                false if self.is_settled(id, &found) => {}
                false => self.settles(id, &found),
            }
        }
        // Nobody pays any more, so what is open is waited for to its end.
        let mut open = self
            .store
            .deposits
            .values()
            .filter(|deposit| deposit.state.is_open());
        if let Some(deposit) = open.next().filter(|_| nothing_else_is_open) {
            self.now = self.now.max(deposit.expires_at + TimeDelta::minutes(11));
        }
    }

    /// Whether what the gateway says is known, and there is nothing else to write down.
    fn is_settled(&self, id: DepositId, transactions: &[Transaction]) -> bool {
        let (deposit, now) = (&self.store.deposits[&id], self.now);
        let none = Vec::new();
        let known = self.store.payments.get(&id).map_or(&none, |known| known);
        let news = |said| !payment::judge(deposit, known, said, now).is_empty();
        deposit.state != DepositState::Preparing
            && !transactions.iter().any(news)
            && !(transactions.is_empty() && payment::is_overdue(deposit, now))
    }

    /// What follows from what the gateway says.
    fn settles(&mut self, id: DepositId, transactions: &[Transaction]) {
        let now = self.now;
        let ids: Vec<Uuid> = (0..transactions.len() * 8).map(|_| self.id()).collect();
        let settled = self.commit(|store| -> Result<Vec<Kind>, Refused> {
            let mut ids = ids.into_iter();
            let mut deposit = store.deposits[&id].clone();
            let was = deposit.state;
            if let (DepositState::Preparing, Some(first)) = (deposit.state, transactions.first()) {
                deposit.adopt(first);
                deposit.state = DepositState::Pending;
            }
            let mut kinds = Vec::new();
            for transaction in transactions {
                credits(store, &mut deposit, transaction, now, &mut ids, &mut kinds)?;
            }
            if transactions.is_empty() && payment::is_overdue(&deposit, now) {
                (deposit.state, deposit.closed_at) = (DepositState::Expired, Some(now));
            }
            deposit.next_look_at = payment::next_look(&deposit, now, POLL);
            assert!(
                was.is_open() || !deposit.state.is_open(),
                "{was:?} became {:?}",
                deposit.state
            );
            store.deposits.insert(id, deposit);
            Ok(kinds)
        });
        for kind in settled
            .unwrap_or(Ok(Vec::new()))
            .expect("the ledger takes what gateways say")
        {
            self.note(match kind {
                Kind::Reversal => "payments taken back",
                _ => "payments credited",
            });
        }
    }

    /// A deposit whose order has still to hear of it.
    pub(crate) fn news(&self) -> Option<&Deposit> {
        let store = &self.store;
        let unheard = |d: &&Shared<Deposit>| {
            let order = d.order.and_then(|id| store.orders.get(&id));
            let closed = order.is_some_and(|order| {
                order.state == OrderState::PendingPayment && !d.state.is_open()
            });
            let loose = d.hold.is_some_and(|hold| {
                !store.books.holds[&(d.account, hold)].closed
                    && order.is_none_or(|order| order.hold != Some(hold))
            });
            let gone = order.is_some_and(|order| {
                let under_way = matches!(order.state, OrderState::Paid | OrderState::Provisioning);
                let held = order.hold.filter(|_| under_way);
                held.is_some_and(|hold| store.books.holds[&(d.account, hold)].closed)
            });
            closed || loose || gone
        };
        store.deposits.values().find(unheard).map(|found| &**found)
    }

    /// What the order that waits for a deposit hears of it, at last.
    pub(crate) fn hears_news(&mut self) {
        self.ends_subscriptions();
        let Some(deposit) = self.news().cloned() else {
            return;
        };
        let (fresh, now) = ([self.id(), self.id()], self.now);
        let id = deposit.order.unwrap();
        self.commit(|store| -> Result<(), Refused> {
            let mut order = store.orders[&id].clone();
            let hold = deposit
                .hold
                .filter(|hold| !store.books.holds[&(deposit.account, *hold)].closed);
            match (hold, order.state) {
                (None, OrderState::Paid | OrderState::Provisioning) => {
                    close(store, id, Event::Cancel, fresh, now);
                }
                (Some(hold), OrderState::PendingPayment) => {
                    order
                        .take(Event::Pay, SYSTEM, "paid at the gateway", now)
                        .unwrap();
                    order.hold = Some(hold);
                    (order.next_attempt_at, order.deadline_at) =
                        (now, now + TimeDelta::minutes(10));
                    store.orders.insert(id, order);
                }
                (Some(hold), _) => {
                    // It went another way meanwhile; the money is credit of the wallet.
                    store.post(
                        &command(deposit.account, id.0, Action::Release { hold }),
                        fresh[0],
                    )?;
                }
                (None, _) => {
                    close(store, id, Event::Expire, fresh, now);
                }
            }
            Ok(())
        });
    }
}

fn command(account: AccountId, subject: Uuid, action: Action) -> Command {
    Command {
        account,
        action,
        subject,
        description: String::new(),
    }
}

fn credits(
    store: &mut Store,
    deposit: &mut Deposit,
    transaction: &Transaction,
    now: chrono::DateTime<chrono::Utc>,
    ids: &mut impl Iterator<Item = Uuid>,
    kinds: &mut Vec<Kind>,
) -> Result<(), Refused> {
    let mut known = store.payments.get(&deposit.id).cloned().unwrap_or_default();
    for step in payment::judge(deposit, &known, transaction, now) {
        let (kind, paid, actions) = match step {
            Step::Close(state) => {
                (deposit.state, deposit.closed_at) = (state, Some(now));
                continue;
            }
            Step::Credit { kind, paid, amount } => {
                let held = payment::held_for_order(deposit, kind, amount);
                (
                    kind,
                    paid,
                    vec![
                        Action::Receive(Paid::whole(held)),
                        Action::Deposit(Paid::whole(Rupiah(amount.0 - held.0))),
                    ],
                )
            }
            Step::Reverse { paid, amount } => (
                Kind::Reversal,
                paid,
                vec![Action::Reverse {
                    amount,
                    hold: payment::hold_of(deposit, &known, &transaction.gateway_ref),
                }],
            ),
        };
        let mut credited = 0;
        for action in actions {
            let moved = match action {
                Action::Deposit(paid) | Action::Receive(paid) => paid.amount,
                Action::Reverse { amount, .. } => amount,
                _ => Rupiah::ZERO,
            };
            if moved == Rupiah::ZERO {
                continue;
            }
            store.post(
                &command(deposit.account, deposit.id.0, action),
                ids.next().unwrap(),
            )?;
            let journal = store.journals.last().unwrap();
            credited += journal.available.0 + journal.held.0;
            if journal.kind == JournalKind::Hold {
                deposit.hold = Some(journal.id);
            }
        }
        known.push(Payment {
            kind: kind as i16,
            paid,
            credited: Rupiah(credited),
            gateway_ref: transaction.gateway_ref.clone(),
            recorded_at: now,
            gateway_fee: None,
        });
        deposit.closed_at = Some(now);
        if kind != Kind::Reversal {
            deposit.state = DepositState::Paid;
        } else if payment::is_all_back(&known) {
            deposit.state = DepositState::Reversed;
        }
        store.payments.insert(deposit.id, known.clone());
        kinds.push(kind);
    }
    Ok(())
}
