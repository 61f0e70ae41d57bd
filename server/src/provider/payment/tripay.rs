//! Tripay: virtual accounts, QRIS, e-wallets and shops by closed transactions.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::base::money::Rupiah;
use crate::provider::payment::api::{self, Api};
use crate::provider::payment::json::{items, plain, rupiah, text, unix};
use crate::provider::payment::settings::TripaySettings;
use crate::provider::payment::tripay_list;
use crate::provider::payment::{
    BadCallback, Capabilities, Channel, ChannelKind, Gateway, GatewayError, Instruction, Notice,
    Terms, Transaction, TransactionState, Wish,
};

/// Channels that take less than a day, with the minutes they take. The gateway documents these limits and does not answer them.
const SHORT: [(&str, i64); 5] = [
    ("QRIS", 60),
    ("DANA", 60),
    ("SHOPEEPAY", 60),
    ("MUAMALATVA", 180),
    ("BSIVA", 180),
];

/// A merchant's access.
pub struct Tripay {
    pub(super) api: Api,
    settings: TripaySettings,
}

impl Tripay {
    /// Connects when it is called.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: TripaySettings, timeout: Duration) -> anyhow::Result<Self> {
        Ok(Self {
            api: Api::new(&settings.base_url, timeout)?,
            settings,
        })
    }

    async fn call(&self, request: RequestBuilder) -> Result<Value, GatewayError> {
        let mut answer = self.call_whole(request).await?;
        Ok(answer
            .get_mut("data")
            .map(Value::take)
            .unwrap_or(Value::Null))
    }

    /// The whole answer; `data` is its main part.
    pub(super) async fn call_whole(&self, request: RequestBuilder) -> Result<Value, GatewayError> {
        let (status, answer) =
            api::send(request.bearer_auth(self.settings.api_key.expose_secret())).await?;
        let succeeded = answer.get("success").and_then(Value::as_bool) == Some(true);
        if status.is_success() && succeeded {
            return Ok(answer);
        }
        let said = plain(&text(&answer, "message"));
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => GatewayError::Denied(said),
            _ => GatewayError::Rejected(said),
        })
    }

    /// The answer to a creation leaves instructions out for some channels; they can be asked for.
    async fn instructions(&self, method: &str, pay_code: &str, amount: Rupiah) -> Vec<Instruction> {
        let request = self.api.get("/payment/instruction").query(&[
            ("code", method),
            ("pay_code", pay_code),
            ("amount", &amount.0.to_string()),
            ("allow_html", "0"),
        ]);
        match self.call(request).await {
            Ok(data) => instructions(&data, pay_code, amount),
            Err(error) => {
                tracing::info!(%error, "no payment instructions");
                Vec::new()
            }
        }
    }
}

fn sign(key: &str, message: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

/// The signature of a closed transaction.
fn signature(key: &str, merchant: &str, reference: &str, amount: Rupiah) -> String {
    let message = format!("{merchant}{reference}{}", amount.0);
    hex(&sign(key, message.as_bytes()).finalize().into_bytes())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

fn kind(group: &str, code: &str) -> ChannelKind {
    let group = group.to_ascii_lowercase();
    if code.starts_with("QRIS") {
        ChannelKind::QrCode
    } else if group.contains("wallet") {
        ChannelKind::EWallet
    } else if group.contains("store") || group.contains("retail") {
        ChannelKind::RetailOutlet
    } else if group.contains("virtual") || code.ends_with("VA") {
        ChannelKind::VirtualAccount
    } else {
        ChannelKind::PaymentPage
    }
}

fn instructions(list: &Value, pay_code: &str, amount: Rupiah) -> Vec<Instruction> {
    let fill = |step: &str| {
        plain(
            &step
                .replace("{{pay_code}}", pay_code)
                .replace("{{amount}}", &amount.0.to_string()),
        )
    };
    let list = list.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .take(20)
        .map(|one| Instruction {
            title: plain(&text(one, "title")),
            steps: items(one, "steps")
                .iter()
                .take(30)
                .filter_map(|step| step.as_str().map(fill))
                .collect(),
        })
        .collect()
}

/// Details and list entries differ in what is a number and what a text; both are read here. What cannot be told apart from nonsense is `Unknown`.
pub(super) fn transaction(data: &Value) -> Result<Transaction, GatewayError> {
    let unreadable = |what: &str| GatewayError::Unknown(format!("a transaction without {what}"));
    let gateway_ref = text(data, "reference");
    if gateway_ref.is_empty() {
        return Err(unreadable("reference"));
    }
    let total = rupiah(data, "amount").ok_or_else(|| unreadable("amount"))?;
    let (state, refunded) = match text(data, "status").as_str() {
        "UNPAID" => (TransactionState::Unpaid, Rupiah::ZERO),
        "PAID" => (TransactionState::Paid, Rupiah::ZERO),
        "REFUND" => (TransactionState::Paid, total),
        "EXPIRED" => (TransactionState::Expired, Rupiah::ZERO),
        "FAILED" => (TransactionState::Failed, Rupiah::ZERO),
        _ => return Err(unreadable("a status we know")),
    };
    let pay_code = text(data, "pay_code");
    let page = [text(data, "pay_url"), text(data, "checkout_url")];
    Ok(Transaction {
        gateway_ref,
        reference: text(data, "merchant_ref"),
        state,
        total,
        refunded,
        paid_at: unix(data, "paid_at"),
        gateway_fee: rupiah(data, "fee_merchant"),
        terms: Terms {
            fee: rupiah(data, "fee_customer").unwrap_or(Rupiah::ZERO),
            pay_url: page
                .into_iter()
                .find(|url| !url.is_empty())
                .unwrap_or_default(),
            qr_string: text(data, "qr_string"),
            instructions: data
                .get("instructions")
                .map(|list| instructions(list, &pay_code, total))
                .unwrap_or_default(),
            expires_at: unix(data, "expired_time").or_else(|| unix(data, "expired_at")),
            pay_code,
        },
    })
}

#[async_trait]
impl Gateway for Tripay {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            answers: true,
            lists: true,
            life: TimeDelta::hours(24),
            lookup_delay: TimeDelta::seconds(30),
        }
    }

    async fn channels(&self) -> Result<Vec<Channel>, GatewayError> {
        let data = self.call(self.api.get("/merchant/payment-channel")).await?;
        let list = data.as_array().map_or(&[][..], Vec::as_slice);
        let channel = |c: &Value| {
            let fee = c.get("fee_customer").unwrap_or(&Value::Null);
            let code = text(c, "code");
            Channel {
                name: text(c, "name"),
                kind: kind(&text(c, "group"), &code),
                active: c.get("active").and_then(Value::as_bool).unwrap_or(false),
                minimum: rupiah(c, "minimum_amount").filter(|m| m.0 > 0),
                maximum: rupiah(c, "maximum_amount").filter(|m| m.0 > 0),
                fee_flat: rupiah(fee, "flat"),
                fee_percent: text(fee, "percent"),
                code,
            }
        };
        Ok(list.iter().map(channel).collect())
    }

    async fn fees(&self, amount: Rupiah) -> Result<HashMap<String, Rupiah>, GatewayError> {
        let request = self.api.get("/merchant/fee-calculator");
        let data = self.call(request.query(&[("amount", amount.0)])).await?;
        let list = data.as_array().map_or(&[][..], Vec::as_slice);
        let fee = |c: &Value| Some((text(c, "code"), rupiah(c.get("total_fee")?, "customer")?));
        Ok(list.iter().filter_map(fee).collect())
    }

    async fn open(&self, wish: &Wish) -> Result<Transaction, GatewayError> {
        let short = SHORT.iter().find(|(code, _)| *code == wish.channel);
        let longest = short.map_or(wish.expires_at, |(_, minutes)| {
            wish.now + TimeDelta::minutes(*minutes)
        });
        let mut body = json!({
            "method": wish.channel,
            "merchant_ref": wish.reference,
            "amount": wish.amount.0,
            "customer_name": wish.payer.name,
            "customer_email": wish.payer.email,
            "customer_phone": wish.payer.phone,
            "order_items": [{"sku": "DEPOSIT", "name": "Deposit", "price": wish.amount.0, "quantity": 1}],
            "expired_time": wish.expires_at.min(longest).timestamp(),
            "signature": signature(
                self.settings.private_key.expose_secret(),
                &self.settings.merchant_code,
                &wish.reference,
                wish.amount,
            ),
        });
        if let Some(url) = &wish.callback_url {
            body["callback_url"] = json!(url);
        }
        let data = self
            .call(self.api.post("/transaction/create").json(&body))
            .await?;
        let mut opened = transaction(&data)?;
        // What the payer sees must be what we asked for and the fee; anything else is not ours to show.
        if opened.reference != wish.reference
            || wish.amount.checked_add(opened.terms.fee) != Some(opened.total)
        {
            return Err(GatewayError::Unknown(
                "the answer is about something else".to_owned(),
            ));
        }
        if opened.terms.instructions.is_empty() {
            opened.terms.instructions = self
                .instructions(&wish.channel, &opened.terms.pay_code, opened.total)
                .await;
        }
        Ok(opened)
    }

    async fn find(&self, reference: &str) -> Result<Vec<Transaction>, GatewayError> {
        let request = self.api.get("/merchant/transactions").query(&[
            ("merchant_ref", reference),
            ("per_page", "50"),
            ("sort", "asc"),
        ]);
        let data = self.call(request).await?;
        let list = data.as_array().map_or(&[][..], Vec::as_slice);
        list.iter()
            .filter(|entry| text(entry, "merchant_ref") == reference)
            .map(transaction)
            .collect()
    }

    async fn paid_between(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<Vec<Transaction>, GatewayError> {
        tripay_list::paid_between(self, from, until).await
    }

    async fn get(&self, gateway_ref: &str) -> Result<Option<Transaction>, GatewayError> {
        let request = self.api.get("/transaction/detail");
        match self
            .call(request.query(&[("reference", gateway_ref)]))
            .await
        {
            Ok(data) => transaction(&data).map(Some),
            // A reference it does not know is refused as every other fault is; the text is all there is to tell them apart, so none is believed to exist.
            Err(GatewayError::Rejected(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_callback(&self, headers: &HeaderMap, body: &[u8]) -> Result<Notice, BadCallback> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = header("x-callback-signature")
            .and_then(unhex)
            .ok_or(BadCallback::Forged)?;
        sign(self.settings.private_key.expose_secret(), body)
            .verify_slice(&given)
            .map_err(|_| BadCallback::Forged)?;
        let body: Value = serde_json::from_slice(body).map_err(|_| BadCallback::Malformed)?;
        let gateway_ref = text(&body, "reference");
        if header("x-callback-event") != Some("payment_status") || gateway_ref.is_empty() {
            return Err(BadCallback::Malformed);
        }
        Ok(Notice {
            gateway_ref,
            reference: text(&body, "merchant_ref"),
            paid: text(&body, "status") == "PAID",
            amount: rupiah(&body, "total_amount"),
        })
    }

    fn acknowledgement(&self) -> &'static str {
        r#"{"success":true}"#
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_signature_comes_out() {
        let signed = signature(
            "ytf6ooi2gmlNPfpchd94jDOk8hRWOu",
            "T0001",
            "INV55567",
            Rupiah(1_500_000),
        );
        assert_eq!(
            signed,
            "9f167eba844d1fcb369404e2bda53702e2f78f7aa12e91da6715414e65b8c86a"
        );
    }

    fn gateway() -> Tripay {
        let settings = TripaySettings {
            base_url: "http://127.0.0.1:1".to_owned(),
            merchant_code: "T0001".to_owned(),
            api_key: "k".to_owned().into(),
            private_key: "test-private-key".to_owned().into(),
        };
        Tripay::new(settings, Duration::from_secs(1)).expect("a client")
    }

    #[test]
    fn a_callback_is_read_only_as_it_was_signed() {
        let body = br#"{"reference":"DEV-T0001000000000000006","status":"PAID"}"#;
        let signature = "7ac6736daa7337e744539eda438dfb3fd9764393f100b1744f13545be9786c84";
        let headers = |signature: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-callback-event", "payment_status".parse().expect("value"));
            headers.insert("x-callback-signature", signature.parse().expect("value"));
            headers
        };
        let gateway = gateway();
        let notice = gateway
            .read_callback(&headers(signature), body)
            .expect("signed");
        assert_eq!(
            (notice.gateway_ref.as_str(), notice.paid),
            ("DEV-T0001000000000000006", true)
        );
        let respelled = br#"{"reference": "DEV-T0001000000000000006", "status": "PAID"}"#;
        for (headers, body) in [
            (headers(signature), &respelled[..]),
            (headers(&signature[2..]), body),
            (headers("zz"), body),
            (headers(&signature.replace('7', "8")), body),
            (HeaderMap::new(), body),
        ] {
            assert_eq!(
                gateway.read_callback(&headers, body),
                Err(BadCallback::Forged)
            );
        }
    }

    #[test]
    fn entries_of_lists_and_details_are_read_alike() {
        let detail = json!({"reference": "T1", "merchant_ref": "r", "amount": 54_250, "fee_customer": 4250, "pay_code": "8808", "status": "PAID",
            "paid_at": "1700000000", "expired_time": 1_700_000_000, "instructions": [{"title": "ATM", "steps": ["Masukkan <b>{{pay_code}}</b>"]}]});
        let entry = json!({"reference": "T1", "merchant_ref": "r", "amount": "54250", "fee_customer": "4250", "pay_code": 8808, "status": "PAID",
            "expired_at": 1_700_000_000, "paid_at": 1_700_000_000});
        let (mut detail, entry) = (
            transaction(&detail).expect("read"),
            transaction(&entry).expect("read"),
        );
        assert_eq!(detail.terms.instructions[0].steps, ["Masukkan 8808"]);
        detail.terms.instructions.clear();
        assert_eq!(detail, entry);
        assert!(transaction(&json!({"reference": "T1", "amount": 1, "status": "NEW"})).is_err());
    }
}
