//! Deposits at payment gateways: opening them once, and crediting what comes for them once.
//!
//! A deposit is written down before its gateway is asked, so that whatever happens next is found by our reference. Nobody but [`settle`] acts on what a gateway says,
//! and it does so in one transaction that holds the deposit. A callback, a poll and the answer to a creation are three ways to the same function.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::base::outbox::{self, NewEvent};
use crate::provider::payment::registry::Entry;
use crate::provider::payment::{GatewayError, Transaction, Wish};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::error::Error;
use crate::service::wallet::model::{Action, Command};
use crate::service::wallet::payment::{self, Kind, Payment, Step};
use crate::service::wallet::store::{deposits, payments};
use crate::service::wallet::{apply_one, deposit_event};

/// Deposits looked at in one go.
const CHUNK: i64 = 100;
/// Deposits looked at at once.
const CONCURRENT: usize = 8;
/// How long a gateway is asked to open a deposit before its payer is told that it cannot.
const GIVE_UP: TimeDelta = TimeDelta::minutes(5);
/// Pause after a failure to open.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(2);

/// Whether the account may pay this way, and the gateway takes this amount by this channel at present.
///
/// # Errors
/// What speaks against it.
pub async fn choose(
    app: &App,
    caller: &Caller,
    method: Method,
    channel: &str,
    amount: Rupiah,
) -> Result<(), Error> {
    let unavailable = Error::MethodUnavailable {
        method: method.as_str_name(),
    };
    if caller.sandbox != (method == Method::Sandbox) {
        return Err(unavailable);
    }
    let unknown = || Error::ChannelUnavailable {
        channel: channel.to_owned(),
    };
    if method == Method::Sandbox {
        // The sandbox has no channels.
        return if channel.is_empty() {
            Ok(())
        } else {
            Err(unknown())
        };
    }
    let entry = app.gateways.of(method).ok_or(unavailable)?;
    let channels = entry.channels().await;
    if !entry.is_up() || channels.is_empty() {
        return Err(Error::GatewayUnavailable {
            method: method.as_str_name(),
            rests: entry.rests(),
        });
    }
    let found = channels.iter().find(|c| c.code == channel && c.active);
    let found = found.ok_or_else(unknown)?;
    let (minimum, maximum) = (found.minimum, found.maximum);
    if minimum.is_some_and(|least| amount < least) || maximum.is_some_and(|most| amount > most) {
        return Err(Error::AmountOutOfRange { minimum, maximum });
    }
    Ok(())
}

/// Asks the gateway of a deposit that was just written down. What cannot be had at once, [`look_once`] goes on with.
///
/// # Errors
/// Of the database.
pub async fn open(app: &App, deposit: &Deposit) -> Result<(), Error> {
    match app.gateways.of(deposit.method()) {
        Some(entry) => ask(app, entry, deposit).await,
        None => Ok(()),
    }
}

async fn ask(app: &App, entry: &Entry, deposit: &Deposit) -> Result<(), Error> {
    let payer = deposits::payer(&app.db, deposit.account).await?;
    let public_url = app.config.payments.public_url.trim_end_matches('/');
    let wish = Wish {
        reference: deposit.id.to_string(),
        amount: deposit.amount,
        channel: deposit.channel.clone(),
        payer,
        now: app.clock.now(),
        expires_at: deposit.expires_at,
        callback_url: (!public_url.is_empty())
            .then(|| format!("{public_url}/callbacks/{}", entry.name)),
    };
    let (account, id) = (deposit.account, deposit.id);
    match entry.call(entry.gateway.open(&wish)).await {
        Ok(opened) => settle(app, account, id, &[opened]).await.map(drop),
        Err(GatewayError::Rejected(said)) => {
            tracing::info!(deposit = %id, gateway = entry.name, said, "a gateway refused a deposit");
            fail(app, deposit, "GATEWAY_REJECTED").await
        }
        // Nothing was made, so the next attempt needs no waiting for it to appear.
        Err(GatewayError::Denied(_) | GatewayError::Unreachable(_)) => {
            let at = app.clock.now() + AFTER_FAILURE;
            Ok(deposits::postpone(&app.db, account, id, at).await?)
        }
        Err(GatewayError::Unknown(_)) => {
            let at = app.clock.now() + AFTER_FAILURE;
            Ok(deposits::look_again(&app.db, account, id, at).await?)
        }
    }
}

/// Looks whether the gateway has what was asked for; asks again only when it certainly has not.
async fn open_again(app: &App, entry: &Entry, deposit: &Deposit) -> Result<(), Error> {
    let now = app.clock.now();
    let (account, id) = (deposit.account, deposit.id);
    let reference = id.to_string();
    let given_up = now > deposit.created_at + GIVE_UP;
    let found = match entry.call(entry.gateway.find(&reference)).await {
        Ok(found) => found,
        Err(_) if given_up => return fail(app, deposit, "GATEWAY_UNAVAILABLE").await,
        Err(_) => {
            return Ok(deposits::look_again(&app.db, account, id, now + AFTER_FAILURE).await?);
        }
    };
    if let Some(first) = found.first() {
        // Lists leave out how to pay.
        let whole = entry.call(entry.gateway.get(&first.gateway_ref)).await;
        let mut transactions = found.clone();
        if let Ok(Some(whole)) = whole {
            transactions[0] = whole;
        }
        return settle(app, account, id, &transactions).await.map(drop);
    }
    if given_up {
        return fail(app, deposit, "GATEWAY_UNAVAILABLE").await;
    }
    let visible = deposit
        .asked_at
        .map(|at| at + entry.gateway.capabilities().lookup_delay);
    if let Some(visible) = visible.filter(|at| *at > now) {
        return Ok(deposits::look_again(&app.db, account, id, visible).await?);
    }
    if deposits::ask_again(&app.db, deposit, now).await? {
        ask(app, entry, deposit).await?;
    }
    Ok(())
}

async fn fail(app: &App, deposit: &Deposit, why: &str) -> Result<(), Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let held = deposits::get_deposit_for_update(&mut tx, deposit.account, deposit.id).await?;
    let Some(mut deposit) = held.filter(|d| d.state == DepositState::Preparing) else {
        return Ok(());
    };
    why.clone_into(&mut deposit.failure);
    let mut events = Vec::new();
    close(&mut deposit, DepositState::Failed, now, &mut events);
    finish(app, &mut tx, deposit, &events, now).await?;
    tx.commit().await?;
    app.tail.wake();
    Ok(())
}

/// Asks gateways about the deposits that are due for it, and returns how many there were. Faults of single deposits are logged; those stay due.
///
/// # Errors
/// Of the database, when leasing.
pub async fn look_once(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let leased = deposits::lease_deposits(&app.db, now, now + lease(app), CHUNK).await?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |(account, id)| async move {
            if let Err(error) = look(app, account, id).await {
                tracing::warn!(deposit = %id, %error, "a deposit could not be looked at");
            }
        })
        .await;
    Ok(count)
}

/// Longer than the three calls one look may take.
pub fn lease(app: &App) -> TimeDelta {
    let timeout = i64::try_from(app.config.payments.timeout_ms).unwrap_or(i64::MAX / 4);
    TimeDelta::milliseconds(3 * timeout) + TimeDelta::seconds(5)
}

async fn look(app: &App, account: AccountId, id: DepositId) -> Result<(), Error> {
    let mut connection = app.db.acquire().await?;
    let deposit = deposits::get_deposit(&mut connection, account, id).await?;
    drop(connection);
    let deposit = deposit.ok_or(Error::DepositNotFound)?;
    let Some(entry) = app.gateways.of(deposit.method()) else {
        // The operator took the gateway away. It may come back.
        let later = app.clock.now() + TimeDelta::hours(1);
        return Ok(deposits::look_again(&app.db, account, id, later).await?);
    };
    if deposit.state == DepositState::Preparing {
        return open_again(app, entry, &deposit).await;
    }
    match entry.call(entry.gateway.find(&id.to_string())).await {
        Ok(found) => settle(app, account, id, &found).await.map(drop),
        Err(_) => {
            let again = app.clock.now() + poll(app);
            Ok(deposits::look_again(&app.db, account, id, again).await?)
        }
    }
}

fn poll(app: &App) -> TimeDelta {
    TimeDelta::milliseconds(i64::try_from(app.config.payments.poll_ms).unwrap_or(i64::MAX))
}

/// Does what follows from what the gateway says about the transactions of a deposit. Saying it again changes nothing.
///
/// # Errors
/// If there is no such deposit; of the database.
pub async fn settle(
    app: &App,
    account: AccountId,
    id: DepositId,
    transactions: &[Transaction],
) -> Result<Deposit, Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let held = deposits::get_deposit_for_update(&mut tx, account, id).await?;
    let mut deposit = held.ok_or(Error::DepositNotFound)?;
    let mut events = Vec::new();
    if let (DepositState::Preparing, Some(first)) = (deposit.state, transactions.first()) {
        deposit.adopt(first);
        deposit.state = DepositState::Pending;
        tell(&mut deposit, EventType::DepositReady, "", now, &mut events);
    }
    for transaction in transactions {
        credit(&mut tx, &mut deposit, transaction, now, &mut events).await?;
    }
    if transactions.is_empty() && payment::is_overdue(&deposit, now) {
        // A page nobody opened is a transaction its gateway never heard of.
        close(&mut deposit, DepositState::Expired, now, &mut events);
    }
    let deposit = finish(app, &mut tx, deposit, &events, now).await?;
    tx.commit().await?;
    if !events.is_empty() {
        app.tail.wake();
    }
    Ok(deposit)
}

/// Does what follows from one transaction, on a deposit that this database transaction holds. The caller writes the deposit and the events.
///
/// # Errors
/// Of the database, or of the ledger.
pub async fn credit(
    connection: &mut PgConnection,
    deposit: &mut Deposit,
    transaction: &Transaction,
    now: DateTime<Utc>,
    events: &mut Vec<NewEvent>,
) -> Result<(), Error> {
    let mut known = payments::list_payments(connection, deposit.account, deposit.id).await?;
    for step in payment::judge(deposit, &known, transaction, now) {
        let (kind, paid, action) = match step {
            Step::Close(state) => {
                close(deposit, state, now, events);
                continue;
            }
            Step::Credit { kind, paid, amount } => (kind, paid, Action::Deposit(amount)),
            Step::Reverse { paid, amount } => (Kind::Reversal, paid, Action::Reverse(amount)),
        };
        let credited = post(connection, deposit, kind, action, now).await?;
        let payment = Payment {
            kind: kind as i16,
            paid,
            credited,
            gateway_ref: transaction.gateway_ref.clone(),
            recorded_at: now,
        };
        payments::insert_payment(connection, deposit, &payment).await?;
        known.push(payment);
        deposit.closed_at = Some(now);
        if kind != Kind::Reversal {
            deposit.state = DepositState::Paid;
            let kind = kind.as_str();
            tell_amount(deposit, EventType::DepositPaid, credited, kind, now, events);
            continue;
        }
        if payment::is_all_back(&known) {
            deposit.state = DepositState::Reversed;
        }
        let kind = EventType::DepositReversed;
        tell_amount(deposit, kind, credited, "REVERSAL", now, events);
    }
    Ok(())
}

/// Moves the money, and returns the change of the available balance.
async fn post(
    connection: &mut PgConnection,
    deposit: &Deposit,
    kind: Kind,
    action: Action,
    now: DateTime<Utc>,
) -> Result<Rupiah, Error> {
    if matches!(
        action,
        Action::Deposit(Rupiah::ZERO) | Action::Reverse(Rupiah::ZERO)
    ) {
        return Ok(Rupiah::ZERO);
    }
    let id = deposit.id;
    let description = match kind {
        Kind::Exact => format!("Deposit {id}"),
        Kind::Reversal => format!("Deposit {id}, taken back by the gateway"),
        other => format!("Deposit {id} ({})", other.as_str()),
    };
    let command = Command {
        account: deposit.account,
        action,
        subject: id.0,
        description,
    };
    Ok(apply_one(connection, command, now).await?.available)
}

/// Closes an open deposit.
pub fn close(
    deposit: &mut Deposit,
    state: DepositState,
    now: DateTime<Utc>,
    events: &mut Vec<NewEvent>,
) {
    deposit.state = state;
    deposit.closed_at = Some(now);
    tell(
        deposit,
        EventType::DepositClosed,
        state.as_str(),
        now,
        events,
    );
}

/// Adds an event about a deposit.
pub fn tell(
    deposit: &mut Deposit,
    kind: EventType,
    reason: &str,
    now: DateTime<Utc>,
    events: &mut Vec<NewEvent>,
) {
    let amount = deposit.amount;
    tell_amount(deposit, kind, amount, reason, now, events);
}

fn tell_amount(
    deposit: &mut Deposit,
    kind: EventType,
    amount: Rupiah,
    reason: &str,
    now: DateTime<Utc>,
    events: &mut Vec<NewEvent>,
) {
    deposit.revision += 1;
    let (account, id, revision) = (deposit.account, deposit.id, deposit.revision);
    events.push(deposit_event(
        account, id, revision, kind, amount, reason, now,
    ));
}

/// Writes a deposit back with its events, and decides when its gateway is asked next.
///
/// # Errors
/// Of the database.
pub async fn finish(
    app: &App,
    connection: &mut PgConnection,
    mut deposit: Deposit,
    events: &[NewEvent],
    now: DateTime<Utc>,
) -> Result<Deposit, sqlx::Error> {
    let entry = app.gateways.of(deposit.method());
    deposit.next_look_at = entry
        .filter(|entry| entry.gateway.capabilities().answers)
        .and_then(|_| payment::next_look(deposit.state, deposit.closed_at, now, poll(app)));
    deposits::update_deposit(connection, &deposit).await?;
    outbox::insert(connection, events).await?;
    Ok(deposit)
}
