//! `sewa`: subcommands only.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use sewa_server::cli::{call, contract, key, user};
use sewa_server::config::{Config, Role};
use sewa_server::{cli, dev, logs, serve};
use tokio::net::TcpListener;

/// A call takes some hundred pieces of memory, many of them of more than the kilobyte up to which the system's allocator is quick (docs/decisions/0018-mimalloc.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sells and resells virtual servers: API, ledger, provisioning and renewal in one binary.
#[derive(Parser)]
#[command(name = "sewa", version, arg_required_else_help = true)]
struct Arguments {
    /// Settings file (TOML). Variables such as SEWA_DATABASE_URL win over it.
    #[arg(long, global = true, env = "SEWA_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try the whole platform on this machine: brings a PostgreSQL of its own, a catalogue, simulated machines and money.
    Dev(dev::Arguments),
    /// Serve. Needs PostgreSQL (SEWA_DATABASE_URL), a migrated schema and a master key (SEWA_MASTER_KEY).
    Serve {
        /// What this process does; all by default.
        #[arg(long, value_enum)]
        role: Option<Role>,
    },
    /// Bring the schema of the database up to date. Safe to repeat, and while servers run.
    Migrate,
    /// Say that the database was brought back as it was at an earlier moment. Run it before servers start again: the event log then goes on beyond every cursor
    /// that anybody keeps.
    Restored,
    /// Load plans, images and regions into the database: the ones that come with the platform, or those of a file. Safe to repeat.
    Catalogue {
        /// A file like server/data/catalogue.toml.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Staff users.
    #[command(subcommand)]
    User(user::Command),
    /// API keys and signing keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Sign in at a server and keep the session for `sewa call`.
    Login(call::Login),
    /// End a session and forget it.
    Logout(call::Logout),
    /// Print an access token of a session, renewed if it had to be, for programs such as grpcurl.
    Token(call::Token),
    /// Call a method of the API.
    Call(call::Call),
    /// The contract: compare two versions of it.
    #[command(subcommand)]
    Contract(contract::Command),
    /// Recompute the books and report every difference. Exits with 1 if there is one.
    Prove {
        /// Prove one account only.
        #[arg(long)]
        account: Option<uuid::Uuid>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Needs no settings, and tells three outcomes apart.
    if let Command::Contract(command) = &arguments.command {
        return contract::run(command);
    }
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For the operator, on one line; a backtrace would hide it.
            eprintln!("sewa: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = Config::read(arguments.config.as_deref()).context("the settings")?;
    logs::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        match arguments.command {
            Command::Dev(arguments) => dev::run(config, arguments).await,
            Command::Serve { role } => {
                config.role = role.unwrap_or(config.role);
                let listener = TcpListener::bind(config.listen)
                    .await
                    .with_context(|| format!("listening on {}", config.listen))?;
                serve::run(config, listener, serve::stop_on_signal()).await
            }
            Command::Catalogue { file } => cli::load_catalogue(&config, file.as_deref()).await,
            Command::Migrate => cli::migrate(&config).await,
            Command::Restored => cli::restored(&config).await,
            Command::User(command) => user::run(&config, command).await,
            Command::Key(command) => key::run(&config, command).await,
            Command::Login(arguments) => call::login(arguments).await,
            Command::Logout(arguments) => call::logout(arguments).await,
            Command::Token(arguments) => call::token(arguments).await,
            Command::Call(arguments) => call::call(arguments).await,
            Command::Contract(_) => Ok(()), // main has answered it
            Command::Prove { account } => cli::prove(&config, account).await,
        }
    })
}
