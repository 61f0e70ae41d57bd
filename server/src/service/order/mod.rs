//! Buying: from a price to a running machine.
//!
//! Owns: `orders`. Calls: catalog, wallet, operation, instance, lifecycle. Emits: ORDER_PLACED, ORDER_PAID, ORDER_PROVISIONING, ORDER_ACTIVE, ORDER_FAILED,
//! ORDER_REFUNDED, ORDER_CANCELLED, ORDER_EXPIRED.
//!
//! Placing holds the money and records the wish, in one transaction shared with whoever else places at that moment (`place.rs`). Fulfilment (`job.rs`) makes the
//! machine, waits until it runs, and only then captures.

pub mod convert;
pub mod error;
pub mod job;
pub mod model;
pub mod place;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, OrderPayload};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, OrderId};
use crate::base::outbox::{self, NewEvent};
use crate::provider::compute::simulator;
use crate::service::catalog::model::Snapshot;
use crate::service::order::error::Error;
use crate::service::order::model::{Draft, Event, Failure, Order, Quote, State};
use crate::service::wallet::model::{Action, Command};
use crate::service::{instance, operation, wallet};

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

/// Calls an order off and gives its money back. A machine under way is destroyed.
///
/// # Errors
/// If there is no such order, or its machine runs already.
pub async fn cancel(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
    actor: &str,
    reason: &str,
) -> Result<Order, Error> {
    let order = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OrderNotFound)?;
    close(app, connection, order, Event::Cancel, actor, reason).await
}

/// Ends an order without a machine: by cancellation, rejection or expiry. Releases what is held.
async fn close(
    app: &App,
    connection: &mut PgConnection,
    mut order: Order,
    event: Event,
    actor: &str,
    reason: &str,
) -> Result<Order, Error> {
    let now = app.clock.now();
    let was = order.state;
    order.take(event, actor, reason, now)?;
    release(connection, &order, now).await?;
    if was == State::Provisioning {
        instance::mark_failed(connection, order.account, order.instance, now).await?;
    }
    if was != State::PendingPayment {
        operation::cancel_created(connection, order.account, order.operation, now).await?;
    }
    store::advance(connection, &order).await?;
    let kind = if order.state == State::Expired {
        EventType::OrderExpired
    } else {
        EventType::OrderCancelled
    };
    outbox::insert(connection, &[news(&order, kind, reason)]).await?;
    Ok(order)
}

async fn release(
    connection: &mut PgConnection,
    order: &Order,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(hold) = order.hold {
        let description = format!("Order {} given back", order.id);
        let release = Command {
            account: order.account,
            action: Action::Release { hold },
            subject: order.id.0,
            description,
        };
        wallet::apply_one(connection, release, now).await?;
    }
    Ok(())
}

/// Confirms a payment made outside: the amount is received, held for the order, and fulfilment begins.
///
/// # Errors
/// If the order does not wait for payment.
pub async fn approve(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
    actor: &str,
    reason: &str,
) -> Result<Order, Error> {
    let mut order = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OrderNotFound)?;
    if order.state != State::PendingPayment {
        return Err(Error::PaymentStatusConflict { state: order.state });
    }
    let now = app.clock.now();
    order.take(Event::Approve, actor, reason, now)?;
    let description = format!("Payment of order {id}: {reason}");
    let received = Command {
        account,
        action: Action::Receive(order.quote.total),
        subject: id.0,
        description,
    };
    order.hold = Some(wallet::apply_one(connection, received, now).await?.id);
    (order.next_attempt_at, order.deadline_at) = (now, now + place::patience(app));
    store::advance(connection, &order).await?;
    operation::insert_many(connection, &[place::operation(&order)]).await?;
    outbox::insert(connection, &[news(&order, EventType::OrderPaid, reason)]).await?;
    Ok(order)
}

/// Refuses a payment; the order ends.
///
/// # Errors
/// If the order does not wait for payment.
pub async fn reject(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
    actor: &str,
    reason: &str,
) -> Result<Order, Error> {
    let order = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OrderNotFound)?;
    if order.state != State::PendingPayment {
        return Err(Error::PaymentStatusConflict { state: order.state });
    }
    close(app, connection, order, Event::Reject, actor, reason).await
}

/// Tries an order again at once, with a new deadline.
///
/// # Errors
/// If it is not being fulfilled.
pub async fn retry(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
) -> Result<Order, Error> {
    let mut order = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OrderNotFound)?;
    if !matches!(order.state, State::Paid | State::Provisioning) {
        return Err(Error::OrderStateConflict { state: order.state });
    }
    let now = app.clock.now();
    (order.next_attempt_at, order.deadline_at) = (now, now + place::patience(app));
    order.revision += 1;
    store::advance(connection, &order).await?;
    Ok(order)
}

/// The machine runs: captures the money, starts the subscription, ends the operation. Nothing happens if the order was called off meanwhile.
///
/// # Errors
/// Of the database, or a ledger that disagrees.
pub(crate) async fn deliver(
    app: &App,
    connection: &mut PgConnection,
    leased: &Order,
) -> Result<(), Error> {
    let Some(mut order) = still_provisioning(connection, leased).await? else {
        return Ok(());
    };
    let now = app.clock.now();
    let Some(hold) = order.hold else {
        return Err(Error::Ledger("a provisioning order without a hold"));
    };
    order.take(Event::Deliver, model::SYSTEM, "the machine runs", now)?;
    let description = format!("Order {}: {}", order.id, order.quote.plan_name);
    let capture = Command {
        account: order.account,
        action: Action::Capture {
            hold,
            tax: order.quote.tax,
        },
        subject: order.id.0,
        description,
    };
    wallet::apply_one(connection, capture, now).await?;
    store::advance(connection, &order).await?;
    crate::service::lifecycle::start(app, connection, job::subscription(&order)).await?;
    instance::mark_running(connection, order.account, order.instance, now).await?;
    operation::succeed(connection, order.account, order.operation, now).await?;
    outbox::insert(connection, &[news(&order, EventType::OrderActive, "")]).await?;
    Ok(())
}

/// The machine cannot be had: gives the money back and has whatever there is destroyed.
///
/// # Errors
/// Of the database, or a ledger that disagrees.
pub(crate) async fn fail(
    app: &App,
    connection: &mut PgConnection,
    leased: &Order,
    failure: Failure,
) -> Result<(), Error> {
    let Some(mut order) = store::get_for_update(connection, leased.account, leased.id).await?
    else {
        return Ok(());
    };
    if order.fence != leased.fence || !matches!(order.state, State::Paid | State::Provisioning) {
        return Ok(());
    }
    let now = app.clock.now();
    let began = order.state == State::Provisioning;
    order.take(Event::Fail, model::SYSTEM, failure.reason(), now)?;
    order.failure = Some((failure.reason().to_owned(), failure.message().to_owned()));
    let failed = news(&order, EventType::OrderFailed, failure.reason());
    release(connection, &order, now).await?;
    order.take(
        Event::Refund,
        model::SYSTEM,
        "the held money was released",
        now,
    )?;
    store::advance(connection, &order).await?;
    if began {
        instance::mark_failed(connection, order.account, order.instance, now).await?;
    }
    operation::fail(
        connection,
        order.account,
        order.operation,
        failure.reason(),
        failure.message(),
        now,
    )
    .await?;
    outbox::insert(
        connection,
        &[
            failed,
            news(&order, EventType::OrderRefunded, failure.reason()),
        ],
    )
    .await?;
    Ok(())
}

/// The order as it is now, locked, if it is still being made by whoever leased it.
async fn still_provisioning(
    connection: &mut PgConnection,
    leased: &Order,
) -> Result<Option<Order>, Error> {
    let order = store::get_for_update(connection, leased.account, leased.id).await?;
    Ok(order.filter(|o| o.fence == leased.fence && o.state == State::Provisioning))
}

/// News of an order.
pub(crate) fn news(order: &Order, kind: EventType, reason: &str) -> NewEvent {
    let payload = Payload::Order(OrderPayload {
        instance_id: order.instance.to_string(),
        total: Some(order.quote.total.to_proto()),
        reason: reason.to_owned(),
    });
    NewEvent::new(
        order.account,
        kind,
        order.id.0,
        order.revision,
        order.updated_at,
        payload,
    )
}
