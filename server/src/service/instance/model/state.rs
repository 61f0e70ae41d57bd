//! What an instance can be, what it should be, and how it moves.

use sewa_sdk::sewa::api::v1::operation::Kind;

/// What an instance is seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Being made.
    Provisioning,
    /// Running.
    Running,
    /// Powered off by its owner.
    Stopped,
    /// Powered off by the platform because it is unpaid.
    Suspended,
    /// Being destroyed.
    Deleting,
    /// Destroyed.
    Deleted,
    /// Could not be made.
    Failed,
    /// Gone at the provider, though we did not delete it.
    Lost,
}

/// What moves an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is seen to run.
    Started,
    /// It is seen to be off.
    Stopped,
    /// It is seen to be off, as suspension wants it.
    Suspended,
    /// Its end was decided.
    Delete,
    /// It is seen to be gone, as wanted.
    Destroyed,
    /// It could not be made.
    Fail,
    /// It is seen to be gone, against all wishes.
    Lose,
}

/// A move that the present state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an instance that is {state:?} does not take {event:?}")]
pub struct InvalidTransition {
    /// The present state.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Running,
        Self::Stopped,
        Self::Suspended,
        Self::Deleting,
        Self::Deleted,
        Self::Failed,
        Self::Lost,
    ];

    /// Where an event leads.
    ///
    /// # Errors
    /// If the state does not take the event.
    pub fn on(self, event: Event) -> Result<Self, InvalidTransition> {
        match (self, event) {
            (
                Self::Provisioning | Self::Running | Self::Stopped | Self::Suspended,
                Event::Started,
            ) => Ok(Self::Running),
            (Self::Running | Self::Stopped | Self::Suspended, Event::Stopped) => Ok(Self::Stopped),
            (Self::Running | Self::Stopped | Self::Suspended, Event::Suspended) => {
                Ok(Self::Suspended)
            }
            (Self::Running | Self::Stopped | Self::Suspended | Self::Lost, Event::Delete) => {
                Ok(Self::Deleting)
            }
            (Self::Running | Self::Stopped | Self::Suspended, Event::Lose) => Ok(Self::Lost),
            (Self::Provisioning, Event::Fail) => Ok(Self::Failed),
            (Self::Deleting, Event::Destroyed) => Ok(Self::Deleted),
            // What was left of an instance that could not be made is cleaned up; it stays what it is.
            (Self::Failed, Event::Destroyed) => Ok(Self::Failed),
            (
                Self::Provisioning,
                Event::Stopped | Event::Suspended | Event::Delete | Event::Destroyed | Event::Lose,
            )
            | (Self::Running | Self::Stopped | Self::Suspended, Event::Destroyed | Event::Fail)
            | (
                Self::Deleting,
                Event::Started
                | Event::Stopped
                | Event::Suspended
                | Event::Delete
                | Event::Fail
                | Event::Lose,
            )
            | (
                Self::Failed,
                Event::Started
                | Event::Stopped
                | Event::Suspended
                | Event::Delete
                | Event::Fail
                | Event::Lose,
            )
            | (
                Self::Lost,
                Event::Started
                | Event::Stopped
                | Event::Suspended
                | Event::Destroyed
                | Event::Fail
                | Event::Lose,
            )
            | (
                Self::Deleted,
                Event::Started
                | Event::Stopped
                | Event::Suspended
                | Event::Delete
                | Event::Destroyed
                | Event::Fail
                | Event::Lose,
            ) => Err(InvalidTransition { state: self, event }),
        }
    }

    /// The states that take an event, as stored.
    pub fn takes(event: Event) -> Vec<&'static str> {
        Self::ALL
            .into_iter()
            .filter(|s| s.on(event).is_ok())
            .map(Self::as_str)
            .collect()
    }

    /// As stored, and as events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Suspended => "SUSPENDED",
            Self::Deleting => "DELETING",
            Self::Deleted => "DELETED",
            Self::Failed => "FAILED",
            Self::Lost => "LOST",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

/// What an instance should be, suspension aside. A wish that its owner can still take back lives in its operation; it comes here when the provider is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Running.
    Running,
    /// Off.
    Stopped,
    /// Gone.
    Deleted,
}

impl Wanted {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Deleted => "DELETED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Stopped, Self::Deleted]
            .into_iter()
            .find(|w| w.as_str() == text)
    }

    /// What an operation wants of the instance; `None` if it says nothing about that.
    pub fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Create
            | Kind::PowerOn
            | Kind::Reboot
            | Kind::Rebuild
            | Kind::RestoreSnapshot
            | Kind::RestoreBackup => Some(Self::Running),
            Kind::PowerOff | Kind::Shutdown => Some(Self::Stopped),
            Kind::Delete => Some(Self::Deleted),
            Kind::Unspecified
            | Kind::ResetPassword
            | Kind::Suspend
            | Kind::Resume
            | Kind::Resize
            | Kind::CreateSnapshot
            | Kind::DeleteSnapshot
            | Kind::SetReverseDns
            | Kind::SetFirewall => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 7] = [
        Event::Started,
        Event::Stopped,
        Event::Suspended,
        Event::Delete,
        Event::Destroyed,
        Event::Fail,
        Event::Lose,
    ];

    #[test]
    fn the_whole_table_of_moves() {
        let mut table = Vec::new();
        for state in State::ALL {
            let moves: Vec<String> = EVENTS
                .into_iter()
                .filter_map(|e| {
                    state
                        .on(e)
                        .ok()
                        .map(|next| format!("{e:?}={}", next.as_str()))
                })
                .collect();
            table.push(format!("{}: {}", state.as_str(), moves.join(" ")));
        }
        let alive = "Started=RUNNING Stopped=STOPPED Suspended=SUSPENDED Delete=DELETING Lose=LOST";
        let expected = [
            "PROVISIONING: Started=RUNNING Fail=FAILED".to_owned(),
            format!("RUNNING: {alive}"),
            format!("STOPPED: {alive}"),
            format!("SUSPENDED: {alive}"),
            "DELETING: Destroyed=DELETED".to_owned(),
            "DELETED: ".to_owned(),
            "FAILED: Destroyed=FAILED".to_owned(),
            "LOST: Delete=DELETING".to_owned(),
        ];
        assert_eq!(table, expected);
    }

    #[test]
    fn states_and_wishes_read_back() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for wanted in [Wanted::Running, Wanted::Stopped, Wanted::Deleted] {
            assert_eq!(Wanted::parse(wanted.as_str()), Some(wanted));
        }
    }
}
