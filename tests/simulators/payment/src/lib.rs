//! Payment gateways as real HTTP servers: each speaks one vendor's dialect with its quirks, remembers what was asked of it, and can be told to misbehave.
//!
//! A test plays the payer and the gateway's operator: it pays, lets expire and refunds, and decides which callbacks are sent, how often, in which order and with
//! what in them. What a simulator says when it is asked is always the truth; what it sends need not be.

pub mod midtrans;
pub mod serving;
pub mod tripay;
pub mod xendit;

pub use serving::{Answer, Callback, Place};

/// How a payment stands at a gateway. One spelling for all; each dialect has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for the payer.
    Unpaid,
    /// Paid.
    Paid,
    /// Not paid in time.
    Expired,
    /// Will never be paid.
    Failed,
    /// Paid, and paid back in full.
    Refunded,
}

/// A payment that somebody opened.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The gateway's reference.
    pub reference: String,
    /// The merchant's reference.
    pub merchant_ref: String,
    /// What the merchant asked for.
    pub asked: i64,
    /// What the payer pays on top.
    pub fee: i64,
    /// What the gateway keeps of the merchant's money for its service; 0 where it does not say.
    pub merchant_fee: i64,
    /// How it stands.
    pub status: Status,
    /// What the payer really paid.
    pub paid: i64,
    /// Where its callbacks go; empty if the merchant did not say.
    pub callback_url: String,
    /// When it was opened, Unix seconds.
    pub created: i64,
    /// Until when it can be paid, Unix seconds.
    pub expires: i64,
    /// When it was paid, Unix seconds.
    pub paid_at: Option<i64>,
}

impl Payment {
    /// What of it a merchant owes to the one who paid: what was paid without the fee, if it was not paid back.
    pub fn owed(&self) -> i64 {
        match self.status {
            Status::Paid => (self.paid - self.fee).max(0),
            _ => 0,
        }
    }

    /// As if all of it had happened so many seconds earlier.
    pub(crate) fn backdate(&mut self, seconds: i64) {
        self.created -= seconds;
        self.expires -= seconds;
        self.paid_at = self.paid_at.map(|at| at - seconds);
    }

    pub(crate) fn move_to(&mut self, status: Status, now: i64) {
        if status == Status::Paid {
            self.paid_at = Some(now);
            if self.paid == 0 {
                self.paid = self.asked + self.fee;
            }
        }
        self.status = status;
    }
}
