//! Responses of one operation: what it returns, and every status it can fail with, with the reasons.

use std::collections::BTreeMap;

use prost_reflect::MethodDescriptor;
use serde_json::{Map, Value, json};
use tonic::Code;

use super::schema::Schemas;
use super::settings::Settings;
use crate::call::failure::http_status;

/// A reason the gateway gives by itself.
struct Own {
    status: u16,
    reason: &'static str,
    meaning: &'static str,
    when: When,
}

/// Which operations a reason of the gateway concerns.
#[derive(PartialEq)]
enum When {
    Always,
    WithBody,
    WithoutBody,
    WithPath,
}

const OWN: &[Own] = &[
    own(
        400,
        "INVALID_REQUEST",
        "Fields have wrong values; BadRequest lists them.",
        When::Always,
    ),
    own(
        400,
        "INVALID_TIMEOUT",
        "Grpc-Timeout is not digits and a unit.",
        When::Always,
    ),
    own(
        400,
        "TOO_MANY_QUERY_KEYS",
        "The query has too many keys.",
        When::Always,
    ),
    own(
        400,
        "BODY_UNREADABLE",
        "The body broke off, or is not what its encoding says.",
        When::Always,
    ),
    own(400, "INVALID_JSON", "The body is not JSON.", When::WithBody),
    own(
        400,
        "UNEXPECTED_BODY",
        "This call takes no body.",
        When::WithoutBody,
    ),
    own(
        404,
        "ROUTE_NOT_FOUND",
        "The path is that of no call, because a part of it is empty or has a slash too many.",
        When::WithPath,
    ),
    own(
        405,
        "METHOD_NOT_ALLOWED",
        "The path takes other methods; Allow lists them.",
        When::Always,
    ),
    own(
        408,
        "BODY_TOO_SLOW",
        "The body did not arrive in time.",
        When::Always,
    ),
    own(
        413,
        "BODY_TOO_LARGE",
        "The body is larger than is taken.",
        When::Always,
    ),
    own(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        "The body is not application/json, or its encoding is neither identity nor gzip.",
        When::Always,
    ),
    own(
        431,
        "HEADERS_TOO_LARGE",
        "Path, query and headers are too large together.",
        When::Always,
    ),
    own(
        500,
        "SERVICE_ANSWER_UNREADABLE",
        "The service answered with something unreadable.",
        When::Always,
    ),
    own(
        500,
        "RESPONSE_TOO_LARGE",
        "The answer is larger than is sent.",
        When::Always,
    ),
    own(
        503,
        "SERVICE_UNREACHABLE",
        "The service cannot be reached.",
        When::Always,
    ),
    own(
        504,
        "DEADLINE_EXCEEDED",
        "The call did not finish in time.",
        When::Always,
    ),
];

const fn own(status: u16, reason: &'static str, meaning: &'static str, when: When) -> Own {
    Own {
        status,
        reason,
        meaning,
        when,
    }
}

/// What the responses of an operation depend on.
pub(crate) struct Shape<'s> {
    pub(crate) has_body: bool,
    pub(crate) has_path: bool,
    /// Reasons the operation declares.
    pub(crate) reasons: &'s [String],
}

/// `reason → what is known of it`, for `x-error-reasons` at the top of the document.
pub(crate) fn catalogue(settings: &Settings) -> Value {
    let mut all = Map::new();
    for own in OWN {
        all.insert(
            own.reason.to_owned(),
            json!({"status": own.status, "meaning": own.meaning}),
        );
    }
    for (reason, rule) in &settings.reasons {
        all.insert(
            reason.clone(),
            json!({
                "status": http_status(rule.code).as_u16(),
                "code": crate::call::failure::status_name(rule.code),
                "meaning": rule.meaning,
                "remedy": rule.remedy,
                "retry": rule.retry,
                "metadata": rule.metadata_keys,
            }),
        );
    }
    all.into()
}

/// The reasons of an operation by HTTP status.
pub(crate) fn reasons_by_status(
    shape: &Shape<'_>,
    settings: &Settings,
) -> BTreeMap<u16, Vec<String>> {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    let concerns = |when: &When| match when {
        When::Always => true,
        When::WithBody => shape.has_body,
        When::WithoutBody => !shape.has_body,
        When::WithPath => shape.has_path,
    };
    for own in OWN.iter().filter(|own| concerns(&own.when)) {
        by_status
            .entry(own.status)
            .or_default()
            .push(own.reason.to_owned());
    }
    for reason in shape.reasons {
        let code = settings
            .reasons
            .get(reason)
            .map_or(Code::Unknown, |rule| rule.code);
        by_status
            .entry(http_status(code).as_u16())
            .or_default()
            .push(reason.clone());
    }
    for reasons in by_status.values_mut() {
        reasons.sort();
        reasons.dedup();
    }
    by_status
}

/// Statuses a repeat of the same call may get over.
pub(crate) fn worth_a_repeat(
    by_status: &BTreeMap<u16, Vec<String>>,
    settings: &Settings,
) -> Vec<String> {
    let helps = |reason: &String| settings.reasons.get(reason).is_some_and(|rule| rule.repeat);
    let statuses = by_status
        .iter()
        .filter(|(_, reasons)| reasons.iter().any(helps));
    statuses.map(|(status, _)| status.to_string()).collect()
}

/// Error responses that several operations share, by what is in them.
#[derive(Default)]
pub(crate) struct Shared {
    names: BTreeMap<(u16, Vec<String>), String>,
    pub(crate) components: Map<String, Value>,
}

impl Shared {
    /// A reference to the response for a status with these reasons.
    pub(crate) fn error(&mut self, status: u16, reasons: &[String], settings: &Settings) -> Value {
        let key = (status, reasons.to_vec());
        if !self.names.contains_key(&key) {
            let same = self
                .names
                .keys()
                .filter(|(other, _)| *other == status)
                .count();
            let name = if same == 0 {
                format!("Error{status}")
            } else {
                format!("Error{status}_{}", same + 1)
            };
            self.components
                .insert(name.clone(), error_response(status, reasons, settings));
            self.names.insert(key.clone(), name);
        }
        json!({"$ref": format!("#/components/responses/{}", self.names[&key])})
    }
}

fn error_response(status: u16, reasons: &[String], settings: &Settings) -> Value {
    let mut text = String::new();
    for reason in reasons {
        let own = OWN.iter().find(|own| own.reason == reason);
        let rule = settings.reasons.get(reason);
        let meaning = rule.map_or_else(|| own.map_or("", |own| own.meaning), |rule| &rule.meaning);
        text.push_str(&format!("- `{reason}`: {meaning}"));
        if let Some(rule) = rule {
            text.push_str(&format!(" {} Retry: {}.", rule.remedy, rule.retry));
        }
        text.push('\n');
    }
    let mut headers = header_references(settings);
    if [429, 503, 409].contains(&status) {
        headers.insert(
            "Retry-After".to_owned(),
            json!({"$ref": "#/components/headers/RetryAfter"}),
        );
    }
    json!({
        "description": text.trim_end(),
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        "x-error-reasons": reasons,
    })
}

/// The response of a call that succeeds.
pub(crate) fn success(
    method: &MethodDescriptor,
    response_body: &str,
    schemas: &mut Schemas<'_>,
) -> Value {
    let output = method.output();
    let field = output.get_field_by_name(response_body);
    // A field of a message type with one value is answered like a message of that type.
    let answered = match &field {
        Some(field) if field.is_list() || field.is_map() => None,
        Some(field) => field.kind().as_message().cloned(),
        None => Some(output.clone()),
    };
    let raw = answered.is_some_and(|message| message.full_name() == "google.api.HttpBody");
    let schema = match &field {
        _ if raw => Value::Null,
        Some(field) => schemas.property(field, false),
        None => schemas.message(&output),
    };
    let mut headers = header_references(schemas.settings);
    headers.insert(
        "X-Request-Id".to_owned(),
        json!({"$ref": "#/components/headers/RequestId"}),
    );
    let (content, text) = if raw {
        (
            json!({"*/*": {}}),
            "The bytes, with their own content type.",
        )
    } else if method.is_server_streaming() {
        let line = json!({"schema": schema});
        (
            json!({
                "application/x-ndjson": line.clone(),
                "text/event-stream": {"schema": {"type": "string"}, "x-event-data": schema},
            }),
            "A stream: one JSON object on each line, or as the data of each server-sent event if `Accept` asks for them. The event's id is its cursor. An error after the first message is a last line `{\"error\": …}`, or an event named error.",
        )
    } else {
        (json!({"application/json": {"schema": schema}}), "Done.")
    };
    json!({"description": text, "headers": headers, "content": content})
}

fn header_references(settings: &Settings) -> Map<String, Value> {
    let reference = |name: &String| {
        (
            name.clone(),
            json!({"$ref": format!("#/components/headers/{name}")}),
        )
    };
    settings.response_headers.keys().map(reference).collect()
}

/// `components.headers`.
pub(crate) fn headers(settings: &Settings) -> Value {
    let mut all = settings.response_headers.clone();
    all.insert(
        "RequestId".to_owned(),
        json!({"description": "Names this call in logs.", "schema": {"type": "string"}}),
    );
    all.insert(
        "RetryAfter".to_owned(),
        json!({"description": "Seconds to wait before the call is repeated.", "schema": {"type": "integer", "minimum": 0}}),
    );
    all.into()
}

/// The error envelope.
pub(crate) fn envelope() -> Value {
    json!({
        "type": "object",
        "description": "Why a call failed. Among the details exactly one is a google.rpc.ErrorInfo; its `reason` is stable.",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "status", "message", "details"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": {"type": "string", "description": "The gRPC status.", "examples": ["INVALID_ARGUMENT"]},
                "message": {"type": "string", "description": "For developers, in English."},
                "details": {
                    "type": "array",
                    "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
                    "contains": {
                        "type": "object",
                        "required": ["@type", "reason", "domain"],
                        "properties": {
                            "@type": {"const": "type.googleapis.com/google.rpc.ErrorInfo"},
                            "reason": {"type": "string"},
                            "domain": {"type": "string"},
                            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
                        },
                    },
                },
            },
        }},
    })
}
