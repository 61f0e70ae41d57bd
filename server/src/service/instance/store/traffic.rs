//! The SQL of traffic by months.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId};
use crate::service::instance::model::meter::Traffic;

/// Bytes of an instance's month.
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The account.
    pub account: AccountId,
    /// The instance.
    pub instance: InstanceId,
    /// The first day of the month, by UTC.
    pub month: NaiveDate,
    /// Received.
    pub received: i64,
    /// Sent.
    pub sent: i64,
    /// What the plan includes; `None` if it has no limit.
    pub included: Option<i64>,
    /// Until when it is counted.
    pub read_at: DateTime<Utc>,
}

/// Rows of `traffic_months`, and what happens to one that is there. What the plan included is noted only while the month lasts: a later plan says nothing of it.
macro_rules! write {
    ($received:literal, $sent:literal, $connection:expr, $rows:expr) => {
        sqlx::query!(
            "insert into traffic_months as t (account_id, month, instance_id, received, sent, included, read_at)
            select a, m, i, r, s, q, u from unnest($1::uuid[], $2::date[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
                as n (a, m, i, r, s, q, u)
            order by a, m, i
            on conflict on constraint traffic_months_pkey do update set received = " + $received + ", sent = " + $sent + ",
                included = case when date_trunc('month', excluded.read_at at time zone 'UTC')::date = t.month then excluded.included else t.included end,
                read_at = greatest(t.read_at, excluded.read_at)",
            &$rows.iter().map(|r| r.account.0).collect::<Vec<_>>(),
            &$rows.iter().map(|r| r.month).collect::<Vec<_>>(),
            &$rows.iter().map(|r| r.instance.0).collect::<Vec<_>>(),
            &$rows.iter().map(|r| r.received).collect::<Vec<_>>(),
            &$rows.iter().map(|r| r.sent).collect::<Vec<_>>(),
            &$rows.iter().map(|r| r.included).collect::<Vec<_>>() as &[Option<i64>],
            &$rows.iter().map(|r| r.read_at).collect::<Vec<_>>(),
        )
        .execute($connection)
        .await?
    };
}

/// Adds bytes to months. None is named twice.
///
/// # Errors
/// Of the database.
pub async fn add(connection: &mut PgConnection, rows: &[Bytes]) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        write!(
            "t.received + excluded.received",
            "t.sent + excluded.sent",
            connection, rows
        );
    }
    Ok(())
}

/// Notes what providers count of months. None is named twice. What was counted once stays counted, though a provider may look back less far the next time.
///
/// # Errors
/// Of the database.
pub async fn note(connection: &mut PgConnection, rows: &[Bytes]) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        write!(
            "greatest(t.received, excluded.received)",
            "greatest(t.sent, excluded.sent)",
            connection, rows
        );
    }
    Ok(())
}

struct Row {
    instance: InstanceId,
    provider: String,
    month: NaiveDate,
    received: i64,
    sent: i64,
    included: Option<i64>,
    read_at: DateTime<Utc>,
}

impl From<Row> for Traffic {
    fn from(r: Row) -> Self {
        Self {
            instance: r.instance,
            provider: r.provider,
            month: r.month,
            received: r.received,
            sent: r.sent,
            included: r.included,
            read_at: Some(r.read_at),
        }
    }
}

/// What an instance moved in a month; `None` if nothing was read then.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    account: AccountId,
    instance: InstanceId,
    month: NaiveDate,
) -> Result<Option<Traffic>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select t.instance_id as "instance: InstanceId", i.provider, t.month, t.received, t.sent, t.included, t.read_at
        from traffic_months t join instances i on i.account_id = t.account_id and i.id = t.instance_id
        where t.account_id = $1 and t.month = $2 and t.instance_id = $3"#,
        account.0,
        month,
        instance.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Into::into))
}

/// What an account's instances moved in a month, the newest instance first, and only those before `before`; all, or those that sent more than their plan includes.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    month: NaiveDate,
    overage_only: bool,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Traffic>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select t.instance_id as "instance: InstanceId", i.provider, t.month, t.received, t.sent, t.included, t.read_at
        from traffic_months t join instances i on i.account_id = t.account_id and i.id = t.instance_id
        where t.account_id = $1 and t.month = $2 and t.instance_id < $3 and (not $4 or t.sent > t.included)
        order by t.instance_id desc limit $5"#,
        account.0,
        month,
        before.unwrap_or(Uuid::max()),
        overage_only,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}
