//! Issuing. The event log says whose books may have moved; a slow walk through all accounts finds what no event told of. Both do the same, in the same
//! transaction-sized steps, and either alone would be enough in the end.

use std::collections::BTreeSet;

use chrono::Duration;
use sewa_sdk::sewa::event::v1::EventType;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::App;
use crate::base::outbox::consumer;
use crate::base::outbox::reader::Stored;
use crate::base::walk;
use crate::service::invoice::model::Party;
use crate::service::invoice::{self, store};

/// Accounts in one step.
const ACCOUNTS: i64 = 100;
/// How often the walk goes through all accounts.
const REST: Duration = Duration::hours(6);

/// Issues what the next events tell of. Returns how much there was to do. Nothing is issued, and no event is held back, while the settings name no seller.
///
/// # Errors
/// Of the database; the same events come again then.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let Some(seller) = app.config.seller.party() else {
        return Ok(0);
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let behind = store::behind(&mut tx, ACCOUNTS).await?;
    let mut done = invoice::issue(&mut tx, &seller, &behind, now).await?;
    tx.commit().await?;
    done += consumer::step(&app.db, &app.tail, "invoices", move |connection, events| {
        Box::pin(async move { handle(connection, &seller, &events, now).await })
    })
    .await?;
    Ok(done)
}

async fn handle(
    connection: &mut PgConnection,
    seller: &Party,
    events: &[Stored],
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), sqlx::Error> {
    let accounts: BTreeSet<Uuid> = events
        .iter()
        .filter(|event| may_charge(event.kind))
        .map(|event| event.account.0)
        .collect();
    let accounts: Vec<Uuid> = accounts.into_iter().collect();
    invoice::issue(connection, seller, &accounts, now).await?;
    Ok(())
}

/// Whether an event may come with a charge or a refund. Those that certainly do not, and are many, are named; a kind that is not known here is looked at.
fn may_charge(kind: i16) -> bool {
    use EventType as Type;
    let kind = EventType::try_from(i32::from(kind)).unwrap_or_default();
    !matches!(
        kind,
        Type::OrderPlaced
            | Type::OrderPaid
            | Type::OrderProvisioning
            | Type::OperationFinished
            | Type::DepositCreated
            | Type::DepositReady
            | Type::DepositClosed
    )
}

/// Looks at the next few accounts, whatever events said. Returns how many there were.
///
/// # Errors
/// Of the database.
pub async fn walk(app: &App) -> Result<usize, sqlx::Error> {
    let Some(seller) = app.config.seller.party() else {
        return Ok(0);
    };
    let now = app.clock.now();
    let Some(mut turn) = walk::turn(&app.db, "issue invoices", now).await? else {
        return Ok(0);
    };
    let accounts = store::accounts_after(&mut turn.tx, turn.after, ACCOUNTS).await?;
    invoice::issue(&mut turn.tx, &seller, &accounts, now).await?;
    let (count, reached) = (accounts.len(), accounts.last().copied());
    turn.end(reached, now + REST).await?;
    Ok(count)
}
