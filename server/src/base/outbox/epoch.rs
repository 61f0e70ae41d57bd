//! Positions after a database was brought back as it was earlier.
//!
//! Whoever follows the log keeps a cursor, and what happens after the restore must not get positions that cursors have passed already, or it would never be seen. So
//! positions have epochs: the operator begins a new one after a restore, and everything from then on is beyond all that was ever given out. Nothing lies between.

use sqlx::PgConnection;

use crate::base::db::PgPool;

/// Positions of one epoch: at ten thousand events a second they last for three years, and there are eight million epochs.
const EPOCH: i64 = 1 << 40;

/// Begins a new epoch, and returns the position from which the log goes on.
///
/// # Errors
/// Of the database.
pub async fn begin(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select setval('events_seq', (last_value / $1 + 1) * $1) as "position!" from events_seq"#,
        EPOCH
    )
    .fetch_one(connection)
    .await
}

/// The end of the epoch of `from`, if `to` is in a later one.
pub fn end_before(from: i64, to: i64) -> Option<i64> {
    let end = (from / EPOCH + 1).checked_mul(EPOCH)? - 1;
    (end < to && end > from).then_some(end)
}

/// Whether there is anything after a position in its epoch.
///
/// # Errors
/// Of the database.
pub async fn goes_on(pool: &PgPool, from: i64, end: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from events where seq > $1 and seq <= $2) as "any!""#,
        from,
        end
    )
    .fetch_one(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        assert_eq!(end_before(0, 1000), None);
        assert_eq!(end_before(7, EPOCH - 1), None);
        assert_eq!(end_before(7, EPOCH), Some(EPOCH - 1));
        assert_eq!(end_before(7, 3 * EPOCH + 5), Some(EPOCH - 1));
        assert_eq!(end_before(EPOCH - 1, EPOCH + 5), None);
        assert_eq!(end_before(EPOCH, EPOCH + 5), None);
        assert_eq!(end_before(i64::MAX - 1, i64::MAX), None);
    }
}
