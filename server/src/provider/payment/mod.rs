//! Payment gateways: where customers' money comes in.
//!
//! A gateway is somebody else's computer that says money arrived. Three rules make it safe: our own reference goes with every transaction, so that one whose creation
//! was never answered can be found; an error says whether the call may have had an effect; and nothing a callback says is believed, it only tells where to look.
//! Calls are never made while a transaction is open.

pub mod api;
pub mod bank;
pub mod json;
pub mod midtrans;
pub mod registry;
pub mod settings;
pub mod tripay;
mod tripay_list;
pub mod xendit;

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;

use crate::base::money::Rupiah;

/// A payment gateway. This is a trait because it stands for things outside the platform, of which there are several at run time, and none of which a test may call.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// What this gateway can do.
    fn capabilities(&self) -> Capabilities;

    /// Its channels, as this merchant has them.
    async fn channels(&self) -> Result<Vec<Channel>, GatewayError>;

    /// What the payer pays on top of an amount, by code of the channel; channels it says nothing about are missing.
    async fn fees(&self, amount: Rupiah) -> Result<HashMap<String, Rupiah>, GatewayError>;

    /// Opens a transaction. Only [`GatewayError::Unknown`] leaves open whether there is one now.
    async fn open(&self, wish: &Wish) -> Result<Transaction, GatewayError>;

    /// The transactions that carry our reference, oldest first. More than one means that something opened twice, and all of them can be paid.
    async fn find(&self, reference: &str) -> Result<Vec<Transaction>, GatewayError>;

    /// A transaction by the gateway's own reference; `None` if it has none of that name.
    async fn get(&self, gateway_ref: &str) -> Result<Option<Transaction>, GatewayError>;

    /// The transactions that were paid from one moment on and before another, in any order; those that were paid back since are among them. A gateway that gives no list
    /// refuses, and [`Capabilities::lists`] says so before.
    async fn paid_between(
        &self,
        _from: DateTime<Utc>,
        _until: DateTime<Utc>,
    ) -> Result<Vec<Transaction>, GatewayError> {
        Err(GatewayError::Rejected("it gives no list".to_owned()))
    }

    /// Reads a callback, if it is from this gateway and for this merchant as far as its own signature can tell. Compares in constant time.
    fn read_callback(&self, headers: &HeaderMap, body: &[u8]) -> Result<Notice, BadCallback>;

    /// The body that tells the gateway its callback was taken; it repeats one that was not.
    fn acknowledgement(&self) -> &'static str;
}

/// What a gateway can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Can be asked how a transaction stands. Where it cannot, staff confirm payments.
    pub answers: bool,
    /// Gives a list of what was paid in a span of time.
    pub lists: bool,
    /// How long a payer has, unless the channel says less.
    pub life: TimeDelta,
    /// How long a transaction whose creation was not answered may stay invisible to `find`. Until then its absence proves nothing.
    pub lookup_delay: TimeDelta,
}

/// What kind of way to pay a channel is. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum ChannelKind {
    /// Virtual account.
    VirtualAccount = 1,
    /// QRIS.
    QrCode = 2,
    /// E-wallet.
    EWallet = 3,
    /// Shop.
    RetailOutlet = 4,
    /// A page where the payer chooses.
    PaymentPage = 5,
    /// The operator's own bank account.
    BankTransfer = 6,
}

/// One way to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The gateway's code.
    pub code: String,
    /// Name, for people.
    pub name: String,
    /// What kind of way.
    pub kind: ChannelKind,
    /// Whether the gateway offers it now.
    pub active: bool,
    /// The least it takes.
    pub minimum: Option<Rupiah>,
    /// The most it takes.
    pub maximum: Option<Rupiah>,
    /// Flat part of what the payer pays on top.
    pub fee_flat: Option<Rupiah>,
    /// The rest of it in percent, as the gateway writes it.
    pub fee_percent: String,
}

/// A transaction to open.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Our own name for it.
    pub reference: String,
    /// What is to be credited.
    pub amount: Rupiah,
    /// Code of the channel.
    pub channel: String,
    /// Who pays.
    pub payer: Payer,
    /// The present time.
    pub now: DateTime<Utc>,
    /// Until when it should be payable.
    pub expires_at: DateTime<Utc>,
    /// Where the gateway is to send its callbacks; `None` leaves that to what its dashboard says.
    pub callback_url: Option<String>,
}

/// Who pays, as gateways want to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payer {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// Phone number, empty if unknown.
    pub phone: String,
}

/// A transaction as the gateway shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The gateway's own reference.
    pub gateway_ref: String,
    /// Our reference, as the gateway repeats it.
    pub reference: String,
    /// How it stands.
    pub state: TransactionState,
    /// What the payer has to pay, or has paid.
    pub total: Rupiah,
    /// What of it the gateway has paid back.
    pub refunded: Rupiah,
    /// When it was paid, if the gateway says so.
    pub paid_at: Option<DateTime<Utc>>,
    /// What the gateway keeps of our money for its service, if it says so. What the payer pays on top is not in it.
    pub gateway_fee: Option<Rupiah>,
    /// How to pay.
    pub terms: Terms,
}

/// How a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// Waits for the payer.
    Unpaid,
    /// Paid; money taken back is in `refunded`.
    Paid,
    /// Not paid in time.
    Expired,
    /// Will never be paid.
    Failed,
}

/// How to pay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What of the total is the payer's fee.
    pub fee: Rupiah,
    /// Virtual account, bank account or shop code.
    pub pay_code: String,
    /// A page to pay at.
    pub pay_url: String,
    /// Content of a QR code.
    pub qr_string: String,
    /// Step by step.
    pub instructions: Vec<Instruction>,
    /// Until when, if the gateway says so.
    pub expires_at: Option<DateTime<Utc>>,
}

/// One way of paying, step by step, in plain text.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Instruction {
    /// What it is called.
    pub title: String,
    /// The steps.
    pub steps: Vec<String>,
}

/// What a callback says. It is a hint where to look and nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The gateway's reference.
    pub gateway_ref: String,
    /// Our reference; empty if it says none.
    pub reference: String,
    /// Whether it says that money came.
    pub paid: bool,
    /// How much it says.
    pub amount: Option<Rupiah>,
}

/// Why a callback is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCallback {
    /// The signature or token is missing or wrong.
    #[error("the signature is wrong")]
    Forged,
    /// It is signed, and nothing that can be read.
    #[error("the body cannot be read")]
    Malformed,
    /// It is signed, and about another merchant.
    #[error("it is for another merchant")]
    WrongMerchant {
        /// The reference it names.
        reference: String,
    },
}

/// Why a gateway did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It said no, and will say no again. Nothing happened.
    #[error("rejected: {0}")]
    Rejected(String),
    /// It does not know us: wrong keys, or an address that is not allowed. Nothing happened.
    #[error("denied: {0}")]
    Denied(String),
    /// It could not be reached, or had no time. Nothing happened.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// It may have done it.
    #[error("no answer that can be trusted: {0}")]
    Unknown(String),
}

impl GatewayError {
    /// Whether the gateway is to blame, and not what it was asked.
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Rejected(_))
    }
}
