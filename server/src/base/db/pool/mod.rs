//! Connections to PostgreSQL, none of which waits for ever.
//!
//! A connection whose packets vanish looks like one whose answer takes long. The pool of sqlx asks every connection that comes back whether it lives, and waits for
//! the answer without end; so a handful of dead connections would take all places of the pool, for good. Here a connection that comes back has a little time to
//! answer, and is thrown away otherwise. Who uses one sets the limit for that: calls have their deadline, everything else [`within`].
//!
//! One whose last statement or transaction has just ended well has answered already. It is kept at hand for the next who asks, without another trip to the server,
//! as long as nobody can be waiting for it in the pool. When one of them turns out to be broken the others are trusted no more.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTransactionManager,
    PgTypeInfo,
};
use sqlx::{
    Connection as _, Either, Error, Execute, Executor, PgConnection, Postgres, SqlSafeStr, SqlStr,
};
use sqlx_core::transaction::TransactionManager;

/// How long a connection that comes back may take to roll back what was left open and say that it lives.
const RETURN: Duration = Duration::from_secs(5);
/// How long one statement outside a transaction may take.
const STATEMENT: Duration = Duration::from_secs(60);
/// How long a connection is kept at hand unused, before it goes back to the pool, which knows when idle ones are too old.
const AT_HAND: Duration = Duration::from_secs(5);
/// A connection that was idle in the pool for longer than this is asked whether it lives before it is used, and has as long to answer: the statement that would
/// find out instead may take much longer.
const FRESH: Duration = Duration::from_secs(1);
/// How often a connection is used before it goes back to the pool although it is in demand.
const USES: u32 = 1000;

/// What comes of some work with the database, if it comes in time. Whether a commit that was under way has happened is not known otherwise, as when the connection
/// breaks.
///
/// # Errors
/// The work's own; one that [`is_transient`](super::is_transient) when it takes longer.
pub async fn within<T, E: From<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = |_| {
        let silent = "the database did not answer in time";
        E::from(Error::Io(io::Error::new(io::ErrorKind::TimedOut, silent)))
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|elapsed| Err(late(elapsed)))
}

/// Whether an error says that the connection is of no use any more.
pub(super) fn is_broken(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => true,
        Error::Database(database) => {
            matches!(
                database.code().as_deref(),
                Some("57P01" | "57P02" | "57P03" | "25P03")
            )
        }
        _ => false,
    }
}

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct PgPool {
    pool: sqlx::PgPool,
    at_hand: Arc<AtHand>,
}

/// Connections that need not be asked whether they live, the last used last; none once the pool is closed.
#[derive(Default)]
struct AtHand {
    kept: Mutex<Vec<Kept>>,
    /// When a connection was last found broken. Those that are idle since before that are likely to be broken too.
    broke: Mutex<Option<Instant>>,
}

struct Kept {
    held: Held,
    since: Instant,
    uses: u32,
}

impl AtHand {
    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = kept.pop()?;
        if last.since.elapsed() < AT_HAND {
            return Some(last);
        }
        // The others were kept for longer. All are dropped after the lock.
        let old = std::mem::take(&mut *kept);
        drop(kept);
        drop(old);
        None
    }

    fn put(&self, kept: Kept) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(kept);
    }

    fn has_broken(&self) {
        *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.let_go();
    }

    /// Whether a connection that was idle for so long can be used without asking it whether it lives.
    fn trusts(&self, idle: Duration) -> bool {
        let broke = *self.broke.lock().unwrap_or_else(PoisonError::into_inner);
        idle <= FRESH && broke.is_none_or(|broke| broke.elapsed() > idle)
    }

    fn let_go(&self) {
        let all = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        drop(all);
    }
}

impl fmt::Debug for PgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PgPool")
    }
}

impl From<sqlx::PgPool> for PgPool {
    fn from(pool: sqlx::PgPool) -> Self {
        Self {
            pool,
            at_hand: Arc::default(),
        }
    }
}

impl PgPool {
    /// Opens a pool.
    ///
    /// # Errors
    /// If no connection can be made.
    pub async fn connect(pool: PgPoolOptions, options: PgConnectOptions) -> Result<Self, Error> {
        let at_hand: Arc<AtHand> = Arc::default();
        let trust = at_hand.clone();
        let pool = pool
            .test_before_acquire(false)
            .before_acquire(move |connection, idle| {
                let trusted = trust.trusts(idle.idle_for);
                Box::pin(async move {
                    if !trusted {
                        within(FRESH, connection.ping()).await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(options)
            .await?;
        Ok(Self { pool, at_hand })
    }

    /// A connection of one's own.
    ///
    /// # Errors
    /// If none is free or can be made for a while.
    pub async fn acquire(&self) -> Result<Connection, Error> {
        let (held, uses) = match self.at_hand.take() {
            Some(kept) => (kept.held, kept.uses),
            None => (Held(Some(self.pool.acquire().await?)), 0),
        };
        Ok(Connection {
            held: Some(held),
            pool: self.clone(),
            uses,
            ended_well: false,
        })
    }

    /// A transaction; rolled back unless it is committed.
    ///
    /// # Errors
    /// As [`PgPool::acquire`], or of the database.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.start(None).await
    }

    /// A transaction that begins with a statement of its own.
    ///
    /// # Errors
    /// As [`PgPool::begin`].
    pub async fn begin_with(&self, statement: &'static str) -> Result<Transaction, Error> {
        self.start(Some(statement.into_sql_str())).await
    }

    async fn start(&self, statement: Option<SqlStr>) -> Result<Transaction, Error> {
        let mut connection = self.acquire().await?;
        let mut begun = PgTransactionManager::begin(&mut connection, statement.clone()).await;
        if begun.as_ref().is_err_and(is_broken) && connection.uses > 0 {
            // It broke while it was kept, and nothing was done on it yet.
            self.at_hand.has_broken();
            connection = self.acquire().await?;
            begun = PgTransactionManager::begin(&mut connection, statement).await;
        }
        begun.map(|()| Transaction { connection })
    }

    /// Closes every connection, waiting for those that are in use.
    pub async fn close(&self) {
        let closing = self.pool.close();
        self.at_hand.let_go();
        closing.await;
    }

    /// Whether a connection can be kept away from the pool: whoever asked it for one would get another.
    fn can_spare_one(&self) -> bool {
        let has_more = self.pool.num_idle() > 0
            || self.pool.size() < self.pool.options().get_max_connections();
        has_more && !self.pool.is_closed()
    }
}

/// A connection taken out of the pool, which goes back to it when it is dropped.
struct Held(Option<PoolConnection<Postgres>>);

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.0.take() else {
            return;
        };
        // Does what dropping it would, and can be given up: its place in the pool is free then, and its socket closed.
        let returning = connection.return_to_pool();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if tokio::time::timeout(RETURN, returning).await.is_err() {
                tracing::warn!("a connection to the database was silent and is thrown away");
            }
        });
    }
}

/// A connection that goes back to where it came from when it is dropped.
pub struct Connection {
    held: Option<Held>,
    pool: PgPool,
    uses: u32,
    /// Whether nothing is open on it and its last answer has just come.
    ended_well: bool,
}

const GONE: &str = "a connection is there until it is dropped";

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        let held = self.held.as_ref().and_then(|held| held.0.as_ref());
        held.expect(GONE)
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.ended_well = false;
        let held = self.held.as_mut().and_then(|held| held.0.as_mut());
        held.expect(GONE)
    }
}

impl Connection {
    /// Passes on what came of the last work on it, and notes whether it was good and whether the connection broke.
    fn ended<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.ended_well = outcome.is_ok();
        if outcome.as_ref().is_err_and(is_broken) {
            self.pool.at_hand.has_broken();
        }
        outcome
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else {
            return;
        };
        let uses = self.uses + 1;
        if self.ended_well && uses < USES && self.pool.can_spare_one() {
            let since = Instant::now();
            self.pool.at_hand.put(Kept { held, since, uses });
            // Closed meanwhile: nobody takes it from there any more.
            if self.pool.pool.is_closed() {
                self.pool.at_hand.let_go();
            }
        }
    }
}

/// An open transaction; rolled back when it is dropped.
#[derive(Debug)]
pub struct Transaction {
    connection: Connection,
}

impl Transaction {
    /// Ends it with effect.
    ///
    /// # Errors
    /// Of the database; unless that says so, whether it took effect is not known.
    pub async fn commit(mut self) -> Result<(), Error> {
        let committed = PgTransactionManager::commit(&mut self.connection).await;
        self.connection.ended(committed)
    }

    /// Ends it without.
    ///
    /// # Errors
    /// Of the database; it took no effect.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let rolled_back = PgTransactionManager::rollback(&mut self.connection).await;
        self.connection.ended(rolled_back)
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.connection.ended_well {
            // Only puts the statement before whatever is sent next.
            PgTransactionManager::start_rollback(&mut self.connection);
        }
    }
}

impl<'p> Executor<'p> for &'_ PgPool {
    type Database = Postgres;

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(within(STATEMENT, async move {
            let mut connection = pool.acquire().await?;
            let done = connection.execute(query).await;
            connection.ended(done)
        }))
    }

    fn fetch_all<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(within(STATEMENT, async move {
            let mut connection = pool.acquire().await?;
            let done = connection.fetch_all(query).await;
            connection.ended(done)
        }))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(within(STATEMENT, async move {
            let mut connection = pool.acquire().await?;
            let done = connection.fetch_optional(query).await;
            connection.ended(done)
        }))
    }

    /// Reads everything before it gives anything, so that the limit is one of the database and not of whoever reads.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let reading = within(STATEMENT, async move {
            let mut connection = pool.acquire().await?;
            let found: Result<Vec<_>, Error> = connection.fetch_many(query).try_collect().await;
            connection.ended(found)
        });
        stream::once(reading)
            .map_ok(|found| stream::iter(found).map(Ok))
            .try_flatten()
            .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(within(STATEMENT, async move {
            let mut connection = pool.acquire().await?;
            let prepared = connection.prepare_with(sql, parameters).await;
            connection.ended(prepared)
        }))
    }

    #[doc(hidden)]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(within(STATEMENT, async move {
            pool.acquire().await?.describe(sql).await
        }))
    }
}

#[cfg(test)]
mod tests;
