//! What a failure of vCenter means. Pure.
//!
//! It names its kind in `error_type`, whatever the status. A reply without one is not vCenter's own: of a proxy in front of it, or of a wrong address.

use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::line::Reply;

/// Characters of a sentence that are kept.
const SENTENCE: usize = 200;

/// The kind of a failure, as vCenter names it; empty if it is not its own.
pub(super) fn kind(reply: &Reply) -> &str {
    text(&reply.body, "/error_type").unwrap_or_default()
}

/// What a reply that is no success says, without what it must not: control characters, and more than anybody reads.
fn said(reply: &Reply) -> String {
    let words = text(&reply.body, "/messages/0/default_message").unwrap_or("no reason given");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(SENTENCE)
        .collect()
}

/// What it means, and whether the call may have had an effect. `reads` is true of a call that has none anyway.
pub(super) fn refused(reply: &Reply, reads: bool) -> ProviderError {
    let status = reply.status.as_u16();
    let unexplained = || ProviderError::Unavailable(format!("vCenter answered {status}"));
    match kind(reply) {
        "UNAUTHENTICATED" | "UNAUTHORIZED" => ProviderError::Unauthorized(said(reply)),
        "NOT_FOUND" => ProviderError::NotFound,
        // Another task has the machine, or it is on where it has to be off: it changed since it was looked at.
        "RESOURCE_BUSY"
        | "RESOURCE_IN_USE"
        | "FEATURE_IN_USE"
        | "CONCURRENT_CHANGE"
        | "NOT_ALLOWED_IN_CURRENT_STATE" => ProviderError::Busy,
        // One that exists may be ours.
        "ALREADY_EXISTS" if !reads => ProviderError::Unknown,
        "UNABLE_TO_ALLOCATE_RESOURCE" if !reads => ProviderError::NoCapacity,
        "UNABLE_TO_ALLOCATE_RESOURCE" | "RESOURCE_INACCESSIBLE" => {
            ProviderError::Unavailable(said(reply))
        }
        "" if status == 401 || status == 403 => ProviderError::Unauthorized(said(reply)),
        "" if reads || status < 500 => unexplained(),
        _ if status >= 500 && reads => ProviderError::Unavailable(said(reply)),
        // It may have done its part before it failed.
        _ if status >= 500 => ProviderError::Unknown,
        kind => ProviderError::Refused(format!("{status} {kind}: {}", said(reply))),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::*;

    fn reply(status: u16, kind: &str) -> Reply {
        let body = if kind.is_empty() {
            Value::Null
        } else {
            json!({"error_type": kind, "messages": [{"id": "x", "default_message": "some\nwords", "args": []}]})
        };
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            body,
            reason: String::new(),
        }
    }

    #[test]
    fn a_failure_says_whether_the_call_may_have_had_an_effect() {
        let words = || "somewords".to_owned();
        let unexplained =
            |status: u16| ProviderError::Unavailable(format!("vCenter answered {status}"));
        // Status and kind; what it means for a read, and for a change.
        let same = |error: ProviderError| (error.clone(), error);
        let table = [
            (404, "NOT_FOUND", same(ProviderError::NotFound)),
            (404, "", same(unexplained(404))),
            (
                403,
                "UNAUTHORIZED",
                same(ProviderError::Unauthorized(words())),
            ),
            (400, "RESOURCE_BUSY", same(ProviderError::Busy)),
            (
                400,
                "ALREADY_EXISTS",
                (
                    ProviderError::Refused("400 ALREADY_EXISTS: somewords".to_owned()),
                    ProviderError::Unknown,
                ),
            ),
            (
                400,
                "UNABLE_TO_ALLOCATE_RESOURCE",
                (
                    ProviderError::Unavailable(words()),
                    ProviderError::NoCapacity,
                ),
            ),
            (
                400,
                "INVALID_ARGUMENT",
                same(ProviderError::Refused(
                    "400 INVALID_ARGUMENT: somewords".to_owned(),
                )),
            ),
            (
                503,
                "SERVICE_UNAVAILABLE",
                (ProviderError::Unavailable(words()), ProviderError::Unknown),
            ),
            (500, "", (unexplained(500), ProviderError::Unknown)),
        ];
        for (status, kind, (read, change)) in table {
            let reply = reply(status, kind);
            assert_eq!(refused(&reply, true), read, "{status} {kind}");
            assert_eq!(refused(&reply, false), change, "{status} {kind}");
        }
    }
}
