//! Orders that are paid directly at a payment gateway. The order and a deposit for it are written together; then the gateway is asked, as for every deposit. What
//! becomes of the deposit is the wallet's business, and this slice learns it from the event log (`news.rs`).

use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::order::v1 as proto;
use sewa_sdk::sewa::order::v1::{GatewayPayment, PlaceOrderResponse};
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sqlx::PgConnection;
use tonic::{Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, DepositId};
use crate::base::writes::{self, Claim};
use crate::base::{outbox, status};
use crate::service::instance::boot;
use crate::service::order::error::Error;
use crate::service::order::model::Order;
use crate::service::order::{alone, convert, pricing, store, told};
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::store::deposits;
use crate::service::wallet::{self, DepositWish, gateway};

/// Places an order that waits for its payment at a gateway, and says how to pay.
///
/// # Errors
/// If the account cannot pay this way, the channel does not take the total, or the reference was used.
pub async fn place(
    app: &App,
    call: &Call,
    order: Order,
    given: &boot::Asked,
    way: GatewayPayment,
) -> Result<Response<PlaceOrderResponse>, Status> {
    let wish = DepositWish {
        amount: order.quote.total,
        method: way.method(),
        channel: way.channel,
        client_reference: None,
        order: Some(order.id),
    };
    // No gateway is asked while a transaction is open, so this one is given back before.
    if wish.method != Method::Sandbox
        && let Claim::Repeat(stored) = writes::begin(&app.db, call).await?
    {
        return stored.reply(call);
    }
    let chosen = gateway::choose(app, &call.caller, wish.method, &wish.channel, wish.amount).await;
    let mut write = match writes::begin(&app.db, call).await? {
        Claim::Fresh(write) => write,
        Claim::Repeat(stored) => return stored.reply(call),
    };
    let outcome = match chosen {
        Ok(()) => write_down(app, call, &mut write.tx, order, given, wish).await,
        Err(refused) => Err(refused.into()),
    };
    let written = outcome.as_ref().ok().map(|(_, deposit)| deposit.clone());
    let reply = outcome.map(|(order, deposit)| PlaceOrderResponse {
        order: Some(convert::with_deposit(
            convert::order(&order, true),
            Some(&deposit),
        )),
        operation: None,
    });
    let reply = write.finish(reply.map_err(Status::from)).await;
    app.tail.wake();
    let mut reply = reply?;
    // Another call with the same key may have been faster; then its order is the answer, and its own business.
    let answered = reply.get_mut().order.as_mut();
    if let Some((deposit, order)) = written.zip(answered)
        && order.deposit_id == deposit.id.to_string()
    {
        let opened = gateway::open_now(app, deposit).await;
        let opened = opened.map_err(|e| status::database(&e))?;
        order.deposit = Some(wallet::convert::deposit(&opened));
    }
    Ok(reply)
}

async fn write_down(
    app: &App,
    call: &Call,
    connection: &mut PgConnection,
    mut order: Order,
    given: &boot::Asked,
    wish: DepositWish,
) -> Result<(Order, Deposit), Error> {
    // The gateway was chosen for this total.
    let (total, now) = (order.quote.total, app.clock.now());
    pricing::settle(connection, &call.caller, &mut order, Some(total), now).await?;
    let deposit = wallet::open_deposit(app, &call.caller, connection, wish).await?;
    order.deposit = Some(deposit.id);
    alone::keep(app, connection, &order, given).await?;
    store::insert(connection, &[&order]).await?;
    let placed = told(&order, EventType::OrderPlaced, "");
    outbox::insert(connection, &[placed]).await?;
    Ok((order, deposit))
}

/// An order with its deposit, if it has one.
///
/// # Errors
/// Of the database.
pub async fn show(app: &App, order: proto::Order) -> Result<proto::Order, sqlx::Error> {
    let (account, deposit) = (order.account_id.parse(), order.deposit_id.parse());
    let (Ok(account), Ok(deposit)) = (account, deposit) else {
        return Ok(order);
    };
    let mut connection = app.db.acquire().await?;
    let found =
        deposits::get_deposit(&mut connection, AccountId(account), DepositId(deposit)).await?;
    Ok(convert::with_deposit(order, found.as_ref()))
}
