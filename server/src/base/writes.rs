//! Accepted writes: idempotency and audit in one row, written in the transaction of the effect.
//!
//! A handler that writes does four things: `begin` (which answers a repeat), its work on the open transaction, conversion, `finish`. The row goes in last; if
//! another call with the same key was faster, the insert finds its row, everything here is rolled back and the other's outcome is the answer.

use prost::Message;
use prost_reflect::DynamicMessage;
use sewa_sdk::sewa::api::v1::CommonErrorReason;
use sqlx::PgConnection;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::base::call::Call;
use crate::base::contract::Contract;
use crate::base::db::{PgPool, Transaction};
use crate::base::fault::{self, Step};
use crate::base::id::AccountId;
use crate::base::repeats::Name;
use crate::base::status;

/// A write to record.
#[derive(Clone)]
pub struct Record {
    /// Whose audit trail it is in.
    pub account_id: Uuid,
    /// The user or API key that called.
    pub principal_id: Uuid,
    /// `package.Service/Method`.
    pub method: &'static str,
    /// The idempotency key.
    pub key: String,
    /// Keyed digest of the request.
    pub fingerprint: [u8; 16],
    /// gRPC status code of the outcome.
    pub code: i16,
    /// The outcome, encoded.
    pub reply: Vec<u8>,
    /// The request, secrets cleared.
    pub request: bytes::Bytes,
    /// The state before a change, as an encoded `Any`.
    pub before: Option<Vec<u8>>,
    /// The account written to, where it is not the caller's own.
    pub about: Option<Uuid>,
    /// `x-request-id`.
    pub request_id: String,
    /// Network address of the caller.
    pub ip: String,
    /// When the call arrived.
    pub recorded_at: chrono::DateTime<chrono::Utc>,
}

/// The outcome of an earlier call with the same key.
#[derive(Clone)]
pub struct Stored {
    fingerprint: Vec<u8>,
    code: i16,
    reply: Vec<u8>,
}

/// What `begin` found.
pub enum Claim<'c> {
    /// Nothing: do the work on `Write::tx`, then `finish`.
    Fresh(Write<'c>),
    /// The outcome of an earlier call: answer with `Stored::reply`.
    Repeat(Stored),
}

/// An open write.
pub struct Write<'c> {
    /// The transaction of the effect.
    pub tx: Transaction,
    pool: PgPool,
    call: &'c Call,
    before: Option<Vec<u8>>,
    about: Option<Uuid>,
}

/// Opens the transaction of a write, unless the key was used before.
///
/// # Errors
/// UNAVAILABLE or INTERNAL if the database fails.
pub async fn begin<'c>(pool: &PgPool, call: &'c Call) -> Result<Claim<'c>, Status> {
    if call.keyed
        && let Some(stored) = find(pool, call).await?
    {
        return Ok(Claim::Repeat(stored));
    }
    let tx = pool.begin().await.map_err(|e| status::database(&e))?;
    Ok(Claim::Fresh(Write {
        tx,
        pool: pool.clone(),
        call,
        before: None,
        about: None,
    }))
}

impl Write<'_> {
    /// Keeps the state before the change for the audit trail, with its type.
    pub fn keep_before(&mut self, before: &impl prost::Name) {
        self.before = prost_types::Any::from_msg(before)
            .ok()
            .map(|any| any.encode_to_vec());
    }

    /// Names the account written to, for the audit trail of staff, who have none of their own.
    pub fn about(&mut self, account: AccountId) {
        self.about = (account != self.call.account_of_record()).then_some(account.0);
    }

    /// Ends the write: on success records it and commits, on refusal rolls back and keeps the refusal for a repeat of the key.
    ///
    /// # Errors
    /// The outcome's own error; UNAVAILABLE where it is unknown whether the commit happened (repeat the key to learn it).
    pub async fn finish<R: Message + Default>(
        mut self,
        outcome: Result<R, Status>,
    ) -> Result<Response<R>, Status> {
        match outcome {
            Ok(reply) => {
                let mut record = record(self.call, Code::Ok, reply.encode_to_vec());
                record.before = self.before.take();
                record.about = self.about;
                if insert(&mut self.tx, &[record])
                    .await
                    .map_err(|e| status::database(&e))?
                    .is_empty()
                {
                    fault::around(Step::Write, self.tx.commit())
                        .await
                        .map_err(|e| status::database(&e))?;
                    return Ok(Response::new(reply));
                }
                self.tx.rollback().await.map_err(|e| status::database(&e))?;
                find(&self.pool, self.call)
                    .await?
                    .map_or_else(|| Err(in_progress()), |stored| stored.reply(self.call))
            }
            Err(refusal) => {
                self.tx.rollback().await.map_err(|e| status::database(&e))?;
                if self.call.keyed && is_final(&refusal) {
                    let mut connection = self
                        .pool
                        .acquire()
                        .await
                        .map_err(|e| status::database(&e))?;
                    let mut record = record(self.call, refusal.code(), encode_status(&refusal));
                    record.about = self.about;
                    fault::around(Step::Refusal, insert(&mut connection, &[record]))
                        .await
                        .map_err(|e| status::database(&e))?;
                }
                Err(refusal)
            }
        }
    }
}

/// Whether an error is an outcome of the call, to be repeated as it is, and not a failure to give one. An error that says when to try again is none: whoever does,
/// with the same key as the contract asks, would only get it back.
pub fn is_final(refusal: &Status) -> bool {
    let failed = matches!(
        refusal.code(),
        Code::Internal
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Unauthenticated
    );
    !failed && refusal.get_details_retry_info().is_none()
}

/// The row of a successful or refused call. Secrets in the reply are cleared: a replay leaves them empty.
pub fn record(call: &Call, code: Code, reply: Vec<u8>) -> Record {
    Record {
        account_id: call.account_of_record().0,
        principal_id: call.caller.principal,
        method: &call.method.name,
        key: call.key.clone(),
        fingerprint: call.fingerprint,
        code: i16::try_from(code as i32).unwrap_or(2),
        reply: if code == Code::Ok && call.method.secret_output {
            without_secrets(call, &reply)
        } else {
            reply
        },
        request: call.request.clone(),
        before: None,
        about: None,
        request_id: call.request_id.clone(),
        ip: call.ip.clone(),
        recorded_at: call.now,
    }
}

/// A refusal as the row keeps it.
pub fn encode_status(refusal: &Status) -> Vec<u8> {
    let details = refusal.details();
    if details.is_empty() {
        return tonic_types::Status {
            code: refusal.code() as i32,
            message: refusal.message().to_owned(),
            details: Vec::new(),
        }
        .encode_to_vec();
    }
    details.to_vec()
}

/// Records writes, and returns the positions of those whose key was there already.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    records: &[Record],
) -> Result<Vec<usize>, sqlx::Error> {
    let accounts: Vec<Uuid> = records.iter().map(|r| r.account_id).collect();
    let principals: Vec<Uuid> = records.iter().map(|r| r.principal_id).collect();
    let methods: Vec<&str> = records.iter().map(|r| r.method).collect();
    let keys: Vec<&str> = records.iter().map(|r| r.key.as_str()).collect();
    let fingerprints: Vec<&[u8]> = records.iter().map(|r| r.fingerprint.as_slice()).collect();
    let codes: Vec<i16> = records.iter().map(|r| r.code).collect();
    let replies: Vec<&[u8]> = records.iter().map(|r| r.reply.as_slice()).collect();
    let requests: Vec<&[u8]> = records.iter().map(|r| r.request.as_ref()).collect();
    let befores: Vec<Option<&[u8]>> = records.iter().map(|r| r.before.as_deref()).collect();
    let abouts: Vec<Option<Uuid>> = records.iter().map(|r| r.about).collect();
    let request_ids: Vec<&str> = records.iter().map(|r| r.request_id.as_str()).collect();
    let ips: Vec<&str> = records.iter().map(|r| r.ip.as_str()).collect();
    let times: Vec<chrono::DateTime<chrono::Utc>> = records.iter().map(|r| r.recorded_at).collect();
    let inserted = sqlx::query!(
        r#"insert into writes (account_id, principal_id, method, key, fingerprint, code, reply, request, before, request_id, ip, recorded_at, about_account_id)
        select * from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::smallint[], $7::bytea[], $8::bytea[], $9::bytea[], $10::text[], $11::text[], $12::timestamptz[], $13::uuid[])
        on conflict do nothing
        returning principal_id, method, key"#,
        &accounts,
        &principals,
        &methods as &[&str],
        &keys as &[&str],
        &fingerprints as &[&[u8]],
        &codes,
        &replies as &[&[u8]],
        &requests as &[&[u8]],
        &befores as &[Option<&[u8]>],
        &request_ids as &[&str],
        &ips as &[&str],
        &times,
        &abouts as &[Option<Uuid>],
    )
    .fetch_all(connection)
    .await?;
    if inserted.len() == records.len() {
        return Ok(Vec::new());
    }
    let done: std::collections::HashSet<(Uuid, String, String)> = inserted
        .into_iter()
        .map(|row| (row.principal_id, row.method, row.key))
        .collect();
    Ok(records
        .iter()
        .enumerate()
        .filter(|(_, r)| !done.contains(&(r.principal_id, r.method.to_owned(), r.key.clone())))
        .map(|(i, _)| i)
        .collect())
}

/// The outcome kept for a call's key.
///
/// # Errors
/// UNAVAILABLE or INTERNAL if the database fails.
pub async fn find(pool: &PgPool, call: &Call) -> Result<Option<Stored>, Status> {
    sqlx::query_as!(
        Stored,
        "select fingerprint, code, reply from writes where account_id = $1 and principal_id = $2 and method = $3 and key = $4",
        call.account_of_record().0,
        call.caller.principal,
        call.method.name,
        call.key,
    )
    .fetch_optional(pool)
    .await
    .map_err(|e| status::database(&e))
}

/// The outcomes kept for keys, of those that were used.
///
/// # Errors
/// Of the database.
pub async fn find_many(pool: &PgPool, names: &[Name]) -> Result<Vec<(Name, Stored)>, sqlx::Error> {
    let accounts: Vec<Uuid> = names.iter().map(|name| name.account).collect();
    let principals: Vec<Uuid> = names.iter().map(|name| name.principal).collect();
    let methods: Vec<&str> = names.iter().map(|name| name.method).collect();
    let keys: Vec<&str> = names.iter().map(|name| name.key.as_str()).collect();
    let rows = sqlx::query!(
        r#"select asked.number as "number!", w.fingerprint, w.code, w.reply
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) with ordinality as asked (account_id, principal_id, method, key, number)
        join writes w on w.account_id = asked.account_id and w.principal_id = asked.principal_id and w.method = asked.method and w.key = asked.key"#,
        &accounts,
        &principals,
        &methods as &[&str],
        &keys as &[&str],
    )
    .fetch_all(pool)
    .await?;
    let stored = rows.into_iter().filter_map(|row| {
        let name = names.get(usize::try_from(row.number).ok()?.checked_sub(1)?)?;
        let (fingerprint, code, reply) = (row.fingerprint, row.code, row.reply);
        Some((
            name.clone(),
            Stored {
                fingerprint,
                code,
                reply,
            },
        ))
    });
    Ok(stored.collect())
}

impl Stored {
    /// The outcome that a record holds.
    pub fn of(record: &Record) -> Self {
        Self::new(record.fingerprint, record.code, record.reply.clone())
    }

    /// An outcome: the digest of its request, its gRPC status code, and the encoded reply or refusal.
    pub fn new(fingerprint: [u8; 16], code: i16, reply: Vec<u8>) -> Self {
        Self {
            fingerprint: fingerprint.to_vec(),
            code,
            reply,
        }
    }

    /// Bytes of the outcome.
    pub fn size(&self) -> usize {
        self.reply.len()
    }

    /// The stored outcome as the answer to a repeat.
    ///
    /// # Errors
    /// The stored refusal; IDEMPOTENCY_KEY_REUSED if the request is another one.
    pub fn reply<R: Message + Default>(self, call: &Call) -> Result<Response<R>, Status> {
        if self.fingerprint != call.fingerprint {
            return Err(status::refuse(
                CommonErrorReason::IdempotencyKeyReused,
                "the idempotency key was used with another request",
            )
            .status());
        }
        let replayed = tonic::metadata::MetadataValue::from_static("true");
        if self.code == 0 {
            let reply = R::decode(self.reply.as_slice()).map_err(status::internal)?;
            let mut response = Response::new(reply);
            response
                .metadata_mut()
                .insert("idempotency-replayed", replayed);
            return Ok(response);
        }
        let kept = tonic_types::Status::decode(self.reply.as_slice()).map_err(status::internal)?;
        let mut refusal =
            Status::with_details(Code::from_i32(kept.code), kept.message, self.reply.into());
        refusal
            .metadata_mut()
            .insert("idempotency-replayed", replayed);
        Err(refusal)
    }
}

/// IDEMPOTENCY_IN_PROGRESS.
pub fn in_progress() -> Status {
    status::refuse(
        CommonErrorReason::IdempotencyInProgress,
        "the first call with this key has not finished",
    )
    .retry_after(std::time::Duration::from_millis(500))
    .status()
}

fn without_secrets(call: &Call, reply: &[u8]) -> Vec<u8> {
    match DynamicMessage::decode(call.method.output.clone(), reply) {
        Ok(mut message) => {
            Contract::get().redact(&mut message);
            message.encode_to_vec()
        }
        // Bytes that we encoded a moment ago decode; if they ever do not, keeping nothing is safe.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sewa_sdk::sewa::sandbox::v1::SandboxErrorReason;

    use super::*;

    #[test]
    fn what_is_to_be_tried_again_is_not_kept_for_the_key() {
        let conflict = || status::refuse(SandboxErrorReason::ClockExists, "the account has one");
        assert!(is_final(&conflict().status()));
        let moving = status::refuse(SandboxErrorReason::ClockAdvancing, "on its way");
        assert!(!is_final(
            &moving.retry_after(Duration::from_millis(500)).status()
        ));
        assert!(!is_final(&Status::unavailable("no database")));
    }
}
