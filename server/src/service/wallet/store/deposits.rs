//! The SQL of deposits.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, DepositId, JournalId, OrderId};
use crate::base::money::Rupiah;
use crate::provider::payment::{Instruction, Payer};
use crate::service::wallet::deposit::{Deposit, DepositState};

/// Writes a new deposit.
///
/// # Errors
/// Of the database; `deposits_client_reference_key` if the reference was used.
pub async fn insert_deposit(
    connection: &mut PgConnection,
    deposit: &Deposit,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into deposits (account_id, id, amount, method, channel, state, client_reference, asked_at, next_look_at, created_at, expires_at, order_id,
            pay_url)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        deposit.account.0,
        deposit.id.0,
        deposit.amount.0,
        deposit.method,
        deposit.channel,
        deposit.state.as_str(),
        deposit.client_reference,
        deposit.asked_at,
        deposit.next_look_at,
        deposit.created_at,
        deposit.expires_at,
        deposit.order.map(|o| o.0),
        deposit.pay_url,
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct DepositRow {
    account: AccountId,
    id: DepositId,
    amount: Rupiah,
    method: i16,
    channel: String,
    state: String,
    client_reference: Option<String>,
    order_id: Option<OrderId>,
    hold_id: Option<JournalId>,
    payable: Option<i64>,
    fee: Option<i64>,
    gateway_ref: String,
    pay_url: String,
    pay_code: String,
    qr_string: String,
    instructions: Json<Vec<Instruction>>,
    failure: String,
    revision: i64,
    asked_at: Option<DateTime<Utc>>,
    next_look_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    closed_at: Option<DateTime<Utc>>,
}

impl From<DepositRow> for Deposit {
    fn from(r: DepositRow) -> Self {
        Self {
            account: r.account,
            id: r.id,
            amount: r.amount,
            method: r.method,
            channel: r.channel,
            state: DepositState::parse(&r.state).expect("deposits_state_known allows no other"),
            client_reference: r.client_reference,
            order: r.order_id,
            hold: r.hold_id,
            payable: r.payable.map(Rupiah),
            fee: r.fee.map(Rupiah),
            gateway_ref: r.gateway_ref,
            pay_url: r.pay_url,
            pay_code: r.pay_code,
            qr_string: r.qr_string,
            instructions: r.instructions.0,
            failure: r.failure,
            revision: r.revision,
            asked_at: r.asked_at,
            next_look_at: r.next_look_at,
            created_at: r.created_at,
            expires_at: r.expires_at,
            closed_at: r.closed_at,
        }
    }
}

/// A deposit.
///
/// # Errors
/// Of the database.
pub async fn get_deposit(
    connection: &mut PgConnection,
    account: AccountId,
    id: DepositId,
) -> Result<Option<Deposit>, sqlx::Error> {
    let row = sqlx::query_as!(
        DepositRow,
        r#"select account_id as "account: AccountId", id as "id: DepositId", amount as "amount: Rupiah", method, channel, state, client_reference,
            order_id as "order_id: OrderId", hold_id as "hold_id: JournalId", payable, fee, gateway_ref, pay_url, pay_code, qr_string,
            instructions as "instructions: Json<Vec<Instruction>>", failure, revision, asked_at, next_look_at, created_at, expires_at, closed_at
        from deposits where account_id = $1 and id = $2"#,
        account.0,
        id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Into::into))
}

/// A deposit that nobody else changes until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn get_deposit_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: DepositId,
) -> Result<Option<Deposit>, sqlx::Error> {
    sqlx::query!(
        "select from deposits where account_id = $1 and id = $2 for no key update",
        account.0,
        id.0
    )
    .execute(&mut *connection)
    .await?;
    get_deposit(connection, account, id).await
}

/// Writes a deposit read with [`get_deposit_for_update`] back.
///
/// # Errors
/// Of the database.
pub async fn update_deposit(
    connection: &mut PgConnection,
    deposit: &Deposit,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update deposits set state = $3, payable = $4, fee = $5, gateway_ref = $6, pay_url = $7, pay_code = $8, qr_string = $9, instructions = $10,
            failure = $11, revision = $12, asked_at = $13, next_look_at = $14, expires_at = $15, closed_at = $16, hold_id = $17
        where account_id = $1 and id = $2",
        deposit.account.0,
        deposit.id.0,
        deposit.state.as_str(),
        deposit.payable.map(|r| r.0),
        deposit.fee.map(|r| r.0),
        deposit.gateway_ref,
        deposit.pay_url,
        deposit.pay_code,
        deposit.qr_string,
        Json(&deposit.instructions) as _,
        deposit.failure,
        deposit.revision,
        deposit.asked_at,
        deposit.next_look_at,
        deposit.expires_at,
        deposit.closed_at,
        deposit.hold.map(|h| h.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The account a deposit belongs to.
///
/// # Errors
/// Of the database.
pub async fn account_of_deposit(
    pool: &PgPool,
    id: DepositId,
) -> Result<Option<AccountId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account_id: AccountId" from deposits where id = $1"#,
        id.0
    )
    .fetch_optional(pool)
    .await
}

/// These deposits.
///
/// # Errors
/// Of the database.
pub async fn get_many(
    connection: &mut PgConnection,
    named: &[(AccountId, DepositId)],
) -> Result<Vec<Deposit>, sqlx::Error> {
    let rows = sqlx::query_as!(
        DepositRow,
        r#"select d.account_id as "account: AccountId", d.id as "id: DepositId", amount as "amount: Rupiah", method, channel, state, client_reference,
            order_id as "order_id: OrderId", hold_id as "hold_id: JournalId", payable, fee, gateway_ref, pay_url, pay_code, qr_string,
            instructions as "instructions: Json<Vec<Instruction>>", failure, revision, asked_at, next_look_at, created_at, expires_at, closed_at
        from unnest($1::uuid[], $2::uuid[]) as n (account_id, id)
        join deposits d on d.account_id = n.account_id and d.id = n.id"#,
        &named.iter().map(|(account, _)| account.0).collect::<Vec<_>>(),
        &named.iter().map(|(_, id)| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Deposits of an account before `before`, newest first; in one state unless `state` is empty.
///
/// # Errors
/// Of the database.
pub async fn list_deposits(
    pool: &PgPool,
    account: AccountId,
    before: Option<Uuid>,
    state: &str,
    limit: i64,
) -> Result<Vec<Deposit>, sqlx::Error> {
    let rows = sqlx::query_as!(
        DepositRow,
        r#"select account_id as "account: AccountId", id as "id: DepositId", amount as "amount: Rupiah", method, channel, state, client_reference,
            order_id as "order_id: OrderId", hold_id as "hold_id: JournalId", payable, fee, gateway_ref, pay_url, pay_code, qr_string,
            instructions as "instructions: Json<Vec<Instruction>>", failure, revision, asked_at, next_look_at, created_at, expires_at, closed_at
        from deposits
        where account_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($3 = '' or state = $3)
        order by id desc limit $4"#,
        account.0,
        before,
        state,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Open deposits that nobody will hear of from a gateway and that can no longer be paid, locked, at most `limit`.
///
/// # Errors
/// Of the database.
pub async fn expiring_deposits_for_update(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, DepositId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", id as "id: DepositId"
        from deposits where state = 'PENDING' and expires_at <= $1 and next_look_at is null order by expires_at limit $2 for no key update skip locked"#,
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.id)).collect())
}

/// Takes deposits whose gateway is to be asked, so that nobody else does before `until`.
///
/// # Errors
/// Of the database.
pub async fn lease_deposits(
    pool: &PgPool,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, DepositId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with due as (
            select account_id, id from deposits where next_look_at <= $1 order by next_look_at limit $3 for no key update skip locked
        )
        update deposits d set next_look_at = $2 from due where d.account_id = due.account_id and d.id = due.id
        returning d.account_id as "account: AccountId", d.id as "id: DepositId""#,
        now,
        until,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.id)).collect())
}

/// Sets when the gateway is asked next.
///
/// # Errors
/// Of the database.
pub async fn look_again(
    pool: &PgPool,
    account: AccountId,
    id: DepositId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update deposits set next_look_at = $3 where account_id = $1 and id = $2",
        account.0,
        id.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Sets when the gateway is asked next, and that it made nothing so far.
///
/// # Errors
/// Of the database.
pub async fn postpone(
    pool: &PgPool,
    account: AccountId,
    id: DepositId,
    at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update deposits set next_look_at = $3, asked_at = null where account_id = $1 and id = $2 and state = 'PREPARING'",
        account.0,
        id.0,
        at
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Writes down that the gateway is asked to open a deposit now. False if it is no longer waiting for that, or somebody else asked since `before`.
///
/// # Errors
/// Of the database.
pub async fn ask_again(
    pool: &PgPool,
    deposit: &Deposit,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update deposits set asked_at = $4 where account_id = $1 and id = $2 and state = 'PREPARING' and asked_at is not distinct from $3",
        deposit.account.0,
        deposit.id.0,
        deposit.asked_at,
        now
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Who pays for an account: the person who made it.
///
/// # Errors
/// Of the database.
pub async fn payer(pool: &PgPool, account: AccountId) -> Result<Payer, sqlx::Error> {
    let row = sqlx::query!(
        "select u.name, u.email, u.phone from memberships m join users u on u.id = m.user_id where m.account_id = $1 order by m.created_at, u.id limit 1",
        account.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map_or_else(Payer::default, |r| Payer {
        name: r.name,
        email: r.email,
        phone: r.phone,
    }))
}
