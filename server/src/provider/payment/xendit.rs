//! Xendit: an invoice page, where the payer chooses.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
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
/// Pages of refunds of one invoice that are read at most, a hundred refunds each.
const REFUND_PAGES: usize = 10;

/// Invoices in one answer, which is the most that Xendit gives.
const SIZE: usize = 100;
/// Answers of a list that are read at most.
const MOST: usize = 1000;

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

    /// A transaction with what was given back of it, which an invoice does not show. Refunds that cannot be had at the moment, or that the key may not see, hold no
    /// payment up: they are found at a later look.
    async fn with_refunds(&self, mut paid: Transaction) -> Transaction {
        if paid.state == TransactionState::Paid {
            match self.refunded(&paid.gateway_ref).await {
                Ok(refunded) => paid.refunded = refunded,
                Err(error) => {
                    tracing::warn!(invoice = paid.gateway_ref, %error, "the refunds of an invoice could not be read");
                }
            }
        }
        paid
    }

    /// The sum of all refunds of an invoice that went through.
    async fn refunded(&self, invoice: &str) -> Result<Rupiah, GatewayError> {
        let mut sum = 0_i64;
        let mut after = String::new();
        for _ in 0..REFUND_PAGES {
            let mut query = vec![("invoice_id", invoice), ("limit", "100")];
            if !after.is_empty() {
                query.push(("after_id", &after));
            }
            let request = self.api.get("/refunds").query(&query);
            let Some(answer) = self.call(request).await? else {
                break;
            };
            let refunds = answer["data"].as_array().map_or(&[][..], Vec::as_slice);
            let of_it = |refund: &&Value| {
                let named = text(refund, "invoice_id");
                text(refund, "status") == "SUCCEEDED" && (named.is_empty() || named == invoice)
            };
            let amounts = refunds.iter().filter(of_it);
            sum += amounts
                .filter_map(|refund| rupiah(refund, "amount"))
                .map(|amount| amount.0)
                .sum::<i64>();
            after = refunds.last().map(|r| text(r, "id")).unwrap_or_default();
            if answer["has_more"] != Value::Bool(true) || after.is_empty() {
                break;
            }
        }
        Ok(Rupiah(sum))
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
        // Invoices do not say what they cost.
        gateway_fee: None,
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
            lists: true,
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
        let invoices = list.map_or(&[][..], Vec::as_slice).iter().rev();
        let mut found = Vec::new();
        for invoice in invoices.filter(|i| text(i, "external_id") == reference) {
            found.push(self.with_refunds(transaction(invoice)?).await);
        }
        Ok(found)
    }

    async fn paid_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Transaction>, GatewayError> {
        let mut found = Vec::new();
        let mut after = String::new();
        for _ in 0..MOST {
            let at = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
            // Whether the bounds themselves are within is not said, so a little more is asked for.
            let margin = TimeDelta::seconds(1);
            let mut query = vec![
                ("paid_after", at(from - margin)),
                ("paid_before", at(until + margin)),
                ("limit", SIZE.to_string()),
            ];
            if !after.is_empty() {
                query.push(("last_invoice", after));
            }
            let request = self.api.get("/v2/invoices").query(&query);
            let answer = self.call(request).await?.unwrap_or_default();
            let page = answer.as_array().map_or(&[][..], Vec::as_slice);
            for invoice in page {
                let mut read = transaction(invoice)?;
                let within = read.paid_at.is_some_and(|at| at >= from && at < until);
                if within && read.state == TransactionState::Paid {
                    // Unlike a look at a single one, a list is right or there is none.
                    read.refunded = self.refunded(&read.gateway_ref).await?;
                    found.push(read);
                }
            }
            match page.last() {
                Some(last) if page.len() >= SIZE => after = text(last, "id"),
                _ => return Ok(found),
            }
        }
        Err(GatewayError::Rejected(format!(
            "more than {MOST} pages of invoices"
        )))
    }

    async fn get(&self, gateway_ref: &str) -> Result<Option<Transaction>, GatewayError> {
        if !gateway_ref
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Ok(None);
        }
        let request = self.api.get(&format!("/v2/invoices/{gateway_ref}"));
        match self.call(request).await? {
            Some(invoice) => Ok(Some(self.with_refunds(transaction(&invoice)?).await)),
            None => Ok(None),
        }
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
        // One about a refund names the invoice within its data; one about something else that was given back names none.
        let is_refund = text(&body, "event").starts_with("refund.");
        let (gateway_ref, business) = match is_refund {
            true => (
                text(&body["data"], "invoice_id"),
                text(&body, "business_id"),
            ),
            false => (text(&body, "id"), text(&body, "user_id")),
        };
        let user = &self.settings.user_id;
        let reference = text(&body, "external_id");
        if (!user.is_empty() && business != *user) || (is_refund && gateway_ref.is_empty()) {
            return Err(BadCallback::WrongMerchant { reference });
        }
        if gateway_ref.is_empty() {
            return Err(BadCallback::Malformed);
        }
        Ok(Notice {
            gateway_ref,
            reference,
            paid: ["PAID", "SETTLED"].contains(&text(&body, "status").as_str()),
            amount: rupiah(&body, "paid_amount"),
        })
    }

    fn acknowledgement(&self) -> &'static str {
        "{}"
    }
}
