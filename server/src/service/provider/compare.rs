//! The provider's machines against ours. Pure.

use std::collections::BTreeMap;

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::inventory::v1::inventory_finding::{CostBasis, Reason};
use sewa_sdk::sewa::provider::v1::difference::Kind;

use crate::base::id::InstanceId;
use crate::base::money::Rupiah;
use crate::provider::compute::Power;
use crate::provider::compute::cloud::{Listed, instance_of};

/// An instance as far as it can differ from its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sold {
    /// The instance.
    pub id: InstanceId,
    /// As stored.
    pub state: String,
    /// The provider's name of its machine, once known.
    pub provider_ref: Option<String>,
    /// The provider's name of its size.
    pub size: String,
    /// The provider's name of its region.
    pub region: String,
    /// The provider's name of its image.
    pub image: String,
    /// Public address.
    pub ipv4: Option<String>,
    /// Price of one period.
    pub price: Rupiah,
    /// The period.
    pub period: BillingPeriod,
    /// True while an operation is under way.
    pub under_way: bool,
}

/// An instance that a machine is named after, whatever has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The instance.
    pub id: InstanceId,
    /// True if its machine is, or was, in this account.
    pub here: bool,
    /// True if it was deleted or could not be made.
    pub ended: bool,
    /// True while an operation is under way.
    pub under_way: bool,
}

/// Our side.
#[derive(Clone, Copy, Debug)]
pub struct Books<'b> {
    /// What the account has sold, just before the provider listed its machines.
    pub before: &'b [Sold],
    /// The same just after. What changed in between is left out, because it is not known which of the two the list shows.
    pub after: &'b [Sold],
    /// Instances that machines of the list are named after.
    pub named: &'b [Named],
}

/// What machines cost.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// The platform's exchange rate.
    pub rupiah_per_dollar: i64,
    /// The lowest monthly price of our plans, by the provider's name of the size.
    pub monthly_by_size: BTreeMap<String, Rupiah>,
}

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub reason: Reason,
    /// The machine's name at the provider, and its label.
    pub machine: Option<(String, String)>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// What is seen, and what should be.
    pub detail: String,
    /// Rupiah a day; 0 for nothing or not known.
    pub daily: Rupiah,
    /// What that is derived from.
    pub basis: CostBasis,
}

impl Difference {
    /// What sort of difference it is.
    pub fn kind(&self) -> Kind {
        match self.reason {
            Reason::Unspecified => Kind::Unspecified,
            Reason::Foreign
            | Reason::Twin
            | Reason::Remains
            | Reason::Returned
            | Reason::Elsewhere => Kind::Orphan,
            Reason::Gone => Kind::Ghost,
            Reason::Size | Reason::Power | Reason::Address | Reason::Region | Reason::Image => {
                Kind::Drift
            }
        }
    }
}

/// Every difference, what costs most first.
pub fn compare(books: &Books<'_>, machines: &[Listed], prices: &Prices) -> Vec<Difference> {
    let mut found: Vec<Difference> = machines
        .iter()
        .flat_map(|listed| look_at(books, listed, prices))
        .collect();
    found.extend(ghosts(books, machines));
    found.sort_by_key(|difference| std::cmp::Reverse(difference.daily.0));
    found
}

impl Books<'_> {
    fn is_steady(&self, sold: &Sold) -> bool {
        !sold.under_way && self.before.contains(sold)
    }
}

/// Whether a machine is an instance's, by the name that is known of it or by ours. Machines that were adopted keep their own.
fn is_of(sold: &Sold, listed: &Listed) -> bool {
    sold.provider_ref.as_deref() == Some(listed.machine.provider_ref.as_str())
        || instance_of(&listed.name) == Some(sold.id)
}

fn look_at(books: &Books<'_>, listed: &Listed, prices: &Prices) -> Vec<Difference> {
    let known =
        |sold: &&Sold| sold.provider_ref.as_deref() == Some(listed.machine.provider_ref.as_str());
    let owner = books
        .after
        .iter()
        .find(known)
        .or_else(|| books.after.iter().find(|sold| is_of(sold, listed)));
    let (cost, basis) = daily_cost(listed, prices);
    let orphan = |reason, instance, detail: &str| {
        vec![Difference {
            reason,
            machine: named(listed),
            instance,
            detail: detail.to_owned(),
            daily: cost,
            basis,
        }]
    };
    if let Some(sold) = owner {
        if !books.is_steady(sold) {
            return Vec::new();
        }
        let known = sold.provider_ref.as_ref();
        if known.is_some_and(|known| *known != listed.machine.provider_ref) {
            return orphan(
                Reason::Twin,
                Some(sold.id),
                "a twin of the instance's machine",
            );
        }
        if sold.state == "LOST" {
            let detail = "the instance counts as lost, and its machine is there";
            return orphan(Reason::Returned, Some(sold.id), detail);
        }
        return drift(sold, listed, cost, basis);
    }
    if books.before.iter().any(|sold| is_of(sold, listed)) {
        // It was ours a moment ago.
        return Vec::new();
    }
    let ours = instance_of(&listed.name);
    match books.named.iter().find(|named| Some(named.id) == ours) {
        None => orphan(Reason::Foreign, None, "no living instance has it"),
        Some(named) if named.under_way => Vec::new(),
        Some(named) if !named.here => {
            let detail = "the instance it is named after has its machine in another account";
            orphan(Reason::Elsewhere, ours, detail)
        }
        Some(named) if named.ended => orphan(
            Reason::Remains,
            ours,
            "the instance has ended, and its machine is there",
        ),
        // It was just made.
        Some(_) => Vec::new(),
    }
}

fn ghosts(books: &Books<'_>, machines: &[Listed]) -> Vec<Difference> {
    let is_gone = |sold: &&Sold| {
        books.is_steady(sold)
            && matches!(sold.state.as_str(), "RUNNING" | "STOPPED" | "SUSPENDED")
            && !machines.iter().any(|listed| is_of(sold, listed))
    };
    let ghosts = books.after.iter().filter(is_gone);
    ghosts
        .map(|sold| Difference {
            reason: Reason::Gone,
            machine: None,
            instance: Some(sold.id),
            detail: format!("the instance is {} and has no machine", sold.state),
            daily: daily_price(sold.price, sold.period),
            basis: CostBasis::InstancePrice,
        })
        .collect()
}

fn named(listed: &Listed) -> Option<(String, String)> {
    Some((listed.machine.provider_ref.clone(), listed.name.clone()))
}

fn drift(sold: &Sold, listed: &Listed, cost: Rupiah, basis: CostBasis) -> Vec<Difference> {
    let machine = &listed.machine;
    let mut found = Vec::new();
    let mut note = |reason, detail, (daily, basis)| {
        found.push(Difference {
            reason,
            machine: named(listed),
            instance: Some(sold.id),
            detail,
            daily,
            basis,
        });
    };
    let free = (Rupiah(0), CostBasis::Unspecified);
    // One that its provider is at work on may show nothing of its size yet.
    let sized = !(machine.busy && machine.is_raw());
    if sized && machine.size != sold.size {
        let detail = format!("size {} instead of {}", machine.size, sold.size);
        note(Reason::Size, detail, (cost, basis));
    }
    let address = machine.ipv4.map(|a| a.to_string());
    if let (Some(seen), Some(known)) = (&address, &sold.ipv4)
        && seen != known
    {
        let detail = format!("address {seen} instead of {known}");
        note(Reason::Address, detail, free);
    }
    let seen = match (machine.busy, machine.power) {
        (false, Power::Running) => "on",
        (false, Power::Stopped) => "off",
        _ => "",
    };
    let wanted = match sold.state.as_str() {
        "RUNNING" => "on",
        "STOPPED" | "SUSPENDED" => "off",
        _ => "",
    };
    if !seen.is_empty() && !wanted.is_empty() && seen != wanted {
        note(Reason::Power, format!("{seen} instead of {wanted}"), free);
    }
    if let Some(region) = listed.region.as_ref().filter(|seen| **seen != sold.region) {
        let detail = format!("region {region} instead of {}", sold.region);
        note(Reason::Region, detail, free);
    }
    if let Some(image) = listed.images.first()
        && !listed.images.contains(&sold.image)
    {
        let detail = format!("image {image} instead of {}", sold.image);
        note(Reason::Image, detail, free);
    }
    found
}

/// What a machine costs us a day, or, where its provider does not say, what we ask for one of its size: a year's price by days, rounded up to whole rupiah.
fn daily_cost(listed: &Listed, prices: &Prices) -> (Rupiah, CostBasis) {
    if let Some(monthly) = listed.monthly_microdollars {
        let yearly = i128::from(monthly.max(0)) * 12 * i128::from(prices.rupiah_per_dollar);
        let daily = (yearly + 364_999_999) / 365_000_000;
        let daily = Rupiah(i64::try_from(daily).unwrap_or(i64::MAX));
        return (daily, CostBasis::ProviderPrice);
    }
    match prices.monthly_by_size.get(&listed.machine.size) {
        Some(price) => (
            daily_price(*price, BillingPeriod::Month),
            CostBasis::PlanPrice,
        ),
        None => (Rupiah(0), CostBasis::Unspecified),
    }
}

fn daily_price(price: Rupiah, period: BillingPeriod) -> Rupiah {
    Rupiah(match period {
        BillingPeriod::Hour => price.0.saturating_mul(24),
        BillingPeriod::Day | BillingPeriod::Unspecified => price.0,
        BillingPeriod::Month => price.0.saturating_mul(12).saturating_add(364) / 365,
        BillingPeriod::Year => price.0.saturating_add(364) / 365,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::provider::compute::Machine;
    use crate::provider::compute::cloud::name_of;

    fn sold(number: u128) -> Sold {
        Sold {
            id: InstanceId(Uuid::from_u128(number)),
            state: "RUNNING".to_owned(),
            provider_ref: Some(number.to_string()),
            size: "small".to_owned(),
            region: "sgp1".to_owned(),
            image: "debian".to_owned(),
            ipv4: Some("45.0.0.1".to_owned()),
            price: Rupiah(124_000),
            period: BillingPeriod::Month,
            under_way: false,
        }
    }

    fn listed(number: u128) -> Listed {
        Listed {
            machine: Machine {
                provider_ref: number.to_string(),
                reference: String::new(),
                size: "small".to_owned(),
                power: Power::Running,
                busy: false,
                ipv4: Some("45.0.0.1".parse().unwrap()),
                ipv6: None,
            },
            name: name_of(InstanceId(Uuid::from_u128(number))),
            monthly_microdollars: Some(6_000_000),
            region: Some("sgp1".to_owned()),
            images: vec!["debian".to_owned(), "77".to_owned()],
        }
    }

    fn prices() -> Prices {
        Prices {
            rupiah_per_dollar: 16_500,
            monthly_by_size: [("small".to_owned(), Rupiah(124_000))].into(),
        }
    }

    fn steady(ours: &[Sold]) -> Books<'_> {
        Books {
            before: ours,
            after: ours,
            named: &[],
        }
    }

    fn reasons(books: &Books<'_>, machines: &[Listed]) -> Vec<Reason> {
        let found = compare(books, machines, &prices());
        found.into_iter().map(|d| d.reason).collect()
    }

    fn kinds(before: &[Sold], after: &[Sold], machines: &[Listed]) -> Vec<(Kind, i64)> {
        let books = Books {
            before,
            after,
            named: &[],
        };
        let found = compare(&books, machines, &prices());
        found.into_iter().map(|d| (d.kind(), d.daily.0)).collect()
    }

    #[test]
    fn books_that_agree_have_no_difference() {
        assert_eq!(kinds(&[sold(1)], &[sold(1)], &[listed(1)]), []);
    }

    #[test]
    fn each_difference_has_its_cost_a_day() {
        // 6 dollars a month are 3255 rupiah a day; 124000 rupiah a month are 4077.
        assert_eq!(kinds(&[], &[], &[listed(1)]), [(Kind::Orphan, 3255)]);
        assert_eq!(kinds(&[sold(1)], &[sold(1)], &[]), [(Kind::Ghost, 4077)]);
        let mut big = Listed {
            monthly_microdollars: Some(12_000_000),
            ..listed(1)
        };
        big.machine.size = "big".to_owned();
        assert_eq!(kinds(&[sold(1)], &[sold(1)], &[big]), [(Kind::Drift, 6510)]);
        let mut off = listed(1);
        off.machine.power = Power::Stopped;
        assert_eq!(kinds(&[sold(1)], &[sold(1)], &[off]), [(Kind::Drift, 0)]);
        let twin = Listed {
            machine: Machine {
                provider_ref: "7".to_owned(),
                ..listed(1).machine
            },
            ..listed(1)
        };
        assert_eq!(
            kinds(&[sold(1)], &[sold(1)], &[listed(1), twin]),
            [(Kind::Orphan, 3255)]
        );
    }

    #[test]
    fn what_moves_is_left_alone() {
        assert_eq!(kinds(&[sold(1)], &[], &[listed(1)]), [], "just deleted");
        assert_eq!(kinds(&[], &[sold(1)], &[]), [], "just made");
        let busy = Sold {
            under_way: true,
            ..sold(1)
        };
        let busy = [busy];
        assert_eq!(kinds(&busy, &busy, &[]), [], "being worked on");
    }

    #[test]
    fn a_provider_that_does_not_say_what_it_costs_costs_what_the_plan_does() {
        let silent = Listed {
            monthly_microdollars: None,
            ..listed(1)
        };
        let books = steady(&[]);
        let found = compare(&books, std::slice::from_ref(&silent), &prices());
        assert_eq!(
            (found[0].daily, found[0].basis),
            (Rupiah(4077), CostBasis::PlanPrice)
        );
        let found = compare(&books, &[silent], &Prices::default());
        assert_eq!(
            (found[0].daily, found[0].basis),
            (Rupiah(0), CostBasis::Unspecified)
        );
    }

    #[test]
    fn orphans_are_told_apart_by_what_became_of_the_instance_they_are_named_after() {
        let named = |here, ended, under_way| Named {
            id: InstanceId(Uuid::from_u128(1)),
            here,
            ended,
            under_way,
        };
        let seen = |named: &[Named], after: &[Sold]| {
            let books = Books {
                before: after,
                after,
                named,
            };
            reasons(&books, &[listed(1)])
        };
        assert_eq!(seen(&[], &[]), [Reason::Foreign]);
        assert_eq!(seen(&[named(true, true, false)], &[]), [Reason::Remains]);
        assert_eq!(
            seen(&[named(false, false, false)], &[]),
            [Reason::Elsewhere]
        );
        assert_eq!(
            seen(&[named(true, true, true)], &[]),
            [],
            "being cleaned up"
        );
        assert_eq!(seen(&[named(true, false, false)], &[]), [], "just made");
        let lost = Sold {
            state: "LOST".to_owned(),
            ..sold(1)
        };
        assert_eq!(seen(&[], &[lost]), [Reason::Returned]);
    }

    #[test]
    fn each_way_to_differ_is_said_apart() {
        let mut other = Listed {
            region: Some("fra1".to_owned()),
            images: vec!["ubuntu".to_owned()],
            ..listed(1)
        };
        other.machine.size = "big".to_owned();
        other.machine.power = Power::Stopped;
        other.machine.ipv4 = Some("45.0.0.2".parse().unwrap());
        let ours = [sold(1)];
        let books = steady(&ours);
        assert_eq!(
            reasons(&books, &[other]),
            [
                Reason::Size,
                Reason::Address,
                Reason::Power,
                Reason::Region,
                Reason::Image
            ]
        );
        let by_number = Sold {
            image: "77".to_owned(),
            ..sold(1)
        };
        let ours = [by_number];
        let books = steady(&ours);
        assert_eq!(reasons(&books, &[listed(1)]), [], "either name will do");
    }

    #[test]
    fn a_machine_that_was_adopted_is_known_by_its_own_name() {
        let adopted = Listed {
            name: "web-of-old".to_owned(),
            ..listed(1)
        };
        assert_eq!(kinds(&[sold(1)], &[sold(1)], &[adopted]), []);
    }
}
