//! Going through the accounts a few at a time, across all replicas: for work that is due everywhere now and then, and has no queue of its own.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::db::{PgPool, Transaction};

/// A place in a walk that is this replica's until it ends.
pub struct Turn {
    /// The transaction that holds the place.
    pub tx: Transaction,
    /// The account after which to go on.
    pub after: Uuid,
    name: &'static str,
}

/// Takes a turn; `None` while another replica has it, or the walk rests.
///
/// # Errors
/// Of the database.
pub async fn turn(
    pool: &PgPool,
    name: &'static str,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Turn>> {
    let mut tx = pool.begin().await?;
    sqlx::query!(
        "insert into walks (name, account_id, rest_until) values ($1, $2, $3) on conflict do nothing",
        name,
        Uuid::nil(),
        now
    )
    .execute(&mut *tx)
    .await?;
    let after = sqlx::query_scalar!(
        "select account_id from walks where name = $1 and rest_until <= $2 for update skip locked",
        name,
        now
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(after.map(|after| Turn { tx, after, name }))
}

impl Turn {
    /// Keeps the place and commits. `None` ends the walk: it begins again from the first account, not before `rest_until`.
    ///
    /// # Errors
    /// Of the database.
    pub async fn end(
        mut self,
        reached: Option<Uuid>,
        rest_until: DateTime<Utc>,
    ) -> sqlx::Result<()> {
        let rests = reached.is_none();
        sqlx::query!(
            "update walks set account_id = $2, rest_until = case when $3 then $4 else rest_until end where name = $1",
            self.name,
            reached.unwrap_or_default(),
            rests,
            rest_until
        )
        .execute(&mut *self.tx)
        .await?;
        self.tx.commit().await
    }
}
