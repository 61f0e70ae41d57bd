//! What a change of plan costs: the rest of the period that is paid is priced anew, to the day. Pure.
//!
//! Of the period's days those count that have begun or are to come, backwards from its end in spans of 24 hours. What the new plan costs for them, less what the present one
//! does, is charged, or given back. A coupon makes no money of it: what it took off the plan that the period was bought with stays taken off a dearer one, and of a
//! cheaper one never more counts than was paid. So going up and down again at once costs nothing. Each part is rounded half up to the rupiah, as tax is.

use chrono::{DateTime, Duration, Utc};

use crate::base::money::Rupiah;
use crate::base::tax;
use crate::service::lifecycle::model::Present;

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proration {
    /// Days that are priced anew.
    pub remaining_days: i32,
    /// Days of the whole period.
    pub period_days: i32,
    /// Without tax; negative where it is given back.
    pub net: Rupiah,
    /// PPN on it, with its sign.
    pub tax: Rupiah,
}

impl Proration {
    /// What is charged, or, if negative, given back.
    pub fn total(&self) -> Rupiah {
        Rupiah(self.net.0.saturating_add(self.tax.0))
    }
}

/// What it costs to go over at `now`, within the present period that ends at `ends_at`, to a plan that costs `price` for the whole of it.
pub fn prorate(
    present: &Present,
    ends_at: DateTime<Utc>,
    price: Rupiah,
    now: DateTime<Utc>,
) -> Proration {
    let whole = days(ends_at - present.starts_at).max(1);
    let left = days(ends_at - now).clamp(1, whole);
    let rest = |price: Rupiah| part(worth(present, price), left, whole);
    let net = rest(price).0 - rest(present.price).0;
    let tax = tax::ppn(Rupiah(net.abs()), now).0 * net.signum();
    Proration {
        remaining_days: i32::try_from(left).unwrap_or(i32::MAX),
        period_days: i32::try_from(whole).unwrap_or(i32::MAX),
        net: Rupiah(net),
        tax: Rupiah(tax),
    }
}

/// What the whole of a period is to cost with a plan that costs `price`, after what a coupon took off.
fn worth(present: &Present, price: Rupiah) -> Rupiah {
    if price >= present.bought {
        Rupiah(present.paid.0.saturating_add(price.0 - present.bought.0))
    } else {
        present.paid.min(price)
    }
}

/// Days begun in a span of time.
fn days(span: Duration) -> i64 {
    const DAY: i64 = 86_400_000;
    span.num_milliseconds().div_euclid(DAY) + i64::from(span.num_milliseconds().rem_euclid(DAY) > 0)
}

/// `of` so many days of `whole`, half up to the rupiah.
fn part(of: Rupiah, left: i64, whole: i64) -> Rupiah {
    let (of, left, whole) = (i128::from(of.0), i128::from(left), i128::from(whole));
    let part = (of * left * 2 + whole).div_euclid(whole * 2);
    Rupiah(i64::try_from(part).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use sewa_sdk::sewa::api::v1::BillingPeriod;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    fn november(price: i64, paid: i64) -> Present {
        Present {
            starts_at: at("2026-11-01T03:00:00Z"),
            period: BillingPeriod::Month,
            price: Rupiah(price),
            bought: Rupiah(price),
            paid: Rupiah(paid),
        }
    }

    fn change(present: Present, price: i64, now: &str) -> (i32, i64, i64) {
        let found = prorate(&present, at("2026-12-01T03:00:00Z"), Rupiah(price), at(now));
        assert_eq!(found.period_days, 30);
        assert_eq!(found.total().0, found.net.0 + found.tax.0);
        (found.remaining_days, found.net.0, found.tax.0)
    }

    #[test]
    fn an_upgrade_costs_the_difference_for_the_days_left() {
        let month = november(100_000, 100_000);
        let whole = change(month, 250_000, "2026-11-01T03:00:00Z");
        assert_eq!(whole, (30, 150_000, 16_500));
        let same_day = change(month, 250_000, "2026-11-02T02:59:59.999Z");
        assert_eq!(same_day, whole, "the day that has begun counts");
        let next_day = change(month, 250_000, "2026-11-02T03:00:00Z");
        assert_eq!(next_day, (29, 145_000, 15_950));
        let last = change(month, 250_000, "2026-12-01T02:59:59Z");
        // 8333.33 less 3333.33, each to the rupiah.
        assert_eq!(last, (1, 5_000, 550));
        let thirds = change(november(100_001, 100_001), 200_003, "2026-11-21T03:00:00Z");
        // 66667.67 less 33333.67.
        assert_eq!(thirds, (10, 33_334, 3_667));
        let with_coupon = change(november(100_000, 10_000), 250_000, "2026-11-01T03:00:00Z");
        assert_eq!(with_coupon, whole, "what the coupon took off stays");
    }

    #[test]
    fn a_downgrade_gives_the_difference_back_and_no_more_than_was_paid_for_it() {
        let half = "2026-11-16T03:00:00Z";
        assert_eq!(
            change(november(250_000, 250_000), 100_000, half),
            (15, -75_000, -8_250)
        );
        // A coupon took 100000 off: for these days 75000 were paid, and the new plan costs 50000 for them.
        assert_eq!(
            change(november(250_000, 150_000), 100_000, half),
            (15, -25_000, -2_750)
        );
        // It was paid less than the new plan costs.
        assert_eq!(change(november(250_000, 60_000), 100_000, half), (15, 0, 0));
        assert_eq!(
            change(november(250_000, 0), 100_000, half),
            (15, 0, 0),
            "nothing comes of nothing"
        );
    }

    #[test]
    fn up_and_down_again_at_once_costs_nothing() {
        for paid in [100_000, 70_000, 0] {
            let before = november(100_000, paid);
            for now in ["2026-11-01T03:00:00Z", "2026-11-12T10:00:00Z"] {
                for elsewhere in [333_333, 77_777] {
                    let after = Present {
                        price: Rupiah(elsewhere),
                        ..before
                    };
                    let (_, there, _) = change(before, elsewhere, now);
                    let (_, back, _) = change(after, 100_000, now);
                    assert_eq!(there + back, 0, "{paid} {now} {elsewhere}");
                }
            }
        }
    }

    #[test]
    fn what_costs_the_same_costs_nothing() {
        let change = change(november(100_000, 40_000), 100_000, "2026-11-12T10:00:00Z");
        assert_eq!(change, (19, 0, 0));
    }
}
