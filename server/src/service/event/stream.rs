//! A watch: what is in the log after a cursor, and then what is added, without gap or repeat.

use std::time::Duration;

use async_stream::try_stream;
use futures_util::Stream;
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{Checkpoint, EventErrorReason, WatchEventsResponse};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::db::PgPool;
use crate::base::id::AccountId;
use crate::base::outbox::reader::{self, Stored, Tail};
use crate::base::outbox::retention;
use crate::base::status;
use crate::service::identity;

/// Events read at once while catching up.
const CHUNK: i64 = 500;
/// Silence after which a checkpoint is sent.
const CHECKPOINT: Duration = Duration::from_secs(15);
/// How long a stream goes on before it is asked whether who opened it would still be let in. A key that is revoked stops within five seconds, as the contract says.
const LOOK: Duration = Duration::from_secs(4);
/// How long a cursor may be ahead of this replica before it is taken for a foreign one.
const CATCH_UP: Duration = Duration::from_secs(2);

/// What a watcher wants to see.
pub struct Wanted {
    /// The account.
    pub account: AccountId,
    /// Only these types; all if empty.
    pub types: Vec<i16>,
    /// Only about this subject.
    pub subject: Option<Uuid>,
    /// Checkpoints in silence.
    pub checkpoints: bool,
}

impl Wanted {
    fn takes(&self, event: &Stored) -> bool {
        event.account == self.account
            && (self.types.is_empty() || self.types.contains(&event.kind))
            && self.subject.is_none_or(|subject| subject == event.subject)
    }
}

/// The position to begin at. What is there may be forgotten already: see [`kept`]. A call that is about to end still learns what is wrong with its cursor.
///
/// # Errors
/// CURSOR_EXPIRED for a cursor that is not one of this log.
pub async fn begin(
    tail: &Tail,
    cursor: &str,
    oldest: i64,
    deadline: Instant,
) -> Result<i64, Status> {
    if cursor.is_empty() {
        return Ok(tail.safe());
    }
    let position = reader::position(cursor).ok_or_else(|| expired(oldest))?;
    // Another replica may have read further than this one.
    let patience = CATCH_UP.min(deadline.duration_since(Instant::now()) / 2);
    if position > tail.safe()
        && tokio::time::timeout(patience, tail.beyond(position - 1))
            .await
            .is_err()
    {
        return Err(expired(oldest));
    }
    Ok(position)
}

/// The position after which events are promised.
///
/// # Errors
/// UNAVAILABLE if the database is away.
pub async fn oldest(pool: &PgPool) -> Result<i64, Status> {
    retention::floor(pool)
        .await
        .map_err(|e| status::database(&e))
}

/// Makes sure that nothing was forgotten after a position from which events have just been read. Asked afterwards, because they may go at any moment.
///
/// # Errors
/// CURSOR_EXPIRED if something may have been.
pub async fn kept(pool: &PgPool, position: i64) -> Result<(), Status> {
    match oldest(pool).await? {
        oldest if position < oldest => Err(expired(oldest)),
        _ => Ok(()),
    }
}

fn expired(oldest: i64) -> Status {
    status::refuse(
        EventErrorReason::CursorExpired,
        "events after the cursor are no longer kept, or it is not one of this log",
    )
    .meta("oldest_cursor", reader::cursor(oldest))
    .status()
}

/// Whoever opened a stream, asked again and again.
struct Opener {
    app: App,
    caller: Caller,
    next: Instant,
}

impl Opener {
    fn new(app: App, caller: Caller) -> Self {
        let next = Instant::now() + LOOK;
        Self { app, caller, next }
    }

    /// Looks if it is time to.
    ///
    /// # Errors
    /// TOKEN_EXPIRED or UNAUTHENTICATED if the opener would not be let in any more.
    async fn look(&mut self) -> Result<(), Status> {
        if Instant::now() < self.next {
            return Ok(());
        }
        let now = self.app.clock.now();
        let stands = identity::still_stands(&self.app, &self.caller, now).await;
        self.next = Instant::now() + LOOK;
        match stands {
            // That nobody could say is no answer.
            Err(refusal) if refusal.code() != Code::Unauthenticated => Ok(()),
            stands => stands,
        }
    }
}

/// Everything wanted after `position`, until `deadline`, until the server stops, or until who opened the stream would not be let in any more.
pub fn follow(
    app: App,
    caller: Caller,
    wanted: Wanted,
    mut position: i64,
    deadline: Instant,
) -> impl Stream<Item = Result<WatchEventsResponse, Status>> + Send {
    // Subscribed before the log is read: what commits in between comes twice and is dropped once.
    let mut live = app.tail.subscribe();
    let upto = app.tail.safe();
    let mut opener = Opener::new(app.clone(), caller);
    try_stream! {
        if wanted.checkpoints {
            // A watcher that began at "now" learns at once where that is, and can resume from there if it is cut off before anything happens.
            yield checkpoint(position);
        }
        while position < upto {
            opener.look().await?;
            let found = reader::list(&app.db, wanted.account, position, upto, &wanted.types, wanted.subject, CHUNK).await.map_err(|e| status::database(&e))?;
            kept(&app.db, position).await?;
            position = if found.len() < usize::try_from(CHUNK).unwrap_or(usize::MAX) { upto } else { found.last().map_or(upto, |e| e.seq) };
            for event in found {
                yield message(&event);
            }
        }
        let mut silence = Instant::now() + CHECKPOINT;
        loop {
            opener.look().await?;
            let next = tokio::select! {
                next = live.recv() => next,
                () = tokio::time::sleep_until(opener.next) => continue,
                () = tokio::time::sleep_until(silence), if wanted.checkpoints => {
                    silence = Instant::now() + CHECKPOINT;
                    yield checkpoint(position);
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => break,
                () = app.stop.cancelled() => break,
            };
            match next {
                Ok(event) if event.seq <= position => {}
                Ok(event) => {
                    position = event.seq;
                    if wanted.takes(&event) {
                        silence = Instant::now() + CHECKPOINT;
                        yield message(&event);
                    }
                }
                Err(RecvError::Lagged(_)) => Err(slow(position))?,
                Err(RecvError::Closed) => break,
            }
        }
    }
}

fn checkpoint(position: i64) -> WatchEventsResponse {
    WatchEventsResponse {
        cursor: reader::cursor(position),
        item: Some(Item::Checkpoint(Checkpoint {})),
    }
}

fn message(event: &Stored) -> WatchEventsResponse {
    WatchEventsResponse {
        cursor: reader::cursor(event.seq),
        item: Some(Item::Event(event.to_proto())),
    }
}

fn slow(position: i64) -> Status {
    status::refuse(EventErrorReason::SlowConsumer, "the reader fell behind")
        .meta("last_cursor", reader::cursor(position))
        .status()
}
