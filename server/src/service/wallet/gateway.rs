//! Deposits at payment gateways: opening them once, and crediting what comes for them once.
//!
//! A deposit is written down before its gateway is asked, so that whatever happens next is found by our reference. Nobody but [`settle`] acts on what a gateway says,
//! and it does so in one transaction that holds the deposit. A callback, a poll and the answer to a creation are three ways to the same function.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::fault;
use crate::base::id::{AccountId, DepositId};
use crate::base::lease;
use crate::base::money::Rupiah;
use crate::base::outbox::{self, NewEvent};
use crate::provider::payment::registry::Entry;
use crate::provider::payment::{GatewayError, Transaction, Wish};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::error::Error;
use crate::service::wallet::model::{Action, Command, Journal, Kind as JournalKind, Paid};
use crate::service::wallet::payment::{self, Kind, Payment, Step};
use crate::service::wallet::store::{self, deposits, payments};
use crate::service::wallet::{apply, bonus, deposit_event};

/// How long the reply to a new deposit waits for its gateway. The gateway is waited for no matter what.
const OPENING: Duration = Duration::from_secs(8);
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
    // While it fails, those last seen are listed, and none of them is active.
    if !entry.is_up() || channels.iter().all(|c| !c.active) {
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

/// Asks the gateway of a deposit that was just committed, and reads how far it came. What cannot be had at once, [`look_once`] goes on with.
///
/// # Errors
/// Of the database.
pub async fn open_now(app: &App, deposit: Deposit) -> Result<Deposit, sqlx::Error> {
    let (asking, opening) = (app.clone(), deposit.clone());
    // A task of its own, because a caller who hangs up must not leave a gateway half asked.
    let asked = tokio::spawn(async move {
        let Some(entry) = asking.gateways.of(opening.method()) else {
            return;
        };
        let end = asking.clock.now() + lease(&asking);
        let ask = ask(&asking, entry, &opening);
        lease::work(&asking.clock, end, ("deposit", opening.id), ask).await;
    });
    let _ = tokio::time::timeout(OPENING, asked).await;
    let mut connection = app.db.acquire().await?;
    let found = deposits::get_deposit(&mut connection, deposit.account, deposit.id).await?;
    Ok(found.unwrap_or(deposit))
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
    let lease = lease(app);
    let leased = deposits::lease_deposits(&app.db, now, now + lease, CHUNK).await?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |(account, id)| async move {
            let look = look(app, account, id);
            lease::work(&app.clock, now + lease, ("deposit", id), look).await;
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
            let now = app.clock.now();
            // One that is remembered no longer is looked at once more, and then let go of.
            let again = payment::next_look(&deposit, now, poll(app));
            let again = again.unwrap_or(now + payment::SELDOM);
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
    fault::around(fault::Step::DepositSettle, tx.commit()).await?;
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
        let (kind, paid, actions) = match step {
            Step::Close(state) => {
                close(deposit, state, now, events);
                continue;
            }
            Step::Credit { kind, paid, amount } => {
                let held = payment::held_for_order(deposit, kind, amount);
                let rest = Rupiah(amount.0.saturating_sub(held.0));
                let fee = transaction.gateway_fee.unwrap_or(Rupiah::ZERO);
                (kind, paid, take_in(held, rest, fee).to_vec())
            }
            Step::Reverse { paid, amount } => {
                let hold = payment::hold_of(deposit, &known, &transaction.gateway_ref);
                let actions = vec![Action::Reverse { amount, hold }];
                (Kind::Reversal, paid, actions)
            }
        };
        let gateway_ref = transaction.gateway_ref.clone();
        let (mut gifts, mut given) = match step {
            Step::Credit { kind, amount, .. } => {
                let gifts = bonus::due(connection, deposit, kind, amount).await?;
                (gifts, Vec::new())
            }
            _ => {
                let given = bonus::to_take_back(connection, deposit, &known, &gateway_ref);
                (Vec::new(), given.await?)
            }
        };
        // A payer does not wait for the freeze of whoever brought them here: nothing is given to a frozen wallet, and nothing taken from it.
        let beneficiaries = gifts.iter().map(|gift| gift.account.0);
        let beneficiaries = beneficiaries.chain(given.iter().map(|given| given.account.0));
        let frozen = store::frozen_among(connection, &beneficiaries.collect::<Vec<_>>()).await?;
        let payer = deposit.account;
        let moves = |account: AccountId| account == payer || !frozen.contains(&account);
        gifts.retain(|gift| moves(gift.account));
        given.retain(|given| moves(given.account));
        let giving = gifts.iter().map(|gift| bonus::give(deposit, gift));
        let taking = given.iter().map(|given| bonus::take_back(deposit, given));
        let beside: Vec<Command> = giving.chain(taking).collect();
        let (credited, journals) = post(connection, deposit, kind, &actions, beside, now).await?;
        let told = transaction.gateway_fee;
        let payment = Payment {
            kind: kind as i16,
            paid,
            credited,
            gateway_fee: told.filter(|_| kind != Kind::Reversal && credited > Rupiah::ZERO),
            gateway_ref,
            recorded_at: now,
        };
        payments::insert_payment(connection, deposit, &payment).await?;
        known.push(payment);
        deposit.closed_at = Some(now);
        if kind == Kind::Reversal {
            if payment::is_all_back(&known) {
                deposit.state = DepositState::Reversed;
            }
            let kind = EventType::DepositReversed;
            tell_amount(deposit, kind, credited, "REVERSAL", now, events);
            events.extend(bonus::taken_back(connection, &given, &journals, now).await?);
        } else {
            deposit.state = DepositState::Paid;
            let kind = kind.as_str();
            tell_amount(deposit, EventType::DepositPaid, credited, kind, now, events);
            events.extend(bonus::given(connection, deposit, gifts, &journals, now).await?);
        }
    }
    Ok(())
}

/// What comes in for an order and what comes in beside it. The fee goes with the first that is anything, and nowhere if nothing is credited.
fn take_in(held: Rupiah, rest: Rupiah, fee: Rupiah) -> [Action; 2] {
    let with = |amount, fee| Paid { amount, fee };
    match held {
        Rupiah::ZERO => [
            Action::Receive(Paid::whole(held)),
            Action::Deposit(with(rest, fee)),
        ],
        _ => [
            Action::Receive(with(held, fee)),
            Action::Deposit(Paid::whole(rest)),
        ],
    }
}

/// Moves the money, and returns how the available and the held balance changed together, and the journals of the commands `beside`. All of it is applied at once,
/// because whoever locks wallets locks all they need in one go.
async fn post(
    connection: &mut PgConnection,
    deposit: &mut Deposit,
    kind: Kind,
    actions: &[Action],
    beside: Vec<Command>,
    now: DateTime<Utc>,
) -> Result<(Rupiah, Vec<Journal>), Error> {
    let id = deposit.id;
    let description = match (kind, deposit.order) {
        (Kind::Reversal, _) => format!("Deposit {id}, taken back by the gateway"),
        (Kind::Exact, None) => format!("Deposit {id}"),
        (Kind::Exact, Some(order)) => format!("Deposit {id} for order {order}"),
        (other, _) => format!("Deposit {id} ({})", other.as_str()),
    };
    let is_nothing = |action: &Action| {
        use Action::{Deposit, Receive, Reverse};
        match action {
            Deposit(paid) | Receive(paid) => paid.amount == Rupiah::ZERO,
            Reverse { amount, .. } => *amount == Rupiah::ZERO,
            _ => false,
        }
    };
    let moving = actions.iter().filter(|action| !is_nothing(action));
    let mut commands: Vec<Command> = moving
        .map(|action| Command {
            account: deposit.account,
            action: *action,
            subject: id.0,
            description: description.clone(),
        })
        .collect();
    let own = commands.len();
    commands.extend(beside);
    if commands.is_empty() {
        return Ok((Rupiah::ZERO, Vec::new()));
    }
    let verdicts = apply(connection, &commands, now).await?.into_iter();
    let mut journals = verdicts.collect::<Result<Vec<Journal>, _>>()?;
    let beside = journals.split_off(own);
    let mut credited = 0;
    for journal in journals {
        credited += journal.available.0 + journal.held.0;
        if journal.kind == JournalKind::Hold {
            deposit.hold = Some(journal.id);
        }
    }
    Ok((Rupiah(credited), beside))
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
        .and_then(|_| payment::next_look(&deposit, now, poll(app)));
    deposits::update_deposit(connection, &deposit).await?;
    outbox::insert(connection, events).await?;
    Ok(deposit)
}
