//! Placing an order by itself: one that has a promotion or uses a coupon, whose row it locks; whose machine is given keys or user data when it first boots; or that waits for its payment. It
//! writes more than the lanes do (`place.rs`), which stay lean for all others.

use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::order::v1::PlaceOrderResponse;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::money::Rupiah;
use crate::base::outbox;
use crate::service::instance::boot;
use crate::service::order::error::Error;
use crate::service::order::model::{Order, Payment};
use crate::service::order::{convert, place, pricing, store, told};
use crate::service::wallet::model::{Action, Command};
use crate::service::{operation, wallet};

/// Places an order that is paid from the wallet, or waits until staff have seen its payment.
///
/// # Errors
/// PRICE_CHANGED, INVALID_COUPON, INSUFFICIENT_BALANCE, CLIENT_REFERENCE_TAKEN, SSH_KEY_NOT_FOUND, or what the database says.
pub async fn place(
    app: &App,
    caller: &Caller,
    connection: &mut PgConnection,
    mut order: Order,
    given: &boot::Asked,
    expected: Option<Rupiah>,
) -> Result<PlaceOrderResponse, Error> {
    let now = app.clock.now();
    pricing::settle(connection, caller, &mut order, expected, now).await?;
    let mut operation = None;
    if order.payment == Payment::Wallet {
        let hold = Command {
            account: order.account,
            action: Action::Hold(order.quote.total),
            subject: order.id.0,
            description: order.description(),
        };
        order.hold = Some(wallet::apply_one(connection, hold, now).await?.id);
        operation = Some(place::operation(&order));
    }
    keep(app, connection, &order, given).await?;
    store::insert(connection, &[&order]).await?;
    operation::insert_many(connection, operation.as_slice()).await?;
    outbox::insert(connection, &[told(&order, EventType::OrderPlaced, "")]).await?;
    Ok(PlaceOrderResponse {
        order: Some(convert::order(&order, true)),
        operation: operation.as_ref().map(operation::convert::new_to_proto),
    })
}

/// Keeps what the machine of an order is to be given, until it is made.
///
/// # Errors
/// SSH_KEY_NOT_FOUND, or what the database says.
pub async fn keep(
    app: &App,
    connection: &mut PgConnection,
    order: &Order,
    given: &boot::Asked,
) -> Result<(), Error> {
    let wish = boot::choose(connection, order.account, given)
        .await?
        .map_err(Error::SshKeyNotFound)?;
    boot::keep(app, connection, order.account, order.instance, &wish)
        .await
        .map_err(Error::Secret)
}
