//! How amounts are divided among the ledger accounts of one journal. Pure.

use crate::base::money::Rupiah;
use crate::service::wallet::model::{Balance, Journal, Kind, Paid, Refused};

/// Takes an amount from promo credit as far as that reaches, and the rest from what is available.
pub(super) fn spend(journal: &mut Journal, amount: Rupiah, balance: &Balance) {
    let promo = amount.min(balance.promo);
    (journal.promo, journal.available) = (promo.negated(), Rupiah(promo.0 - amount.0));
}

/// What the platform gets of money that came in, and what its gateway keeps.
pub(super) fn take_in(journal: &mut Journal, paid: Paid) -> Result<(), Refused> {
    if paid.fee < Rupiah::ZERO {
        return Err(Refused::AmountOutOfRange);
    }
    let kept = paid.fee.checked_sub(paid.amount);
    journal.cash_in = kept.ok_or(Refused::AmountOutOfRange)?;
    journal.gateway_fee = paid.fee.negated();
    Ok(())
}

/// What a promotion costs.
pub(super) fn give(journal: &mut Journal, amount: Rupiah) {
    (journal.kind, journal.promo_expense) = (Kind::Promotion, amount.negated());
}

/// An amount that is anything.
pub(super) fn positive(amount: Rupiah) -> Result<Rupiah, Refused> {
    if amount > Rupiah::ZERO {
        Ok(amount)
    } else {
        Err(Refused::AmountOutOfRange)
    }
}

/// What is left of a total without its tax.
pub(super) fn net(total: Rupiah, tax: Rupiah) -> Result<Rupiah, Refused> {
    if tax < Rupiah::ZERO || tax > total {
        return Err(Refused::AmountOutOfRange);
    }
    total.checked_sub(tax).ok_or(Refused::AmountOutOfRange)
}
