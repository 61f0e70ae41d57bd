//! The SQL of statements.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;
use crate::service::report::model::Balances;
use crate::service::wallet::store::Listed;

/// What the movements of one kind add up to.
#[derive(Clone, Debug)]
pub struct Total {
    /// Number of the kind.
    pub kind: i16,
    /// How many.
    pub count: i64,
    /// Change of the available balance.
    pub available: Rupiah,
    /// Change of the held balance.
    pub held: Rupiah,
    /// Change of promo credit.
    pub promo: Rupiah,
    /// Change of what can be paid out.
    pub withdrawable: Rupiah,
}

/// The balances of an account at a moment: all that moved before it.
///
/// # Errors
/// Of the database.
pub async fn balances_at(
    connection: &mut PgConnection,
    account: AccountId,
    at: DateTime<Utc>,
) -> Result<Balances, sqlx::Error> {
    sqlx::query_as!(
        Balances,
        r#"select coalesce(sum(available), 0)::bigint as "available!: Rupiah", coalesce(sum(held), 0)::bigint as "held!: Rupiah",
            coalesce(sum(promo), 0)::bigint as "promo!: Rupiah", coalesce(sum(withdrawable), 0)::bigint as "withdrawable!: Rupiah"
        from journals where account_id = $1 and recorded_at < $2"#,
        account.0,
        at,
    )
    .fetch_one(connection)
    .await
}

/// What moved in a span of time, by kind.
///
/// # Errors
/// Of the database.
pub async fn totals(
    connection: &mut PgConnection,
    account: AccountId,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Vec<Total>, sqlx::Error> {
    sqlx::query_as!(
        Total,
        r#"select kind, count(*) as "count!", coalesce(sum(available), 0)::bigint as "available!: Rupiah", coalesce(sum(held), 0)::bigint as "held!: Rupiah",
            coalesce(sum(promo), 0)::bigint as "promo!: Rupiah", coalesce(sum(withdrawable), 0)::bigint as "withdrawable!: Rupiah"
        from journals where account_id = $1 and recorded_at >= $2 and recorded_at < $3 group by kind order by kind"#,
        account.0,
        from,
        until,
    )
    .fetch_all(connection)
    .await
}

/// Movements after a journal, in the order of the ledger.
///
/// # Errors
/// Of the database.
pub async fn lines(
    pool: &PgPool,
    account: AccountId,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        r#"select id as "id: JournalId", kind, subject_id as subject, description, available as "available: Rupiah", held as "held: Rupiah",
            promo as "promo: Rupiah", withdrawable as "withdrawable: Rupiah", ppn_payable as "ppn_payable: Rupiah",
            available_after as "available_after: Rupiah", held_after as "held_after: Rupiah", recorded_at
        from journals
        where account_id = $1 and recorded_at >= $2 and recorded_at < $3 and id > $4
        order by id limit $5"#,
        account.0,
        from,
        until,
        after.unwrap_or_default(),
        limit,
    )
    .fetch_all(pool)
    .await
}
