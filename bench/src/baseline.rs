//! What the product is compared with: PostgreSQL's own benchmark on a one-row update, and a bare tonic server.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::platform::Platform;

/// Rows of the yardstick's table.
const ROWS: i64 = 100_000;

/// Makes the yardstick's table.
pub(crate) async fn prepare(platform: &Platform) -> anyhow::Result<()> {
    for statement in [
        "create table bench_rows (id integer primary key, n bigint not null) with (fillfactor = 50)",
        &format!("insert into bench_rows select i, 0 from generate_series(1, {ROWS}) i"),
        "vacuum analyze bench_rows",
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&platform.pool)
            .await?;
    }
    Ok(())
}

/// Durable one-row updates a second by `pgbench` with prepared statements and 16 clients, after a second that is not counted.
pub(crate) fn updates(platform: &Platform, seconds: u64) -> anyhow::Result<f64> {
    pgbench(platform, 1)?;
    pgbench(platform, seconds)
}

/// How long 99 of a hundred such updates take at most, when so many a second are asked for.
pub(crate) fn wait_of_updates(
    platform: &Platform,
    rate: f64,
    seconds: u64,
) -> anyhow::Result<Duration> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    let (rate, prefix) = (format!("{rate:.0}"), log.display().to_string());
    let flags = ["-R", &rate, "-l", "--log-prefix", &prefix];
    pgbench_with(platform, seconds, &flags)?;
    let mut waits = Vec::new();
    for file in std::fs::read_dir(folder.path())? {
        // Client, number, microseconds, and more.
        let text = std::fs::read_to_string(file?.path())?;
        let third = |line: &str| line.split(' ').nth(2)?.parse::<u64>().ok();
        waits.extend(text.lines().filter_map(third));
    }
    waits.sort_unstable();
    let at = waits.len() * 99 / 100;
    let wait = waits.get(at).context("pgbench logged nothing")?;
    Ok(Duration::from_micros(*wait))
}

fn pgbench(platform: &Platform, seconds: u64) -> anyhow::Result<f64> {
    pgbench_with(platform, seconds, &[])
}

fn pgbench_with(platform: &Platform, seconds: u64, flags: &[&str]) -> anyhow::Result<f64> {
    let mut script = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(
        &mut script,
        format!("\\set id random(1, {ROWS})\nupdate bench_rows set n = n + 1 where id = :id;\n")
            .as_bytes(),
    )?;
    let pgbench = platform.bin_dir.join("pgbench");
    let output = Command::new(&pgbench)
        .args([
            "-n",
            "-M",
            "prepared",
            "-c",
            "16",
            "-j",
            "2",
            "-T",
            &seconds.to_string(),
        ])
        .args(flags)
        .arg("-f")
        .arg(script.path())
        .arg(platform.url())
        .output()
        .with_context(|| format!("running {}", pgbench.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| {
        line.strip_prefix("tps = ")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    match rate {
        Some(rate) => Ok(rate),
        None => bail!(
            "pgbench gave no rate: {text} {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// A bare tonic server in a process of its own.
pub(crate) struct Echo {
    child: Child,
    /// Where it listens.
    pub(crate) port: u16,
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its one method.
pub(crate) const ECHO: &str = "/grpc.health.v1.Health/Check";

impl Echo {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let child = Command::new(std::env::current_exe()?)
            .args(["echo", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        let echo = Self { child, port };
        while tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(echo)
    }
}

/// Serves nothing but the standard health check, which answers from memory.
pub(crate) async fn echo(port: u16) -> anyhow::Result<()> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    tonic::transport::Server::builder()
        .add_service(health)
        .serve(([127, 0, 0, 1], port).into())
        .await?;
    Ok(())
}
