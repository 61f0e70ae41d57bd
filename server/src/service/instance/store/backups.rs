//! The SQL of backups.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{
    AccountId, BackupId, ImageId, InstanceId, OperationId, PlanId, ProviderAccountId,
};
use crate::provider::compute::backups::Copy;
use crate::service::instance::model::backup::{Backup, Status, Watch};
use crate::service::operation::model::Leased;

/// Has the backups of machines looked at from now on, of those whose plan has them. Those that are stay as they are.
///
/// # Errors
/// Of the database.
pub async fn begin(
    pool: &PgPool,
    machines: &[(AccountId, InstanceId)],
    plans: &[PlanId],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if machines.is_empty() || plans.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into backup_watches (account_id, instance_id, due_at)
        select n.a, n.i, $4 from unnest($1::uuid[], $2::uuid[]) as n (a, i) join instances x on x.account_id = n.a and x.id = n.i
        where x.plan_id = any($3) order by n.a, n.i
        on conflict on constraint backup_watches_pkey do nothing",
        &machines.iter().map(|(a, _)| a.0).collect::<Vec<_>>(),
        &machines.iter().map(|(_, i)| i.0).collect::<Vec<_>>(),
        &plans.iter().map(|plan| plan.0).collect::<Vec<_>>(),
        now,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Takes the instances whose turn it is; nobody else looks at their backups until `until`.
///
/// # Errors
/// Of the database.
pub async fn lease(
    pool: &PgPool,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Watch>, sqlx::Error> {
    sqlx::query_as!(
        Watch,
        r#"with due as (
            select account_id, instance_id from backup_watches where due_at <= $1 order by due_at limit $3 for no key update skip locked
        )
        update backup_watches w set fence = w.fence + 1, due_at = $2
        from due join instances i on i.account_id = due.account_id and i.id = due.instance_id
        where w.account_id = due.account_id and w.instance_id = due.instance_id
        returning w.account_id as "account: AccountId", w.instance_id as "instance: InstanceId", w.fence,
            i.state in ('RUNNING', 'STOPPED', 'SUSPENDED', 'DELETING') as "alive!", i.provider,
            i.provider_account_id as "provider_account: ProviderAccountId", i.provider_ref, i.plan_id as "plan: PlanId", i.image_id as "image: ImageId",
            i.image_code"#,
        now,
        until,
        limit,
    )
    .fetch_all(pool)
    .await
}

/// Has an instance looked at again at `due`. False if somebody else has taken it meanwhile.
///
/// # Errors
/// Of the database.
pub async fn put_off(
    connection: &mut PgConnection,
    watch: &Watch,
    due: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update backup_watches set due_at = $4 where account_id = $1 and instance_id = $2 and fence = $3",
        watch.account.0,
        watch.instance.0,
        watch.fence,
        due,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes down what a provider showed, for a watch that is still held: those that are new, the oldest first, and no others any more.
///
/// # Errors
/// Of the database.
pub async fn keep(
    connection: &mut PgConnection,
    watch: &Watch,
    enabled: bool,
    shown: &[Copy],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut shown: Vec<&Copy> = shown.iter().collect();
    shown.sort_by_key(|copy| copy.taken_at);
    let names: Vec<String> = shown.iter().map(|c| c.backup_ref.clone()).collect();
    let (account, instance) = (watch.account.0, watch.instance.0);
    sqlx::query!(
        "update backup_watches set enabled = $3, checked_at = $4 where account_id = $1 and instance_id = $2",
        account,
        instance,
        enabled,
        now,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from backups where account_id = $1 and instance_id = $2 and not backup_ref = any($3)",
        account,
        instance,
        &names,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into backups (account_id, id, instance_id, backup_ref, taken_at, image_id, image_code)
        select $1, n.id, $2, n.name, n.at, $6, $7 from unnest($3::uuid[], $4::text[], $5::timestamptz[]) as n (id, name, at)
        on conflict on constraint backups_once do nothing",
        account,
        instance,
        &shown.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>(),
        &names,
        &shown.iter().map(|c| c.taken_at).collect::<Vec<_>>(),
        watch.image.0,
        watch.image_code,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets all backups of an instance that has none any more.
///
/// # Errors
/// Of the database.
pub async fn forget(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from backup_watches where account_id = $1 and instance_id = $2",
        account.0,
        instance.0
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from backups where account_id = $1 and instance_id = $2",
        account.0,
        instance.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether an instance is backed up, as was last seen.
///
/// # Errors
/// Of the database.
pub async fn status(
    pool: &PgPool,
    account: AccountId,
    instance: InstanceId,
) -> Result<Status, sqlx::Error> {
    let found = sqlx::query_as!(
        Status,
        r#"select enabled, checked_at, (select max(taken_at) from backups where account_id = $1 and instance_id = $2) as last_taken_at
        from backup_watches where account_id = $1 and instance_id = $2"#,
        account.0,
        instance.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Backups by whatever follows the columns.
macro_rules! backups {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Backup,
            r#"select account_id as "account: AccountId", id as "id: BackupId", instance_id as "instance: InstanceId", backup_ref, taken_at,
                image_id as "image: ImageId", image_code, operation_id as "operation: OperationId"
            from backups "# + $tail,
            $($argument),*
        )
    };
}

/// A backup.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    account: AccountId,
    id: BackupId,
) -> Result<Option<Backup>, sqlx::Error> {
    backups!("where account_id = $1 and id = $2", account.0, id.0)
        .fetch_optional(connection)
        .await
}

/// The backup that an operation goes back to; `None` once the provider was seen to have deleted it.
///
/// # Errors
/// Of the database.
pub async fn get_of_operation(
    connection: &mut PgConnection,
    leased: &Leased,
) -> Result<Option<Backup>, sqlx::Error> {
    backups!(
        "where account_id = $1 and instance_id = $2 and operation_id = $3",
        leased.account.0,
        leased.instance.0,
        leased.id.0
    )
    .fetch_optional(connection)
    .await
}

/// Backups of an instance, newest first, and only before `before`.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    instance: InstanceId,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Backup>, sqlx::Error> {
    backups!(
        "where account_id = $1 and instance_id = $2 and id < $3 order by id desc limit $4",
        account.0,
        instance.0,
        before.unwrap_or(Uuid::max()),
        limit
    )
    .fetch_all(pool)
    .await
}

/// Notes which operation goes back to a backup. False if it is gone.
///
/// # Errors
/// Of the database.
pub async fn hand_to(
    connection: &mut PgConnection,
    backup: &Backup,
    operation: OperationId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update backups set operation_id = $3 where account_id = $1 and id = $2",
        backup.account.0,
        backup.id.0,
        operation.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
