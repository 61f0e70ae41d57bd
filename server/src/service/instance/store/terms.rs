//! What changes of an instance when its plan or its period does. The caller has locked it and raises its revision.

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;

use crate::base::id::{AccountId, InstanceId};
use crate::base::money::Rupiah;
use crate::service::instance::resize::Became;

/// Gives an instance what its machine has become.
///
/// # Errors
/// Of the database.
pub async fn set_plan(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    became: &Became,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set plan_id = $3, provider_size = $4, vcpus = $5, memory_mib = $6, disk_gib = $7, price = $8
        where account_id = $1 and id = $2",
        account.0,
        id.0,
        became.plan.0,
        became.size,
        became.vcpus,
        became.memory_mib,
        became.disk_gib,
        became.price.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets what an instance costs from its next renewal on, which changes it.
///
/// # Errors
/// Of the database.
pub async fn set_period(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    period: BillingPeriod,
    price: Rupiah,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update instances set period = $3, price = $4, revision = revision + 1, updated_at = $5 where account_id = $1 and id = $2",
        account.0,
        id.0,
        period as i16,
        price.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
