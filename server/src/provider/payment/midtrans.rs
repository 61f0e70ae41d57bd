//! Midtrans: the Snap page, where the payer chooses. Snap has no reference of its own, so ours, the order id, is both.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeDelta, Utc};
use http::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::base::money::Rupiah;
use crate::provider::payment::api::{self, Api};
use crate::provider::payment::json::{items, plain, rupiah, text};
use crate::provider::payment::settings::MidtransSettings;
use crate::provider::payment::tripay::{hex, unhex};
use crate::provider::payment::{
    BadCallback, Capabilities, Channel, ChannelKind, Gateway, GatewayError, Notice, Terms,
    Transaction, TransactionState, Wish,
};

/// The one channel.
const SNAP: &str = "SNAP";

/// A merchant's access.
pub struct Midtrans {
    core: Api,
    snap: Api,
    settings: MidtransSettings,
}

impl Midtrans {
    /// Connects when it is called.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: MidtransSettings, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            core: Api::new(&settings.base_url, timeout)?,
            snap: Api::new(&settings.snap_url, timeout)?,
            settings,
        })
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(self.settings.server_key.expose_secret(), Some(""))
    }
}

/// The signature over the fields it covers, as they were received.
fn signature(order: &str, status_code: &str, gross_amount: &str, key: &str) -> String {
    hex(&Sha512::digest(format!(
        "{order}{status_code}{gross_amount}{key}"
    )))
}

/// A moment as Midtrans writes it: in Jakarta, and without saying so.
fn jakarta(text: &str) -> Option<DateTime<Utc>> {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    let zone = FixedOffset::east_opt(7 * 3600)?;
    Some(local.and_local_timezone(zone).single()?.with_timezone(&Utc))
}

/// How a transaction stands, and what of it went back. The code in the body rules, whatever HTTP says.
fn state(data: &Value, total: Rupiah) -> Option<(TransactionState, Rupiah)> {
    use TransactionState as State;
    let fraud = text(data, "fraud_status");
    let good = text(data, "status_code") == "200";
    let refunded = rupiah(data, "refund_amount").unwrap_or(total);
    Some(match text(data, "transaction_status").as_str() {
        "settlement" if good => (State::Paid, Rupiah::ZERO),
        "capture" if good && fraud == "accept" => (State::Paid, Rupiah::ZERO),
        "capture" | "authorize" | "pending" | "settlement" => (State::Unpaid, Rupiah::ZERO),
        "refund" | "chargeback" => (State::Paid, total),
        "partial_refund" | "partial_chargeback" => (State::Paid, refunded.min(total)),
        "expire" => (State::Expired, Rupiah::ZERO),
        "deny" | "cancel" | "failure" => (State::Failed, Rupiah::ZERO),
        _ => return None,
    })
}

#[async_trait]
impl Gateway for Midtrans {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            answers: true,
            lists: false,
            life: TimeDelta::hours(24),
            lookup_delay: TimeDelta::seconds(30),
        }
    }

    async fn channels(&self) -> Result<Vec<Channel>, GatewayError> {
        Ok(vec![Channel {
            code: SNAP.to_owned(),
            name: "Midtrans".to_owned(),
            kind: ChannelKind::PaymentPage,
            active: true,
            minimum: None,
            maximum: None,
            fee_flat: None,
            fee_percent: String::new(),
        }])
    }

    async fn fees(&self, _amount: Rupiah) -> Result<HashMap<String, Rupiah>, GatewayError> {
        // The page shows its own; the merchant bears them unless the payer's choice of card says otherwise.
        Ok(HashMap::new())
    }

    async fn open(&self, wish: &Wish) -> Result<Transaction, GatewayError> {
        let jakarta = FixedOffset::east_opt(7 * 3600).expect("seven hours");
        let minutes = (wish.expires_at - wish.now).num_minutes().max(5);
        let body = json!({
            "transaction_details": {"order_id": wish.reference, "gross_amount": wish.amount.0},
            "item_details": [{"id": "DEPOSIT", "price": wish.amount.0, "quantity": 1, "name": "Deposit"}],
            "customer_details": {"first_name": wish.payer.name, "email": wish.payer.email, "phone": wish.payer.phone},
            "expiry": {
                "start_time": wish.now.with_timezone(&jakarta).format("%Y-%m-%d %H:%M:%S %z").to_string(),
                "unit": "minute",
                "duration": minutes,
            },
        });
        let mut request = self.with_key(self.snap.post("/transactions")).json(&body);
        if let Some(url) = &wish.callback_url {
            request = request.header("x-override-notification", url);
        }
        let (status, answer) = api::send(request).await?;
        let pay_url = text(&answer, "redirect_url");
        if status.is_success() && !pay_url.is_empty() {
            return Ok(Transaction {
                gateway_ref: wish.reference.clone(),
                reference: wish.reference.clone(),
                state: TransactionState::Unpaid,
                total: wish.amount,
                refunded: Rupiah::ZERO,
                paid_at: None,
                gateway_fee: None,
                terms: Terms {
                    pay_url,
                    expires_at: Some(wish.expires_at),
                    ..Terms::default()
                },
            });
        }
        let said: Vec<String> = items(&answer, "error_messages")
            .iter()
            .filter_map(|m| m.as_str().map(plain))
            .collect();
        let said = said.join("; ");
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => GatewayError::Denied(said),
            _ if status.is_success() => GatewayError::Unknown("no page".to_owned()),
            _ => GatewayError::Rejected(said),
        })
    }

    async fn find(&self, reference: &str) -> Result<Vec<Transaction>, GatewayError> {
        Ok(self.get(reference).await?.into_iter().collect())
    }

    async fn get(&self, gateway_ref: &str) -> Result<Option<Transaction>, GatewayError> {
        let request = self.core.get(&format!("/v2/{gateway_ref}/status"));
        let (status, answer) = api::send(self.with_key(request)).await?;
        let said = plain(&text(&answer, "status_message"));
        match text(&answer, "status_code").as_str() {
            // Snap does not know an order until its payer has chosen how to pay.
            "404" => return Ok(None),
            "401" | "403" => return Err(GatewayError::Denied(said)),
            _ if status == StatusCode::UNAUTHORIZED => return Err(GatewayError::Denied(said)),
            _ => {}
        }
        let total = rupiah(&answer, "gross_amount");
        let read = total.and_then(|total| Some((total, state(&answer, total)?)));
        let (total, (state, refunded)) = read.ok_or(GatewayError::Unknown(said))?;
        Ok(Some(Transaction {
            gateway_ref: gateway_ref.to_owned(),
            reference: text(&answer, "order_id"),
            state,
            total,
            refunded,
            paid_at: jakarta(&text(&answer, "settlement_time")),
            gateway_fee: None,
            terms: Terms::default(),
        }))
    }

    fn read_callback(&self, _headers: &HeaderMap, body: &[u8]) -> Result<Notice, BadCallback> {
        let body: Value = serde_json::from_slice(body).map_err(|_| BadCallback::Forged)?;
        let (order, code, gross) = (
            text(&body, "order_id"),
            text(&body, "status_code"),
            text(&body, "gross_amount"),
        );
        let key = self.settings.server_key.expose_secret();
        let ours = unhex(&signature(&order, &code, &gross, key)).unwrap_or_default();
        let given = unhex(&text(&body, "signature_key")).ok_or(BadCallback::Forged)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&ours, &given)
            .map_err(|_| BadCallback::Forged)?;
        if order.is_empty() {
            return Err(BadCallback::Malformed);
        }
        let merchant = text(&body, "merchant_id");
        if !self.settings.merchant_id.is_empty() && merchant != self.settings.merchant_id {
            return Err(BadCallback::WrongMerchant { reference: order });
        }
        let paid = ["settlement", "capture"].contains(&text(&body, "transaction_status").as_str());
        Ok(Notice {
            gateway_ref: order.clone(),
            reference: order,
            paid,
            amount: rupiah(&body, "gross_amount"),
        })
    }

    fn acknowledgement(&self) -> &'static str {
        "{}"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_signature_comes_out() {
        let signed = signature(
            "1111",
            "200",
            "100000.00",
            "askvnoibnosifnboseofinbofinfgbiufglnbfg",
        );
        assert_eq!(
            signed,
            "edc076b21793ebe3e17926350f5b8ae67d902fe657b3d0aa31b932d5c127e2375d308a2bc94f3265ac2d80a1f181a79b997ac178a236fcff35af263fc4d4c231"
        );
    }

    #[test]
    fn a_card_is_paid_when_nobody_doubts_it() {
        let total = Rupiah(100);
        let said = |status: &str, code: &str, fraud: &str| {
            state(
                &json!({"transaction_status": status, "status_code": code, "fraud_status": fraud}),
                total,
            )
            .map(|(state, _)| state)
        };
        use TransactionState as State;
        assert_eq!(said("capture", "200", "accept"), Some(State::Paid));
        assert_eq!(said("capture", "200", "challenge"), Some(State::Unpaid));
        assert_eq!(said("settlement", "200", ""), Some(State::Paid));
        assert_eq!(said("settlement", "202", ""), Some(State::Unpaid));
        assert_eq!(said("expire", "407", ""), Some(State::Expired));
        assert_eq!(said("somewhere", "200", ""), None);
        let noon = "2026-05-03T05:00:00Z".parse().ok();
        assert_eq!(jakarta("2026-05-03 12:00:00"), noon);
        let partial = json!({"transaction_status": "partial_refund", "status_code": "200", "refund_amount": "40.00"});
        assert_eq!(state(&partial, total), Some((State::Paid, Rupiah(40))));
    }
}
