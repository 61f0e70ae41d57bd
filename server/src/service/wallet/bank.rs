//! Bank transfers: staff say what they saw on a statement.

use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::provider::payment::settings::BankSettings;
use crate::provider::payment::{Terms, Transaction, TransactionState};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::error::Error;
use crate::service::wallet::gateway;
use crate::service::wallet::store::payments::Confirmation;
use crate::service::wallet::store::{deposits, payments, queue};
use sewa_sdk::sewa::wallet::v1::deposit::Method;

/// Writes down that somebody saw a transfer, and credits it once enough people did.
///
/// # Errors
/// If it is no bank transfer, was credited before, or needs somebody else.
pub async fn confirm(
    app: &App,
    caller: &Caller,
    connection: &mut PgConnection,
    (account, id): (AccountId, DepositId),
    received: Rupiah,
    bank_reference: &str,
) -> Result<Deposit, Error> {
    let now = app.clock.now();
    let held = deposits::get_deposit_for_update(connection, account, id).await?;
    let mut deposit = held.ok_or(Error::DepositNotFound)?;
    if deposit.method() != Method::BankTransfer || deposit.state == DepositState::Preparing {
        return Err(Error::NotConfirmable {
            method: deposit.method().as_str_name(),
        });
    }
    if payments::is_reference_taken(connection, deposit.method, bank_reference).await? {
        return Err(Error::BankReferenceTaken);
    }
    let before = payments::list_confirmations(connection, &deposit, bank_reference).await?;
    if let Some(first) = before.iter().find(|c| c.received != received) {
        return Err(Error::ConfirmedAmountDiffers {
            confirmed: first.received,
        });
    }
    if before.iter().any(|c| c.principal == caller.principal) {
        return Err(Error::SecondPersonRequired);
    }
    let confirmation = Confirmation {
        principal: caller.principal,
        received,
    };
    payments::insert_confirmation(connection, &deposit, bank_reference, &confirmation, now).await?;
    let from = app.config.payments.bank_transfer.as_ref();
    let alone = !needs_two(from, received);
    if !alone && before.is_empty() {
        queue::mark(connection, &deposit).await?;
        return Ok(deposit);
    }
    let transaction = Transaction {
        gateway_ref: bank_reference.to_owned(),
        reference: id.to_string(),
        state: TransactionState::Paid,
        total: received,
        refunded: Rupiah::ZERO,
        paid_at: None,
        gateway_fee: None,
        terms: Terms::default(),
    };
    let mut events = Vec::new();
    gateway::credit(connection, &mut deposit, &transaction, now, &mut events).await?;
    let deposit = gateway::finish(app, connection, deposit, &events, now).await?;
    queue::mark(connection, &deposit).await?;
    Ok(deposit)
}

/// Whether two people have to see a transfer of this amount.
pub fn needs_two(settings: Option<&BankSettings>, amount: Rupiah) -> bool {
    // A section that was taken away since leaves nobody to say that one person is enough.
    settings.is_none_or(|settings| amount >= settings.second_person_from)
}
