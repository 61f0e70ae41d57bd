//! Tripay. Quirks kept: `percent` is a text in one place and a number in another, fees may be null, lists write `pay_code` as a number and `paid_at` as a text,
//! refusals come with status 400 and `success: false`, and a sender stops after three tries.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::serving::{Answer, Callback, Place, broken_off, hex, now};
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

type Shared = State<Arc<Mutex<Memory>>>;

/// Code, name, group, flat fee, fee in percent, least and most.
const CHANNELS: [(&str, &str, &str, i64, &str, i64, i64); 5] = [
    ("BRIVA", "BRI Virtual Account", "Virtual Account", 4250, "0.00", 10_000, 10_000_000),
    ("BCAVA", "BCA Virtual Account", "Virtual Account", 5500, "0.00", 10_000, 10_000_000),
    ("ALFAMIDI", "Alfamidi", "Convenience Store", 3500, "0.00", 5000, 2_500_000),
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
            .route("/api/merchant/payment-channel", get(channels))
            .route("/api/merchant/fee-calculator", get(fees))
            .route("/api/merchant/transactions", get(list))
            .route("/api/payment/instruction", get(instruction))
            .route("/api/transaction/create", post(create))
            .route("/api/transaction/detail", get(detail))
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
        self.change(reference, |p| p.move_to(status, now()));
    }

    /// The payment is paid, with an amount of the payer's own.
    ///
    /// # Panics
    /// If there is no such payment.
    pub fn pay(&self, reference: &str, amount: i64, late_seconds: i64) {
        self.change(reference, |p| {
            p.paid = amount;
            let when = if late_seconds > 0 { p.expires + late_seconds } else { now() };
            p.move_to(Status::Paid, when);
        });
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
        let found = memory.payments.iter().find(|(p, _)| p.reference == reference);
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
        let found = memory.payments.iter().find(|(p, _)| p.reference == reference);
        let (payment, method) = found.expect("a payment of this gateway");
        let mut body = json!({
            "reference": payment.reference,
            "merchant_ref": payment.merchant_ref,
            "payment_method": "Simulated",
            "payment_method_code": method,
            "total_amount": payment.asked + payment.fee,
            "fee_merchant": 0,
            "fee_customer": payment.fee,
            "total_fee": payment.fee,
            "amount_received": payment.asked,
            "is_closed_payment": 1,
            "status": spelled(status),
            "paid_at": payment.paid_at,
            "note": null,
        });
        change(&mut body);
        signed(body.to_string().into())
    }

    /// Sends the callback about how a payment stands to the URL its merchant gave, three times at most until it is taken.
    pub async fn call_back(&self, reference: &str) -> Option<Answer> {
        let callback = self.callback(reference);
        let payments = self.payments();
        let url = &payments.iter().find(|p| p.reference == reference)?.callback_url;
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

fn ok(data: Value) -> Response {
    Json(json!({"success": true, "message": "Success", "data": data})).into_response()
}

fn refusal(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"success": false, "message": message}))).into_response()
}

/// What stands before every answer.
fn door(memory: &mut Memory, headers: &HeaderMap) -> Option<Response> {
    let bearer = headers.get("authorization").and_then(|v| v.to_str().ok());
    if memory.switches.unknown_address {
        let message = "Unauthorized IP (192.0.2.1). Please add this IP to your merchant Whitelist IP (T0001)";
        return Some(refusal(StatusCode::FORBIDDEN, message));
    }
    if bearer != Some(&format!("Bearer {API_KEY}")) {
        return Some(refusal(StatusCode::UNAUTHORIZED, "Invalid API Key"));
    }
    if memory.switches.fail > 0 {
        memory.switches.fail -= 1;
        return Some((StatusCode::INTERNAL_SERVER_ERROR, "<html>oops</html>").into_response());
    }
    None
}

async fn channels(State(memory): Shared, headers: HeaderMap) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    let switches = &memory.switches;
    let channel = |(code, name, group, flat, percent, least, most): (_, _, _, _, _, _, _)| {
        let fee = json!({"flat": flat, "percent": percent});
        let none = json!({"flat": 0, "percent": 0});
        let (payer, merchant) = if switches.fee_on_payer { (fee.clone(), none) } else { (none, fee.clone()) };
        let code: &str = code;
        let (name, group): (&str, &str) = (name, group);
        let (least, most): (i64, i64) = (least, most);
        json!({
            "group": group, "code": code, "name": name, "type": "direct", "fee_merchant": merchant, "fee_customer": payer, "total_fee": fee,
            "minimum_fee": null, "maximum_fee": null, "minimum_amount": least, "maximum_amount": most, "icon_url": "",
            "active": !switches.closed_channels.iter().any(|closed| closed == code),
        })
    };
    ok(CHANNELS.into_iter().map(channel).collect())
}

async fn fees(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    let Some(amount) = value(&query, "amount").and_then(|a| a.parse::<i64>().ok()) else {
        return refusal(StatusCode::BAD_REQUEST, "Amount is required");
    };
    let on_payer = memory.switches.fee_on_payer;
    let calculated = CHANNELS.iter().map(|c| {
        let fee = fee(c.0, amount);
        let (merchant, payer) = if on_payer { (0, fee) } else { (fee, 0) };
        json!({"code": c.0, "name": c.1, "fee": {"flat": c.3, "percent": c.4, "min": null, "max": null}, "total_fee": {"merchant": merchant, "customer": payer}})
    });
    ok(calculated.collect())
}

async fn instruction(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if let Some(refused) = door(&mut held(&memory), &headers) {
        return refused;
    }
    match value(&query, "code") {
        Some(_) => ok(steps()),
        None => refusal(StatusCode::BAD_REQUEST, "Code is required"),
    }
}

fn steps() -> Value {
    json!([{"title": "Internet Banking", "steps": ["Login ke <b>internet banking</b>", "Masukkan <b>{{pay_code}}</b> dan <script>x</script>bayar"]}])
}

async fn create(State(memory): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    memory.creations += 1;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (method, merchant_ref) = (text("method"), text("merchant_ref"));
    let amount = body["amount"].as_i64().unwrap_or(0);
    let items = body["order_items"].as_array().cloned().unwrap_or_default();
    let sum = items.iter().map(|item| {
        item["price"].as_i64().unwrap_or(0) * item["quantity"].as_i64().unwrap_or(0)
    });
    let channel = CHANNELS.iter().find(|c| c.0 == method);
    let message = if memory.switches.refuse_creates > 0 {
        memory.switches.refuse_creates -= 1;
        "Internal channel error"
    } else if text("signature") != sign(format!("{MERCHANT}{merchant_ref}{amount}").as_bytes()) {
        "Invalid signature"
    } else if channel.is_none_or(|c| !(c.5..=c.6).contains(&amount)) {
        "Invalid method or amount"
    } else if sum.sum::<i64>() != amount {
        "Total order items do not match the amount"
    } else if text("customer_name").is_empty() || !text("customer_email").contains('@') {
        "Customer is required"
    } else if memory.switches.refuse_repeated_reference
        && memory.payments.iter().any(|(p, _)| p.merchant_ref == merchant_ref)
    {
        "Duplicate merchant ref"
    } else {
        ""
    };
    if !message.is_empty() {
        return refusal(StatusCode::BAD_REQUEST, message);
    }
    let on_payer = memory.switches.fee_on_payer;
    let payment = Payment {
        reference: format!("DEV-T0001{:010}", memory.payments.len() + 1),
        merchant_ref,
        asked: amount,
        fee: if on_payer { fee(&method, amount) } else { 0 },
        status: Status::Unpaid,
        paid: 0,
        callback_url: text("callback_url"),
        expires: body["expired_time"].as_i64().unwrap_or(now() + 86_400),
        paid_at: None,
    };
    let data = shown(&payment, &method);
    memory.payments.push((payment, method));
    if memory.switches.lose_create_answers > 0 {
        memory.switches.lose_create_answers -= 1;
        return broken_off();
    }
    ok(data)
}

fn shown(p: &Payment, method: &str) -> Value {
    let total = if p.paid > 0 { p.paid } else { p.asked + p.fee };
    let qr = if method.starts_with("QRIS") { format!("00020101{}", p.reference) } else { String::new() };
    json!({
        "reference": p.reference, "merchant_ref": p.merchant_ref, "payment_selection_type": "static", "payment_method": method, "payment_name": method,
        "customer_name": "", "customer_email": "", "customer_phone": null, "callback_url": p.callback_url, "return_url": null, "amount": total,
        "fee_merchant": 0, "fee_customer": p.fee, "total_fee": p.fee, "amount_received": p.asked,
        "pay_code": if qr.is_empty() { Value::from(format!("8808{:08}", p.reference.len())) } else { Value::Null },
        "pay_url": null, "checkout_url": format!("https://tripay.example/checkout/{}", p.reference), "status": spelled(p.status),
        "expired_time": p.expires, "paid_at": p.paid_at.map(|at| at.to_string()), "order_items": [],
        "instructions": steps(), "qr_string": if qr.is_empty() { Value::Null } else { qr.into() }, "qr_url": null,
    })
}

async fn detail(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    memory.looks += 1;
    let wanted = value(&query, "reference").unwrap_or_default();
    match memory.payments.iter().find(|(p, _)| p.reference == wanted) {
        Some((payment, method)) => ok(shown(payment, method)),
        None => refusal(StatusCode::BAD_REQUEST, "Transaction not found"),
    }
}

async fn list(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    memory.looks += 1;
    let wanted = value(&query, "merchant_ref").unwrap_or_default();
    let entry = |(p, method): &(Payment, String)| {
        let mut entry = shown(p, method);
        entry["pay_code"] = json!(8_808_000_011_i64);
        entry["paid_at"] = json!(p.paid_at);
        entry["expired_at"] = json!(p.expires);
        for missing in ["expired_time", "instructions", "qr_string", "qr_url"] {
            entry.as_object_mut().map(|fields| fields.remove(missing));
        }
        entry
    };
    let entries: Vec<Value> = memory
        .payments
        .iter()
        .filter(|(p, _)| wanted.is_empty() || p.merchant_ref == wanted)
        .map(entry)
        .collect();
    let pagination = json!({"sort": "asc", "current_page": 1, "last_page": 1, "per_page": 50, "total_records": entries.len()});
    let answer = json!({"success": true, "message": "Success", "data": entries, "pagination": pagination});
    Json(answer).into_response()
}

fn value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}
