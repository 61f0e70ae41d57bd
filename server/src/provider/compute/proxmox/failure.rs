//! What a failure of Proxmox means. Pure.
//!
//! It is a 500 with a sentence, be it that the guest does not exist, is being worked on, or is already what it was asked to be. A sentence that nobody knows may be
//! that of a call that had its effect.

use serde_json::Value;

use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::line::Reply;

/// What a sentence of a failure means for the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Gone,
    Busy,
    Exists,
    Already,
    Full,
    NoAgent,
    NoQuorum,
    Other,
}

pub(super) fn meaning(said: &str) -> Meaning {
    let said = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["guest agent"]) {
        Meaning::NoAgent
    } else if has(&["already exists"]) {
        Meaning::Exists
    } else if has(&[
        "is locked",
        "can't lock file",
        "lock request timeout",
        "lock timeout",
    ]) {
        Meaning::Busy
    } else if said.contains("configuration file") && said.contains("does not exist") {
        Meaning::Gone
    } else if has(&["already running", "not running"]) {
        Meaning::Already
    } else if has(&[
        "out of space",
        "no space left",
        "not enough space",
        "not enough free",
    ]) {
        Meaning::Full
    } else if has(&["no quorum"]) {
        Meaning::NoQuorum
    } else {
        Meaning::Other
    }
}

/// What a reply that is no success says, without what it must not: control characters, and more than anybody reads.
pub(super) fn said(reply: &Reply) -> String {
    let mut words = text(&reply.body, "/message")
        .filter(|m| !m.trim().is_empty())
        .unwrap_or(&reply.reason)
        .to_owned();
    let errors = reply.body.get("errors").and_then(Value::as_object);
    for (field, error) in errors.into_iter().flatten() {
        // A parameter is named, its value may be a password.
        words.push_str(&format!(" {field}: {}", error.as_str().unwrap_or_default()));
    }
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

pub(super) fn refused(reply: &Reply, reads: bool) -> ProviderError {
    let words = said(reply);
    match reply.status.as_u16() {
        401 | 403 => ProviderError::Unauthorized(words),
        400..500 => ProviderError::Refused(format!("{}: {words}", reply.status.as_u16())),
        _ => match meaning(&words) {
            Meaning::Gone => ProviderError::NotFound,
            Meaning::Busy => ProviderError::Busy,
            Meaning::Full => ProviderError::NoCapacity,
            Meaning::NoQuorum => ProviderError::Unavailable(words),
            _ if reads => ProviderError::Unavailable(words),
            // One that exists may be ours; the rest may have done its part before it failed.
            _ => ProviderError::Unknown,
        },
    }
}

/// What the end of a task that failed means. One that fails takes back what it did; one that was killed, with its node perhaps, took nothing back.
pub(super) fn failed(words: &str) -> ProviderError {
    let killed = ["unexpected status", "interrupted", "got signal", "killed"];
    if words.is_empty() || killed.iter().any(|word| words.contains(word)) {
        return ProviderError::Unknown;
    }
    match meaning(words) {
        Meaning::Busy => ProviderError::Busy,
        Meaning::Full => ProviderError::NoCapacity,
        Meaning::Exists => ProviderError::Unknown,
        _ => ProviderError::Unavailable(
            words
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_of_failures_are_understood() {
        for (said, means) in [
            (
                "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist",
                Meaning::Gone,
            ),
            ("VM is locked (clone)", Meaning::Busy),
            (
                "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout",
                Meaning::Busy,
            ),
            (
                "unable to create VM 100: config file already exists",
                Meaning::Exists,
            ),
            ("VM 100 already running", Meaning::Already),
            ("VM 100 not running", Meaning::Already),
            ("QEMU guest agent is not running", Meaning::NoAgent),
            ("No QEMU guest agent configured", Meaning::NoAgent),
            ("lvcreate: No space left on device", Meaning::Full),
            ("cluster not ready - no quorum?", Meaning::NoQuorum),
            (
                "trying to acquire cfs lock 'storage-zfs' ... got lock request timeout",
                Meaning::Busy,
            ),
            ("zfs error: got timeout", Meaning::Other),
            ("something else", Meaning::Other),
        ] {
            assert_eq!(meaning(said), means, "{said}");
        }
    }

    #[test]
    fn a_task_that_was_killed_may_have_left_something() {
        for words in ["", "unexpected status", "interrupted by signal"] {
            assert_eq!(failed(words), ProviderError::Unknown, "{words}");
        }
        let full = "clone failed: zfs error: cannot create 'rpool/vm-1-disk-0': out of space";
        assert_eq!(failed(full), ProviderError::NoCapacity);
        let other = failed("clone failed: no such storage\n");
        let words = "clone failed: no such storage".to_owned();
        assert_eq!(other, ProviderError::Unavailable(words));
    }
}
