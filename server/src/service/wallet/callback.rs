//! Callbacks of gateways. A callback is believed in one thing only: where to look. Every one is kept, with what became of it.

use http::{HeaderMap, StatusCode};
use sewa_sdk::sewa::event::v1::EventType;

use crate::app::App;
use crate::base::crypto;
use crate::base::fault::{self, Step};
use crate::base::id::{AccountId, DepositId};
use crate::provider::payment::registry::Entry;
use crate::provider::payment::{BadCallback, Notice, Transaction, TransactionState};
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::error::Error;
use crate::service::wallet::gateway;
use crate::service::wallet::store::payments::KeptCallback;
use crate::service::wallet::store::{deposits, payments};

/// Bytes kept of a callback that is not signed.
const KEPT_OF_FORGED: usize = 1024;

/// What became of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Not signed, or signed by somebody else.
    Forged,
    /// Signed and unreadable.
    Malformed,
    /// The gateway was asked and what it said was done.
    Confirmed,
    /// The gateway was asked and says otherwise; what it said was done.
    Contradicted,
    /// The gateway could not be asked. The deposit is looked at again soon.
    Unconfirmed,
    /// It is not about a deposit of this platform, or not for this merchant.
    Refused,
    /// The same was dealt with before.
    Repeated,
    /// Our database failed, and the gateway has to send it again.
    Failed,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "FORGED",
            Self::Malformed => "MALFORMED",
            Self::Confirmed => "CONFIRMED",
            Self::Contradicted => "CONTRADICTED",
            Self::Unconfirmed => "UNCONFIRMED",
            Self::Refused => "REFUSED",
            Self::Repeated => "REPEATED",
            Self::Failed => "FAILED",
        }
    }
}

/// Deals with a callback, and says what to answer.
pub async fn receive(
    app: &App,
    entry: &Entry,
    headers: &HeaderMap,
    body: &[u8],
    ip: &str,
) -> (StatusCode, &'static str) {
    let received_at = app.clock.now();
    let method = i16::try_from(entry.method as i32).unwrap_or_default();
    let digest = crypto::digest(body);
    let read = entry.gateway.read_callback(headers, body);
    let verdict = match &read {
        Err(BadCallback::Forged) => Verdict::Forged,
        Err(BadCallback::Malformed) => Verdict::Malformed,
        Err(BadCallback::WrongMerchant { reference }) => {
            refuse(app, reference, "WRONG_MERCHANT").await
        }
        Ok(notice) => match payments::is_callback_settled(&app.db, method, &digest).await {
            Ok(true) => Verdict::Repeated,
            Ok(false) => follow(app, entry, notice).await,
            Err(error) => failed(&error),
        },
    };
    let kept = match verdict {
        Verdict::Forged => &body[..body.len().min(KEPT_OF_FORGED)],
        _ => body,
    };
    let kept = KeptCallback {
        method,
        digest,
        body: kept,
        verdict: verdict.as_str(),
        gateway_ref: read.as_ref().map_or("", |notice| &notice.gateway_ref),
        ip,
        received_at,
    };
    metrics::counter!("sewa_payment_callbacks", "gateway" => entry.name, "verdict" => verdict.as_str()).increment(1);
    let verdict = match fault::around(
        Step::CallbackKeep,
        payments::insert_callback(&app.db, &kept),
    )
    .await
    {
        Ok(()) => verdict,
        Err(error) => failed(&error),
    };
    match verdict {
        Verdict::Forged => (StatusCode::UNAUTHORIZED, r#"{"success":false}"#),
        Verdict::Malformed => (StatusCode::BAD_REQUEST, r#"{"success":false}"#),
        Verdict::Failed => (StatusCode::INTERNAL_SERVER_ERROR, r#"{"success":false}"#),
        _ => (StatusCode::OK, entry.gateway.acknowledgement()),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Verdict {
    tracing::warn!(%error, "a callback could not be dealt with");
    Verdict::Failed
}

/// The deposit a reference names, if it is one of this platform.
async fn named(app: &App, reference: &str) -> Result<Option<(AccountId, DepositId)>, sqlx::Error> {
    let Ok(id) = reference.parse().map(DepositId) else {
        return Ok(None);
    };
    let account = deposits::account_of_deposit(&app.db, id).await?;
    Ok(account.map(|account| (account, id)))
}

/// Asks the gateway about what a callback names.
async fn follow(app: &App, entry: &Entry, notice: &Notice) -> Verdict {
    let found = entry.call(entry.gateway.get(&notice.gateway_ref)).await;
    let outcome = match found {
        Ok(Some(transaction)) => confirm(app, entry, notice, &transaction).await,
        Ok(None) | Err(_) => look_soon(app, &notice.reference)
            .await
            .map(|()| Verdict::Unconfirmed),
    };
    outcome.unwrap_or_else(|error| failed(&error))
}

async fn look_soon(app: &App, reference: &str) -> Result<(), Error> {
    if let Some((account, id)) = named(app, reference).await? {
        deposits::look_again(&app.db, account, id, app.clock.now()).await?;
    }
    Ok(())
}

async fn confirm(
    app: &App,
    entry: &Entry,
    notice: &Notice,
    transaction: &Transaction,
) -> Result<Verdict, Error> {
    let is_same = notice.reference.is_empty() || notice.reference == transaction.reference;
    let named = named(app, &transaction.reference).await?;
    let Some((account, id)) = named.filter(|_| is_same) else {
        return Ok(refuse(app, &notice.reference, "WRONG_REFERENCE").await);
    };
    let mut connection = app.db.acquire().await?;
    let deposit = deposits::get_deposit(&mut connection, account, id).await?;
    drop(connection);
    if deposit.is_none_or(|d: Deposit| d.method() != entry.method) {
        return Ok(refuse(app, &notice.reference, "WRONG_GATEWAY").await);
    }
    gateway::settle(app, account, id, std::slice::from_ref(transaction)).await?;
    let is_paid = transaction.state == TransactionState::Paid;
    let agrees = !notice.paid
        || (is_paid
            && notice
                .amount
                .is_none_or(|amount| amount == transaction.total));
    Ok(if agrees {
        Verdict::Confirmed
    } else {
        Verdict::Contradicted
    })
}

/// Tells the owner of the deposit that was named, if there is one.
async fn refuse(app: &App, reference: &str, why: &str) -> Verdict {
    let told = async {
        let Some((account, id)) = named(app, reference).await? else {
            return Ok(());
        };
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if let Some(mut deposit) = deposits::get_deposit_for_update(&mut tx, account, id).await? {
            let mut events = Vec::new();
            let kind = EventType::DepositPaymentRefused;
            gateway::tell(&mut deposit, kind, why, now, &mut events);
            gateway::finish(app, &mut tx, deposit, &events, now).await?;
        }
        tx.commit().await?;
        app.tail.wake();
        Ok::<(), sqlx::Error>(())
    };
    match told.await {
        Ok(()) => Verdict::Refused,
        Err(error) => failed(&error),
    }
}
