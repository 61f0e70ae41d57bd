//! The rules of consoles.

use chrono::TimeDelta;
use serde::Deserialize;
use uuid::Uuid;

use crate::base::id::{AccountId, ApiKeyId, ConsoleId, InstanceId};
use crate::service::instance::model::{Instance, Refused, State};

/// Consoles an instance may have at a time, and ways to one that were not used yet.
pub const LIMIT: i64 = 3;
/// How long a ticket may be used.
pub const TICKET: TimeDelta = TimeDelta::seconds(60);
/// How long an open console counts after whoever relays it said that it is open.
pub const LEASE: TimeDelta = TimeDelta::seconds(15);
/// Where consoles are relayed, before their tickets.
pub const PATH: &str = "/console/";
/// Before the random part of a ticket.
pub const PREFIX: &str = "ct_";
/// Letters of a ticket: 256 bits in URL-safe Base64, after its prefix.
const TICKET_LENGTH: usize = PREFIX.len() + 43;

/// A console whose ticket was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: ConsoleId,
    /// The instance.
    pub instance: InstanceId,
    /// The user or API key that asked for it.
    pub principal: Uuid,
    /// The API key that asked for it, if it was one.
    pub key: Option<ApiKeyId>,
}

/// How long consoles may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleLimits {
    /// Seconds without a byte in either direction after which one ends.
    pub idle_seconds: u32,
    /// Seconds after which one ends in any case.
    pub longest_seconds: u32,
}

impl Default for ConsoleLimits {
    fn default() -> Self {
        Self {
            idle_seconds: 600,
            longest_seconds: 8 * 3600,
        }
    }
}

impl ConsoleLimits {
    /// What is wrong with them.
    pub fn problems(&self) -> Vec<String> {
        const DAY: u32 = 86_400;
        [
            ("idle_seconds", self.idle_seconds),
            ("longest_seconds", self.longest_seconds),
        ]
        .into_iter()
        .filter(|(_, seconds)| !(1..=DAY).contains(seconds))
        .map(|(name, seconds)| format!("console.{name} must be 1 to {DAY}, not {seconds}"))
        .collect()
    }
}

/// Whether a text may be a ticket, so that nobody is asked about one that cannot be.
pub fn is_ticket(text: &str) -> bool {
    text.len() == TICKET_LENGTH
        && text.strip_prefix(PREFIX).is_some_and(|rest| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            rest.bytes().all(fits)
        })
}

/// Whether a machine's console may be shown to its owner, whatever else is being done to the machine: people look at consoles most of all while it starts.
///
/// # Errors
/// Why not.
pub fn admits(instance: &Instance) -> Result<(), Refused> {
    let over = matches!(
        instance.state,
        State::Deleting | State::Deleted | State::Failed | State::Lost
    );
    if instance.suspended && !over {
        return Err(Refused::Suspended);
    }
    if instance.state == State::Running {
        Ok(())
    } else {
        Err(Refused::IllegalState(instance.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::crypto;

    #[test]
    fn a_ticket_is_known_by_its_form() {
        let ticket = crypto::token(PREFIX);
        assert!(is_ticket(&ticket), "{ticket}");
        for wrong in [
            "",
            "ct_",
            &ticket[1..],
            &format!("{ticket}a"),
            &ticket.replace("ct_", "ct+"),
        ] {
            assert!(!is_ticket(wrong), "{wrong}");
        }
        let odd = format!("{PREFIX}{}", "é".repeat(21) + "a");
        assert_eq!(odd.len(), ticket.len());
        assert!(!is_ticket(&odd));
    }

    #[test]
    fn limits_that_cannot_be_are_named() {
        assert!(ConsoleLimits::default().problems().is_empty());
        let none = ConsoleLimits {
            idle_seconds: 0,
            longest_seconds: 86_401,
        };
        assert_eq!(none.problems().len(), 2);
    }
}
