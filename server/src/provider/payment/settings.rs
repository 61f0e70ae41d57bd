//! Settings of payment gateways. A gateway whose section is absent is not offered; one whose section has a fault keeps the server from starting.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::base::money::Rupiah;

/// The section `payments`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PaymentSettings {
    /// Where gateways reach this server, for example `https://api.example.com`; empty leaves the address of callbacks to the gateways' dashboards.
    pub public_url: String,
    /// Milliseconds between the first looks at an open transaction, in case its callback was lost; the pauses grow to 50 seconds, or stay if this is more.
    pub poll_ms: u64,
    /// Milliseconds a gateway may take for one call.
    pub timeout_ms: u64,
    /// Milliseconds a gateway is left alone after it failed several times in a row.
    pub rest_ms: u64,
    /// Tripay.
    pub tripay: Option<TripaySettings>,
    /// Midtrans.
    pub midtrans: Option<MidtransSettings>,
    /// Xendit.
    pub xendit: Option<XenditSettings>,
    /// Transfers to the operator's own accounts.
    pub bank_transfer: Option<BankSettings>,
}

impl Default for PaymentSettings {
    fn default() -> Self {
        Self {
            public_url: String::new(),
            poll_ms: 5_000,
            timeout_ms: 10_000,
            rest_ms: 30_000,
            tripay: None,
            midtrans: None,
            xendit: None,
            bank_transfer: None,
        }
    }
}

/// Access to Tripay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TripaySettings {
    /// With its path: `https://tripay.co.id/api`, or `https://tripay.co.id/api-sandbox`.
    pub base_url: String,
    /// Merchant code, for example `T0001`.
    pub merchant_code: String,
    /// API key.
    pub api_key: SecretString,
    /// Private key; signs transactions and callbacks.
    pub private_key: SecretString,
}

/// Access to Midtrans.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MidtransSettings {
    /// The core API: `https://api.midtrans.com`, or `https://api.sandbox.midtrans.com`.
    pub base_url: String,
    /// Snap: `https://app.midtrans.com/snap/v1`, or `https://app.sandbox.midtrans.com/snap/v1`.
    pub snap_url: String,
    /// Server key.
    pub server_key: SecretString,
    /// Merchant id; a notification for another is refused. Empty to take any.
    #[serde(default)]
    pub merchant_id: String,
}

/// Access to Xendit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct XenditSettings {
    /// `https://api.xendit.co`.
    pub base_url: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// The token callbacks carry.
    pub callback_token: SecretString,
    /// Business id; a callback for another is refused. Empty to take any.
    #[serde(default)]
    pub user_id: String,
}

/// Transfers to the operator's own accounts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankSettings {
    /// The accounts.
    pub accounts: Vec<BankAccount>,
    /// From this amount in rupiah on, two people have to confirm; 0 for always.
    #[serde(default = "ten_million")]
    pub second_person_from: Rupiah,
}

fn ten_million() -> Rupiah {
    Rupiah(10_000_000)
}

/// A bank account of the operator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankAccount {
    /// Code of the channel, for example `BCA`.
    pub code: String,
    /// Name of the bank.
    pub bank: String,
    /// Number of the account.
    pub number: String,
    /// Whose it is.
    pub holder: String,
}

impl PaymentSettings {
    /// Everything that is wrong, all at once.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("poll_ms", self.poll_ms),
            ("timeout_ms", self.timeout_ms),
            ("rest_ms", self.rest_ms),
        ] {
            let longest = if name == "timeout_ms" { 20_000 } else { 60_000 };
            if !(100..=longest).contains(&value) {
                problems.push(format!(
                    "payments.{name} must be 100 to {longest}, not {value}"
                ));
            }
        }
        let mut url = |name: &str, value: &str| {
            if !is_http_url(value) {
                problems.push(format!("payments.{name} must be a URL that begins with https:// (http:// only for a machine of your own), not {value:?}"));
            }
        };
        if !self.public_url.is_empty() {
            url("public_url", &self.public_url);
        }
        let mut texts: Vec<(&str, &str)> = Vec::new();
        if let Some(tripay) = &self.tripay {
            url("tripay.base_url", &tripay.base_url);
            texts.push(("tripay.merchant_code", &tripay.merchant_code));
            texts.push(("tripay.api_key", tripay.api_key.expose_secret()));
            texts.push(("tripay.private_key", tripay.private_key.expose_secret()));
        }
        if let Some(midtrans) = &self.midtrans {
            url("midtrans.base_url", &midtrans.base_url);
            url("midtrans.snap_url", &midtrans.snap_url);
            texts.push(("midtrans.server_key", midtrans.server_key.expose_secret()));
        }
        if let Some(xendit) = &self.xendit {
            url("xendit.base_url", &xendit.base_url);
            texts.push(("xendit.secret_key", xendit.secret_key.expose_secret()));
            texts.push((
                "xendit.callback_token",
                xendit.callback_token.expose_secret(),
            ));
        }
        let banks = self.bank_transfer.as_ref().map_or(&[][..], |b| &b.accounts);
        for account in banks {
            texts.push(("bank_transfer.accounts.bank", &account.bank));
            texts.push(("bank_transfer.accounts.number", &account.number));
            texts.push(("bank_transfer.accounts.holder", &account.holder));
        }
        for (name, _) in texts.iter().filter(|(_, value)| value.trim().is_empty()) {
            problems.push(format!("payments.{name} must not be empty"));
        }
        let is_code = |code: &str| {
            (1..=32).contains(&code.len())
                && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        let mut codes: Vec<&str> = banks.iter().map(|a| a.code.as_str()).collect();
        codes.sort_unstable();
        for code in codes.iter().filter(|code| !is_code(code)) {
            problems.push(format!("payments.bank_transfer.accounts.code must be 1 to 32 letters, digits or _, not {code:?}"));
        }
        if codes.windows(2).any(|pair| pair[0] == pair[1]) {
            problems
                .push("payments.bank_transfer.accounts must have codes of their own".to_owned());
        }
        if self.bank_transfer.is_some() && banks.is_empty() {
            problems.push("payments.bank_transfer.accounts must name an account".to_owned());
        }
        problems
    }
}

/// Keys go to this URL, so it is either encrypted or does not leave the machine.
fn is_http_url(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else {
        return false;
    };
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.host_str().is_some()
        && url.query().is_none()
        && (url.scheme() == "https" || (url.scheme() == "http" && local))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_at_once() {
        let text = r#"
            poll_ms = 5
            public_url = "http://api.example.com"
            [tripay]
            base_url = "tripay.co.id"
            merchant_code = ""
            api_key = "k"
            private_key = " "
            [xendit]
            base_url = "http://127.0.0.1:9000"
            secret_key = "s"
            callback_token = "t"
            [bank_transfer]
            accounts = [
                { code = "BCA", bank = "B", number = "1", holder = "H" },
                { code = "BCA", bank = "B", number = "", holder = "H" },
            ]
        "#;
        let settings: PaymentSettings = toml::from_str(text).expect("well-formed");
        let problems = settings.problems();
        for named in [
            "poll_ms",
            "public_url",
            "tripay.base_url",
            "tripay.merchant_code",
            "tripay.private_key",
            "codes of their own",
            "accounts.number",
        ] {
            let found = problems.iter().filter(|p| p.contains(named)).count();
            assert_eq!(found, 1, "{named}: {problems:#?}");
        }
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(PaymentSettings::default().problems().is_empty());
        assert!(!format!("{settings:?}").contains("\"k\""));
    }
}
