//! What an order costs: the plan's price, less what a promotion of the plan takes off, less what a coupon takes off of that, and tax on what is left. A preview and an
//! order ask the same functions; an order asks again under the locks of what has limits.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::money::Rupiah;
use crate::provider::compute::simulator;
use crate::service::catalog::model::Snapshot;
use crate::service::catalog::promotion::{self, Buyer, Goods, Offer};
use crate::service::order::error::Error;
use crate::service::order::model::{Draft, Order};
use crate::service::order::quote::Quote;
use crate::service::order::store;
use crate::service::promotion::coupon;

/// Prices a draft as it would be sold now. The play money of a `sandbox` buys machines of the built-in cloud alone: others cost real money.
///
/// # Errors
/// What of it is not sold.
pub fn quote(
    catalogue: &Snapshot,
    draft: &Draft,
    sandbox: bool,
    now: DateTime<Utc>,
) -> Result<Quote, Error> {
    let plan = catalogue
        .plan(draft.plan)
        .filter(|p| {
            p.available
                && !p.archived
                && (!sandbox || simulator::NAMES.contains(&p.provider.as_str()))
        })
        .ok_or(Error::PlanUnavailable(draft.plan))?;
    catalogue
        .region(draft.region)
        .filter(|r| r.available && r.provider == plan.provider)
        .ok_or(Error::RegionUnavailable(draft.region))?;
    catalogue
        .image(draft.image)
        .filter(|i| i.min_disk_gib <= plan.disk_gib && i.provider == plan.provider)
        .ok_or(Error::ImageUnavailable(draft.image))?;
    let price = catalogue
        .price(draft.plan, draft.period, now)
        .filter(|p| p.available)
        .ok_or(Error::PeriodUnavailable(draft.period))?;
    Quote::of(
        plan.display_name.clone(),
        price.amount,
        price.next_change,
        now,
    )
    .ok_or(Error::PeriodUnavailable(draft.period))
}

/// The quote of a draft with what a promotion and its coupon take off.
///
/// # Errors
/// If the coupon is not taken; of the database.
pub async fn reduced(
    app: &App,
    caller: &Caller,
    catalogue: &Snapshot,
    draft: &Draft,
    quote: Quote,
    now: DateTime<Utc>,
) -> Result<Quote, Error> {
    let goods = goods(draft, quote.list_price());
    let offers = catalogue.offers(&goods, caller.sandbox, now);
    if offers.is_empty() && draft.coupon_code.is_empty() {
        return Ok(quote);
    }
    // Boxed, as it is large, and most orders have neither.
    Box::pin(reduce(app, caller, &offers, &goods, draft, quote, now)).await
}

async fn reduce(
    app: &App,
    caller: &Caller,
    offers: &[Offer],
    goods: &Goods,
    draft: &Draft,
    quote: Quote,
    now: DateTime<Utc>,
) -> Result<Quote, Error> {
    let mut connection = app.db.acquire().await?;
    let mut offer = None;
    if !offers.is_empty() {
        let is_new = match caller.account {
            Some(account) => !store::has_bought(&mut connection, account).await?,
            None => true,
        };
        let buyer = Buyer {
            account: caller.account,
            is_new,
        };
        let ids: Vec<_> = offers.iter().map(|o| o.reduction.promotion).collect();
        offer = promotion::look(&mut connection, &ids, buyer, goods, now).await?;
    }
    let quote = with_offer(draft, quote, offer, now)?;
    with_coupon(&mut connection, caller, draft, quote, now).await
}

fn with_offer(
    draft: &Draft,
    quote: Quote,
    offer: Option<Offer>,
    now: DateTime<Utc>,
) -> Result<Quote, Error> {
    let Some(Offer {
        reduction, ends_at, ..
    }) = offer
    else {
        return Ok(quote);
    };
    let reduced = quote.reduced(reduction, ends_at, now);
    reduced.ok_or(Error::PeriodUnavailable(draft.period))
}

async fn with_coupon(
    connection: &mut PgConnection,
    caller: &Caller,
    draft: &Draft,
    quote: Quote,
    now: DateTime<Utc>,
) -> Result<Quote, Error> {
    let code = &draft.coupon_code;
    if code.is_empty() {
        return Ok(quote);
    }
    let goods = goods(draft, quote.promoted_price());
    let (account, sandbox) = (caller.account, caller.sandbox);
    let discount = coupon::look(connection, account, sandbox, code, &goods, now).await;
    let discount = discount.map_err(|refused| invalid_coupon(code, refused))?;
    let less = quote.less(discount, now);
    less.ok_or(Error::PeriodUnavailable(draft.period))
}

fn goods(draft: &Draft, price: Rupiah) -> Goods {
    Goods {
        plan: draft.plan,
        period: draft.period,
        price,
    }
}

fn invalid_coupon(code: &str, refused: coupon::Error) -> Error {
    match refused {
        coupon::Error::NotTaken(why) => Error::InvalidCoupon {
            code: code.to_owned(),
            why,
        },
        coupon::Error::Database(error) => error.into(),
    }
}

/// Settles what an order costs that is placed in this transaction, and uses its promotion and its coupon. What was quoted is looked at again under their locks; where a
/// promotion gives something else by now, the order costs what it costs now, if that is what its caller `expected` or the caller takes any price.
///
/// # Errors
/// PRICE_CHANGED, INVALID_COUPON; of the database.
pub async fn settle(
    connection: &mut PgConnection,
    caller: &Caller,
    order: &mut Order,
    expected: Option<Rupiah>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if order.quote.promotion.is_some() {
        promote(connection, caller, order, now).await?;
        let total = order.quote.total;
        if let Some(expected) = expected.filter(|expected| *expected != total) {
            return Err(Error::PriceChanged { expected, total });
        }
    }
    if let Some(reduction) = &order.quote.promotion {
        let order = (order.account, order.id);
        promotion::give(connection, order, reduction, now).await?;
    }
    let Some(discount) = &order.quote.discount else {
        return Ok(());
    };
    let goods = goods(&order.draft, order.quote.promoted_price());
    let redeemed = coupon::redeem(connection, (order.account, order.id), discount, &goods, now);
    let redeemed = redeemed.await;
    redeemed.map_err(|refused| invalid_coupon(&discount.code, refused))
}

/// Looks at the promotion of an order again, under its lock.
async fn promote(
    connection: &mut PgConnection,
    caller: &Caller,
    order: &mut Order,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let account = order.account;
    let goods = goods(&order.draft, order.quote.list_price());
    let open = promotion::open_for_update(connection, account, &goods, now).await?;
    let buyer = Buyer {
        account: Some(account),
        is_new: !store::has_bought(connection, account).await?,
    };
    let offer = promotion::decide(connection, &open, buyer, &goods, now).await?;
    if offer.as_ref().map(|offer| &offer.reduction) == order.quote.promotion.as_ref() {
        return Ok(());
    }
    let draft = &order.draft;
    let plain = Quote::of(order.quote.plan_name.clone(), goods.price, None, now);
    let plain = plain.ok_or(Error::PeriodUnavailable(draft.period))?;
    let quote = with_offer(draft, plain, offer, now)?;
    order.quote = with_coupon(connection, caller, draft, quote, now).await?;
    Ok(())
}
