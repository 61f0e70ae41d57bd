//! What promotions add to a deposit. They are posted with it, by one application of commands, so that a deposit and what it brings are one fact; and they are taken
//! back with the payment they were given for.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, WalletPayload};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::id::AccountId;
use crate::base::money::Rupiah;
use crate::base::outbox::NewEvent;
use crate::service::promotion;
use crate::service::promotion::model::{Gift, Given, Kind as GiftKind, Posted};
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::model::{Action, Command, Journal};
use crate::service::wallet::payment::{Kind, Payment};
use crate::service::wallet::store::payments;

/// What a payment is given. Only what tops the wallet up and comes in time counts, and of a deposit only the first payment.
///
/// # Errors
/// Of the database.
pub async fn due(
    connection: &mut PgConnection,
    deposit: &Deposit,
    kind: Kind,
    amount: Rupiah,
) -> Result<Vec<Gift>, sqlx::Error> {
    let in_time = match kind {
        Kind::Exact => true,
        Kind::Underpaid | Kind::Overpaid => deposit.state.is_open(),
        Kind::Late | Kind::Duplicate | Kind::Reversal => false,
    };
    if !in_time || deposit.order.is_some() || amount <= Rupiah::ZERO {
        return Ok(Vec::new());
    }
    let (account, opened_at) = (deposit.account, deposit.created_at);
    let offers = promotion::offers_for_update(connection, account, opened_at).await?;
    decide(connection, account, &offers, amount).await
}

/// What a deposit opened now would be given, if it were paid as asked and nothing else happened before. Rewards of others are left out.
///
/// # Errors
/// Of the database.
pub async fn preview(
    connection: &mut PgConnection,
    account: AccountId,
    amount: Rupiah,
    now: DateTime<Utc>,
) -> Result<Vec<Gift>, sqlx::Error> {
    let offers = promotion::offers(connection, account, now).await?;
    let mut gifts = decide(connection, account, &offers, amount).await?;
    gifts.retain(|gift| gift.account == account);
    Ok(gifts)
}

async fn decide(
    connection: &mut PgConnection,
    account: AccountId,
    offers: &promotion::Offers,
    amount: Rupiah,
) -> Result<Vec<Gift>, sqlx::Error> {
    if offers.is_empty() {
        return Ok(Vec::new());
    }
    // Read after the promotions are locked: of two first payments at once, the second waits there and sees the first.
    let is_first = !payments::has_any(connection, account).await?;
    promotion::gifts(connection, offers, amount, is_first).await
}

/// What a gift is about, for who gets it. Whoever brought somebody here need not know their deposits.
fn subject(deposit: &Deposit, account: AccountId) -> Uuid {
    match account == deposit.account {
        true => deposit.id.0,
        false => Uuid::nil(),
    }
}

/// The command that posts a gift.
pub fn give(deposit: &Deposit, gift: &Gift) -> Command {
    let amount = gift.amount;
    Command {
        account: gift.account,
        action: match gift.kind {
            GiftKind::DepositBonus | GiftKind::NewUserBonus => Action::Grant(amount),
            GiftKind::DepositCashback => Action::Cashback(amount),
            GiftKind::ReferralBonus => Action::Reward(amount),
        },
        subject: subject(deposit, gift.account),
        description: gift.display_name.clone(),
    }
}

/// Counts what was given, and tells of it.
///
/// # Errors
/// Of the database.
pub async fn given(
    connection: &mut PgConnection,
    deposit: &Deposit,
    gifts: Vec<Gift>,
    journals: &[Journal],
    now: DateTime<Utc>,
) -> Result<Vec<NewEvent>, sqlx::Error> {
    let posted = gifts
        .into_iter()
        .zip(journals)
        .map(|(gift, journal)| Posted {
            gift,
            deposit: deposit.id,
            payer: deposit.account,
            journal: journal.id,
        });
    let posted: Vec<Posted> = posted.collect();
    promotion::record(connection, &posted, now).await?;
    let told = posted.iter().zip(journals).map(|(posted, journal)| {
        let (kind, gift) = (EventType::PromotionGiven, &posted.gift);
        event(journal, kind, gift.amount, &gift.display_name, now)
    });
    Ok(told.collect())
}

/// What was given for a payment that is taken back. A part of the payment taken back ends all of what it was given.
///
/// # Errors
/// Of the database.
pub async fn to_take_back(
    connection: &mut PgConnection,
    deposit: &Deposit,
    known: &[Payment],
    gateway_ref: &str,
) -> Result<Vec<Given>, sqlx::Error> {
    let is_first = known.first().is_some_and(|p| p.gateway_ref == gateway_ref);
    if !is_first || deposit.order.is_some() {
        return Ok(Vec::new());
    }
    let mut given = promotion::store::given_for(connection, deposit.id).await?;
    given.retain(|given| given.revoked_at.is_none());
    Ok(given)
}

/// The command that takes a gift back, as far as it is there.
pub fn take_back(deposit: &Deposit, given: &Given) -> Command {
    let of = |kinds: &[GiftKind]| match kinds.iter().any(|kind| *kind as i16 == given.kind) {
        true => given.amount,
        false => Rupiah::ZERO,
    };
    Command {
        account: given.account,
        action: Action::Revoke {
            granted: of(&[GiftKind::DepositBonus, GiftKind::NewUserBonus]),
            cashback: of(&[GiftKind::DepositCashback]),
            reward: of(&[GiftKind::ReferralBonus]),
        },
        subject: subject(deposit, given.account),
        description: format!("{}, taken back", given.display_name),
    }
}

/// Writes down what could be taken back, and tells of it.
///
/// # Errors
/// Of the database.
pub async fn taken_back(
    connection: &mut PgConnection,
    given: &[Given],
    journals: &[Journal],
    now: DateTime<Utc>,
) -> Result<Vec<NewEvent>, sqlx::Error> {
    let mut events = Vec::with_capacity(given.len());
    for (given, journal) in given.iter().zip(journals) {
        let taken = journal.promo_expense;
        promotion::store::revoke(connection, given, taken, now).await?;
        let kind = EventType::PromotionTakenBack;
        events.push(event(
            journal,
            kind,
            taken.negated(),
            &given.display_name,
            now,
        ));
    }
    Ok(events)
}

fn event(
    journal: &Journal,
    kind: EventType,
    amount: Rupiah,
    reason: &str,
    now: DateTime<Utc>,
) -> NewEvent {
    let payload = Payload::Wallet(WalletPayload {
        amount: Some(amount.to_proto()),
        reason: reason.to_owned(),
    });
    NewEvent::new(journal.account, kind, journal.id.0, 1, now, payload)
}
