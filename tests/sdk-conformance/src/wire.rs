//! Messages, frames and statuses as bytes, made by hand: a server that must also misbehave cannot be made of a library that does not let it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, MethodDescriptor};
use serde_json::Value;
use tonic::Code;
use tonic_types::pb;

use crate::case::Refusal;

/// A method of the contract by its name, `package.Service/Method`.
///
/// # Errors
/// If the contract has none of that name.
pub fn method(name: &str) -> anyhow::Result<MethodDescriptor> {
    let (service, method) = name.split_once('/').context("no / in the name")?;
    sewa_sdk::pool()
        .get_service_by_name(service)
        .and_then(|service| service.methods().find(|found| found.name() == method))
        .with_context(|| format!("the contract has no method {name}"))
}

/// Encodes protobuf JSON.
///
/// # Errors
/// If it is not a message of this type.
pub fn encode(kind: MessageDescriptor, json: &Value) -> anyhow::Result<Vec<u8>> {
    let json = with_times(json);
    let message = DynamicMessage::deserialize(kind.clone(), json)
        .with_context(|| format!("not a {}", kind.full_name()))?;
    Ok(message.encode_to_vec())
}

/// Decodes to protobuf JSON, unset fields left out.
///
/// # Errors
/// If the bytes are no such message.
pub fn decode(kind: MessageDescriptor, bytes: Bytes) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(DynamicMessage::decode(kind, bytes)?)?)
}

/// Puts moments in place of `{"$now_plus_s": n}`.
fn with_times(json: &Value) -> Value {
    match json {
        Value::Object(fields) => match fields.get("$now_plus_s").and_then(Value::as_i64) {
            Some(seconds) => {
                let moment = chrono::Utc::now() + chrono::Duration::seconds(seconds);
                Value::from(moment.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
            }
            None => fields
                .iter()
                .map(|(key, value)| (key.clone(), with_times(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        },
        Value::Array(items) => items.iter().map(with_times).collect(),
        other => other.clone(),
    }
}

/// A field no contract declares, as long as it must be for the message to reach this size.
pub fn pad(message: &mut Vec<u8>, size: usize) {
    const FIELD: u64 = 19_000;
    let missing = size.saturating_sub(message.len());
    prost::encoding::encode_varint(FIELD << 3 | 2, message);
    prost::encoding::encode_varint(missing as u64, message);
    message.resize(message.len() + missing, 0);
}

/// Hexadecimal digits as bytes.
///
/// # Errors
/// If they are none.
pub fn hex(digits: &str) -> anyhow::Result<Vec<u8>> {
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            let pair = digits.get(at..at + 2).context("half a byte")?;
            Ok(u8::from_str_radix(pair, 16)?)
        })
        .collect()
}

/// A message as gRPC sends it.
pub fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The message of a request.
///
/// # Errors
/// If it is not one whole, uncompressed frame.
pub fn unframe(body: &Bytes) -> anyhow::Result<Bytes> {
    anyhow::ensure!(body.len() >= 5, "no frame");
    anyhow::ensure!(body[0] == 0, "the message is compressed");
    let length = u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize;
    anyhow::ensure!(body.len() == length + 5, "not one frame");
    Ok(body.slice(5..))
}

/// The span of a `grpc-timeout` header.
pub fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount.checked_mul(3600)?),
        "M" => Duration::from_secs(amount.checked_mul(60)?),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Trailers of a good end.
pub fn fine() -> HeaderMap {
    HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static("0"),
    )])
}

impl Refusal {
    /// A refusal by code and reason alone.
    pub fn new(code: &str, reason: &str) -> Self {
        Self {
            code: code.to_owned(),
            message: format!("{reason} by the script"),
            reason: Some(reason.to_owned()),
            ..Self::default()
        }
    }

    /// Trailers, or the headers of an answer without a message.
    ///
    /// # Errors
    /// If the code is none of gRPC's, or a text cannot stand in a header.
    pub fn trailers(&self) -> anyhow::Result<HeaderMap> {
        let code = (0..=16)
            .map(Code::from_i32)
            .find(|code| name(*code) == self.code)
            .with_context(|| format!("{} is no code", self.code))?;
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", HeaderValue::from(code as i32));
        headers.insert("grpc-message", HeaderValue::from_str(&self.message)?);
        let details = match &self.details_raw {
            Some(raw) => Some(raw.clone()),
            None => {
                let details = self.details();
                (!details.is_empty()).then(|| {
                    let status = pb::Status {
                        code: code as i32,
                        message: self.message.clone(),
                        details,
                    };
                    STANDARD_NO_PAD.encode(status.encode_to_vec())
                })
            }
        };
        if let Some(details) = details {
            headers.insert("grpc-status-details-bin", HeaderValue::from_str(&details)?);
        }
        Ok(headers)
    }

    fn details(&self) -> Vec<prost_types::Any> {
        let mut all = Vec::new();
        if let Some(reason) = &self.reason {
            let info = pb::ErrorInfo {
                reason: reason.clone(),
                domain: "sewa".to_owned(),
                metadata: HashMap::from_iter(self.metadata.clone()),
            };
            all.push(any("google.rpc.ErrorInfo", &info));
        }
        if let Some(delay) = self.retry_after_ms {
            let info = pb::RetryInfo {
                retry_delay: prost_types::Duration::try_from(Duration::from_millis(delay)).ok(),
            };
            all.push(any("google.rpc.RetryInfo", &info));
        }
        if !self.fields.is_empty() {
            let violation = |(field, reason): &(String, String)| pb::bad_request::FieldViolation {
                field: field.clone(),
                reason: reason.clone(),
                description: format!("{field} breaks {reason}"),
                ..Default::default()
            };
            let info = pb::BadRequest {
                field_violations: self.fields.iter().map(violation).collect(),
            };
            all.push(any("google.rpc.BadRequest", &info));
        }
        if let Some(id) = &self.request_id {
            let info = pb::RequestInfo {
                request_id: id.clone(),
                serving_data: String::new(),
            };
            all.push(any("google.rpc.RequestInfo", &info));
        }
        if self.foreign_detail {
            all.push(prost_types::Any {
                type_url: "type.googleapis.com/sewa.future.v9.Hint".to_owned(),
                value: vec![0xff, 0xff],
            });
        }
        all
    }
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

/// The code as the contract writes it, `INVALID_ARGUMENT`.
pub fn name(code: Code) -> String {
    let mut words = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_uppercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_contract() {
        assert_eq!(name(Code::Ok), "OK");
        assert_eq!(name(Code::InvalidArgument), "INVALID_ARGUMENT");
        assert_eq!(name(Code::Unavailable), "UNAVAILABLE");
    }
}
