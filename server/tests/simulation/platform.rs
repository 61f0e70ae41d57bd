//! The platform as its store has it, whoever works on it, and what may happen to them.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_server::base::id::AccountId;
use sewa_server::base::money::Rupiah;
use sewa_server::service::instance::model::Instance;
use sewa_server::service::lifecycle::model::Subscription;
use sewa_server::service::order::model::Order;
use sewa_server::service::wallet::deposit::Deposit;
use sewa_server::service::wallet::model::{Action, Command, Journal, Paid};
use uuid::Uuid;

use crate::check::Checked;
use crate::fulfil::OrderWorker;
use crate::machines::MachineWorker;
use crate::outside::{Answer, Chance, Cloud, Gateway};
use crate::store::{Operation, Period, Shared, Store};

/// How long a lease lasts.
pub(crate) const LEASE: TimeDelta = TimeDelta::seconds(30);

/// Months that pass when everything has ended.
pub(crate) const MONTHS: u32 = 2;

/// Whoever works: a replica that leased something, and how far it is.
#[derive(Clone, Debug)]
pub(crate) enum Worker {
    Order(Box<OrderWorker>),
    Machine(MachineWorker),
}

/// What has happened, by name.
pub(crate) const HAPPENED: [&str; 12] = [
    "orders delivered",
    "orders given back",
    "orders called off",
    "commits never made",
    "commits whose makers never heard of them",
    "workers overtaken",
    "creations that were not answered",
    "machines adopted",
    "payments credited",
    "payments taken back",
    "periods renewed",
    "machines suspended",
];

/// Everything.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) chance: Chance,
    pub(crate) now: DateTime<Utc>,
    pub(crate) store: Store,
    /// The journals of all transactions.
    pub(crate) journals: Vec<Journal>,
    /// The periods of all transactions.
    pub(crate) periods: Vec<Period>,
    pub(crate) cloud: Cloud,
    pub(crate) gateway: Gateway,
    pub(crate) accounts: Vec<AccountId>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) faults: bool,
    pub(crate) checked: Checked,
    /// Whether something was written since all was checked.
    pub(crate) changed: bool,
    /// Months still to pass.
    months: u32,
    ids: u64,
    happened: [u64; 12],
}

impl Platform {
    pub(crate) fn new(seed: u64) -> Self {
        let accounts = (1..=3).map(|n| AccountId(Uuid::from_u128(n))).collect();
        Self {
            chance: Chance::new(seed),
            now: "2026-01-30T16:59:00Z".parse().unwrap(),
            store: Store::default(),
            journals: Vec::new(),
            periods: Vec::new(),
            cloud: Cloud::default(),
            gateway: Gateway::default(),
            accounts,
            workers: Vec::new(),
            faults: true,
            checked: Checked::default(),
            changed: false,
            months: MONTHS,
            ids: 0,
            happened: [0; 12],
        }
    }

    pub(crate) fn seen(&self) -> Vec<(&'static str, u64)> {
        HAPPENED.into_iter().zip(self.happened).collect()
    }

    pub(crate) fn note(&mut self, what: &str) {
        let at = HAPPENED.iter().position(|name| *name == what);
        self.happened[at.expect(what)] += 1;
    }

    /// A new id. It sorts by a clock that is not always right.
    pub(crate) fn id(&mut self) -> Uuid {
        self.ids += 1;
        let wrong = if self.faults {
            self.chance.between(-5000, 5000)
        } else {
            0
        };
        let millis = u128::from(u64::try_from(self.now.timestamp_millis() + wrong).unwrap());
        Uuid::from_u128((millis << 80) | u128::from(self.ids))
    }

    /// How a call outside ends.
    pub(crate) fn answer(&mut self) -> Answer {
        if !self.faults || self.chance.percent(65) {
            return Answer::Done;
        }
        let faults = [Answer::Unavailable, Answer::Lost, Answer::Nothing];
        self.chance.one(&faults).unwrap()
    }

    /// A transaction. `None` for whoever does not live to see its end: it was made or not. Inside, an error undoes it and is its outcome.
    pub(crate) fn commit<T, E>(
        &mut self,
        work: impl FnOnce(&mut Store) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        if self.faults && self.chance.percent(6) {
            self.note("commits never made");
            return None;
        }
        let before = self.store.clone();
        let outcome = work(&mut self.store);
        if outcome.is_err() {
            self.store = before;
        } else {
            self.changed = true;
            self.journals.append(&mut self.store.journals);
            self.periods.append(&mut self.store.periods);
            if self.faults && self.chance.percent(6) {
                self.note("commits whose makers never heard of them");
                return None;
            }
        }
        Some(outcome)
    }

    pub(crate) fn account(&mut self) -> AccountId {
        self.chance.one(&self.accounts).unwrap()
    }

    /// One thing, whatever it is.
    pub(crate) fn something_happens(&mut self) {
        match self.chance.below(100) {
            0..14 => self.time_passes(),
            14..19 => self.opens_deposit(None),
            19..27 => self.somebody_pays(),
            27..35 => self.looks_at_a_deposit(),
            35..40 => self.places_an_order(),
            40..41 => self.calls_an_order_off(),
            41..43 => self.staff_decide_on_an_order(),
            43..52 => self.leases_something(),
            52..88 => self.somebody_works_on(),
            88..94 => self.sweeps(),
            94..97 => self.hears_news(),
            _ => self.owner_asks(),
        }
    }

    fn time_passes(&mut self) {
        let most = match self.chance.below(50) {
            0 | 1 => 40 * 86_400,
            2..=4 => 6 * 3600,
            _ => 30,
        };
        self.now += TimeDelta::milliseconds(self.chance.between(1, most * 1000));
    }

    fn leases_something(&mut self) {
        if self.chance.percent(60) {
            self.leases_an_order();
        } else {
            self.leases_an_operation();
        }
    }

    /// Somebody takes a step, sleeps, or dies.
    fn somebody_works_on(&mut self) {
        if self.workers.is_empty() {
            return self.leases_something();
        }
        let which = self.chance.below(self.workers.len());
        let worker = self.workers.swap_remove(which);
        if self.faults && self.chance.percent(4) {
            return;
        }
        let next = match worker {
            Worker::Order(worker) => self
                .works_on_an_order(*worker)
                .map(|worker| Worker::Order(Box::new(worker))),
            Worker::Machine(worker) => self.works_on_a_machine(worker).map(Worker::Machine),
        };
        self.workers.extend(next);
    }

    pub(crate) fn nothing_goes_wrong_any_more(&mut self) {
        self.faults = false;
    }

    /// So much time is to pass, and everybody has money for it.
    pub(crate) fn lasts(&mut self, months: u32) {
        self.months = months;
        for account in self.accounts.clone() {
            let (subject, fresh) = (self.id(), self.id());
            let command = Command {
                account,
                action: Action::Deposit(Paid::whole(Rupiah(1_000_000_000_000))),
                subject,
                description: String::new(),
            };
            self.commit(|store| store.post(&command, fresh));
        }
    }

    /// What is due happens, and where nothing is, time passes until something is. False when nothing is left to do.
    pub(crate) fn goes_on(&mut self) -> bool {
        if !self.workers.is_empty() {
            self.somebody_works_on();
            return true;
        }
        let unfinished = self.unfinished();
        let (nothing, only_deposits) = (
            unfinished.is_none(),
            matches!(unfinished, Some(Unfinished::Deposit)),
        );
        self.hears_news();
        self.looks_at_all_deposits(only_deposits);
        self.expires_orders();
        self.sweeps();
        self.leases_an_order();
        self.leases_an_operation();
        if self.workers.is_empty() && nothing {
            // Then time passes, and what it brings has to end as well.
            if self.months == 0 {
                return false;
            }
            self.months -= 1;
            self.now += TimeDelta::days(32);
            return true;
        }
        if self.workers.is_empty() {
            self.now += TimeDelta::seconds(5);
        }
        true
    }

    /// What has been begun and has not ended.
    pub(crate) fn unfinished(&self) -> Option<Unfinished<'_>> {
        use sewa_server::service::order::model::State;
        let store = &self.store;
        let open = |state| matches!(state, State::Paid | State::Provisioning | State::Failed);
        if let Some(order) = store.orders.values().find(|order| open(order.state)) {
            return Some(Unfinished::Order(order));
        }
        if let Some(operation) = store.operations.values().find(|o| o.ended.is_none()) {
            let machine = &store.instances[&operation.instance];
            return Some(Unfinished::Operation(operation, machine));
        }
        let due = |s: &&Shared<Subscription>| s.next.is_some_and(|(_, at)| at <= self.now);
        if let Some(subscription) = store.subscriptions.values().find(due) {
            return Some(Unfinished::Subscription(subscription));
        }
        if let Some(subscription) = self.bereft() {
            return Some(Unfinished::Subscription(subscription));
        }
        if let Some(deposit) = self.news() {
            return Some(Unfinished::News(deposit));
        }
        let mut deposits = store.deposits.values();
        let open = deposits.any(|deposit| deposit.state.is_open());
        open.then_some(Unfinished::Deposit)
    }
}

/// Something that is under way.
#[derive(Debug)]
#[expect(dead_code, reason = "shown when it never ends")]
pub(crate) enum Unfinished<'s> {
    Order(&'s Order),
    Operation(&'s Operation, &'s Instance),
    Subscription(&'s Subscription),
    News(&'s Deposit),
    Deposit,
}
