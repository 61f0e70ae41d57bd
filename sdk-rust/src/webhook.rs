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
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use prost_reflect::{DeserializeOptions, DynamicMessage};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::sewa::event::v1::{Event, EventType};

/// How far the clocks of sender and receiver may be apart, and how long a captured delivery stays valid.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// A key deliveries are signed or verified with. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    /// Shared by both sides: scheme `v1`, HMAC with SHA-256.
    Shared(SecretSlice<u8>),
    /// The sender's: scheme `v1a`, Ed25519.
    Private(Box<SigningKey>),
    /// The receiver's half of it.
    Public(Box<VerifyingKey>),
}

impl Secret {
    /// Reads a key as Standard Webhooks writes it: `whsec_` and base64 is a shared secret (scheme `v1`), `whpk_` the public key of a sender (scheme `v1a`), and
    /// `whsk_` a private key, of which only senders and tests of receivers have use.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        if let Some(encoded) = text.strip_prefix("whpk_") {
            let key = VerifyingKey::from_bytes(&bytes(encoded)?);
            let key = key.map_err(|_| Rejected::MalformedSecret)?;
            return Ok(Self(Kind::Public(Box::new(key))));
        }
        if let Some(encoded) = text.strip_prefix("whsk_") {
            let key = SigningKey::from_keypair_bytes(&bytes(encoded)?);
            let key = key.map_err(|_| Rejected::MalformedSecret)?;
            return Ok(Self(Kind::Private(Box::new(key))));
        }
        let encoded = text.strip_prefix("whsec_").unwrap_or(text);
        let key = STANDARD
            .decode(encoded)
            .map_err(|_| Rejected::MalformedSecret)?;
        if key.is_empty() {
            return Err(Rejected::MalformedSecret);
        }
        Ok(Self(Kind::Shared(key.into())))
    }

    /// Whether this entry of the signature header is one of this key. Comparing takes the same time wherever the bytes differ.
    fn fits(&self, entry: &str, signed: &[u8]) -> bool {
        let decoded = |scheme: &str| STANDARD.decode(entry.strip_prefix(scheme)?).ok();
        let key = match &self.0 {
            Kind::Shared(secret) => {
                return decoded("v1,")
                    .is_some_and(|signature| mac(secret, signed).verify_slice(&signature).is_ok());
            }
            Kind::Private(key) => &key.verifying_key(),
            Kind::Public(key) => key,
        };
        decoded("v1a,")
            .and_then(|signature| Signature::from_slice(&signature).ok())
            .is_some_and(|signature| key.verify(signed, &signature).is_ok())
    }

    fn sign(&self, signed: &[u8]) -> Option<String> {
        match &self.0 {
            Kind::Shared(secret) => {
                let signature = mac(secret, signed).finalize().into_bytes();
                Some(format!("v1,{}", STANDARD.encode(signature)))
            }
            Kind::Private(key) => {
                let signature = key.sign(signed).to_bytes();
                Some(format!("v1a,{}", STANDARD.encode(signature)))
            }
            Kind::Public(_) => None,
        }
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
    /// The key is not `whsec_`, `whpk_` or `whsk_` and base64 of a key.
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
    /// The body is no event of the platform.
    #[error("the body is not an event")]
    Body,
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

    // Every pair is tried to the end, so that time tells nothing about which one fits.
    let signed = signed(id, timestamp, body);
    let mut genuine = false;
    for entry in signatures.split(' ') {
        for secret in secrets {
            genuine |= secret.fits(entry, &signed);
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
/// If the id cannot stand in a header, the time is before 1970, or the key is a public one.
pub fn sign(secret: &Secret, id: &str, time: SystemTime, body: &[u8]) -> HeaderMap {
    let timestamp = time
        .duration_since(UNIX_EPOCH)
        .expect("deliveries are signed after 1970")
        .as_secs()
        .to_string();
    let signature = secret
        .sign(&signed(id, &timestamp, body))
        .expect("a public key cannot sign");
    let value =
        |text: &str| HeaderValue::from_str(text).expect("an id of a delivery is visible ASCII");
    let mut headers = HeaderMap::new();
    headers.insert(ID, value(id));
    headers.insert(TIMESTAMP, value(&timestamp));
    headers.insert(SIGNATURE, value(&signature));
    headers
}

/// What a delivery tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Name of the type, for example `EVENT_TYPE_ORDER_ACTIVE`; kept as it came if this build does not know it.
    pub type_name: String,
    /// The event. Its `type` is unspecified where this build does not know the name.
    pub event: Event,
}

/// Reads the event in the body of a verified delivery. What a later contract added to it is left out.
///
/// # Errors
/// [`Rejected::Body`] if the body is no event.
pub fn event(body: &[u8]) -> Result<Told, Rejected> {
    let refused = |_| Rejected::Body;
    let mut json: serde_json::Value = serde_json::from_slice(body).map_err(refused)?;
    let fields = json.as_object_mut().ok_or(Rejected::Body)?;
    let type_name = fields.get("type").and_then(serde_json::Value::as_str);
    let type_name = type_name.ok_or(Rejected::Body)?.to_owned();
    if EventType::from_str_name(&type_name).is_none() {
        fields.remove("type");
    }
    let kind = crate::pool().get_message_by_name("sewa.event.v1.Event");
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message =
        DynamicMessage::deserialize_with_options(kind.ok_or(Rejected::Body)?, json, &options);
    let event = message.map_err(refused)?.transcode_to();
    let event: Event = event.map_err(|_| Rejected::Body)?;
    if event.id.is_empty() {
        return Err(Rejected::Body);
    }
    Ok(Told { type_name, event })
}

fn bytes<const N: usize>(encoded: &str) -> Result<[u8; N], Rejected> {
    let decoded = STANDARD.decode(encoded).ok();
    decoded
        .and_then(|key| key.try_into().ok())
        .ok_or(Rejected::MalformedSecret)
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn mac(secret: &SecretSlice<u8>, signed: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(secret.expose_secret())
        .expect("HMAC takes a key of any length")
        .chain_update(signed)
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Rejected> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
        .ok_or(Rejected::Header(name))
}
