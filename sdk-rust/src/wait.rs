//! Waits for work that outlives its call.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Request, Status};

use crate::call::CallOptions;
use crate::client::Client;
use crate::deadline::Clock;
use crate::error::Error;
use crate::retry::chance;
use crate::rules::RetryClass;
use crate::sewa::api::v1::Operation;
use crate::sewa::api::v1::operation::State;
use crate::sewa::operation::v1::WaitOperationRequest;
use crate::sewa::operation::v1::operation_service_client::OperationServiceClient;

/// One long poll. Short enough for proxies that cut idle connections after a minute.
const POLL: Duration = Duration::from_secs(30);
/// One long poll where progress is shown: a server answers when the operation is final or the time is over, not at every step.
const PROGRESS_POLL: Duration = Duration::from_secs(1);
/// What the answer may take on top.
const SLACK: Duration = Duration::from_secs(5);

/// What is told of an operation under way.
type Progress<'a> = Box<dyn FnMut(&Operation) + Send + 'a>;

/// How to wait.
pub struct WaitOptions<'a> {
    timeout: Option<Duration>,
    progress: Option<Progress<'a>>,
}

impl Default for WaitOptions<'_> {
    /// Waits until the operation is final, however long it takes.
    fn default() -> Self {
        Self {
            timeout: None,
            progress: None,
        }
    }
}

impl<'a> WaitOptions<'a> {
    /// Waits no longer than this. The operation goes on; wait again by its id.
    #[must_use]
    pub fn timeout(mut self, span: Duration) -> Self {
        self.timeout = Some(span);
        self
    }

    /// Is shown the operation at once, and again when it got further. Looks every second, instead of twice a minute.
    #[must_use]
    pub fn progress(mut self, show: impl FnMut(&Operation) + Send + 'a) -> Self {
        self.progress = Some(Box::new(show));
        self
    }
}

impl fmt::Debug for WaitOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitOptions")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Waits until an operation succeeded, and returns it. If it failed or was cancelled, the error is the operation's own. A server out of reach is waited for as
/// well, because the operation does not depend on who watches it.
///
/// ```no_run
/// # use sewa_sdk::{Client, Error, WaitOptions};
/// # async fn show(client: Client, id: String) -> Result<(), Error> {
/// let show = |operation: &sewa_sdk::sewa::api::v1::Operation| println!("{} {} %", operation.step, operation.progress_percent);
/// sewa_sdk::wait(&client, id, WaitOptions::default().progress(show)).await?;
/// # Ok(())
/// # }
/// ```
pub async fn wait(
    client: &Client,
    operation_id: impl Into<String>,
    mut options: WaitOptions<'_>,
) -> Result<Operation, Error> {
    let operation_id = operation_id.into();
    let end = options
        .timeout
        .and_then(|span| Instant::now().checked_add(span));
    let mut service = client.service(OperationServiceClient::new);
    let mut seen = None;
    let mut idle = 0;
    // The first look shows where the operation stands; those that follow wait for it.
    let mut span = if options.progress.is_some() {
        Duration::ZERO
    } else {
        POLL
    };
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Clock::Caller.expired().into());
        }
        let asked = Instant::now();
        let now = left.map_or(span, |left| span.min(left));
        // How long to pause before the next look, if at all, and what the server says about it.
        let pause = match service.wait_operation(poll(&operation_id, now)).await {
            Ok(reply) => {
                let operation = reply
                    .into_inner()
                    .operation
                    .ok_or_else(|| Status::internal("the reply has no operation"))?;
                let mark = (
                    operation.state,
                    operation.progress_percent,
                    operation.step.clone(),
                );
                if seen.as_ref() != Some(&mark) {
                    if let Some(show) = &mut options.progress {
                        show(&operation);
                        span = PROGRESS_POLL;
                    }
                    seen = Some(mark);
                    idle = 0;
                }
                if let Some(result) = finished(operation) {
                    return result;
                }
                // A server may answer before the time is over; it is not to be asked in a tight loop for that.
                let early = asked.elapsed() < (now / 2).min(Duration::from_secs(1));
                early.then_some(None)
            }
            Err(status) => {
                let error = Error::from(status);
                if error.retry().class != RetryClass::Call {
                    return Err(error);
                }
                Some(error.retry().after)
            }
        };
        if let Some(hint) = pause {
            idle += 1;
            let pause = client.transport().0.policy.delay(idle, hint, chance());
            sleep(left.map_or(pause, |left| pause.min(left))).await;
        }
    }
}

fn poll(operation_id: &str, span: Duration) -> Request<WaitOperationRequest> {
    let timeout = prost_types::Duration::try_from(span).ok();
    let mut request = Request::new(WaitOperationRequest {
        operation_id: operation_id.to_owned(),
        timeout,
    });
    // A long poll is meant to take long, whatever the client's time for an attempt is.
    request.set_timeout(span + SLACK);
    request.extensions_mut().insert(CallOptions {
        attempt_timeout: Some(span + SLACK),
        ..CallOptions::default()
    });
    request
}

/// The result, once the operation is final. States of a later contract count as final when they have a finish time.
fn finished(operation: Operation) -> Option<Result<Operation, Error>> {
    match operation.state() {
        State::Succeeded => Some(Ok(operation)),
        State::Cancelled => Some(Err(Status::cancelled("the operation was cancelled").into())),
        State::Failed => Some(Err(failure(operation))),
        State::Pending | State::Running => None,
        State::Unspecified => operation
            .finish_time
            .is_some()
            .then(|| Err(failure(operation))),
    }
}

fn failure(operation: Operation) -> Error {
    let error = operation.error.unwrap_or_default();
    let details = prost::Message::encode_to_vec(&error).into();
    let code = tonic::Code::from_i32(error.code);
    let code = if code == tonic::Code::Ok {
        tonic::Code::Unknown
    } else {
        code
    };
    Status::with_details(code, error.message, details).into()
}
