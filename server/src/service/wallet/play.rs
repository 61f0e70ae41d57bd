//! Play money: the page at which a sandbox deposit is paid by hand, and what can be done there. What is done goes the way of every gateway, so the page shows what real
//! ones would cause: too little, too much, twice, too late, and taken back.

use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::crypto;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::provider::payment::{Terms, Transaction, TransactionState};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::error::Error;
use crate::service::wallet::gateway;
use crate::service::wallet::payment::{Kind, Payment};
use crate::service::wallet::store::{deposits, payments};

/// Where the pages are.
pub const PATH: &str = "/sandbox/pay";

/// The address of a new deposit's page. Whoever knows it may pay; nobody can guess it.
pub fn pay_url(app: &App, id: DepositId) -> String {
    let secret = crypto::token("");
    let base = match app.config.payments.public_url.trim_end_matches('/') {
        // Where it listens is where it is reached on a machine of one's own.
        "" => {
            let plain = app.config.tls_certificate.as_os_str().is_empty();
            let scheme = if plain { "http" } else { "https" };
            format!("{scheme}://{}", app.config.listen)
        }
        public => public.to_owned(),
    };
    format!("{base}{PATH}/{id}/{secret}")
}

/// The sandbox deposit of a page, if the secret in its address is right.
///
/// # Errors
/// Of the database.
pub async fn find(
    app: &App,
    id: DepositId,
    secret: &str,
) -> Result<Option<(Deposit, Vec<Payment>)>, sqlx::Error> {
    let Some(account) = deposits::account_of_deposit(&app.db, id).await? else {
        return Ok(None);
    };
    let mut connection = app.db.acquire().await?;
    let found = deposits::get_deposit(&mut connection, account, id).await?;
    let Some(deposit) = found.filter(|d| d.method() == Method::Sandbox && opens(d, secret)) else {
        return Ok(None);
    };
    let known = payments::list_payments(&mut connection, account, id).await?;
    Ok(Some((deposit, known)))
}

fn opens(deposit: &Deposit, secret: &str) -> bool {
    let (_, ours) = deposit.pay_url.rsplit_once('/').unwrap_or_default();
    // Digests are of one length, so that the comparison does not tell that of the secret. Deposits of before there were pages have none.
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(
        &crypto::digest(ours.as_bytes()),
        &crypto::digest(secret.as_bytes()),
    );
    !ours.is_empty() && same.is_ok()
}

/// What somebody does on the page. A payment has a number, from 0 on, so that a form that is sent twice pays once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Pays an amount.
    Pay {
        /// Which payment it is.
        number: usize,
        /// How much.
        amount: Rupiah,
    },
    /// Takes back as much of a payment, counted from its beginning.
    TakeBack {
        /// Which payment.
        number: usize,
        /// How much of it is back then.
        refunded: Rupiah,
    },
    /// Lets the time pass in which it can be paid.
    Expire,
    /// Refuses, as a gateway would.
    Fail,
}

/// The payments of a deposit by their numbers, each with how much of it was taken back.
pub fn numbered(known: &[Payment]) -> Vec<(&Payment, Rupiah)> {
    let is_reversal = |p: &&Payment| p.kind == Kind::Reversal as i16;
    let back = |of: &Payment| -> i64 {
        let own = known.iter().filter(is_reversal);
        let own = own.filter(|p| p.gateway_ref == of.gateway_ref);
        own.map(|p| p.paid.0).sum()
    };
    let came = known.iter().filter(|p| !is_reversal(p));
    came.map(|p| (p, Rupiah(back(p)))).collect()
}

/// Does what somebody did on the page of a deposit. Saying it again changes nothing.
///
/// # Errors
/// If there is no such deposit, it does not take that any more, or the ledger refuses.
pub async fn act(
    app: &App,
    connection: &mut PgConnection,
    (account, id): (AccountId, DepositId),
    act: Act,
) -> Result<(), Error> {
    let now = app.clock.now();
    let held = deposits::get_deposit_for_update(connection, account, id).await?;
    let found = held.filter(|d| d.method() == Method::Sandbox);
    let mut deposit = found.ok_or(Error::DepositNotFound)?;
    let known = payments::list_payments(connection, account, id).await?;
    let came = numbered(&known);
    let closed = Error::DepositClosed {
        state: deposit.state.as_str(),
    };
    let mut events = Vec::new();
    let said = match act {
        Act::Pay { number, amount } if number <= came.len() => Some((number, amount, Rupiah::ZERO)),
        Act::TakeBack { number, refunded } => {
            let (paid, _) = came.get(number).ok_or(closed)?;
            Some((number, paid.paid, refunded))
        }
        Act::Expire | Act::Fail if deposit.state.is_open() => {
            let state = match act {
                Act::Expire => DepositState::Expired,
                _ => DepositState::Failed,
            };
            gateway::close(&mut deposit, state, now, &mut events);
            None
        }
        Act::Pay { .. } | Act::Expire | Act::Fail => return Err(closed),
    };
    if let Some((number, total, refunded)) = said {
        let transaction = Transaction {
            gateway_ref: reference(id, number),
            reference: id.to_string(),
            state: TransactionState::Paid,
            total,
            refunded,
            paid_at: None,
            terms: Terms::default(),
            gateway_fee: None,
        };
        gateway::credit(connection, &mut deposit, &transaction, now, &mut events).await?;
    }
    gateway::finish(app, connection, deposit, &events, now).await?;
    Ok(())
}

/// The reference of a payment. That of the first is what `SettleDeposit` gives, so that both pay once.
pub fn reference(id: DepositId, number: usize) -> String {
    match number {
        0 => id.to_string(),
        _ => format!("{id}-{number}"),
    }
}
