//! What differs between our books and a gateway's, and how it is said. Pure.

use std::collections::HashMap;

use sewa_sdk::sewa::wallet::v1::deposit::Method;
use uuid::Uuid;

use crate::provider::payment::{Transaction, TransactionState};
use crate::service::report::store::proof::{Asked, Ours};

/// What differs. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// Paid at the gateway, not in our books.
    PaymentNotInBooks = 1,
    /// In our books, not paid at the gateway.
    PaymentNotAtGateway = 2,
    /// Another amount.
    AmountDiffers = 3,
    /// Another amount was taken back.
    ReversalDiffers = 4,
    /// Another fee.
    FeeDiffers = 5,
    /// Payments credited something else than journals moved.
    LedgerDiffers = 6,
    /// A charge or refund without its document.
    InvoiceMissing = 7,
    /// A document that says something else.
    InvoiceDiffers = 8,
    /// A document of nothing.
    InvoiceWithoutCharge = 9,
    /// Kept figures that were not those of the ledger.
    KeptFiguresDiffer = 10,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub kind: Kind,
    /// In words.
    pub cause: String,
    /// What our books say.
    pub ours: i64,
    /// What the other side says.
    pub theirs: i64,
    /// Number of the way to pay; 0 if it concerns none.
    pub method: i16,
    /// The gateway's reference, or empty.
    pub gateway_ref: String,
    /// Whose money.
    pub account: Option<Uuid>,
    /// The deposit.
    pub deposit: Option<Uuid>,
    /// The journal.
    pub journal: Option<Uuid>,
    /// The invoice.
    pub invoice: Option<Uuid>,
}

impl Difference {
    /// One that concerns no gateway and nothing else yet.
    pub fn new(kind: Kind, ours: i64, theirs: i64, cause: String) -> Self {
        Self {
            kind,
            cause,
            ours,
            theirs,
            method: 0,
            gateway_ref: String::new(),
            account: None,
            deposit: None,
            journal: None,
            invoice: None,
        }
    }

    /// How much differs.
    pub fn amount(&self) -> i64 {
        self.ours.saturating_sub(self.theirs).saturating_abs()
    }
}

/// How a gateway was compared. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Comparison {
    /// With its own list.
    List = 1,
    /// By looking each deposit up.
    LookUp = 2,
    /// Nobody can be asked.
    OursOnly = 3,
    /// It failed, or was taken away.
    Incomplete = 4,
}

/// How one gateway compares on one day, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct GatewayResult {
    /// Number of the way to pay.
    pub method: i16,
    /// How it was compared.
    pub comparison: Comparison,
    /// Payments in our books.
    pub payments: i64,
    /// What was paid, as they have it.
    pub paid: i64,
    /// Transactions the gateway calls paid on the day.
    pub gateway_payments: i64,
    /// What was paid, as it has it.
    pub gateway_paid: i64,
    /// Its fees in our books.
    pub fees: i64,
    /// What could not be compared.
    pub note: String,
}

/// The number of a way to pay.
pub fn number(method: Method) -> i16 {
    i16::try_from(method as i32).unwrap_or(0)
}

/// What our books have against what the gateway says about it; `None` if it knows nothing of that name.
pub fn known(ours: &Ours, said: Option<&Transaction>) -> Vec<Difference> {
    let differs = |kind, mine, theirs, cause: String| Difference {
        method: ours.method,
        gateway_ref: ours.gateway_ref.clone(),
        account: Some(ours.account),
        deposit: Some(ours.deposit),
        ..Difference::new(kind, mine, theirs, cause)
    };
    let paid = ours.paid;
    let Some(said) = said else {
        let cause =
            format!("our books have a payment of {paid}; the gateway knows no such transaction");
        return vec![differs(Kind::PaymentNotAtGateway, paid, 0, cause)];
    };
    if said.state != TransactionState::Paid {
        let state = said.state;
        let cause = format!("our books have a payment of {paid}; the gateway says {state:?}");
        return vec![differs(Kind::PaymentNotAtGateway, paid, 0, cause)];
    }
    let mut found = Vec::new();
    let total = said.total.0;
    if total != paid {
        let cause = format!("our books have a payment of {paid}; the gateway says {total}");
        found.push(differs(Kind::AmountDiffers, paid, total, cause));
    }
    let (reversed, refunded) = (ours.reversed, said.refunded.0);
    if reversed != refunded {
        let cause = format!("our books have {reversed} taken back; the gateway says {refunded}");
        found.push(differs(Kind::ReversalDiffers, -reversed, -refunded, cause));
    }
    // Of what was not credited no fee is posted.
    if let Some(fee) = said.gateway_fee.filter(|_| ours.credited > 0)
        && ours.fee != Some(fee.0)
    {
        let posted = ours.fee.unwrap_or(0);
        let cause = match ours.fee {
            Some(posted) => format!(
                "a fee of {posted} is posted; the gateway says {fee}",
                fee = fee.0
            ),
            None => format!("no fee is posted; the gateway says {}", fee.0),
        };
        if posted != fee.0 {
            found.push(differs(Kind::FeeDiffers, -posted, -fee.0, cause));
        }
    }
    found
}

/// A transaction that was paid at the gateway, and of which our books have no payment. `deposits` are those that it may be for.
pub fn unknown(method: i16, said: &Transaction, deposits: &HashMap<Uuid, Asked>) -> Difference {
    let id: Option<Uuid> = said.reference.parse().ok();
    let deposit = id.and_then(|id| deposits.get(&id));
    let about = match deposit {
        Some(deposit) => format!("deposit {} is {}", deposit.id, deposit.state),
        None => format!("its reference {:?} is no deposit of ours", said.reference),
    };
    let total = said.total.0;
    // What was paid back before we saw it moved nothing, and rightly.
    let kept = total - said.refunded.0.min(total);
    let back = if kept == total {
        String::new()
    } else {
        format!(", of which {} was paid back", total - kept)
    };
    let cause =
        format!("the gateway was paid {total}{back}; our books have no such payment; {about}");
    Difference {
        method,
        gateway_ref: said.gateway_ref.clone(),
        account: deposit.map(|deposit| deposit.account),
        deposit: deposit.map(|deposit| deposit.id),
        ..Difference::new(Kind::PaymentNotInBooks, 0, kept, cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::Rupiah;
    use crate::provider::payment::Terms;

    fn ours() -> Ours {
        Ours {
            account: Uuid::from_u128(1),
            deposit: Uuid::from_u128(2),
            method: 2,
            gateway_ref: "T1".to_owned(),
            paid: 50_000,
            credited: 50_000,
            fee: Some(4250),
            reversed: 0,
        }
    }

    fn said(total: i64, refunded: i64, fee: Option<i64>) -> Transaction {
        Transaction {
            gateway_ref: "T1".to_owned(),
            reference: Uuid::from_u128(2).to_string(),
            state: TransactionState::Paid,
            total: Rupiah(total),
            refunded: Rupiah(refunded),
            paid_at: None,
            gateway_fee: fee.map(Rupiah),
            terms: Terms::default(),
        }
    }

    fn kinds(ours: &Ours, said: Option<&Transaction>) -> Vec<(Kind, i64, i64)> {
        let found = known(ours, said);
        found.iter().map(|d| (d.kind, d.ours, d.theirs)).collect()
    }

    #[test]
    fn each_way_to_differ_is_named() {
        let same = said(50_000, 0, Some(4250));
        assert_eq!(kinds(&ours(), Some(&same)), []);
        let missing = (Kind::PaymentNotAtGateway, 50_000, 0);
        assert_eq!(kinds(&ours(), None), [missing]);
        let unpaid = Transaction {
            state: TransactionState::Expired,
            ..same.clone()
        };
        assert_eq!(kinds(&ours(), Some(&unpaid)), [missing]);
        let other = said(49_000, 10_000, Some(4000));
        assert_eq!(
            kinds(&ours(), Some(&other)),
            [
                (Kind::AmountDiffers, 50_000, 49_000),
                (Kind::ReversalDiffers, 0, -10_000),
                (Kind::FeeDiffers, -4250, -4000),
            ]
        );
        assert_eq!(kinds(&ours(), Some(&said(50_000, 0, None))), []);
        let before = Ours {
            fee: None,
            ..ours()
        };
        assert_eq!(kinds(&before, Some(&same)), [(Kind::FeeDiffers, 0, -4250)]);
        assert_eq!(kinds(&before, Some(&said(50_000, 0, Some(0)))), []);
        let nothing = Ours {
            credited: 0,
            ..before
        };
        assert_eq!(kinds(&nothing, Some(&same)), []);
    }

    #[test]
    fn what_only_the_gateway_has_is_traced_to_its_deposit() {
        let asked = Asked {
            account: Uuid::from_u128(1),
            id: Uuid::from_u128(2),
            state: "EXPIRED".to_owned(),
        };
        let deposits = HashMap::from([(asked.id, asked)]);
        let found = unknown(2, &said(50_000, 0, None), &deposits);
        assert_eq!(
            (found.ours, found.theirs, found.amount()),
            (0, 50_000, 50_000)
        );
        assert_eq!(found.deposit, Some(Uuid::from_u128(2)));
        assert!(found.cause.contains("EXPIRED"), "{}", found.cause);
        let stranger = unknown(2, &said(50_000, 50_000, None), &HashMap::new());
        assert_eq!((stranger.account, stranger.amount()), (None, 0));
    }
}
