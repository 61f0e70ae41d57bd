//! What an order costs, and what of it is taken off. Pure.

use chrono::{DateTime, Utc};

use crate::base::money::Rupiah;
use crate::base::tax;
use crate::service::catalog::promotion::Reduction;
use crate::service::promotion::coupon::Discount;

/// What it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// What the base line is called.
    pub plan_name: String,
    /// What a promotion of the plan takes off.
    pub promotion: Option<Reduction>,
    /// What a coupon takes off.
    pub discount: Option<Discount>,
    /// Without tax, less promotion and discount.
    pub subtotal: Rupiah,
    /// PPN.
    pub tax: Rupiah,
    /// What is held and captured.
    pub total: Rupiah,
    /// Until when it is certain not to change.
    pub until: Option<DateTime<Utc>>,
}

impl Quote {
    /// Prices one period. `None` beyond 64 bits.
    pub fn of(
        plan_name: String,
        price: Rupiah,
        until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let tax = tax::ppn(price, now);
        Some(Self {
            plan_name,
            promotion: None,
            discount: None,
            subtotal: price,
            tax,
            total: price.checked_add(tax)?,
            until,
        })
    }

    /// The same with a promotion that ends at `ends_at`; tax is due on what is left. `None` beyond 64 bits.
    pub fn reduced(
        self,
        reduction: Reduction,
        ends_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let left = self.subtotal.checked_sub(reduction.amount)?;
        let until = [self.until, ends_at].into_iter().flatten().min();
        let quote = Self::of(self.plan_name, left, until, now)?;
        Some(Self {
            promotion: Some(reduction),
            ..quote
        })
    }

    /// The same with a discount; tax is due on what is left. `None` beyond 64 bits.
    pub fn less(self, discount: Discount, now: DateTime<Utc>) -> Option<Self> {
        let left = self.subtotal.checked_sub(discount.amount)?;
        let quote = Self::of(self.plan_name, left, self.until, now)?;
        Some(Self {
            promotion: self.promotion,
            discount: Some(discount),
            ..quote
        })
    }

    /// The plan's price for one period, without tax.
    pub fn list_price(&self) -> Rupiah {
        let reduction = self.promotion.as_ref().map_or(0, |p| p.amount.0);
        Rupiah(self.promoted_price().0.saturating_add(reduction))
    }

    /// The price that the promotion leaves, without tax, which is what a coupon sees.
    pub fn promoted_price(&self) -> Rupiah {
        let discount = self.discount.as_ref().map_or(0, |d| d.amount.0);
        Rupiah(self.subtotal.0.saturating_add(discount))
    }

    /// Whether it has a promotion or a coupon, which have to be counted.
    pub fn is_reduced(&self) -> bool {
        self.promotion.is_some() || self.discount.is_some()
    }

    /// What renewals cost, without tax.
    pub fn renewal_price(&self) -> Rupiah {
        match &self.promotion {
            Some(reduction) if !reduction.renews => self.list_price(),
            _ => self.promoted_price(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_adds_up() {
        let now = "2026-11-21T00:00:00Z".parse().expect("a time");
        let quote = Quote::of("VPS".to_owned(), Rupiah(79_999), None, now).expect("a quote");
        assert_eq!((quote.tax, quote.total), (Rupiah(8_800), Rupiah(88_799)));
    }

    #[test]
    fn a_promotion_comes_before_a_coupon_and_stays_where_it_renews() {
        let now = "2026-11-21T00:00:00Z".parse().expect("a time");
        let quote = |renews| {
            let reduction = Reduction {
                promotion: crate::base::id::PlanPromotionId::new(),
                display_name: "Raya".to_owned(),
                amount: Rupiah(20_000),
                renews,
            };
            let discount = Discount {
                coupon: crate::base::id::CouponId::new(),
                code: "MINUS".to_owned(),
                amount: Rupiah(5_000),
            };
            let quote = Quote::of("VPS".to_owned(), Rupiah(79_999), None, now).expect("a quote");
            let reduced = quote.reduced(reduction, None, now).expect("a promotion");
            reduced.less(discount, now).expect("a coupon")
        };
        let once = quote(false);
        assert_eq!((once.subtotal, once.tax), (Rupiah(54_999), Rupiah(6_050)));
        assert_eq!(once.list_price(), Rupiah(79_999));
        assert_eq!(once.promoted_price(), Rupiah(59_999));
        assert_eq!(once.renewal_price(), Rupiah(79_999));
        assert_eq!(quote(true).renewal_price(), Rupiah(59_999));
    }
}
