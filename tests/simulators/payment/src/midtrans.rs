//! Midtrans: Snap and the core's status. Quirks kept: amounts are texts with decimals, the code in the body rules whatever HTTP says, an order is unknown to the core
//! until its payer has chosen how to pay, and the signature does not cover the status.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::serving::{Callback, Place, broken_off, hex, now};
use crate::{Payment, Status};

/// The merchant's server key.
pub const SERVER_KEY: &str = "SB-Mid-server-simulated";
/// Its id.
pub const MERCHANT: &str = "G000000001";

#[derive(Debug, Default)]
struct Memory {
    payments: Vec<Payment>,
    lose_create_answers: u32,
}

/// A Midtrans of one's own.
#[derive(Debug)]
pub struct Midtrans {
    place: Place,
    memory: Arc<Mutex<Memory>>,
}

type Shared = State<Arc<Mutex<Memory>>>;

fn held(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Midtrans {
    /// Opens one.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn open() -> io::Result<Self> {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new()
            .route("/snap/v1/transactions", post(create))
            .route("/v2/{order}/status", get(status))
            .with_state(memory.clone());
        let place = Place::open(router).await?;
        Ok(Self { place, memory })
    }

    /// Where it is, to go down and come back.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What a merchant sets as URL of the core.
    pub fn core_url(&self) -> String {
        self.place.url()
    }

    /// What a merchant sets as URL of Snap.
    pub fn snap_url(&self) -> String {
        format!("{}/snap/v1", self.place.url())
    }

    /// So many creations are carried out and their answer is lost.
    pub fn lose_create_answers(&self, times: u32) {
        held(&self.memory).lose_create_answers = times;
    }

    /// Every payment, oldest first.
    pub fn payments(&self) -> Vec<Payment> {
        held(&self.memory).payments.clone()
    }

    /// What the merchant owes to its customers.
    pub fn owed(&self) -> i64 {
        self.payments().iter().map(Payment::owed).sum()
    }

    /// The payer, or the gateway, does something.
    ///
    /// # Panics
    /// If there is no such order.
    pub fn move_to(&self, order: &str, status: Status) {
        let mut memory = held(&self.memory);
        let mut payments = memory.payments.iter_mut();
        let found = payments.find(|p| p.merchant_ref == order);
        found.expect("an order").move_to(status, now());
    }

    /// As if all of an order had happened so many seconds earlier.
    ///
    /// # Panics
    /// If there is no such order.
    pub fn backdate(&self, order: &str, seconds: i64) {
        let mut memory = held(&self.memory);
        let mut payments = memory.payments.iter_mut();
        let found = payments.find(|p| p.merchant_ref == order);
        found.expect("an order").backdate(seconds);
    }

    /// A notification that says something, signed, whether it is true or not.
    ///
    /// # Panics
    /// If there is no such order.
    pub fn callback_saying(
        &self,
        order: &str,
        status: Status,
        change: impl FnOnce(&mut Value),
    ) -> Callback {
        let payments = self.payments();
        let found = payments.iter().find(|p| p.merchant_ref == order);
        let mut claimed = found.expect("an order").clone();
        claimed.status = status;
        let mut body = shown(&claimed);
        body["merchant_id"] = json!(MERCHANT);
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let message = [text("order_id"), text("status_code"), text("gross_amount")].concat();
        body["signature_key"] = json!(hex(&Sha512::digest(format!("{message}{SERVER_KEY}"))));
        change(&mut body);
        Callback {
            headers: Vec::new(),
            body: body.to_string().into(),
        }
    }
}

fn is_known(headers: &HeaderMap) -> bool {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{SERVER_KEY}:"));
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    given == Some(&format!("Basic {basic}"))
}

async fn create(State(memory): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let refusal = |status: StatusCode, message: &str| {
        (status, Json(json!({"error_messages": [message]}))).into_response()
    };
    if !is_known(&headers) {
        return refusal(StatusCode::UNAUTHORIZED, "Access denied");
    }
    let details = &body["transaction_details"];
    let order = details["order_id"].as_str().unwrap_or_default().to_owned();
    let amount = details["gross_amount"].as_i64().unwrap_or(0);
    let items = body["item_details"].as_array().cloned().unwrap_or_default();
    let sum: i64 = items
        .iter()
        .map(|i| i["price"].as_i64().unwrap_or(0) * i["quantity"].as_i64().unwrap_or(0))
        .sum();
    if order.is_empty() || order.len() > 50 || amount < 1 || sum != amount {
        return refusal(StatusCode::BAD_REQUEST, "transaction_details is not valid");
    }
    let mut memory = held(&memory);
    let is_used = |p: &Payment| p.merchant_ref == order && p.status != Status::Unpaid;
    if memory.payments.iter().any(is_used) {
        return refusal(StatusCode::BAD_REQUEST, "order_id has already been taken");
    }
    if !memory.payments.iter().any(|p| p.merchant_ref == order) {
        let url = headers.get("x-override-notification");
        let url = url.and_then(|v| v.to_str().ok()).unwrap_or_default();
        memory.payments.push(Payment {
            reference: format!("txn-{order}"),
            merchant_ref: order.clone(),
            asked: amount,
            fee: 0,
            merchant_fee: 0,
            created: now(),
            status: Status::Unpaid,
            paid: 0,
            callback_url: url.to_owned(),
            expires: now() + body["expiry"]["duration"].as_i64().unwrap_or(1440) * 60,
            paid_at: None,
        });
    }
    if memory.lose_create_answers > 0 {
        memory.lose_create_answers -= 1;
        return broken_off();
    }
    let page = format!("https://snap.example/{order}");
    let answer = json!({"token": order, "redirect_url": page});
    (StatusCode::CREATED, Json(answer)).into_response()
}

fn shown(p: &Payment) -> Value {
    let (code, status) = match p.status {
        Status::Unpaid => ("201", "pending"),
        Status::Paid => ("200", "settlement"),
        Status::Expired => ("407", "expire"),
        Status::Failed => ("202", "deny"),
        Status::Refunded => ("200", "refund"),
    };
    // In Jakarta, and without saying so.
    let settled = p
        .paid_at
        .and_then(|at| chrono::DateTime::from_timestamp(at + 7 * 3600, 0))
        .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string());
    json!({
        "status_code": code, "transaction_status": status, "settlement_time": settled, "transaction_id": p.reference, "order_id": p.merchant_ref,
        "gross_amount": format!("{}.00", p.asked), "payment_type": "bank_transfer", "currency": "IDR", "fraud_status": "accept",
        "status_message": "Success, transaction is found",
    })
}

async fn status(State(memory): Shared, headers: HeaderMap, Path(order): Path<String>) -> Response {
    if !is_known(&headers) {
        let denied = json!({"status_code": "401", "status_message": "Unknown Merchant server_key"});
        return Json(denied).into_response();
    }
    let memory = held(&memory);
    let chosen = |p: &&Payment| p.merchant_ref == order && p.status != Status::Unpaid;
    match memory.payments.iter().find(chosen) {
        Some(payment) => Json(shown(payment)).into_response(),
        None => {
            let missing =
                json!({"status_code": "404", "status_message": "Transaction doesn't exist."});
            Json(missing).into_response()
        }
    }
}
