//! Tripay. Quirks kept: `percent` is a text in one place and a number in another, fees may be null, lists write `pay_code` as a number and `paid_at` as a text,
//! refusals come with status 400 and `success: false`, and a sender stops after three tries.

mod answers;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::serving::{Answer, Callback, Place, hex, now};
use crate::{Payment, Status};

/// The merchant's keys.
pub const MERCHANT: &str = "T0001";
/// Its API key.
pub const API_KEY: &str = "DEV-simulated-api-key";
/// Its private key.
pub const PRIVATE_KEY: &str = "simulated-private-key";

/// How to misbehave. All off at first.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// So many creations are carried out and their answer is lost.
    pub lose_create_answers: u32,
    /// So many creations are refused with a text.
    pub refuse_creates: u32,
    /// So many calls of any kind fail with status 500, without effect.
    pub fail: u32,
    /// A second transaction with the same `merchant_ref` is refused.
    pub refuse_repeated_reference: bool,
    /// The payer bears the fee.
    pub fee_on_payer: bool,
    /// Channels that are switched off.
    pub closed_channels: Vec<String>,
    /// Calls come from an address that is not on the list.
    pub unknown_address: bool,
    /// The gateway's clock is so many seconds ahead of everybody else's.
    pub clock_ahead: i64,
}

#[derive(Debug, Default)]
struct Memory {
    payments: Vec<(Payment, String)>,
    switches: Switches,
    creations: u32,
    looks: u32,
}

/// A Tripay of one's own.
#[derive(Debug)]
pub struct Tripay {
    place: Place,
    memory: Arc<Mutex<Memory>>,
}

impl Memory {
    /// What the gateway takes for the present, Unix seconds.
    fn now(&self) -> i64 {
        now() + self.switches.clock_ahead
    }
}

type Shared = State<Arc<Mutex<Memory>>>;

/// Code, name, group, flat fee, fee in percent, least and most.
const CHANNELS: [(&str, &str, &str, i64, &str, i64, i64); 5] = [
    (
        "BRIVA",
        "BRI Virtual Account",
        "Virtual Account",
        4250,
        "0.00",
        10_000,
        10_000_000,
    ),
    (
        "BCAVA",
        "BCA Virtual Account",
        "Virtual Account",
        5500,
        "0.00",
        10_000,
        10_000_000,
    ),
    (
        "ALFAMIDI",
        "Alfamidi",
        "Convenience Store",
        3500,
        "0.00",
        5000,
        2_500_000,
    ),
    ("QRIS2", "QRIS", "E-Wallet", 750, "0.70", 1000, 5_000_000),
    ("OVO", "OVO", "E-Wallet", 0, "3.00", 1000, 10_000_000),
];

/// The fee for an amount: percent of it, rounded up, and the flat part.
fn fee(channel: &str, amount: i64) -> i64 {
    let found = CHANNELS.iter().find(|c| c.0 == channel);
    found.map_or(0, |c| {
        let hundredths: i64 = c.4.replace('.', "").parse().unwrap_or(0);
        c.3 + (amount * hundredths + 9999) / 10_000
    })
}

fn sign(message: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(PRIVATE_KEY.as_bytes()).expect("a key of any length");
    mac.update(message);
    hex(&mac.finalize().into_bytes())
}

fn held(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tripay {
    /// Opens one.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn open() -> io::Result<Self> {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new()
            .route("/api/merchant/payment-channel", get(answers::channels))
            .route("/api/merchant/fee-calculator", get(answers::fees))
            .route("/api/merchant/transactions", get(answers::list))
            .route("/api/payment/instruction", get(answers::instruction))
            .route("/api/transaction/create", post(answers::create))
            .route("/api/transaction/detail", get(answers::detail))
            .with_state(memory.clone());
        let place = Place::open(router).await?;
        Ok(Self { place, memory })
    }

    /// Where it is, to go down and come back.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What a merchant sets as base URL.
    pub fn base_url(&self) -> String {
        format!("{}/api", self.place.url())
    }

    /// Misbehaves from now on as the closure says.
    pub fn switch(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut held(&self.memory).switches);
    }

    /// Every payment, oldest first.
    pub fn payments(&self) -> Vec<Payment> {
        let memory = held(&self.memory);
        memory.payments.iter().map(|(p, _)| p.clone()).collect()
    }

    /// Transactions asked for so far, also those that were refused.
    pub fn creations(&self) -> u32 {
        held(&self.memory).creations
    }

    /// How often details or lists were asked for.
    pub fn looks(&self) -> u32 {
        held(&self.memory).looks
    }

    /// What the merchant owes to its customers.
    pub fn owed(&self) -> i64 {
        self.payments().iter().map(Payment::owed).sum()
    }

    /// The payer, or the gateway, does something.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn move_to(&self, reference: &str, status: Status) {
        let now = held(&self.memory).now();
        self.change(reference, |p| p.move_to(status, now));
    }

    /// The payment is paid, with an amount of the payer's own.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn pay(&self, reference: &str, amount: i64, late_seconds: i64) {
        let now = held(&self.memory).now();
        self.change(reference, |p| {
            p.paid = amount;
            let when = if late_seconds > 0 {
                p.expires + late_seconds
            } else {
                now
            };
            p.move_to(Status::Paid, when);
        });
    }

    /// As if all of a payment had happened so many seconds earlier.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn backdate(&self, reference: &str, seconds: i64) {
        self.change(reference, |p| p.backdate(seconds));
    }

    /// The gateway no longer knows a payment.
    pub fn forget(&self, reference: &str) {
        let mut memory = held(&self.memory);
        memory.payments.retain(|(p, _)| p.reference != reference);
    }

    /// Payments that others made through the gateway long ago, so that lists have pages.
    pub fn remember_others(&self, count: usize) {
        let mut memory = held(&self.memory);
        let long_ago = now() - 30 * 86_400;
        let other = |number: usize| Payment {
            reference: format!("DEV-T0001-OTHER-{number}"),
            merchant_ref: format!("other-{number}"),
            asked: 10_000,
            fee: 0,
            merchant_fee: 0,
            status: Status::Paid,
            paid: 10_000,
            callback_url: String::new(),
            created: long_ago,
            expires: long_ago + 86_400,
            paid_at: Some(long_ago),
        };
        let others = (0..count).map(|number| (other(number), "BRIVA".to_owned()));
        memory.payments.splice(0..0, others);
    }

    fn change(&self, reference: &str, change: impl FnOnce(&mut Payment)) {
        let mut memory = held(&self.memory);
        let mut payments = memory.payments.iter_mut();
        let (found, _) = payments
            .find(|(p, _)| p.reference == reference)
            .expect("a payment of this gateway");
        change(found);
    }

    /// A second transaction under the reference of a merchant, as a merchant makes one who asks twice.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn open_again(&self, reference: &str) -> String {
        let mut memory = held(&self.memory);
        let found = memory
            .payments
            .iter()
            .find(|(p, _)| p.reference == reference);
        let (mut copy, method) = found.cloned().expect("a payment of this gateway");
        copy.reference = format!("DEV-T0001{:010}", memory.payments.len() + 1);
        copy.status = Status::Unpaid;
        let reference = copy.reference.clone();
        memory.payments.push((copy, method));
        reference
    }

    /// The callback the gateway sends about how a payment stands.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn callback(&self, reference: &str) -> Callback {
        let payments = self.payments();
        let payment = payments.iter().find(|p| p.reference == reference);
        let status = payment.expect("a payment of this gateway").status;
        self.callback_saying(reference, status, |_| {})
    }

    /// A callback that says something, signed, whether it is true or not.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn callback_saying(
        &self,
        reference: &str,
        status: Status,
        change: impl FnOnce(&mut Value),
    ) -> Callback {
        let memory = held(&self.memory);
        let found = memory
            .payments
            .iter()
            .find(|(p, _)| p.reference == reference);
        let (payment, method) = found.expect("a payment of this gateway");
        let mut body = json!({
            "reference": payment.reference,
            "merchant_ref": payment.merchant_ref,
            "payment_method": "Simulated",
            "payment_method_code": method,
            "total_amount": payment.asked + payment.fee,
            "fee_merchant": payment.merchant_fee,
            "fee_customer": payment.fee,
            "total_fee": payment.fee + payment.merchant_fee,
            "amount_received": payment.asked - payment.merchant_fee,
            "is_closed_payment": 1,
            "status": spelled(status),
            "paid_at": payment.paid_at,
            "note": null,
        });
        change(&mut body);
        signed(body.to_string().into())
    }

    /// Sends the callback about how a payment stands, three times at most until it is taken. `None` if it never was.
    pub async fn call_back(&self, reference: &str, url: &str) -> Option<Answer> {
        let callback = self.callback(reference);
        for _ in 0..3 {
            if let Ok(answer) = callback.send(url).await
                && answer.body == r#"{"success":true}"#
            {
                return Some(answer);
            }
        }
        None
    }
}

/// A callback with a right signature over any body.
pub fn signed(body: Bytes) -> Callback {
    Callback {
        headers: vec![
            ("x-callback-event".to_owned(), "payment_status".to_owned()),
            ("x-callback-signature".to_owned(), sign(&body)),
        ],
        body,
    }
}

fn spelled(status: Status) -> &'static str {
    match status {
        Status::Unpaid => "UNPAID",
        Status::Paid => "PAID",
        Status::Expired => "EXPIRED",
        Status::Failed => "FAILED",
        Status::Refunded => "REFUND",
    }
}
