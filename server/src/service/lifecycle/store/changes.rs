//! The SQL of changes of plan.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, JournalId, OperationId, PlanId};
use crate::base::money::Rupiah;

/// A change of plan.
#[derive(Clone, Debug)]
pub struct PlanChange {
    /// The account.
    pub account: AccountId,
    /// The operation that makes it.
    pub operation: OperationId,
    /// The machine.
    pub instance: InstanceId,
    /// The plan it had.
    pub from_plan: PlanId,
    /// The plan it is to have.
    pub plan: PlanId,
    /// Name of the plan it had.
    pub from_plan_name: String,
    /// Name of the plan it is to have.
    pub plan_name: String,
    /// The provider's name of the new size.
    pub provider_size: String,
    /// Virtual processors.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// Whether the disk grows.
    pub disk_grows: bool,
    /// Price of one period without tax, from the next one on.
    pub price: Rupiah,
    /// What the new plan costs for the whole present period.
    pub present_price: Rupiah,
    /// Days priced anew.
    pub remaining_days: i32,
    /// Days of the present period.
    pub period_days: i32,
    /// Without tax; negative where it is given back.
    pub net: Rupiah,
    /// PPN, with its sign.
    pub tax: Rupiah,
    /// What sets the money aside, where there is some to pay.
    pub hold: Option<JournalId>,
    /// Why it cannot be had, once that is known: reason and message.
    pub failure: Option<(String, String)>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
}

/// Writes a change that begins.
///
/// # Errors
/// Of the database; `plan_changes_one_open` if another one is under way.
pub async fn insert(connection: &mut PgConnection, c: &PlanChange) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into plan_changes (account_id, operation_id, instance_id, state, from_plan_id, plan_id, from_plan_name, plan_name, provider_size, vcpus, memory_mib,
            disk_gib, disk_grows, price, present_price, remaining_days, period_days, net, tax, hold_id, created_at)
        values ($1, $2, $3, 'OPEN', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
        c.account.0,
        c.operation.0,
        c.instance.0,
        c.from_plan.0,
        c.plan.0,
        c.from_plan_name,
        c.plan_name,
        c.provider_size,
        c.vcpus,
        c.memory_mib,
        c.disk_gib,
        c.disk_grows,
        c.price.0,
        c.present_price.0,
        c.remaining_days,
        c.period_days,
        c.net.0,
        c.tax.0,
        c.hold.map(|hold| hold.0),
        c.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A change that is under way.
///
/// # Errors
/// Of the database.
pub async fn get_open(
    pool: &PgPool,
    account: AccountId,
    operation: OperationId,
) -> Result<Option<PlanChange>, sqlx::Error> {
    let row = sqlx::query!(
        r#"select instance_id as "instance: InstanceId", from_plan_id as "from_plan: PlanId", plan_id as "plan: PlanId", from_plan_name, plan_name, provider_size, vcpus,
            memory_mib, disk_gib, disk_grows, price as "price: Rupiah", present_price as "present_price: Rupiah", remaining_days, period_days, net as "net: Rupiah",
            tax as "tax: Rupiah", hold_id as "hold: JournalId", failure_reason, failure_message, created_at
        from plan_changes where account_id = $1 and operation_id = $2 and state = 'OPEN'"#,
        account.0,
        operation.0,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|r| PlanChange {
        account,
        operation,
        instance: r.instance,
        from_plan: r.from_plan,
        plan: r.plan,
        from_plan_name: r.from_plan_name,
        plan_name: r.plan_name,
        provider_size: r.provider_size,
        vcpus: r.vcpus,
        memory_mib: r.memory_mib,
        disk_gib: r.disk_gib,
        disk_grows: r.disk_grows,
        price: r.price,
        present_price: r.present_price,
        remaining_days: r.remaining_days,
        period_days: r.period_days,
        net: r.net,
        tax: r.tax,
        hold: r.hold,
        failure: r.failure_reason.zip(r.failure_message),
        created_at: r.created_at,
    }))
}

/// Writes down why a change cannot be had. It stays open until the machine is as it was.
///
/// # Errors
/// Of the database.
pub async fn set_failure(
    connection: &mut PgConnection,
    change: &PlanChange,
    reason: &str,
    message: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update plan_changes set failure_reason = $3, failure_message = $4 where account_id = $1 and operation_id = $2 and state = 'OPEN'",
        change.account.0,
        change.operation.0,
        reason,
        message,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes that the period a change was priced for was cut short.
///
/// # Errors
/// Of the database.
pub async fn cut_short(
    connection: &mut PgConnection,
    account: AccountId,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update plan_changes set period_cut_short = true where account_id = $1 and operation_id = $2 and state = 'OPEN'",
        account.0,
        operation.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the period a change was priced for was cut short since.
///
/// # Errors
/// Of the database.
pub async fn is_cut_short(
    connection: &mut PgConnection,
    change: &PlanChange,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        "select period_cut_short from plan_changes where account_id = $1 and operation_id = $2",
        change.account.0,
        change.operation.0,
    )
    .fetch_one(connection)
    .await
}

/// Ends a change: DONE, with the refund that gave money back, or FAILED. One that was done after all forgets why it could not be, and one whose period was cut short
/// what it would have cost.
///
/// # Errors
/// Of the database.
pub async fn end(
    connection: &mut PgConnection,
    change: &PlanChange,
    refund: Option<JournalId>,
    failure: Option<(&str, &str)>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let state = if failure.is_some() { "FAILED" } else { "DONE" };
    sqlx::query!(
        "update plan_changes set state = $3, refund_id = $4, failure_reason = $5, failure_message = $6, finished_at = $7,
            remaining_days = case when period_cut_short and $3 = 'DONE' then 0 else remaining_days end,
            net = case when period_cut_short and $3 = 'DONE' then 0 else net end,
            tax = case when period_cut_short and $3 = 'DONE' then 0 else tax end,
            hold_id = case when period_cut_short and $3 = 'DONE' then null else hold_id end
        where account_id = $1 and operation_id = $2 and state = 'OPEN'",
        change.account.0,
        change.operation.0,
        state,
        refund.map(|refund| refund.0),
        failure.map(|(reason, _)| reason),
        failure.map(|(_, message)| message),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
