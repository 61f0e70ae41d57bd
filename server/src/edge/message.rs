//! The request message: read once, bounded, decoded once more as the contract describes it, and held against the contract's rules.

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use prost_protovalidate::Error;
use prost_reflect::{DynamicMessage, MapKey, ReflectMessage, Value};
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use tonic::Status;
use tonic::body::Body;

use crate::base::contract::{Contract, Method};
use crate::base::status::{self, Invalid};

/// Bytes of a request message at most, after decompression.
const MAX_MESSAGE: usize = 1 << 20;
/// A gRPC frame begins with a compression flag and a length.
const FRAME_HEADER: usize = 5;

/// Headers that decide who calls, what is done once or how bytes are read, and so must not be said twice: a proxy may have looked at the other one.
const SINGLE: [&str; 5] = [
    "authorization",
    "idempotency-key",
    "grpc-encoding",
    "grpc-timeout",
    "content-type",
];

/// Refuses heads that are not those of a gRPC call with protobuf messages, or say two things at once.
///
/// # Errors
/// INVALID_REQUEST, naming the header.
pub fn check_head(headers: &HeaderMap) -> Result<(), Status> {
    for name in SINGLE {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(malformed(&format!("the header {name} must be sent once")));
        }
    }
    let kind = headers
        .get(http::header::CONTENT_TYPE)
        .map_or(&b""[..], http::HeaderValue::as_bytes);
    let form = kind.strip_prefix(b"application/grpc");
    match form.map(|form| form.strip_prefix(b"+proto").unwrap_or(form)) {
        Some([] | [b';', ..]) => Ok(()),
        _ => Err(malformed(
            "messages are protobuf: the content-type is application/grpc",
        )),
    }
}

/// Reads the one message of a request, without its frame. Compression is undone here and its header removed.
///
/// # Errors
/// INVALID_REQUEST for bytes that are not one gRPC message or are too many.
pub async fn read(body: Body, headers: &mut HeaderMap) -> Result<Bytes, Status> {
    let collected = Limited::new(body, MAX_MESSAGE + FRAME_HEADER)
        .collect()
        .await;
    let mut bytes = collected
        .map_err(|_| malformed("the request body broke off or is larger than 1 MiB"))?
        .to_bytes();
    if bytes.len() < FRAME_HEADER {
        return Err(malformed("the request body holds no gRPC message"));
    }
    let compressed = bytes.get_u8();
    let length = bytes.get_u32() as usize;
    if length != bytes.len() {
        return Err(malformed(
            "the request body must hold exactly one gRPC message",
        ));
    }
    let encoding = headers.remove("grpc-encoding");
    match compressed {
        0 => Ok(bytes),
        1 if encoding.as_ref().is_some_and(|e| e == "gzip") => decompress(&bytes),
        _ => Err(malformed(
            "the compression of the request is not known; use gzip or none",
        )),
    }
}

/// Reads the question of a health check, which is not of our contract but as bounded and as strict.
///
/// # Errors
/// INVALID_REQUEST for what is none.
pub async fn checked_health(request: Request<Body>) -> Result<Request<Body>, Status> {
    check_head(request.headers())?;
    let (mut parts, frame) = request.into_parts();
    let frame = read(frame, &mut parts.headers).await?;
    tonic_health::pb::HealthCheckRequest::decode(frame.clone())
        .map_err(|_| malformed("the message is not a grpc.health.v1.HealthCheckRequest"))?;
    Ok(Request::from_parts(parts, body(frame)))
}

fn decompress(bytes: &[u8]) -> Result<Bytes, Status> {
    let mut plain = Vec::new();
    let limit = u64::try_from(MAX_MESSAGE + 1).unwrap_or(u64::MAX);
    flate2::read::GzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(|_| malformed("the request is not valid gzip"))?;
    if plain.len() > MAX_MESSAGE {
        return Err(malformed(
            "the request is larger than 1 MiB when decompressed",
        ));
    }
    Ok(plain.into())
}

/// The message in a frame again, for the handler.
pub fn body(message: Bytes) -> Body {
    let mut frame = BytesMut::with_capacity(FRAME_HEADER + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.extend_from_slice(&message);
    Body::new(Full::new(frame.freeze()))
}

/// INVALID_REQUEST for bytes or headers that are no call.
pub fn malformed(message: &str) -> Status {
    status::refuse(CommonErrorReason::InvalidRequest, message).status()
}

/// Holds messages against the contract's rules. Rules are compiled once for each message type.
pub struct Validator {
    rules: prost_protovalidate::Validator,
}

impl Default for Validator {
    /// A validator that has compiled nothing yet.
    fn default() -> Self {
        Self {
            rules: prost_protovalidate::Validator::new(),
        }
    }
}

impl Validator {
    /// Decodes and checks a request.
    ///
    /// # Errors
    /// INVALID_REQUEST with every violation.
    pub fn check(&self, method: &Method, message: &Bytes) -> Result<DynamicMessage, Status> {
        let decoded = DynamicMessage::decode(method.input.clone(), message.clone())
            .map_err(|_| malformed("the request is not a message of the method's type"))?;
        let mut invalid = Vec::new();
        // A quick look first: hardly any message has a byte of zero at all.
        if message.contains(&0) {
            find_nul(&decoded, "", &mut invalid);
        }
        match self.rules.validate(&decoded) {
            Ok(()) => {}
            Err(Error::Validation(broken)) => {
                invalid.extend(broken.violations().iter().map(violation));
            }
            Err(fault) => {
                let fault = format_args!("rules of {}: {fault}", method.name);
                return Err(status::internal(fault));
            }
        }
        if invalid.is_empty() {
            Ok(decoded)
        } else {
            Err(status::invalid_all(invalid))
        }
    }
}

/// Finds texts with the character U+0000, which PostgreSQL cannot keep (its manual, 8.3) and nobody means.
fn find_nul(message: &DynamicMessage, path: &str, found: &mut Vec<Invalid>) {
    for (field, value) in message.fields() {
        let name = field.name();
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        find_nul_in(value, &path, found);
    }
}

fn find_nul_in(value: &Value, path: &str, found: &mut Vec<Invalid>) {
    match value {
        Value::String(text) if text.contains('\0') => found.push(no_nul(path)),
        Value::Message(inner) => find_nul(inner, path, found),
        Value::List(items) => {
            for (i, item) in items.iter().enumerate() {
                find_nul_in(item, &format!("{path}[{i}]"), found);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                let key = key_text(key);
                if key.contains('\0') {
                    found.push(no_nul(path));
                }
                find_nul_in(item, &format!("{path}[{key:?}]"), found);
            }
        }
        _ => {}
    }
}

fn no_nul(path: &str) -> Invalid {
    Invalid::new(path, "STRING_NUL", "must not contain the character U+0000")
}

fn violation(broken: &prost_protovalidate::Violation) -> Invalid {
    let rule = broken.rule_id();
    let text = if broken.message().is_empty() {
        describe(rule)
    } else {
        broken.message().to_owned()
    };
    Invalid::new(
        broken.field_path(),
        rule.to_uppercase().replace(['.', '-'], "_"),
        text,
    )
}

/// What a rule asks for, where the rule itself brings no words.
fn describe(rule: &str) -> String {
    match rule {
        "required" => "is required",
        "string.uuid" => "must be a UUID",
        "string.uuid_empty" => "must not be empty; a UUID is required",
        "string.email" | "string.email_empty" => "must be an e-mail address",
        "string.pattern" => "has characters or a form that are not allowed",
        "string.min_len" => "is too short",
        "string.max_len" => "is too long",
        "enum.defined_only" => "must be one of the values of its enum",
        "enum.not_in" => "must be set to an allowed value",
        "repeated.min_items" => "has too few items",
        "repeated.max_items" => "has too many items",
        "repeated.unique" => "must not repeat items",
        "map.max_pairs" => "has too many entries",
        other => return format!("breaks rule {other}"),
    }
    .to_owned()
}

/// The request as the audit trail keeps it.
pub fn for_record(method: &Method, mut decoded: DynamicMessage, message: &Bytes) -> Bytes {
    if !method.secret_input || !Contract::get().carries_secret(&decoded) {
        return message.clone();
    }
    Contract::get().redact(&mut decoded);
    decoded.encode_to_vec().into()
}

/// Bytes that are equal exactly if two messages are: fields by number, maps by key. Encoders may order both as they like, so the wire is not enough.
pub fn canonical(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write_message(message, &mut out);
    out
}

fn write_message(message: &DynamicMessage, out: &mut Vec<u8>) {
    for field in message.descriptor().fields() {
        if message.has_field(&field) {
            out.extend_from_slice(&field.number().to_be_bytes());
            write_value(&message.get_field(&field), out);
        }
    }
    out.push(0xff);
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Message(inner) => write_message(inner, out),
        Value::List(items) => {
            out.extend_from_slice(&(items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| write_value(item, out));
        }
        Value::Map(entries) => {
            let mut keys: Vec<(String, &Value)> = entries
                .iter()
                .map(|(key, value)| (key_text(key), value))
                .collect();
            keys.sort_by(|a, b| a.0.cmp(&b.0));
            out.extend_from_slice(&(keys.len() as u64).to_be_bytes());
            for (key, value) in keys {
                write_bytes(key.as_bytes(), out);
                write_value(value, out);
            }
        }
        Value::String(text) => write_bytes(text.as_bytes(), out),
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::Bool(b) => out.push(u8::from(*b)),
        Value::I32(n) | Value::EnumNumber(n) => out.extend_from_slice(&n.to_be_bytes()),
        Value::I64(n) => out.extend_from_slice(&n.to_be_bytes()),
        Value::U32(n) => out.extend_from_slice(&n.to_be_bytes()),
        Value::U64(n) => out.extend_from_slice(&n.to_be_bytes()),
        Value::F32(n) => out.extend_from_slice(&n.to_bits().to_be_bytes()),
        Value::F64(n) => out.extend_from_slice(&n.to_bits().to_be_bytes()),
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(b) => b.to_string(),
        MapKey::I32(n) => n.to_string(),
        MapKey::I64(n) => n.to_string(),
        MapKey::U32(n) => n.to_string(),
        MapKey::U64(n) => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rules with expressions fail only when they run, so each request type is run once.
    #[test]
    fn the_rules_of_every_request_compile_and_run() {
        let validator = Validator::default();
        for method in Contract::get().methods() {
            if let Err(refusal) = validator.check(method, &Bytes::new()) {
                assert_eq!(
                    refusal.code(),
                    tonic::Code::InvalidArgument,
                    "{}: {}",
                    method.name,
                    refusal.message()
                );
            }
        }
    }

    #[test]
    fn equal_messages_have_equal_bytes_whatever_the_order_of_maps() {
        let method = Contract::get()
            .method_at("/sewa.order.v1.OrderService/PlaceOrder")
            .expect("a method");
        let json = |labels: &str| format!(r#"{{"draft":{{"hostname":"web","labels":{labels}}}}}"#);
        let read = |text: String| {
            let mut json = serde_json::Deserializer::from_str(&text);
            DynamicMessage::deserialize(method.input.clone(), &mut json).expect("a request")
        };
        let one = canonical(&read(json(r#"{"a":"1","b":"2","c":"3"}"#)));
        assert_eq!(one, canonical(&read(json(r#"{"c":"3","a":"1","b":"2"}"#))));
        assert_ne!(one, canonical(&read(json(r#"{"c":"3","a":"1","b":"4"}"#))));
    }
}
