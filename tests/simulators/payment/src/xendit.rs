//! Xendit: invoices. Quirks kept: `external_id` is not unique, amounts may have decimals, a list is a bare array with the newest first, and callbacks carry one token
//! that is bound to nothing.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use serde_json::{Value, json};

use crate::serving::{Callback, Place, broken_off, now};
use crate::{Payment, Status};

/// The merchant's secret key.
pub const SECRET_KEY: &str = "xnd_development_simulated";
/// The token its callbacks carry.
pub const CALLBACK_TOKEN: &str = "simulated-callback-token";
/// Its business id.
pub const USER: &str = "5f0000000000000000000001";

#[derive(Debug, Default)]
struct Memory {
    payments: Vec<Payment>,
    lose_create_answers: u32,
}

/// A Xendit of one's own.
#[derive(Debug)]
pub struct Xendit {
    place: Place,
    memory: Arc<Mutex<Memory>>,
}

type Shared = State<Arc<Mutex<Memory>>>;

fn held(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Xendit {
    /// Opens one.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn open() -> io::Result<Self> {
        let memory = Arc::new(Mutex::new(Memory::default()));
        let router = Router::new()
            .route("/v2/invoices", get(list).post(create))
            .route("/v2/invoices/{id}", get(invoice))
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
        self.place.url()
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

    /// The payer pays an amount.
    ///
    /// # Panics
    /// If there is no such invoice.
    pub fn pay(&self, id: &str, amount: i64) {
        let mut memory = held(&self.memory);
        let mut payments = memory.payments.iter_mut();
        let found = payments.find(|p| p.reference == id).expect("an invoice");
        found.paid = amount;
        found.move_to(Status::Paid, now());
    }

    /// A callback that says something, with the token, whether it is true or not.
    ///
    /// # Panics
    /// If there is no such invoice.
    pub fn callback_saying(
        &self,
        id: &str,
        status: Status,
        change: impl FnOnce(&mut Value),
    ) -> Callback {
        let payments = self.payments();
        let found = payments.iter().find(|p| p.reference == id);
        let mut claimed = found.expect("an invoice").clone();
        claimed.status = status;
        let mut body = shown(&claimed);
        change(&mut body);
        Callback {
            headers: vec![("x-callback-token".to_owned(), CALLBACK_TOKEN.to_owned())],
            body: body.to_string().into(),
        }
    }
}

fn shown(p: &Payment) -> Value {
    let status = match p.status {
        Status::Unpaid => "PENDING",
        Status::Paid | Status::Refunded => "PAID",
        Status::Expired | Status::Failed => "EXPIRED",
    };
    let mut shown = json!({
        "id": p.reference, "external_id": p.merchant_ref, "user_id": USER, "status": status, "merchant_name": "Simulated", "amount": p.asked,
        "invoice_url": format!("https://xendit.example/{}", p.reference), "currency": "IDR",
    });
    if status == "PAID" {
        shown["paid_amount"] = json!(p.paid);
    }
    shown
}

fn refused(headers: &HeaderMap) -> Option<Response> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{SECRET_KEY}:"));
    let given = headers.get("authorization").and_then(|v| v.to_str().ok());
    (given != Some(&format!("Basic {basic}"))).then(|| {
        let refusal = json!({"error_code": "INVALID_API_KEY", "message": "API key is not valid"});
        (StatusCode::UNAUTHORIZED, Json(refusal)).into_response()
    })
}

async fn create(State(memory): Shared, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let external = body["external_id"].as_str().unwrap_or_default().to_owned();
    let amount = body["amount"].as_i64().unwrap_or(0);
    if external.is_empty() || amount < 1 {
        let refusal = json!({"error_code": "API_VALIDATION_ERROR", "message": "There was an error with the format submitted"});
        return (StatusCode::BAD_REQUEST, Json(refusal)).into_response();
    }
    let mut memory = held(&memory);
    let payment = Payment {
        reference: format!("64{:022x}", memory.payments.len() + 1),
        merchant_ref: external,
        asked: amount,
        fee: 0,
        status: Status::Unpaid,
        paid: 0,
        callback_url: String::new(),
        expires: now() + body["invoice_duration"].as_i64().unwrap_or(86_400),
        paid_at: None,
    };
    let data = shown(&payment);
    memory.payments.push(payment);
    if memory.lose_create_answers > 0 {
        memory.lose_create_answers -= 1;
        return broken_off();
    }
    Json(data).into_response()
}

async fn invoice(State(memory): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    match held(&memory).payments.iter().find(|p| p.reference == id) {
        Some(payment) => Json(shown(payment)).into_response(),
        None => {
            let missing = json!({"error_code": "INVOICE_NOT_FOUND_ERROR", "message": "Could not find invoice"});
            (StatusCode::NOT_FOUND, Json(missing)).into_response()
        }
    }
}

async fn list(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let wanted = query.iter().find(|(name, _)| name == "external_id");
    let wanted = wanted.map(|(_, value)| value.as_str()).unwrap_or_default();
    let memory = held(&memory);
    let found = memory.payments.iter().rev();
    let found = found.filter(|p| p.merchant_ref == wanted).map(shown);
    Json(found.collect::<Value>()).into_response()
}
