//! What to do about what a gateway says: the rules of payments. Pure; given the same facts it decides the same, so facts may come again and in any order.
//!
//! | the gateway says           | and the deposit                | outcome                                          | state    |
//! |----------------------------|--------------------------------|--------------------------------------------------|----------|
//! | unpaid                     | can still be paid              | nothing                                          | PENDING  |
//! | unpaid                     | expired a while ago            | closed                                           | EXPIRED  |
//! | expired, failed            | is open                        | closed                                           | EXPIRED, FAILED |
//! | paid as asked              | is open                        | the amount is credited: EXACT                    | PAID     |
//! | paid as asked              | was closed, or its time is up  | the amount is credited: LATE                     | PAID     |
//! | paid less or more          | has no payment yet             | what was paid, less the fee: UNDERPAID, OVERPAID | PAID     |
//! | another transaction, paid  | has a payment                  | what was paid, less the fee: DUPLICATE           | PAID     |
//! | taken back, in part or all | has that payment               | as much is taken from the wallet: REVERSAL       | REVERSED when all |
//! | taken back, in part or all | has it held for an order still | the hold ends, the rest of it is credit: REVERSAL | REVERSED when all |
//! | taken back                 | never saw that payment         | closed; nothing came and nothing stayed          | REVERSED |

use chrono::{DateTime, TimeDelta, Utc};

use crate::base::id::JournalId;
use crate::base::money::Rupiah;
use crate::provider::payment::{Transaction, TransactionState};
use crate::service::wallet::deposit::{Deposit, DepositState};

/// How long after its time a deposit that the gateway still calls unpaid is closed.
const COURTESY: TimeDelta = TimeDelta::minutes(10);
/// How long after it was closed a deposit is still looked at, for money that comes late or is taken back.
const MEMORY: TimeDelta = TimeDelta::days(7);
/// The longest pause between two looks at an open deposit. With the look itself it is less than a minute.
pub(super) const WHILE_OPEN: TimeDelta = TimeDelta::seconds(50);
/// The longest pause between two looks at a closed one.
pub(super) const SELDOM: TimeDelta = TimeDelta::hours(6);

/// How a payment compares with what was asked for. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// As asked.
    Exact = 1,
    /// As asked, too late.
    Late = 2,
    /// Less than asked.
    Underpaid = 3,
    /// More than asked.
    Overpaid = 4,
    /// Another payment.
    Duplicate = 5,
    /// Taken back.
    Reversal = 6,
}

impl Kind {
    /// As events say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "EXACT",
            Self::Late => "LATE",
            Self::Underpaid => "UNDERPAID",
            Self::Overpaid => "OVERPAID",
            Self::Duplicate => "DUPLICATE",
            Self::Reversal => "REVERSAL",
        }
    }
}

/// Money that came, or was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Number of its kind; 6 is a reversal.
    pub kind: i16,
    /// What was paid, or taken back by the gateway.
    pub paid: Rupiah,
    /// Change of the available balance.
    pub credited: Rupiah,
    /// What of the credit the gateway keeps for itself, as it was posted; `None` if it did not say, or nothing was credited.
    pub gateway_fee: Option<Rupiah>,
    /// The gateway's or the bank's reference.
    pub gateway_ref: String,
    /// When it was written down.
    pub recorded_at: DateTime<Utc>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write a payment down and credit it; nothing is credited of a payment that is all fee.
    Credit {
        /// How it compares.
        kind: Kind,
        /// What was paid.
        paid: Rupiah,
        /// What to credit.
        amount: Rupiah,
    },
    /// Write a reversal down and take it from the wallet.
    Reverse {
        /// What the gateway took back.
        paid: Rupiah,
        /// What to take.
        amount: Rupiah,
    },
    /// Close an open deposit.
    Close(DepositState),
}

/// Decides what to do about a transaction that carries this deposit's reference. `payments` are those of the deposit.
pub fn judge(
    deposit: &Deposit,
    payments: &[Payment],
    transaction: &Transaction,
    now: DateTime<Utc>,
) -> Vec<Step> {
    let close = |state| match deposit.state.is_open() {
        true => vec![Step::Close(state)],
        false => Vec::new(),
    };
    match transaction.state {
        TransactionState::Unpaid if now > deposit.expires_at + COURTESY => {
            close(DepositState::Expired)
        }
        TransactionState::Unpaid => Vec::new(),
        TransactionState::Expired => close(DepositState::Expired),
        TransactionState::Failed => close(DepositState::Failed),
        TransactionState::Paid => {
            let of_this = |p: &&Payment| p.gateway_ref == transaction.gateway_ref;
            let is_reversal = |p: &&Payment| p.kind == Kind::Reversal as i16;
            let known = payments.iter().find(|p| of_this(p) && !is_reversal(p));
            match known {
                Some(known) => {
                    let reversals = payments.iter().filter(|p| of_this(p) && is_reversal(p));
                    reverse(known, reversals, transaction)
                }
                None if transaction.refunded >= transaction.total => close(DepositState::Reversed),
                None => {
                    let credit = credit(deposit, payments, transaction, now);
                    let mut steps = vec![credit];
                    if transaction.refunded > Rupiah::ZERO
                        && let Step::Credit { amount, .. } = steps[0]
                    {
                        steps.push(Step::Reverse {
                            paid: transaction.refunded,
                            amount: transaction.refunded.min(amount),
                        });
                    }
                    steps
                }
            }
        }
    }
}

/// What of a credit is held for the order that the deposit pays for: its price, if that came whole while the deposit was open. The rest, and all that comes otherwise, is
/// ordinary credit. A deposit is either paid while it is open or closed first, so an order that waits for one has one of two ends.
pub fn held_for_order(deposit: &Deposit, kind: Kind, amount: Rupiah) -> Rupiah {
    let pays = deposit.order.is_some()
        && deposit.state.is_open()
        && matches!(kind, Kind::Exact | Kind::Overpaid)
        && amount >= deposit.amount;
    if pays { deposit.amount } else { Rupiah::ZERO }
}

fn credit(
    deposit: &Deposit,
    payments: &[Payment],
    transaction: &Transaction,
    now: DateTime<Utc>,
) -> Step {
    let paid = transaction.total;
    let fee = deposit.fee.unwrap_or(transaction.terms.fee);
    let asked = deposit.payable.or_else(|| deposit.amount.checked_add(fee));
    let less_fee = paid.checked_sub(fee).unwrap_or(Rupiah::ZERO);
    let less_fee = less_fee.max(Rupiah::ZERO);
    // A gateway that could not be asked in time still knows when it was paid.
    let in_time = match transaction.paid_at {
        Some(at) => at <= deposit.expires_at + COURTESY,
        None => deposit.state.is_open() && now <= deposit.expires_at + COURTESY,
    };
    let (kind, amount) = if !payments.is_empty() {
        (Kind::Duplicate, less_fee)
    } else if Some(paid) < asked {
        (Kind::Underpaid, less_fee)
    } else if Some(paid) > asked {
        (Kind::Overpaid, less_fee)
    } else if in_time {
        (Kind::Exact, deposit.amount)
    } else {
        (Kind::Late, deposit.amount)
    };
    Step::Credit { kind, paid, amount }
}

/// `transaction.refunded` is the sum of all that was taken back; what is new of it is taken from what is left of the credit.
fn reverse<'p>(
    known: &Payment,
    reversals: impl Iterator<Item = &'p Payment>,
    transaction: &Transaction,
) -> Vec<Step> {
    let seen: i64 = reversals.map(|r| r.paid.0).sum();
    let fresh = Rupiah(transaction.refunded.min(known.paid).0 - seen);
    if fresh <= Rupiah::ZERO {
        return Vec::new();
    }
    let left = Rupiah((known.credited.0 - seen).max(0));
    // What is taken back in full includes the fee, which was never credited.
    let whole = transaction.refunded >= known.paid;
    vec![Step::Reverse {
        paid: fresh,
        amount: if whole { left } else { fresh.min(left) },
    }]
}

/// The hold that a transaction's money was received by. Only the first payment of a deposit is ever held.
pub fn hold_of(deposit: &Deposit, payments: &[Payment], gateway_ref: &str) -> Option<JournalId> {
    let is_first = payments
        .first()
        .is_some_and(|p| p.gateway_ref == gateway_ref);
    deposit.hold.filter(|_| is_first)
}

/// What became of the first payment of a deposit, after as much of it was taken back as `payments` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenBack {
    /// What was taken from the wallet for it.
    pub taken: Rupiah,
    /// What should have been, and was not there.
    pub missing: Rupiah,
}

/// What was taken back of the first payment of a deposit.
pub fn taken_back(payments: &[Payment]) -> TakenBack {
    let Some(first) = payments.first() else {
        return TakenBack {
            taken: Rupiah::ZERO,
            missing: Rupiah::ZERO,
        };
    };
    let reversals = || {
        let is_reversal = |p: &&Payment| p.kind == Kind::Reversal as i16;
        let of_first = payments
            .iter()
            .filter(|p| p.gateway_ref == first.gateway_ref);
        of_first.filter(is_reversal)
    };
    let back: i64 = reversals().map(|r| r.paid.0).sum();
    let taken = -reversals().map(|r| r.credited.0).sum::<i64>();
    // As in [`reverse`]: what is taken back in full includes the fee, which was never credited.
    let due = match back >= first.paid.0 {
        true => first.credited.0,
        false => back.min(first.credited.0),
    };
    TakenBack {
        taken: Rupiah(taken),
        missing: Rupiah((due - taken).max(0)),
    }
}

/// Whether everything that came was taken back.
pub fn is_all_back(payments: &[Payment]) -> bool {
    let sum = |reversals: bool| -> i64 {
        let of_kind = |p: &&Payment| (p.kind == Kind::Reversal as i16) == reversals;
        payments.iter().filter(of_kind).map(|p| p.paid.0).sum()
    };
    sum(true) >= sum(false)
}

/// Whether an open deposit can certainly no longer be paid.
pub fn is_overdue(deposit: &Deposit, now: DateTime<Utc>) -> bool {
    deposit.state == DepositState::Pending && now > deposit.expires_at + COURTESY
}

/// When to look at a deposit again: often at first, when most people pay; as long as it is open at least so often that a payment whose callback was lost is found within
/// a minute; then less and less, then no more. `poll` is the shortest pause.
pub fn next_look(deposit: &Deposit, now: DateTime<Utc>, poll: TimeDelta) -> Option<DateTime<Utc>> {
    if deposit.state.is_open() {
        let age = now - deposit.created_at;
        return Some(now + (age / 4).clamp(poll, WHILE_OPEN.max(poll)));
    }
    let age = now - deposit.closed_at?;
    (age < MEMORY).then(|| now + age.clamp(poll, SELDOM.max(poll)))
}
