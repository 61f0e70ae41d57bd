//! Money of accounts.
//!
//! Owns: `balances`, `journals`, `deposits`. Calls: nobody. Reads `accounts` of identity. Emits: DEPOSIT_CREATED, DEPOSIT_PAID, DEPOSIT_CLOSED, WALLET_ADJUSTED.
//!
//! [`apply`] is the only way money moves. It takes any number of commands and gives each its own verdict, so one transaction can carry the commands of many
//! callers (group commit in `order`) or of a thousand due renewals (the sweep in `lifecycle`).

pub mod convert;
pub mod deposit;
pub mod error;
pub mod job;
pub mod model;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, WalletPayload};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::id::{AccountId, DepositId, JournalId};
use crate::base::money::Rupiah;
use crate::base::outbox::{self, NewEvent};
use deposit::{Deposit, DepositState};
use error::Error;
use model::{Action, Command, Journal, Refused};

/// How long a deposit can be paid.
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
    /// `sewa.wallet.v1.Deposit.Method`.
    pub method: i16,
    /// The caller's own reference.
    pub client_reference: Option<String>,
}

/// Opens a deposit.
///
/// # Errors
/// If the method is not for this account, or the reference was used.
pub async fn open_deposit(
    app: &App,
    caller: &Caller,
    connection: &mut PgConnection,
    wish: DepositWish,
) -> Result<Deposit, Error> {
    if !caller.sandbox {
        return Err(Error::MethodUnavailable {
            method: "METHOD_SANDBOX",
        });
    }
    let now = app.clock.now();
    let account = caller.account.ok_or(Error::AccountNotFound)?;
    let deposit = Deposit {
        account,
        id: DepositId::new(),
        amount: wish.amount,
        method: wish.method,
        state: DepositState::Pending,
        client_reference: wish.client_reference,
        created_at: now,
        expires_at: now + DEPOSIT_LIFE,
        closed_at: None,
    };
    store::insert_deposit(connection, &deposit).await?;
    outbox::insert(
        connection,
        &[deposit_event(
            account,
            deposit.id,
            1,
            EventType::DepositCreated,
            deposit.amount,
            "",
            now,
        )],
    )
    .await?;
    Ok(deposit)
}

/// Ends a deposit as the gateway says; PAID credits it. Saying the same again changes nothing.
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
    let deposit = store::get_deposit(connection, account, id)
        .await?
        .ok_or(Error::DepositNotFound)?;
    if !store::advance_deposit(connection, account, id, outcome, now).await? {
        let present = store::get_deposit(connection, account, id)
            .await?
            .ok_or(Error::DepositNotFound)?
            .state;
        return if present == outcome {
            Ok(())
        } else {
            Err(Error::DepositClosed {
                state: present.as_str(),
            })
        };
    }
    let event = if outcome == DepositState::Paid {
        let description = format!("Deposit {id}");
        apply_one(
            connection,
            Command {
                account,
                action: Action::Deposit(deposit.amount),
                subject: id.0,
                description,
            },
            now,
        )
        .await?;
        deposit_event(
            account,
            id,
            2,
            EventType::DepositPaid,
            deposit.amount,
            "",
            now,
        )
    } else {
        deposit_event(
            account,
            id,
            2,
            EventType::DepositClosed,
            deposit.amount,
            outcome.as_str(),
            now,
        )
    };
    outbox::insert(connection, &[event]).await?;
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
