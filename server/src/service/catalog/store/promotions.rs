//! The SQL of promotions of plans.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, OrderId, PlanId, PlanPromotionId};
use crate::base::money::{Rupiah, Value};
use crate::service::catalog::promotion::{Goods, PlanPromotion, Reduction};
use crate::service::catalog::store;

struct Row {
    id: PlanPromotionId,
    display_name: String,
    sandbox: bool,
    enabled: bool,
    fixed: Rupiah,
    basis_points: i32,
    cap: Rupiah,
    plan_ids: Vec<Uuid>,
    periods: Vec<i16>,
    renewals: bool,
    new_customers_only: bool,
    total_limit: i32,
    account_limit: i32,
    starts_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
    uses: i32,
    created_at: DateTime<Utc>,
}

impl From<Row> for PlanPromotion {
    fn from(r: Row) -> Self {
        Self {
            id: r.id,
            display_name: r.display_name,
            sandbox: r.sandbox,
            enabled: r.enabled,
            value: Value::from_columns(r.fixed, r.basis_points, r.cap),
            plans: r.plan_ids.into_iter().map(PlanId).collect(),
            periods: r.periods,
            renewals: r.renewals,
            new_customers_only: r.new_customers_only,
            total_limit: r.total_limit,
            account_limit: r.account_limit,
            starts_at: r.starts_at,
            ends_at: r.ends_at,
            uses: r.uses,
            created_at: r.created_at,
        }
    }
}

macro_rules! promotions {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select p.id as "id: PlanPromotionId", display_name, p.sandbox, enabled, fixed as "fixed: Rupiah", basis_points, cap as "cap: Rupiah",
                plan_ids, periods, renewals, new_customers_only, total_limit, account_limit, starts_at, ends_at, uses, p.created_at
            from plan_promotions p "# + $tail,
            $($argument),*
        )
    };
}

/// Promotions that are switched on.
///
/// # Errors
/// Of the database.
pub async fn list_enabled(connection: &mut PgConnection) -> sqlx::Result<Vec<PlanPromotion>> {
    let rows = promotions!("where enabled order by p.id",)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// These promotions as they are now, the oldest first.
///
/// # Errors
/// Of the database.
pub async fn get_many(
    connection: &mut PgConnection,
    ids: &[PlanPromotionId],
) -> sqlx::Result<Vec<PlanPromotion>> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = promotions!("where p.id = any($1) order by p.id", &ids)
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The promotions that may be given to an order of an account, locked in the order of their ids, and the account with them: nobody else gives or changes any of them, or
/// gives the account another, until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn open_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    goods: &Goods,
    at: DateTime<Utc>,
) -> sqlx::Result<Vec<PlanPromotion>> {
    let rows = promotions!(
        "join accounts a on a.id = $1 and a.sandbox = p.sandbox where enabled and starts_at <= $2 and (ends_at is null or ends_at > $2)
            and (plan_ids = '{}' or $3 = any(plan_ids)) and (periods = '{}' or $4 = any(periods)) order by p.id for no key update of a, p",
        account.0,
        at,
        goods.plan.0,
        goods.period as i16
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// How many orders of an account have each of these promotions, in their order.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    promotions: &[PlanPromotion],
    account: AccountId,
) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select (select count(*) from plan_promotion_uses u where u.promotion_id = n.id and u.account_id = $2 and u.returned_at is null) as "count!"
        from unnest($1::uuid[]) with ordinality as n (id, number) order by n.number"#,
        &promotions.iter().map(|p| p.id.0).collect::<Vec<_>>(),
        account.0,
    )
    .fetch_all(connection)
    .await
}

/// Writes down that an order has a promotion, which is locked, and counts it. One that is used up by it leaves the catalogue.
///
/// # Errors
/// Of the database; `plan_promotions_total_limit_holds` if [`open_for_update`] was left out.
pub async fn insert_use(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    reduction: &Reduction,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let used_up = sqlx::query_scalar!(
        r#"with used as (
            insert into plan_promotion_uses (account_id, order_id, promotion_id, discount, used_at) values ($1, $2, $3, $4, $5)
        )
        update plan_promotions set uses = uses + 1 where id = $3 returning total_limit > 0 and uses = total_limit as "used_up!""#,
        account.0,
        order.0,
        reduction.promotion.0,
        reduction.amount.0,
        now,
    )
    .fetch_one(&mut *connection)
    .await?;
    if used_up {
        store::advance_version(connection).await?;
    }
    Ok(())
}

/// Writes down that an order has its promotion no longer, and counts it. One that was used up comes back to the catalogue.
///
/// # Errors
/// Of the database.
pub async fn return_use(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let was_used_up = sqlx::query_scalar!(
        r#"with returned as (
            update plan_promotion_uses set returned_at = $3 where account_id = $1 and order_id = $2 and returned_at is null returning promotion_id
        )
        update plan_promotions p set uses = p.uses - 1 from returned r where p.id = r.promotion_id
        returning p.total_limit > 0 and p.uses + 1 = p.total_limit as "used_up!""#,
        account.0,
        order.0,
        now,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if was_used_up == Some(true) {
        store::advance_version(connection).await?;
    }
    Ok(())
}

/// Writes a new promotion.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, p: &PlanPromotion) -> sqlx::Result<()> {
    let (fixed, basis_points, cap) = p.value.columns();
    sqlx::query!(
        "insert into plan_promotions (id, display_name, sandbox, enabled, fixed, basis_points, cap, plan_ids, periods, renewals, new_customers_only, total_limit,
            account_limit, starts_at, ends_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        p.id.0,
        p.display_name,
        p.sandbox,
        p.enabled,
        fixed,
        basis_points,
        cap,
        &p.plans.iter().map(|plan| plan.0).collect::<Vec<_>>(),
        &p.periods,
        p.renewals,
        p.new_customers_only,
        p.total_limit,
        p.account_limit,
        p.starts_at,
        p.ends_at,
        p.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A promotion that nobody else gives or changes until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    id: PlanPromotionId,
) -> sqlx::Result<Option<PlanPromotion>> {
    let row = promotions!("where p.id = $1 for no key update", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// Promotions before `before`, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<PlanPromotion>> {
    let rows = promotions!(
        "where p.id < coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) order by p.id desc limit $2",
        before,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Writes a promotion back that is locked.
///
/// # Errors
/// Of the database.
pub async fn update(connection: &mut PgConnection, p: &PlanPromotion) -> sqlx::Result<()> {
    sqlx::query!(
        "update plan_promotions set display_name = $2, enabled = $3, ends_at = $4, total_limit = $5, account_limit = $6 where id = $1",
        p.id.0,
        p.display_name,
        p.enabled,
        p.ends_at,
        p.total_limit,
        p.account_limit,
    )
    .execute(connection)
    .await?;
    Ok(())
}
