//! What lifecycle learns from the event log: machines that are gone end their subscription, and money that came in is tried on what is unpaid.

use std::collections::BTreeSet;

use prost::Message;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId};
use crate::base::outbox::consumer;
use crate::base::outbox::reader::Stored;
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::store::clocks;
use crate::service::lifecycle::{self, clock, store};
use crate::service::wallet;
use crate::service::wallet::model::Refused;

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
            "lifecycle",
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
    let mut paid: BTreeSet<Uuid> = BTreeSet::new();
    let mut gone: BTreeSet<(AccountId, InstanceId)> = BTreeSet::new();
    for event in &events {
        match EventType::try_from(i32::from(event.kind)).unwrap_or_default() {
            EventType::DepositPaid | EventType::WalletAdjusted => {
                paid.insert(event.account.0);
            }
            EventType::WalletUnfrozen => {
                paid.insert(event.account.0);
                // What was passed over below while the wallet was frozen.
                let outlived = store::outlived_machines(connection, event.account).await?;
                gone.extend(
                    outlived
                        .into_iter()
                        .map(|instance| (event.account, instance)),
                );
            }
            EventType::InstanceChanged if is_gone(event) => {
                gone.insert((event.account, InstanceId(event.subject)));
            }
            _ => {}
        }
    }
    for (account, instance) in gone {
        match lifecycle::end(app, connection, account, instance).await {
            Ok(()) => {}
            // The others go on. What was paid ahead here is released once staff have ended the freeze.
            Err(Error::Wallet(wallet::error::Error::Refused(Refused::Frozen))) => {}
            Err(Error::Database(error)) => return Err(error),
            Err(error) => {
                return Err(sqlx::Error::Protocol(format!(
                    "ending the subscription of {instance}: {error}"
                )));
            }
        }
    }
    let paid: Vec<Uuid> = paid.into_iter().collect();
    if !paid.is_empty() && store::try_unpaid_again(connection, &paid, app.clock.now()).await? > 0 {
        // The sweep takes up the others; an account whose clock stands still has nobody else to do it.
        for account in paid {
            if let Some(clock) = clocks::get(connection, AccountId(account)).await? {
                clock::settle_due(app, connection, AccountId(account), clock.now_at).await?;
            }
        }
    }
    Ok(())
}

fn is_gone(event: &Stored) -> bool {
    let payload = Event::decode(event.payload.as_slice())
        .ok()
        .and_then(|e| e.payload);
    matches!(payload, Some(Payload::Instance(instance)) if matches!(instance.state.as_str(), "DELETING" | "DELETED" | "LOST" | "FAILED"))
}
