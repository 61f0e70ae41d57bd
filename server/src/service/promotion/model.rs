//! The rules of promotions: what a deposit is given. Pure; a preview and the payment ask the same function.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::base::id::{AccountId, DepositId, JournalId, PromotionId};
use crate::base::money::{Rupiah, Value};

/// What is given, and to whom. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Kind {
    /// Promo credit for the payer.
    DepositBonus = 1,
    /// Cash for the payer.
    DepositCashback = 2,
    /// Promo credit with the first deposit.
    NewUserBonus = 3,
    /// Withdrawable money for whoever brought the payer here, with the payer's first deposit.
    ReferralBonus = 4,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::DepositBonus,
        Self::DepositCashback,
        Self::NewUserBonus,
        Self::ReferralBonus,
    ];

    /// From its number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i32 == number)
    }

    fn needs_first_deposit(self) -> bool {
        matches!(self, Self::NewUserBonus | Self::ReferralBonus)
    }
}

/// A promotion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// Identifier.
    pub id: PromotionId,
    /// What is given.
    pub kind: Kind,
    /// Name, for customers.
    pub display_name: String,
    /// For sandbox accounts, or for the others.
    pub sandbox: bool,
    /// Whether it is given at present.
    pub enabled: bool,
    /// How much is given.
    pub value: Value,
    /// The least that has to be credited.
    pub minimum: Rupiah,
    /// How often it is given at most; 0 for no limit.
    pub total_limit: i32,
    /// How often one account gets it at most; 0 for no limit.
    pub account_limit: i32,
    /// Whether only first deposits count.
    pub new_accounts_only: bool,
    /// Deposits opened from then on count.
    pub starts_at: DateTime<Utc>,
    /// Deposits opened before then count.
    pub ends_at: Option<DateTime<Utc>>,
    /// How often it was given.
    pub uses: i32,
    /// What was given in all.
    pub given: Rupiah,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A deposit, as promotions see it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Who pays.
    pub payer: AccountId,
    /// Who brought the payer here.
    pub referrer: Option<AccountId>,
    /// What is credited.
    pub amount: Rupiah,
    /// Whether nothing was ever paid for this account before.
    pub is_first: bool,
}

/// Something to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gift {
    /// By which promotion.
    pub promotion: PromotionId,
    /// What is given.
    pub kind: Kind,
    /// The promotion's name.
    pub display_name: String,
    /// To whom.
    pub account: AccountId,
    /// How much.
    pub amount: Rupiah,
}

/// How often each promotion was given to each account.
pub type Counts = HashMap<(PromotionId, AccountId), i64>;

/// What a deposit is given by promotions that are open for it: of each kind the one that gives most, and of two that give the same the older.
pub fn gifts(promotions: &[Promotion], counts: &Counts, facts: &Facts) -> Vec<Gift> {
    let of_kind = |kind: Kind| {
        let gifts = promotions.iter().filter(|p| p.kind == kind);
        let gifts = gifts.filter_map(|p| gift(p, counts, facts));
        gifts.max_by_key(|gift| (gift.amount, std::cmp::Reverse(gift.promotion)))
    };
    Kind::ALL.into_iter().filter_map(of_kind).collect()
}

fn gift(promotion: &Promotion, counts: &Counts, facts: &Facts) -> Option<Gift> {
    let account = match promotion.kind {
        Kind::ReferralBonus => facts.referrer?,
        Kind::DepositBonus | Kind::DepositCashback | Kind::NewUserBonus => facts.payer,
    };
    let amount = promotion.value.of(facts.amount);
    let first = promotion.new_accounts_only || promotion.kind.needs_first_deposit();
    let count = counts.get(&(promotion.id, account)).copied().unwrap_or(0);
    let is_left = |limit: i32, count: i64| limit == 0 || count < i64::from(limit);
    let qualifies = promotion.enabled
        && amount > Rupiah::ZERO
        && facts.amount >= promotion.minimum
        && (facts.is_first || !first)
        && is_left(promotion.total_limit, i64::from(promotion.uses))
        && is_left(promotion.account_limit, count);
    qualifies.then(|| Gift {
        promotion: promotion.id,
        kind: promotion.kind,
        display_name: promotion.display_name.clone(),
        account,
        amount,
    })
}

/// Something that was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// Who got it.
    pub account: AccountId,
    /// Its row.
    pub id: uuid::Uuid,
    /// By which promotion.
    pub promotion: PromotionId,
    /// Number of the kind.
    pub kind: i16,
    /// The promotion's name.
    pub display_name: String,
    /// How much.
    pub amount: Rupiah,
    /// What of it was taken back.
    pub taken: Rupiah,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A gift with the journal that gave it.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The gift.
    pub gift: Gift,
    /// For which deposit.
    pub deposit: DepositId,
    /// Whose deposit it is.
    pub payer: AccountId,
    /// The journal.
    pub journal: JournalId,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const PAYER: AccountId = AccountId(Uuid::from_u128(1));
    const REFERRER: AccountId = AccountId(Uuid::from_u128(2));

    fn promotion(number: u128, kind: Kind, value: Value) -> Promotion {
        let noon = "2026-05-03T12:00:00Z".parse().expect("a time");
        Promotion {
            id: PromotionId(Uuid::from_u128(number)),
            kind,
            display_name: format!("P{number}"),
            sandbox: false,
            enabled: true,
            value,
            minimum: Rupiah(10_000),
            total_limit: 0,
            account_limit: 0,
            new_accounts_only: false,
            starts_at: noon,
            ends_at: None,
            uses: 0,
            given: Rupiah::ZERO,
            created_at: noon,
        }
    }

    fn facts(amount: i64) -> Facts {
        Facts {
            payer: PAYER,
            referrer: Some(REFERRER),
            amount: Rupiah(amount),
            is_first: true,
        }
    }

    fn given(promotions: &[Promotion], counts: &Counts, facts: &Facts) -> Vec<(u128, i64)> {
        let gifts = gifts(promotions, counts, facts).into_iter();
        gifts
            .map(|gift| (gift.promotion.0.as_u128(), gift.amount.0))
            .collect()
    }

    #[test]
    fn parts_are_rounded_down_and_capped() {
        let percent = |basis_points, cap: Option<i64>| Value::Percent {
            basis_points,
            cap: cap.map(Rupiah),
        };
        for (value, amount, part) in [
            (percent(1000, None), 99_999, 9_999),
            (percent(1, None), 9_999, 0),
            (percent(10_000, None), 1_000_000_000, 1_000_000_000),
            (percent(1000, Some(5_000)), 99_999, 5_000),
            (Value::Fixed(Rupiah(7)), 1, 7),
        ] {
            assert_eq!(value.of(Rupiah(amount)), Rupiah(part), "{value:?}");
        }
    }

    #[test]
    fn the_best_of_each_kind_is_given() {
        let fixed = |amount| Value::Fixed(Rupiah(amount));
        let promotions = [
            promotion(1, Kind::DepositBonus, fixed(500)),
            promotion(2, Kind::DepositBonus, fixed(900)),
            promotion(3, Kind::DepositBonus, fixed(900)),
            promotion(4, Kind::DepositCashback, fixed(100)),
            promotion(5, Kind::ReferralBonus, fixed(50)),
        ];
        let none = Counts::new();
        assert_eq!(
            given(&promotions, &none, &facts(10_000)),
            [(2, 900), (4, 100), (5, 50)]
        );
        assert_eq!(given(&promotions, &none, &facts(9_999)), []);
        let known = Facts {
            is_first: false,
            ..facts(10_000)
        };
        assert_eq!(given(&promotions, &none, &known), [(2, 900), (4, 100)]);
        let unreferred = Facts {
            referrer: None,
            ..facts(10_000)
        };
        assert_eq!(given(&promotions, &none, &unreferred), [(2, 900), (4, 100)]);
    }

    #[test]
    fn a_limit_that_is_reached_leaves_the_next_best() {
        let fixed = |amount| Value::Fixed(Rupiah(amount));
        let limited = Promotion {
            account_limit: 2,
            ..promotion(1, Kind::DepositBonus, fixed(900))
        };
        let other = promotion(2, Kind::DepositBonus, fixed(100));
        let counts = |count| Counts::from([((limited.id, PAYER), count)]);
        let both = [limited.clone(), other.clone()];
        assert_eq!(given(&both, &counts(1), &facts(10_000)), [(1, 900)]);
        assert_eq!(given(&both, &counts(2), &facts(10_000)), [(2, 100)]);
        let used_up = Promotion {
            total_limit: 5,
            uses: 5,
            ..limited.clone()
        };
        let off = Promotion {
            enabled: false,
            ..limited
        };
        for gone in [used_up, off] {
            let both = [gone, other.clone()];
            assert_eq!(given(&both, &Counts::new(), &facts(10_000)), [(2, 100)]);
        }
    }
}
