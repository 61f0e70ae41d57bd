//! A request the gateway itself refuses.

use std::borrow::Cow;

use http::StatusCode;
use tonic::Code;

use crate::fault::Fault;

/// Everything needed to answer a refused request in the same envelope as an RPC error.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) http: StatusCode,
    pub(crate) code: Code,
    /// `reason` of the `ErrorInfo`.
    pub(crate) reason: &'static str,
    pub(crate) message: Cow<'static, str>,
    pub(crate) faults: Vec<Fault>,
    /// Value of the `Allow` header.
    pub(crate) allow: Option<String>,
}

impl Rejection {
    pub(crate) fn new(
        http: StatusCode,
        code: Code,
        reason: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            http,
            code,
            reason,
            message: message.into(),
            faults: Vec::new(),
            allow: None,
        }
    }

    pub(crate) fn bad_request(reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Code::InvalidArgument,
            reason,
            message,
        )
    }

    /// One or more fields are wrong; the first is named in the message.
    pub(crate) fn faulty(faults: Vec<Fault>) -> Self {
        let message = match faults.first() {
            Some(first) if first.field.is_empty() => first.description.clone(),
            Some(first) => format!("{}: {}", first.field, first.description),
            None => "the request is not valid".to_owned(),
        };
        Self {
            faults,
            ..Self::bad_request("INVALID_REQUEST", message)
        }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            Code::NotFound,
            "ROUTE_NOT_FOUND",
            "no such path",
        )
    }

    pub(crate) fn wrong_method(allow: String) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
                "METHOD_NOT_ALLOWED",
                "this path does not take this method",
            )
        }
    }

    pub(crate) fn unsupported_media(message: &'static str) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidArgument,
            "UNSUPPORTED_MEDIA_TYPE",
            message,
        )
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            Code::DeadlineExceeded,
            "BODY_TOO_SLOW",
            "the request body did not arrive in time",
        )
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            Code::InvalidArgument,
            "BODY_TOO_LARGE",
            "the request body is too large",
        )
    }
}
