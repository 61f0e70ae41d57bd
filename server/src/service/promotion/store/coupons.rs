//! The SQL of coupons.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, CouponId, OrderId, PlanId};
use crate::base::money::{Rupiah, Value};
use crate::service::promotion::coupon::{Coupon, Discount};

struct Row {
    id: CouponId,
    code: String,
    display_name: String,
    sandbox: bool,
    enabled: bool,
    fixed: Rupiah,
    basis_points: i32,
    cap: Rupiah,
    minimum: Rupiah,
    plan_ids: Vec<Uuid>,
    periods: Vec<i16>,
    total_limit: i32,
    account_limit: i32,
    starts_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
    uses: i32,
    created_at: DateTime<Utc>,
}

impl From<Row> for Coupon {
    fn from(r: Row) -> Self {
        Self {
            id: r.id,
            code: r.code,
            display_name: r.display_name,
            sandbox: r.sandbox,
            enabled: r.enabled,
            value: Value::from_columns(r.fixed, r.basis_points, r.cap),
            minimum: r.minimum,
            plans: r.plan_ids.into_iter().map(PlanId).collect(),
            periods: r.periods,
            total_limit: r.total_limit,
            account_limit: r.account_limit,
            starts_at: r.starts_at,
            ends_at: r.ends_at,
            uses: r.uses,
            created_at: r.created_at,
        }
    }
}

macro_rules! coupons {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select id as "id: CouponId", code, display_name, sandbox, enabled, fixed as "fixed: Rupiah", basis_points, cap as "cap: Rupiah",
                minimum as "minimum: Rupiah", plan_ids, periods, total_limit, account_limit, starts_at, ends_at, uses, created_at
            from coupons "# + $tail,
            $($argument),*
        )
    };
}

/// The coupon that has a code, of sandbox accounts or of the others.
///
/// # Errors
/// Of the database.
pub async fn find(
    connection: &mut PgConnection,
    code: &str,
    sandbox: bool,
) -> Result<Option<Coupon>, sqlx::Error> {
    let row = coupons!("where sandbox = $1 and code = $2", sandbox, code)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// A coupon that nobody else uses or changes until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    id: CouponId,
) -> Result<Option<Coupon>, sqlx::Error> {
    let row = coupons!("where id = $1 for no key update", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// Coupons before `before`, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Coupon>, sqlx::Error> {
    let rows = coupons!(
        "where id < coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) order by id desc limit $2",
        before,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// How many orders of an account use a coupon.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    coupon: CouponId,
    account: AccountId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "count!" from coupon_redemptions where coupon_id = $1 and account_id = $2 and returned_at is null"#,
        coupon.0,
        account.0
    )
    .fetch_one(connection)
    .await
}

/// Writes down that an order uses a coupon, which is locked, and counts it.
///
/// # Errors
/// Of the database.
pub async fn insert_redemption(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    discount: &Discount,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with counted as (update coupons set uses = uses + 1 where id = $3)
        insert into coupon_redemptions (account_id, order_id, coupon_id, discount, redeemed_at) values ($1, $2, $3, $4, $5)",
        account.0,
        order.0,
        discount.coupon.0,
        discount.amount.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that an order uses its coupon no longer, and counts it.
///
/// # Errors
/// Of the database.
pub async fn return_redemption(
    connection: &mut PgConnection,
    account: AccountId,
    order: OrderId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with returned as (
            update coupon_redemptions set returned_at = $3 where account_id = $1 and order_id = $2 and returned_at is null returning coupon_id
        )
        update coupons c set uses = c.uses - 1 from returned r where c.id = r.coupon_id",
        account.0,
        order.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a new coupon.
///
/// # Errors
/// Of the database; `coupons_code_key` if another has the code.
pub async fn insert(connection: &mut PgConnection, coupon: &Coupon) -> Result<(), sqlx::Error> {
    let (fixed, basis_points, cap) = coupon.value.columns();
    sqlx::query!(
        "insert into coupons (id, code, display_name, sandbox, enabled, fixed, basis_points, cap, minimum, plan_ids, periods, total_limit, account_limit,
            starts_at, ends_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
        coupon.id.0,
        coupon.code,
        coupon.display_name,
        coupon.sandbox,
        coupon.enabled,
        fixed,
        basis_points,
        cap,
        coupon.minimum.0,
        &coupon.plans.iter().map(|p| p.0).collect::<Vec<_>>(),
        &coupon.periods,
        coupon.total_limit,
        coupon.account_limit,
        coupon.starts_at,
        coupon.ends_at,
        coupon.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a coupon back that is locked.
///
/// # Errors
/// Of the database.
pub async fn update(connection: &mut PgConnection, coupon: &Coupon) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update coupons set display_name = $2, enabled = $3, ends_at = $4, total_limit = $5, account_limit = $6 where id = $1",
        coupon.id.0,
        coupon.display_name,
        coupon.enabled,
        coupon.ends_at,
        coupon.total_limit,
        coupon.account_limit,
    )
    .execute(connection)
    .await?;
    Ok(())
}
