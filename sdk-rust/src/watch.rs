//! Follows the event log without loss and without repeats, across lost connections, restarts of servers and expired tokens.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::client::Client;
use crate::deadline::Clock;
use crate::error::Error;
use crate::retry::chance;
use crate::sewa::event::v1::event_service_client::EventServiceClient;
use crate::sewa::event::v1::watch_events_response::Item;
use crate::sewa::event::v1::{Event, EventType, WatchEventsRequest};

/// The server sends a checkpoint about every 15 s, so a stream silent for this long is dead, whatever the connection says.
const SILENCE: Duration = Duration::from_secs(60);
/// Ids remembered to recognise repeats. A server repeats at most what it sent around the moment of a cut.
const REMEMBERED: usize = 4096;

/// What to follow.
#[derive(Debug, Clone, Default)]
pub struct WatchOptions {
    /// Only events after this cursor, normally that of the last event dealt with. Empty for events from now on.
    pub resume_cursor: String,
    /// Only these types; all if empty.
    pub types: Vec<EventType>,
    /// Only this subject; all if empty.
    pub subject_id: String,
    /// A stream silent for this long is taken for dead and resumed; 60 s if absent. Keep it above the 15 s between a server's checkpoints.
    pub silence: Option<Duration>,
}

/// Follows the events of the account. The stream ends only with an error that a new connection cannot cure. One of them is `CURSOR_EXPIRED`: the log no longer
/// reaches back to the cursor, so list the resources again, then watch from the metadata's `oldest_cursor`.
///
/// Keep the `cursor` of each event once it is dealt with, and resume from it after a restart.
///
/// ```no_run
/// # use futures_util::TryStreamExt;
/// # use sewa_sdk::{Client, Error, WatchOptions, watch};
/// # async fn show(client: Client, mut cursor: String) -> Result<(), Error> {
/// loop {
///     let mut events = std::pin::pin!(watch(&client, WatchOptions { resume_cursor: cursor.clone(), ..WatchOptions::default() }));
///     match events.try_next().await {
///         Ok(Some(event)) => cursor = event.cursor,
///         Ok(None) => break,
///         Err(error) if error.is("CURSOR_EXPIRED") => {
///             // Read the resources again here.
///             cursor = error.metadata("oldest_cursor").unwrap_or_default().to_owned();
///         }
///         Err(error) => return Err(error),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub fn watch(
    client: &Client,
    options: WatchOptions,
) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
    let client = client.clone();
    async_stream::try_stream! {
        let mut service = client.service(EventServiceClient::new);
        let mut cursor = options.resume_cursor;
        let mut recent = Recent::default();
        // Cuts since the last message.
        let mut cuts = 0;
        loop {
            let request = WatchEventsRequest {
                resume_cursor: cursor.clone(),
                types: options.types.iter().map(|kind| i32::from(*kind)).collect(),
                subject_id: options.subject_id.clone(),
                checkpoints: true,
            };
            let mut heard = false;
            let cut = match service.watch_events(request).await {
                Err(status) => status,
                Ok(reply) => {
                    let mut messages = reply.into_inner();
                    loop {
                        match timeout(options.silence.unwrap_or(SILENCE), messages.message()).await {
                            Ok(Ok(Some(message))) => {
                                (heard, cuts) = (true, 0);
                                cursor = message.cursor;
                                if let Some(Item::Event(event)) = message.item && recent.is_new(&event.id) {
                                    yield event;
                                }
                            }
                            Ok(Ok(None)) => break Status::unavailable("the stream ended"),
                            Ok(Err(status)) => break status,
                            Err(_) => break Clock::Attempt.expired(),
                        }
                    }
                }
            };
            let error = Error::from(cut);
            if !curable(&error, heard) {
                Err(error)?;
                return;
            }
            cuts += 1;
            let pause = client.transport().0.policy.delay(cuts, error.retry().after, chance());
            tracing::debug!(%error, cuts, ?pause, "the watch is resumed");
            sleep(pause).await;
        }
    }
}

/// Whether a new connection can go on where this one ended.
fn curable(error: &Error, heard: bool) -> bool {
    // Opening renews an expired token. If opening itself ends so, there is nothing to renew it with.
    if error.is("TOKEN_EXPIRED") {
        return heard;
    }
    match error.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::DataLoss => false,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => true,
    }
}

/// The ids of the last events.
#[derive(Default)]
struct Recent {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Recent {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}
