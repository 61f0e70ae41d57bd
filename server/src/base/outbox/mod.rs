//! The log of what happened. An event is written in the transaction of its change; lists, streams and consumers read it afterwards, by one cursor.

pub mod consumer;
pub mod epoch;
pub mod fanout;
pub mod reader;
pub mod retention;

use chrono::{DateTime, Utc};
use prost::Message;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::id::AccountId;

/// An event to write.
#[derive(Clone, Debug)]
pub struct NewEvent {
    account: AccountId,
    kind: EventType,
    subject: Uuid,
    revision: i64,
    at: DateTime<Utc>,
    /// The event's payload, encoded.
    pub payload: Vec<u8>,
}

impl NewEvent {
    /// `revision` grows with each change of the subject; `at` is the account's time.
    pub fn new(
        account: AccountId,
        kind: EventType,
        subject: Uuid,
        revision: i64,
        at: DateTime<Utc>,
        payload: Payload,
    ) -> Self {
        let payload = Event {
            payload: Some(payload),
            ..Event::default()
        }
        .encode_to_vec();
        Self {
            account,
            kind,
            subject,
            revision,
            at,
            payload,
        }
    }
}

/// Writes events, in order. The caller's transaction must have changed and so locked each subject before: that is what orders a subject's events, and what
/// gives the transaction its number before it takes a cursor position, on which the reader relies.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, events: &[NewEvent]) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    let accounts: Vec<Uuid> = events.iter().map(|e| e.account.0).collect();
    let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
    let types: Vec<i16> = events.iter().map(|e| e.kind as i16).collect();
    let subjects: Vec<Uuid> = events.iter().map(|e| e.subject).collect();
    let revisions: Vec<i64> = events.iter().map(|e| e.revision).collect();
    let times: Vec<DateTime<Utc>> = events.iter().map(|e| e.at).collect();
    let payloads: Vec<&[u8]> = events.iter().map(|e| e.payload.as_slice()).collect();
    sqlx::query!(
        "insert into events (account_id, id, type, subject_id, revision, occurred_at, payload)
        select * from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::bigint[], $6::timestamptz[], $7::bytea[])",
        &accounts,
        &ids,
        &types,
        &subjects,
        &revisions,
        &times,
        &payloads as &[&[u8]],
    )
    .execute(connection)
    .await?;
    Ok(())
}
