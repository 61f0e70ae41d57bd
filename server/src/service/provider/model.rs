//! The rules of provider accounts. Pure.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::id::{PlanId, ProviderAccountId};
use crate::base::vault::Sealed;
use crate::provider::compute::cloud::Standing;
use crate::provider::compute::line::trust::Trust;
use crate::provider::compute::{ProviderError, vendor::Vendor};

/// Fields of an account that staff may change.
pub const WRITABLE: &[&str] = &[
    "display_name",
    "region_codes",
    "plan_ids",
    "weight",
    "machine_limit",
    "call_limit",
    "certificate_authorities",
    "certificate_fingerprint",
];

/// How an account was when last asked for, as the contract numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not asked for yet.
    Unknown = 1,
    /// It answers.
    Ok = 2,
    /// Not accepted.
    Unauthorized = 3,
    /// No answer, or a failure.
    Unreachable = 4,
}

impl Health {
    /// From its stored form.
    pub fn from_number(number: i16) -> Self {
        match number {
            2 => Self::Ok,
            3 => Self::Unauthorized,
            4 => Self::Unreachable,
            _ => Self::Unknown,
        }
    }
}

/// An account at a real cloud.
#[derive(Clone, Debug)]
pub struct Account {
    /// Identifier.
    pub id: ProviderAccountId,
    /// Whose cloud it is.
    pub vendor: Vendor,
    /// Name for people.
    pub display_name: String,
    /// Where the API is; the vendor's own address if empty.
    pub base_url: String,
    /// Whose certificate is taken there.
    pub trust: Trust,
    /// The token as it is stored.
    pub token: Sealed,
    /// Regions it serves; all if empty.
    pub region_codes: Vec<String>,
    /// Plans it serves; all if empty.
    pub plan_ids: Vec<Uuid>,
    /// Share of new machines.
    pub weight: i32,
    /// Machines it may have; 0 for no bound of ours.
    pub machine_limit: i32,
    /// Calls at once; 0 for the usual number.
    pub call_limit: i32,
    /// Whether it is given new machines.
    pub enabled: bool,
    /// Grows with each change by staff.
    pub revision: i64,
    /// How it was.
    pub health: Health,
    /// The provider's words.
    pub health_message: String,
    /// When it was asked for.
    pub checked_at: Option<DateTime<Utc>>,
    /// Machines the provider lets it have, if it says so.
    pub provider_machine_limit: Option<i32>,
    /// What is owed, in the provider's words.
    pub provider_balance: String,
    /// When it was connected.
    pub created_at: DateTime<Utc>,
    /// When staff last changed it.
    pub updated_at: DateTime<Utc>,
}

/// What an account was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub health: Health,
    /// The provider's words.
    pub message: String,
    /// What the provider says of it, if it answered.
    pub standing: Option<Standing>,
}

impl Finding {
    /// What the answer of a provider means for the health of an account.
    pub fn of(answer: Result<Standing, ProviderError>) -> Self {
        match answer {
            Ok(standing) => Self {
                health: Health::Ok,
                message: String::new(),
                standing: Some(standing),
            },
            Err(error) => Self {
                health: match error {
                    ProviderError::Unauthorized(_) => Health::Unauthorized,
                    _ => Health::Unreachable,
                },
                message: error.to_string(),
                standing: None,
            },
        }
    }
}

/// Why no account takes a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAccount {
    /// None serves the plan in the region, or those that do are not accepted at present. That can change.
    NoneServes,
    /// All that serve it are full.
    AllFull,
}

impl Account {
    fn serves(&self, plan: PlanId, region: &str) -> bool {
        self.enabled
            && self.weight > 0
            && self.health != Health::Unauthorized
            && (self.plan_ids.is_empty() || self.plan_ids.contains(&plan.0))
            && (self.region_codes.is_empty() || self.region_codes.iter().any(|r| r == region))
    }

    /// Machines there is room for, given how many of ours it has.
    fn headroom(&self, machines: i64) -> i64 {
        let bounds = [
            (self.machine_limit > 0).then_some(self.machine_limit),
            self.provider_machine_limit,
        ];
        let bound = bounds.into_iter().flatten().min();
        bound.map_or(i64::MAX, |bound| i64::from(bound) - machines)
    }
}

/// The account for a new machine: of those that serve it and have room, the one furthest behind its share; one that did not answer when last asked for only where no other
/// can. `machines` says how many of ours each has.
///
/// # Errors
/// Why there is none.
pub fn choose<S: std::hash::BuildHasher>(
    accounts: &[Account],
    machines: &HashMap<ProviderAccountId, i64, S>,
    plan: PlanId,
    region: &str,
) -> Result<ProviderAccountId, NoAccount> {
    let has = |a: &Account| machines.get(&a.id).copied().unwrap_or(0);
    let serving: Vec<&Account> = accounts.iter().filter(|a| a.serves(plan, region)).collect();
    if serving.is_empty() {
        return Err(NoAccount::NoneServes);
    }
    serving
        .into_iter()
        .filter(|a| a.headroom(has(a)) > 0)
        // (n + 1) / w of one against that of another, without fractions.
        .min_by(|a, b| {
            let (left, right) = (
                (has(a) + 1) * i64::from(b.weight),
                (has(b) + 1) * i64::from(a.weight),
            );
            let silent = |account: &Account| account.health == Health::Unreachable;
            silent(a)
                .cmp(&silent(b))
                .then(left.cmp(&right))
                .then(a.id.cmp(&b.id))
        })
        .map(|a| a.id)
        .ok_or(NoAccount::AllFull)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u128, weight: i32) -> Account {
        let at = "2026-11-21T00:00:00Z".parse().unwrap();
        Account {
            id: ProviderAccountId(Uuid::from_u128(number)),
            vendor: Vendor::DigitalOcean,
            display_name: number.to_string(),
            base_url: String::new(),
            trust: Trust::default(),
            token: Sealed {
                key_id: String::new(),
                bytes: Vec::new(),
            },
            region_codes: Vec::new(),
            plan_ids: Vec::new(),
            weight,
            machine_limit: 0,
            call_limit: 0,
            enabled: true,
            revision: 1,
            health: Health::Unknown,
            health_message: String::new(),
            checked_at: None,
            provider_machine_limit: None,
            provider_balance: String::new(),
            created_at: at,
            updated_at: at,
        }
    }

    const PLAN: PlanId = PlanId(Uuid::from_u128(9));

    /// Numbers of machines after so many choices.
    fn spread(accounts: &[Account], count: usize) -> Vec<i64> {
        let mut machines = HashMap::new();
        for _ in 0..count {
            if let Ok(id) = choose(accounts, &machines, PLAN, "sgp1") {
                *machines.entry(id).or_insert(0) += 1;
            }
        }
        accounts
            .iter()
            .map(|a| machines.get(&a.id).copied().unwrap_or(0))
            .collect()
    }

    #[test]
    fn machines_are_spread_by_weight() {
        let accounts = [account(1, 3), account(2, 1), account(3, 0)];
        assert_eq!(spread(&accounts, 40), [30, 10, 0]);
    }

    #[test]
    fn a_full_account_leaves_its_share_to_the_others() {
        let small = Account {
            machine_limit: 5,
            provider_machine_limit: Some(2),
            ..account(1, 100)
        };
        let also = Account {
            machine_limit: 3,
            provider_machine_limit: Some(20),
            ..account(2, 1)
        };
        assert_eq!(spread(&[small.clone(), also.clone()], 10), [2, 3]);
        let full = HashMap::from([(small.id, 2)]);
        assert_eq!(
            choose(&[small], &full, PLAN, "sgp1"),
            Err(NoAccount::AllFull)
        );
    }

    #[test]
    fn an_account_that_does_not_answer_is_the_last_to_be_chosen() {
        let silent = Account {
            health: Health::Unreachable,
            ..account(1, 100)
        };
        let small = Account {
            machine_limit: 2,
            ..account(2, 1)
        };
        assert_eq!(spread(&[silent, small], 5), [3, 2]);
    }

    #[test]
    fn only_accounts_that_serve_plan_and_region_are_chosen() {
        let none = HashMap::new();
        let elsewhere = Account {
            region_codes: vec!["fra1".to_owned()],
            ..account(1, 1)
        };
        let other_plan = Account {
            plan_ids: vec![Uuid::from_u128(8)],
            ..account(2, 1)
        };
        let disabled = Account {
            enabled: false,
            ..account(3, 1)
        };
        let refused = Account {
            health: Health::Unauthorized,
            ..account(4, 1)
        };
        let useless = [elsewhere, other_plan, disabled, refused];
        assert_eq!(
            choose(&useless, &none, PLAN, "sgp1"),
            Err(NoAccount::NoneServes)
        );
        let serving = Account {
            region_codes: vec!["sgp1".to_owned()],
            plan_ids: vec![PLAN.0],
            health: Health::Unreachable,
            ..account(5, 1)
        };
        let id = serving.id;
        let all: Vec<Account> = useless.into_iter().chain([serving]).collect();
        assert_eq!(choose(&all, &none, PLAN, "sgp1"), Ok(id));
    }
}
