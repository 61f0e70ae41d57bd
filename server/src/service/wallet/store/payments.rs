//! The SQL of payments, of callbacks about them, and of what staff have seen on statements. All of it is only ever added to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{self, AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::payment::Payment;

/// The payments of a deposit, oldest first.
///
/// # Errors
/// Of the database.
pub async fn list_payments(
    connection: &mut PgConnection,
    account: AccountId,
    deposit: DepositId,
) -> Result<Vec<Payment>, sqlx::Error> {
    sqlx::query_as!(
        Payment,
        r#"select kind, paid as "paid: Rupiah", credited as "credited: Rupiah", gateway_fee as "gateway_fee: Rupiah", gateway_ref, recorded_at
        from payments where account_id = $1 and deposit_id = $2 order by id"#,
        account.0,
        deposit.0,
    )
    .fetch_all(connection)
    .await
}

/// Whether anything was ever paid for an account.
///
/// # Errors
/// Of the database.
pub async fn has_any(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from payments where account_id = $1) as "any!""#,
        account.0
    )
    .fetch_one(connection)
    .await
}

/// Writes a payment down.
///
/// # Errors
/// Of the database; `payments_gateway_ref_key` if the reference was credited before.
pub async fn insert_payment(
    connection: &mut PgConnection,
    deposit: &Deposit,
    payment: &Payment,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payments (account_id, id, deposit_id, method, gateway_ref, kind, paid, credited, recorded_at, gateway_fee)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        deposit.account.0,
        Uuid::now_v7(),
        deposit.id.0,
        deposit.method,
        payment.gateway_ref,
        payment.kind,
        payment.paid.0,
        payment.credited.0,
        payment.recorded_at,
        payment.gateway_fee.map(|fee| fee.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a reference of this method was credited to another deposit.
///
/// # Errors
/// Of the database.
pub async fn is_reference_taken(
    connection: &mut PgConnection,
    method: i16,
    gateway_ref: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from payments where method = $1 and gateway_ref = $2 and kind <> 6) as "taken!""#,
        method,
        gateway_ref,
    )
    .fetch_one(connection)
    .await
}

/// A callback as it is kept.
pub struct KeptCallback<'c> {
    /// `sewa.wallet.v1.Deposit.Method`.
    pub method: i16,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// The body, or the beginning of one that is not signed.
    pub body: &'c [u8],
    /// What became of it.
    pub verdict: &'static str,
    /// The gateway's reference within it, if it could be read.
    pub gateway_ref: &'c str,
    /// Who sent it.
    pub ip: &'c str,
    /// When.
    pub received_at: DateTime<Utc>,
}

/// Keeps a callback.
///
/// # Errors
/// Of the database.
pub async fn insert_callback(
    pool: &PgPool,
    callback: &KeptCallback<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into payment_callbacks (id, method, digest, body, verdict, gateway_ref, ip, received_at) values ($1, $2, $3, $4, $5, $6, $7, $8)",
        Uuid::now_v7(),
        callback.method,
        &callback.digest[..],
        callback.body,
        callback.verdict,
        callback.gateway_ref,
        callback.ip,
        callback.received_at,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Forgets callbacks that were kept before the first id of that time, at most `limit`. Returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_callbacks(
    pool: &PgPool,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select forget_callbacks($1, $2) as "gone!""#,
        id::first_at(before),
        limit
    )
    .fetch_one(pool)
    .await
}

/// Whether a callback with this very body was dealt with before.
///
/// # Errors
/// Of the database.
pub async fn is_callback_settled(
    pool: &PgPool,
    method: i16,
    digest: &[u8; 32],
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from payment_callbacks where method = $1 and digest = $2 and verdict in ('CONFIRMED', 'REFUSED')) as "settled!""#,
        method,
        &digest[..],
    )
    .fetch_one(pool)
    .await
}

/// What staff have seen of a transfer.
pub struct Confirmation {
    /// Who.
    pub principal: Uuid,
    /// How much.
    pub received: Rupiah,
}

/// Everybody who has seen a transfer for a deposit, first one first.
///
/// # Errors
/// Of the database.
pub async fn list_confirmations(
    connection: &mut PgConnection,
    deposit: &Deposit,
    bank_reference: &str,
) -> Result<Vec<Confirmation>, sqlx::Error> {
    sqlx::query_as!(
        Confirmation,
        r#"select principal_id as principal, received as "received: Rupiah" from bank_confirmations
        where account_id = $1 and deposit_id = $2 and bank_reference = $3 order by confirmed_at, principal_id"#,
        deposit.account.0,
        deposit.id.0,
        bank_reference,
    )
    .fetch_all(connection)
    .await
}

/// Writes down that somebody has seen a transfer.
///
/// # Errors
/// Of the database.
pub async fn insert_confirmation(
    connection: &mut PgConnection,
    deposit: &Deposit,
    bank_reference: &str,
    confirmation: &Confirmation,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into bank_confirmations (account_id, deposit_id, bank_reference, principal_id, received, confirmed_at) values ($1, $2, $3, $4, $5, $6)",
        deposit.account.0,
        deposit.id.0,
        bank_reference,
        confirmation.principal,
        confirmation.received.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Transfers for a deposit that were confirmed by somebody and not credited yet.
///
/// # Errors
/// Of the database.
pub async fn count_half_confirmed(
    connection: &mut PgConnection,
    account: AccountId,
    deposit: DepositId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(distinct c.bank_reference) as "count!" from bank_confirmations c
        where c.account_id = $1 and c.deposit_id = $2
            and not exists (select from payments p where p.account_id = $1 and p.deposit_id = $2 and p.gateway_ref = c.bank_reference)"#,
        account.0,
        deposit.0,
    )
    .fetch_one(connection)
    .await
}
