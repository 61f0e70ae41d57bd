//! The rules of the ledger: what each command does to an account's books, and when it is refused. Pure; every movement of money on the platform is decided
//! here.
//!
//! | action   | available | held | promo | withdrawable | cash in | revenue + PPN | promo expense | refund + PPN | adjustment |
//! |----------|-----------|------|-------|--------------|---------|---------------|---------------|--------------|------------|
//! | deposit  | +         |      |       |              | −       |               |               |              |            |
//! | receive  |           | +    |       |              | −       |               |               |              |            |
//! | hold     | −         | +    | −     |              |         |               |               |              |            |
//! | capture  |           | −    |       |              |         | +             |               |              |            |
//! | release  | +         | −    | +     |              |         |               |               |              |            |
//! | charge   | −         |      | −     |              |         | +             |               |              |            |
//! | refund   | +         |      |       |              |         |               |               | −            |            |
//! | adjust   | ±         |      |       |              |         |               |               |              | ∓          |
//! | reverse  | −         | −    |       |              | +       |               |               |              | −          |
//! | grant    |           |      | +     |              |         |               | −             |              |            |
//! | cashback | +         |      |       |              |         |               | −             |              |            |
//! | reward   |           |      |       | +            |         |               | −             |              |            |
//! | revoke   | −         |      | −     | −            |         |               | +             |              |            |
//!
//! What a gateway keeps for its service lowers `cash_in` by as much as `gateway_fee` grows, in the journal that brings the money in; the customer gets all of it.
//!
//! Holds and charges spend promo credit first, then what is available, and never what is withdrawable; a release gives each back to where it came from. A reversal
//! takes what the money itself is held for, if it still is, and then what is available; what is not is the platform's loss, an adjustment. A revocation takes
//! what is there and no more.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;
pub use crate::service::wallet::kind::Kind;
use crate::service::wallet::posting::{give, net, positive, spend, take_in};

/// What to do to an account's books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Money came in.
    Deposit(Paid),
    /// Money came in for one purpose and is held for it at once.
    Receive(Paid),
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
    Reverse {
        /// How much.
        amount: Rupiah,
        /// The hold by which that money was received. It is closed whole if it is still open: what is not taken of it becomes available.
        hold: Option<JournalId>,
    },
    /// A promotion gives credit that can be spent and not paid out.
    Grant(Rupiah),
    /// A promotion gives money like that paid in.
    Cashback(Rupiah),
    /// A promotion gives money that can be paid out.
    Reward(Rupiah),
    /// Takes back what a promotion gave, as far as it is there: `granted` from promo credit and then from what is available, `cashback` from what is available,
    /// `reward` from what is withdrawable.
    Revoke {
        /// What was granted.
        granted: Rupiah,
        /// What was given as cashback.
        cashback: Rupiah,
        /// What was given as a reward.
        reward: Rupiah,
    },
}

/// Money that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// What the customer gets.
    pub amount: Rupiah,
    /// What of it the gateway keeps for its service.
    pub fee: Rupiah,
}

impl Paid {
    /// Money of which nobody keeps anything.
    pub const fn whole(amount: Rupiah) -> Self {
        Self {
            amount,
            fee: Rupiah::ZERO,
        }
    }
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
    /// Since when no money moves, because something differs in the books.
    pub frozen_at: Option<DateTime<Utc>>,
}

impl Balance {
    /// Of an account that never moved money.
    pub const EMPTY: Self = Self {
        available: Rupiah::ZERO,
        held: Rupiah::ZERO,
        promo: Rupiah::ZERO,
        withdrawable: Rupiah::ZERO,
        last: JournalId(Uuid::nil()),
        frozen_at: None,
    };
}

/// What the ledger knows of a hold.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// How much was set aside.
    pub amount: Rupiah,
    /// What of it was promo credit.
    pub promo: Rupiah,
    /// True once captured or released.
    pub closed: bool,
}

/// Why the ledger refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The available balance, with the promo credit where that can be spent, is too small.
    #[error("{required} are needed and {available} are available")]
    InsufficientBalance {
        /// What was needed.
        required: Rupiah,
        /// What there is, with promo credit where it can be spent.
        available: Rupiah,
    },
    /// No such hold in these books.
    #[error("no such hold")]
    HoldNotFound,
    /// The hold was captured or released before.
    #[error("the hold is closed")]
    HoldClosed,
    /// Something differs in the books, and staff have not looked yet.
    #[error("the wallet is frozen")]
    Frozen,
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
    /// Posting to promo credit.
    pub promo: Rupiah,
    /// Posting to what can be paid out.
    pub withdrawable: Rupiah,
    /// Posting to money received.
    pub cash_in: Rupiah,
    /// Posting to revenue.
    pub revenue: Rupiah,
    /// Posting to what promotions cost.
    pub promo_expense: Rupiah,
    /// Posting to refunds given.
    pub refund: Rupiah,
    /// Posting to corrections.
    pub adjustment: Rupiah,
    /// Posting to what gateways keep.
    pub gateway_fee: Rupiah,
    /// Posting to tax owed.
    pub ppn_payable: Rupiah,
    /// Available balance after it.
    pub available_after: Rupiah,
    /// Held balance after it.
    pub held_after: Rupiah,
}

/// The books of the accounts in a batch, as locked, and as they become command by command.
#[derive(Clone, Debug, Default)]
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
        if balance.frozen_at.is_some() {
            return Err(Refused::Frozen);
        }
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
            promo: Rupiah::ZERO,
            withdrawable: Rupiah::ZERO,
            cash_in: Rupiah::ZERO,
            revenue: Rupiah::ZERO,
            promo_expense: Rupiah::ZERO,
            refund: Rupiah::ZERO,
            adjustment: Rupiah::ZERO,
            gateway_fee: Rupiah::ZERO,
            ppn_payable: Rupiah::ZERO,
            available_after: Rupiah::ZERO,
            held_after: Rupiah::ZERO,
        };
        self.post(&mut journal, command, &balance)?;
        let after = |before: Rupiah, change: Rupiah| {
            before.checked_add(change).ok_or(Refused::AmountOutOfRange)
        };
        let available = after(balance.available, journal.available)?;
        let held = after(balance.held, journal.held)?;
        let promo = after(balance.promo, journal.promo)?;
        let withdrawable = after(balance.withdrawable, journal.withdrawable)?;
        if available < Rupiah::ZERO {
            // Promo credit is spent first, so all of it is in what was asked for and in what there is.
            let spent = journal.promo.negated();
            return Err(Refused::InsufficientBalance {
                required: after(spent, journal.available.negated())?,
                available: after(spent, balance.available)?,
            });
        }
        if held.min(promo).min(withdrawable) < Rupiah::ZERO {
            return Err(Refused::AmountOutOfRange);
        }
        (journal.available_after, journal.held_after) = (available, held);
        balance = Balance {
            available,
            held,
            promo,
            withdrawable,
            last: journal.id,
            ..balance
        };
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
                    promo: journal.promo.negated(),
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
        balance: &Balance,
    ) -> Result<(), Refused> {
        match command.action {
            Action::Deposit(paid) => {
                journal.available = positive(paid.amount)?;
                take_in(journal, paid)?;
            }
            Action::Receive(paid) => {
                (journal.kind, journal.held) = (Kind::Hold, positive(paid.amount)?);
                take_in(journal, paid)?;
            }
            Action::Hold(amount) => {
                let amount = positive(amount)?;
                (journal.kind, journal.held) = (Kind::Hold, amount);
                spend(journal, amount, balance);
            }
            Action::Capture { hold, tax } => {
                let amount = self.open_hold(command.account, hold)?.amount;
                (journal.kind, journal.closes, journal.held) =
                    (Kind::Capture, Some(hold), amount.negated());
                (journal.revenue, journal.ppn_payable) = (net(amount, tax)?, tax);
            }
            Action::Release { hold } => {
                let open = self.open_hold(command.account, hold)?;
                (journal.kind, journal.closes) = (Kind::Release, Some(hold));
                (journal.promo, journal.held) = (open.promo, open.amount.negated());
                journal.available = Rupiah(open.amount.0 - open.promo.0);
            }
            Action::Charge { total, tax } => {
                let total = positive(total)?;
                journal.kind = Kind::Charge;
                spend(journal, total, balance);
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
            Action::Reverse { amount, hold } => {
                let amount = positive(amount)?;
                let mut freed = Rupiah::ZERO;
                if let Some(hold) = hold {
                    match self.open_hold(command.account, hold) {
                        Ok(open) => {
                            (journal.closes, journal.held) = (Some(hold), open.amount.negated());
                            journal.promo = open.promo;
                            freed = Rupiah(open.amount.0 - open.promo.0);
                        }
                        // Spent or given back before: this is money like any other now.
                        Err(Refused::HoldClosed) => {}
                        Err(refused) => return Err(refused),
                    }
                }
                let there = balance.available.checked_add(freed);
                let taken = amount.min(there.ok_or(Refused::AmountOutOfRange)?);
                let lost = amount.checked_sub(taken).ok_or(Refused::AmountOutOfRange)?;
                (journal.kind, journal.cash_in) = (Kind::Reversal, amount);
                journal.available = Rupiah(freed.0 - taken.0);
                journal.adjustment = lost.negated();
            }
            Action::Grant(amount) => {
                journal.promo = positive(amount)?;
                give(journal, amount);
            }
            Action::Cashback(amount) => {
                journal.available = positive(amount)?;
                give(journal, amount);
            }
            Action::Reward(amount) => {
                journal.withdrawable = positive(amount)?;
                give(journal, amount);
            }
            Action::Revoke {
                granted,
                cashback,
                reward,
            } => {
                if granted.min(cashback).min(reward) < Rupiah::ZERO {
                    return Err(Refused::AmountOutOfRange);
                }
                let promo = granted.min(balance.promo);
                let spent = granted.0 - promo.0;
                let cash = cashback.checked_add(Rupiah(spent));
                let cash = cash
                    .ok_or(Refused::AmountOutOfRange)?
                    .min(balance.available);
                let earned = reward.min(balance.withdrawable);
                journal.kind = Kind::PromotionRevoked;
                (journal.promo, journal.available) = (promo.negated(), cash.negated());
                journal.withdrawable = earned.negated();
                journal.promo_expense = Rupiah(promo.0 + cash.0 + earned.0);
            }
        }
        Ok(())
    }

    fn open_hold(&self, account: AccountId, hold: JournalId) -> Result<Hold, Refused> {
        let found = self
            .holds
            .get(&(account, hold))
            .ok_or(Refused::HoldNotFound)?;
        if found.closed {
            Err(Refused::HoldClosed)
        } else {
            Ok(*found)
        }
    }
}
