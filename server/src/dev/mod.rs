//! `sewa dev`: the whole platform on a bare machine. Brings a PostgreSQL of its own, a catalogue, a demo reseller with an API key, a staff key holder, the
//! simulator provider and the sandbox gateway, and can play the demonstration.

pub mod demo;
pub mod people;
pub mod postgres;

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::base::{crypto, db};
use crate::config::Config;
use crate::service::catalog;
use crate::{cli, serve};
use postgres::{Options, Postgres};

/// Calls a minute on a machine where everybody is the same person.
const RATES: [(&str, u32); 4] = [
    ("default", 6000),
    ("login", 600),
    ("register", 600),
    ("order", 600),
];

/// How to run it.
#[derive(clap::Args)]
pub struct Arguments {
    /// Play the demonstration once the server is up.
    #[arg(long)]
    demo: bool,
    /// Stop after the demonstration; the exit code says whether every step was observed.
    #[arg(long, requires = "demo")]
    exit: bool,
    /// Begin with an empty database.
    #[arg(long)]
    fresh: bool,
}

/// Runs until stopped, or until the demonstration is over.
///
/// # Errors
/// If a part cannot be started, or the demonstration fails with `--exit`.
pub async fn run(mut config: Config, arguments: Arguments) -> anyhow::Result<()> {
    if config.tls_certificate != PathBuf::new() {
        bail!("`sewa dev` speaks plain text; tls_certificate and tls_key are for `sewa serve`");
    }
    let data = config.data_dir.clone();
    if arguments.fresh && data.join("postgres").exists() {
        std::fs::remove_dir_all(data.join("postgres")).context("removing the old database")?;
    }
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "listening on {}; is another server running there?",
            config.listen
        )
    })?;
    let server = start_database(&mut config).await?;
    if config.master_key.is_empty() {
        config.master_key = kept_secret(&data.join("master.key"), || {
            crypto::random::<32>()
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect()
        })?;
    }
    relax(&mut config);
    cli::migrate(&config).await?;
    let pool = db::connect(&config.database_url, 4).await?;
    catalog::seed(&pool, catalog::DEFAULT_CATALOGUE)
        .await
        .context("loading the catalogue")?;
    let keys = people::introduce(&pool, &data).await?;
    pool.close().await;

    let url = format!("http://{}", listener.local_addr()?);
    let stop = serve::stop_on_signal();
    let serving = tokio::spawn(serve::run(config, listener, stop.clone()));
    let outcome = tokio::select! {
        outcome = attend(&url, &keys, &arguments, &stop) => outcome,
        // The server ended by itself: its error is the news.
        () = until_finished(&serving) => Ok(()),
    };
    stop.cancel();
    let served = serving.await.context("the server ended abnormally")?;
    if let Some(postgres) = server {
        postgres.stop().await?;
    }
    served.and(outcome)
}

async fn until_finished<T>(task: &tokio::task::JoinHandle<T>) {
    while !task.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for the server, greets, plays what was asked for, and goes on until stopped.
async fn attend(
    url: &str,
    keys: &people::Keys,
    arguments: &Arguments,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    demo::until_ready(url).await?;
    greet(url, keys);
    if arguments.demo {
        let played = demo::play(url).await;
        if let Err(error) = &played {
            println!("\nThe demonstration failed: {error:#}");
        }
        if arguments.exit {
            return played;
        }
        println!("\nThe platform goes on serving at {url}. Stop it with Ctrl-C.");
    }
    stop.cancelled().await;
    Ok(())
}

fn greet(url: &str, keys: &people::Keys) {
    let address = url.trim_start_matches("http://");
    println!("\nSewa is up.");
    println!("  gRPC, gRPC-Web, REST   {url}");
    println!("  health and metrics     {url}/readyz  {url}/metrics");
    println!("  reseller's API key     {}", keys.reseller);
    println!(
        "  staff e-mail, password {}  {}",
        people::STAFF_EMAIL,
        keys.staff_password
    );
    println!("Try:");
    println!("  grpcurl -plaintext {address} list");
    println!(
        "  curl -H 'authorization: Bearer {}' {url}/v1/wallet",
        keys.reseller
    );
}

/// Starts the embedded PostgreSQL, unless the settings name another one.
async fn start_database(config: &mut Config) -> anyhow::Result<Option<Postgres>> {
    if !config.database_url.is_empty() {
        return Ok(None);
    }
    let bin_dir = Some(config.pg_bin_dir.clone()).filter(|dir| *dir != PathBuf::new());
    let postgres = Postgres::start(Options {
        data_dir: config.data_dir.join("postgres"),
        durable: true,
        bin_dir,
    })
    .await?;
    postgres.create_database("sewa").await?;
    config.database_url = postgres.url("sewa");
    Ok(Some(postgres))
}

/// Limits meant for many strangers would only be in the way of one developer, and invoices name a seller.
fn relax(config: &mut Config) {
    let defaults = Config::default();
    for (class, rate) in RATES {
        if config.rates.get(class) == defaults.rates.get(class) {
            config.rates.insert(class.to_owned(), rate);
        }
    }
    if config.cors_origins.is_empty() {
        config.cors_origins = vec!["*".to_owned()];
    }
    if config.seller.name.is_empty() {
        "PT Contoh Sewa".clone_into(&mut config.seller.name);
        "Jl. Contoh 1\nJakarta 10110".clone_into(&mut config.seller.address);
        "0000000000000001".clone_into(&mut config.seller.npwp);
    }
}

/// A secret that is made once and kept in a file that only its owner reads.
pub(crate) fn kept_secret(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    if let Ok(kept) = std::fs::read_to_string(path) {
        return Ok(kept.trim().to_owned());
    }
    let secret = make();
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    std::io::Write::write_all(&mut file, secret.as_bytes())?;
    Ok(secret)
}
