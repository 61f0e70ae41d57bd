//! Builds the parts of a server from its settings.

use anyhow::{Context, bail};
use sqlx::migrate::Migrate;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Lookups, Parts};
use crate::base::agreed::Agreed;
use crate::base::clock::Clock;
use crate::base::contract::Contract;
use crate::base::db;
use crate::base::outbox::fanout;
use crate::base::outbox::reader::Tail;
use crate::base::repeats::Repeats;
use crate::config::Config;
use crate::edge::limit::Limits;
use crate::provider::compute::{Providers, simulator};
use crate::provider::payment::registry::Gateways;
use crate::service::{billing, catalog, identity, order, provider};

/// Lanes of group commit: one for every two cores, because a lane keeps a core of PostgreSQL busy, and fewer lanes collect larger batches.
fn lanes() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Builds everything, or says what is missing.
///
/// # Errors
/// Faults of the settings, the contract or the schema, each named.
pub async fn build(config: Config, stop: CancellationToken) -> anyhow::Result<(App, Limits)> {
    if let Err(problems) = config.check() {
        bail!("the settings have problems:\n  {}", problems.join("\n  "));
    }
    if let Err(faults) = Contract::load(sewa_sdk::pool()) {
        bail!("the contract has faults:\n  {}", faults.join("\n  "));
    }
    let master = config.master_key().context("master_key was checked")?;
    let db = db::connect(&config.database_url, config.database_connections)
        .await
        .context("PostgreSQL")?;
    require_current_schema(&db).await?;
    let redis = redis_of(&config)?;
    let clock = Clock;
    let agreed = Agreed::start(&db, clock.clone(), stop.clone())
        .await
        .context("PostgreSQL")?;
    let tail = Tail::start(db.clone());
    if let Some((client, connection)) = &redis {
        fanout::start(client.clone(), connection.clone(), &tail);
    }
    let limits = Limits::new(&config, redis.map(|(_, connection)| connection));
    let app = Parts {
        signer: identity::tokens::Signer::load(&db, &master)
            .await
            .context("signing keys")?
            .lasting(chrono::Duration::seconds(i64::from(
                config.access_token_seconds,
            ))),
        billing: billing::complete::Complete::default(),
        catalog: catalog::Cache::default(),
        providers: Providers::new(simulator::clouds(&db, &clock, config.simulator_boot_ms)),
        gateways: Gateways::new(&config.payments).context("payment gateways")?,
        lines: provider::Lines::new(config.vault().context("credential_keys was checked")?),
        placing: order::place::lanes(db.clone(), clock.clone(), tail.clone(), lanes()),
        repeats: Repeats::start(&db),
        reads: Lookups::start(&db),
        db,
        clock,
        agreed,
        master,
        tail,
        config,
        stop,
    };
    Ok((app.into(), limits))
}

/// The way to Redis. It is connected when it is first used, and again whenever it was away: a server starts and works without it.
fn redis_of(
    config: &Config,
) -> anyhow::Result<Option<(redis::Client, redis::aio::ConnectionManager)>> {
    if config.redis_url.is_empty() {
        tracing::info!(
            "no redis_url: rate limits and wake-ups stay within this process, which is right for one replica"
        );
        return Ok(None);
    }
    let client = redis::Client::open(config.redis_url.as_str()).context("redis_url")?;
    let connection = client
        .get_connection_manager_lazy(redis::aio::ConnectionManagerConfig::new())
        .context("redis_url")?;
    Ok(Some((client, connection)))
}

/// A server works only on a schema that has every migration it was built with.
async fn require_current_schema(db: &crate::base::db::PgPool) -> anyhow::Result<()> {
    let mut connection = db.acquire().await?;
    let applied = connection
        .list_applied_migrations("_sqlx_migrations")
        .await
        .context("the database has no schema yet; run `sewa migrate`")?;
    let missing: Vec<String> = db::MIGRATIONS
        .iter()
        .filter(|m| !applied.iter().any(|a| a.version == m.version))
        .map(|m| format!("{} {}", m.version, m.description))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the schema is behind; run `sewa migrate`. Missing:\n  {}",
        missing.join("\n  ")
    )
}
