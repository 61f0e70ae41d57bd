//! Errors and events as the driver wants them.

use serde_json::{Map, Value, json};
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sewa_sdk::{Error, RetryClass};
use tonic::Code;

/// `InvalidArgument` as `INVALID_ARGUMENT`.
pub(crate) fn code(code: Code) -> String {
    let mut words = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_uppercase());
    }
    words
}

pub(crate) fn error(error: &Error) -> Value {
    let fields: Vec<_> = error
        .field_violations()
        .iter()
        .map(|one| json!({"field": one.field, "reason": one.reason}))
        .collect();
    let metadata: Map<_, _> = error
        .all_metadata()
        .map(|(key, value)| (key.to_owned(), json!(value)))
        .collect();
    let mut told = json!({
        "code": code(error.code()),
        "message": error.message(),
        "metadata": metadata,
        "fields": fields,
        "own_timeout": error.timed_out().is_some(),
        "retry": match error.retry().class {
            RetryClass::Call => "CALL",
            RetryClass::UnitOfWork => "UNIT_OF_WORK",
            RetryClass::Nothing => "NOTHING",
        },
    });
    if let Some(reason) = error.reason() {
        told["reason"] = json!(reason.0);
    }
    if let Some(id) = error.request_id() {
        told["request_id"] = json!(id);
    }
    if let Some(key) = error.idempotency_key() {
        told["idempotency_key"] = json!(key);
    }
    if let Some(after) = error.retry().after {
        told["retry_after_ms"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }
    told
}

pub(crate) fn event(event: &Event) -> Value {
    json!({"id": event.id, "cursor": event.cursor, "type": kind(event)})
}

/// The type by name, or by number if it is of a later contract.
pub(crate) fn kind(event: &Event) -> String {
    EventType::try_from(event.r#type).map_or_else(
        |_| event.r#type.to_string(),
        |kind| kind.as_str_name().to_owned(),
    )
}
