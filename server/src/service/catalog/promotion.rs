//! Promotions of plans: a lower price for a time. The rules are pure; the catalogue, a preview and an order ask the same functions.
//!
//! Those that are switched on are in the catalogue in memory, so that an order of a plan without one is priced as if there were none at all. Limits are counted under
//! the row's lock, in the transaction of the order.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;

use crate::base::id::{AccountId, OrderId, PlanId, PlanPromotionId};
use crate::base::money::{Rupiah, Value};
use crate::service::catalog::error::Error;
use crate::service::catalog::store::{self, promotions};

/// Fields of a promotion that staff may change.
pub const FIELDS: &[&str] = &[
    "display_name",
    "enabled",
    "end_time",
    "total_limit",
    "account_limit",
];

/// A lower price of plans for a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanPromotion {
    /// Identifier.
    pub id: PlanPromotionId,
    /// Name, for customers.
    pub display_name: String,
    /// For sandbox accounts, or for the others.
    pub sandbox: bool,
    /// Whether it is given at present.
    pub enabled: bool,
    /// How much it takes off.
    pub value: Value,
    /// Only for these plans; for all if empty.
    pub plans: Vec<PlanId>,
    /// Only for these periods, by number; for all if empty.
    pub periods: Vec<i16>,
    /// Whether renewals cost the lower price too.
    pub renewals: bool,
    /// Whether only accounts get it that have no order yet.
    pub new_customers_only: bool,
    /// How many orders get it at most; 0 for no limit.
    pub total_limit: i32,
    /// How many orders of one account get it at most; 0 for no limit.
    pub account_limit: i32,
    /// Given from then on.
    pub starts_at: DateTime<Utc>,
    /// Given before then.
    pub ends_at: Option<DateTime<Utc>>,
    /// Orders that have it.
    pub uses: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What is bought, as promotions and coupons see it.
#[derive(Clone, Copy, Debug)]
pub struct Goods {
    /// The plan.
    pub plan: PlanId,
    /// For which span.
    pub period: BillingPeriod,
    /// Its price without tax.
    pub price: Rupiah,
}

impl Goods {
    /// What a value takes off the price. At least one rupiah is left, because an order of nothing could not be held.
    pub fn less(&self, value: Value) -> Rupiah {
        value.of(self.price).min(Rupiah(self.price.0 - 1))
    }
}

/// Who buys, as promotions see them.
#[derive(Clone, Copy, Debug)]
pub struct Buyer {
    /// The account; `None` for staff, who see what a new account would.
    pub account: Option<AccountId>,
    /// Whether it has no order yet, apart from those that ended without a machine.
    pub is_new: bool,
}

/// What a promotion takes off an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// The promotion.
    pub promotion: PlanPromotionId,
    /// Its name.
    pub display_name: String,
    /// How much it takes off the price.
    pub amount: Rupiah,
    /// Whether renewals cost the lower price too.
    pub renews: bool,
}

/// A reduction that is there for the taking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it takes off.
    pub reduction: Reduction,
    /// Whether it is for accounts without orders.
    pub new_customers_only: bool,
    /// Until when.
    pub ends_at: Option<DateTime<Utc>>,
}

impl PlanPromotion {
    /// What it offers for these goods at a moment, if anything is left of it.
    pub fn offer(&self, goods: &Goods, at: DateTime<Utc>) -> Option<Offer> {
        let is_for = |period: &i16| i32::from(*period) == goods.period as i32;
        let amount = goods.less(self.value);
        let is_open = self.enabled
            && at >= self.starts_at
            && self.ends_at.is_none_or(|end| at < end)
            && (self.plans.is_empty() || self.plans.contains(&goods.plan))
            && (self.periods.is_empty() || self.periods.iter().any(is_for))
            && (self.total_limit == 0 || self.uses < self.total_limit)
            && amount > Rupiah::ZERO;
        is_open.then(|| Offer {
            reduction: Reduction {
                promotion: self.id,
                display_name: self.display_name.clone(),
                amount,
                renews: self.renewals,
            },
            new_customers_only: self.new_customers_only,
            ends_at: self.ends_at,
        })
    }

    /// Whether somebody may use it who did so `used` times.
    fn is_for(&self, is_new: bool, used: i64) -> bool {
        (is_new || !self.new_customers_only)
            && (self.account_limit == 0 || used < i64::from(self.account_limit))
    }
}

/// Sorts offers: what takes most off comes first, of two that take the same the older.
pub fn rank(offers: &mut [Offer]) {
    let key = |offer: &Offer| {
        let reduction = &offer.reduction;
        (std::cmp::Reverse(reduction.amount), reduction.promotion)
    };
    offers.sort_by_key(key);
}

/// The offer that takes most off, of those that somebody may use who used each so often.
fn best(
    promotions: &[PlanPromotion],
    used: &[i64],
    is_new: bool,
    goods: &Goods,
    at: DateTime<Utc>,
) -> Option<Offer> {
    let usable = promotions.iter().zip(used);
    let usable = usable.filter(|(promotion, used)| promotion.is_for(is_new, **used));
    let mut offers: Vec<Offer> = usable
        .filter_map(|(promotion, _)| promotion.offer(goods, at))
        .collect();
    rank(&mut offers);
    offers.into_iter().next()
}

/// What an order would be given now, of these promotions. Limits may be reached before it is placed.
///
/// # Errors
/// Of the database.
pub async fn look(
    connection: &mut PgConnection,
    ids: &[PlanPromotionId],
    buyer: Buyer,
    goods: &Goods,
    now: DateTime<Utc>,
) -> Result<Option<Offer>, sqlx::Error> {
    let found = promotions::get_many(connection, ids).await?;
    decide(connection, &found, buyer, goods, now).await
}

/// The promotions that may be given to an order that is placed in this transaction. The locks make the limits hold: whoever places at the same time waits, and then sees
/// the new counts.
///
/// # Errors
/// Of the database.
pub async fn open_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    goods: &Goods,
    now: DateTime<Utc>,
) -> Result<Vec<PlanPromotion>, sqlx::Error> {
    promotions::open_for_update(connection, account, goods, now).await
}

/// What an order is given of these promotions.
///
/// # Errors
/// Of the database.
pub async fn decide(
    connection: &mut PgConnection,
    found: &[PlanPromotion],
    buyer: Buyer,
    goods: &Goods,
    now: DateTime<Utc>,
) -> Result<Option<Offer>, sqlx::Error> {
    let used = match buyer.account {
        Some(account) => promotions::count(connection, found, account).await?,
        None => vec![0; found.len()],
    };
    Ok(best(found, &used, buyer.is_new, goods, now))
}

/// Writes down that an order placed in this transaction has what [`decide`] gave it.
///
/// # Errors
/// Of the database.
pub async fn give(
    connection: &mut PgConnection,
    (account, order): (AccountId, OrderId),
    reduction: &Reduction,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    promotions::insert_use(connection, account, order, reduction, now).await
}

/// Takes the promotion back from an order that ended without a machine. Saying it again changes nothing.
///
/// # Errors
/// Of the database.
pub async fn give_back(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    promotions::return_use(connection, account, order, now).await
}

/// Makes a promotion.
///
/// # Errors
/// If a value makes no sense, or there is no such plan.
pub async fn create(connection: &mut PgConnection, promotion: &PlanPromotion) -> Result<(), Error> {
    check_end("end_time", promotion)?;
    if store::count_plans(connection, &promotion.plans).await? < promotion.plans.len() {
        return Err(Error::PlanNotFound);
    }
    promotions::insert(connection, promotion).await?;
    store::advance_version(connection).await?;
    Ok(())
}

/// What an update asks for.
pub struct Changes<'c> {
    /// The fields to change.
    pub fields: &'c [&'static str],
    /// The new name.
    pub display_name: String,
    /// The new switch.
    pub enabled: bool,
    /// The new end; `None` for none.
    pub ends_at: Option<DateTime<Utc>>,
    /// The new limit in all. One below what was used already ends it, and is kept as what was used.
    pub total_limit: i32,
    /// The new limit for each account.
    pub account_limit: i32,
}

/// Changes a promotion that is locked.
///
/// # Errors
/// If a value makes no sense.
pub async fn update(
    connection: &mut PgConnection,
    mut promotion: PlanPromotion,
    changes: Changes<'_>,
) -> Result<PlanPromotion, Error> {
    for field in changes.fields {
        match *field {
            "display_name" => promotion.display_name.clone_from(&changes.display_name),
            "enabled" => promotion.enabled = changes.enabled,
            "end_time" => promotion.ends_at = changes.ends_at,
            "total_limit" => {
                promotion.total_limit = match changes.total_limit {
                    0 => 0,
                    limit => limit.max(promotion.uses),
                }
            }
            _ => promotion.account_limit = changes.account_limit,
        }
    }
    if promotion.display_name.trim().is_empty() {
        return Err(Error::Invalid {
            field: "promotion.display_name",
            rule: "STRING_MIN_LEN",
            must: "must have at least 1 character",
        });
    }
    check_end("promotion.end_time", &promotion)?;
    promotions::update(connection, &promotion).await?;
    store::advance_version(connection).await?;
    Ok(promotion)
}

fn check_end(field: &'static str, promotion: &PlanPromotion) -> Result<(), Error> {
    let start = promotion.starts_at;
    if promotion.ends_at.is_some_and(|end| end <= start) {
        return Err(Error::Invalid {
            field,
            rule: "AFTER_START",
            must: "must be after the start",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-05-03T12:00:00Z".parse().expect("a time")
    }

    fn promotion(number: u128, value: Value) -> PlanPromotion {
        PlanPromotion {
            id: PlanPromotionId(Uuid::from_u128(number)),
            display_name: format!("P{number}"),
            sandbox: false,
            enabled: true,
            value,
            plans: vec![PlanId(Uuid::nil())],
            periods: vec![BillingPeriod::Month as i16],
            renewals: false,
            new_customers_only: false,
            total_limit: 5,
            account_limit: 2,
            starts_at: noon(),
            ends_at: Some(noon() + chrono::TimeDelta::days(1)),
            uses: 4,
            created_at: noon(),
        }
    }

    const GOODS: Goods = Goods {
        plan: PlanId(Uuid::nil()),
        period: BillingPeriod::Month,
        price: Rupiah(10_000),
    };

    fn taken(promotion: &PlanPromotion, goods: Goods, hours: i64) -> Option<i64> {
        let at = noon() + chrono::TimeDelta::hours(hours);
        let offer = promotion.offer(&goods, at);
        offer.map(|offer| offer.reduction.amount.0)
    }

    #[test]
    fn each_condition_closes_it() {
        let open = promotion(1, Value::Fixed(Rupiah(3_000)));
        assert_eq!(taken(&open, GOODS, 0), Some(3_000));
        assert_eq!(taken(&open, GOODS, -1), None, "not begun");
        assert_eq!(taken(&open, GOODS, 24), None, "over");
        let closed = [
            PlanPromotion {
                enabled: false,
                ..open.clone()
            },
            PlanPromotion {
                uses: 5,
                ..open.clone()
            },
        ];
        for promotion in closed {
            assert_eq!(taken(&promotion, GOODS, 0), None);
        }
        let plan = PlanId(Uuid::from_u128(1));
        assert_eq!(taken(&open, Goods { plan, ..GOODS }, 0), None);
        let period = BillingPeriod::Day;
        assert_eq!(taken(&open, Goods { period, ..GOODS }, 0), None);
        let price = Rupiah(1);
        let free = Goods { price, ..GOODS };
        assert_eq!(taken(&open, free, 0), None, "nothing could be left");
        let general = PlanPromotion {
            plans: Vec::new(),
            periods: Vec::new(),
            ..open
        };
        assert_eq!(taken(&general, Goods { plan, ..GOODS }, 0), Some(3_000));
    }

    #[test]
    fn something_is_always_left_to_pay() {
        let whole = Value::Percent {
            basis_points: 10_000,
            cap: None,
        };
        for value in [whole, Value::Fixed(Rupiah(1_000_000))] {
            assert_eq!(taken(&promotion(1, value), GOODS, 0), Some(9_999));
        }
    }

    #[test]
    fn the_best_that_may_be_used_is_given() {
        let fixed = |number, amount| promotion(number, Value::Fixed(Rupiah(amount)));
        let newcomers = PlanPromotion {
            new_customers_only: true,
            ..fixed(1, 5_000)
        };
        let all = [newcomers, fixed(2, 3_000), fixed(3, 3_000), fixed(4, 10)];
        let given = |used: [i64; 4], is_new| {
            let offer = best(&all, &used, is_new, &GOODS, noon());
            offer.map(|offer| offer.reduction.promotion.0.as_u128())
        };
        assert_eq!(given([0; 4], true), Some(1));
        assert_eq!(given([0; 4], false), Some(2));
        assert_eq!(given([2, 2, 1, 0], true), Some(3));
        assert_eq!(given([2, 2, 2, 1], true), Some(4));
        assert_eq!(given([2; 4], true), None);
    }
}
