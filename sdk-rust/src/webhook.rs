//! Checks that a webhook came from Sewa, as <https://www.standardwebhooks.com> describes.
//!
//! The signature covers `id.timestamp.body`, so a captured delivery cannot be altered, nor replayed after the tolerance. Verify the raw bytes of the body: a
//! parsed and re-printed body is another text.
//!
//! ```
//! use sewa_sdk::webhook::{self, Secret};
//! # use std::time::{Duration, SystemTime, UNIX_EPOCH};
//! # let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
//! let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! # let body = br#"{"type":"INSTANCE_ACTIVE"}"#;
//! # let headers = webhook::sign(&secret, "msg_1", now, body);
//! let delivery = webhook::verify(&[secret], &headers, body, now, webhook::TOLERANCE)?;
//! println!("delivery {} is genuine", delivery.id);
//! # Ok::<(), webhook::Rejected>(())
//! ```

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// How far the clocks of sender and receiver may be apart, and how long a captured delivery stays valid.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// A signing secret. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Reads a secret as Sewa shows it, `whsec_` and base64.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let key = STANDARD
            .decode(encoded)
            .map_err(|_| Rejected::MalformedSecret)?;
        if key.is_empty() {
            return Err(Rejected::MalformedSecret);
        }
        Ok(Self(key.into()))
    }

    fn mac(&self, id: &[u8], timestamp: &[u8], body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret())
            .expect("HMAC takes a key of any length");
        for part in [id, b".", timestamp, b".", body] {
            mac.update(part);
        }
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([REDACTED])")
    }
}

/// A delivery whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The same for every repeat of one delivery: keep it to ignore repeats.
    pub id: String,
    /// When it was signed.
    pub time: SystemTime,
}

/// Why a delivery is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The secret is not `whsec_` and base64.
    #[error("the webhook secret is malformed")]
    MalformedSecret,
    /// A header is absent or not as the standard wants it.
    #[error("the header {0} is missing or malformed")]
    Header(&'static str),
    /// Signed too long ago: a replay, or a clock that is wrong.
    #[error("the delivery is too old")]
    TooOld,
    /// Signed in the future.
    #[error("the delivery is from the future")]
    TooNew,
    /// No signature fits any secret.
    #[error("no signature matches")]
    Signature,
}

/// Verifies a delivery. Several secrets are given while one is being rotated out. Time is an argument so that tests need not wait; pass `SystemTime::now()`.
pub fn verify(
    secrets: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
    tolerance: Duration,
) -> Result<Delivery, Rejected> {
    let id = text(headers, ID)?;
    let timestamp = text(headers, TIMESTAMP)?;
    let signatures = text(headers, SIGNATURE)?;

    let seconds: u64 = timestamp.parse().map_err(|_| Rejected::Header(TIMESTAMP))?;
    let time = UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .ok_or(Rejected::Header(TIMESTAMP))?;
    match now.duration_since(time) {
        Ok(age) if age > tolerance => return Err(Rejected::TooOld),
        Err(ahead) if ahead.duration() > tolerance => return Err(Rejected::TooNew),
        _ => {}
    }

    // Every pair is tried to the end, and each comparison takes the same time wherever the bytes differ.
    let mut genuine = false;
    for signature in signatures
        .split(' ')
        .filter_map(|entry| entry.strip_prefix("v1,"))
    {
        let Ok(signature) = STANDARD.decode(signature) else {
            continue;
        };
        for secret in secrets {
            genuine |= secret
                .mac(id.as_bytes(), timestamp.as_bytes(), body)
                .verify_slice(&signature)
                .is_ok();
        }
    }
    if genuine {
        Ok(Delivery {
            id: id.to_owned(),
            time,
        })
    } else {
        Err(Rejected::Signature)
    }
}

/// Makes the headers of a genuine delivery, for tests of a receiver.
///
/// # Panics
/// If the id cannot stand in a header, or the time is before 1970.
pub fn sign(secret: &Secret, id: &str, time: SystemTime, body: &[u8]) -> HeaderMap {
    let timestamp = time
        .duration_since(UNIX_EPOCH)
        .expect("deliveries are signed after 1970")
        .as_secs()
        .to_string();
    let mac = secret
        .mac(id.as_bytes(), timestamp.as_bytes(), body)
        .finalize()
        .into_bytes();
    let value =
        |text: &str| HeaderValue::from_str(text).expect("an id of a delivery is visible ASCII");
    let mut headers = HeaderMap::new();
    headers.insert(ID, value(id));
    headers.insert(TIMESTAMP, value(&timestamp));
    headers.insert(SIGNATURE, value(&format!("v1,{}", STANDARD.encode(mac))));
    headers
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Rejected> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
        .ok_or(Rejected::Header(name))
}
