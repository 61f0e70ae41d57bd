//! `sewa user`: the platform's own people. Customers register through the API.

use std::io::{IsTerminal, Read};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;

use crate::base::clock::Clock;
use crate::base::db::PgPool;
use crate::base::{crypto, db};
use crate::config::Config;
use crate::edge::permissions;
use crate::service::identity::error::Error;
use crate::service::identity::model::{self, Suspension};
use crate::service::identity::{self, password};

/// Length of a password, in characters, as the contract has it for customers.
const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 10..=128;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add somebody. The password is read from standard input, or made and printed once if there is none.
    Add {
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// support, sysadmin, business, finance, admin or super_admin.
        #[arg(long, value_parser = staff_role)]
        role: String,
    },
    /// List everybody.
    List,
    /// Suspend somebody, staff or customer: the user's sessions end at once, access tokens within 15 minutes. Other users and the API keys of the account go on.
    Suspend {
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// Let the user in again.
        #[arg(long)]
        lift: bool,
    },
    /// Take the second factor of somebody away who lost it and the recovery codes. Make sure who asks: the password alone is enough to sign in then.
    ForgetSecondFactor {
        /// E-mail address.
        #[arg(long)]
        email: String,
    },
}

/// Does it.
///
/// # Errors
/// If the database cannot be reached, or what was asked for cannot be.
pub async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let pool = db::connect(&config.database_url, 2)
        .await
        .context("PostgreSQL")?;
    match command {
        Command::Add { email, role } => add(&pool, &email, &role).await,
        Command::List => list(&pool).await,
        Command::Suspend { email, lift } => suspend(&pool, &email, lift).await,
        Command::ForgetSecondFactor { email } => {
            let mut connection = pool.acquire().await?;
            ensure!(
                identity::forget_second_factor(&mut connection, &email).await?,
                "there is no user {email} with a second factor"
            );
            println!("{email} has no second factor");
            Ok(())
        }
    }
}

fn staff_role(name: &str) -> Result<String, String> {
    if permissions::is_staff(name) {
        Ok(name.to_owned())
    } else {
        Err("not a staff role".to_owned())
    }
}

async fn add(pool: &PgPool, email: &str, role: &str) -> anyhow::Result<()> {
    ensure!(email.contains('@'), "{email} is not an e-mail address");
    let given = given_password()?;
    let is_made = given.is_none();
    let secret = given.unwrap_or_else(|| crypto::token(""));
    let hash = password::hash(secret.clone()).await?;
    match identity::add_staff(&mut *pool.acquire().await?, email, &hash, role, Clock.now()).await {
        Ok(id) => println!("{id} {} {role}", model::normal_email(email)),
        Err(Error::EmailTaken) => bail!("{email} is taken"),
        Err(error) => return Err(error.into()),
    }
    if is_made {
        println!("password: {secret}");
    }
    Ok(())
}

/// The password on standard input; `None` from a terminal or an empty input.
fn given_password() -> anyhow::Result<Option<String>> {
    let mut input = std::io::stdin();
    if input.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    input
        .read_to_string(&mut text)
        .context("reading the password")?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Ok(None);
    }
    ensure!(
        PASSWORD_LENGTH.contains(&text.chars().count()),
        "a password has {} to {} characters",
        PASSWORD_LENGTH.start(),
        PASSWORD_LENGTH.end()
    );
    Ok(Some(text.to_owned()))
}

async fn list(pool: &PgPool) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut after = String::new();
    loop {
        let users = identity::list_users(&mut connection, &after).await?;
        let Some(last) = users.last() else {
            return Ok(());
        };
        after.clone_from(&last.email);
        for user in users {
            let account = user
                .account_id
                .map_or_else(|| "staff".to_owned(), |id| id.to_string());
            let note = if user.suspended { " suspended" } else { "" };
            println!("{} {} {} {account}{note}", user.id, user.email, user.role);
        }
    }
}

async fn suspend(pool: &PgPool, email: &str, lift: bool) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    let suspension = if lift {
        Suspension::Lifted
    } else {
        Suspension::Imposed
    };
    ensure!(
        identity::suspend_user(&mut tx, email, suspension, Clock.now()).await?,
        "there is no user {email}"
    );
    tx.commit().await?;
    println!(
        "{email} {}",
        if lift {
            "may sign in again"
        } else {
            "is suspended"
        }
    );
    Ok(())
}
