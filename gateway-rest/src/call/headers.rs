//! HTTP headers to request metadata, response metadata to HTTP headers.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use crate::config::{ClientAddr, ForwardedFor, GatewayConfig};
use crate::rejection::Rejection;

/// Request headers every RPC gets; everything else stays outside unless the configuration names it.
const FORWARDED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-account-id"),
    header::ACCEPT_LANGUAGE,
    header::USER_AGENT,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Response metadata that would contradict, or break, the HTTP response it is put on.
const NEVER_RETURNED: [&str; 14] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// The metadata of the RPC.
pub(crate) fn to_metadata(
    parts: &Parts,
    config: &GatewayConfig,
    timeout: Option<Duration>,
) -> HeaderMap {
    // Most calls have no more; a larger map is a kibibyte or two for each call.
    let mut out = HeaderMap::with_capacity(6);
    out.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    out.insert(header::TE, HeaderValue::from_static("trailers"));
    for name in FORWARDED.iter().chain(&config.request_headers) {
        if name.as_str().starts_with("grpc-") {
            continue;
        }
        for value in parts.headers.get_all(name) {
            out.append(name.clone(), value.clone());
        }
    }
    if let Some(timeout) = timeout {
        let timeout_ms = timeout.as_millis().min(99_999_999);
        if let Ok(value) = HeaderValue::from_str(&format!("{timeout_ms}m")) {
            out.insert(GRPC_TIMEOUT, value);
        }
    }
    forwarded_for(parts, config.forwarded_for, &mut out);
    out
}

fn forwarded_for(parts: &Parts, mode: ForwardedFor, out: &mut HeaderMap) {
    let peer = parts.extensions.get::<ClientAddr>();
    if mode != ForwardedFor::Replace {
        for value in parts.headers.get_all(X_FORWARDED_FOR) {
            out.append(X_FORWARDED_FOR, value.clone());
        }
    }
    if mode != ForwardedFor::Keep
        && let Some(ClientAddr(address)) = peer
        && let Ok(value) = HeaderValue::from_str(&address.to_string())
    {
        out.append(X_FORWARDED_FOR, value);
    }
}

/// The deadline of a call: what the client named, within the configured maximum.
pub(crate) fn timeout(
    headers: &HeaderMap,
    config: &GatewayConfig,
) -> Result<Option<Duration>, Rejection> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    match parsed {
        Some(timeout) if values.next().is_none() => Ok(Some(timeout.min(config.max_timeout))),
        _ => Err(Rejection::bad_request(
            "INVALID_TIMEOUT",
            "grpc-timeout is one to eight digits and one of H, M, S, m, u, n",
        )),
    }
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.len().checked_sub(1)?;
    let (digits, unit) = text.split_at_checked(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// Copies metadata that may leave onto an HTTP response.
pub(crate) fn copy_returned(metadata: &HeaderMap, config: &GatewayConfig, out: &mut HeaderMap) {
    for (name, value) in metadata {
        let key = name.as_str();
        let denied = key.starts_with("grpc-")
            || key.ends_with("-bin")
            || NEVER_RETURNED.contains(&key)
            || config.denied_response_headers.contains(name);
        if !denied {
            out.append(name.clone(), value.clone());
        }
    }
}

/// The request id a client or the service has given, if it is text.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_REQUEST_ID)?.to_str().ok()
}

/// Whether the client asked for trailers.
pub(crate) fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_timeout;

    /// Contract case 54.
    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout("1S"), Some(Duration::from_secs(1)));
        assert_eq!(
            parse_timeout("99999999n"),
            Some(Duration::from_nanos(99_999_999))
        );
        assert_eq!(parse_timeout("2H"), Some(Duration::from_secs(7200)));
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "123456789S",
            "-1S",
            "1.5S",
            "1 S",
            "\u{e9}",
        ] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
