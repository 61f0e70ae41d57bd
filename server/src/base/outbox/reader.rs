//! Reading the log without missing what commits late.
//!
//! Positions are taken before commit, so a reader that simply went past the greatest position it saw would skip events of slower transactions. The tail
//! therefore samples pairs (greatest position taken, a transaction number of its own) and trusts a position once every transaction numbered before its own has
//! ended. The number is taken after the position is read, and writers have theirs before they take a position, because they lock or write rows first; so no
//! transaction that took an earlier position can have a later number. The end of a snapshot would not do for a number: transactions beyond it may run already.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prost::Message;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use crate::base::db::{PgPool, within};
use crate::base::id::AccountId;
use crate::base::outbox::epoch;
use crate::base::time;

/// How often the tail looks when nothing wakes it.
const IDLE: Duration = Duration::from_millis(250);
/// Commits within this time are read together, so that a busy server samples no more than a hundred times a second.
const TOGETHER: Duration = Duration::from_millis(10);
/// How long one look may take. Nobody here hears of anything while it lasts, so a connection that is silent is soon replaced by another.
const LOOK: Duration = Duration::from_secs(5);
/// Events kept for slow watchers of this replica, in total.
const BUFFER: usize = 8192;
/// Events read at once.
const CHUNK: i64 = 1000;

/// One event as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Position in the log.
    pub seq: i64,
    /// Identifier.
    pub id: Uuid,
    /// The account.
    pub account: AccountId,
    /// What kind of thing.
    pub kind: i16,
    /// What it is about.
    pub subject: Uuid,
    /// Revision of the subject.
    pub revision: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Encoded `Event` with only its payload.
    pub payload: Vec<u8>,
}

impl Stored {
    /// The event as the contract writes it.
    pub fn to_proto(&self) -> Event {
        let payload = Event::decode(self.payload.as_slice())
            .map(|e| e.payload)
            .unwrap_or_default();
        Event {
            id: self.id.to_string(),
            cursor: cursor(self.seq),
            r#type: EventType::try_from(i32::from(self.kind)).unwrap_or_default() as i32,
            account_id: self.account.to_string(),
            subject_id: self.subject.to_string(),
            subject_revision: self.revision,
            occur_time: Some(time::to_proto(self.at)),
            payload,
        }
    }
}

/// A position as clients see it.
pub fn cursor(seq: i64) -> String {
    format!("c{seq:016x}")
}

/// The position of a cursor; `None` if it is not one of ours.
pub fn position(cursor: &str) -> Option<i64> {
    cursor
        .strip_prefix('c')
        .filter(|hex| hex.len() == 16)
        .and_then(|hex| i64::from_str_radix(hex, 16).ok())
}

/// The tail of the log on this replica.
#[derive(Clone)]
pub struct Tail {
    wake: Arc<Notify>,
    abroad: Arc<Notify>,
    safe: watch::Receiver<i64>,
    live: broadcast::Sender<Arc<Stored>>,
}

impl Tail {
    /// Starts following the log.
    pub fn start(pool: PgPool) -> Self {
        let wake = Arc::new(Notify::new());
        let (safe_sender, safe) = watch::channel(0);
        let (live, _) = broadcast::channel(BUFFER);
        tokio::spawn(follow(pool, Arc::clone(&wake), safe_sender, live.clone()));
        Self {
            wake,
            abroad: Arc::default(),
            safe,
            live,
        }
    }

    /// Says that something may have committed here. Only latency depends on it.
    pub fn wake(&self) {
        self.wake.notify_one();
        self.abroad.notify_one();
    }

    /// Says that something may have committed on another replica.
    pub fn wake_from_abroad(&self) {
        self.wake.notify_one();
    }

    /// Waits until something committed here that other replicas may want to know of.
    pub async fn told_abroad(&self) {
        self.abroad.notified().await;
    }

    /// The position up to which the log is complete.
    pub fn safe(&self) -> i64 {
        *self.safe.borrow()
    }

    /// Waits until the log is complete beyond `seq`.
    pub async fn beyond(&self, seq: i64) {
        let mut safe = self.safe.clone();
        // An error means that the tail has stopped, which it does only with the process.
        let _ = safe.wait_for(|now| *now > seq).await;
    }

    /// Every event from now on, in order of position.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Stored>> {
        self.live.subscribe()
    }
}

async fn follow(
    pool: PgPool,
    wake: Arc<Notify>,
    safe: watch::Sender<i64>,
    live: broadcast::Sender<Arc<Stored>>,
) {
    let mut samples: VecDeque<(i64, i64)> = VecDeque::new();
    let mut sent: Option<i64> = None;
    loop {
        let known = samples
            .back()
            .map_or_else(|| *safe.borrow(), |(position, _)| *position);
        match within(LOOK, sample(&pool, known)).await {
            Ok((last, open_from, own)) => {
                if let Some(own) = own {
                    samples.push_back((last, own));
                }
                while let Some((position, _)) = samples
                    .front()
                    .copied()
                    .filter(|(_, bound)| *bound <= open_from)
                {
                    samples.pop_front();
                    safe.send_if_modified(|now| {
                        std::mem::replace(now, position.max(*now)) < position
                    });
                }
            }
            // The server stops, and nobody reads the log here any more.
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::warn!(%error, "the log could not be sampled"),
        }
        // The position is published before anybody is looked for who listens: a watcher that subscribes now reads up to it by itself.
        let reached = *safe.borrow();
        let from = sent.unwrap_or(reached);
        if live.receiver_count() == 0 || broadcast_range(&pool, &live, from, reached).await.is_ok()
        {
            sent = Some(reached);
        } else {
            sent = Some(from);
        }
        tokio::time::sleep(TOGETHER).await;
        let pause = if samples.is_empty() { IDLE } else { TOGETHER };
        let _ = tokio::time::timeout(pause, wake.notified()).await;
    }
}

/// The greatest position taken, the oldest transaction still open, and a transaction number taken after the position was read, if that is beyond `known`. Where
/// nothing is new none is taken, because numbers are finite.
///
/// The message makes PostgreSQL write down that the position was taken before it answers. Whoever took it may have rolled back, which is never waited for to be
/// written, and a crash would then give the position out again, for an event that everybody here believes to have read.
async fn sample(pool: &PgPool, known: i64) -> Result<(i64, i64, Option<i64>), sqlx::Error> {
    let row = sqlx::query!(
        r#"select s.last as "last!", pg_snapshot_xmin(pg_current_snapshot())::text::bigint as "open!",
            case when s.last > $1 and pg_logical_emit_message(true, 'sewa', '') is not null then pg_current_xact_id()::text::bigint end as own
        from (select case when is_called then last_value else 0 end as last from events_seq) s"#,
        known,
    )
    .fetch_one(pool)
    .await?;
    Ok((row.last, row.open, row.own))
}

async fn broadcast_range(
    pool: &PgPool,
    live: &broadcast::Sender<Arc<Stored>>,
    mut from: i64,
    to: i64,
) -> Result<(), sqlx::Error> {
    while from < to {
        let (events, upto) = within(LOOK, range(pool, from, to)).await?;
        from = upto;
        for event in events {
            // Nobody listening is fine.
            let _ = live.send(Arc::new(event));
        }
    }
    Ok(())
}

/// The next events of all accounts after `from` and up to `to`, oldest first, and the position they reach to. Positions that were rolled back leave gaps, so
/// there may be none. The range is bounded by position and not by count: the index keeps block ranges, and to find the first so many it would read them all.
///
/// # Errors
/// Of the database.
pub async fn range(pool: &PgPool, from: i64, to: i64) -> Result<(Vec<Stored>, i64), sqlx::Error> {
    let over = epoch::end_before(from, to);
    if let Some(end) = over
        && !epoch::goes_on(pool, from, end).await?
    {
        return Ok((Vec::new(), end));
    }
    let upto = over.unwrap_or(to).min(from.saturating_add(CHUNK));
    let events = sqlx::query_as!(
        Stored,
        r#"select seq, id, account_id as "account: AccountId", type as kind, subject_id as subject, revision, occurred_at as at, payload
        from events where seq > $1 and seq <= $2 order by seq"#,
        from,
        upto,
    )
    .fetch_all(pool)
    .await?;
    Ok((events, upto))
}

/// Events of one account in `(from, to]`, oldest first, of the given types and subject (all if empty).
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    from: i64,
    to: i64,
    types: &[i16],
    subject: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Stored>, sqlx::Error> {
    sqlx::query_as!(
        Stored,
        r#"select seq, id, account_id as "account: AccountId", type as kind, subject_id as subject, revision, occurred_at as at, payload
        from events
        where account_id = $1 and seq > $2 and seq <= $3
          and (cardinality($4::smallint[]) = 0 or type = any($4)) and ($5::uuid is null or subject_id = $5)
        order by seq limit $6"#,
        account.0,
        from,
        to,
        types,
        subject,
        limit,
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "what PostgreSQL has written is asked only here"
)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        for seq in [0, 1, 255, i64::MAX] {
            assert_eq!(position(&cursor(seq)), Some(seq));
        }
        for bad in ["", "c", "c12", "x0000000000000001", "c00000000000000zz"] {
            assert_eq!(position(bad), None, "{bad}");
        }
    }

    #[sqlx::test(migrations = "../migrations")]
    async fn a_position_is_trusted_once_a_crash_cannot_give_it_out_again(pool: sqlx::PgPool) {
        // Databases of tests do not wait for the disk otherwise.
        let durable = (*pool.connect_options())
            .clone()
            .options([("synchronous_commit", "on")]);
        let pool = sqlx::PgPool::connect_with(durable).await.unwrap();
        let tail = Tail::start(pool.clone().into());
        for _ in 0..20 {
            // More than PostgreSQL writes down ahead.
            let mut tx = pool.begin().await.unwrap();
            let taken = sqlx::query_as::<_, (i64, String)>(
                "select max(seq), pg_current_wal_insert_lsn()::text from (select nextval('events_seq') seq from generate_series(1, 40)) taken",
            );
            let (taken, written) = taken.fetch_one(&mut *tx).await.unwrap();
            tx.rollback().await.unwrap();
            tail.wake();
            tail.beyond(taken - 1).await;
            let kept =
                sqlx::query_scalar::<_, bool>("select pg_current_wal_flush_lsn() >= $1::pg_lsn")
                    .bind(written)
                    .fetch_one(&pool);
            assert!(
                kept.await.unwrap(),
                "position {taken} may be given out again"
            );
        }
    }
}
