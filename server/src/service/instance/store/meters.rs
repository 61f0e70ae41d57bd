//! The SQL of reading machines: whose turn it is, and how far each has come.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, PlanId, ProviderAccountId};
use crate::provider::compute::metrics::Counters;
use crate::service::instance::model::meter::{Booking, Meter};

struct Row {
    account: AccountId,
    instance: InstanceId,
    fence: i64,
    read_at: Option<DateTime<Utc>>,
    uptime_seconds: i64,
    network_in: i64,
    network_out: i64,
    disk_read: i64,
    disk_write: i64,
    read_until: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    provider: String,
    provider_account: Option<ProviderAccountId>,
    provider_ref: Option<String>,
    plan: PlanId,
    vcpus: i32,
}

impl From<Row> for Meter {
    fn from(r: Row) -> Self {
        let counters = Counters {
            uptime_seconds: r.uptime_seconds,
            network_in: r.network_in,
            network_out: r.network_out,
            disk_read: r.disk_read,
            disk_write: r.disk_write,
        };
        Self {
            account: r.account,
            instance: r.instance,
            fence: r.fence,
            last: r.read_at.map(|at| (at, counters)),
            read_until: r.read_until,
            created_at: r.created_at,
            provider: r.provider,
            provider_account: r.provider_account,
            provider_ref: r.provider_ref,
            plan: r.plan,
            vcpus: r.vcpus,
        }
    }
}

/// Has machines read from now on. Those that are stay as they are.
///
/// # Errors
/// Of the database.
pub async fn begin(
    pool: &PgPool,
    machines: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if machines.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into meters as m (account_id, instance_id, due_at, forget_at)
        select a, i, $3, $3 from unnest($1::uuid[], $2::uuid[]) as n (a, i) order by a, i
        on conflict on constraint meters_pkey do update set due_at = $3 where m.due_at is null",
        &machines.iter().map(|(a, _)| a.0).collect::<Vec<_>>(),
        &machines.iter().map(|(_, i)| i.0).collect::<Vec<_>>(),
        now,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes the machines whose turn it is; nobody else reads them until `until`. Those of instances that are gone are read no more.
///
/// # Errors
/// Of the database.
pub async fn lease(
    pool: &PgPool,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Meter>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"with due as (
            select account_id, instance_id from meters where due_at <= $1 order by due_at limit $3 for no key update skip locked
        ), taken as (
            update meters m set fence = m.fence + 1,
                due_at = case when i.state in ('RUNNING', 'STOPPED', 'SUSPENDED') then $2::timestamptz end
            from due join instances i on i.account_id = due.account_id and i.id = due.instance_id
            where m.account_id = due.account_id and m.instance_id = due.instance_id
            returning m.account_id, m.instance_id, m.due_at, m.fence, m.read_at, m.uptime_seconds, m.network_in, m.network_out, m.disk_read, m.disk_write,
                m.read_until, i.created_at, i.provider, i.provider_account_id, i.provider_ref, i.plan_id, i.vcpus
        )
        select account_id as "account: AccountId", instance_id as "instance: InstanceId", fence, read_at, uptime_seconds, network_in, network_out, disk_read,
            disk_write, read_until, created_at, provider, provider_account_id as "provider_account: ProviderAccountId", provider_ref, plan_id as "plan: PlanId",
            vcpus
        from taken where due_at is not null order by account_id, instance_id"#,
        now,
        until,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Puts machines off that were not read.
///
/// # Errors
/// Of the database.
pub async fn put_off(pool: &PgPool, meters: &[(&Meter, DateTime<Utc>)]) -> Result<(), sqlx::Error> {
    if meters.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update meters m set due_at = n.due from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[]) as n (a, i, f, due)
        where m.account_id = n.a and m.instance_id = n.i and m.fence = n.f and m.due_at is not null",
        &meters.iter().map(|(m, _)| m.account.0).collect::<Vec<_>>(),
        &meters.iter().map(|(m, _)| m.instance.0).collect::<Vec<_>>(),
        &meters.iter().map(|(m, _)| m.fence).collect::<Vec<_>>(),
        &meters.iter().map(|(_, due)| *due).collect::<Vec<_>>(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Writes how far machines have come that were read at a moment, and when they are read again. Returns those that nobody else has taken meanwhile: of the others nothing is to be
/// written.
///
/// # Errors
/// Of the database.
pub async fn advance(
    connection: &mut PgConnection,
    read: &[(&Meter, &Booking)],
    due: &[DateTime<Utc>],
    now: DateTime<Utc>,
) -> Result<Vec<InstanceId>, sqlx::Error> {
    let last = |m: &Meter, b: &Booking| b.last.or(m.last);
    let of = |bytes: fn(&Counters) -> i64| {
        read.iter()
            .map(|(m, b)| last(m, b).map_or(0, |(_, counters)| bytes(&counters)))
            .collect::<Vec<i64>>()
    };
    sqlx::query_scalar!(
        r#"update meters m set due_at = n.due, asked_at = $11, read_at = n.re, uptime_seconds = n.up, network_in = n.ni, network_out = n.ne, disk_read = n.dr,
            disk_write = n.dw, read_until = n.un
        from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
            $10::timestamptz[], $12::timestamptz[]) as n (a, i, f, re, up, ni, ne, dr, dw, un, due)
        where m.account_id = n.a and m.instance_id = n.i and m.fence = n.f and m.due_at is not null
        returning m.instance_id as "instance: InstanceId""#,
        &read.iter().map(|(m, _)| m.account.0).collect::<Vec<_>>(),
        &read.iter().map(|(m, _)| m.instance.0).collect::<Vec<_>>(),
        &read.iter().map(|(m, _)| m.fence).collect::<Vec<_>>(),
        &read.iter().map(|(m, b)| last(m, b).map(|(at, _)| at)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &of(|c| c.uptime_seconds),
        &of(|c| c.network_in),
        &of(|c| c.network_out),
        &of(|c| c.disk_read),
        &of(|c| c.disk_write),
        &read.iter().map(|(m, b)| b.read_until.or(m.read_until)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        now,
        due,
    )
    .fetch_all(connection)
    .await
}

/// When a machine last answered; `None` if it never did.
///
/// # Errors
/// Of the database.
pub async fn asked_at(
    pool: &PgPool,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select asked_at from meters where account_id = $1 and instance_id = $2",
        account.0,
        instance.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.flatten())
}

/// Machines whose old samples are looked for now, locked.
///
/// # Errors
/// Of the database.
pub async fn list_to_forget(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, InstanceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", instance_id as "instance: InstanceId" from meters where forget_at <= $1
        order by forget_at limit $2 for no key update skip locked"#,
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.instance)).collect())
}

/// Has old samples of machines that are locked looked for again. A machine that is read no more and has no samples is forgotten itself.
///
/// # Errors
/// Of the database.
pub async fn rest(
    connection: &mut PgConnection,
    machines: &[(AccountId, InstanceId)],
    again_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let accounts: Vec<_> = machines.iter().map(|(a, _)| a.0).collect();
    let instances: Vec<_> = machines.iter().map(|(_, i)| i.0).collect();
    sqlx::query!(
        "delete from meters m using unnest($1::uuid[], $2::uuid[]) as n (a, i)
        where m.account_id = n.a and m.instance_id = n.i and m.due_at is null
            and not exists (select from metrics_1m s where s.account_id = n.a and s.instance_id = n.i)
            and not exists (select from metrics_5m s where s.account_id = n.a and s.instance_id = n.i)
            and not exists (select from metrics_60m s where s.account_id = n.a and s.instance_id = n.i)",
        &accounts,
        &instances,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update meters m set forget_at = $3 from unnest($1::uuid[], $2::uuid[]) as n (a, i) where m.account_id = n.a and m.instance_id = n.i",
        &accounts,
        &instances,
        again_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}
