//! What is measured: a PostgreSQL of our own with durable settings, and the product as a process beside it, with accounts that have keys and money.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use prost::Message;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::order::v1::{OrderDraft, Payment, PlaceOrderRequest};
use sewa_server::dev::postgres::{Options, Postgres};
use sqlx::PgPool;

use crate::measure;

/// Accounts that take part.
pub(crate) const ACCOUNTS: usize = 1000;
/// The plans of the catalogue that comes with the product.
const PLANS: usize = 7;

/// A database with everything in it.
pub(crate) struct Platform {
    /// Away only while it is restarted.
    postgres: Option<Postgres>,
    pub(crate) pool: PgPool,
    name: String,
    folder: tempfile::TempDir,
    pub(crate) bin_dir: PathBuf,
}

/// A running `sewa serve`.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a program that is to listen on a port, and waits until it does.
    pub(crate) async fn spawn(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let child = command.stdout(Stdio::null()).spawn()?;
        let server = Self { child, port };
        let end = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            anyhow::ensure!(Instant::now() < end, "the server did not listen in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(server)
    }

    pub(crate) fn memory(&self) -> measure::Memory {
        measure::memory(self.child.id())
    }

    pub(crate) fn cpu(&self) -> Duration {
        measure::cpu(self.child.id())
    }
}

impl Platform {
    /// Starts PostgreSQL and makes database `name` with the schema and the catalogue.
    pub(crate) async fn start(name: &str) -> anyhow::Result<Self> {
        let bin_dir = std::env::var_os("SEWA_PG_BIN_DIR")
            .map(PathBuf::from)
            .context("SEWA_PG_BIN_DIR is not set; run by make bench")?;
        let folder = tempfile::tempdir_in("/tmp")?;
        let postgres = Postgres::start(options(&folder, &bin_dir)).await?;
        postgres.create_database(name).await?;
        // As the server's own sessions: what looks at the tables must not scan them while scans are counted.
        let options: sqlx::postgres::PgConnectOptions = postgres.url(name).parse()?;
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(4)
            .connect_with(options.options([("enable_seqscan", "off")]))
            .await?;
        let platform = Self {
            postgres: Some(postgres),
            pool,
            name: name.to_owned(),
            folder,
            bin_dir,
        };
        platform.sewa(&["migrate"])?;
        platform.sewa(&["catalogue"])?;
        Ok(platform)
    }

    pub(crate) fn url(&self) -> String {
        let postgres = self.postgres.as_ref().expect("PostgreSQL runs");
        postgres.url(&self.name)
    }

    /// Stops PostgreSQL as its operators do, and starts it again.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(postgres) = self.postgres.take() {
            postgres.stop().await?;
        }
        let options = options(&self.folder, &self.bin_dir);
        self.postgres = Some(Postgres::start(options).await?);
        Ok(())
    }

    /// Runs a subcommand to its end.
    pub(crate) fn sewa(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(arguments)?.stdout(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!(
                "sewa {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let binary = std::env::current_exe()?.with_file_name("sewa");
        let mut command = Command::new(&binary);
        command
            .args(arguments)
            .env("SEWA_DATABASE_URL", self.url())
            .env("SEWA_MASTER_KEY", "ab".repeat(32))
            .env("RUST_LOG", "warn")
            // The fleet of the sweep has no machines and no first period, for which the guard would freeze every wallet.
            .env("SEWA_PROOF_REST_SECONDS", "0")
            .envs(
                ["DEFAULT", "LOGIN", "REGISTER", "ORDER"]
                    .map(|class| (format!("SEWA_RATES__{class}"), "2000000000")),
            );
        anyhow::ensure!(
            binary.exists(),
            "{} is missing; run by make bench",
            binary.display()
        );
        Ok(command)
    }

    /// Starts the product in a role and waits until it is ready.
    pub(crate) async fn serve(&self, role: &str) -> anyhow::Result<Server> {
        self.serve_with(role, &[]).await
    }

    /// The same with settings of its own.
    pub(crate) async fn serve_with(
        &self,
        role: &str,
        settings: &[(String, String)],
    ) -> anyhow::Result<Server> {
        let port = free_port()?;
        let mut command = self.command(&["serve", "--role", role])?;
        command.envs(settings.iter().cloned());
        Server::spawn(
            command.env("SEWA_LISTEN", format!("127.0.0.1:{port}")),
            port,
        )
        .await
    }

    /// Makes the accounts, each with an API key and money that came in by a journal, so that the books can be proved afterwards.
    pub(crate) async fn populate(&self) -> anyhow::Result<()> {
        let accounts = i64::try_from(ACCOUNTS)?;
        for statement in [
            "insert into accounts (id, kind, name, sandbox, created_at)
             select ('00000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 2, 'bench ' || i, true, now() from generate_series(1, $1) i",
            "insert into api_keys (account_id, id, digest, display_name, scopes, role, created_by, created_at)
             select id, id, sha256(convert_to('sk_bench_' || row_number() over (order by id), 'utf8')), 'bench', array['orders', 'wallet', 'profile'], 'reseller', id, now()
             from accounts limit $1",
            "insert into journals (account_id, id, kind, subject_id, description, available, adjustment, available_after, held_after, recorded_at)
             select id, '00000000-0000-7000-8000-000000000001', 7, id, 'bench', 1000000000000, -1000000000000, 1000000000000, 0, now() from accounts limit $1",
            "insert into balances (account_id, available, last_journal_id, updated_at)
             select id, 1000000000000, '00000000-0000-7000-8000-000000000001', now() from accounts limit $1",
        ] {
            sqlx::query(statement).bind(accounts).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Writes down what is in memory, so that the next measurement does not pay for the last one.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        sqlx::query("checkpoint").execute(&self.pool).await?;
        Ok(())
    }

    /// Processor time used by the sessions of PostgreSQL that are open.
    pub(crate) async fn cpu(&self) -> anyhow::Result<Duration> {
        let file: String = sqlx::query_scalar("select pg_read_file('postmaster.pid')")
            .fetch_one(&self.pool)
            .await?;
        let pid = file.lines().next().unwrap_or_default().trim().parse()?;
        Ok(measure::cpu_of_children(pid))
    }

    /// Bytes of write-ahead log so far.
    pub(crate) async fn wal(&self) -> anyhow::Result<f64> {
        Ok(
            sqlx::query_scalar("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8")
                .fetch_one(&self.pool)
                .await?,
        )
    }
}

fn options(folder: &tempfile::TempDir, bin_dir: &std::path::Path) -> Options {
    Options {
        data_dir: folder.path().join("postgres"),
        durable: true,
        bin_dir: Some(bin_dir.to_owned()),
    }
}

/// A port nobody listens on.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The API keys of the first `count` accounts.
pub(crate) fn bearers(count: usize) -> Vec<String> {
    (1..=count).map(|i| format!("sk_bench_{i}")).collect()
}

/// Orders for the first `plans` plans.
pub(crate) fn orders(plans: usize) -> Vec<Vec<u8>> {
    (1..=plans.min(PLANS))
        .map(|plan| {
            let draft = OrderDraft {
                plan_id: format!("0192f0c1-0000-7000-8000-{plan:012}"),
                region_id: "0192f0c1-0000-7000-8000-000000000201".to_owned(),
                image_id: "0192f0c1-0000-7000-8000-000000000101".to_owned(),
                period: BillingPeriod::Month.into(),
                hostname: "bench".to_owned(),
                ..OrderDraft::default()
            };
            PlaceOrderRequest {
                draft: Some(draft),
                payment: Payment::Wallet.into(),
                ..PlaceOrderRequest::default()
            }
            .encode_to_vec()
        })
        .collect()
}

/// The same order for the first plan as REST takes it.
pub(crate) fn order_as_json() -> Vec<u8> {
    let text = r#"{"draft":{"planId":"0192f0c1-0000-7000-8000-000000000001","regionId":"0192f0c1-0000-7000-8000-000000000201","imageId":"0192f0c1-0000-7000-8000-000000000101","period":"BILLING_PERIOD_MONTH","hostname":"bench"},"payment":"PAYMENT_WALLET"}"#;
    text.as_bytes().to_vec()
}
