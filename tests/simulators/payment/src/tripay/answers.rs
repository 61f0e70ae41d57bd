//! What Tripay says when it is asked: the truth, in its own spelling.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{API_KEY, CHANNELS, MERCHANT, Memory, Shared, fee, held, sign, spelled};
use crate::serving::broken_off;
use crate::{Payment, Status};

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
        let message =
            "Unauthorized IP (192.0.2.1). Please add this IP to your merchant Whitelist IP (T0001)";
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

pub(super) async fn channels(State(memory): Shared, headers: HeaderMap) -> Response {
    let mut memory = held(&memory);
    if let Some(refused) = door(&mut memory, &headers) {
        return refused;
    }
    let switches = &memory.switches;
    let channel = |(code, name, group, flat, percent, least, most): (_, _, _, _, _, _, _)| {
        let fee = json!({"flat": flat, "percent": percent});
        let none = json!({"flat": 0, "percent": 0});
        let (payer, merchant) = if switches.fee_on_payer {
            (fee.clone(), none)
        } else {
            (none, fee.clone())
        };
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

pub(super) async fn fees(
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

pub(super) async fn instruction(
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

pub(super) async fn create(State(memory): Shared, headers: HeaderMap, body: Bytes) -> Response {
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
    let sum = items
        .iter()
        .map(|item| item["price"].as_i64().unwrap_or(0) * item["quantity"].as_i64().unwrap_or(0));
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
        && memory
            .payments
            .iter()
            .any(|(p, _)| p.merchant_ref == merchant_ref)
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
        merchant_fee: if on_payer { 0 } else { fee(&method, amount) },
        created: memory.now(),
        status: Status::Unpaid,
        paid: 0,
        callback_url: text("callback_url"),
        expires: body["expired_time"]
            .as_i64()
            .unwrap_or(memory.now() + 86_400),
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
    let qr = if method.starts_with("QRIS") {
        format!("00020101{}", p.reference)
    } else {
        String::new()
    };
    json!({
        "reference": p.reference, "merchant_ref": p.merchant_ref, "payment_selection_type": "static", "payment_method": method, "payment_name": method,
        "customer_name": "", "customer_email": "", "customer_phone": null, "callback_url": p.callback_url, "return_url": null, "amount": total,
        "fee_merchant": p.merchant_fee, "fee_customer": p.fee, "total_fee": p.fee + p.merchant_fee, "amount_received": p.asked - p.merchant_fee,
        "pay_code": if qr.is_empty() { Value::from(format!("8808{:08}", p.reference.len())) } else { Value::Null },
        "pay_url": null, "checkout_url": format!("https://tripay.example/checkout/{}", p.reference), "status": spelled(p.status),
        "expired_time": p.expires, "paid_at": p.paid_at.map(|at| at.to_string()), "order_items": [],
        "instructions": steps(), "qr_string": if qr.is_empty() { Value::Null } else { qr.into() }, "qr_url": null,
    })
}

pub(super) async fn detail(
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

pub(super) async fn list(
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
        entry["created_at"] = json!(p.created);
        for missing in ["expired_time", "instructions", "qr_string", "qr_url"] {
            entry.as_object_mut().map(|fields| fields.remove(missing));
        }
        entry
    };
    let mut found: Vec<&(Payment, String)> = memory
        .payments
        .iter()
        .filter(|(p, _)| wanted.is_empty() || p.merchant_ref == wanted)
        .collect();
    found.sort_by_key(|(p, _)| p.created);
    let sort = value(&query, "sort").unwrap_or("desc");
    if sort != "asc" {
        found.reverse();
    }
    let number = |name: &str| value(&query, name).and_then(|text| text.parse::<usize>().ok());
    let per_page = number("per_page").unwrap_or(25).clamp(1, 50);
    let page = number("page").unwrap_or(1).max(1);
    let (total, last) = (found.len(), found.len().div_ceil(per_page).max(1));
    let shown = found.into_iter().skip((page - 1) * per_page).take(per_page);
    let entries: Vec<Value> = shown.map(entry).collect();
    let pagination = json!({
        "sort": sort, "offset": {"from": (page - 1) * per_page + 1, "to": (page - 1) * per_page + entries.len()}, "current_page": page,
        "previous_page": if page > 1 { json!(page - 1) } else { Value::Null }, "next_page": if page < last { json!(page + 1) } else { Value::Null },
        "last_page": last, "per_page": per_page, "total_records": total,
    });
    let answer =
        json!({"success": true, "message": "Success", "data": entries, "pagination": pagination});
    Json(answer).into_response()
}

fn value<'q>(query: &'q [(String, String)], name: &str) -> Option<&'q str> {
    query
        .iter()
        .find(|(n, _)| n == name)
        .map(|(_, v)| v.as_str())
}
