//! SQL of the catalogue.

pub mod promotions;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;

use crate::base::id::{ImageId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::service::catalog::error::Error;
use crate::service::catalog::model::{Image, Plan, Region, Snapshot, Version};

/// The version of the tables.
///
/// # Errors
/// Of the database.
pub async fn get_version(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!("select version from catalog_version where single")
        .fetch_one(connection)
        .await
}

/// Makes every server read the tables again once this transaction commits.
///
/// # Errors
/// Of the database.
pub async fn advance_version(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("update catalog_version set version = version + 1 where single")
        .execute(connection)
        .await?;
    Ok(())
}

/// Everything. The connection must be in a transaction that sees one state.
///
/// # Errors
/// Of the database.
pub async fn list_all(connection: &mut PgConnection) -> sqlx::Result<Snapshot> {
    let version = get_version(connection).await?;
    let plans = sqlx::query_as!(
        Plan,
        r#"select id as "id: PlanId", code, display_name, vcpus, memory_mib, disk_gib, transfer_gib, backups, provider, provider_size, available,
            archived_at is not null as "archived!", created_at from plans"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let prices =
        sqlx::query!("select plan_id, period, effective_at, amount, available from plan_prices")
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .map(|row| Version {
                plan: PlanId(row.plan_id),
                period: period(row.period),
                amount: Rupiah(row.amount),
                available: row.available,
                effective_at: row.effective_at,
            })
            .collect();
    let images = sqlx::query_as!(
        Image,
        r#"select id as "id: ImageId", code, display_name, kind, distribution, min_disk_gib, provider, provider_image from images"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let regions = sqlx::query_as!(
        Region,
        r#"select id as "id: RegionId", code, display_name, country_code, available, provider, provider_region from regions"#
    )
    .fetch_all(&mut *connection)
    .await?;
    let promotions = promotions::list_enabled(connection).await?;
    let snapshot = Snapshot::new(version, plans, prices, promotions, images, regions);
    Ok(snapshot)
}

/// How many of these plans there are.
///
/// # Errors
/// Of the database.
pub async fn count_plans(connection: &mut PgConnection, plans: &[PlanId]) -> sqlx::Result<usize> {
    let count = sqlx::query_scalar!(
        r#"select count(*) as "count!" from unnest($1::uuid[]) as n (id) join plans p on p.id = n.id"#,
        &plans.iter().map(|plan| plan.0).collect::<Vec<_>>(),
    )
    .fetch_one(connection)
    .await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn period(number: i16) -> BillingPeriod {
    BillingPeriod::try_from(i32::from(number)).unwrap_or_default()
}

/// A plan, locked.
///
/// # Errors
/// Of the database.
pub async fn get_plan_for_update(
    connection: &mut PgConnection,
    id: PlanId,
) -> sqlx::Result<Option<Plan>> {
    sqlx::query_as!(
        Plan,
        r#"select id as "id: PlanId", code, display_name, vcpus, memory_mib, disk_gib, transfer_gib, backups, provider, provider_size, available,
            archived_at is not null as "archived!", created_at from plans where id = $1 for no key update"#,
        id.0,
    )
    .fetch_optional(connection)
    .await
}

/// Every price version of a plan.
///
/// # Errors
/// Of the database.
pub async fn list_versions(
    connection: &mut PgConnection,
    plan: PlanId,
) -> sqlx::Result<Vec<Version>> {
    let rows = sqlx::query!(
        "select period, effective_at, amount, available from plan_prices where plan_id = $1",
        plan.0
    )
    .fetch_all(connection)
    .await?;
    let version = |period, effective_at, amount, available| Version {
        plan,
        period,
        amount: Rupiah(amount),
        available,
        effective_at,
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            version(
                period(row.period),
                row.effective_at,
                row.amount,
                row.available,
            )
        })
        .collect())
}

/// Inserts a plan.
///
/// # Errors
/// `PlanCodeTaken`; the database.
pub async fn insert_plan(connection: &mut PgConnection, plan: &Plan) -> Result<(), Error> {
    if insert_plan_if_new(connection, plan).await? {
        Ok(())
    } else {
        Err(Error::PlanCodeTaken)
    }
}

/// Inserts a plan unless its code is taken; says whether it did.
///
/// # Errors
/// Of the database.
pub async fn insert_plan_if_new(connection: &mut PgConnection, plan: &Plan) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into plans (id, code, display_name, vcpus, memory_mib, disk_gib, transfer_gib, provider, provider_size, available, created_at, backups)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) on conflict (code) do nothing",
        plan.id.0,
        plan.code,
        plan.display_name,
        plan.vcpus,
        plan.memory_mib,
        plan.disk_gib,
        plan.transfer_gib,
        plan.provider,
        plan.provider_size,
        plan.available,
        plan.created_at,
        plan.backups,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes name and availability of a plan.
///
/// # Errors
/// Of the database.
pub async fn update_plan(connection: &mut PgConnection, plan: &Plan) -> sqlx::Result<()> {
    sqlx::query!(
        "update plans set display_name = $2, available = $3 where id = $1",
        plan.id.0,
        plan.display_name,
        plan.available
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Archives a plan; the first time counts.
///
/// # Errors
/// Of the database.
pub async fn archive_plan(
    connection: &mut PgConnection,
    id: PlanId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "update plans set archived_at = coalesce(archived_at, $2) where id = $1",
        id.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Inserts a price version, in place of one for the same moment that has not begun. False if that one has begun.
///
/// # Errors
/// Of the database.
pub async fn insert_version(
    connection: &mut PgConnection,
    version: &Version,
    now: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into plan_prices (plan_id, period, effective_at, amount, available) values ($1, $2, $3, $4, $5)
        on conflict (plan_id, period, effective_at) do update set amount = excluded.amount, available = excluded.available
        where plan_prices.effective_at > $6",
        version.plan.0,
        version.period as i16,
        version.effective_at,
        version.amount.0,
        version.available,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Inserts a price version if the plan of that code has none for the period; says whether it did.
///
/// # Errors
/// Of the database.
pub async fn insert_first_version(
    connection: &mut PgConnection,
    code: &str,
    version: &Version,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into plan_prices (plan_id, period, effective_at, amount, available)
        select id, $2, $3, $4, $5 from plans
        where code = $1 and not exists (select from plan_prices where plan_id = plans.id and period = $2)",
        code,
        version.period as i16,
        version.effective_at,
        version.amount.0,
        version.available,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Inserts an image, or makes the one with its code alike; the id stays. Says whether anything changed.
///
/// # Errors
/// Of the database.
pub async fn put_image(connection: &mut PgConnection, image: &Image) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into images (id, code, display_name, kind, distribution, min_disk_gib, provider, provider_image)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (code) do update set display_name = excluded.display_name, kind = excluded.kind, distribution = excluded.distribution,
            min_disk_gib = excluded.min_disk_gib, provider = excluded.provider, provider_image = excluded.provider_image
        where (images.display_name, images.kind, images.distribution, images.min_disk_gib, images.provider, images.provider_image)
            is distinct from (excluded.display_name, excluded.kind, excluded.distribution, excluded.min_disk_gib, excluded.provider, excluded.provider_image)",
        image.id.0,
        image.code,
        image.display_name,
        image.kind,
        image.distribution,
        image.min_disk_gib,
        image.provider,
        image.provider_image,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Inserts a region, or makes the one with its code alike; the id stays. Says whether anything changed.
///
/// # Errors
/// Of the database.
pub async fn put_region(connection: &mut PgConnection, region: &Region) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "insert into regions (id, code, display_name, country_code, available, provider, provider_region) values ($1, $2, $3, $4, $5, $6, $7)
        on conflict (code) do update set display_name = excluded.display_name, country_code = excluded.country_code,
            available = excluded.available, provider = excluded.provider, provider_region = excluded.provider_region
        where (regions.display_name, regions.country_code, regions.available, regions.provider, regions.provider_region)
            is distinct from (excluded.display_name, excluded.country_code, excluded.available, excluded.provider, excluded.provider_region)",
        region.id.0,
        region.code,
        region.display_name,
        region.country_code,
        region.available,
        region.provider,
        region.provider_region,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
