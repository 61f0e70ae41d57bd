//! The rules of the ledger: what each command does to an account's books, and when it is refused. Pure; every movement of money on the platform is decided
//! here.
//!
//! | action  | available | held | cash in | revenue + PPN | refund + PPN | adjustment |
//! |---------|-----------|------|---------|---------------|--------------|------------|
//! | deposit | +         |      | −       |               |              |            |
//! | receive |           | +    | −       |               |              |            |
//! | hold    | −         | +    |         |               |              |            |
//! | capture |           | −    |         | +             |              |            |
//! | release | +         | −    |         |               |              |            |
//! | charge  | −         |      |         | +             |              |            |
//! | refund  | +         |      |         |               | −            |            |
//! | adjust  | ±         |      |         |               |              | ∓          |
//! | reverse | −         |      | +       |               |              | −          |
//!
//! A reversal takes what is available; what is not is the platform's loss, an adjustment.

use std::collections::HashMap;

use uuid::Uuid;

use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;

/// What to do to an account's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Money came in.
    Deposit(Rupiah),
    /// Money came in for one purpose and is held for it at once.
    Receive(Rupiah),
    /// Set money aside.
    Hold(Rupiah),
    /// Spend all of a hold; `tax` is the part owed as PPN.
    Capture {
        /// The hold.
        hold: JournalId,
        /// PPN within its amount.
        tax: Rupiah,
    },
    /// Give a hold back.
    Release {
        /// The hold.
        hold: JournalId,
    },
    /// Spend at once; `tax` is the part of `total` owed as PPN.
    Charge {
        /// What is taken.
        total: Rupiah,
        /// PPN within it.
        tax: Rupiah,
    },
    /// Give back what was spent.
    Refund {
        /// What is given back.
        total: Rupiah,
        /// PPN within it.
        tax: Rupiah,
    },
    /// Correct the available balance, either way.
    Adjust(Rupiah),
    /// A gateway took back money that came in.
    Reverse(Rupiah),
}

/// A command to the ledger.
#[derive(Clone, Debug)]
pub struct Command {
    /// Whose books.
    pub account: AccountId,
    /// What to do.
    pub action: Action,
    /// The order, instance or deposit it belongs to; nil if none.
    pub subject: Uuid,
    /// Why, for the account's owner.
    pub description: String,
}

/// Balances of the customer's own ledger accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Can be spent.
    pub available: Rupiah,
    /// Set aside.
    pub held: Rupiah,
    /// Given by promotions.
    pub promo: Rupiah,
    /// Earned.
    pub withdrawable: Rupiah,
    /// The journal that made it so. Journal ids of an account only grow.
    pub last: JournalId,
}

impl Balance {
    /// Of an account that never moved money.
    pub const EMPTY: Self = Self {
        available: Rupiah::ZERO,
        held: Rupiah::ZERO,
        promo: Rupiah::ZERO,
        withdrawable: Rupiah::ZERO,
        last: JournalId(Uuid::nil()),
    };
}

/// What the ledger knows of a hold.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// How much was set aside.
    pub amount: Rupiah,
    /// True once captured or released.
    pub closed: bool,
}

/// Why the ledger refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The available balance is too small.
    #[error("{required} are needed and {available} are available")]
    InsufficientBalance {
        /// What was needed.
        required: Rupiah,
        /// What there is.
        available: Rupiah,
    },
    /// No such hold in these books.
    #[error("no such hold")]
    HoldNotFound,
    /// The hold was captured or released before.
    #[error("the hold is closed")]
    HoldClosed,
    /// An amount that makes no sense for the action, or a sum beyond 64 bits.
    #[error("the amount is out of range")]
    AmountOutOfRange,
}

/// One journal: its postings by ledger account, and the balances after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Whose books.
    pub account: AccountId,
    /// Identifier.
    pub id: JournalId,
    /// `sewa.wallet.v1.Transaction.Kind`.
    pub kind: Kind,
    /// What it belongs to.
    pub subject: Uuid,
    /// The hold it closes.
    pub closes: Option<JournalId>,
    /// Why.
    pub description: String,
    /// Posting to the available balance.
    pub available: Rupiah,
    /// Posting to the held balance.
    pub held: Rupiah,
    /// Posting to money received.
    pub cash_in: Rupiah,
    /// Posting to revenue.
    pub revenue: Rupiah,
    /// Posting to refunds given.
    pub refund: Rupiah,
    /// Posting to corrections.
    pub adjustment: Rupiah,
    /// Posting to tax owed.
    pub ppn_payable: Rupiah,
    /// Available balance after it.
    pub available_after: Rupiah,
    /// Held balance after it.
    pub held_after: Rupiah,
}

/// What kind of movement a journal is. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// Deposit.
    Deposit = 1,
    /// Hold, and money received for one purpose.
    Hold = 2,
    /// Capture.
    Capture = 3,
    /// Release.
    Release = 4,
    /// Charge.
    Charge = 5,
    /// Refund.
    Refund = 6,
    /// Adjustment.
    Adjustment = 7,
    /// Reversal.
    Reversal = 8,
}

/// The books of the accounts in a batch, as locked, and as they become command by command.
#[derive(Debug, Default)]
pub struct Books {
    /// Balances by account.
    pub balances: HashMap<AccountId, Balance>,
    /// Holds that commands of the batch name.
    pub holds: HashMap<(AccountId, JournalId), Hold>,
}

impl Books {
    /// Decides one command. `fresh` is a new id; the journal takes a later one if the clock stood behind the last journal's.
    ///
    /// # Errors
    /// The books are as before then.
    pub fn decide(&mut self, command: &Command, fresh: JournalId) -> Result<Journal, Refused> {
        let mut balance = self
            .balances
            .get(&command.account)
            .copied()
            .unwrap_or(Balance::EMPTY);
        let mut journal = Journal {
            account: command.account,
            id: fresh.max(JournalId(Uuid::from_u128(
                balance.last.0.as_u128().saturating_add(1),
            ))),
            kind: Kind::Deposit,
            subject: command.subject,
            closes: None,
            description: command.description.clone(),
            available: Rupiah::ZERO,
            held: Rupiah::ZERO,
            cash_in: Rupiah::ZERO,
            revenue: Rupiah::ZERO,
            refund: Rupiah::ZERO,
            adjustment: Rupiah::ZERO,
            ppn_payable: Rupiah::ZERO,
            available_after: Rupiah::ZERO,
            held_after: Rupiah::ZERO,
        };
        self.post(&mut journal, command, balance.available)?;
        let available = balance
            .available
            .checked_add(journal.available)
            .ok_or(Refused::AmountOutOfRange)?;
        let held = balance
            .held
            .checked_add(journal.held)
            .ok_or(Refused::AmountOutOfRange)?;
        if available < Rupiah::ZERO {
            return Err(Refused::InsufficientBalance {
                required: journal.available.negated(),
                available: balance.available,
            });
        }
        if held < Rupiah::ZERO {
            return Err(Refused::AmountOutOfRange);
        }
        (journal.available_after, journal.held_after) = (available, held);
        (balance.available, balance.held, balance.last) = (available, held, journal.id);
        self.balances.insert(command.account, balance);
        if let Some(hold) = journal
            .closes
            .and_then(|hold| self.holds.get_mut(&(command.account, hold)))
        {
            hold.closed = true;
        }
        if journal.kind == Kind::Hold {
            self.holds.insert(
                (command.account, journal.id),
                Hold {
                    amount: journal.held,
                    closed: false,
                },
            );
        }
        Ok(journal)
    }

    fn post(
        &self,
        journal: &mut Journal,
        command: &Command,
        available: Rupiah,
    ) -> Result<(), Refused> {
        match command.action {
            Action::Deposit(amount) => {
                let amount = positive(amount)?;
                (journal.available, journal.cash_in) = (amount, amount.negated());
            }
            Action::Receive(amount) => {
                let amount = positive(amount)?;
                (journal.kind, journal.held, journal.cash_in) =
                    (Kind::Hold, amount, amount.negated());
            }
            Action::Hold(amount) => {
                let amount = positive(amount)?;
                (journal.kind, journal.available, journal.held) =
                    (Kind::Hold, amount.negated(), amount);
            }
            Action::Capture { hold, tax } => {
                let amount = self.open_hold(command.account, hold)?;
                (journal.kind, journal.closes, journal.held) =
                    (Kind::Capture, Some(hold), amount.negated());
                (journal.revenue, journal.ppn_payable) = (net(amount, tax)?, tax);
            }
            Action::Release { hold } => {
                let amount = self.open_hold(command.account, hold)?;
                (journal.kind, journal.closes) = (Kind::Release, Some(hold));
                (journal.available, journal.held) = (amount, amount.negated());
            }
            Action::Charge { total, tax } => {
                let total = positive(total)?;
                (journal.kind, journal.available) = (Kind::Charge, total.negated());
                (journal.revenue, journal.ppn_payable) = (net(total, tax)?, tax);
            }
            Action::Refund { total, tax } => {
                let total = positive(total)?;
                (journal.kind, journal.available) = (Kind::Refund, total);
                (journal.refund, journal.ppn_payable) = (net(total, tax)?.negated(), tax.negated());
            }
            Action::Adjust(amount) => {
                if amount == Rupiah::ZERO {
                    return Err(Refused::AmountOutOfRange);
                }
                (journal.kind, journal.available, journal.adjustment) =
                    (Kind::Adjustment, amount, amount.negated());
            }
            Action::Reverse(amount) => {
                let amount = positive(amount)?;
                let taken = amount.min(available);
                let lost = amount.checked_sub(taken).ok_or(Refused::AmountOutOfRange)?;
                (journal.kind, journal.available, journal.cash_in) =
                    (Kind::Reversal, taken.negated(), amount);
                journal.adjustment = lost.negated();
            }
        }
        Ok(())
    }

    fn open_hold(&self, account: AccountId, hold: JournalId) -> Result<Rupiah, Refused> {
        let found = self
            .holds
            .get(&(account, hold))
            .ok_or(Refused::HoldNotFound)?;
        if found.closed {
            Err(Refused::HoldClosed)
        } else {
            Ok(found.amount)
        }
    }
}

fn positive(amount: Rupiah) -> Result<Rupiah, Refused> {
    if amount > Rupiah::ZERO {
        Ok(amount)
    } else {
        Err(Refused::AmountOutOfRange)
    }
}

fn net(total: Rupiah, tax: Rupiah) -> Result<Rupiah, Refused> {
    if tax < Rupiah::ZERO || tax > total {
        return Err(Refused::AmountOutOfRange);
    }
    total.checked_sub(tax).ok_or(Refused::AmountOutOfRange)
}
