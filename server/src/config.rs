//! Settings, read once at start from a file and the environment. The only place that reads the environment. Every problem is reported, all at once.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use sewa_gateway::listen::{Cors, CorsLayer, Tls, TlsError};

use crate::base::crypto::MasterKey;
use crate::base::vault::{self, Vault};
use crate::provider::payment::settings::PaymentSettings;
pub use crate::serve::rest_limits::RestLimits;
use crate::service::instance::model::console::ConsoleLimits;
use crate::service::invoice::settings::SellerSettings;

/// Response headers of the API that a page of another origin may read.
const EXPOSED: [&str; 7] = [
    "deprecation",
    "idempotency-replayed",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "sunset",
    "x-sewa-contract",
];
/// Counts the repeats of a call; every SDK sends it, also from a page.
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-sewa-retry-count");

/// What this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers calls.
    Api,
    /// Works in the background.
    Worker,
    /// Both.
    All,
}

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// PostgreSQL URL.
    pub database_url: String,
    /// Connections to PostgreSQL at most.
    pub database_connections: u32,
    /// Redis URL; empty to keep rate limits and watch wake-ups within this process.
    pub redis_url: String,
    /// What this process does.
    pub role: Role,
    /// 64 hexadecimal digits: the key that encrypts secrets at rest.
    pub master_key: String,
    /// Keys that encrypt the credentials of providers at rest: 64 hexadecimal digits each, by name. One derived from the master key, named `master`, is always there.
    pub credential_keys: HashMap<String, String>,
    /// Name of the credential key new secrets are sealed under; `master` if empty. After changing it run `sewa key rotate-credentials`.
    pub credential_key: String,
    /// Rupiah for a dollar, in which what providers charge is shown to staff. Prices do not follow it.
    pub rupiah_per_dollar: i64,
    /// `json` or `text`.
    pub log_format: String,
    /// Calls a minute and caller, by rate class. A class not named here counts as `default`.
    pub rates: HashMap<String, u32>,
    /// Seconds an access token is valid.
    pub access_token_seconds: u32,
    /// Seconds for which a sign-in or a StepUp confirms that it is really the person who calls.
    pub step_up_seconds: u32,
    /// Seconds until an order that has no machine is given up.
    pub provisioning_deadline_seconds: u64,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Seconds the proof of all books rests before it begins anew; 0 leaves it to whoever asks for one.
    pub proof_rest_seconds: u32,
    /// PEM file with the certificate chain, the server's own first; read again when it changes. Empty: plain text.
    pub tls_certificate: PathBuf,
    /// PEM file with the certificate's private key.
    pub tls_key: PathBuf,
    /// Web origins that browsers may call from; `*` for any.
    pub cors_origins: Vec<String>,
    /// Response headers that pages may read, besides those of the API.
    pub cors_exposed_headers: Vec<String>,
    /// Seconds a browser may remember what a preflight was answered.
    pub cors_max_age_seconds: u64,
    /// What one REST request may cost.
    pub rest: RestLimits,
    /// How long consoles may last.
    pub console: ConsoleLimits,
    /// Speed of the simulator provider: milliseconds a machine takes to boot.
    pub simulator_boot_ms: u64,
    /// Payment gateways.
    pub payments: PaymentSettings,
    /// Who sells, as invoices say it.
    pub seller: SellerSettings,
    /// Directory of the PostgreSQL binaries for `sewa dev`; empty to search for them.
    pub pg_bin_dir: PathBuf,
    /// Directory for the data of `sewa dev`.
    pub data_dir: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            database_url: String::new(),
            database_connections: 16,
            redis_url: String::new(),
            role: Role::All,
            master_key: String::new(),
            credential_keys: HashMap::new(),
            credential_key: String::new(),
            rupiah_per_dollar: 16_500,
            log_format: "text".to_owned(),
            rates: HashMap::from([
                ("default".to_owned(), 100),
                ("login".to_owned(), 5),
                ("register".to_owned(), 3),
                ("order".to_owned(), 10),
                ("console".to_owned(), 20),
            ]),
            access_token_seconds: 900,
            step_up_seconds: 600,
            provisioning_deadline_seconds: 600,
            retention: Retention::default(),
            proof_rest_seconds: 10,
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            cors_origins: Vec::new(),
            cors_exposed_headers: Vec::new(),
            cors_max_age_seconds: 3600,
            rest: RestLimits::default(),
            console: ConsoleLimits::default(),
            simulator_boot_ms: 1500,
            payments: PaymentSettings::default(),
            seller: SellerSettings::default(),
            pg_bin_dir: PathBuf::new(),
            data_dir: PathBuf::from(".sewa"),
        }
    }
}

/// How long what is over is kept. Journals, orders and the audit trail are kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Seconds an event stays in the log at least. Older cursors are refused with CURSOR_EXPIRED.
    pub events_seconds: u32,
    /// Seconds a finished operation can be read at least, from its beginning.
    pub operations_seconds: u32,
    /// Seconds a callback of a payment gateway is kept at least.
    pub callbacks_seconds: u32,
}

impl Default for Retention {
    fn default() -> Self {
        const DAYS_90: u32 = 90 * 86_400;
        Self {
            events_seconds: DAYS_90,
            operations_seconds: DAYS_90,
            callbacks_seconds: 400 * 86_400,
        }
    }
}

impl Retention {
    /// How long an event stays.
    pub fn events(&self) -> chrono::Duration {
        chrono::Duration::seconds(i64::from(self.events_seconds))
    }

    /// How long a finished operation stays.
    pub fn operations(&self) -> chrono::Duration {
        chrono::Duration::seconds(i64::from(self.operations_seconds))
    }

    /// How long a callback is kept.
    pub fn callbacks(&self) -> chrono::Duration {
        chrono::Duration::seconds(i64::from(self.callbacks_seconds))
    }

    fn problems(&self) -> Vec<String> {
        const TEN_YEARS: u32 = 3650 * 86_400;
        [
            ("events_seconds", self.events_seconds),
            ("operations_seconds", self.operations_seconds),
            ("callbacks_seconds", self.callbacks_seconds),
        ]
        .into_iter()
        .filter(|(_, seconds)| !(1..=TEN_YEARS).contains(seconds))
        .map(|(name, seconds)| format!("retention.{name} must be 1 to {TEN_YEARS}, not {seconds}"))
        .collect()
    }
}

/// Variables of the same prefix that are for others: the command line, the SDK, the setup and the gateway's own binary.
const FOREIGN: [&str; 5] = [
    "SEWA_CONFIG",
    "SEWA_API_KEY",
    "SEWA_TOKEN",
    "SEWA_SETUP_",
    "SEWA_GATEWAY_",
];

/// The rest of the environment. A variable left in it that is no setting is an error, so that a mistyped one is not passed over.
fn own_variables() -> HashMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !FOREIGN.iter().any(|foreign| name.starts_with(foreign)))
        .filter(|(name, _)| !(cfg!(debug_assertions) && name.starts_with("SEWA_FAULT")))
        .collect()
}

/// Variables whose value is text even if it looks like a number.
const TEXTS: [&str; 12] = [
    "MASTER_KEY",
    "SELLER__NAME",
    "SELLER__NPWP",
    "SELLER__BRANCH",
    "PAYMENTS__TRIPAY__MERCHANT_CODE",
    "PAYMENTS__TRIPAY__API_KEY",
    "PAYMENTS__TRIPAY__PRIVATE_KEY",
    "PAYMENTS__MIDTRANS__SERVER_KEY",
    "PAYMENTS__MIDTRANS__MERCHANT_ID",
    "PAYMENTS__XENDIT__SECRET_KEY",
    "PAYMENTS__XENDIT__CALLBACK_TOKEN",
    "PAYMENTS__XENDIT__USER_ID",
];

/// The key of such a variable.
fn text_key(variable: &str) -> Option<String> {
    let name = variable.strip_prefix("SEWA_")?;
    let known = TEXTS.contains(&name) || name.starts_with("CREDENTIAL_KEYS__");
    known.then(|| name.to_ascii_lowercase().replace("__", "."))
}

impl Config {
    /// Reads the file, if one is named, then variables such as `SEWA_DATABASE_URL` and `SEWA_RATES__ORDER`, which win.
    ///
    /// # Errors
    /// Whatever does not parse, named by its key.
    pub fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let variables = own_variables();
        let texts: Vec<(String, String)> = variables
            .iter()
            .filter_map(|(name, value)| Some((text_key(name)?, value.clone())))
            .collect();
        let environment = config::Environment::with_prefix("SEWA")
            .prefix_separator("_")
            .separator("__")
            .list_separator(",")
            .with_list_parse_key("cors_origins")
            .with_list_parse_key("cors_exposed_headers")
            .try_parsing(true)
            .source(Some(variables));
        builder = builder.add_source(environment);
        for (key, value) in texts {
            builder = builder.set_override(key, value)?;
        }
        let mut read: Self = builder.build()?.try_deserialize()?;
        for (class, limit) in Self::default().rates {
            read.rates.entry(class).or_insert(limit);
        }
        Ok(read)
    }

    /// Everything that is wrong for serving, all at once.
    ///
    /// # Errors
    /// One line for each problem.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        if self.database_url.is_empty() {
            problems.push("database_url (SEWA_DATABASE_URL) is not set; it looks like postgresql://user:password@host/database".to_owned());
        }
        if self.master_key().is_none() {
            problems.push("master_key (SEWA_MASTER_KEY) must be 64 hexadecimal digits; `openssl rand -hex 32` makes one".to_owned());
        }
        for (name, _) in self
            .credential_keys
            .iter()
            .filter(|(name, key)| *name == vault::DERIVED || parse_key(key).is_none())
        {
            problems.push(format!(
                "credential_keys.{name} must be 64 hexadecimal digits, and its name not `{}`",
                vault::DERIVED
            ));
        }
        if !self.credential_key.is_empty()
            && self.credential_key != vault::DERIVED
            && !self.credential_keys.contains_key(&self.credential_key)
        {
            problems.push(format!(
                "credential_key names {}, which is not among credential_keys",
                self.credential_key
            ));
        }
        if !(1..=1_000_000).contains(&self.rupiah_per_dollar) {
            problems.push(format!(
                "rupiah_per_dollar must be 1 to 1000000, not {}",
                self.rupiah_per_dollar
            ));
        }
        if self.database_connections < 4 {
            problems.push("database_connections must be at least 4".to_owned());
        }
        if !matches!(self.log_format.as_str(), "json" | "text") {
            problems.push(format!(
                "log_format must be json or text, not {}",
                self.log_format
            ));
        }
        for (class, limit) in self.rates.iter().filter(|(_, limit)| **limit == 0) {
            problems.push(format!("rates.{class} must be at least 1, not {limit}"));
        }
        if !(1..=3600).contains(&self.access_token_seconds) {
            problems.push(format!(
                "access_token_seconds must be 1 to 3600, not {}: a token cannot be taken back before it ends",
                self.access_token_seconds
            ));
        }
        if !(1..=86_400).contains(&self.step_up_seconds) {
            problems.push(format!(
                "step_up_seconds must be 1 to 86400, not {}",
                self.step_up_seconds
            ));
        }
        if self.provisioning_deadline_seconds == 0 {
            problems.push("provisioning_deadline_seconds must be at least 1".to_owned());
        }
        problems.extend(self.retention.problems());
        if (self.tls_certificate == PathBuf::new()) != (self.tls_key == PathBuf::new()) {
            problems.push("tls_certificate and tls_key are set together, or neither is".to_owned());
        } else if let Err(problem) = self.tls() {
            problems.push(format!("tls_certificate, tls_key: {problem}"));
        }
        if let Err(problem) = self.cors() {
            problems.push(problem);
        }
        problems.extend(self.rest.problems());
        problems.extend(self.console.problems());
        problems.extend(self.payments.problems());
        problems.extend(self.seller.problems());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// What pages of other origins may do.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn cors(&self) -> Result<CorsLayer, String> {
        let mut cors = Cors::default();
        cors.origins.clone_from(&self.cors_origins);
        cors.allowed_headers.push(RETRY_COUNT);
        let named = self.cors_exposed_headers.iter().map(|name| {
            name.parse()
                .map_err(|_| format!("cors_exposed_headers: {name:?} is not the name of a header"))
        });
        let ours = EXPOSED.map(HeaderName::from_static).map(Ok);
        cors.exposed_headers = ours
            .into_iter()
            .chain(named)
            .collect::<Result<_, String>>()?;
        if !(1..=86_400).contains(&self.cors_max_age_seconds) {
            return Err(format!(
                "cors_max_age_seconds must be 1 to 86400, not {}: no browser remembers for longer",
                self.cors_max_age_seconds
            ));
        }
        cors.max_age = Duration::from_secs(self.cors_max_age_seconds);
        cors.layer()
            .map_err(|error| format!("cors_origins: {error}"))
    }

    /// The certificate to serve with; `None` for plain text.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn tls(&self) -> Result<Option<Tls>, TlsError> {
        if self.tls_certificate == PathBuf::new() {
            return Ok(None);
        }
        Tls::read(&self.tls_certificate, &self.tls_key).map(Some)
    }

    /// The master key; `None` if it is missing or malformed.
    pub fn master_key(&self) -> Option<MasterKey> {
        parse_key(&self.master_key).map(MasterKey::new)
    }

    /// What seals the credentials of providers; `None` if a key is missing or malformed.
    pub fn vault(&self) -> Option<Vault> {
        let mut keys = BTreeMap::from([(
            vault::DERIVED.to_owned(),
            self.master_key()?.derive("provider credentials"),
        )]);
        for (name, key) in &self.credential_keys {
            keys.insert(name.clone(), parse_key(key)?);
        }
        let current = if self.credential_key.is_empty() {
            vault::DERIVED
        } else {
            &self.credential_key
        };
        Vault::new(keys, current).ok()
    }

    /// Calls a minute allowed in a rate class.
    pub fn rate(&self, class: &str) -> u32 {
        self.rates
            .get(class)
            .or_else(|| self.rates.get("default"))
            .copied()
            .unwrap_or(100)
    }
}

/// 64 hexadecimal digits.
fn parse_key(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}
