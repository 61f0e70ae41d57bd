//! The way to PostgreSQL.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// How long a call waits for a connection. Shorter than any deadline of the contract, so that it is told to come again instead of running out of time.
const ACQUIRE: Duration = Duration::from_secs(3);

/// Forward-only migrations, embedded in the binary.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

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
        ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .connect_with(options)
        .await
}

/// Whether the database answers.
///
/// # Errors
/// What it says instead.
pub async fn ping(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(r#"select 1 as "one!""#)
        .fetch_one(pool)
        .await
        .map(|_| ())
}

/// Whether the same statement may succeed a moment later: the connection broke, the server is restarting, or a lock or serialization conflict ended it.
pub fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(database) => {
            matches!(
                database.code().as_deref(),
                Some(
                    "40001"
                        | "40P01"
                        | "55P03"
                        | "57014"
                        | "57P01"
                        | "57P02"
                        | "57P03"
                        | "53300"
                        | "25P03"
                )
            )
        }
        _ => false,
    }
}

/// The name of the constraint a statement broke, if that is what happened.
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::constraint)
}
