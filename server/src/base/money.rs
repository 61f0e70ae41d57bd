//! Whole rupiah. No float, no silent overflow.

use std::fmt;

use sewa_sdk::money::{IDR, Money};

use crate::base::status::{self, Invalid};

/// An amount in whole rupiah, negative where money leaves.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    sqlx::Type,
    serde::Serialize,
    serde::Deserialize,
)]
#[sqlx(transparent)]
pub struct Rupiah(pub i64);

impl Rupiah {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` beyond 64 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` beyond 64 bits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The amount with the other sign. `i64::MIN` cannot be reached: amounts entering the platform are at most 10^9.
    #[must_use]
    pub fn negated(self) -> Self {
        Self(self.0.saturating_neg())
    }

    /// The amount as the contract writes it.
    pub fn to_proto(self) -> Money {
        Money::idr(self.0)
    }

    /// Reads an amount from a request field.
    ///
    /// # Errors
    /// INVALID_REQUEST naming `field`, if the currency is not IDR or there are fractions.
    pub fn from_proto(field: &'static str, money: &Money) -> Result<Self, tonic::Status> {
        if money.currency_code == IDR && money.nanos == 0 {
            Ok(Self(money.units))
        } else {
            Err(status::invalid(Invalid::new(
                field,
                "MONEY_IDR",
                "must be whole rupiah: currencyCode IDR, nanos 0",
            )))
        }
    }
}

/// How much is given, or taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The same always.
    Fixed(Rupiah),
    /// A part of the amount, rounded down to the rupiah.
    Percent {
        /// Hundredths of a percent, 1 to 10000.
        basis_points: i32,
        /// At most this.
        cap: Option<Rupiah>,
    },
}

impl Value {
    /// What it is of an amount that is not negative.
    pub fn of(self, amount: Rupiah) -> Rupiah {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Percent { basis_points, cap } => {
                let part = i128::from(amount.0) * i128::from(basis_points) / 10_000;
                let part = Rupiah(i64::try_from(part).unwrap_or(i64::MAX));
                cap.map_or(part, |cap| part.min(cap))
            }
        }
    }

    /// From the columns in which it is kept: the amount, or hundredths of a percent and a cap that is 0 for none.
    pub fn from_columns(fixed: Rupiah, basis_points: i32, cap: Rupiah) -> Self {
        if basis_points == 0 {
            return Self::Fixed(fixed);
        }
        let cap = Some(cap).filter(|cap| *cap > Rupiah::ZERO);
        Self::Percent { basis_points, cap }
    }

    /// The columns in which it is kept.
    pub fn columns(self) -> (i64, i32, i64) {
        match self {
            Self::Fixed(fixed) => (fixed.0, 0, 0),
            Self::Percent { basis_points, cap } => (0, basis_points, cap.map_or(0, |cap| cap.0)),
        }
    }
}

impl fmt::Display for Rupiah {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rp {}", self.0)
    }
}
