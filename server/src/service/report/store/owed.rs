//! The SQL of what is owed, and of recurring revenue.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::money::Rupiah;
use crate::base::tax;
use crate::service::report::model::Recurring;
use crate::service::report::store::transactions::Place;

/// Something an account owes.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Who owes.
    pub account: Uuid,
    /// Name of the account.
    pub account_name: String,
    /// 1 for a period of service, 2 for an order.
    pub kind: i16,
    /// The instance or the order.
    pub subject: Uuid,
    /// Name of the machine.
    pub hostname: String,
    /// Price without tax.
    pub price: Rupiah,
    /// Tax, where it was fixed when it was ordered.
    pub tax: Option<Rupiah>,
    /// When it was, or is, due.
    pub due: DateTime<Utc>,
}

impl Owed {
    /// Price with tax.
    pub fn amount(&self) -> Rupiah {
        let tax = self.tax.unwrap_or_else(|| tax::ppn(self.price, self.due));
        self.price.checked_add(tax).unwrap_or(self.price)
    }

    /// Where it is in the list.
    pub fn place(&self) -> Place {
        Place {
            at: self.due,
            id: self.subject,
        }
    }
}

/// What is owed after a place, oldest first. A machine whose owner does not want another period owes none.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    after: Option<Place>,
    limit: i64,
) -> Result<Vec<Owed>, sqlx::Error> {
    sqlx::query_as!(
        Owed,
        r#"select account as "account!", account_name as "account_name!", kind as "kind!", subject as "subject!", hostname as "hostname!",
            price as "price!: Rupiah", tax as "tax?: Rupiah", due as "due!"
        from (
            select s.account_id as account, a.name as account_name, 1::smallint as kind, s.instance_id as subject, coalesce(i.hostname, '') as hostname,
                s.price_idr as price, null::bigint as tax, s.paid_until as due
            from subscriptions s
            join accounts a on a.id = s.account_id and not a.sandbox
            left join instances i on i.account_id = s.account_id and i.id = s.instance_id
            where s.state in ('GRACE', 'SUSPENDED') and s.auto_renew
            union all
            select o.account_id, a.name, 2::smallint, o.id, o.hostname, o.subtotal, o.tax, o.deadline_at
            from orders o join accounts a on a.id = o.account_id and not a.sandbox
            where o.state = 'PENDING_PAYMENT'
        ) owed
        where $1::timestamptz is null or (due, subject) > ($1, $2::uuid)
        order by due, subject limit $3"#,
        after.map(|place| place.at),
        after.map(|place| place.id),
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Recurring revenue at two moments, of machines whose period was paid then. Periods are a year at most, so those that began earlier are not read. What a period is, its
/// own length says: the next one may be another.
///
/// # Errors
/// Of the database.
pub async fn recurring(
    pool: &PgPool,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<Recurring, sqlx::Error> {
    sqlx::query_as!(
        Recurring,
        r#"with counting as (
            select r.account_id, r.instance_id,
                max(m.at_start) filter (where r.starts_at <= $1 and r.ends_at > $1 and (g.gone_at is null or g.gone_at > $1)) as at_start,
                max(m.at_end) filter (where r.starts_at <= $2 and r.ends_at > $2 and (g.gone_at is null or g.gone_at > $2)) as at_end
            from renewals r
            join accounts a on a.id = r.account_id and not a.sandbox
            left join lateral (
                select i.updated_at as gone_at from instances i
                where i.account_id = r.account_id and i.id = r.instance_id and i.state in ('DELETING', 'DELETED', 'FAILED', 'LOST')
            ) g on true
            -- What the plan cost for the whole of the period: another plan within it costs another price from then on.
            cross join lateral (
                select coalesce((select c.present_price from plan_changes c where c.account_id = r.account_id and c.instance_id = r.instance_id and c.state = 'DONE'
                        and c.finished_at >= r.starts_at and c.finished_at <= $1 order by c.finished_at desc limit 1), r.price) as at_start,
                    coalesce((select c.present_price from plan_changes c where c.account_id = r.account_id and c.instance_id = r.instance_id and c.state = 'DONE'
                        and c.finished_at >= r.starts_at and c.finished_at <= $2 order by c.finished_at desc limit 1), r.price) as at_end,
                    r.ends_at - r.starts_at as span
            ) p
            cross join lateral (
                select case when p.span < interval '7 days' then (p.at_start * 365 * 2 + 12) / 24 when p.span > interval '100 days' then (p.at_start * 2 + 12) / 24
                        else p.at_start end as at_start,
                    case when p.span < interval '7 days' then (p.at_end * 365 * 2 + 12) / 24 when p.span > interval '100 days' then (p.at_end * 2 + 12) / 24
                        else p.at_end end as at_end
            ) m
            where r.state = 'PAID' and r.starts_at > $1 - interval '367 days' and r.starts_at <= $2 and r.ends_at > $1
            group by r.account_id, r.instance_id
        ), accounts_counting as (
            select account_id, bool_or(at_start is not null) as at_start, bool_or(at_end is not null) as at_end from counting group by account_id
        ), of_accounts as (
            select count(*) filter (where at_start) as started, count(*) filter (where at_end and not at_start) as came,
                count(*) filter (where at_start and not at_end) as went, count(*) filter (where at_end) as ended
            from accounts_counting
        )
        select coalesce(sum(c.at_start), 0)::bigint as "mrr_start!", coalesce(sum(c.at_end) filter (where c.at_start is null), 0)::bigint as "mrr_new!",
            coalesce(sum(c.at_start) filter (where c.at_end is null), 0)::bigint as "mrr_churned!", coalesce(sum(c.at_end), 0)::bigint as "mrr_end!",
            count(c.at_start) as "instances_start!", count(c.at_end) filter (where c.at_start is null) as "instances_new!",
            count(c.at_start) filter (where c.at_end is null) as "instances_churned!", count(c.at_end) as "instances_end!",
            coalesce(max(o.started), 0) as "accounts_start!", coalesce(max(o.came), 0) as "accounts_new!", coalesce(max(o.went), 0) as "accounts_churned!",
            coalesce(max(o.ended), 0) as "accounts_end!"
        from of_accounts o left join counting c on true"#,
        start,
        end,
    )
    .fetch_one(pool)
    .await
}
