//! What every step needs: who calls, how far the log of events was read, and how to wait for what is promised.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient;
use sewa_sdk::sewa::event::v1::{Event, EventType, WatchEventsRequest};
use sewa_sdk::{
    Client, Credentials, Error, RetryClass, RetryPolicy, WaitOptions, WatchOptions, watch,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Request, Status};

/// How long anything may take. A server that was killed has to start, and the leases it held have to end, within this.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one attempt at a call may take.
const ATTEMPT: Duration = Duration::from_secs(10);
/// The pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(100);

/// The demonstration under way.
pub(crate) struct Stage {
    pub(crate) client: Client,
    cursor: String,
    steps: u32,
}

impl Stage {
    /// Nobody has signed in yet.
    pub(crate) fn new(endpoint: &str) -> Result<Self, Error> {
        Ok(Self {
            client: connect(endpoint, Credentials::None)?,
            cursor: String::new(),
            steps: 0,
        })
    }

    /// The rest is played as somebody else, whose events are followed from here on.
    pub(crate) async fn enter(&mut self, client: Client) -> Result<(), Error> {
        self.client = client;
        let from_now = WatchEventsRequest {
            checkpoints: true,
            ..Default::default()
        };
        let events = self.client.service(EventServiceClient::new);
        self.cursor = until("the place where the log of events stands", async || {
            let mut messages = events
                .clone()
                .watch_events(from_now.clone())
                .await?
                .into_inner();
            Ok(messages.message().await?.map(|first| first.cursor))
        })
        .await?;
        Ok(())
    }

    /// Begins a step: says what is asked for.
    pub(crate) fn asks(&mut self, what: impl Display) {
        self.steps += 1;
        println!("{:>3}. {what}", self.steps);
    }

    /// Ends a step: says what was observed.
    pub(crate) fn sees(&self, what: impl Display) {
        println!("     seen: {what}");
    }

    /// Fails the step unless what was promised holds.
    pub(crate) fn check(&self, holds: bool, otherwise: impl Display) -> Result<(), Error> {
        if holds {
            return Ok(());
        }
        Err(broken(format!("step {}: {otherwise}", self.steps)))
    }

    /// Fails the step unless the call was refused for this reason, and returns the refusal.
    pub(crate) fn refused<T>(
        &self,
        outcome: Result<T, Status>,
        reason: &str,
    ) -> Result<Error, Error> {
        match outcome.map_err(Error::from) {
            Err(error) if error.is(reason) => Ok(error),
            Err(error) => Err(broken(format!(
                "step {}: refused with {error} instead of {reason}",
                self.steps
            ))),
            Ok(_) => Err(broken(format!(
                "step {}: allowed instead of refused with {reason}",
                self.steps
            ))),
        }
    }

    /// Reads the log on until something happens to a subject. Returns what happened to it up to then.
    pub(crate) async fn follow(
        &mut self,
        subject_id: &str,
        last: EventType,
    ) -> Result<Vec<Event>, Error> {
        let options = WatchOptions {
            resume_cursor: self.cursor.clone(),
            subject_id: subject_id.to_owned(),
            ..Default::default()
        };
        let mut events = pin!(watch(&self.client, options));
        let mut read = Vec::new();
        let reading = async {
            while let Some(event) = events.try_next().await? {
                let found = event.r#type() == last;
                read.push(event);
                if found {
                    break;
                }
            }
            Ok::<(), Error>(())
        };
        let Ok(outcome) = timeout(PATIENCE, reading).await else {
            let seen = names(&read);
            return Err(broken(format!(
                "{} was not announced, only: {seen}",
                name(last)
            )));
        };
        outcome?;
        if let Some(event) = read.last() {
            self.cursor.clone_from(&event.cursor);
        }
        Ok(read)
    }

    /// Waits until an operation has succeeded, and tells through which steps it went.
    pub(crate) async fn finish(&self, operation: Option<Operation>) -> Result<String, Error> {
        let id = given(operation, "operation")?.id;
        let mut steps: Vec<String> = Vec::new();
        let options = WaitOptions::default()
            .timeout(PATIENCE)
            .progress(|now| steps.push(format!("{} {} %", now.step, now.progress_percent)));
        sewa_sdk::wait(&self.client, id, options).await?;
        Ok(steps.join(", "))
    }
}

/// A client that outlasts a restart of the server: calls are repeated until their time is over.
pub(crate) fn connect(endpoint: &str, credentials: Credentials) -> Result<Client, Error> {
    let policy = RetryPolicy {
        max_attempts: u32::MAX,
        max_delay: Duration::from_millis(500),
        budget: 10_000,
        ..Default::default()
    };
    Client::builder(endpoint)
        .credentials(credentials)
        .retry(policy)
        .attempt_timeout(ATTEMPT)
        .build()
}

/// A call with that much time.
pub(crate) fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

/// Looks again and again until there is something to see. A server that does not answer is waited for.
pub(crate) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Status>,
) -> Result<T, Error> {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await.map_err(Error::from) {
            Ok(Some(seen)) => return Ok(seen),
            Err(error) if error.retry().class != RetryClass::Call => return Err(error),
            Err(error) if Instant::now() > end => return Err(error),
            Ok(None) if Instant::now() > end => {
                return Err(broken(format!("{what} was not seen")));
            }
            Ok(None) | Err(_) => sleep(PAUSE).await,
        }
    }
}

/// What a reply must hold.
pub(crate) fn given<T>(part: Option<T>, what: &str) -> Result<T, Error> {
    part.ok_or_else(|| broken(format!("the server gave no {what}")))
}

/// A promise that was not kept.
pub(crate) fn broken(what: String) -> Error {
    Status::internal(what).into()
}

/// The name of an event in the contract, without its prefix.
pub(crate) fn name(kind: EventType) -> &'static str {
    kind.as_str_name().trim_start_matches("EVENT_TYPE_")
}

/// Their names, in order.
pub(crate) fn names(events: &[Event]) -> String {
    let names: Vec<&str> = events.iter().map(|event| name(event.r#type())).collect();
    names.join(", ")
}

/// Whole rupiah of an amount; none is zero.
pub(crate) fn units(money: Option<&Money>) -> i64 {
    money.map_or(0, |money| money.units)
}

/// Rupiah for people: `Rp1.234.567`.
pub(crate) fn rupiah(units: i64) -> String {
    let digits = units.unsigned_abs().to_string();
    let mut text = String::from(if units < 0 { "-Rp" } else { "Rp" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('.');
        }
        text.push(digit);
    }
    text
}
