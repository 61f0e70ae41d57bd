//! What the SDK tells its host on the side: attempts and warnings.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sewa_sdk::Attempt;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Things gathered while a case runs.
#[derive(Clone)]
pub(crate) struct Gathered<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Gathered<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Gathered<T> {
    pub(crate) fn add(&self, one: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Installs a listener for the SDK's warnings.
pub(crate) fn notices() -> Gathered<String> {
    let notices = Gathered::default();
    tracing_subscriber::registry().with(Warnings(notices.clone())).init();
    notices
}

struct Warnings(Gathered<String>);

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::WARN {
            let mut text = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn Debug| {
                let _ = write!(text, "{}={value:?} ", field.name());
            });
            self.0.add(text);
        }
    }
}

/// An attempt as the driver wants it.
pub(crate) fn attempt(attempt: &Attempt<'_>) -> Value {
    let mut seen = json!({
        "method": attempt.method,
        "attempt": attempt.number,
        "code": crate::answer::code(attempt.code),
    });
    if let Some(reason) = attempt.reason {
        seen["reason"] = json!(reason.0);
    }
    seen
}
