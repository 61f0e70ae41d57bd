//! The SQL of reverse DNS.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::base::id::{AccountId, InstanceId, OperationId};
use crate::service::instance::model::reverse_dns::{Record, Wish};
use crate::service::operation::model::Leased;

fn address(text: &str) -> IpAddr {
    text.parse().expect("only addresses are written")
}

/// Writes down what an operation asks for. The instance is locked, so that it is the only one.
///
/// # Errors
/// Of the database.
pub async fn ask(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    wish: &Wish,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into reverse_dns (account_id, instance_id, address, asked, operation_id) values ($1, $2, $3, $4, $5)
        on conflict on constraint reverse_dns_pkey do update set asked = $4, operation_id = $5",
        account.0,
        instance.0,
        wish.address.to_string(),
        wish.hostname,
        operation.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What an operation asks for.
///
/// # Errors
/// Of the database.
pub async fn get_of_operation(
    connection: &mut PgConnection,
    leased: &Leased,
) -> Result<Option<Wish>, sqlx::Error> {
    let found = sqlx::query!(
        "select address, asked from reverse_dns where account_id = $1 and instance_id = $2 and operation_id = $3",
        leased.account.0,
        leased.instance.0,
        leased.id.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|r| Wish {
        address: address(&r.address),
        hostname: r.asked,
    }))
}

/// What an operation asks for is so. It was set at `now`, unless it was so before.
///
/// # Errors
/// Of the database.
pub async fn keep(
    connection: &mut PgConnection,
    leased: &Leased,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update reverse_dns set hostname = asked, set_at = case when asked <> '' then $4::timestamptz end
        where account_id = $1 and instance_id = $2 and operation_id = $3 and hostname <> asked",
        leased.account.0,
        leased.instance.0,
        leased.id.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The names that were set for addresses of an instance, in no order.
///
/// # Errors
/// Of the database.
pub async fn list(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Vec<Record>, sqlx::Error> {
    let rows = sqlx::query!(
        "select address, hostname, set_at from reverse_dns where account_id = $1 and instance_id = $2",
        account.0,
        instance.0,
    )
    .fetch_all(connection)
    .await?;
    let record = |address: &str, hostname, set_at| Record {
        address: self::address(address),
        hostname,
        set_at,
    };
    Ok(rows
        .into_iter()
        .map(|r| record(&r.address, r.hostname, r.set_at))
        .collect())
}

/// Forgets the names of an instance, whose addresses are given up.
///
/// # Errors
/// Of the database.
pub async fn remove(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from reverse_dns where account_id = $1 and instance_id = $2",
        account.0,
        instance.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}
