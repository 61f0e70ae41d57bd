//! The way to PostgreSQL.

mod pool;

use std::str::FromStr;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use pool::{Connection, PgPool, Transaction, within};

/// How long a call waits for a connection. Shorter than any deadline of the contract, so that it is told to come again instead of running out of time.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Forward-only migrations, embedded in the binary. One that the database has and the binary has not is of a later release: while servers are replaced one by one,
/// both are about.
pub static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("../migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// Opens a pool. Sessions plan without sequential scans: on fresh tables the planner, which has no statistics yet, would otherwise choose plans that get
/// slower with every row until the first analyze.
///
/// # Errors
/// If the URL does not parse or no connection can be made.
pub async fn connect(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?
        .application_name("sewa")
        .statement_cache_capacity(256)
        .options([
            ("role", "sewa_app"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "60s"),
            // A session whose client is unreachable ends by itself and lets go of its locks.
            ("tcp_keepalives_idle", "30"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "3"),
            ("tcp_user_timeout", "30s"),
        ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE);
    PgPool::connect(pool, options).await
}

/// Whether the database answers. A connection that broke since it was last used says nothing about that, so another is asked.
///
/// # Errors
/// What it says instead.
pub async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    match pool.execute("select 1").await {
        Err(error) if pool::is_broken(&error) => pool.execute("select 1").await.map(drop),
        asked => asked.map(drop),
    }
}

/// Whether the same statement may succeed a moment later: the connection broke, the server is restarting, or a lock or serialization conflict ended it.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(database) if !pool::is_broken(error) => {
            matches!(
                database.code().as_deref(),
                Some(
                    "40001"
                        | "40P01"
                        | "55P03"
                        | "57014"
                        | "53300"
                        // A database that takes no connections just now.
                        | "55000"
                )
            )
        }
        error => pool::is_broken(error),
    }
}

/// The name of the constraint a statement broke, if that is what happened.
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint)
}
