//! The request body: JSON, or raw bytes for `google.api.HttpBody`.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use prost_reflect::{DynamicMessage, Value};

use super::Input;
use crate::config::GatewayConfig;
use crate::fault::Refusal;
use crate::json::parse::{self, Json};
use crate::json::read::Reader;
use crate::rejection::Rejection;
use crate::route::{BodyRule, Route};
use crate::schema::{Form, MessageId, Schema, Shape};

/// The content type of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    Other(String),
}

impl MediaType {
    /// Reads the header; more than one, or one that is not text, is refused.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Rejection> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Rejection::unsupported_media("more than one content type"));
        }
        let text = value
            .to_str()
            .map_err(|_| Rejection::unsupported_media("the content type is not text"))?;
        let mut parts = text.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Ok(Some(Self::Other(text.to_owned())));
        }
        for parameter in parts.filter(|part| !part.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let charset = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("charset") && !charset.eq_ignore_ascii_case("utf-8")
            {
                return Err(Rejection::unsupported_media("JSON must be UTF-8"));
            }
        }
        Ok(Some(Self::Json))
    }
}

/// The `HttpBody` message the raw body goes into, if the route takes one.
fn raw_body(schema: &Schema, route: &Route) -> Option<MessageId> {
    let id = match route.body {
        BodyRule::None => return None,
        BodyRule::Whole => route.input,
        BodyRule::Field(field) => field.get(schema).message()?,
    };
    (schema.message(id).form == Form::HttpBody).then_some(id)
}

/// Parses the body as far as the route wants one. `None`: there is no JSON.
pub(super) fn parse<'r>(
    schema: &Schema,
    config: &GatewayConfig,
    route: &Route,
    input: &'r Input<'_>,
) -> Result<Option<Json<'r>>, Rejection> {
    if input.body.is_empty() || raw_body(schema, route).is_some() {
        return Ok(None);
    }
    if route.body == BodyRule::None {
        return Err(Rejection::bad_request(
            "UNEXPECTED_BODY",
            "this method takes no body",
        ));
    }
    if input.media_type != Some(MediaType::Json) {
        return Err(Rejection::unsupported_media(
            "the content type must be application/json",
        ));
    }
    parse::parse(&input.body, config.limits.depth())
        .map(Some)
        .map_err(|error| {
            let message = format!("invalid JSON at byte {}: {}", error.offset, error.message);
            Rejection::bad_request("INVALID_JSON", message)
        })
}

/// Reads the body into a new request message.
pub(super) fn read(
    reader: &mut Reader<'_>,
    route: &Route,
    input: &Input<'_>,
    tree: Option<&Json<'_>>,
) -> DynamicMessage {
    let schema = reader.schema;
    let mut message = DynamicMessage::new(schema.message(route.input).desc.clone());
    if let Some(id) = raw_body(schema, route) {
        let raw = http_body(schema, id, input);
        match route.body {
            BodyRule::Field(field) => {
                message.set_field(&field.get(schema).desc, Value::Message(raw));
            }
            _ => message = raw,
        }
        return message;
    }
    let Some(tree) = tree else { return message };
    match (route.body, tree) {
        (BodyRule::Whole, _) => {
            if let Some(read) = reader.message(route.input, tree) {
                message = read;
            }
        }
        (BodyRule::Field(field), _) => {
            let field = field.get(schema);
            let mark = reader.faults.enter(&field.name);
            if matches!(tree, Json::Null) && !reader.takes_null(field.shape) {
                let what = match field.shape {
                    Shape::List(_) => "an array",
                    Shape::One(crate::schema::Type::Message(_)) | Shape::Map { .. } => "an object",
                    Shape::One(_) => "a value",
                };
                reader.faults.here(Refusal::wrong_type(what, "null"));
            } else if let Some(value) = reader.field_value(field.shape, tree) {
                message.set_field(&field.desc, value);
            }
            reader.faults.leave(mark);
        }
        (BodyRule::None, _) => {}
    }
    message
}

fn http_body(schema: &Schema, id: MessageId, input: &Input<'_>) -> DynamicMessage {
    let mut raw = DynamicMessage::new(schema.message(id).desc.clone());
    let content_type = match &input.media_type {
        Some(MediaType::Json) => "application/json",
        Some(MediaType::Other(text)) => text,
        None => "",
    };
    raw.set_field_by_number(1, Value::String(content_type.to_owned()));
    raw.set_field_by_number(2, Value::Bytes(input.body.clone()));
    raw
}
