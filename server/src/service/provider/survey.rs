//! Looks at all machines of an account, and compares them with ours.

use std::collections::BTreeMap;

use sewa_sdk::sewa::api::v1::BillingPeriod;

use crate::app::App;
use crate::base::id::InstanceId;
use crate::provider::compute::cloud::instance_of;
use crate::service::provider::compare::{self, Books, Difference, Prices};
use crate::service::provider::error::Error;
use crate::service::provider::model::Account;
use crate::service::provider::store;

/// What a look at an account came to.
pub struct Survey {
    /// What differs, what costs most first.
    pub differences: Vec<Difference>,
    /// Machines the provider has in the account.
    pub machines: usize,
    /// Instances that are sold and have their machine there.
    pub sold: usize,
}

/// Looks. Changes nothing, and holds no transaction while the provider is asked.
///
/// # Errors
/// `DoesNotAnswer`, `Secret`; the database.
pub async fn survey(app: &App, account: &Account) -> Result<Survey, Error> {
    let line = app.lines.to(account).map_err(Error::Secret)?;
    let before = store::list_sold(&app.db, account.id).await?;
    let machines = line
        .list()
        .await
        .map_err(|e| Error::DoesNotAnswer(e.to_string()))?;
    let after = store::list_sold(&app.db, account.id).await?;
    let named: Vec<InstanceId> = machines
        .iter()
        .filter_map(|listed| instance_of(&listed.name))
        .collect();
    let named = store::list_named(&app.db, account.id, &named).await?;
    let books = Books {
        before: &before,
        after: &after,
        named: &named,
    };
    let prices = prices(app, account).await?;
    Ok(Survey {
        differences: compare::compare(&books, &machines, &prices),
        machines: machines.len(),
        sold: after.len(),
    })
}

/// What machines cost us, and what our plans of their sizes do.
async fn prices(app: &App, account: &Account) -> Result<Prices, Error> {
    let catalogue = app.catalog.snapshot(&app.db).await?;
    let now = app.clock.now();
    let mut by_size: BTreeMap<String, _> = BTreeMap::new();
    for (_, plan) in catalogue.plans_by_rank(now) {
        if plan.provider != account.vendor.name() {
            continue;
        }
        if let Some(price) = catalogue.price(plan.id, BillingPeriod::Month, now) {
            let lowest = by_size
                .entry(plan.provider_size.clone())
                .or_insert(price.amount);
            *lowest = price.amount.min(*lowest);
        }
    }
    Ok(Prices {
        rupiah_per_dollar: app.config.rupiah_per_dollar,
        monthly_by_size: by_size,
    })
}
