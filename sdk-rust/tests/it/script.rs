//! A server that plays a script: each call of a method gets the next line, and what the client sent is kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use sewa_sdk::fake::Fake;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The lines of one method. When they are used up, the last one is repeated.
#[derive(Clone)]
pub(crate) struct Script<Resp> {
    lines: Arc<Mutex<VecDeque<Line<Resp>>>>,
    calls: Arc<Mutex<Vec<MetadataMap>>>,
}

/// What one call gets.
#[derive(Clone)]
pub(crate) enum Line<Resp> {
    Answer(Resp),
    Refuse(Status),
    /// Nothing for this long, then the answer.
    Late(Duration, Resp),
}

impl<Resp: Message + Default + Clone + 'static> Script<Resp> {
    pub(crate) fn new(lines: impl IntoIterator<Item = Line<Resp>>) -> Self {
        Self {
            lines: Arc::new(Mutex::new(lines.into_iter().collect())),
            calls: Arc::default(),
        }
    }

    pub(crate) fn play<Req: Message + Default + 'static>(&self, fake: Fake, method: &str) -> Fake {
        let script = self.clone();
        fake.on(method, move |request: Request<Req>| {
            let line = script.next(request.metadata().clone());
            async move {
                match line {
                    Line::Answer(reply) => Ok(Response::new(reply)),
                    Line::Refuse(status) => Err(status),
                    Line::Late(span, reply) => {
                        tokio::time::sleep(span).await;
                        Ok(Response::new(reply))
                    }
                }
            }
        })
    }

    fn next(&self, metadata: MetadataMap) -> Line<Resp> {
        self.calls.lock().unwrap().push(metadata);
        let mut lines = self.lines.lock().unwrap();
        if lines.len() > 1 {
            lines.pop_front().unwrap()
        } else {
            lines.front().expect("a script has lines").clone()
        }
    }

    /// How many calls came.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The values of one header, call by call.
    pub(crate) fn header(&self, name: &str) -> Vec<Option<String>> {
        let calls = self.calls.lock().unwrap();
        calls
            .iter()
            .map(|metadata| Some(metadata.get(name)?.to_str().unwrap().to_owned()))
            .collect()
    }
}

/// A status as a Sewa server makes it.
pub(crate) fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(
        code,
        format!("{reason} happened"),
        ErrorDetails::with_error_info(reason, "sewa", HashMap::new()),
    )
}

/// A status with a hint when to come back.
pub(crate) fn refusal_after(code: Code, reason: &str, after: Duration) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "sewa", HashMap::new());
    details.set_retry_info(Some(after));
    Status::with_error_details(code, format!("{reason} happened"), details)
}

pub(crate) fn unavailable<Resp>() -> Line<Resp> {
    Line::Refuse(refusal(Code::Unavailable, "UNAVAILABLE"))
}
