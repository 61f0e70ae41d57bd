//! What a running server holds. Built by hand in one place (`serve`), shared, and without behaviour of its own.

use std::ops::Deref;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::base::agreed::Agreed;
use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::base::id::{AccountId, ApiKeyId, OperationId, OrderId};
use crate::base::outbox::reader::Tail;
use crate::base::reads::Reads;
use crate::base::repeats::Repeats;
use crate::config::Config;
use crate::provider::compute::Providers;
use crate::provider::payment::registry::Gateways;
use crate::service::identity::tokens::Signer;
use crate::service::operation::model::Operation;
use crate::service::order::model::Order;
use crate::service::order::place::PlaceLanes;
use crate::service::wallet::model::Balance;
use crate::service::{billing, catalog, identity, operation, order, provider, wallet};

/// The parts every slice may use. A clone costs one count: layers and handlers make several for each call.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// What an [`App`] is made of.
pub struct Parts {
    /// PostgreSQL.
    pub db: PgPool,
    /// The present time.
    pub clock: Clock,
    /// Whether it is one to act on.
    pub agreed: Agreed,
    /// Encrypts secrets at rest.
    pub master: MasterKey,
    /// The tail of the event log; wake it after a commit that wrote events.
    pub tail: Tail,
    /// Settings.
    pub config: Config,
    /// Cancelled when the process is asked to stop: streams end, workers finish what they are at.
    pub stop: CancellationToken,
    /// Signs and verifies access tokens.
    pub signer: Signer,
    /// Which accounts have a complete billing profile.
    pub billing: billing::complete::Complete,
    /// What is for sale, as last read.
    pub catalog: catalog::Cache,
    /// The clouds.
    pub providers: Providers,
    /// The payment gateways.
    pub gateways: Gateways,
    /// The lines to accounts at real clouds.
    pub lines: provider::Lines,
    /// The lanes that place orders.
    pub placing: PlaceLanes,
    /// Which keys of orders were used lately.
    pub repeats: Repeats,
    /// What callers ask for again and again.
    pub reads: Lookups,
}

/// What callers poll, read for all who ask at the same time together.
pub struct Lookups {
    /// A balance and when it last changed; none of an account that never had money.
    pub balances: Reads<AccountId, (Balance, DateTime<Utc>)>,
    /// An order of an account.
    pub orders: Reads<(AccountId, OrderId), Order>,
    /// An operation of an account.
    pub operations: Reads<(AccountId, OperationId), Operation>,
    /// Whether an API key still works, for those who hold a stream open.
    pub keys: Reads<(AccountId, ApiKeyId), ()>,
}

impl Lookups {
    /// Reads from `db`.
    pub fn start(db: &PgPool) -> Self {
        Self {
            balances: Reads::start(db, |db, accounts| async move {
                wallet::store::balances(&db, &accounts).await
            }),
            orders: Reads::start(db, |db, asked| async move {
                order::store::get(&db, &asked).await
            }),
            operations: Reads::start(db, |db, asked| async move {
                operation::store::get(&db, &asked).await
            }),
            keys: Reads::start(db, |db, asked| async move {
                identity::store::keys::standing(&db, &asked).await
            }),
        }
    }
}
