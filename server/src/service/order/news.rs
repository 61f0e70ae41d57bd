//! What orders learn from the event log: that the deposit one waits for was paid or closed, or that its payment was taken back.
//!
//! The wallet has already decided: money that pays for an order in time is held for it in the journal that received it, and everything else is ordinary credit. A
//! deposit is either paid while it is open or closed first, so expiry and payment cannot both win. What is left to decide here is whether the order still waits.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use prost::Message;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{Event as EventProto, EventType, WalletPayload};
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, DepositId, OrderId};
use crate::base::money::Rupiah;
use crate::base::outbox::reader::Stored;
use crate::base::outbox::{self, NewEvent, consumer};
use crate::service::order::error::Error;
use crate::service::order::model::{self, Event, Order, State};
use crate::service::order::{self, store};
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::model::{Action, Command, Refused};
use crate::service::wallet::payment;
use crate::service::wallet::store::{deposits, payments};
use crate::service::{lifecycle, wallet};

/// What the log says of a deposit.
#[derive(Debug)]
enum News {
    /// Money came; how it compares with what was asked for, and how much was credited or held.
    Paid(String, Rupiah),
    /// Nobody paid, or the gateway refused.
    Closed(String),
    /// The gateway took a payment back, or a part of one.
    Reversed,
}

/// Reads the next events. Returns how many there were.
///
/// # Errors
/// Of the database; the same events come again then.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let read = {
        let app = app.clone();
        consumer::step(
            &app.db.clone(),
            &app.tail.clone(),
            "order",
            move |connection, events| {
                Box::pin(async move { handle(&app, connection, events).await })
            },
        )
        .await?
    };
    if read > 0 {
        app.tail.wake();
    }
    Ok(read)
}

async fn handle(
    app: &App,
    connection: &mut PgConnection,
    events: Vec<Stored>,
) -> Result<(), sqlx::Error> {
    // By account, because that is the order in which everybody locks wallets.
    let mut told: BTreeMap<(AccountId, DepositId), Vec<News>> = BTreeMap::new();
    for event in &events {
        if event.kind == EventType::WalletUnfrozen as i16 {
            // What was passed over below while the wallet was frozen.
            for (id, amount) in store::unclaimed_payments(connection, event.account).await? {
                let news = News::Paid("EXACT".to_owned(), amount);
                told.entry((event.account, id)).or_default().push(news);
            }
        }
        if let Some(news) = read(event) {
            let deposit = (event.account, DepositId(event.subject));
            told.entry(deposit).or_default().push(news);
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    let named: Vec<_> = told.keys().copied().collect();
    let mut deposits = deposits::get_many(connection, &named).await?;
    deposits.retain(|deposit| deposit.order.is_some());
    deposits.sort_by_key(|deposit| (deposit.account, deposit.id));
    for deposit in deposits {
        for news in told
            .remove(&(deposit.account, deposit.id))
            .unwrap_or_default()
        {
            match take(app, connection, &deposit, &news).await {
                Ok(()) => {}
                Err(Error::Database(error)) => return Err(error),
                Err(error) => {
                    let why = format!("news {news:?} of deposit {}: {error}", deposit.id);
                    return Err(sqlx::Error::Protocol(why));
                }
            }
        }
    }
    Ok(())
}

fn read(event: &Stored) -> Option<News> {
    let payload = || -> Option<WalletPayload> {
        let event = EventProto::decode(event.payload.as_slice()).ok()?;
        match event.payload {
            Some(Payload::Wallet(wallet)) => Some(wallet),
            _ => None,
        }
    };
    match EventType::try_from(i32::from(event.kind)).ok()? {
        EventType::DepositPaid => {
            let told = payload()?;
            let amount = told
                .amount
                .map_or(Rupiah::ZERO, |money| Rupiah(money.units));
            Some(News::Paid(told.reason, amount))
        }
        EventType::DepositClosed => Some(News::Closed(payload()?.reason)),
        EventType::DepositReversed => Some(News::Reversed),
        _ => None,
    }
}

async fn take(
    app: &App,
    connection: &mut PgConnection,
    deposit: &Deposit,
    news: &News,
) -> Result<(), Error> {
    let Some(id) = deposit.order else {
        return Ok(());
    };
    let order = find(connection, deposit.account, id).await?;
    let now = app.clock.now();
    match news {
        News::Closed(state) if order.state == State::PendingPayment => {
            let why = format!("the payment is {state}");
            order::close(app, connection, order, Event::Expire, model::SYSTEM, &why).await?;
            Ok(())
        }
        News::Closed(_) => Ok(()),
        News::Reversed => reversed(app, connection, deposit, order, now).await,
        News::Paid(kind, amount) => {
            paid(app, connection, deposit, order, (kind, *amount), now).await
        }
    }
}

async fn find(
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
) -> Result<Order, Error> {
    let order = store::get_for_update(connection, account, id).await?;
    order.ok_or(Error::Ledger("a deposit for an order that does not exist"))
}

async fn paid(
    app: &App,
    connection: &mut PgConnection,
    deposit: &Deposit,
    mut order: Order,
    (kind, amount): (&str, Rupiah),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // Only one payment of a deposit is ever held, and only one that came as asked or above; later ones are DUPLICATE.
    let hold = deposit
        .hold
        .filter(|_| matches!(kind, "EXACT" | "OVERPAID"));
    let waits = order.state == State::PendingPayment;
    let Some(hold) = hold else {
        if waits {
            let why = format!("the payment was {kind}; it is credit of the wallet");
            let event = Event::Expire;
            order = order::close(app, connection, order, event, model::SYSTEM, &why).await?;
        }
        // Paid as asked, after the deposit was closed.
        let state = order.state.as_str();
        let why = if kind == "EXACT" { state } else { kind };
        return credited(connection, order, amount, why, now).await;
    };
    let beyond = Rupiah(amount.0 - deposit.amount.0);
    if waits && wallet::store::is_taken_back(connection, order.account, hold).await? {
        return unpaid(app, connection, deposit, order, now).await;
    }
    if waits {
        order.take(Event::Pay, model::SYSTEM, "paid at the gateway", now)?;
        order.hold = Some(hold);
        let order =
            order::begin_fulfilment(app, connection, order, "paid at the gateway", now).await?;
        return credited(connection, order, beyond, kind, now).await;
    }
    if order.hold == Some(hold) {
        return Ok(());
    }
    let release = Command {
        account: order.account,
        action: Action::Release { hold },
        subject: order.id.0,
        description: format!(
            "Payment of order {}, which is {}",
            order.id,
            order.state.as_str()
        ),
    };
    match wallet::apply_one(connection, release, now).await {
        Ok(_) => {
            let state = order.state.as_str();
            let order = credited(connection, order, deposit.amount, state, now);
            order.await
        }
        // The others go on. It is released once staff have ended the freeze.
        Err(wallet::error::Error::Refused(Refused::Frozen)) => Ok(()),
        // This was read before.
        Err(wallet::error::Error::Refused(Refused::HoldClosed)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What follows when a payment of an order's deposit was taken back. Nothing, unless it is the one that pays for the order.
async fn reversed(
    app: &App,
    connection: &mut PgConnection,
    deposit: &Deposit,
    mut order: Order,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(hold) = deposit.hold.filter(|hold| order.hold == Some(*hold)) else {
        return Ok(());
    };
    match order.state {
        State::Paid | State::Provisioning
            if wallet::store::is_taken_back(connection, order.account, hold).await? =>
        {
            unpaid(app, connection, deposit, order, now).await
        }
        State::Active => {
            let (account, id) = (deposit.account, deposit.id);
            let payments = payments::list_payments(connection, account, id).await?;
            let missing = payment::taken_back(&payments).missing;
            if missing <= Rupiah::ZERO {
                return Ok(());
            }
            // The wallet did not cover it: what the payment bought ends now.
            let ended = lifecycle::cut_short(app, connection, account, order.instance).await;
            let ended = ended.map_err(|_| Error::Ledger("a period could not be ended"))?;
            let reason = if ended { "PERIOD_ENDED" } else { "PERIOD_OVER" };
            let kind = EventType::OrderPaymentReversed;
            tell(connection, &mut order, kind, missing, reason, now).await
        }
        _ => Ok(()),
    }
}

/// Ends an order whose payment was taken back, and tells what is left of that as credit.
async fn unpaid(
    app: &App,
    connection: &mut PgConnection,
    deposit: &Deposit,
    order: Order,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let payments = payments::list_payments(connection, deposit.account, deposit.id).await?;
    let rest = Rupiah(deposit.amount.0 - payment::taken_back(&payments).taken.0);
    let order = order::end_unpaid(app, connection, order).await?;
    credited(connection, order, rest, "REVERSAL", now).await
}

/// Tells that money for an order is credit of the wallet.
async fn credited(
    connection: &mut PgConnection,
    mut order: Order,
    amount: Rupiah,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if amount <= Rupiah::ZERO {
        return Ok(());
    }
    let kind = EventType::OrderPaymentCredited;
    tell(connection, &mut order, kind, amount, reason, now).await
}

/// Tells something of the money of an order.
async fn tell(
    connection: &mut PgConnection,
    order: &mut Order,
    kind: EventType,
    amount: Rupiah,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    (order.revision, order.updated_at) = (order.revision + 1, now);
    store::advance(connection, order).await?;
    let payload = Payload::Wallet(WalletPayload {
        amount: Some(amount.to_proto()),
        reason: reason.to_owned(),
    });
    let event = NewEvent::new(
        order.account,
        kind,
        order.id.0,
        order.revision,
        now,
        payload,
    );
    outbox::insert(connection, &[event]).await?;
    Ok(())
}
