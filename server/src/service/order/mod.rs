//! Buying: from a price to a running machine.
//!
//! Owns: `orders`. Calls: catalog, promotion, wallet, operation, instance, lifecycle. Emits: ORDER_PLACED, ORDER_PAID, ORDER_PROVISIONING, ORDER_ACTIVE, ORDER_FAILED,
//! ORDER_REFUNDED, ORDER_CANCELLED, ORDER_EXPIRED, ORDER_PAYMENT_CREDITED, ORDER_PAYMENT_REVERSED.
//!
//! Placing holds the money and records the wish, in one transaction shared with whoever else places at that moment (`place.rs`); an order that writes more
//! goes by itself (`alone.rs`). Fulfilment (`job.rs`) makes the machine, waits until it runs, and only then captures. An order that is paid at a gateway (`direct.rs`) waits for news of its deposit (`news.rs`).

pub mod alone;
pub mod convert;
pub mod direct;
pub mod error;
pub mod job;
pub mod model;
pub mod news;
pub mod place;
pub mod pricing;
pub mod quote;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, OrderPayload};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, OrderId};
use crate::base::outbox::{self, NewEvent};
use crate::service::catalog::promotion;
use crate::service::order::error::Error;
use crate::service::order::model::{Event, Failure, Order, Payment, State};
use crate::service::promotion::coupon;
use crate::service::wallet::model::{Action, Command, Paid, Refused};
use crate::service::{instance, operation, wallet};

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
    } else {
        instance::store::boot::forget_wish(connection, order.account, order.instance).await?;
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
    outbox::insert(connection, &[told(&order, kind, reason)]).await?;
    Ok(order)
}

/// Gives back what an order took: its promotion, its coupon and its money.
async fn release(
    connection: &mut PgConnection,
    order: &Order,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if order.quote.promotion.is_some() {
        promotion::give_back(connection, order.account, order.id, now).await?;
    }
    if order.quote.discount.is_some() {
        coupon::give_back(connection, order.account, order.id, now).await?;
    }
    if let Some(release) = order.release() {
        match wallet::apply_one(connection, release, now).await {
            // The gateway took back what was held, and that ended the hold.
            Err(wallet::error::Error::Refused(Refused::HoldClosed))
                if order.payment == Payment::Gateway => {}
            released => released.map(drop)?,
        }
    }
    Ok(())
}

/// Ends an order whose payment the gateway took back before its machine ran.
async fn end_unpaid(
    app: &App,
    connection: &mut PgConnection,
    mut order: Order,
) -> Result<Order, Error> {
    let event = match order.state {
        State::PendingPayment => Event::Expire,
        _ => Event::Cancel,
    };
    let failure = Failure::PaymentReversed;
    order.failure = Some((failure.reason().to_owned(), failure.message().to_owned()));
    let reason = failure.reason();
    close(app, connection, order, event, model::SYSTEM, reason).await
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
        action: Action::Receive(Paid::whole(order.quote.total)),
        subject: id.0,
        description,
    };
    order.hold = Some(wallet::apply_one(connection, received, now).await?.id);
    begin_fulfilment(app, connection, order, reason, now).await
}

/// Sets an order going whose money is held now.
async fn begin_fulfilment(
    app: &App,
    connection: &mut PgConnection,
    mut order: Order,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Order, Error> {
    (order.next_attempt_at, order.deadline_at) = (now, now + place::patience(app));
    store::advance(connection, &order).await?;
    operation::insert_many(connection, &[place::operation(&order)]).await?;
    outbox::insert(connection, &[told(&order, EventType::OrderPaid, reason)]).await?;
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

/// The machine runs: captures the money, starts the subscription, ends the operation. Nothing happens if the order was called off meanwhile, or its
/// money taken back.
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
    let Some(capture) = order.capture() else {
        return Err(Error::Ledger("a provisioning order without a hold"));
    };
    match wallet::apply_one(connection, capture, now).await {
        // The gateway took the money back. The news of that is on its way and ends the order.
        Err(wallet::error::Error::Refused(Refused::HoldClosed))
            if order.payment == Payment::Gateway =>
        {
            return Ok(());
        }
        captured => captured.map(drop)?,
    }
    order.take(Event::Deliver, model::SYSTEM, "the machine runs", now)?;
    store::advance(connection, &order).await?;
    crate::service::lifecycle::start(app, connection, order.subscription()).await?;
    instance::mark_running(connection, order.account, order.instance, now).await?;
    operation::succeed(connection, order.account, order.operation, now).await?;
    outbox::insert(connection, &[told(&order, EventType::OrderActive, "")]).await?;
    Ok(())
}

/// The machine cannot be had: gives the money back and has whatever there is destroyed. `words` are the provider's own, for staff.
///
/// # Errors
/// Of the database, or a ledger that disagrees.
pub(crate) async fn fail(
    app: &App,
    connection: &mut PgConnection,
    leased: &Order,
    failure: Failure,
    words: Option<String>,
) -> Result<(), Error> {
    let Some(mut order) = store::get_for_update(connection, leased.account, leased.id).await?
    else {
        return Ok(());
    };
    if order.fence != leased.fence || !matches!(order.state, State::Paid | State::Provisioning) {
        return Ok(());
    }
    order.last_error = words.or(order.last_error);
    let why = (model::SYSTEM, failure.reason());
    refund(connection, order, failure, why, app.clock.now()).await?;
    Ok(())
}

/// Ends an order whose machine staff do not wait for any longer: gives the money back and has whatever there is destroyed.
///
/// # Errors
/// If it is not being fulfilled.
pub async fn give_up(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
    why: (&str, &str),
) -> Result<Order, Error> {
    let order = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OrderNotFound)?;
    if !matches!(order.state, State::Paid | State::Provisioning) {
        return Err(Error::OrderStateConflict { state: order.state });
    }
    let failure = Failure::ProviderUnavailable;
    refund(connection, order, failure, why, app.clock.now()).await
}

/// Fails an order that is being fulfilled, `(by whom, why)`, and gives its money back.
async fn refund(
    connection: &mut PgConnection,
    mut order: Order,
    failure: Failure,
    (actor, why): (&str, &str),
    now: DateTime<Utc>,
) -> Result<Order, Error> {
    let began = order.state == State::Provisioning;
    order.take(Event::Fail, actor, why, now)?;
    order.failure = Some((failure.reason().to_owned(), failure.message().to_owned()));
    let failed = told(&order, EventType::OrderFailed, failure.reason());
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
    } else {
        instance::store::boot::forget_wish(connection, order.account, order.instance).await?;
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
            told(&order, EventType::OrderRefunded, failure.reason()),
        ],
    )
    .await?;
    Ok(order)
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
pub(crate) fn told(order: &Order, kind: EventType, reason: &str) -> NewEvent {
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
