//! What is given with deposits, and taken off orders.
//!
//! Owns: `promotions`, `promotion_uses`, `coupons`, `coupon_redemptions`. Calls: catalog (what is bought). Reads `accounts` of identity. Emits: nothing; the wallet, which posts what is given, tells of it.
//!
//! A deposit asks in three steps, within its own transaction: [`offers_for_update`] locks the promotions that are open for it, [`gifts`] decides, [`record`] counts.
//! The lock is what makes limits hold: whoever pays at the same time waits for it and then sees the new counts. Coupons (`coupon.rs`) do the same with orders.

pub mod convert;
pub mod coupon;
pub mod error;
pub mod model;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::id::AccountId;
use crate::base::money::Rupiah;
use crate::service::promotion::coupon::Coupon;
use crate::service::promotion::error::Error;
use crate::service::promotion::model::{Facts, Gift, Posted, Promotion};

/// The promotions that are open for a deposit.
pub struct Offers {
    /// Who pays.
    payer: AccountId,
    /// Who brought the payer here.
    referrer: Option<AccountId>,
    promotions: Vec<Promotion>,
}

impl Offers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.promotions.is_empty()
    }
}

/// The promotions that are open for a deposit of an account that was opened at `opened_at`.
///
/// # Errors
/// Of the database.
pub async fn offers(
    connection: &mut PgConnection,
    payer: AccountId,
    opened_at: DateTime<Utc>,
) -> Result<Offers, sqlx::Error> {
    let promotions = store::open(connection, payer, opened_at).await?;
    with_referrer(connection, payer, promotions).await
}

/// The same, and nobody else gives or changes any of them until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn offers_for_update(
    connection: &mut PgConnection,
    payer: AccountId,
    opened_at: DateTime<Utc>,
) -> Result<Offers, sqlx::Error> {
    let promotions = store::open_for_update(connection, payer, opened_at).await?;
    with_referrer(connection, payer, promotions).await
}

async fn with_referrer(
    connection: &mut PgConnection,
    payer: AccountId,
    promotions: Vec<Promotion>,
) -> Result<Offers, sqlx::Error> {
    let referrer = match promotions.is_empty() {
        true => None,
        false => store::referrer(connection, payer).await?,
    };
    Ok(Offers {
        payer,
        referrer,
        promotions,
    })
}

/// What a deposit of `amount` is given. `is_first` says that nothing was ever paid for the account before.
///
/// # Errors
/// Of the database.
pub async fn gifts(
    connection: &mut PgConnection,
    offers: &Offers,
    amount: Rupiah,
    is_first: bool,
) -> Result<Vec<Gift>, sqlx::Error> {
    if offers.is_empty() {
        return Ok(Vec::new());
    }
    let facts = Facts {
        payer: offers.payer,
        referrer: offers.referrer,
        amount,
        is_first,
    };
    let promotions = &offers.promotions;
    let accounts = [Some(facts.payer), facts.referrer];
    let accounts: Vec<AccountId> = accounts.into_iter().flatten().collect();
    let counts = store::count(connection, promotions, &accounts).await?;
    Ok(model::gifts(promotions, &counts, &facts))
}

/// Counts what was given.
///
/// # Errors
/// Of the database; `promotions_total_limit_holds` if [`offers_for_update`] was left out.
pub async fn record(
    connection: &mut PgConnection,
    posted: &[Posted],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    store::insert_uses(connection, posted, now).await
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
    /// The new limit in all.
    pub total_limit: i32,
    /// The new limit for each account.
    pub account_limit: i32,
}

impl Changes<'_> {
    /// The new limit in all. One below what was used already ends it, and is kept as what was used.
    fn limit(&self, uses: i32) -> i32 {
        match self.total_limit {
            0 => 0,
            limit => limit.max(uses),
        }
    }
}

/// Changes a promotion that is locked.
///
/// # Errors
/// If a value makes no sense.
pub async fn update(
    connection: &mut PgConnection,
    mut promotion: Promotion,
    changes: Changes<'_>,
) -> Result<Promotion, Error> {
    for field in changes.fields {
        match *field {
            "display_name" => promotion.display_name.clone_from(&changes.display_name),
            "enabled" => promotion.enabled = changes.enabled,
            "end_time" => promotion.ends_at = changes.ends_at,
            "total_limit" => promotion.total_limit = changes.limit(promotion.uses),
            _ => promotion.account_limit = changes.account_limit,
        }
    }
    let (start, end) = (promotion.starts_at, promotion.ends_at);
    check_name("promotion.display_name", &promotion.display_name)?;
    check_end("promotion.end_time", start, end)?;
    store::update(connection, &promotion).await?;
    Ok(promotion)
}

/// Changes a coupon that is locked.
///
/// # Errors
/// If a value makes no sense.
pub async fn update_coupon(
    connection: &mut PgConnection,
    mut coupon: Coupon,
    changes: Changes<'_>,
) -> Result<Coupon, Error> {
    for field in changes.fields {
        match *field {
            "display_name" => coupon.display_name.clone_from(&changes.display_name),
            "enabled" => coupon.enabled = changes.enabled,
            "end_time" => coupon.ends_at = changes.ends_at,
            "total_limit" => coupon.total_limit = changes.limit(coupon.uses),
            _ => coupon.account_limit = changes.account_limit,
        }
    }
    check_name("coupon.display_name", &coupon.display_name)?;
    check_end("coupon.end_time", coupon.starts_at, coupon.ends_at)?;
    store::coupons::update(connection, &coupon).await?;
    Ok(coupon)
}

/// Makes a coupon.
///
/// # Errors
/// If a value makes no sense, or another coupon has the code.
pub async fn create_coupon(connection: &mut PgConnection, coupon: &Coupon) -> Result<(), Error> {
    check_end("end_time", coupon.starts_at, coupon.ends_at)?;
    Ok(store::coupons::insert(connection, coupon).await?)
}

/// Makes a promotion.
///
/// # Errors
/// If a value makes no sense.
pub async fn create(connection: &mut PgConnection, promotion: &Promotion) -> Result<(), Error> {
    check_end("end_time", promotion.starts_at, promotion.ends_at)?;
    Ok(store::insert(connection, promotion).await?)
}

fn check_name(field: &'static str, name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Invalid {
            field,
            rule: "STRING_MIN_LEN",
            must: "must have at least 1 character",
        });
    }
    Ok(())
}

fn check_end(
    field: &'static str,
    start: DateTime<Utc>,
    end: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    if end.is_some_and(|end| end <= start) {
        return Err(Error::Invalid {
            field,
            rule: "AFTER_START",
            must: "must be after the start",
        });
    }
    Ok(())
}
