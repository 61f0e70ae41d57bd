//! Xendit: an invoice page, where the payer chooses.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::base::crypto;
use crate::base::money::Rupiah;
use crate::provider::payment::api::{self, Api};
use crate::provider::payment::json::{plain, rupiah, text};
use crate::provider::payment::settings::XenditSettings;
use crate::provider::payment::{
    BadCallback, Capabilities, Channel, ChannelKind, Gateway, GatewayError, Notice, Terms,
    Transaction, TransactionState, Wish,
};

/// The one channel.
const INVOICE: &str = "INVOICE";

/// A merchant's access.
pub struct Xendit {
    api: Api,
    settings: XenditSettings,
}

impl Xendit {
    /// Connects when it is called.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: XenditSettings, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            api: Api::new(&settings.base_url, timeout)?,
            settings,
        })
    }

    async fn call(&self, request: RequestBuilder) -> Result<Option<Value>, GatewayError> {
        let key = self.settings.secret_key.expose_secret();
        let (status, answer) = api::send(request.basic_auth(key, Some(""))).await?;
        if status.is_success() {
            return Ok(Some(answer));
        }
        let said = plain(&text(&answer, "message"));
        Err(match status {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => GatewayError::Denied(said),
            _ => GatewayError::Rejected(said),
        })
    }
}

fn transaction(invoice: &Value) -> Result<Transaction, GatewayError> {
    let unreadable = |what: &str| GatewayError::Unknown(format!("an invoice without {what}"));
    let gateway_ref = text(invoice, "id");
    if gateway_ref.is_empty() {
        return Err(unreadable("id"));
    }
    let state = match text(invoice, "status").as_str() {
        "PENDING" => TransactionState::Unpaid,
        "PAID" | "SETTLED" => TransactionState::Paid,
        "EXPIRED" => TransactionState::Expired,
        _ => return Err(unreadable("a status we know")),
    };
    let asked = rupiah(invoice, "amount").ok_or_else(|| unreadable("amount"))?;
    let paid = rupiah(invoice, "paid_amount").filter(|_| state == TransactionState::Paid);
    Ok(Transaction {
        gateway_ref,
        reference: text(invoice, "external_id"),
        state,
        total: paid.unwrap_or(asked),
        refunded: Rupiah::ZERO,
        paid_at: text(invoice, "paid_at").parse().ok(),
        terms: Terms {
            pay_url: text(invoice, "invoice_url"),
            expires_at: text(invoice, "expiry_date").parse::<DateTime<Utc>>().ok(),
            ..Terms::default()
        },
    })
}

#[async_trait]
impl Gateway for Xendit {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            answers: true,
            life: TimeDelta::hours(24),
            lookup_delay: TimeDelta::seconds(30),
        }
    }

    async fn channels(&self) -> Result<Vec<Channel>, GatewayError> {
        Ok(vec![Channel {
            code: INVOICE.to_owned(),
            name: "Xendit".to_owned(),
            kind: ChannelKind::PaymentPage,
            active: true,
            minimum: None,
            maximum: None,
            fee_flat: None,
            fee_percent: String::new(),
        }])
    }

    async fn fees(&self, _amount: Rupiah) -> Result<HashMap<String, Rupiah>, GatewayError> {
        Ok(HashMap::new())
    }

    async fn open(&self, wish: &Wish) -> Result<Transaction, GatewayError> {
        let body = json!({
            "external_id": wish.reference,
            "amount": wish.amount.0,
            "currency": "IDR",
            "payer_email": wish.payer.email,
            "description": "Deposit",
            "invoice_duration": (wish.expires_at - wish.now).num_seconds().max(60),
            "should_send_email": false,
        });
        let answer = self
            .call(self.api.post("/v2/invoices").json(&body))
            .await?
            .ok_or_else(|| GatewayError::Rejected("no such address".to_owned()))?;
        let opened = transaction(&answer)?;
        if opened.reference != wish.reference || opened.total != wish.amount {
            return Err(GatewayError::Unknown(
                "the answer is about something else".to_owned(),
            ));
        }
        Ok(opened)
    }

    async fn find(&self, reference: &str) -> Result<Vec<Transaction>, GatewayError> {
        let request = self.api.get("/v2/invoices");
        let answer = self
            .call(request.query(&[("external_id", reference), ("limit", "100")]))
            .await?;
        let list = answer.as_ref().and_then(Value::as_array);
        // Newest first, as it lists them.
        list.map_or(&[][..], Vec::as_slice)
            .iter()
            .rev()
            .filter(|invoice| text(invoice, "external_id") == reference)
            .map(transaction)
            .collect()
    }

    async fn get(&self, gateway_ref: &str) -> Result<Option<Transaction>, GatewayError> {
        if !gateway_ref
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Ok(None);
        }
        let request = self.api.get(&format!("/v2/invoices/{gateway_ref}"));
        self.call(request)
            .await?
            .as_ref()
            .map(transaction)
            .transpose()
    }

    fn read_callback(&self, headers: &HeaderMap, body: &[u8]) -> Result<Notice, BadCallback> {
        let given = headers
            .get("x-callback-token")
            .ok_or(BadCallback::Forged)?
            .as_bytes();
        let ours = self.settings.callback_token.expose_secret().as_bytes();
        // Digests are of one length, so that the comparison does not tell that of the token.
        aws_lc_rs::constant_time::verify_slices_are_equal(
            &crypto::digest(ours),
            &crypto::digest(given),
        )
        .map_err(|_| BadCallback::Forged)?;
        let body: Value = serde_json::from_slice(body).map_err(|_| BadCallback::Malformed)?;
        let gateway_ref = text(&body, "id");
        if gateway_ref.is_empty() {
            return Err(BadCallback::Malformed);
        }
        let user = &self.settings.user_id;
        if !user.is_empty() && text(&body, "user_id") != *user {
            return Err(BadCallback::WrongMerchant {
                reference: text(&body, "external_id"),
            });
        }
        Ok(Notice {
            gateway_ref,
            reference: text(&body, "external_id"),
            paid: ["PAID", "SETTLED"].contains(&text(&body, "status").as_str()),
            amount: rupiah(&body, "paid_amount"),
        })
    }

    fn acknowledgement(&self) -> &'static str {
        "{}"
    }
}
