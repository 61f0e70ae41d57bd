//! SQL of the audit list, on the base table `writes`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::id::AccountId;

/// Which entries to list.
pub struct Filter {
    /// Only this account's.
    pub account: Option<AccountId>,
    /// Also what staff wrote to that account.
    pub with_staff: bool,
    /// Only this method's; empty for all.
    pub method: String,
}

/// A row of the base table.
pub struct Row {
    /// The account written to; nil for the platform.
    pub account_id: Uuid,
    /// Who called.
    pub principal_id: Uuid,
    /// Full method name.
    pub method: String,
    /// Idempotency key.
    pub key: String,
    /// Status code.
    pub code: i16,
    /// The reply, or the refusal.
    pub reply: Vec<u8>,
    /// The request.
    pub request: Vec<u8>,
    /// The state before.
    pub before: Option<Vec<u8>>,
    /// `x-request-id`.
    pub request_id: String,
    /// Network address of the caller.
    pub ip: String,
    /// When.
    pub recorded_at: DateTime<Utc>,
    /// The account written to by staff.
    pub about: Option<Uuid>,
}

/// Place of a row in the list. The times of two rows may be equal, so the primary key decides between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Time of the row.
    pub at: DateTime<Utc>,
    /// Its account.
    pub account: Uuid,
    /// Its principal.
    pub principal: Uuid,
    /// Full method name.
    pub method: String,
    /// Idempotency key.
    pub key: String,
}

/// Whether an account has at most `few` rows; the look stops there. Rows about it are counted too.
///
/// # Errors
/// Of the database.
pub async fn has_few(
    connection: &mut PgConnection,
    account: AccountId,
    few: i64,
) -> sqlx::Result<bool> {
    let counted =
        sqlx::query_scalar!(r#"select count(*) as "count!" from (
            (select 1 from writes where account_id = $1 limit $2) union all (select 1 from writes where about_account_id = $1 limit $2)) as some_of_them"#, account.0, few + 1)
            .fetch_one(connection)
            .await?;
    Ok(counted <= few)
}

/// Rows of an account below a position, newest first, by way of all its rows.
///
/// # Errors
/// Of the database.
pub async fn list_account(
    connection: &mut PgConnection,
    account: AccountId,
    filter: &Filter,
    below: &Position,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"with own as materialized (
            select account_id, principal_id, method, key, code, reply, request, before, request_id, ip, recorded_at, about_account_id
            from writes where account_id = $1
            union all
            select account_id, principal_id, method, key, code, reply, request, before, request_id, ip, recorded_at, about_account_id
            from writes where $9 and about_account_id = $1
        )
        select account_id as "account_id!", principal_id as "principal_id!", method as "method!", key as "key!", code as "code!", reply as "reply!",
            request as "request!", before, request_id as "request_id!", ip as "ip!", recorded_at as "recorded_at!", about_account_id as about
        from own
        where ($2 = '' or method = $2) and (recorded_at, account_id, principal_id, method, key) < ($3, $4, $5, $6, $7)
        order by recorded_at desc, account_id desc, principal_id desc, method desc, key desc
        limit $8"#,
        account.0,
        filter.method,
        below.at,
        below.account,
        below.principal,
        below.method,
        below.key,
        limit,
        filter.with_staff,
    )
    .fetch_all(connection)
    .await
}

/// Rows not older than `bottom` and below a position, newest first, by the block-range index.
///
/// # Errors
/// Of the database.
pub async fn list_window(
    connection: &mut PgConnection,
    filter: &Filter,
    bottom: DateTime<Utc>,
    below: &Position,
    limit: i64,
) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        r#"select account_id, principal_id, method, key, code, reply, request, before, request_id, ip, recorded_at, about_account_id as about
        from writes
        where recorded_at >= $1 and recorded_at <= $2 and (recorded_at, account_id, principal_id, method, key) < ($2, $3, $4, $5, $6)
            and ($7::uuid is null or account_id = $7 or ($10 and about_account_id = $7)) and ($8 = '' or method = $8)
        order by recorded_at desc, account_id desc, principal_id desc, method desc, key desc
        limit $9"#,
        bottom,
        below.at,
        below.account,
        below.principal,
        below.method,
        below.key,
        filter.account.map(|id| id.0),
        filter.method,
        limit,
        filter.with_staff,
    )
    .fetch_all(connection)
    .await
}
