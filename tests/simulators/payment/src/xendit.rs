//! Xendit: invoices. Quirks kept: `external_id` is not unique, amounts may have decimals, a list is a bare array with the newest first and ten of them unless more are asked for, and callbacks carry one token
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
    refunds: Vec<Refund>,
    hide_refunds: bool,
    lose_create_answers: u32,
}

#[derive(Clone, Debug)]
struct Refund {
    id: String,
    invoice: String,
    amount: i64,
    status: &'static str,
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
            .route("/refunds", get(refunds))
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
        let memory = held(&self.memory);
        let back = memory.refunds.iter().filter(|r| r.status == "SUCCEEDED");
        let back: i64 = back.map(|r| r.amount).sum();
        memory.payments.iter().map(Payment::owed).sum::<i64>() - back
    }

    /// The merchant's key may not read refunds, or may again.
    pub fn hide_refunds(&self, hide: bool) {
        held(&self.memory).hide_refunds = hide;
    }

    /// The merchant gives an amount back, which goes through or fails. The invoice stays as it is. Returns the callback about it.
    pub fn refund(&self, invoice: &str, amount: i64, succeeds: bool) -> Callback {
        let mut memory = held(&self.memory);
        let refund = Refund {
            id: format!("rfd-{:032x}", memory.refunds.len() + 1),
            invoice: invoice.to_owned(),
            amount,
            status: if succeeds { "SUCCEEDED" } else { "FAILED" },
        };
        let event = format!("refund.{}", refund.status.to_lowercase());
        let body = json!({"event": event, "business_id": USER, "created": "2026-05-03T12:00:00Z", "data": told(&refund)});
        memory.refunds.push(refund);
        Callback {
            headers: vec![("x-callback-token".to_owned(), CALLBACK_TOKEN.to_owned())],
            body: body.to_string().into(),
        }
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

    /// As if all of an invoice had happened so many seconds earlier.
    ///
    /// # Panics
    /// If there is no such invoice.
    pub fn backdate(&self, id: &str, seconds: i64) {
        let mut memory = held(&self.memory);
        let mut payments = memory.payments.iter_mut();
        let found = payments.find(|p| p.reference == id).expect("an invoice");
        found.backdate(seconds);
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
        shown["paid_at"] = json!(p.paid_at.and_then(spelled));
    }
    shown
}

fn spelled(seconds: i64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp(seconds, 0)?;
    Some(at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
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
        merchant_fee: 0,
        created: now(),
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

fn told(refund: &Refund) -> Value {
    json!({
        "id": refund.id, "invoice_id": refund.invoice, "payment_id": "py-1", "amount": refund.amount, "currency": "IDR", "status": refund.status,
        "reason": "CANCELLATION", "reference_id": null, "failure_code": null, "refund_fee_amount": null, "metadata": null,
    })
}

/// Two at a time, so that a list has pages.
async fn refunds(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let memory = held(&memory);
    if memory.hide_refunds {
        let refusal = json!({"error_code": "REQUEST_FORBIDDEN_ERROR", "message": "The API key is forbidden to perform this request"});
        return (StatusCode::FORBIDDEN, Json(refusal)).into_response();
    }
    let asked = |name: &str| {
        let found = query.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    };
    let of_invoice = memory.refunds.iter();
    let of_invoice = of_invoice.filter(|r| Some(r.invoice.as_str()) == asked("invoice_id"));
    let rest: Vec<&Refund> = of_invoice
        .skip_while(|r| asked("after_id").is_some_and(|after| r.id.as_str() <= after))
        .collect();
    let page: Vec<Value> = rest.iter().take(2).map(|r| told(r)).collect();
    Json(json!({"data": page, "has_more": rest.len() > 2})).into_response()
}

async fn list(
    State(memory): Shared,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Response {
    if let Some(refused) = refused(&headers) {
        return refused;
    }
    let value = |name: &str| {
        query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    let moment = |name: &str| {
        let at = value(name).and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
        at.map(|at| at.timestamp())
    };
    let (after, before) = (moment("paid_after"), moment("paid_before"));
    let limit = value("limit").and_then(|text| text.parse().ok());
    let memory = held(&memory);
    let mut newest_first = memory.payments.iter().rev();
    if let Some(last) = value("last_invoice") {
        newest_first.by_ref().find(|p| p.reference == last);
    }
    let found = newest_first
        .filter(|p| value("external_id").is_none_or(|wanted| p.merchant_ref == wanted))
        .filter(|p| after.is_none_or(|after| p.paid_at.is_some_and(|at| at > after)))
        .filter(|p| before.is_none_or(|before| p.paid_at.is_some_and(|at| at < before)));
    let found = found.take(limit.unwrap_or(10)).map(shown);
    Json(found.collect::<Value>()).into_response()
}
