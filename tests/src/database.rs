//! One PostgreSQL for all tests of a process, one database for each: copied from a template that `sewa migrate` and `sewa catalogue` have made, which takes
//! milliseconds where migrating takes seconds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::OnceCell;

use crate::cluster::Cluster;
use crate::server;

/// A database of one test; gone when dropped.
#[derive(Debug)]
pub struct Database {
    url: String,
    /// Gone with the cluster otherwise.
    shared: Option<String>,
}

impl Database {
    /// A new database with schema and catalogue.
    pub async fn create() -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_try_init(make_template).await?;
        let name = format!("{template}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        administer(&format!("create database {name} template {template}")).await?;
        Ok(Self {
            url: url_of(&name),
            shared: Some(name),
        })
    }

    /// The database of a cluster of the test's own, with schema and catalogue.
    pub async fn of(cluster: &Cluster) -> anyhow::Result<Self> {
        let settings = BTreeMap::from([("SEWA_DATABASE_URL".to_owned(), cluster.url())]);
        fill(&settings)?;
        Ok(Self {
            url: cluster.url(),
            shared: None,
        })
    }

    /// Where it is, as a superuser.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// A connection of a superuser, for what no customer can do.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        let options: sqlx::postgres::PgConnectOptions = self.url().parse()?;
        options
            .disable_statement_logging()
            .connect()
            .await
            .context("connecting to the test's database")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(name) = &self.shared else {
            return;
        };
        let statement = format!("drop database {name} with (force)");
        // A runtime of its own: a test may be dropped inside one, which cannot be blocked.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(administer(&statement))
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("a database was left behind: {error:#}");
        }
    }
}

async fn make_template() -> anyhow::Result<String> {
    let name = format!("sewa_it_{}", std::process::id());
    administer(&format!("create database {name}")).await?;
    let settings = BTreeMap::from([("SEWA_DATABASE_URL".to_owned(), url_of(&name))]);
    if let Err(error) = fill(&settings) {
        administer(&format!("drop database {name}")).await?;
        return Err(error);
    }
    Ok(name)
}

fn fill(settings: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for command in ["migrate", "catalogue"] {
        let output = server::sewa(settings)?.arg(command).output()?;
        if !output.status.success() {
            bail!(
                "sewa {command} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    Ok(())
}

async fn administer(statement: &str) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(&given_url())
        .await
        .context("connecting to DATABASE_URL")?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .with_context(|| statement.to_owned())?;
    connection.close().await?;
    Ok(())
}

/// The URL of another database of the same PostgreSQL.
fn url_of(name: &str) -> String {
    let url = given_url();
    let (place, query) = url
        .split_once('?')
        .map_or((url.as_str(), String::new()), |(place, query)| {
            (place, format!("?{query}"))
        });
    let server = place.rsplit_once('/').map_or(place, |(server, _)| server);
    format!("{server}/{name}{query}")
}

pub(crate) fn given_url() -> String {
    std::env::var("DATABASE_URL").expect(
        "DATABASE_URL names a PostgreSQL that tests may fill; tools/with-postgres brings one",
    )
}
