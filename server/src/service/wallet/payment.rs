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
//! | taken back                 | never saw that payment         | closed; nothing came and nothing stayed          | REVERSED |

use chrono::{DateTime, TimeDelta, Utc};

use crate::base::money::Rupiah;
use crate::provider::payment::{Transaction, TransactionState};
use crate::service::wallet::deposit::{Deposit, DepositState};

/// How long after its time a deposit that the gateway still calls unpaid is closed.
const COURTESY: TimeDelta = TimeDelta::minutes(10);
/// How long after it was closed a deposit is still looked at, for money that comes late or is taken back.
const MEMORY: TimeDelta = TimeDelta::days(7);
/// The longest pause between two looks.
const SELDOM: TimeDelta = TimeDelta::hours(6);

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

/// When to look at a deposit again: often while it is open, then less and less, then no more.
pub fn next_look(
    state: DepositState,
    closed_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    poll: TimeDelta,
) -> Option<DateTime<Utc>> {
    if state.is_open() {
        return Some(now + poll);
    }
    let age = now - closed_at?;
    (age < MEMORY).then(|| now + age.clamp(poll, SELDOM.max(poll)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::base::id::{AccountId, DepositId};
    use crate::provider::payment::Terms;

    fn noon() -> DateTime<Utc> {
        "2026-05-03T12:00:00Z".parse().expect("a time")
    }

    fn deposit(state: DepositState) -> Deposit {
        Deposit {
            account: AccountId(Uuid::nil()),
            id: DepositId(Uuid::nil()),
            amount: Rupiah(50_000),
            method: 2,
            channel: "BRIVA".to_owned(),
            state,
            client_reference: None,
            payable: Some(Rupiah(54_250)),
            fee: Some(Rupiah(4250)),
            gateway_ref: "T1".to_owned(),
            pay_url: String::new(),
            pay_code: String::new(),
            qr_string: String::new(),
            instructions: Vec::new(),
            failure: String::new(),
            revision: 1,
            asked_at: None,
            next_look_at: None,
            created_at: noon(),
            expires_at: noon() + TimeDelta::hours(24),
            closed_at: None,
        }
    }

    fn said(reference: &str, state: TransactionState, total: i64, refunded: i64) -> Transaction {
        Transaction {
            gateway_ref: reference.to_owned(),
            reference: String::new(),
            state,
            total: Rupiah(total),
            refunded: Rupiah(refunded),
            paid_at: None,
            terms: Terms::default(),
        }
    }

    fn paid(reference: &str, kind: Kind, paid: i64, credited: i64) -> Payment {
        Payment {
            kind: kind as i16,
            paid: Rupiah(paid),
            credited: Rupiah(credited),
            gateway_ref: reference.to_owned(),
            recorded_at: noon(),
        }
    }

    #[test]
    fn each_way_of_paying_has_its_outcome() {
        use DepositState as State;
        let cases = [
            (State::Pending, "T1", 54_250, 0, Kind::Exact, 50_000),
            (State::Preparing, "T1", 54_250, 0, Kind::Exact, 50_000),
            (State::Expired, "T1", 54_250, 0, Kind::Late, 50_000),
            (State::Pending, "T1", 54_250, 48, Kind::Late, 50_000),
            (State::Pending, "T1", 54_249, 0, Kind::Underpaid, 49_999),
            (State::Pending, "T1", 4000, 0, Kind::Underpaid, 0),
            (State::Failed, "T1", 60_000, 0, Kind::Overpaid, 55_750),
        ];
        for (state, reference, total, hours, kind, amount) in cases {
            let transaction = said(reference, TransactionState::Paid, total, 0);
            let now = noon() + TimeDelta::hours(hours);
            let step = Step::Credit {
                kind,
                paid: Rupiah(total),
                amount: Rupiah(amount),
            };
            assert_eq!(judge(&deposit(state), &[], &transaction, now), [step]);
        }
        let known = [paid("T1", Kind::Exact, 54_250, 50_000)];
        let other = said("T2", TransactionState::Paid, 54_250, 0);
        let again = said("T1", TransactionState::Paid, 54_250, 0);
        let step = Step::Credit {
            kind: Kind::Duplicate,
            paid: Rupiah(54_250),
            amount: Rupiah(50_000),
        };
        assert_eq!(judge(&deposit(State::Paid), &known, &other, noon()), [step]);
        assert_eq!(judge(&deposit(State::Paid), &known, &again, noon()), []);
    }

    #[test]
    fn what_is_taken_back_is_taken_once() {
        let deposit = deposit(DepositState::Paid);
        let mut known = vec![paid("T1", Kind::Exact, 54_250, 50_000)];
        let partly = said("T1", TransactionState::Paid, 54_250, 20_000);
        let step = |paid, amount| Step::Reverse {
            paid: Rupiah(paid),
            amount: Rupiah(amount),
        };
        assert_eq!(
            judge(&deposit, &known, &partly, noon()),
            [step(20_000, 20_000)]
        );
        known.push(paid("T1", Kind::Reversal, 20_000, -20_000));
        assert_eq!(judge(&deposit, &known, &partly, noon()), []);
        assert!(!is_all_back(&known));
        let wholly = said("T1", TransactionState::Paid, 54_250, 54_250);
        assert_eq!(
            judge(&deposit, &known, &wholly, noon()),
            [step(34_250, 30_000)]
        );
        known.push(paid("T1", Kind::Reversal, 34_250, -30_000));
        assert_eq!(judge(&deposit, &known, &wholly, noon()), []);
        assert!(is_all_back(&known));
        known.push(paid("T2", Kind::Duplicate, 54_250, 50_000));
        assert!(!is_all_back(&known));
    }

    #[test]
    fn what_went_back_before_it_was_seen_moves_nothing() {
        let back = said("T1", TransactionState::Paid, 54_250, 54_250);
        let open = deposit(DepositState::Pending);
        assert_eq!(
            judge(&open, &[], &back, noon()),
            [Step::Close(DepositState::Reversed)]
        );
        let closed = deposit(DepositState::Reversed);
        assert_eq!(judge(&closed, &[], &back, noon()), []);
    }

    #[test]
    fn only_open_deposits_are_closed() {
        let expired = said("T1", TransactionState::Expired, 54_250, 0);
        let unpaid = said("T1", TransactionState::Unpaid, 54_250, 0);
        let open = deposit(DepositState::Pending);
        let close = [Step::Close(DepositState::Expired)];
        assert_eq!(judge(&open, &[], &expired, noon()), close);
        assert_eq!(judge(&open, &[], &unpaid, noon()), []);
        let late = noon() + TimeDelta::hours(25);
        assert_eq!(judge(&open, &[], &unpaid, late), close);
        let paid = deposit(DepositState::Paid);
        assert_eq!(judge(&paid, &[], &expired, late), []);
    }

    #[test]
    fn looks_get_rarer_and_end() {
        let poll = TimeDelta::seconds(30);
        let look = |state, age| next_look(state, Some(noon() - age), noon(), poll);
        let open = next_look(DepositState::Pending, None, noon(), poll);
        assert_eq!(open, Some(noon() + poll));
        assert_eq!(
            look(DepositState::Paid, TimeDelta::zero()),
            Some(noon() + poll)
        );
        assert_eq!(
            look(DepositState::Expired, TimeDelta::hours(2)),
            Some(noon() + TimeDelta::hours(2))
        );
        assert_eq!(
            look(DepositState::Paid, TimeDelta::days(6)),
            Some(noon() + SELDOM)
        );
        assert_eq!(look(DepositState::Paid, TimeDelta::days(8)), None);
    }
}
