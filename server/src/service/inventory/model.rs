//! The rules of the inventory: what may be put right, and when. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::inventory::v1::inventory_finding::{Outcome, Reason, Repair};
use uuid::Uuid;

use crate::base::id::{InventoryFindingId, InventoryRunId, ProviderAccountId};
use crate::service::provider::compare::Difference;

/// Fewer instances than this may all be gone at once without anybody's doubting the list.
const FEW: usize = 3;

/// What may be put right by itself in a provider account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Minutes between two runs; 0 for none.
    pub interval_minutes: i32,
    /// Minutes before machines are destroyed; `None` for never.
    pub destroy_after_minutes: Option<i32>,
    /// Minutes before instances are looked at again; `None` for never.
    pub look_after_minutes: Option<i32>,
    /// Machines that one run destroys at most.
    pub destroy_limit: i32,
}

/// The policy of accounts that were given none.
pub const USUAL: Policy = Policy {
    interval_minutes: 360,
    destroy_after_minutes: Some(60),
    look_after_minutes: Some(15),
    destroy_limit: 5,
};

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Identifier.
    pub id: InventoryRunId,
    /// The provider account.
    pub account: ProviderAccountId,
    /// True if it changes nothing.
    pub dry_run: bool,
    /// `PENDING`, `RUNNING`, `DONE` or `FAILED`.
    pub state: String,
    /// Who asked for it; `None` if nobody did.
    pub requested_by: Option<Uuid>,
    /// Machines the provider has.
    pub machines: i32,
    /// How many findings there are.
    pub findings: i32,
    /// What they cost a day.
    pub daily_cost: i64,
    /// Why it failed.
    pub failure: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// Something a run found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Identifier.
    pub id: InventoryFindingId,
    /// What it is.
    pub difference: Difference,
    /// Since when runs have found it without a break.
    pub first_seen_at: DateTime<Utc>,
    /// What puts it right.
    pub repair: Repair,
    /// What became of that.
    pub outcome: Outcome,
    /// In words.
    pub words: String,
}

/// What puts a difference right, of what the platform may do by itself. Machines that are not ours, or are but where nobody knows why, are for people; so are sizes, regions and
/// images, which nobody changes without the owner's wish.
pub fn repair_of(reason: Reason) -> Repair {
    match reason {
        Reason::Twin | Reason::Remains => Repair::DestroyMachine,
        Reason::Gone | Reason::Power | Reason::Address => Repair::LookAgain,
        Reason::Unspecified
        | Reason::Foreign
        | Reason::Returned
        | Reason::Elsewhere
        | Reason::Size
        | Reason::Region
        | Reason::Image => Repair::Unspecified,
    }
}

/// What is to be done about each of the differences that a run found, of which an account has sold `sold`. `first_seen` says since when a difference has been found.
pub fn decide(
    differences: Vec<Difference>,
    sold: usize,
    policy: &Policy,
    now: DateTime<Utc>,
    first_seen: impl Fn(&Difference) -> Option<DateTime<Utc>>,
) -> Vec<Finding> {
    let gone = differences
        .iter()
        .filter(|d| d.reason == Reason::Gone)
        .count();
    let doubtful = gone >= FEW && gone * 2 > sold;
    let mut left = policy.destroy_limit;
    let mut findings = Vec::with_capacity(differences.len());
    for difference in differences {
        let first_seen_at = first_seen(&difference).unwrap_or(now);
        let repair = repair_of(difference.reason);
        let after = match repair {
            Repair::DestroyMachine => policy.destroy_after_minutes,
            Repair::LookAgain => policy.look_after_minutes,
            Repair::Unspecified => None,
        };
        let due = after.map(|minutes| first_seen_at + TimeDelta::minutes(i64::from(minutes)));
        let (outcome, words) = match due {
            _ if repair == Repair::Unspecified => (Outcome::Unspecified, ""),
            None => (Outcome::Waiting, "the policy does not allow it"),
            Some(due) if due > now => (Outcome::Waiting, "not found for long enough"),
            Some(_) if doubtful && difference.reason == Reason::Gone => (
                Outcome::Skipped,
                "most machines of the account are missing at once: look whether the provider's list can be right",
            ),
            Some(_) if repair == Repair::DestroyMachine && left <= 0 => (
                Outcome::Skipped,
                "the run has destroyed as many machines as it may",
            ),
            Some(_) => {
                left -= i32::from(repair == Repair::DestroyMachine);
                (Outcome::Planned, "")
            }
        };
        findings.push(Finding {
            id: InventoryFindingId::new(),
            difference,
            first_seen_at,
            repair,
            outcome,
            words: words.to_owned(),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use sewa_sdk::sewa::inventory::v1::inventory_finding::CostBasis;

    use super::*;
    use crate::base::money::Rupiah;

    fn now() -> DateTime<Utc> {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn found(reason: Reason) -> Difference {
        Difference {
            reason,
            machine: None,
            instance: None,
            detail: String::new(),
            daily: Rupiah(0),
            basis: CostBasis::Unspecified,
        }
    }

    fn outcomes(reasons: &[Reason], sold: usize, policy: &Policy, minutes: i64) -> Vec<Outcome> {
        let since = now() - TimeDelta::minutes(minutes);
        let differences = reasons.iter().map(|r| found(*r)).collect();
        decide(differences, sold, policy, now(), |_| Some(since))
            .into_iter()
            .map(|finding| finding.outcome)
            .collect()
    }

    #[test]
    fn only_what_is_ours_and_needed_by_nobody_is_ever_destroyed() {
        for reason in (0..12).filter_map(|n| Reason::try_from(n).ok()) {
            let destroys = repair_of(reason) == Repair::DestroyMachine;
            assert_eq!(
                destroys,
                matches!(reason, Reason::Twin | Reason::Remains),
                "{reason:?}"
            );
        }
    }

    #[test]
    fn a_repair_waits_as_long_as_the_policy_says() {
        use Outcome::{Planned, Unspecified, Waiting};
        let all = [Reason::Twin, Reason::Power, Reason::Size];
        assert_eq!(
            outcomes(&all, 9, &USUAL, 14),
            [Waiting, Waiting, Unspecified]
        );
        assert_eq!(
            outcomes(&all, 9, &USUAL, 15),
            [Waiting, Planned, Unspecified]
        );
        assert_eq!(
            outcomes(&all, 9, &USUAL, 60),
            [Planned, Planned, Unspecified]
        );
        let never = Policy {
            destroy_after_minutes: None,
            look_after_minutes: None,
            ..USUAL
        };
        assert_eq!(
            outcomes(&all, 9, &never, 9999),
            [Waiting, Waiting, Unspecified]
        );
    }

    #[test]
    fn a_run_destroys_no_more_than_it_may() {
        let policy = Policy {
            destroy_limit: 1,
            ..USUAL
        };
        let both = [Reason::Twin, Reason::Remains, Reason::Power];
        assert_eq!(
            outcomes(&both, 9, &policy, 60),
            [Outcome::Planned, Outcome::Skipped, Outcome::Planned]
        );
    }

    #[test]
    fn a_list_that_misses_most_machines_is_doubted() {
        let gone = [Reason::Gone; 3];
        assert_eq!(outcomes(&gone, 5, &USUAL, 60), [Outcome::Skipped; 3]);
        assert_eq!(outcomes(&gone, 6, &USUAL, 60), [Outcome::Planned; 3]);
        assert_eq!(outcomes(&gone[..2], 2, &USUAL, 60), [Outcome::Planned; 2]);
    }
}
