//! Work that outlives the call that asked for it.
//!
//! Owns: `operations`. Calls: nobody. Emits: OPERATION_FINISHED.
//!
//! This slice records work and says how far it is; it does none. Orders work on what fulfils them, and the reconciler of instances on everything else, by the lease
//! that `store::lease` gives out. Every function joins the caller's transaction, in which the instance was locked before.

pub mod convert;
pub mod error;
pub mod model;
pub mod retention;
pub mod rpc;
pub mod store;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, OperationPayload};
use sqlx::PgConnection;

pub use self::model::NewOperation;
use self::model::{End, Event, Leased, Operation, State};
use self::store::{Closing, Ended};
use crate::base::id::{AccountId, ImageId, InstanceId, OperationId};
use crate::base::outbox::{self, NewEvent};
use crate::service::operation::error::Error;

/// Records new operations.
///
/// # Errors
/// Of the database; `operations_one_open` if an instance has one under way.
pub async fn insert_many(
    connection: &mut PgConnection,
    operations: &[NewOperation],
) -> Result<(), sqlx::Error> {
    if operations.is_empty() {
        Ok(())
    } else {
        store::insert(connection, operations).await
    }
}

/// Adds to an operation recorded in this transaction what it works with: an image, a sealed password.
///
/// # Errors
/// Of the database.
pub async fn attach(
    connection: &mut PgConnection,
    operation: &NewOperation,
    image: Option<(ImageId, &str)>,
    secret: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    store::attach(connection, operation.account, operation.id, image, secret).await
}

/// Records how far the operation of an order is. Nothing happens if it is over.
///
/// # Errors
/// Of the database.
pub async fn progress(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    step: &str,
    progress: i16,
) -> Result<(), sqlx::Error> {
    store::progress(connection, account, id, step, progress).await
}

/// Ends the operation of an order that was delivered. Nothing happens if it is over.
///
/// # Errors
/// Of the database.
pub async fn succeed(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let closing = Closing {
        event: Event::Succeed,
        to: State::Succeeded,
        step: "done",
        error: None,
        at: now,
        attempt: None,
    };
    close(connection, account, id, &closing).await.map(|_| ())
}

/// Ends the operation of an order that failed, for one of the contract's reasons. Nothing happens if it is over.
///
/// # Errors
/// Of the database.
pub async fn fail(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    reason: &str,
    message: &str,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let closing = Closing {
        event: Event::Fail,
        to: State::Failed,
        step: "failed",
        error: Some((reason, message)),
        at: now,
        attempt: None,
    };
    close(connection, account, id, &closing).await.map(|_| ())
}

/// Ends the operation of an order that was called off. Nothing happens if it is over.
///
/// # Errors
/// Of the database.
pub async fn cancel_created(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let closing = Closing {
        event: Event::Supersede,
        to: State::Cancelled,
        step: "cancelled",
        error: None,
        at: now,
        attempt: None,
    };
    close(connection, account, id, &closing).await.map(|_| ())
}

/// Takes an operation back that has not reached the provider.
///
/// # Errors
/// If there is none such, or it is too late.
pub async fn cancel(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    now: DateTime<Utc>,
) -> Result<Operation, Error> {
    let found = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::OperationNotFound)?;
    let cancelled = found
        .state
        .on(Event::Cancel)
        .ok()
        .filter(|_| model::is_cancellable(found.kind));
    let to = cancelled.ok_or(Error::NotCancellable { state: found.state })?;
    let closing = Closing {
        event: Event::Cancel,
        to,
        step: "cancelled",
        error: None,
        at: now,
        attempt: None,
    };
    let ended = close(connection, account, id, &closing)
        .await?
        .ok_or(Error::NotCancellable { state: found.state })?;
    Ok(Operation {
        state: to,
        step: closing.step.to_owned(),
        revision: ended.revision,
        finished_at: Some(now),
        ..found
    })
}

/// Cancels whatever is under way on instances, because something more important takes its place. Says what it was.
///
/// # Errors
/// Of the database.
pub async fn supersede(
    connection: &mut PgConnection,
    instances: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> Result<Vec<Ended>, sqlx::Error> {
    let ended = store::supersede(connection, instances, now).await?;
    let events: Vec<NewEvent> = ended
        .iter()
        .map(|e| finished(e, State::Cancelled, now))
        .collect();
    outbox::insert(connection, &events).await?;
    Ok(ended)
}

/// Ends a leased operation. False if the lease was lost, and with it the right to change anything.
///
/// # Errors
/// Of the database.
pub async fn settle(
    connection: &mut PgConnection,
    leased: &Leased,
    end: &End,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let attempt = Some(leased.attempt);
    let closing = match end {
        End::Succeeded => Closing {
            event: Event::Succeed,
            to: State::Succeeded,
            step: "done",
            error: None,
            at: now,
            attempt,
        },
        End::Failed { reason, message } => Closing {
            event: Event::Fail,
            to: State::Failed,
            step: "failed",
            error: Some((reason, message)),
            at: now,
            attempt,
        },
    };
    Ok(close(connection, leased.account, leased.id, &closing)
        .await?
        .is_some())
}

async fn close(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    closing: &Closing<'_>,
) -> Result<Option<Ended>, sqlx::Error> {
    let ended = store::advance(connection, account, id, closing).await?;
    if let Some(ended) = &ended {
        outbox::insert(connection, &[finished(ended, closing.to, closing.at)]).await?;
    }
    Ok(ended)
}

fn finished(ended: &Ended, state: State, at: DateTime<Utc>) -> NewEvent {
    let payload = Payload::Operation(OperationPayload {
        instance_id: ended.instance.to_string(),
        kind: convert::kind_name(ended.kind).to_owned(),
        state: state.as_str().to_owned(),
    });
    NewEvent::new(
        ended.account,
        EventType::OperationFinished,
        ended.id.0,
        ended.revision,
        at,
        payload,
    )
}

/// What a sealed password is bound to.
pub fn secret_context(id: OperationId) -> String {
    format!("operations/{id}")
}
