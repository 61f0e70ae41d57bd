//! The store as transactions have it: what they do not change is shared with the state before them, so that a transaction costs what it changes.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_server::base::id::{AccountId, DepositId, InstanceId, JournalId, OperationId, OrderId};
use sewa_server::service::instance::model::Instance;
use sewa_server::service::lifecycle::model::{Charge, Subscription};
use sewa_server::service::order::model::Order;
use sewa_server::service::wallet::deposit::Deposit;
use sewa_server::service::wallet::model::{Books, Command, Journal, Refused};
use sewa_server::service::wallet::payment::Payment;
use uuid::Uuid;

/// Copied when it is changed and somebody else has it as well.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Rc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Rc::make_mut(&mut self.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Self {
        Self(Rc::new(value))
    }
}

impl<T> Shared<T> {
    /// Whether nothing was changed between the two.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

pub(crate) type Table<K, V> = Shared<BTreeMap<K, Shared<V>>>;

/// What is done to a machine.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: OperationId,
    pub(crate) instance: InstanceId,
    pub(crate) kind: Kind,
    pub(crate) asked_at: Option<DateTime<Utc>>,
    pub(crate) unsure: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) next_attempt_at: DateTime<Utc>,
    pub(crate) fence: u32,
    /// `Some(true)` if it was done.
    pub(crate) ended: Option<bool>,
}

/// A period of a subscription that was paid.
#[derive(Clone, Debug)]
pub(crate) struct Period {
    pub(crate) instance: InstanceId,
    pub(crate) charge: Charge,
}

/// What is written down. A transaction happens whole or not at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) books: Shared<Books>,
    /// Journals of the transaction that is open. They are only ever added to, so those before are kept beside.
    pub(crate) journals: Vec<Journal>,
    pub(crate) orders: Table<OrderId, Order>,
    pub(crate) instances: Table<InstanceId, Instance>,
    pub(crate) operations: Table<OperationId, Operation>,
    pub(crate) subscriptions: Table<InstanceId, Subscription>,
    /// Periods of the transaction that is open, as with journals.
    pub(crate) periods: Vec<Period>,
    pub(crate) deposits: Table<DepositId, Deposit>,
    pub(crate) payments: Table<DepositId, Vec<Payment>>,
    /// What a key came to: the order, or that it was refused.
    pub(crate) writes: Shared<BTreeMap<(AccountId, u8), Option<OrderId>>>,
}

impl Store {
    /// Lets the ledger decide a command, and keeps the journal.
    pub(crate) fn post(&mut self, command: &Command, fresh: Uuid) -> Result<JournalId, Refused> {
        let journal = self.books.decide(command, JournalId(fresh))?;
        let id = journal.id;
        self.journals.push(journal);
        Ok(id)
    }

    /// Whether something is under way on a machine.
    pub(crate) fn open_operation(&mut self, instance: InstanceId) -> Option<&mut Operation> {
        let open = |o: &Operation| o.instance == instance && o.ended.is_none();
        let id = self.operations.values().find(|o| open(o)).map(|o| o.id)?;
        Some(self.operations.get_mut(&id)?)
    }
}
