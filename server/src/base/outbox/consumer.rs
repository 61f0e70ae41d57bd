//! A consumer reads the whole log once, across all replicas, and keeps how far it came in the transaction of what it did. Its work must be repeatable all the
//! same, for the day its position is set back by hand.

use std::future::Future;

use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::fault::{self, Step};
use crate::base::outbox::reader::{self, Stored, Tail};

/// Hands the next events to `handle`, if no other replica is doing so. Returns how many positions were read.
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
    let (events, upto) = reader::range(pool, from, tail.safe()).await?;
    if upto <= from {
        return Ok(0);
    }
    handle(&mut tx, events).await?;
    sqlx::query!("update consumers set seq = $2 where name = $1", name, upto)
        .execute(&mut *tx)
        .await?;
    fault::around(Step::News, tx.commit()).await?;
    Ok(usize::try_from(upto - from).unwrap_or(usize::MAX))
}
