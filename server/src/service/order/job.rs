//! Fulfilment. Orders that are due are leased, worked on outside any transaction, and settled in a short one that checks the lease again. It takes no hints and
//! repeats safely: a crash anywhere leaves an order that is due again when its lease ends.

use chrono::Duration;
use futures_util::StreamExt;
use sewa_sdk::sewa::event::v1::EventType;

use crate::app::App;
use crate::base::fault::{self, Step};
use crate::base::{crypto, lease, outbox};
use crate::service::catalog;
use crate::service::instance::{self, ProvisionFailure, Provisioned};
use crate::service::operation;
use crate::service::order::error::Error;
use crate::service::order::model::{self, Event, Failure, Order, State, backoff};
use crate::service::order::store;

/// Orders leased at once.
const CHUNK: i64 = 64;
/// Orders worked on at once.
const CONCURRENT: usize = 16;
/// How long an order stays leased to a replica that may have died.
const LEASE: Duration = Duration::seconds(30);
/// How soon a machine that is booting is looked at again.
const LOOK_AGAIN: Duration = Duration::milliseconds(300);

/// Works on the orders that are due, and returns how many there were.
///
/// # Errors
/// Of the database, when leasing. Faults of single orders are logged; those orders stay due.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let leased = store::lease(&app.db, now, now + LEASE, CHUNK).await?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |order| async move {
            let end = now + LEASE;
            lease::work(&app.clock, end, ("order", order.id), fulfil(app, &order)).await;
            app.tail.wake();
        })
        .await;
    Ok(count)
}

async fn fulfil(app: &App, order: &Order) -> Result<(), Error> {
    if let Some(failure) = order.overdue(app.clock.now()) {
        return give_up(app, order, failure, None).await;
    }
    if order.state == State::Paid && !begin(app, order).await? {
        return Ok(());
    }
    match instance::provision(app, order.account, order.instance).await? {
        Provisioned::Running => {
            let mut tx = app.db.begin().await?;
            super::deliver(app, &mut tx, order).await?;
            Ok(fault::around(Step::OrderDeliver, tx.commit()).await?)
        }
        Provisioned::Waiting { step, progress } => {
            let mut tx = app.db.begin().await?;
            operation::progress(&mut tx, order.account, order.operation, step, progress).await?;
            store::put_back(
                &mut tx,
                order,
                app.clock.now() + LOOK_AGAIN,
                order.attempts,
                None,
            )
            .await?;
            Ok(fault::around(Step::OrderWait, tx.commit()).await?)
        }
        Provisioned::Failed(ProvisionFailure::NoCapacity) => {
            give_up(app, order, Failure::OutOfCapacity, None).await
        }
        Provisioned::Failed(ProvisionFailure::Refused(message)) => {
            tracing::warn!(order = %order.id, message, "the provider refused the machine");
            give_up(app, order, Failure::ProviderUnavailable, Some(message)).await
        }
        Provisioned::Failed(ProvisionFailure::Unavailable(message)) => {
            let attempts = order.attempts.saturating_add(1);
            let next =
                app.clock.now() + backoff(attempts, f64::from(crypto::random::<1>()[0]) / 255.0);
            let mut connection = app.db.acquire().await?;
            Ok(store::put_back(&mut connection, order, next, attempts, Some(&message)).await?)
        }
    }
}

/// Records that the machine is being made. False if the order was called off meanwhile.
async fn begin(app: &App, leased: &Order) -> Result<bool, Error> {
    let catalogue = catalog::snapshot(app)
        .await
        .map_err(|_| Error::Ledger("the catalogue cannot be read"))?;
    let machine = super::convert::new_instance(&catalogue, leased)?;
    let mut tx = app.db.begin().await?;
    let found = store::get_for_update(&mut tx, leased.account, leased.id).await?;
    let Some(mut order) = found.filter(|o| o.fence == leased.fence && o.state == State::Paid)
    else {
        return Ok(false);
    };
    let now = app.clock.now();
    order.take(
        Event::Begin,
        model::SYSTEM,
        "the machine was asked for",
        now,
    )?;
    store::advance(&mut tx, &order).await?;
    instance::insert_many(&mut tx, &[machine]).await?;
    operation::progress(&mut tx, order.account, order.operation, "creating", 10).await?;
    outbox::insert(
        &mut tx,
        &[super::told(&order, EventType::OrderProvisioning, "")],
    )
    .await?;
    fault::around(Step::OrderBegin, tx.commit()).await?;
    Ok(true)
}

async fn give_up(
    app: &App,
    order: &Order,
    failure: Failure,
    words: Option<String>,
) -> Result<(), Error> {
    let mut tx = app.db.begin().await?;
    super::fail(app, &mut tx, order, failure, words).await?;
    Ok(fault::around(Step::OrderGiveUp, tx.commit()).await?)
}

/// Ends orders nobody paid in time, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn expire(app: &App) -> Result<usize, Error> {
    let mut tx = app.db.begin().await?;
    let due = store::expiring_for_update(&mut tx, app.clock.now(), CHUNK).await?;
    let count = due.len();
    for order in due {
        super::close(
            app,
            &mut tx,
            order,
            Event::Expire,
            model::SYSTEM,
            "not paid in time",
        )
        .await?;
    }
    tx.commit().await?;
    if count > 0 {
        app.tail.wake();
    }
    Ok(count)
}
