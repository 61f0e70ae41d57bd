//! Levers of sandbox accounts: finish a deposit as its payer would, make the simulator misbehave, move time.
//!
//! Owns: nothing. Calls: wallet, lifecycle, and the simulator provider. Emits: nothing of its own.

pub mod convert;
pub mod error;
pub mod page;
pub mod rpc;

use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::id::{AccountId, DepositId};
use crate::service::lifecycle::clock::TestClock;
use crate::service::lifecycle::store::clocks;
use crate::service::sandbox::error::Error;
use crate::service::wallet;
use crate::service::wallet::deposit::DepositState;

/// The caller's account, if it is a sandbox account.
///
/// # Errors
/// SANDBOX_ONLY if it is not.
pub fn account(caller: &Caller) -> Result<AccountId, Error> {
    caller
        .account
        .filter(|_| caller.sandbox)
        .ok_or(Error::SandboxOnly)
}

/// Ends a deposit.
///
/// # Errors
/// If there is none, or it ended otherwise.
pub async fn settle_deposit(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: DepositId,
    outcome: DepositState,
) -> Result<(), Error> {
    match wallet::settle_deposit(app, connection, account, id, outcome).await {
        Ok(()) => Ok(()),
        Err(wallet::error::Error::DepositNotFound) => Err(Error::DepositNotFound),
        Err(wallet::error::Error::DepositClosed { state }) => {
            Err(Error::PaymentStatusConflict { state })
        }
        Err(other) => Err(Error::Wallet(other)),
    }
}

/// Gives the account a clock.
///
/// # Errors
/// If it has one.
pub async fn create_clock(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<TestClock, Error> {
    clocks::insert(connection, account, app.clock.now())
        .await?
        .ok_or(Error::ClockExists)
}

/// Sends the account's clock on.
///
/// # Errors
/// If there is none, or it is on its way.
pub async fn advance_clock(
    connection: &mut PgConnection,
    account: AccountId,
    by: chrono::Duration,
) -> Result<TestClock, Error> {
    match clocks::send(connection, account, by).await? {
        Some(clock) => Ok(clock),
        None if clocks::get(connection, account).await?.is_some() => Err(Error::ClockAdvancing),
        None => Err(Error::ClockNotFound),
    }
}
