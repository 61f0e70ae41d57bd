//! Money on its way in: what a deposit is.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::wallet::v1::deposit::Method;

use crate::base::id::{AccountId, DepositId, JournalId, OrderId};
use crate::base::money::Rupiah;
use crate::provider::payment::{Instruction, Transaction, TransactionState};

/// How far a deposit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepositState {
    /// The gateway was asked and has not answered yet.
    Preparing,
    /// Waiting for the payer.
    Pending,
    /// Credited.
    Paid,
    /// Not paid in time.
    Expired,
    /// Refused by the gateway.
    Failed,
    /// Credited, and taken back in full.
    Reversed,
}

impl DepositState {
    const ALL: [Self; 6] = [
        Self::Preparing,
        Self::Pending,
        Self::Paid,
        Self::Expired,
        Self::Failed,
        Self::Reversed,
    ];

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "PREPARING",
            Self::Pending => "PENDING",
            Self::Paid => "PAID",
            Self::Expired => "EXPIRED",
            Self::Failed => "FAILED",
            Self::Reversed => "REVERSED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// Whether nothing has come yet and something still may.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Preparing | Self::Pending)
    }
}

/// Money on its way in.
#[derive(Clone, Debug)]
pub struct Deposit {
    /// The account.
    pub account: AccountId,
    /// Identifier; its text is our reference at the gateway.
    pub id: DepositId,
    /// What will be credited.
    pub amount: Rupiah,
    /// `sewa.wallet.v1.Deposit.Method`.
    pub method: i16,
    /// Code of the channel; empty in the sandbox.
    pub channel: String,
    /// How far it is.
    pub state: DepositState,
    /// The caller's own reference.
    pub client_reference: Option<String>,
    /// The order it pays for.
    pub order: Option<OrderId>,
    /// The journal that received its money and held it for that order.
    pub hold: Option<JournalId>,
    /// What the payer has to pay, once the gateway has said so.
    pub payable: Option<Rupiah>,
    /// What of it is the payer's fee.
    pub fee: Option<Rupiah>,
    /// The gateway's own reference; empty until it has given one.
    pub gateway_ref: String,
    /// A page to pay at.
    pub pay_url: String,
    /// Virtual account, bank account or shop code.
    pub pay_code: String,
    /// Content of a QR code.
    pub qr_string: String,
    /// Step by step.
    pub instructions: Vec<Instruction>,
    /// Why it failed.
    pub failure: String,
    /// Grows with each change.
    pub revision: i64,
    /// When the gateway was last asked to open it.
    pub asked_at: Option<DateTime<Utc>>,
    /// When to ask the gateway next; `None` for never again.
    pub next_look_at: Option<DateTime<Utc>>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// Until when it can be paid.
    pub expires_at: DateTime<Utc>,
    /// When it was no longer open.
    pub closed_at: Option<DateTime<Utc>>,
}

impl Deposit {
    /// Its method in the contract.
    pub fn method(&self) -> Method {
        Method::try_from(i32::from(self.method)).unwrap_or_default()
    }

    /// Takes over how to pay, as the gateway says it.
    pub fn adopt(&mut self, transaction: &Transaction) {
        let terms = transaction.terms.clone();
        self.gateway_ref.clone_from(&transaction.gateway_ref);
        // One that is paid already shows what came, which need not be what was asked.
        self.payable = match transaction.state {
            TransactionState::Paid => self.amount.checked_add(terms.fee),
            _ => Some(transaction.total),
        };
        self.fee = Some(terms.fee);
        self.pay_url = terms.pay_url;
        self.pay_code = terms.pay_code;
        self.qr_string = terms.qr_string;
        self.instructions = terms.instructions;
        self.expires_at = terms.expires_at.unwrap_or(self.expires_at);
    }
}
