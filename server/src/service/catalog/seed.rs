//! The catalogue a platform begins with, from a file.
//!
//! Loading it again is harmless. Images and regions become as the file says, because the file is where they are changed. Plans and prices that exist are left
//! alone, because staff change those through the API.

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::db::PgPool;
use crate::base::money::Rupiah;
use crate::provider::compute::simulator;
use crate::provider::compute::vendor::Vendor;
use crate::service::catalog::model::{Image, ImageKind, Plan, Region, Version};
use crate::service::catalog::store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider: String,
    #[serde(rename = "region")]
    regions: Vec<RegionEntry>,
    #[serde(rename = "image")]
    images: Vec<ImageEntry>,
    #[serde(rename = "plan")]
    plans: Vec<PlanEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegionEntry {
    id: Uuid,
    code: String,
    name: String,
    country: String,
    available: bool,
    provider_region: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageEntry {
    id: Uuid,
    code: String,
    name: String,
    kind: ImageKind,
    distribution: String,
    min_disk_gib: i32,
    provider_image: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanEntry {
    id: Uuid,
    code: String,
    name: String,
    vcpus: i32,
    memory_mib: i32,
    disk_gib: i32,
    transfer_gib: i32,
    #[serde(default)]
    backups: bool,
    provider_size: String,
    price: PriceEntry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceEntry {
    hour: i64,
    day: i64,
    month: i64,
    year: i64,
}

impl PriceEntry {
    /// Each period with its amount and whether orders are taken for it: an hour is a reference price only.
    fn periods(&self) -> [(BillingPeriod, i64, bool); 4] {
        [
            (BillingPeriod::Hour, self.hour, false),
            (BillingPeriod::Day, self.day, true),
            (BillingPeriod::Month, self.month, true),
            (BillingPeriod::Year, self.year, true),
        ]
    }
}

/// Loads a catalogue file.
///
/// # Errors
/// If the text does not parse or names an unknown provider; of the database. Nothing is loaded then.
pub async fn seed(db: &PgPool, text: &str) -> anyhow::Result<()> {
    let file: File = toml::from_str(text).context("the catalogue does not parse")?;
    ensure!(
        simulator::NAMES.contains(&file.provider.as_str())
            || Vendor::parse(&file.provider).is_some(),
        "the platform has no provider {}",
        file.provider
    );
    let now = Clock.now();
    let mut tx = db.begin().await?;
    let mut changed = false;
    for region in file.regions {
        changed |= store::put_region(&mut tx, &region.into_model(&file.provider)).await?;
    }
    for image in file.images {
        changed |= store::put_image(&mut tx, &image.into_model(&file.provider)).await?;
    }
    for entry in file.plans {
        let plan = entry.model(&file.provider, now);
        changed |= store::insert_plan_if_new(&mut tx, &plan).await?;
        for (period, amount, available) in entry.price.periods() {
            let version = Version {
                plan: plan.id,
                period,
                amount: Rupiah(amount),
                available,
                effective_at: now,
            };
            changed |= store::insert_first_version(&mut tx, &plan.code, &version).await?;
        }
    }
    if changed {
        store::advance_version(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

impl RegionEntry {
    fn into_model(self, provider: &str) -> Region {
        Region {
            id: self.id.into(),
            code: self.code,
            display_name: self.name,
            country_code: self.country,
            available: self.available,
            provider: provider.to_owned(),
            provider_region: self.provider_region,
        }
    }
}

impl ImageEntry {
    fn into_model(self, provider: &str) -> Image {
        Image {
            id: self.id.into(),
            code: self.code,
            display_name: self.name,
            kind: self.kind as i16,
            distribution: self.distribution,
            min_disk_gib: self.min_disk_gib,
            provider: provider.to_owned(),
            provider_image: self.provider_image,
        }
    }
}

impl PlanEntry {
    fn model(&self, provider: &str, now: DateTime<Utc>) -> Plan {
        Plan {
            id: self.id.into(),
            code: self.code.clone(),
            display_name: self.name.clone(),
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            disk_gib: self.disk_gib,
            transfer_gib: self.transfer_gib,
            backups: self.backups,
            provider: provider.to_owned(),
            provider_size: self.provider_size.clone(),
            available: true,
            archived: false,
            created_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::catalog::DEFAULT_CATALOGUE;

    #[test]
    fn the_default_prices_follow_their_rule() {
        let file: File = toml::from_str(DEFAULT_CATALOGUE).expect("parses");
        assert!(file.plans.len() >= 7 && file.images.len() >= 6 && file.regions.len() >= 9);
        for plan in &file.plans {
            let price = &plan.price;
            assert_eq!(price.month % 1000, 0, "{}", plan.code);
            assert_eq!(
                price.day,
                (price.month + 28 * 500 - 1) / (28 * 500) * 500,
                "{}",
                plan.code
            );
            assert_eq!(price.hour, (price.month + 671) / 672, "{}", plan.code);
            assert_eq!(price.year, price.month * 10, "{}", plan.code);
        }
        assert!(file.plans.is_sorted_by_key(|plan| plan.price.month));
    }
}
