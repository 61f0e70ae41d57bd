//! The SQL of movements over all accounts.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::base::db::PgPool;

/// How far back one statement looks at first; each further one looks four times as far.
const SPAN: TimeDelta = TimeDelta::minutes(10);

/// Which movements.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// From this moment on.
    pub from: DateTime<Utc>,
    /// Before this one.
    pub until: DateTime<Utc>,
    /// Only of this kind, unless it is 0.
    pub kind: i16,
    /// Only of this account.
    pub account: Option<Uuid>,
}

/// A place between two movements: the time and id of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When.
    pub at: DateTime<Utc>,
    /// The journal.
    pub id: Uuid,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.at.timestamp_micros(), self.id)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (micros, id) = text.split_once(' ').ok_or(())?;
        let micros = micros.parse().map_err(|_| ())?;
        Ok(Self {
            at: DateTime::from_timestamp_micros(micros).ok_or(())?,
            id: id.parse().map_err(|_| ())?,
        })
    }
}

/// A movement, with every posting.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Whose books.
    pub account: Uuid,
    /// Name of the account.
    pub account_name: String,
    /// The journal.
    pub id: Uuid,
    /// Number of its kind.
    pub kind: i16,
    /// What it belongs to; nil if nothing.
    pub subject: Uuid,
    /// Why.
    pub description: String,
    /// Postings, in the order of [`LEDGER_ACCOUNTS`].
    pub postings: Vec<i64>,
    /// When.
    pub at: DateTime<Utc>,
}

impl Moved {
    /// Where it is.
    pub fn place(&self) -> Place {
        Place {
            at: self.at,
            id: self.id,
        }
    }
}

/// The ledger accounts, in the order in which reports show them.
pub const LEDGER_ACCOUNTS: [&str; 12] = [
    "available",
    "held",
    "promo",
    "withdrawable",
    "cash_in",
    "revenue",
    "promo_expense",
    "refund",
    "adjustment",
    "gateway_fee",
    "ppn_payable",
    "clearing",
];

/// Movements before a place, newest first. Over all accounts they are read a span of time at a time, from the end, so that a page costs what it shows and not what the
/// whole range holds.
///
/// # Errors
/// Of the database.
pub async fn search(
    pool: &PgPool,
    filter: &Filter,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Moved>, sqlx::Error> {
    if filter.account.is_some() {
        return of_account(pool, filter, before, limit).await;
    }
    let mut found = Vec::new();
    let mut until = before.map_or(filter.until, |place| {
        // The place's own moment may hold others, which come after it.
        filter.until.min(place.at + TimeDelta::microseconds(1))
    });
    let mut span = SPAN;
    while until > filter.from {
        let from = filter.from.max(until - span);
        let left = limit - i64::try_from(found.len()).unwrap_or(limit);
        found.extend(within(pool, (from, until), filter.kind, before, left).await?);
        if i64::try_from(found.len()).unwrap_or(limit) >= limit {
            break;
        }
        (until, span) = (from, span * 4);
    }
    Ok(found)
}

/// Comes after everything.
const END: Place = Place {
    at: DateTime::<Utc>::MAX_UTC,
    id: Uuid::max(),
};

async fn within(
    pool: &PgPool,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    kind: i16,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Moved>, sqlx::Error> {
    let before = before.unwrap_or(Place { at: until, ..END });
    sqlx::query_as!(
        Moved,
        r#"select j.account_id as account, a.name as account_name, j.id, j.kind, j.subject_id as subject, j.description,
            array[j.available, j.held, j.promo, j.withdrawable, j.cash_in, j.revenue, j.promo_expense, j.refund, j.adjustment, j.gateway_fee, j.ppn_payable,
                j.clearing] as "postings!", j.recorded_at as at
        from journals j join accounts a on a.id = j.account_id and not a.sandbox
        where j.recorded_at >= $1 and j.recorded_at < $2 and (j.recorded_at, j.id) < ($3, $4) and ($5::smallint = 0 or j.kind = $5)
        order by j.recorded_at desc, j.id desc limit $6"#,
        from,
        until,
        before.at,
        before.id,
        kind,
        limit,
    )
    .fetch_all(pool)
    .await
}

async fn of_account(
    pool: &PgPool,
    filter: &Filter,
    before: Option<Place>,
    limit: i64,
) -> Result<Vec<Moved>, sqlx::Error> {
    let before = before.unwrap_or(Place {
        at: filter.until,
        ..END
    });
    sqlx::query_as!(
        Moved,
        r#"select j.account_id as account, a.name as account_name, j.id, j.kind, j.subject_id as subject, j.description,
            array[j.available, j.held, j.promo, j.withdrawable, j.cash_in, j.revenue, j.promo_expense, j.refund, j.adjustment, j.gateway_fee, j.ppn_payable,
                j.clearing] as "postings!", j.recorded_at as at
        from journals j join accounts a on a.id = j.account_id and not a.sandbox
        where j.account_id = $7 and j.recorded_at >= $1 and j.recorded_at < $2 and (j.recorded_at, j.id) < ($3, $4) and ($5::smallint = 0 or j.kind = $5)
        order by j.recorded_at desc, j.id desc limit $6"#,
        filter.from,
        filter.until,
        before.at,
        before.id,
        filter.kind,
        limit,
        filter.account,
    )
    .fetch_all(pool)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_read_back() {
        let place = Place {
            at: "2026-11-21T00:00:00.123456Z".parse().expect("a time"),
            id: Uuid::from_u128(7),
        };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "1", "x y", "1 y"] {
            assert_eq!(bad.parse::<Place>(), Err(()), "{bad}");
        }
    }
}
