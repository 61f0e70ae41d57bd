//! The rules of operations. Pure.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;

use crate::base::id::{AccountId, ImageId, InstanceId, OperationId, OrderId};

/// How far an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Recorded; the provider knows nothing of it.
    Pending,
    /// Under way.
    Running,
    /// Done, and seen to be.
    Succeeded,
    /// Given up.
    Failed,
    /// Stopped before it took effect, or replaced by something more important.
    Cancelled,
}

/// What moves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody begins, or goes on.
    Work,
    /// It is seen to be done.
    Succeed,
    /// It is given up.
    Fail,
    /// Its owner takes it back.
    Cancel,
    /// Something more important takes its place.
    Supersede,
}

/// A move that the present state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an operation that is {state:?} does not take {event:?}")]
pub struct InvalidTransition {
    /// The present state.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Where an event leads.
    ///
    /// # Errors
    /// If the state does not take the event.
    pub fn on(self, event: Event) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (Self::Pending | Self::Running, Event::Work) => Ok(Self::Running),
            (Self::Running, Event::Succeed) => Ok(Self::Succeeded),
            (Self::Pending | Self::Running, Event::Fail) => Ok(Self::Failed),
            (Self::Pending, Event::Cancel) | (Self::Pending | Self::Running, Event::Supersede) => {
                Ok(Self::Cancelled)
            }
            (Self::Pending, Event::Succeed)
            | (Self::Running, Event::Cancel)
            | (
                Self::Succeeded | Self::Failed | Self::Cancelled,
                Event::Work | Event::Succeed | Event::Fail | Event::Cancel | Event::Supersede,
            ) => Err(InvalidTransition { state: self, event }),
        }
    }

    /// True for the states that an event leads away from.
    pub fn takes(event: Event) -> Vec<&'static str> {
        Self::ALL
            .into_iter()
            .filter(|s| s.on(event).is_ok())
            .map(Self::as_str)
            .collect()
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// Whether its owner may take an operation of this kind back. What the platform decided, what
/// belongs to an order or decides about money and what ended a service may not.
pub fn is_cancellable(kind: Kind) -> bool {
    match kind {
        Kind::PowerOn
        | Kind::PowerOff
        | Kind::Shutdown
        | Kind::Reboot
        | Kind::Rebuild
        | Kind::ResetPassword
        | Kind::CreateSnapshot
        | Kind::RestoreSnapshot
        | Kind::DeleteSnapshot
        | Kind::RestoreBackup
        | Kind::SetReverseDns
        | Kind::SetFirewall => true,
        Kind::Unspecified
        | Kind::Create
        | Kind::Delete
        | Kind::Suspend
        | Kind::Resume
        | Kind::Resize => false,
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: OperationId,
    /// The instance it works on.
    pub instance: InstanceId,
    /// The order it fulfils.
    pub order: Option<OrderId>,
    /// What it does.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// The present step in a word.
    pub step: String,
    /// 0 to 100.
    pub progress: i16,
    /// Reason and message, where it failed or was replaced.
    pub error: Option<(String, String)>,
    /// Grows with each change.
    pub revision: i64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// An operation to record.
#[derive(Clone, Copy, Debug)]
pub struct NewOperation {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: OperationId,
    /// The instance it works on.
    pub instance: InstanceId,
    /// The order it fulfils.
    pub order: Option<OrderId>,
    /// What it does.
    pub kind: Kind,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// The step of an operation nobody has begun.
pub const WAITING: &str = "waiting";

impl From<&NewOperation> for Operation {
    fn from(new: &NewOperation) -> Self {
        Self {
            account: new.account,
            id: new.id,
            instance: new.instance,
            order: new.order,
            kind: new.kind,
            state: State::Pending,
            step: WAITING.to_owned(),
            progress: 0,
            error: None,
            revision: 1,
            created_at: new.created_at,
            finished_at: None,
        }
    }
}

/// An operation leased to whoever works on it.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: OperationId,
    /// The instance it works on.
    pub instance: InstanceId,
    /// What it does.
    pub kind: Kind,
    /// When the provider accepted it, if it has.
    pub asked_at: Option<DateTime<Utc>>,
    /// True if the provider was asked and did not answer.
    pub unsure: bool,
    /// Number of this attempt; a result under another number is refused.
    pub attempt: i32,
    /// The image to build from.
    pub image: Option<(ImageId, String)>,
    /// A sealed password.
    pub secret: Option<Vec<u8>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// How an operation ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Done.
    Succeeded,
    /// Given up.
    Failed {
        /// Stable reason, one of the contract's.
        reason: Cow<'static, str>,
        /// For people.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_of_moves() {
        let mut table = String::new();
        for state in State::ALL {
            for event in [
                Event::Work,
                Event::Succeed,
                Event::Fail,
                Event::Cancel,
                Event::Supersede,
            ] {
                if let Ok(next) = state.on(event) {
                    table.push_str(&format!("{} {event:?} {}\n", state.as_str(), next.as_str()));
                }
            }
        }
        let expected = "PENDING Work RUNNING\nPENDING Fail FAILED\nPENDING Cancel CANCELLED\nPENDING Supersede CANCELLED\n\
            RUNNING Work RUNNING\nRUNNING Succeed SUCCEEDED\nRUNNING Fail FAILED\nRUNNING Supersede CANCELLED\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn states_read_back_and_final_ones_are_final() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
            assert_eq!(state.is_final(), state.on(Event::Supersede).is_err());
        }
        assert_eq!(State::takes(Event::Cancel), ["PENDING"]);
    }

    #[test]
    fn nobody_takes_back_a_suspension() {
        assert!(is_cancellable(Kind::PowerOff));
        for kind in [
            Kind::Create,
            Kind::Delete,
            Kind::Suspend,
            Kind::Resume,
            Kind::Resize,
        ] {
            assert!(!is_cancellable(kind), "{kind:?}");
        }
    }
}
