//! Coupons: what they take off an order, and when they do not. The rules are pure; a preview and an order ask the same function.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::id::{AccountId, CouponId, OrderId, PlanId};
use crate::base::money::{Rupiah, Value};
use crate::service::catalog::promotion::Goods;
use crate::service::promotion::store::coupons;

/// A coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// Identifier.
    pub id: CouponId,
    /// What customers type in.
    pub code: String,
    /// Name, for customers.
    pub display_name: String,
    /// For sandbox accounts, or for the others.
    pub sandbox: bool,
    /// Whether it is taken at present.
    pub enabled: bool,
    /// How much it takes off.
    pub value: Value,
    /// The least the price has to be.
    pub minimum: Rupiah,
    /// Only for these plans; for all if empty.
    pub plans: Vec<PlanId>,
    /// Only for these periods, by number; for all if empty.
    pub periods: Vec<i16>,
    /// How often it is taken at most; 0 for no limit.
    pub total_limit: i32,
    /// How often one account may use it; 0 for no limit.
    pub account_limit: i32,
    /// Taken from then on.
    pub starts_at: DateTime<Utc>,
    /// Taken before then.
    pub ends_at: Option<DateTime<Utc>>,
    /// Orders that use it.
    pub uses: i32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Why a coupon is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// There is none with the code, it is not for this kind of account, or it is switched off.
    Unknown,
    /// It is not taken yet.
    NotStarted,
    /// It is not taken any more.
    Ended,
    /// It is for other plans.
    OtherPlan,
    /// It is for other periods.
    OtherPeriod,
    /// The price is too low.
    BelowMinimum,
    /// It was used as often as it may.
    UsedUp,
    /// This account used it as often as it may.
    UsedByAccount,
}

impl WhyNot {
    /// As the contract says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::NotStarted => "NOT_STARTED",
            Self::Ended => "ENDED",
            Self::OtherPlan => "OTHER_PLAN",
            Self::OtherPeriod => "OTHER_PERIOD",
            Self::BelowMinimum => "BELOW_MINIMUM",
            Self::UsedUp => "USED_UP",
            Self::UsedByAccount => "USED_BY_ACCOUNT",
        }
    }
}

impl Coupon {
    /// What it takes off the price of one order, of an account that used it `used` times. At least one rupiah of the price is left, because an order of nothing could
    /// not be held.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn discount(&self, goods: &Goods, used: i64, now: DateTime<Utc>) -> Result<Rupiah, WhyNot> {
        let is_for = |period: &i16| i32::from(*period) == goods.period as i32;
        let discount = goods.less(self.value);
        if !self.enabled {
            Err(WhyNot::Unknown)
        } else if now < self.starts_at {
            Err(WhyNot::NotStarted)
        } else if self.ends_at.is_some_and(|end| now >= end) {
            Err(WhyNot::Ended)
        } else if !self.plans.is_empty() && !self.plans.contains(&goods.plan) {
            Err(WhyNot::OtherPlan)
        } else if !self.periods.is_empty() && !self.periods.iter().any(is_for) {
            Err(WhyNot::OtherPeriod)
        } else if goods.price < self.minimum || discount <= Rupiah::ZERO {
            Err(WhyNot::BelowMinimum)
        } else if self.total_limit > 0 && self.uses >= self.total_limit {
            Err(WhyNot::UsedUp)
        } else if self.account_limit > 0 && used >= i64::from(self.account_limit) {
            Err(WhyNot::UsedByAccount)
        } else {
            Ok(discount)
        }
    }
}

/// What a coupon takes off an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    /// The coupon.
    pub coupon: CouponId,
    /// Its code.
    pub code: String,
    /// How much it takes off the price.
    pub amount: Rupiah,
}

/// Why there is no discount.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The coupon is not taken.
    #[error("the coupon is not taken: {}", .0.as_str())]
    NotTaken(WhyNot),
    /// The database failed.
    #[error("database")]
    Database(#[from] sqlx::Error),
}

/// What a coupon would take off an order now. Limits may be reached before the order is placed.
///
/// # Errors
/// If it is not taken; of the database.
pub async fn look(
    connection: &mut PgConnection,
    account: Option<AccountId>,
    sandbox: bool,
    code: &str,
    goods: &Goods,
    now: DateTime<Utc>,
) -> Result<Discount, Error> {
    let found = coupons::find(connection, code, sandbox).await?;
    let coupon = found.ok_or(Error::NotTaken(WhyNot::Unknown))?;
    let used = match account {
        Some(account) => coupons::count(connection, coupon.id, account).await?,
        None => 0,
    };
    let amount = coupon.discount(goods, used, now).map_err(Error::NotTaken)?;
    Ok(Discount {
        coupon: coupon.id,
        code: coupon.code,
        amount,
    })
}

/// Uses a coupon for an order that is placed in this transaction. The lock makes the limits hold: whoever uses it at the same time waits, and then sees the new counts.
///
/// # Errors
/// If it is not taken, or no longer for as much; of the database.
pub async fn redeem(
    connection: &mut PgConnection,
    (account, order): (AccountId, OrderId),
    discount: &Discount,
    goods: &Goods,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let found = coupons::get_for_update(connection, discount.coupon).await?;
    let coupon = found.ok_or(Error::NotTaken(WhyNot::Unknown))?;
    let used = coupons::count(connection, coupon.id, account).await?;
    let amount = coupon.discount(goods, used, now).map_err(Error::NotTaken)?;
    if amount != discount.amount {
        return Err(Error::NotTaken(WhyNot::Unknown));
    }
    coupons::insert_redemption(connection, account, order, discount, now).await?;
    Ok(())
}

/// Gives back the coupon of an order that failed or was called off. Saying it again changes nothing.
///
/// # Errors
/// Of the database.
pub async fn give_back(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    coupons::return_redemption(connection, account, order, now).await
}

#[cfg(test)]
mod tests {
    use sewa_sdk::sewa::api::v1::BillingPeriod;
    use uuid::Uuid;

    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-05-03T12:00:00Z".parse().expect("a time")
    }

    fn coupon(value: Value) -> Coupon {
        Coupon {
            id: CouponId(Uuid::nil()),
            code: "RAYA".to_owned(),
            display_name: "Raya".to_owned(),
            sandbox: false,
            enabled: true,
            value,
            minimum: Rupiah(10_000),
            plans: vec![PlanId(Uuid::nil())],
            periods: vec![BillingPeriod::Month as i16],
            total_limit: 5,
            account_limit: 2,
            starts_at: noon(),
            ends_at: Some(noon() + chrono::TimeDelta::days(1)),
            uses: 4,
            created_at: noon(),
        }
    }

    #[test]
    fn each_condition_has_its_reason() {
        let raya = coupon(Value::Fixed(Rupiah(3_000)));
        let goods = Goods {
            plan: PlanId(Uuid::nil()),
            period: BillingPeriod::Month,
            price: Rupiah(10_000),
        };
        let taken = |coupon: &Coupon, goods: Goods, used| coupon.discount(&goods, used, noon());
        assert_eq!(taken(&raya, goods, 1), Ok(Rupiah(3_000)));
        let off = Coupon {
            enabled: false,
            ..raya.clone()
        };
        assert_eq!(taken(&off, goods, 0), Err(WhyNot::Unknown));
        let used_up = Coupon {
            uses: 5,
            ..raya.clone()
        };
        assert_eq!(taken(&used_up, goods, 0), Err(WhyNot::UsedUp));
        assert_eq!(taken(&raya, goods, 2), Err(WhyNot::UsedByAccount));
        let plan = PlanId(Uuid::from_u128(1));
        let other = Goods { plan, ..goods };
        assert_eq!(taken(&raya, other, 0), Err(WhyNot::OtherPlan));
        let period = BillingPeriod::Day;
        let other = Goods { period, ..goods };
        assert_eq!(taken(&raya, other, 0), Err(WhyNot::OtherPeriod));
        let price = Rupiah(9_999);
        let cheap = Goods { price, ..goods };
        assert_eq!(taken(&raya, cheap, 0), Err(WhyNot::BelowMinimum));
        let at = |hours| raya.discount(&goods, 0, noon() + chrono::TimeDelta::hours(hours));
        assert_eq!(at(-1), Err(WhyNot::NotStarted));
        assert_eq!(at(24), Err(WhyNot::Ended));
    }

    #[test]
    fn something_is_always_left_to_pay() {
        let goods = Goods {
            plan: PlanId(Uuid::nil()),
            period: BillingPeriod::Month,
            price: Rupiah(10_000),
        };
        let whole = Value::Percent {
            basis_points: 10_000,
            cap: None,
        };
        for value in [whole, Value::Fixed(Rupiah(1_000_000))] {
            let discount = coupon(value).discount(&goods, 0, noon());
            assert_eq!(discount, Ok(Rupiah(9_999)));
        }
    }
}
