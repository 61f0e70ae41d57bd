//! The SQL of orders.

pub mod together;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{
    AccountId, CouponId, DepositId, ImageId, InstanceId, JournalId, OperationId, OrderId, PlanId,
    PlanPromotionId, RegionId,
};
use crate::base::money::Rupiah;
use crate::service::catalog::promotion::Reduction;
use crate::service::order::model::{Draft, Move, Order, Payment, State};
use crate::service::order::quote::Quote;
use crate::service::promotion::coupon::Discount;

struct Row {
    account_id: AccountId,
    id: OrderId,
    state: String,
    payment: i16,
    plan_id: PlanId,
    region_id: RegionId,
    image_id: ImageId,
    period: i16,
    hostname: String,
    auto_renew: bool,
    labels: Json<BTreeMap<String, String>>,
    subtotal: Rupiah,
    tax: Rupiah,
    total: Rupiah,
    plan_name: String,
    price_until: Option<DateTime<Utc>>,
    instance_id: InstanceId,
    operation_id: OperationId,
    hold_id: Option<JournalId>,
    deposit_id: Option<DepositId>,
    coupon_id: Option<CouponId>,
    coupon_code: String,
    discount: Rupiah,
    promotion_id: Option<PlanPromotionId>,
    promotion_name: String,
    promotion_discount: Rupiah,
    promotion_renews: bool,
    client_reference: Option<String>,
    failure_reason: Option<String>,
    failure_message: Option<String>,
    history: Json<Vec<Move>>,
    attempts: i32,
    last_error: Option<String>,
    fence: i32,
    next_attempt_at: DateTime<Utc>,
    deadline_at: DateTime<Utc>,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Order {
    fn from(r: Row) -> Self {
        Self {
            account: r.account_id,
            id: r.id,
            state: State::parse(&r.state).expect("orders_state_known allows no other"),
            payment: match r.payment {
                2 => Payment::StaffApproval,
                3 => Payment::Gateway,
                _ => Payment::Wallet,
            },
            draft: Draft {
                plan: r.plan_id,
                region: r.region_id,
                image: r.image_id,
                period: BillingPeriod::try_from(i32::from(r.period)).unwrap_or_default(),
                hostname: r.hostname,
                auto_renew: r.auto_renew,
                labels: r.labels.0,
                coupon_code: r.coupon_code.clone(),
            },
            quote: Quote {
                plan_name: r.plan_name,
                promotion: r.promotion_id.map(|promotion| Reduction {
                    promotion,
                    display_name: r.promotion_name,
                    amount: r.promotion_discount,
                    renews: r.promotion_renews,
                }),
                discount: r.coupon_id.map(|coupon| Discount {
                    coupon,
                    code: r.coupon_code,
                    amount: r.discount,
                }),
                subtotal: r.subtotal,
                tax: r.tax,
                total: r.total,
                until: r.price_until,
            },
            instance: r.instance_id,
            operation: r.operation_id,
            hold: r.hold_id,
            deposit: r.deposit_id,
            client_reference: r.client_reference,
            failure: r.failure_reason.zip(r.failure_message),
            history: r.history.0,
            attempts: r.attempts,
            last_error: r.last_error,
            fence: r.fence,
            next_attempt_at: r.next_attempt_at,
            deadline_at: r.deadline_at,
            revision: r.revision,
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

macro_rules! orders {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select account_id as "account_id: AccountId", id as "id: OrderId", state, payment, plan_id as "plan_id: PlanId",
                region_id as "region_id: RegionId", image_id as "image_id: ImageId", period, hostname, auto_renew,
                labels as "labels: Json<BTreeMap<String, String>>", subtotal as "subtotal: Rupiah", tax as "tax: Rupiah", total as "total: Rupiah", plan_name,
                price_until, instance_id as "instance_id: InstanceId", operation_id as "operation_id: OperationId", hold_id as "hold_id: JournalId",
                deposit_id as "deposit_id: DepositId", coupon_id as "coupon_id: CouponId", coupon_code, discount as "discount: Rupiah",
                promotion_id as "promotion_id: PlanPromotionId", promotion_name, promotion_discount as "promotion_discount: Rupiah", promotion_renews,
                client_reference, failure_reason, failure_message, history as "history: Json<Vec<Move>>", attempts, last_error, fence, next_attempt_at,
                deadline_at, revision, created_at, updated_at
            from orders "# + $tail,
            $($argument),*
        )
    };
}

/// Writes new orders.
///
/// # Errors
/// Of the database; `orders_client_reference_key` if a reference was used.
pub async fn insert(connection: &mut PgConnection, orders: &[&Order]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into orders (account_id, id, state, payment, plan_id, region_id, image_id, period, hostname, auto_renew, labels, subtotal, tax, total, plan_name,
            price_until, instance_id, operation_id, hold_id, client_reference, history, next_attempt_at, deadline_at, revision, created_at, updated_at,
            deposit_id, coupon_id, coupon_code, discount, promotion_id, promotion_name, promotion_discount, promotion_renews)
        select a, i, st, pa, pl, re, im, pe, ho, au, la, su, ta, su + ta, na, un, ins, op, hol, cl, hi, ne, de, ve, cr, cr, dep, co, cc, di, pm, pn, pd, pr
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::smallint[], $5::uuid[], $6::uuid[], $7::uuid[], $8::smallint[], $9::text[], $10::boolean[],
            $11::jsonb[], $12::bigint[], $13::bigint[], $14::text[], $15::timestamptz[], $16::uuid[], $17::uuid[], $18::uuid[], $19::text[], $20::jsonb[],
            $21::timestamptz[], $22::timestamptz[], $23::bigint[], $24::timestamptz[], $25::uuid[], $26::uuid[], $27::text[], $28::bigint[],
            $29::uuid[], $30::text[], $31::bigint[], $32::boolean[])
            as o (a, i, st, pa, pl, re, im, pe, ho, au, la, su, ta, na, un, ins, op, hol, cl, hi, ne, de, ve, cr, dep, co, cc, di, pm, pn, pd, pr)",
        &orders.iter().map(|o| o.account.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.id.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.state.as_str()).collect::<Vec<_>>() as &[&str],
        &orders.iter().map(|o| o.payment as i16).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.draft.plan.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.draft.region.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.draft.image.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.draft.period as i16).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.draft.hostname.as_str()).collect::<Vec<_>>() as &[&str],
        &orders.iter().map(|o| o.draft.auto_renew).collect::<Vec<_>>(),
        &orders.iter().map(|o| Json(&o.draft.labels)).collect::<Vec<_>>() as &[Json<&BTreeMap<String, String>>],
        &orders.iter().map(|o| o.quote.subtotal.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.quote.tax.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.quote.plan_name.as_str()).collect::<Vec<_>>() as &[&str],
        &orders.iter().map(|o| o.quote.until).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &orders.iter().map(|o| o.instance.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.operation.0).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.hold.map(|h| h.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &orders.iter().map(|o| o.client_reference.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &orders.iter().map(|o| Json(&o.history)).collect::<Vec<_>>() as &[Json<&Vec<Move>>],
        &orders.iter().map(|o| o.next_attempt_at).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.deadline_at).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.revision).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.created_at).collect::<Vec<_>>(),
        &orders.iter().map(|o| o.deposit.map(|d| d.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &orders.iter().map(|o| o.quote.discount.as_ref().map(|d| d.coupon.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &orders.iter().map(|o| o.draft.coupon_code.as_str()).collect::<Vec<_>>() as &[&str],
        &orders.iter().map(|o| o.quote.discount.as_ref().map_or(0, |d| d.amount.0)).collect::<Vec<_>>(),
        &orders.iter().map(|o| promotion(o).map(|p| p.promotion.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &orders.iter().map(|o| promotion(o).map_or("", |p| p.display_name.as_str())).collect::<Vec<_>>() as &[&str],
        &orders.iter().map(|o| promotion(o).map_or(0, |p| p.amount.0)).collect::<Vec<_>>(),
        &orders.iter().map(|o| promotion(o).is_some_and(|p| p.renews)).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn promotion(order: &Order) -> Option<&Reduction> {
    order.quote.promotion.as_ref()
}

/// Whether an account has an order, apart from those that ended without a machine.
///
/// # Errors
/// Of the database.
pub async fn has_bought(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from orders where account_id = $1 and state in ('PENDING_PAYMENT', 'PAID', 'PROVISIONING', 'ACTIVE')) as "bought!""#,
        account.0
    )
    .fetch_one(connection)
    .await
}

/// Which of these references were used before in their accounts.
///
/// # Errors
/// Of the database.
pub async fn used_references(
    connection: &mut PgConnection,
    references: &[(AccountId, &str)],
) -> Result<Vec<(AccountId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select o.account_id as "account: AccountId", o.client_reference as "reference!"
        from unnest($1::uuid[], $2::text[]) as n (account_id, reference)
        join orders o on o.account_id = n.account_id and o.client_reference = n.reference"#,
        &references
            .iter()
            .map(|(account, _)| account.0)
            .collect::<Vec<_>>(),
        &references
            .iter()
            .map(|(_, reference)| *reference)
            .collect::<Vec<_>>() as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.reference)).collect())
}

/// Orders, by whose they are.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    asked: &[(AccountId, OrderId)],
) -> Result<HashMap<(AccountId, OrderId), Order>, sqlx::Error> {
    let (accounts, ids): (Vec<Uuid>, Vec<Uuid>) = asked.iter().map(|(a, id)| (a.0, id.0)).unzip();
    let rows = orders!(
        "where (account_id, id) in (select * from unnest($1::uuid[], $2::uuid[]))",
        &accounts,
        &ids
    )
    .fetch_all(pool)
    .await?;
    let orders = rows.into_iter().map(Order::from);
    Ok(orders.map(|o| ((o.account, o.id), o)).collect())
}

/// An order of any account, for staff.
///
/// # Errors
/// Of the database.
pub async fn get_any(pool: &PgPool, id: OrderId) -> Result<Option<Order>, sqlx::Error> {
    Ok(orders!("where id = $1", id.0)
        .fetch_optional(pool)
        .await?
        .map(Into::into))
}

/// An order, locked.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: OrderId,
) -> Result<Option<Order>, sqlx::Error> {
    Ok(orders!(
        "where account_id = $1 and id = $2 for no key update",
        account.0,
        id.0
    )
    .fetch_optional(connection)
    .await?
    .map(Into::into))
}

/// What a list asks for.
#[derive(Default)]
pub struct Filter {
    /// Only before this id.
    pub before: Option<Uuid>,
    /// Only this state; all if empty.
    pub state: &'static str,
    /// Only this plan.
    pub plan: Option<Uuid>,
    /// Only this reference; all if empty.
    pub client_reference: String,
    /// Only placed at or after this.
    pub from: Option<DateTime<Utc>>,
    /// Only placed before this.
    pub until: Option<DateTime<Utc>>,
}

/// Orders of an account, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let rows = orders!(
        "where account_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($3 = '' or state = $3)
            and ($4::uuid is null or plan_id = $4) and ($5 = '' or client_reference = $5)
            and ($6::timestamptz is null or created_at >= $6) and ($7::timestamptz is null or created_at < $7)
        order by id desc limit $8",
        account.0,
        filter.before,
        filter.state,
        filter.plan,
        filter.client_reference,
        filter.from,
        filter.until,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Orders of all accounts, newest first.
///
/// # Errors
/// Of the database.
pub async fn search(
    pool: &PgPool,
    before: Option<Uuid>,
    state: &str,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let rows = orders!(
        "where id < coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($2 = '' or state = $2) order by id desc limit $3",
        before,
        state,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Takes orders that are due for work, for a while: nobody else takes them before `lease_until`, and the fence tells who had them last.
///
/// # Errors
/// Of the database.
pub async fn lease(
    pool: &PgPool,
    now: DateTime<Utc>,
    lease_until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let due = orders!(
        "where state in ('PAID', 'PROVISIONING') and next_attempt_at <= $1 order by next_attempt_at limit $2 for no key update skip locked",
        now,
        limit
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut leased: Vec<Order> = due.into_iter().map(Into::into).collect();
    sqlx::query!(
        "update orders o set fence = o.fence + 1, next_attempt_at = $3 from unnest($1::uuid[], $2::uuid[]) as n (account_id, id)
        where o.account_id = n.account_id and o.id = n.id",
        &leased.iter().map(|o| o.account.0).collect::<Vec<_>>(),
        &leased.iter().map(|o| o.id.0).collect::<Vec<_>>(),
        lease_until,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    for order in &mut leased {
        order.fence += 1;
    }
    Ok(leased)
}

/// Gives a leased order back, to be tried again at `next`. Does nothing if somebody else has it by now.
///
/// # Errors
/// Of the database.
pub async fn put_back(
    connection: &mut PgConnection,
    order: &Order,
    next: DateTime<Utc>,
    attempts: i32,
    last_error: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update orders set next_attempt_at = $4, attempts = $5, last_error = $6 where account_id = $1 and id = $2 and fence = $3",
        order.account.0,
        order.id.0,
        order.fence,
        next,
        attempts,
        last_error,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a moved order, which the caller has locked.
///
/// # Errors
/// Of the database.
pub async fn advance(connection: &mut PgConnection, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update orders set state = $3, hold_id = $4, failure_reason = $5, failure_message = $6, history = $7, next_attempt_at = $8, deadline_at = $9,
            revision = $10, updated_at = $11, last_error = $12
        where account_id = $1 and id = $2",
        order.account.0,
        order.id.0,
        order.state.as_str(),
        order.hold.map(|h| h.0),
        order.failure.as_ref().map(|(reason, _)| reason.as_str()),
        order.failure.as_ref().map(|(_, message)| message.as_str()),
        Json(&order.history) as _,
        order.next_attempt_at,
        order.deadline_at,
        order.revision,
        order.updated_at,
        order.last_error,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Orders nobody paid in time, locked.
///
/// # Errors
/// Of the database.
pub async fn expiring_for_update(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Order>, sqlx::Error> {
    let rows =
        orders!("where state = 'PENDING_PAYMENT' and deadline_at <= $1 order by deadline_at limit $2 for no key update skip locked", now, limit)
            .fetch_all(connection)
            .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Deposits whose money is held for an order that does not wait for it any more, and how much.
///
/// # Errors
/// Of the database.
pub async fn unclaimed_payments(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Vec<(DepositId, Rupiah)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select d.id as "id: DepositId", d.amount as "amount: Rupiah" from deposits d
        join orders o on o.account_id = d.account_id and o.id = d.order_id
        where d.account_id = $1 and d.hold_id is not null and o.hold_id is distinct from d.hold_id
            and not exists (select from journals c where c.account_id = d.account_id and c.closes = d.hold_id)"#,
        account.0,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|r| (r.id, r.amount)).collect())
}
