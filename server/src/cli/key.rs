//! `sewa key`: the keys that sign access tokens, and API keys made by hand.

use anyhow::{Context, bail};
use clap::Subcommand;

use crate::base::clock::Clock;
use crate::base::db;
use crate::base::db::PgPool;
use crate::config::Config;
use crate::edge::permissions;
use crate::service::identity::error::Error;
use crate::service::identity::tokens::{self, Signer};
use crate::service::identity::{self, NewKey};
use crate::service::{instance, provider};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the published signing keys, newest first.
    List,
    /// Make a new signing key. It signs from ten minutes on; the old ones stay published for seven days more.
    RotateSigning,
    /// Seal the credentials of all providers, and what machines are given at their first boot, anew, under the credential key the settings name now. The old key can go afterwards. Safe to repeat, and while servers
    /// run that know both keys.
    RotateCredentials,
    /// Make an API key for the account of a user, and print its secret once.
    Create {
        /// E-mail address of a user of the account; the key can do at most what this user can.
        #[arg(long)]
        account_email: String,
        /// Permissions such as orders.place, or groups such as orders; separated by commas. What people have to confirm, such as instances.delete, is named in full.
        #[arg(long, value_delimiter = ',', required = true)]
        scopes: Vec<String>,
        /// Name for people.
        #[arg(long)]
        name: String,
        /// Days until it stops working; 0 for never.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=3650))]
        days: i32,
    },
}

/// Does it.
///
/// # Errors
/// If the database cannot be reached, the master key is missing or another one, or what was asked for cannot be.
pub async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let pool = db::connect(&config.database_url, 2)
        .await
        .context("PostgreSQL")?;
    match command {
        Command::List => list(config, &pool).await,
        Command::RotateSigning => rotate(config, &pool).await,
        Command::RotateCredentials => rotate_credentials(config, &pool).await,
        Command::Create {
            account_email,
            scopes,
            name,
            days,
        } => create(&pool, &account_email, scopes, name, days).await,
    }
}

async fn list(config: &Config, pool: &PgPool) -> anyhow::Result<()> {
    let master = config
        .master_key()
        .context("master_key (SEWA_MASTER_KEY) is not set to 64 hexadecimal digits")?;
    for key in Signer::load(pool, &master)
        .await?
        .public_keys(Clock.now())
        .await
    {
        let until = key.retire_at.map_or_else(
            || "current".to_owned(),
            |at| format!("until {}", at.to_rfc3339()),
        );
        println!(
            "{} signs from {} {until}",
            key.kid,
            key.active_at.to_rfc3339()
        );
    }
    Ok(())
}

async fn rotate(config: &Config, pool: &PgPool) -> anyhow::Result<()> {
    let master = config
        .master_key()
        .context("master_key (SEWA_MASTER_KEY) is not set to 64 hexadecimal digits")?;
    // Proves that this is the master key of the present keys: servers could not open a key sealed with another one.
    Signer::load(pool, &master)
        .await
        .context("the present signing keys")?;
    match tokens::rotate(pool, &master, Clock.now()).await? {
        Some((kid, active_at)) => println!("{kid} signs from {}", active_at.to_rfc3339()),
        None => bail!("another rotation was faster"),
    }
    Ok(())
}

async fn rotate_credentials(config: &Config, pool: &PgPool) -> anyhow::Result<()> {
    if let Err(problems) = config.check() {
        bail!("the settings have problems:\n  {}", problems.join("\n  "));
    }
    let vault = config.vault().context("credential_keys was checked")?;
    let count =
        provider::reseal(pool, &vault).await? + instance::boot::reseal(pool, &vault).await?;
    println!("{count} credentials sealed anew under {}", vault.current());
    Ok(())
}

async fn create(
    pool: &PgPool,
    email: &str,
    scopes: Vec<String>,
    display_name: String,
    lifetime_days: i32,
) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let person = identity::find_person(&mut tx, email)
        .await?
        .with_context(|| format!("there is no user {email}"))?;
    let account = person
        .account_id
        .with_context(|| format!("{email} belongs to no account"))?;
    let role = person
        .role()
        .with_context(|| format!("{email} has no role"))?;
    let new = NewKey {
        account,
        created_by: person.id.0,
        role,
        display_name,
        scopes,
        lifetime_days,
    };
    match identity::create_key(&mut tx, new, &permissions::of_role(role), Clock.now()).await {
        Ok((key, secret)) => {
            tx.commit().await?;
            println!("{} of account {account}\n{secret}", key.id);
            Ok(())
        }
        Err(Error::UnknownScope { scope }) => {
            bail!("{scope} is not a permission or group that {role} holds")
        }
        Err(error) => Err(error.into()),
    }
}
