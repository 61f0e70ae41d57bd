//! A watch that is cut anywhere goes on without loss and without repeats.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{
    Checkpoint, Event, EventType, WatchEventsRequest, WatchEventsResponse,
};
use sewa_sdk::{Error, WatchOptions, watch};
use tokio::time::Instant;
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::script::{refusal, refusal_after};

/// What one connection sees. After the last message it ends as told.
#[derive(Clone)]
struct Part {
    messages: Vec<WatchEventsResponse>,
    end: End,
}

#[derive(Clone)]
enum End {
    Cut(Status),
    Close,
    Silence,
}

#[derive(Clone, Default)]
struct Log {
    parts: Arc<Mutex<VecDeque<Part>>>,
    requests: Arc<Mutex<Vec<WatchEventsRequest>>>,
}

impl Log {
    fn new(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            parts: Arc::new(Mutex::new(parts.into_iter().collect())),
            requests: Arc::default(),
        }
    }

    fn serve(&self) -> sewa_sdk::Client {
        let log = self.clone();
        let fake = Fake::default().on_stream(
            "sewa.event.v1.EventService/WatchEvents",
            move |request: tonic::Request<WatchEventsRequest>| {
                log.requests.lock().unwrap().push(request.into_inner());
                let part = log.parts.lock().unwrap().pop_front();
                async move {
                    let part =
                        part.ok_or_else(|| refusal(Code::PermissionDenied, "PERMISSION_DENIED"))?;
                    let messages = futures_util::stream::iter(part.messages.into_iter().map(Ok));
                    let end = async move {
                        match part.end {
                            End::Cut(status) => Some(Err(status)),
                            End::Close => None,
                            End::Silence => std::future::pending().await,
                        }
                    };
                    Ok(Response::new(messages.chain(
                        futures_util::stream::once(end).filter_map(std::future::ready),
                    )))
                }
            },
        );
        fake.client().build().unwrap()
    }

    fn cursors(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|request| request.resume_cursor.clone())
            .collect()
    }
}

fn event(number: u32) -> WatchEventsResponse {
    let event = Event {
        id: format!("e{number}"),
        cursor: format!("c{number}"),
        ..Event::default()
    };
    WatchEventsResponse {
        cursor: format!("c{number}"),
        item: Some(Item::Event(event)),
    }
}

fn checkpoint(number: u32) -> WatchEventsResponse {
    WatchEventsResponse {
        cursor: format!("c{number}"),
        item: Some(Item::Checkpoint(Checkpoint {})),
    }
}

fn cut(status: Status) -> End {
    End::Cut(status)
}

/// Everything up to the error that ends the watch.
async fn follow(log: &Log, options: WatchOptions) -> (Vec<String>, Error) {
    let mut ids = Vec::new();
    let mut events = Box::pin(watch(&log.serve(), options));
    loop {
        match events.try_next().await {
            Ok(Some(event)) => ids.push(event.id),
            Ok(None) => panic!("a watch ends with an error only"),
            Err(error) => return (ids, error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_goes_on_without_loss_or_repeat() {
    let log = Log::new([
        Part {
            messages: vec![event(1), event(2)],
            end: cut(refusal(Code::Unavailable, "UNAVAILABLE")),
        },
        // The server repeats the last event, as it may.
        Part {
            messages: vec![event(2), event(3), checkpoint(4)],
            end: End::Close,
        },
        Part {
            messages: vec![],
            end: cut(Status::internal("h2 protocol error")),
        },
        Part {
            messages: vec![event(5)],
            end: cut(refusal(Code::ResourceExhausted, "SLOW_CONSUMER")),
        },
        Part {
            messages: vec![event(6)],
            end: cut(refusal(Code::DeadlineExceeded, "DEADLINE_EXCEEDED")),
        },
    ]);
    let (ids, error) = follow(
        &log,
        WatchOptions {
            resume_cursor: "c0".into(),
            ..WatchOptions::default()
        },
    )
    .await;
    assert_eq!(ids, ["e1", "e2", "e3", "e5", "e6"]);
    assert_eq!(log.cursors(), ["c0", "c2", "c4", "c4", "c5", "c6"]);
    assert!(error.is("PERMISSION_DENIED"));
}

#[tokio::test(start_paused = true)]
async fn a_collected_cursor_tells_to_list_again() {
    let details = ErrorDetails::with_error_info(
        "CURSOR_EXPIRED",
        "sewa",
        [("oldest_cursor".to_owned(), "c90".to_owned())],
    );
    let gone = Status::with_error_details(Code::OutOfRange, "the cursor is gone", details);
    let log = Log::new([Part {
        messages: vec![event(1)],
        end: cut(gone),
    }]);
    let (ids, error) = follow(&log, WatchOptions::default()).await;
    assert_eq!(ids, ["e1"]);
    assert!(error.is("CURSOR_EXPIRED"));
    assert_eq!(error.metadata("oldest_cursor"), Some("c90"));
    assert_eq!(log.cursors().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_left_for_another() {
    let log = Log::new([
        Part {
            messages: vec![event(1)],
            end: End::Silence,
        },
        Part {
            messages: vec![event(2)],
            end: End::Close,
        },
    ]);
    let started = Instant::now();
    let (ids, _) = follow(&log, WatchOptions::default()).await;
    assert_eq!(ids, ["e1", "e2"]);
    assert!(started.elapsed() >= Duration::from_secs(60));
    assert!(
        log.requests
            .lock()
            .unwrap()
            .iter()
            .all(|request| request.checkpoints),
        "or silence would mean nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn the_servers_hint_is_obeyed_and_filters_are_kept() {
    let busy = refusal_after(Code::Unavailable, "UNAVAILABLE", Duration::from_secs(9));
    let log = Log::new([Part {
        messages: vec![],
        end: cut(busy),
    }]);
    let started = Instant::now();
    let options = WatchOptions {
        types: vec![EventType::OrderActive],
        subject_id: "s".into(),
        ..WatchOptions::default()
    };
    follow(&log, options).await;
    assert!(started.elapsed() >= Duration::from_secs(9));
    for request in log.requests.lock().unwrap().iter() {
        assert_eq!(
            (request.types.as_slice(), request.subject_id.as_str()),
            ([EventType::OrderActive as i32].as_slice(), "s")
        );
    }
}
