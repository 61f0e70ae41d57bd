//! The rules of snapshots.

use chrono::{DateTime, Duration, Utc};

use crate::base::id::{AccountId, ImageId, InstanceId, OperationId, SnapshotId};
use crate::provider::compute::snapshots::Found;

/// Snapshots an instance may have. Somebody pays for each at the provider, and customers do not.
pub const LIMIT: i64 = 3;
/// How long a provider that has taken a snapshot on may show an idle machine and no snapshot, before it counts as not taken.
const SETTLE: Duration = Duration::seconds(30);

/// A copy of a machine's disk.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The account.
    pub account: AccountId,
    /// Identifier. Its name at the provider has it in.
    pub id: SnapshotId,
    /// Whose disk it is of.
    pub instance: InstanceId,
    /// What last worked on it.
    pub operation: OperationId,
    /// Name for people.
    pub display_name: String,
    /// False once it is to be deleted.
    pub wanted: bool,
    /// The provider's name for it, once it is whole.
    pub snapshot_ref: Option<String>,
    /// Until when one may exist that does not show.
    pub unsure_until: Option<DateTime<Utc>>,
    /// The image its disk was last built from.
    pub image: ImageId,
    /// The provider's name of the image.
    pub image_code: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Being taken.
    Creating,
    /// Can be gone back to.
    Available,
    /// To be deleted.
    Deleting,
}

impl State {
    /// As errors name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Available => "AVAILABLE",
            Self::Deleting => "DELETING",
        }
    }
}

impl Snapshot {
    /// How far it is.
    pub fn state(&self) -> State {
        match (self.wanted, &self.snapshot_ref) {
            (false, _) => State::Deleting,
            (true, None) => State::Creating,
            (true, Some(_)) => State::Available,
        }
    }

    /// Whether one may exist that does not show.
    pub fn may_show_up(&self, now: DateTime<Utc>) -> bool {
        self.unsure_until.is_some_and(|until| now < until)
    }

    /// What the taking of it needs next, from what its provider shows of it and whether the machine is at work.
    pub fn taking(
        &self,
        found: &[Found],
        busy: bool,
        asked_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Taking {
        match (found, asked_at) {
            ([_, twins @ ..], _) if !twins.is_empty() => {
                Taking::Prune(twins.iter().map(|twin| twin.snapshot_ref.clone()).collect())
            }
            ([one, ..], _) if one.ready && !busy => Taking::Done(one.snapshot_ref.clone()),
            ([_, ..], _) => Taking::Wait,
            ([], _) if busy || self.may_show_up(now) => Taking::Wait,
            ([], None) => Taking::Ask,
            ([], Some(at)) if now - at < SETTLE => Taking::Wait,
            ([], Some(_)) => Taking::NotDone,
        }
    }
}

/// What the taking of a snapshot needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taking {
    /// Nothing: it is whole, and the provider calls it so.
    Done(String),
    /// It was taken more than once; these are to be deleted, or somebody pays for them.
    Prune(Vec<String>),
    /// Time.
    Wait,
    /// The provider is to be asked.
    Ask,
    /// The provider took it on, and did not do it.
    NotDone,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn snapshot() -> Snapshot {
        let id = uuid::Uuid::from_u128(1);
        Snapshot {
            account: AccountId(id),
            id: SnapshotId(id),
            instance: InstanceId(id),
            operation: OperationId(id),
            display_name: "before".to_owned(),
            wanted: true,
            snapshot_ref: None,
            unsure_until: None,
            image: ImageId(id),
            image_code: String::new(),
            created_at: now(),
        }
    }

    fn found(name: &str, ready: bool) -> Found {
        Found {
            snapshot_ref: name.to_owned(),
            ready,
        }
    }

    #[test]
    fn a_snapshot_is_asked_for_only_when_none_can_show_up() {
        let unsure = Snapshot {
            unsure_until: Some(now() + Duration::seconds(1)),
            ..snapshot()
        };
        assert_eq!(snapshot().taking(&[], false, None, now()), Taking::Ask);
        assert_eq!(snapshot().taking(&[], true, None, now()), Taking::Wait);
        assert_eq!(unsure.taking(&[], false, None, now()), Taking::Wait);
        let later = now() + Duration::seconds(1);
        assert_eq!(unsure.taking(&[], false, None, later), Taking::Ask);
    }

    #[test]
    fn one_that_was_taken_on_is_waited_for_and_then_given_up() {
        let taking = |at| snapshot().taking(&[], false, Some(now()), at);
        assert_eq!(taking(now() + SETTLE - Duration::seconds(1)), Taking::Wait);
        assert_eq!(taking(now() + SETTLE), Taking::NotDone);
        assert_eq!(
            snapshot().taking(&[], true, Some(now()), now() + SETTLE),
            Taking::Wait
        );
    }

    #[test]
    fn it_is_done_when_it_is_whole_alone_and_the_machine_idle() {
        let whole = [found("1", true)];
        let taking = |found: &[Found], busy| snapshot().taking(found, busy, None, now());
        assert_eq!(taking(&whole, false), Taking::Done("1".to_owned()));
        assert_eq!(taking(&whole, true), Taking::Wait);
        assert_eq!(taking(&[found("1", false)], false), Taking::Wait);
        let twins = [found("1", true), found("2", false)];
        assert_eq!(taking(&twins, false), Taking::Prune(vec!["2".to_owned()]));
    }

    #[test]
    fn what_it_is_follows_from_what_is_wanted_and_seen() {
        let whole = Snapshot {
            snapshot_ref: Some("1".to_owned()),
            ..snapshot()
        };
        let unwanted = Snapshot {
            wanted: false,
            ..whole.clone()
        };
        let states = [snapshot(), whole, unwanted].map(|s| s.state().as_str());
        assert_eq!(states, ["CREATING", "AVAILABLE", "DELETING"]);
    }
}
