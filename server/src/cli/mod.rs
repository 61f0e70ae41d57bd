//! What operators do from the command line: on the database itself, and through the API.

pub mod call;
pub mod contract;
pub mod key;
mod profile;
pub mod user;

use anyhow::Context;
use sqlx::{Connection, PgConnection};

use crate::base::db;
use crate::base::id::AccountId;
use crate::base::outbox::{epoch, reader};
use crate::config::Config;
use crate::prove::{self, Scope};
use crate::service::catalog;

/// Brings the schema up to date.
///
/// # Errors
/// If the database cannot be reached or a migration fails; the failed one leaves nothing behind.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let mut owner = as_owner(config).await?;
    db::MIGRATIONS.run(&mut owner).await.context("migrating")?;
    println!(
        "the schema is up to date: {} migrations",
        db::MIGRATIONS.iter().count()
    );
    Ok(())
}

/// After the database was brought back as it was at an earlier moment, before servers start: lets the event log go on beyond every position that was given out since,
/// because those who follow it know positions of events that have not happened now.
///
/// # Errors
/// If the database cannot be reached.
pub async fn restored(config: &Config) -> anyhow::Result<()> {
    let mut owner = as_owner(config).await?;
    let position = epoch::begin(&mut owner).await?;
    println!("the event log goes on after {}", reader::cursor(position));
    Ok(())
}

/// Connects as the role of the URL and not as the server's, which may not change the schema.
async fn as_owner(config: &Config) -> anyhow::Result<PgConnection> {
    anyhow::ensure!(
        !config.database_url.is_empty(),
        "database_url (SEWA_DATABASE_URL) is not set"
    );
    PgConnection::connect(&config.database_url)
        .await
        .context("PostgreSQL")
}

/// Loads a catalogue.
///
/// # Errors
/// If the file cannot be read or does not parse; nothing is loaded then.
pub async fn load_catalogue(config: &Config, file: Option<&std::path::Path>) -> anyhow::Result<()> {
    let text = match file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?
        }
        None => catalog::DEFAULT_CATALOGUE.to_owned(),
    };
    let pool = db::connect(&config.database_url, 2)
        .await
        .context("PostgreSQL")?;
    catalog::seed(&pool, &text)
        .await
        .context("loading the catalogue")
}

/// Proves the books.
///
/// # Errors
/// If there is a finding, or the database cannot be reached.
pub async fn prove(config: &Config, account: Option<uuid::Uuid>) -> anyhow::Result<()> {
    let pool = db::connect(&config.database_url, 2)
        .await
        .context("PostgreSQL")?;
    let scope = account.map_or(Scope::ALL, |id| Scope::of(AccountId(id)));
    let proof = prove::prove(&pool, scope).await?;
    for (name, sum) in std::collections::BTreeMap::from_iter(&proof.trial_balance) {
        println!("{name:>14} {sum:>16}");
    }
    for finding in &proof.findings {
        println!(
            "{}: account {}, {}: {}",
            finding.rule,
            finding.account.map(|a| a.to_string()).unwrap_or_default(),
            finding.row(),
            finding.detail
        );
    }
    println!(
        "{} accounts, {} journals: {}",
        proof.accounts,
        proof.journals,
        if proof.findings.is_empty() {
            "proved"
        } else {
            "NOT PROVED"
        }
    );
    anyhow::ensure!(
        proof.findings.is_empty(),
        "{} findings",
        proof.findings.len()
    );
    Ok(())
}
