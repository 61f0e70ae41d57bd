//! What the platform does not own: chance, time, a cloud and payment gateways, each with a truth of its own.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_server::base::money::Rupiah;
use sewa_server::provider::compute::{Machine, Power};
use sewa_server::provider::payment::{Terms, Transaction, TransactionState};
use uuid::Uuid;

/// How long after its creation a machine may not be found yet.
pub(crate) const LOOKUP_DELAY: TimeDelta = TimeDelta::seconds(5);

/// Splitmix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn between(&mut self, least: i64, most: i64) -> i64 {
        least + i64::try_from(self.below(usize::try_from(most - least + 1).unwrap())).unwrap()
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len())])
    }
}

/// How a call outside may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As it should.
    Done,
    /// Nothing happened, and the caller knows.
    Unavailable,
    /// It happened, and the caller does not know.
    Lost,
    /// Nothing happened, and the caller does not know.
    Nothing,
    /// No room.
    NoCapacity,
}

/// A machine as the cloud has it.
#[derive(Clone, Debug)]
pub(crate) struct Real {
    pub(crate) name: String,
    pub(crate) reference: Uuid,
    pub(crate) power: Power,
    pub(crate) busy_until: DateTime<Utc>,
    pub(crate) visible_at: DateTime<Utc>,
}

impl Real {
    pub(crate) fn seen(&self, now: DateTime<Utc>) -> Machine {
        Machine {
            provider_ref: self.name.clone(),
            reference: self.reference.to_string(),
            size: "s-1vcpu-1gb".to_owned(),
            power: self.power,
            busy: now < self.busy_until,
            ipv4: Some([10, 0, 0, 1].into()),
            ipv6: None,
        }
    }
}

/// The cloud.
#[derive(Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) machines: Vec<Real>,
    made: u64,
}

impl Cloud {
    pub(crate) fn create(
        &mut self,
        reference: Uuid,
        now: DateTime<Utc>,
        chance: &mut Chance,
    ) -> String {
        self.made += 1;
        let name = format!("m{}", self.made);
        let boots = TimeDelta::seconds(chance.between(0, 60));
        let late = TimeDelta::milliseconds(chance.between(0, LOOKUP_DELAY.num_milliseconds()));
        self.machines.push(Real {
            name: name.clone(),
            reference,
            power: Power::Running,
            busy_until: now + boots,
            visible_at: now + late,
        });
        name
    }

    pub(crate) fn get(&self, name: &str, now: DateTime<Utc>) -> Option<Machine> {
        let found = self.machines.iter().find(|real| real.name == name);
        found.map(|real| real.seen(now))
    }

    /// Machines that carry a reference, as far as they are found yet, oldest first.
    pub(crate) fn find(&self, reference: Uuid, now: DateTime<Utc>) -> Vec<Machine> {
        let ours = |real: &&Real| real.reference == reference && real.visible_at <= now;
        self.machines
            .iter()
            .filter(ours)
            .map(|real| real.seen(now))
            .collect()
    }

    pub(crate) fn real(&mut self, name: &str) -> Option<&mut Real> {
        self.machines.iter_mut().find(|real| real.name == name)
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.machines.retain(|real| real.name != name);
    }
}

/// A gateway, which knows its transactions and what was paid for them.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub(crate) transactions: Vec<Transaction>,
}

impl Gateway {
    pub(crate) fn open(
        &mut self,
        reference: Uuid,
        amount: Rupiah,
        fee: i64,
        expires_at: DateTime<Utc>,
    ) -> Transaction {
        let transaction = Transaction {
            gateway_ref: format!("g{}", self.transactions.len()),
            reference: reference.to_string(),
            state: TransactionState::Unpaid,
            total: Rupiah(amount.0 + fee),
            refunded: Rupiah::ZERO,
            paid_at: None,
            gateway_fee: None,
            terms: Terms {
                fee: Rupiah(fee),
                expires_at: Some(expires_at),
                ..Terms::default()
            },
        };
        self.transactions.push(transaction.clone());
        transaction
    }

    /// Transactions that carry a reference.
    pub(crate) fn find(&self, reference: Uuid) -> Vec<Transaction> {
        let reference = reference.to_string();
        let ours = |transaction: &&Transaction| transaction.reference == reference;
        self.transactions.iter().filter(ours).cloned().collect()
    }
}
