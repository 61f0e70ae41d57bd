//! Money on its way in: the rules of deposits. Pure.

use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;

/// How far a deposit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepositState {
    /// Waiting for the payer.
    Pending,
    /// Credited.
    Paid,
    /// Not paid in time.
    Expired,
    /// Refused by the gateway.
    Failed,
}

impl DepositState {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Paid => "PAID",
            Self::Expired => "EXPIRED",
            Self::Failed => "FAILED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Paid, Self::Expired, Self::Failed]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// Money on its way in.
#[derive(Clone, Debug)]
pub struct Deposit {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: DepositId,
    /// What will be credited.
    pub amount: Rupiah,
    /// `sewa.wallet.v1.Deposit.Method`.
    pub method: i16,
    /// How far it is.
    pub state: DepositState,
    /// The caller's own reference.
    pub client_reference: Option<String>,
    /// When it was opened.
    pub created_at: chrono::DateTime<chrono::Utc>,
    /// Until when it can be paid.
    pub expires_at: chrono::DateTime<chrono::Utc>,
    /// When it reached a final state.
    pub closed_at: Option<chrono::DateTime<chrono::Utc>>,
}
