//! A consumer reads the whole log once, across all replicas, and keeps how far it came in the transaction of what it did. Its work must be repeatable all the
//! same, for the day its position is set back by hand.

use std::future::Future;

use sqlx::{PgConnection, PgPool};

use crate::base::outbox::reader::{self, Stored, Tail};

/// Events handled in one transaction.
const CHUNK: i64 = 500;

/// Hands the next events to `handle`, if no other replica is doing so. Returns how many there were.
///
/// # Errors
/// Of the database, or of `handle`; nothing is kept then and the same events come again.
pub async fn step<F>(
    pool: &PgPool,
    tail: &Tail,
    name: &str,
    handle: F,
) -> Result<usize, sqlx::Error>
where
    F: for<'t> FnOnce(
        &'t mut PgConnection,
        Vec<Stored>,
    ) -> std::pin::Pin<
        Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 't>,
    >,
{
    let mut tx = pool.begin().await?;
    sqlx::query!(
        "insert into consumers (name, seq) values ($1, 0) on conflict do nothing",
        name
    )
    .execute(&mut *tx)
    .await?;
    let Some(from) = sqlx::query_scalar!(
        "select seq from consumers where name = $1 for update skip locked",
        name
    )
    .fetch_optional(&mut *tx)
    .await?
    else {
        return Ok(0);
    };
    let events = reader::range(pool, from, tail.safe(), CHUNK).await?;
    let Some(last) = events.last().map(|e| e.seq) else {
        return Ok(0);
    };
    let count = events.len();
    handle(&mut tx, events).await?;
    sqlx::query!("update consumers set seq = $2 where name = $1", name, last)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(count)
}
