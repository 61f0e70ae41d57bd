//! Value-added tax (PPN) by date.
//!
//! Source: PMK 131/2024, article 3: from 1 January 2025 goods and services other than luxury goods are taxed at 12 % on 11/12 of the price. Before, UU 7/2021
//! (HPP) set 11 % of the price from 1 April 2022. Rounding: half up to the rupiah, once for each line.

use chrono::{DateTime, NaiveDate, Utc};

use crate::base::money::Rupiah;
use crate::base::time;

/// A rate in force from a date on: tax = price × numerator ÷ denominator.
struct Rate {
    from: (i32, u32, u32),
    numerator: i128,
    denominator: i128,
}

const RATES: [Rate; 3] = [
    Rate {
        from: (2025, 1, 1),
        numerator: 12 * 11,
        denominator: 100 * 12,
    },
    Rate {
        from: (2022, 4, 1),
        numerator: 11,
        denominator: 100,
    },
    Rate {
        from: (1985, 4, 1),
        numerator: 10,
        denominator: 100,
    },
];

/// The tax on `price` (not negative) at a moment, by the calendar of Asia/Jakarta.
pub fn ppn(price: Rupiah, at: DateTime<Utc>) -> Rupiah {
    let day = time::jakarta(at).date_naive();
    let in_force = |rate: &&Rate| {
        NaiveDate::from_ymd_opt(rate.from.0, rate.from.1, rate.from.2)
            .is_some_and(|from| from <= day)
    };
    let Some(rate) = RATES.iter().find(in_force) else {
        return Rupiah::ZERO;
    };
    let doubled = i128::from(price.0) * rate.numerator * 2 + rate.denominator;
    let tax = doubled.div_euclid(rate.denominator * 2);
    Rupiah(i64::try_from(tax).expect("a tax is smaller than its price, which fits"))
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
    fn the_rate_changes_at_midnight_in_jakarta() {
        let before = "2022-03-31T16:59:59Z".parse().expect("a time");
        let after = "2022-03-31T17:00:00Z".parse().expect("a time");
        assert_eq!(ppn(Rupiah(1000), before), Rupiah(100));
        assert_eq!(ppn(Rupiah(1000), after), Rupiah(110));
    }
}
