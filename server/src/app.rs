//! What a running server holds. Built by hand in one place (`serve`), cloned, and without behaviour of its own.

use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::outbox::reader::Tail;
use crate::config::Config;
use crate::provider::compute::Providers;
use crate::provider::payment::registry::Gateways;
use crate::service::identity::tokens::Signer;
use crate::service::order::place::PlaceLanes;
use crate::service::{catalog, provider};

/// The parts every slice may use.
#[derive(Clone)]
pub struct App {
    /// PostgreSQL.
    pub db: PgPool,
    /// The present time.
    pub clock: Clock,
    /// Encrypts secrets at rest.
    pub master: MasterKey,
    /// The tail of the event log; wake it after a commit that wrote events.
    pub tail: Tail,
    /// Settings.
    pub config: Arc<Config>,
    /// Cancelled when the process is asked to stop: streams end, workers finish what they are at.
    pub stop: CancellationToken,
    /// Signs and verifies access tokens.
    pub signer: Arc<Signer>,
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
}
