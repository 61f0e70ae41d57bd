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

impl fmt::Display for Rupiah {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rp {}", self.0)
    }
}
