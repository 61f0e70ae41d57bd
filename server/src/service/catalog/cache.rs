//! The catalogue in memory. Orders are priced from it, so buying reads no table of this slice.
//!
//! At most once a second one caller asks for the version of the tables, and reads them if it is another one; the others go on with the copy they have. A server
//! is therefore at most a second behind the others, and not at all behind itself: after a write the next caller waits for the new copy. While the database
//! is away the old copy serves.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::base::db::PgPool;

use crate::service::catalog::model::Snapshot;
use crate::service::catalog::store;

/// How long a copy is trusted without another look.
const TRUSTED: Duration = Duration::from_secs(1);

/// This server's copy of the catalogue. Clones share it.
#[derive(Clone, Default)]
pub struct Cache {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    known: RwLock<Known>,
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    snapshot: Option<Arc<Snapshot>>,
    /// When the copy was last found to be current.
    checked_at: Option<Instant>,
    /// Writes made by this server, so that a reading begun before a write is not taken for one after it.
    writes: u64,
    /// How many of those writes the copy is known to hold.
    seen: u64,
}

impl Known {
    fn is_behind_itself(&self) -> bool {
        self.snapshot.is_none() || self.seen < self.writes
    }

    fn trusted(&self) -> Option<&Arc<Snapshot>> {
        let recent = self.checked_at.is_some_and(|at| at.elapsed() < TRUSTED);
        self.snapshot
            .as_ref()
            .filter(|_| recent && !self.is_behind_itself())
    }
}

impl Cache {
    /// The catalogue.
    ///
    /// # Errors
    /// Of the database, if there is no copy yet.
    pub async fn snapshot(&self, db: &PgPool) -> sqlx::Result<Arc<Snapshot>> {
        let known = self.known();
        if let Some(snapshot) = known.trusted() {
            return Ok(Arc::clone(snapshot));
        }
        let _reading = match &known.snapshot {
            Some(old) if !known.is_behind_itself() => match self.shared.reading.try_lock() {
                Ok(reading) => reading,
                Err(_) => return Ok(Arc::clone(old)),
            },
            _ => self.shared.reading.lock().await,
        };
        // Another caller may have read it while this one waited.
        let known = self.known();
        if let Some(snapshot) = known.trusted() {
            return Ok(Arc::clone(snapshot));
        }
        // Boxed, as it is rare and large, and whoever places an order carries the room for it.
        let found = Box::pin(read(db, known.snapshot.as_ref())).await;
        let (snapshot, failure) = match (found, known.snapshot) {
            (Ok(fresh), _) => (fresh, None),
            (Err(cause), Some(old)) => (old, Some(cause)),
            (Err(cause), None) => return Err(cause),
        };
        if let Some(cause) = failure {
            tracing::warn!(%cause, "catalogue not read again");
        }
        let mut kept = self
            .shared
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        kept.snapshot = Some(Arc::clone(&snapshot));
        kept.checked_at = Some(Instant::now());
        kept.seen = known.writes;
        Ok(snapshot)
    }

    /// Notes that this server has changed the catalogue: the next caller reads it.
    pub fn forget(&self) {
        self.shared
            .known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .writes += 1;
    }

    fn known(&self) -> Known {
        self.shared
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn read(db: &PgPool, known: Option<&Arc<Snapshot>>) -> sqlx::Result<Arc<Snapshot>> {
    if let Some(known) = known
        && store::get_version(&mut *db.acquire().await?).await? == known.version()
    {
        return Ok(Arc::clone(known));
    }
    let mut tx = db
        .begin_with("begin isolation level repeatable read, read only")
        .await?;
    let snapshot = store::list_all(&mut tx).await?;
    tx.commit().await?;
    Ok(Arc::new(snapshot))
}
