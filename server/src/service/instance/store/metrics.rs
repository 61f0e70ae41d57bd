//! The SQL of samples.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::metrics::Sample;
use crate::service::instance::model::span::{Resolution, Window};

/// A machine, by the account it belongs to.
pub type Machine = (AccountId, InstanceId);

/// Samples of machines, into the table of this name. One that is there is replaced.
macro_rules! insert {
    ($table:literal, $connection:expr, $samples:expr) => {
        sqlx::query!(
            "insert into " + $table + " as t (account_id, instance_id, at, cpu_percent, memory_bytes, disk_read, disk_write, network_in, network_out)
            select * from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::real[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
            on conflict (account_id, instance_id, at) do update set cpu_percent = excluded.cpu_percent, memory_bytes = excluded.memory_bytes,
                disk_read = coalesce(excluded.disk_read, t.disk_read), disk_write = coalesce(excluded.disk_write, t.disk_write),
                network_in = coalesce(excluded.network_in, t.network_in), network_out = coalesce(excluded.network_out, t.network_out)",
            &$samples.iter().map(|((a, _), _)| a.0).collect::<Vec<_>>(),
            &$samples.iter().map(|((_, i), _)| i.0).collect::<Vec<_>>(),
            &$samples.iter().map(|(_, s)| s.at).collect::<Vec<_>>(),
            &$samples.iter().map(|(_, s)| s.cpu_percent).collect::<Vec<_>>() as &[Option<f32>],
            &$samples.iter().map(|(_, s)| s.memory_bytes).collect::<Vec<_>>() as &[Option<i64>],
            &$samples.iter().map(|(_, s)| s.disk_read).collect::<Vec<_>>() as &[Option<i64>],
            &$samples.iter().map(|(_, s)| s.disk_write).collect::<Vec<_>>() as &[Option<i64>],
            &$samples.iter().map(|(_, s)| s.network_in).collect::<Vec<_>>() as &[Option<i64>],
            &$samples.iter().map(|(_, s)| s.network_out).collect::<Vec<_>>() as &[Option<i64>],
        )
        .execute($connection)
        .await?
    };
}

/// Writes samples of machines, none of which is there twice.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    resolution: Resolution,
    samples: &[(Machine, Sample)],
) -> Result<(), sqlx::Error> {
    if samples.is_empty() {
        return Ok(());
    }
    match resolution {
        Resolution::Minute => insert!("metrics_1m", connection, samples),
        Resolution::FiveMinutes => insert!("metrics_5m", connection, samples),
        Resolution::Hour => insert!("metrics_60m", connection, samples),
    };
    Ok(())
}

/// A span of a machine whose samples are to be averaged, in whole multiples of the coarser resolution.
#[derive(Clone, Copy, Debug)]
pub struct Over {
    /// The machine.
    pub machine: Machine,
    /// Where it begins.
    pub from: DateTime<Utc>,
    /// Where it ends.
    pub to: DateTime<Utc>,
}

/// Averages of one table into the next, over spans of an interval. Made again they replace what is there.
macro_rules! average {
    ($fine:literal, $coarse:literal, $interval:literal, $connection:expr, $over:expr) => {
        sqlx::query!(
            "insert into " + $coarse + " (account_id, instance_id, at, cpu_percent, memory_bytes, disk_read, disk_write, network_in, network_out)
            select s.account_id, s.instance_id, date_bin('" + $interval + "', s.at, 'epoch'), avg(s.cpu_percent)::real, avg(s.memory_bytes)::bigint,
                avg(s.disk_read)::bigint, avg(s.disk_write)::bigint, avg(s.network_in)::bigint, avg(s.network_out)::bigint
            from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[]) as n (a, i, f, t)
            join " + $fine + " s on s.account_id = n.a and s.instance_id = n.i and s.at >= n.f and s.at < n.t
            group by 1, 2, 3
            on conflict (account_id, instance_id, at) do update set cpu_percent = excluded.cpu_percent, memory_bytes = excluded.memory_bytes,
                disk_read = excluded.disk_read, disk_write = excluded.disk_write, network_in = excluded.network_in, network_out = excluded.network_out",
            &$over.iter().map(|o| o.machine.0.0).collect::<Vec<_>>(),
            &$over.iter().map(|o| o.machine.1.0).collect::<Vec<_>>(),
            &$over.iter().map(|o| o.from).collect::<Vec<_>>(),
            &$over.iter().map(|o| o.to).collect::<Vec<_>>(),
        )
        .execute($connection)
        .await?
    };
}

/// Writes the averages of the samples that are one step finer, over spans that are over. Nothing is finer than a minute.
///
/// # Errors
/// Of the database.
pub async fn average(
    connection: &mut PgConnection,
    into: Resolution,
    over: &[Over],
) -> Result<(), sqlx::Error> {
    if over.is_empty() {
        return Ok(());
    }
    match into {
        Resolution::Minute => return Ok(()),
        Resolution::FiveMinutes => {
            average!("metrics_1m", "metrics_5m", "5 minutes", connection, over)
        }
        Resolution::Hour => average!("metrics_5m", "metrics_60m", "1 hour", connection, over),
    };
    Ok(())
}

/// Samples of a machine within a span, from the table of this name.
macro_rules! list {
    ($table:literal, $pool:expr, $machine:expr, $window:expr) => {
        sqlx::query_as!(
            Sample,
            "select at, cpu_percent, memory_bytes, disk_read, disk_write, network_in, network_out from " + $table + "
            where account_id = $1 and instance_id = $2 and at >= $3 and at < $4 order by at",
            $machine.0.0,
            $machine.1.0,
            $window.start,
            $window.end,
        )
        .fetch_all($pool)
        .await
    };
}

/// Samples of a machine within a span, oldest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    machine: Machine,
    window: &Window,
) -> Result<Vec<Sample>, sqlx::Error> {
    match window.resolution {
        Resolution::Minute => list!("metrics_1m", pool, machine, window),
        Resolution::FiveMinutes => list!("metrics_5m", pool, machine, window),
        Resolution::Hour => list!("metrics_60m", pool, machine, window),
    }
}

/// The oldest samples of machines before a moment, from the table of this name.
macro_rules! forget {
    ($table:literal, $connection:expr, $machines:expr, $before:expr, $each:expr) => {
        sqlx::query!(
            "delete from " + $table + " s using unnest($1::uuid[], $2::uuid[]) as n (a, i)
            cross join lateral (
                select o.at from " + $table + " o where o.account_id = n.a and o.instance_id = n.i and o.at < $3 order by o.at limit $4
            ) old
            where s.account_id = n.a and s.instance_id = n.i and s.at = old.at",
            &$machines.iter().map(|(a, _)| a.0).collect::<Vec<_>>(),
            &$machines.iter().map(|(_, i)| i.0).collect::<Vec<_>>(),
            $before,
            $each,
        )
        .execute($connection)
        .await?
        .rows_affected()
    };
}

/// Forgets the oldest samples of machines before a moment, so many of each at most. Returns how many there were.
///
/// # Errors
/// Of the database.
pub async fn forget(
    connection: &mut PgConnection,
    resolution: Resolution,
    machines: &[Machine],
    before: DateTime<Utc>,
    each: i64,
) -> Result<u64, sqlx::Error> {
    Ok(match resolution {
        Resolution::Minute => forget!("metrics_1m", connection, machines, before, each),
        Resolution::FiveMinutes => forget!("metrics_5m", connection, machines, before, each),
        Resolution::Hour => forget!("metrics_60m", connection, machines, before, each),
    })
}
