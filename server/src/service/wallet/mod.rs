//! Money of accounts.
//!
//! Owns: `balances`, `journals`, `deposits`, `payments`, `payment_callbacks`, `bank_confirmations`. Calls: promotion. Reads `accounts`, `memberships` and `users` of
//! identity. Emits: DEPOSIT_CREATED, DEPOSIT_READY, DEPOSIT_PAID, DEPOSIT_CLOSED, DEPOSIT_REVERSED, DEPOSIT_PAYMENT_REFUSED, WALLET_ADJUSTED, PROMOTION_GIVEN,
//! PROMOTION_TAKEN_BACK, WALLET_FROZEN, WALLET_UNFROZEN.
//!
//! [`apply`] is the only way money moves. It takes any number of commands and gives each its own verdict, so one transaction can carry the commands of many
//! callers (group commit in `order`) or of a thousand due renewals (the sweep in `lifecycle`).

pub mod bank;
pub mod bonus;
pub mod callback;
pub mod convert;
pub mod deposit;
pub mod error;
pub mod gateway;
pub mod job;
pub mod kind;
pub mod model;
#[cfg(test)]
mod model_tests;
pub mod payment;
#[cfg(test)]
mod payment_tests;
pub mod play;
mod posting;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, WalletPayload};
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::id::{AccountId, DepositId, JournalId, OrderId};
use crate::base::money::Rupiah;
use crate::base::outbox::{self, NewEvent};
use crate::prove::{self, Scope};
use crate::provider::payment::{Terms, Transaction, TransactionState};
use deposit::{Deposit, DepositState};
use error::Error;
use model::{Action, Balance, Command, Journal, Refused};
use store::deposits;

/// How long a sandbox deposit can be paid.
const DEPOSIT_LIFE: Duration = Duration::hours(24);

/// Applies commands to the books, in order, within the caller's transaction. A refused command changes nothing and does not touch its neighbours. The accounts
/// stay locked until the transaction ends.
///
/// # Errors
/// Of the database; the verdicts are inside.
pub async fn apply(
    connection: &mut PgConnection,
    commands: &[Command],
    now: DateTime<Utc>,
) -> Result<Vec<Result<Journal, Refused>>, sqlx::Error> {
    let mut books = store::lock_books(connection, commands, now).await?;
    let verdicts: Vec<Result<Journal, Refused>> = commands
        .iter()
        .map(|command| books.decide(command, JournalId::new()))
        .collect();
    let accepted: Vec<Journal> = verdicts
        .iter()
        .filter_map(|v| v.as_ref().ok())
        .cloned()
        .collect();
    store::append(connection, &accepted, &books, now).await?;
    Ok(verdicts)
}

/// Applies one command.
///
/// # Errors
/// The refusal, or of the database.
pub async fn apply_one(
    connection: &mut PgConnection,
    command: Command,
    now: DateTime<Utc>,
) -> Result<Journal, Error> {
    let mut verdicts = apply(connection, &[command], now).await?;
    Ok(verdicts.pop().expect("one verdict for one command")?)
}

/// What a caller asks for when opening a deposit.
pub struct DepositWish {
    /// What to credit.
    pub amount: Rupiah,
    /// How to pay.
    pub method: Method,
    /// Code of the channel; empty in the sandbox.
    pub channel: String,
    /// The caller's own reference.
    pub client_reference: Option<String>,
    /// The order it pays for; `None` to top the wallet up.
    pub order: Option<OrderId>,
}

/// Writes a deposit down. That of a gateway is PREPARING until the gateway, which is not asked here, has said how to pay; [`gateway::choose`] has looked at the wish.
///
/// # Errors
/// If the reference was used.
pub async fn open_deposit(
    app: &App,
    caller: &Caller,
    connection: &mut PgConnection,
    wish: DepositWish,
) -> Result<Deposit, Error> {
    let now = app.clock.now();
    let account = caller.account.ok_or(Error::AccountNotFound)?;
    let entry = app.gateways.of(wish.method);
    let life = entry.map_or(DEPOSIT_LIFE, |entry| entry.gateway.capabilities().life);
    let id = DepositId::new();
    let deposit = Deposit {
        account,
        id,
        amount: wish.amount,
        method: i16::try_from(wish.method as i32).unwrap_or_default(),
        channel: wish.channel,
        state: match entry {
            Some(_) => DepositState::Preparing,
            None => DepositState::Pending,
        },
        client_reference: wish.client_reference,
        order: wish.order,
        hold: None,
        payable: None,
        fee: None,
        gateway_ref: String::new(),
        pay_url: match wish.method {
            Method::Sandbox => play::pay_url(app, id),
            _ => String::new(),
        },
        pay_code: String::new(),
        qr_string: String::new(),
        instructions: Vec::new(),
        failure: String::new(),
        revision: 1,
        asked_at: entry.map(|_| now),
        // Whoever writes it down asks the gateway at once; a job takes over if they do not come back from there.
        next_look_at: entry.map(|_| now + gateway::lease(app)),
        created_at: now,
        expires_at: now + life,
        closed_at: None,
    };
    deposits::insert_deposit(connection, &deposit).await?;
    let amount = deposit.amount;
    let created = EventType::DepositCreated;
    let event = deposit_event(account, id, 1, created, amount, "", now);
    outbox::insert(connection, &[event]).await?;
    Ok(deposit)
}

/// Ends a sandbox deposit as its payer would; PAID credits it. Saying the same again changes nothing.
///
/// # Errors
/// If there is no such deposit, or it ended otherwise.
pub async fn settle_deposit(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: DepositId,
    outcome: DepositState,
) -> Result<(), Error> {
    let now = app.clock.now();
    let held = deposits::get_deposit_for_update(connection, account, id).await?;
    let mut deposit = held.ok_or(Error::DepositNotFound)?;
    if deposit.state == outcome {
        return Ok(());
    }
    if !deposit.state.is_open() || deposit.method() != Method::Sandbox {
        return Err(Error::DepositClosed {
            state: deposit.state.as_str(),
        });
    }
    let mut events = Vec::new();
    if outcome == DepositState::Paid {
        let transaction = Transaction {
            gateway_ref: id.to_string(),
            reference: id.to_string(),
            state: TransactionState::Paid,
            total: deposit.amount,
            refunded: Rupiah::ZERO,
            paid_at: Some(deposit.created_at),
            gateway_fee: None,
            terms: Terms::default(),
        };
        gateway::credit(connection, &mut deposit, &transaction, now, &mut events).await?;
    } else {
        gateway::close(&mut deposit, outcome, now, &mut events);
    }
    gateway::finish(app, connection, deposit, &events, now).await?;
    Ok(())
}

/// Corrects a balance.
///
/// # Errors
/// If there is no such account, or the balance would become negative.
pub async fn adjust(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    amount: Rupiah,
    reason: &str,
) -> Result<Journal, Error> {
    if !store::account_exists(&app.db, account).await? {
        return Err(Error::AccountNotFound);
    }
    let now = app.clock.now();
    let command = Command {
        account,
        action: Action::Adjust(amount),
        subject: Uuid::nil(),
        description: reason.to_owned(),
    };
    let journal = apply_one(connection, command, now).await?;
    let payload = Payload::Wallet(WalletPayload {
        amount: Some(amount.to_proto()),
        reason: reason.to_owned(),
    });
    outbox::insert(
        connection,
        &[NewEvent::new(
            account,
            EventType::WalletAdjusted,
            journal.id.0,
            1,
            now,
            payload,
        )],
    )
    .await?;
    Ok(journal)
}

/// Freezes an account's money because `rule` does not hold for a row of it. False if it was frozen before.
///
/// # Errors
/// Of the database.
pub async fn freeze(
    app: &App,
    account: AccountId,
    rule: &str,
    row: &str,
) -> Result<bool, sqlx::Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::freeze(&mut tx, account, &format!("{rule}: {row}"), now).await? {
        return Ok(false);
    }
    let event = freeze_event(account, EventType::WalletFrozen, rule, now);
    outbox::insert(&mut tx, &[event]).await?;
    tx.commit().await?;
    app.tail.wake();
    Ok(true)
}

/// Lets an account's money move again, if its books are in order. Returns the balances and when they changed.
///
/// # Errors
/// If something still differs, or there is no such account.
pub async fn unfreeze(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    reason: &str,
) -> Result<(Balance, Option<DateTime<Utc>>), Error> {
    if !store::account_exists(&app.db, account).await? {
        return Err(Error::AccountNotFound);
    }
    let found = prove::look(&app.db, Scope::of(account)).await?;
    if let Some(first) = found.first() {
        return Err(Error::NotProved {
            findings: found.len(),
            rule: first.rule.clone(),
            row: first.row(),
        });
    }
    if store::unfreeze(connection, account).await? {
        let now = app.clock.now();
        let event = freeze_event(account, EventType::WalletUnfrozen, reason, now);
        outbox::insert(connection, &[event]).await?;
    }
    let books = store::balances(&app.db, &[account]).await?.remove(&account);
    let (balance, at) = books.map_or((Balance::EMPTY, None), |(balance, at)| (balance, Some(at)));
    let unfrozen = Balance {
        frozen_at: None,
        ..balance
    };
    Ok((unfrozen, at))
}

fn freeze_event(account: AccountId, kind: EventType, reason: &str, now: DateTime<Utc>) -> NewEvent {
    let payload = Payload::Wallet(WalletPayload {
        amount: None,
        reason: reason.to_owned(),
    });
    // A wallet counts no changes; later is more.
    NewEvent::new(
        account,
        kind,
        account.0,
        now.timestamp_micros(),
        now,
        payload,
    )
}

fn deposit_event(
    account: AccountId,
    id: DepositId,
    revision: i64,
    kind: EventType,
    amount: Rupiah,
    reason: &str,
    now: DateTime<Utc>,
) -> NewEvent {
    let payload = Payload::Wallet(WalletPayload {
        amount: Some(amount.to_proto()),
        reason: reason.to_owned(),
    });
    NewEvent::new(account, kind, id.0, revision, now, payload)
}
