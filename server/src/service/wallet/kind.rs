//! The kinds of journals.

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
    /// Something a promotion gave.
    Promotion = 9,
    /// Something a promotion gave and that is taken back.
    PromotionRevoked = 10,
}
