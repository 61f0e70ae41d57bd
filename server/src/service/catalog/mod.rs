//! What is for sale: plans, their prices over time, promotions of them, images and regions.
//!
//! Owns: plans, plan_prices, plan_promotions, plan_promotion_uses, images, regions, catalog_version. Calls: identity (update masks). Emits: nothing.
//!
//! Reads come from a copy in memory that is at most a second old (see `cache`). Writes work on the tables, and count the version up.

pub mod cache;
pub mod convert;
pub mod error;
pub mod model;
pub mod promotion;
pub mod rpc;
pub mod seed;
pub mod store;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tonic::Status;

use crate::app::App;
use crate::base::id::PlanId;
use crate::base::status;
use crate::provider::compute::Providers;
use crate::service::catalog::error::Error;
use crate::service::catalog::model::{Plan, Version};

pub use cache::Cache;
pub use model::Snapshot;
pub use seed::seed;

/// The catalogue of a new platform: real sizes, images and regions, priced in rupiah.
pub const DEFAULT_CATALOGUE: &str = include_str!("../../../data/catalogue.toml");

/// The catalogue as this server knows it.
///
/// # Errors
/// UNAVAILABLE or INTERNAL if it was never read and the database fails.
pub async fn snapshot(app: &App) -> Result<Arc<Snapshot>, Status> {
    app.catalog
        .snapshot(&app.db)
        .await
        .map_err(|e| status::database(&e))
}

/// Adds a plan of one of the clouds there are.
///
/// # Errors
/// `UnknownProvider`, `Invalid`, `PlanCodeTaken`; the database.
pub async fn create_plan(
    connection: &mut PgConnection,
    providers: &Providers,
    plan: &Plan,
) -> Result<(), Error> {
    if providers.capabilities_of(&plan.provider).is_none() {
        return Err(Error::UnknownProvider {
            provider: plan.provider.clone(),
        });
    }
    if plan.backups && !providers.has_backups(&plan.provider) {
        return Err(Error::Invalid {
            field: "backups",
            rule: "BACKUPS_NOT_SUPPORTED",
            must: "needs a provider that has the capability `backups`",
        });
    }
    store::insert_plan(connection, plan).await?;
    store::advance_version(connection).await?;
    Ok(())
}

/// New values of plan fields.
pub struct Changes<'a> {
    /// Which fields to change.
    pub fields: &'a [&'static str],
    /// Name.
    pub display_name: String,
    /// Whether it is sold.
    pub available: bool,
}

/// A plan with all its price versions; it can change only in this transaction.
///
/// # Errors
/// `PlanNotFound`; the database.
pub async fn get_plan_for_update(
    connection: &mut PgConnection,
    id: PlanId,
) -> Result<(Plan, Vec<Version>), Error> {
    let plan = store::get_plan_for_update(connection, id)
        .await?
        .ok_or(Error::PlanNotFound)?;
    let versions = store::list_versions(connection, id).await?;
    Ok((plan, versions))
}

/// Changes a plan read with [`get_plan_for_update`].
///
/// # Errors
/// `EmptyName`; the database.
pub async fn update_plan(
    connection: &mut PgConnection,
    mut plan: Plan,
    changes: Changes<'_>,
) -> Result<Plan, Error> {
    if changes.fields.contains(&"display_name") {
        if changes.display_name.trim().is_empty() {
            return Err(Error::EmptyName);
        }
        plan.display_name = changes.display_name;
    }
    if changes.fields.contains(&"available") {
        plan.available = changes.available;
    }
    store::update_plan(connection, &plan).await?;
    store::advance_version(connection).await?;
    Ok(plan)
}

/// Stops selling a plan read with [`get_plan_for_update`]. Repeating it changes nothing.
///
/// # Errors
/// Of the database.
pub async fn archive_plan(
    connection: &mut PgConnection,
    plan: Plan,
    now: DateTime<Utc>,
) -> Result<Plan, Error> {
    store::archive_plan(connection, plan.id, now).await?;
    store::advance_version(connection).await?;
    Ok(Plan {
        archived: true,
        ..plan
    })
}

/// Adds a price version. One for the same moment that has not begun is replaced, so that a slip can be corrected.
///
/// # Errors
/// `PlanNotFound`, `PriceInThePast`; the database.
pub async fn set_price(
    connection: &mut PgConnection,
    version: &Version,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    store::get_plan_for_update(connection, version.plan)
        .await?
        .ok_or(Error::PlanNotFound)?;
    if version.effective_at < now || !store::insert_version(connection, version, now).await? {
        return Err(Error::PriceInThePast);
    }
    store::advance_version(connection).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
