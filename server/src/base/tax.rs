//! Value-added tax (PPN) by date.
//!
//! Source: PMK 131/2024, article 3: from 1 January 2025 goods and services other than luxury goods are taxed at 12 % on 11/12 of the price. Before, UU 7/2021
//! (HPP) set 11 % of the price from 1 April 2022. Rounding: half up to the rupiah, once for each line.

use chrono::{DateTime, NaiveDate, Utc};

use crate::base::money::Rupiah;
use crate::base::time;

/// A rate in force from a date on: tax = price × numerator ÷ denominator. Documents write it as so many percent of a base, which is a part of the price.
struct Rate {
    from: (i32, u32, u32),
    numerator: i128,
    denominator: i128,
    percent: i32,
    base: (i128, i128),
}

/// What documents say of the tax on a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// What the tax is computed on (DPP nilai lain), half up to the rupiah.
    pub base: Rupiah,
    /// Percent of the base.
    pub percent: i32,
}

const RATES: [Rate; 3] = [
    Rate {
        from: (2025, 1, 1),
        numerator: 12 * 11,
        denominator: 100 * 12,
        percent: 12,
        base: (11, 12),
    },
    Rate {
        from: (2022, 4, 1),
        numerator: 11,
        denominator: 100,
        percent: 11,
        base: (1, 1),
    },
    Rate {
        from: (1985, 4, 1),
        numerator: 10,
        denominator: 100,
        percent: 10,
        base: (1, 1),
    },
];

/// The tax on `price` (not negative) at a moment, by the calendar of Asia/Jakarta.
pub fn ppn(price: Rupiah, at: DateTime<Utc>) -> Rupiah {
    match in_force(at) {
        Some(rate) => part(price, rate.numerator, rate.denominator),
        None => Rupiah::ZERO,
    }
}

/// How the tax on `price` (not negative) at a moment is explained.
pub fn basis(price: Rupiah, at: DateTime<Utc>) -> Basis {
    match in_force(at) {
        Some(rate) => Basis {
            base: part(price, rate.base.0, rate.base.1),
            percent: rate.percent,
        },
        None => Basis {
            base: price,
            percent: 0,
        },
    }
}

fn in_force(at: DateTime<Utc>) -> Option<&'static Rate> {
    let day = time::jakarta(at).date_naive();
    RATES.iter().find(|rate| {
        NaiveDate::from_ymd_opt(rate.from.0, rate.from.1, rate.from.2)
            .is_some_and(|from| from <= day)
    })
}

/// The one rounding rule: half up to the rupiah.
fn part(price: Rupiah, numerator: i128, denominator: i128) -> Rupiah {
    let doubled = i128::from(price.0) * numerator * 2 + denominator;
    let part = doubled.div_euclid(denominator * 2);
    Rupiah(i64::try_from(part).expect("a part is not greater than its price, which fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twelve_percent_on_eleven_twelfths_rounds_half_up() {
        let at = "2026-11-21T00:00:00Z".parse().expect("a time");
        for (price, tax) in [
            (0, 0),
            (1, 0),
            (4, 0),
            (5, 1),
            (50, 6),
            (79_000, 8_690),
            (99_999, 11_000),
            (100_005, 11_001),
        ] {
            assert_eq!(ppn(Rupiah(price), at), Rupiah(tax), "tax on {price}");
        }
    }

    #[test]
    fn the_base_is_eleven_twelfths_since_2025() {
        let at = "2026-11-21T00:00:00Z".parse().expect("a time");
        let explained = basis(Rupiah(79_000), at);
        assert_eq!((explained.base, explained.percent), (Rupiah(72_417), 12));
        let before = "2024-12-31T16:59:59Z".parse().expect("a time");
        let explained = basis(Rupiah(79_000), before);
        assert_eq!((explained.base, explained.percent), (Rupiah(79_000), 11));
    }

    #[test]
    fn the_rate_changes_at_midnight_in_jakarta() {
        let before = "2022-03-31T16:59:59Z".parse().expect("a time");
        let after = "2022-03-31T17:00:00Z".parse().expect("a time");
        assert_eq!(ppn(Rupiah(1000), before), Rupiah(100));
        assert_eq!(ppn(Rupiah(1000), after), Rupiah(110));
    }
}
