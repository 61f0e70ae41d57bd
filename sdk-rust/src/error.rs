//! What went wrong, typed: the reason, the fields at fault, and whether and when to try again.
//!
//! Everything is taken from the standard details of a `google.rpc.Status`, so an error of a newer server, with a reason this build has never heard of, keeps
//! all it carries.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::deadline::Clock;
use crate::details::Details;
use crate::rules::{RetryClass, Rules};

/// An error of a call.
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone)]
struct Parts {
    status: Status,
    details: Details,
    class: RetryClass,
}

/// A stable error reason of the contract, for example `INSUFFICIENT_BALANCE`. Any text is allowed, so reasons added later survive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(pub String);

/// One field of the request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, for example `items[2].plan_id`.
    pub field: String,
    /// The rule that is broken, for example `STRING_UUID`.
    pub reason: String,
    /// English text for the developer.
    pub description: String,
}

/// One quota that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaViolation {
    /// Whose quota it is.
    pub subject: String,
    /// What is counted.
    pub metric: String,
    /// The limit.
    pub limit: i64,
    /// English text for the developer.
    pub description: String,
}

/// Whether a repeat makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAdvice {
    /// What may be repeated. The SDK has already repeated what is [`RetryClass::Call`] as often as its limits allow.
    pub class: RetryClass,
    /// How long the server asks to wait first.
    pub after: Option<Duration>,
}

impl Error {
    /// The gRPC status code.
    pub fn code(&self) -> Code {
        self.0.status.code()
    }

    /// English text for the developer.
    pub fn message(&self) -> &str {
        self.0.status.message()
    }

    /// The stable reason; absent where the answer did not come from a Sewa server, for example when no connection could be made.
    pub fn reason(&self) -> Option<&Reason> {
        self.0.details.reason.as_ref()
    }

    /// Whether the reason is this one.
    ///
    /// ```no_run
    /// # fn show(error: sewa_sdk::Error) {
    /// if error.is("INSUFFICIENT_BALANCE") {
    ///     println!("top up first; {} is missing", error.metadata("shortfall").unwrap_or("something"));
    /// }
    /// # }
    /// ```
    pub fn is(&self, reason: &str) -> bool {
        self.reason().is_some_and(|own| own.0 == reason)
    }

    /// A fact the reason comes with. The catalogue of errors lists the keys of each reason.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.details.metadata.get(key).map(String::as_str)
    }

    /// All facts the reason comes with, in no order.
    pub fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let facts = self.0.details.metadata.iter();
        facts.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Every field of the request that breaks a rule, not only the first.
    pub fn field_violations(&self) -> &[FieldViolation] {
        &self.0.details.fields
    }

    /// The quotas that are used up.
    pub fn quota_violations(&self) -> &[QuotaViolation] {
        &self.0.details.quotas
    }

    /// Text for the end user, in the language asked for with `accept-language`.
    pub fn localized_message(&self) -> Option<&str> {
        self.0.details.localized.as_deref()
    }

    /// Names the call in the server's logs. Send it with a report.
    pub fn request_id(&self) -> Option<&str> {
        self.0
            .details
            .request_id
            .as_deref()
            .or_else(|| self.header("x-request-id"))
    }

    /// The idempotency key the call was made with. Repeating with it, even in another process, cannot do the work twice.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.header("idempotency-key")
    }

    /// Whether a repeat makes sense, and when.
    pub fn retry(&self) -> RetryAdvice {
        RetryAdvice {
            class: self.0.class,
            after: self
                .0
                .details
                .retry_after
                .or_else(|| header_delay(&self.0.status)),
        }
    }

    /// Which clock of this side ran out; `None` where the server gave the answer, be it `DEADLINE_EXCEEDED`.
    pub fn timed_out(&self) -> Option<Clock> {
        Clock::of(&self.0.status)
    }

    /// What the catalogue of errors advises, in one sentence.
    pub fn remedy(&self) -> Option<&str> {
        Some(Rules::contract().reason(&self.reason()?.0)?.remedy.as_str())
    }

    /// The status as it came, with details and metadata.
    pub fn status(&self) -> &Status {
        &self.0.status
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.0.status.metadata().get(name)?.to_str().ok()
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = Details::read(status.details());
        let class = retry_class(Rules::contract(), status.code(), details.reason.as_ref());
        Self(Box::new(Parts {
            status,
            details,
            class,
        }))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.0.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {}", reason.0, self.message())?,
            None => write!(f, "{}: {}", self.code(), self.message())?,
        }
        for violation in self.field_violations() {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        match self.request_id() {
            Some(id) => write!(f, " (request {id})"),
            None => Ok(()),
        }
    }
}

// Response metadata can carry a session; it is left out here so that a logged error cannot leak it.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("reason", &self.reason())
            .field("message", &self.message())
            .field("metadata", &self.0.details.metadata)
            .field("field_violations", &self.field_violations())
            .field("request_id", &self.request_id())
            .field("retry", &self.retry())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.status)
    }
}

/// The catalogue decides; a reason it does not know is judged by its code alone.
pub(crate) fn retry_class(rules: &Rules, code: Code, reason: Option<&Reason>) -> RetryClass {
    match (reason.and_then(|reason| rules.reason(&reason.0)), code) {
        (Some(rule), _) => rule.retry,
        (None, Code::Unavailable | Code::DeadlineExceeded) => RetryClass::Call,
        (None, Code::Aborted) => RetryClass::UnitOfWork,
        (None, _) => RetryClass::Nothing,
    }
}

/// A `retry-after` header in seconds, for answers made by a proxy that knows no `RetryInfo`.
pub(crate) fn header_delay(status: &Status) -> Option<Duration> {
    let seconds: u64 = status
        .metadata()
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}
