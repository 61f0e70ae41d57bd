//! What operators do from the command line: on the database itself, and through the API.

pub mod call;
pub mod key;
mod profile;
pub mod user;

use anyhow::Context;

use crate::base::db;
use crate::base::id::AccountId;
use crate::config::Config;
use crate::service::{catalog, wallet};

/// Brings the schema up to date, as the role of the URL and not as the server's, which may not.
///
/// # Errors
/// If the database cannot be reached or a migration fails; the failed one leaves nothing behind.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.database_url.is_empty(),
        "database_url (SEWA_DATABASE_URL) is not set"
    );
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect(&config.database_url)
        .await
        .context("PostgreSQL")?;
    db::MIGRATIONS.run(&pool).await.context("migrating")?;
    println!(
        "the schema is up to date: {} migrations",
        db::MIGRATIONS.iter().count()
    );
    Ok(())
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
    let proof = wallet::store::prove::prove(&pool, account.map(AccountId)).await?;
    for (name, sum) in std::collections::BTreeMap::from_iter(&proof.trial_balance) {
        println!("{name:>14} {sum:>16}");
    }
    for finding in &proof.findings {
        println!(
            "{}: account {} journal {}: {}",
            finding.rule, finding.account_id, finding.journal_id, finding.detail
        );
    }
    println!(
        "{} accounts, {} journals: {}",
        proof.accounts,
        proof.journals,
        if proof.proved { "proved" } else { "NOT PROVED" }
    );
    anyhow::ensure!(proof.proved, "{} findings", proof.findings.len());
    Ok(())
}
