//! `google.type.Money`, by hand: the only third-party message our contract carries that no library we use defines.

/// Currency of every amount on the platform.
pub const IDR: &str = "IDR";

/// An amount of money. Settled amounts are whole rupiah: `currency_code` is `IDR` and `nanos` is 0.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Money {
    /// ISO 4217 code.
    #[prost(string, tag = "1")]
    pub currency_code: String,
    /// Whole units.
    #[prost(int64, tag = "2")]
    pub units: i64,
    /// Billionths of a unit.
    #[prost(int32, tag = "3")]
    pub nanos: i32,
}

impl prost::Name for Money {
    const NAME: &'static str = "Money";
    const PACKAGE: &'static str = "google.type";
}

impl Money {
    /// Whole rupiah.
    pub fn idr(units: i64) -> Self {
        Self {
            currency_code: IDR.to_owned(),
            units,
            nanos: 0,
        }
    }
}
