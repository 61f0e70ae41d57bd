//! The SQL of reports. What other slices own is only read here.

pub mod owed;
pub mod proof;
pub mod runs;
pub mod statement;
pub mod transactions;

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::service::report::model::{Figures, Range};

/// From here to the end of the transaction everything is read as it is now.
///
/// # Errors
/// Of the database.
pub async fn use_one_snapshot(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set transaction isolation level repeatable read read only")
        .execute(connection)
        .await?;
    Ok(())
}

/// Sums days from the ledger and from orders, by day and plan. Days and plans without anything are missing.
///
/// # Errors
/// Of the database.
pub async fn sums(connection: &mut PgConnection, days: Range) -> Result<Vec<Figures>, sqlx::Error> {
    let (from, until) = days.moments();
    sqlx::query_as!(
        Figures,
        r#"with moved as (
            select (j.recorded_at at time zone 'Asia/Jakarta')::date as day, coalesce(o.plan_id, i.plan_id, '00000000-0000-0000-0000-000000000000'::uuid) as plan,
                count(*) filter (where j.kind in (3, 5) and j.revenue + j.ppn_payable <> 0) as charges, sum(j.revenue)::bigint as charged,
                coalesce(sum(j.ppn_payable) filter (where j.kind <> 6), 0)::bigint as charged_tax,
                count(*) filter (where j.kind = 6) as refunds, (-sum(j.refund))::bigint as refunded,
                coalesce(-sum(j.ppn_payable) filter (where j.kind = 6), 0)::bigint as refunded_tax,
                coalesce(-sum(j.cash_in + j.gateway_fee) filter (where j.kind <> 8), 0)::bigint as paid_in,
                coalesce(sum(j.cash_in) filter (where j.kind = 8), 0)::bigint as paid_back,
                (-sum(j.gateway_fee))::bigint as gateway_fees, (-sum(j.promo_expense))::bigint as promotions, (-sum(j.adjustment))::bigint as adjustments
            from journals j
            join accounts a on a.id = j.account_id and not a.sandbox
            left join orders o on o.account_id = j.account_id and o.id = j.subject_id and j.kind in (3, 5, 6)
            left join instances i on i.account_id = j.account_id and i.id = j.subject_id and j.kind in (3, 5, 6)
            where j.recorded_at >= $1 and j.recorded_at < $2
            group by 1, 2
        ), placed as (
            select (o.created_at at time zone 'Asia/Jakarta')::date as day, o.plan_id as plan, count(*) as placed, count(*) filter (where o.state = 'ACTIVE') as active,
                count(*) filter (where o.state = 'REFUNDED') as refunded, count(*) filter (where o.state = 'CANCELLED') as cancelled,
                count(*) filter (where o.state = 'EXPIRED') as expired,
                count(*) filter (where o.state not in ('ACTIVE', 'REFUNDED', 'CANCELLED', 'EXPIRED')) as open
            from orders o
            join accounts a on a.id = o.account_id and not a.sandbox
            where o.created_at >= $1 and o.created_at < $2
            group by 1, 2
        )
        select coalesce(m.day, p.day) as "day!", coalesce(m.plan, p.plan) as "plan!", coalesce(m.charges, 0) as "charges!", coalesce(m.charged, 0) as "charged!",
            coalesce(m.charged_tax, 0) as "charged_tax!", coalesce(m.refunds, 0) as "refunds!", coalesce(m.refunded, 0) as "refunded!",
            coalesce(m.refunded_tax, 0) as "refunded_tax!", coalesce(m.paid_in, 0) as "paid_in!", coalesce(m.paid_back, 0) as "paid_back!",
            coalesce(m.gateway_fees, 0) as "gateway_fees!", coalesce(m.promotions, 0) as "promotions!", coalesce(m.adjustments, 0) as "adjustments!",
            coalesce(p.placed, 0) as "orders_placed!", coalesce(p.active, 0) as "orders_active!", coalesce(p.refunded, 0) as "orders_refunded!",
            coalesce(p.cancelled, 0) as "orders_cancelled!", coalesce(p.expired, 0) as "orders_expired!", coalesce(p.open, 0) as "orders_open!"
        from moved m full join placed p on p.day = m.day and p.plan = m.plan"#,
        from,
        until,
    )
    .fetch_all(connection)
    .await
}

/// The kept figures of days.
///
/// # Errors
/// Of the database.
pub async fn kept(connection: &mut PgConnection, days: Range) -> Result<Vec<Figures>, sqlx::Error> {
    sqlx::query_as!(
        Figures,
        "select day, plan_id as plan, charges, charged, charged_tax, refunds, refunded, refunded_tax, paid_in, paid_back, gateway_fees, promotions, adjustments,
            orders_placed, orders_active, orders_refunded, orders_cancelled, orders_expired, orders_open
        from report_days where day >= $1 and day < $2 order by day, plan_id",
        days.start,
        days.end,
    )
    .fetch_all(connection)
    .await
}

/// Keeps the figures of a day in place of those kept before. A day without a row for the nil plan gets one.
///
/// # Errors
/// Of the database.
pub async fn keep(
    connection: &mut PgConnection,
    day: NaiveDate,
    figures: &[Figures],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut rows = figures.to_vec();
    if rows.iter().all(|f| !f.plan.is_nil()) {
        rows.push(Figures {
            day,
            ..Figures::default()
        });
    }
    let plans: Vec<Uuid> = rows.iter().map(|f| f.plan).collect();
    sqlx::query!(
        "delete from report_days where day = $1 and plan_id <> all($2)",
        day,
        &plans
    )
    .execute(&mut *connection)
    .await?;
    let column = |of: fn(&Figures) -> i64| -> Vec<i64> { rows.iter().map(of).collect() };
    sqlx::query!(
        "insert into report_days (day, plan_id, charges, charged, charged_tax, refunds, refunded, refunded_tax, paid_in, paid_back, gateway_fees, promotions,
            adjustments, orders_placed, orders_active, orders_refunded, orders_cancelled, orders_expired, orders_open, kept_at)
        select $1, n.plan_id, n.a, n.b, n.c, n.d, n.e, n.f, n.g, n.h, n.i, n.j, n.k, n.l, n.m, n.n, n.o, n.p, n.q, $20
        from unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
            $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[])
            as n (plan_id, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
        on conflict (day, plan_id) do update set charges = excluded.charges, charged = excluded.charged, charged_tax = excluded.charged_tax,
            refunds = excluded.refunds, refunded = excluded.refunded, refunded_tax = excluded.refunded_tax, paid_in = excluded.paid_in,
            paid_back = excluded.paid_back, gateway_fees = excluded.gateway_fees, promotions = excluded.promotions, adjustments = excluded.adjustments,
            orders_placed = excluded.orders_placed, orders_active = excluded.orders_active, orders_refunded = excluded.orders_refunded,
            orders_cancelled = excluded.orders_cancelled, orders_expired = excluded.orders_expired, orders_open = excluded.orders_open,
            kept_at = excluded.kept_at",
        day,
        &plans,
        &column(|f| f.charges),
        &column(|f| f.charged),
        &column(|f| f.charged_tax),
        &column(|f| f.refunds),
        &column(|f| f.refunded),
        &column(|f| f.refunded_tax),
        &column(|f| f.paid_in),
        &column(|f| f.paid_back),
        &column(|f| f.gateway_fees),
        &column(|f| f.promotions),
        &column(|f| f.adjustments),
        &column(|f| f.orders_placed),
        &column(|f| f.orders_active),
        &column(|f| f.orders_refunded),
        &column(|f| f.orders_cancelled),
        &column(|f| f.orders_expired),
        &column(|f| f.orders_open),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The first day from `start` to `last` that is not kept, or was kept before `stale` while orders of it were open.
///
/// # Errors
/// Of the database.
pub async fn first_due(
    connection: &mut PgConnection,
    start: NaiveDate,
    last: NaiveDate,
    stale: DateTime<Utc>,
) -> Result<Option<NaiveDate>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select min(day) as day from (
            (select d::date as day from generate_series($1::date::timestamp, $2::date::timestamp, interval '1 day') d
            where not exists (select from report_days r where r.day = d::date and r.plan_id = '00000000-0000-0000-0000-000000000000') order by d limit 1)
            union all
            (select day from report_days where orders_open > 0 and kept_at < $3 and day <= $2 order by kept_at limit 1)
        ) due"#,
        start,
        last,
        stale,
    )
    .fetch_one(connection)
    .await
}

/// Since when the platform exists; `None` before its first server has started.
///
/// # Errors
/// Of the database.
pub async fn began(connection: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("select min(created_at) from signing_keys")
        .fetch_one(connection)
        .await
}

/// Names of plans.
///
/// # Errors
/// Of the database.
pub async fn plan_names(pool: &PgPool, plans: &[Uuid]) -> Result<Vec<(Uuid, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, display_name from plans where id = any($1)",
        plans
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.id, r.display_name)).collect())
}
