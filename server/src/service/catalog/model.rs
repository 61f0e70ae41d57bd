//! What is for sale, as plain data. No async, no SQL, no wire.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;

use crate::base::id::{ImageId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::service::catalog::promotion::{self, Goods, Offer, PlanPromotion};

/// Fields of a plan that staff may change.
pub const PLAN_FIELDS: &[&str] = &["display_name", "available"];

/// Periods in the order in which prices are shown.
pub const PERIODS: [BillingPeriod; 4] = [
    BillingPeriod::Hour,
    BillingPeriod::Day,
    BillingPeriod::Month,
    BillingPeriod::Year,
];

/// A size of machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The plan.
    pub id: PlanId,
    /// Short stable name.
    pub code: String,
    /// Name for people.
    pub display_name: String,
    /// Virtual processors.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// Transfer a month.
    pub transfer_gib: i32,
    /// Whether its machines are backed up every day.
    pub backups: bool,
    /// Who runs it.
    pub provider: String,
    /// The provider's name of the size.
    pub provider_size: String,
    /// True while staff want it sold.
    pub available: bool,
    /// True once it is never sold again.
    pub archived: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
}

/// The price of a plan for one period, from some moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The plan.
    pub plan: PlanId,
    /// The span it pays for.
    pub period: BillingPeriod,
    /// Without tax.
    pub amount: Rupiah,
    /// True while orders are taken for this period.
    pub available: bool,
    /// From when on.
    pub effective_at: DateTime<Utc>,
}

/// The price at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Without tax.
    pub amount: Rupiah,
    /// True if orders are taken for this period.
    pub available: bool,
    /// When the next version begins, if one is set.
    pub next_change: Option<DateTime<Utc>>,
}

/// What an image holds, as the contract numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// A bare operating system.
    Os = 1,
    /// An operating system with an application.
    Application = 2,
}

/// A disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The image.
    pub id: ImageId,
    /// Short stable name.
    pub code: String,
    /// Name for people.
    pub display_name: String,
    /// What it holds, as the contract numbers it.
    pub kind: i16,
    /// Family.
    pub distribution: String,
    /// Least disk.
    pub min_disk_gib: i32,
    /// Whose image it is.
    pub provider: String,
    /// The provider's name of it.
    pub provider_image: String,
}

/// A place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// The region.
    pub id: RegionId,
    /// Short stable name.
    pub code: String,
    /// Name for people.
    pub display_name: String,
    /// ISO 3166-1 alpha-2.
    pub country_code: String,
    /// True while there is room.
    pub available: bool,
    /// Whose region it is.
    pub provider: String,
    /// The provider's name of it.
    pub provider_region: String,
}

/// The whole catalogue at some version.
#[derive(Debug, Default)]
pub struct Snapshot {
    version: i64,
    plans: HashMap<PlanId, Plan>,
    versions: HashMap<PlanId, Vec<Version>>,
    promotions: Vec<PlanPromotion>,
    images: HashMap<ImageId, Image>,
    regions: HashMap<RegionId, Region>,
}

impl Snapshot {
    /// From the rows of one version.
    pub fn new(
        version: i64,
        plans: Vec<Plan>,
        prices: Vec<Version>,
        promotions: Vec<PlanPromotion>,
        images: Vec<Image>,
        regions: Vec<Region>,
    ) -> Self {
        let mut versions: HashMap<PlanId, Vec<Version>> = HashMap::new();
        for price in prices {
            versions.entry(price.plan).or_default().push(price);
        }
        for of_plan in versions.values_mut() {
            of_plan.sort_by_key(|v| (v.effective_at, v.period as i32));
        }
        Self {
            version,
            plans: plans.into_iter().map(|p| (p.id, p)).collect(),
            versions,
            promotions,
            images: images.into_iter().map(|i| (i.id, i)).collect(),
            regions: regions.into_iter().map(|r| (r.id, r)).collect(),
        }
    }

    /// Which version of the tables this is.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// A plan, sold or not.
    pub fn plan(&self, id: PlanId) -> Option<&Plan> {
        self.plans.get(&id)
    }

    /// The plans whose machines are backed up, sold or not.
    pub fn plans_with_backups(&self) -> impl Iterator<Item = PlanId> {
        self.plans.values().filter(|p| p.backups).map(|p| p.id)
    }

    /// An image.
    pub fn image(&self, id: ImageId) -> Option<&Image> {
        self.images.get(&id)
    }

    /// A region, with room or without.
    pub fn region(&self, id: RegionId) -> Option<&Region> {
        self.regions.get(&id)
    }

    /// What a plan costs for a period at a moment; `None` if it has no price for it then.
    pub fn price(&self, plan: PlanId, period: BillingPeriod, at: DateTime<Utc>) -> Option<Price> {
        let of_period = || self.versions(plan).iter().filter(|v| v.period == period);
        let present = of_period().rfind(|v| v.effective_at <= at)?;
        let next_change = of_period()
            .find(|v| v.effective_at > at)
            .map(|v| v.effective_at);
        Some(Price {
            amount: present.amount,
            available: present.available,
            next_change,
        })
    }

    /// What promotions offer for these goods at a moment, the one that takes most off first. Whether somebody may use them is not looked at.
    pub fn offers(&self, goods: &Goods, sandbox: bool, at: DateTime<Utc>) -> Vec<Offer> {
        let ours = self.promotions.iter().filter(|p| p.sandbox == sandbox);
        let mut offers: Vec<Offer> = ours.filter_map(|p| p.offer(goods, at)).collect();
        promotion::rank(&mut offers);
        offers
    }

    /// Every price version of a plan, oldest first.
    pub fn versions(&self, plan: PlanId) -> &[Version] {
        self.versions.get(&plan).map_or(&[], Vec::as_slice)
    }

    /// Whether a plan can be bought at a moment.
    pub fn sells(&self, plan: &Plan, at: DateTime<Utc>) -> bool {
        let priced = || {
            PERIODS.iter().any(|period| {
                self.price(plan.id, *period, at)
                    .is_some_and(|p| p.available)
            })
        };
        plan.available && !plan.archived && priced()
    }

    /// Plans by rank: the cheapest month first, those without a monthly price last, ties by code.
    pub fn plans_by_rank(&self, at: DateTime<Utc>) -> Vec<(Rank, &Plan)> {
        let rank = |plan: &Plan| {
            let month = self.price(plan.id, BillingPeriod::Month, at);
            Rank {
                amount: month.map_or(i64::MAX, |p| p.amount.0),
                code: plan.code.clone(),
            }
        };
        let mut ranked: Vec<_> = self.plans.values().map(|plan| (rank(plan), plan)).collect();
        ranked.sort_by(|a, b| a.0.cmp(&b.0));
        ranked
    }

    /// Images by code.
    pub fn images(&self) -> Vec<&Image> {
        let mut images: Vec<_> = self.images.values().collect();
        images.sort_by(|a, b| a.code.cmp(&b.code));
        images
    }

    /// Regions by code.
    pub fn regions(&self) -> Vec<&Region> {
        let mut regions: Vec<_> = self.regions.values().collect();
        regions.sort_by(|a, b| a.code.cmp(&b.code));
        regions
    }
}

/// The versions of one plan in force at a moment, one for each period that has one.
pub fn in_force(versions: &[Version], at: DateTime<Utc>) -> Vec<&Version> {
    let of = |period: &BillingPeriod| {
        versions
            .iter()
            .filter(|v| v.period == *period && v.effective_at <= at)
            .max_by_key(|v| v.effective_at)
    };
    PERIODS.iter().filter_map(of).collect()
}

/// Place of a plan in the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    amount: i64,
    code: String,
}

impl std::fmt::Display for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.amount, self.code)
    }
}

impl std::str::FromStr for Rank {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (amount, code) = text.split_once(' ').unwrap_or((text, ""));
        Ok(Self {
            amount: amount.parse()?,
            code: code.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + hour * 3600, 0).expect("a time")
    }

    fn plan(code: &str) -> Plan {
        Plan {
            id: PlanId::new(),
            code: code.to_owned(),
            display_name: code.to_owned(),
            vcpus: 1,
            memory_mib: 1024,
            disk_gib: 25,
            transfer_gib: 1000,
            backups: false,
            provider: "simulator".to_owned(),
            provider_size: "s-1vcpu-1gb".to_owned(),
            available: true,
            archived: false,
            created_at: at(0),
        }
    }

    fn version(plan: &Plan, period: BillingPeriod, amount: i64, from: i64) -> Version {
        Version {
            plan: plan.id,
            period,
            amount: Rupiah(amount),
            available: true,
            effective_at: at(from),
        }
    }

    #[test]
    fn a_price_holds_until_the_next_begins() {
        let plan = plan("a");
        let month = BillingPeriod::Month;
        // Given out of order, as rows may come.
        let prices = vec![
            version(&plan, month, 120, 10),
            version(&plan, month, 100, 0),
            version(&plan, BillingPeriod::Day, 5, 3),
        ];
        let snapshot = Snapshot::new(1, vec![plan.clone()], prices, vec![], vec![], vec![]);
        let price = |hour| snapshot.price(plan.id, month, at(hour));
        assert_eq!(price(-1), None);
        assert_eq!(
            price(0),
            Some(Price {
                amount: Rupiah(100),
                available: true,
                next_change: Some(at(10))
            })
        );
        assert_eq!(price(9).map(|p| p.amount), Some(Rupiah(100)));
        assert_eq!(
            price(10),
            Some(Price {
                amount: Rupiah(120),
                available: true,
                next_change: None
            })
        );
        assert_eq!(snapshot.price(plan.id, BillingPeriod::Year, at(20)), None);
        assert_eq!(snapshot.price(PlanId::new(), month, at(20)), None);
        let shown: Vec<_> = in_force(snapshot.versions(plan.id), at(10))
            .iter()
            .map(|v| (v.period, v.amount.0))
            .collect();
        assert_eq!(shown, [(BillingPeriod::Day, 5), (month, 120)]);
    }

    #[test]
    fn plans_rank_by_their_month_and_sell_with_a_price_only() {
        let (a, b, c) = (plan("a"), plan("b"), plan("c"));
        let archived = Plan {
            archived: true,
            ..plan("d")
        };
        let prices = vec![
            version(&a, BillingPeriod::Month, 200, 0),
            version(&b, BillingPeriod::Month, 100, 0),
            version(&archived, BillingPeriod::Month, 100, 0),
        ];
        let snapshot = Snapshot::new(1, vec![a, b, c, archived], prices, vec![], vec![], vec![]);
        let ranked = snapshot.plans_by_rank(at(1));
        assert_eq!(
            ranked
                .iter()
                .map(|(_, p)| p.code.as_str())
                .collect::<Vec<_>>(),
            ["b", "d", "a", "c"]
        );
        let sold: Vec<_> = ranked
            .iter()
            .filter(|(_, p)| snapshot.sells(p, at(1)))
            .map(|(_, p)| p.code.as_str())
            .collect();
        assert_eq!(sold, ["b", "a"]);
        assert!(
            !snapshot.sells(ranked[0].1, at(-1)),
            "its price has not begun"
        );
        for (rank, _) in &ranked {
            assert_eq!(rank.to_string().parse().as_ref(), Ok(rank));
        }
    }
}
