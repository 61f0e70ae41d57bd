//! An instance as its owner sees it: with what is under way and what it costs.

use chrono::{DateTime, Utc};

use crate::base::id::OperationId;
use crate::base::money::Rupiah;
use crate::base::tax;
use crate::service::instance::model::Instance;

/// The paying side of an instance, as lifecycle keeps it.
#[derive(Clone, Debug)]
pub struct Bill {
    /// Price of one period without tax.
    pub price: Rupiah,
    /// Paid until.
    pub paid_until: DateTime<Utc>,
    /// Renews by itself.
    pub auto_renew: bool,
    /// True once the next period is paid.
    pub prepaid: bool,
    /// True while it is suspended, so that the next period begins when it is paid.
    pub suspended: bool,
    /// What happens next; empty for nothing.
    pub next_step: String,
    /// When.
    pub next_step_at: Option<DateTime<Utc>>,
}

impl Bill {
    /// What the next renewal will charge, tax included; `None` if it will not renew.
    pub fn next_charge(&self, now: DateTime<Utc>) -> Option<Rupiah> {
        let renews = (self.auto_renew || self.prepaid) && self.next_step_at.is_some();
        let begins_at = if self.suspended { now } else { self.paid_until };
        renews
            .then(|| self.price.checked_add(tax::ppn(self.price, begins_at)))
            .flatten()
    }
}

/// Labels that instances must have to be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// With any value.
    pub present: Vec<String>,
    /// With this value.
    pub pairs: Vec<(String, String)>,
}

/// An instance as its owner sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// The instance.
    pub instance: Instance,
    /// The operation under way.
    pub operation: Option<OperationId>,
    /// The paying side, once it was paid for.
    pub bill: Option<Bill>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_charge_has_its_tax_and_ends_with_renewal() {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let bill = |auto_renew, prepaid, next: &str| Bill {
            price: Rupiah(100_000),
            paid_until: now,
            auto_renew,
            prepaid,
            suspended: false,
            next_step: next.to_owned(),
            next_step_at: (!next.is_empty()).then_some(now),
        };
        assert_eq!(
            bill(true, false, "renew").next_charge(now),
            Some(Rupiah(111_000))
        );
        assert_eq!(
            bill(false, true, "renew").next_charge(now),
            Some(Rupiah(111_000))
        );
        assert_eq!(bill(false, false, "suspend").next_charge(now), None);
        assert_eq!(bill(true, false, "").next_charge(now), None);
    }
}
