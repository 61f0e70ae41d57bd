//! The SQL of firewalls.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, OperationId};
use crate::provider::compute::firewalls::Rule;
use crate::service::instance::model::firewall::{Firewall, Wish};

/// Writes down what an operation asks for, to be looked at by `look_at` at the latest. The instance is locked, so that it is the only one.
///
/// # Errors
/// Of the database.
pub async fn ask(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    wish: &Wish,
    operation: OperationId,
    look_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into firewalls (account_id, instance_id, asked_enabled, asked_rules, operation_id, look_at) values ($1, $2, $3, $4, $5, $6)
        on conflict on constraint firewalls_pkey do update set asked_enabled = $3, asked_rules = $4, operation_id = $5, look_at = $6",
        account.0,
        instance.0,
        wish.enabled,
        Json(&wish.rules) as _,
        operation.0,
        look_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The firewall of an instance; `None` if it never had one.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<Firewall>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select operation_id, enabled, rules as "rules: Json<Vec<Rule>>", set_at, asked_enabled, asked_rules as "asked_rules: Json<Vec<Rule>>", in_force, wanted,
            held_until, unsure_until
        from firewalls where account_id = $1 and instance_id = $2"#,
        account.0,
        instance.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|r| Firewall {
        account,
        instance,
        operation: OperationId(r.operation_id),
        set: Wish {
            enabled: r.enabled,
            rules: r.rules.0,
        },
        set_at: r.set_at,
        asked: Wish {
            enabled: r.asked_enabled,
            rules: r.asked_rules.0,
        },
        in_force: r.in_force,
        wanted: r.wanted == "PRESENT",
        held_until: r.held_until,
        unsure_until: r.unsure_until,
    }))
}

/// Takes the right to change a firewall at its provider until `held_until`, for the attempt of its operation, or with `None` for nobody's when that has ended. Until `unsure_until`, if it
/// is given, one may exist afterwards. False if somebody else has that right, or the lease was lost.
///
/// # Errors
/// Of the database.
pub async fn claim(
    pool: &PgPool,
    firewall: &Firewall,
    attempt: Option<i32>,
    looked_at: DateTime<Utc>,
    held_until: DateTime<Utc>,
    unsure_until: Option<DateTime<Utc>>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update firewalls f set held_until = $5, unsure_until = coalesce($6, unsure_until), in_force = false
        where account_id = $1 and instance_id = $2 and operation_id = $3 and (held_until is null or held_until <= $4)
            and ($6::timestamptz is null or unsure_until is null or unsure_until <= $4)
            and exists (
                select from operations o where o.account_id = $1 and o.id = $3
                and case when $7::int is null then o.finished_at is not null else o.attempt = $7 and o.state = 'RUNNING' end
            )",
        firewall.account.0,
        firewall.instance.0,
        firewall.operation.0,
        looked_at,
        held_until,
        unsure_until,
        attempt,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives the right back. `made` says until when one may exist that does not show, if it was about making one: `Some(None)` if none was made for sure. Somebody else's right is left alone.
///
/// # Errors
/// Of the database.
pub async fn unclaim(
    pool: &PgPool,
    firewall: &Firewall,
    held_until: DateTime<Utc>,
    made: Option<Option<DateTime<Utc>>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update firewalls set held_until = null, unsure_until = case when $4 then $5 else unsure_until end
        where account_id = $1 and instance_id = $2 and held_until = $3",
        firewall.account.0,
        firewall.instance.0,
        held_until,
        made.is_some(),
        made.flatten(),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// What an operation asks for is set, and in force.
///
/// # Errors
/// Of the database.
pub async fn keep(
    connection: &mut PgConnection,
    account: AccountId,
    operation: OperationId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update firewalls set enabled = asked_enabled, rules = asked_rules, set_at = $4, in_force = true, look_at = null, unsure_until = null
        where account_id = $1 and instance_id = $2 and operation_id = $3 and wanted = 'PRESENT'",
        account.0,
        instance.0,
        operation.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Has the firewall that an operation failed to change looked at.
///
/// # Errors
/// Of the database.
pub async fn look_sooner(
    connection: &mut PgConnection,
    account: AccountId,
    operation: OperationId,
    instance: InstanceId,
    look_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update firewalls set look_at = least(look_at, $4) where account_id = $1 and instance_id = $2 and operation_id = $3 and look_at is not null",
        account.0,
        instance.0,
        operation.0,
        look_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wants the firewall of an instance no more, which is gone.
///
/// # Errors
/// Of the database.
pub async fn unwant(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update firewalls set wanted = 'ABSENT', in_force = false, look_at = $3 where account_id = $1 and instance_id = $2",
        account.0,
        instance.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A firewall is as it was set, or (`in_force` false) nobody can make it so: nobody needs to look at it.
///
/// # Errors
/// Of the database.
pub async fn rest(
    connection: &mut PgConnection,
    firewall: &Firewall,
    in_force: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update firewalls set look_at = null, in_force = $4
        where account_id = $1 and instance_id = $2 and operation_id = $3 and wanted = 'PRESENT' and held_until is null",
        firewall.account.0,
        firewall.instance.0,
        firewall.operation.0,
        in_force,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a firewall that is gone with its instance.
///
/// # Errors
/// Of the database.
pub async fn remove(connection: &mut PgConnection, firewall: &Firewall) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from firewalls where account_id = $1 and instance_id = $2 and wanted = 'ABSENT' and held_until is null",
        firewall.account.0,
        firewall.instance.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Firewalls whose turn it is to be looked at; nobody else gets them until `again_at`.
///
/// # Errors
/// Of the database.
pub async fn take_to_look_at(
    pool: &PgPool,
    now: DateTime<Utc>,
    again_at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, InstanceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update firewalls f set look_at = $2
        from (select account_id, instance_id from firewalls where look_at <= $1 order by look_at limit $3 for no key update skip locked) due
        where f.account_id = due.account_id and f.instance_id = due.instance_id
        returning f.account_id as "account: AccountId", f.instance_id as "instance: InstanceId""#,
        now,
        again_at,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.instance)).collect())
}

/// Whether the operation that a firewall was given to goes on.
///
/// # Errors
/// Of the database.
pub async fn is_worked_on(
    connection: &mut PgConnection,
    firewall: &Firewall,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from operations where account_id = $1 and id = $2 and finished_at is null) as "open!""#,
        firewall.account.0,
        firewall.operation.0,
    )
    .fetch_one(connection)
    .await
}
