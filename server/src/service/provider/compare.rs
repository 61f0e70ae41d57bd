//! The provider's machines against ours. Pure.

use sewa_sdk::sewa::api::v1::BillingPeriod;
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
    /// Public address.
    pub ipv4: Option<String>,
    /// Price of one period.
    pub price: Rupiah,
    /// The period.
    pub period: BillingPeriod,
    /// True while an operation is under way.
    pub under_way: bool,
}

/// Something that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub kind: Kind,
    /// The machine's name at the provider, and its label.
    pub machine: Option<(String, String)>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// What is seen, and what should be.
    pub detail: String,
    /// Rupiah a day; 0 for nothing or not known.
    pub daily: Rupiah,
}

/// Every difference, what costs most first. `before` and `after` are our books as they were just before and just after the provider listed its machines: what
/// changed in between is left out, because it is not known which of them the list shows.
pub fn compare(
    before: &[Sold],
    after: &[Sold],
    machines: &[Listed],
    rupiah_per_dollar: i64,
) -> Vec<Difference> {
    let steady = |sold: &&Sold| !sold.under_way && before.contains(sold);
    let mut found = Vec::new();
    for listed in machines {
        let ours = instance_of(&listed.name);
        let is = |sold: &&Sold| Some(sold.id) == ours;
        let cost = daily_cost(listed, rupiah_per_dollar);
        match after.iter().find(is) {
            Some(sold) if steady(&sold) => {
                let twin = sold
                    .provider_ref
                    .as_ref()
                    .is_some_and(|known| *known != listed.machine.provider_ref);
                if twin {
                    found.push(orphan(
                        listed,
                        ours,
                        "a twin of the instance's machine",
                        cost,
                    ));
                } else {
                    found.extend(drift(sold, listed, cost));
                }
            }
            Some(_) => {}
            // It was ours a moment ago.
            None if before.iter().any(|sold| is(&sold)) => {}
            None => found.push(orphan(listed, ours, "no living instance has it", cost)),
        }
    }
    let ghosts = after.iter().filter(steady).filter(|sold| {
        matches!(sold.state.as_str(), "RUNNING" | "STOPPED" | "SUSPENDED")
            && !machines
                .iter()
                .any(|m| instance_of(&m.name) == Some(sold.id))
    });
    found.extend(ghosts.map(|sold| Difference {
        kind: Kind::Ghost,
        machine: None,
        instance: Some(sold.id),
        detail: format!("the instance is {} and has no machine", sold.state),
        daily: daily_price(sold.price, sold.period),
    }));
    found.sort_by_key(|difference| std::cmp::Reverse(difference.daily.0));
    found
}

fn named(listed: &Listed) -> Option<(String, String)> {
    Some((listed.machine.provider_ref.clone(), listed.name.clone()))
}

fn orphan(
    listed: &Listed,
    instance: Option<InstanceId>,
    detail: &str,
    daily: Rupiah,
) -> Difference {
    Difference {
        kind: Kind::Orphan,
        machine: named(listed),
        instance,
        detail: detail.to_owned(),
        daily,
    }
}

fn drift(sold: &Sold, listed: &Listed, cost: Rupiah) -> Option<Difference> {
    let machine = &listed.machine;
    let mut details = Vec::new();
    let resized = listed.size != sold.size;
    if resized {
        details.push(format!("size {} instead of {}", listed.size, sold.size));
    }
    let address = machine.ipv4.map(|a| a.to_string());
    if let (Some(seen), Some(known)) = (&address, &sold.ipv4)
        && seen != known
    {
        details.push(format!("address {seen} instead of {known}"));
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
        details.push(format!("{seen} instead of {wanted}"));
    }
    (!details.is_empty()).then(|| Difference {
        kind: Kind::Drift,
        machine: named(listed),
        instance: Some(sold.id),
        detail: details.join(", "),
        daily: if resized { cost } else { Rupiah(0) },
    })
}

/// A twelfth of a year's cost is a month's; rounded up to whole rupiah.
fn daily_cost(listed: &Listed, rupiah_per_dollar: i64) -> Rupiah {
    let monthly = i128::from(listed.monthly_microdollars.unwrap_or(0).max(0));
    let yearly = monthly * 12 * i128::from(rupiah_per_dollar);
    let daily = (yearly + 364_999_999) / 365_000_000;
    Rupiah(i64::try_from(daily).unwrap_or(i64::MAX))
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
                power: Power::Running,
                busy: false,
                ipv4: Some("45.0.0.1".parse().unwrap()),
                ipv6: None,
            },
            name: name_of(InstanceId(Uuid::from_u128(number))),
            size: "small".to_owned(),
            monthly_microdollars: Some(6_000_000),
        }
    }

    fn kinds(before: &[Sold], after: &[Sold], machines: &[Listed]) -> Vec<(Kind, i64)> {
        let found = compare(before, after, machines, 16_500);
        found.into_iter().map(|d| (d.kind, d.daily.0)).collect()
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
        let big = Listed {
            size: "big".to_owned(),
            monthly_microdollars: Some(12_000_000),
            ..listed(1)
        };
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
}
