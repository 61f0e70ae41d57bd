//! Access tokens, the keys that sign them, and refresh tokens.
//!
//! An access token is a JWT that any party can verify with the published keys. A refresh token is sealed by the master key over its family and number: it
//! cannot be forged or read, needs no row of its own, and an old one is recognised for ever.

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Duration, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::crypto::{self, MasterKey};
use crate::base::db::PgPool;
use crate::service::identity::model::{self, Family};
use crate::service::identity::store::signing::{self, Row};

/// `iss` of every access token.
const ISSUER: &str = "sewa";
/// Clocks of replicas may differ by this much.
const LEEWAY_SECONDS: i64 = 30;
/// Keys are read again after this time, so that a rotation reaches every replica well before its new key signs.
const KEEP: Duration = Duration::minutes(1);
/// A token under an unknown key makes a replica look for new keys, but not more often than this.
const LOOK_AGAIN: Duration = Duration::seconds(5);
/// A rotated key is published this long before it signs: clients keep the key set for five minutes.
const ANNOUNCE: Duration = Duration::minutes(10);
/// A replaced key stays published for this time.
const RETIRE: Duration = Duration::days(7);
/// What a refresh token begins with.
const REFRESH_PREFIX: &str = "srt_";
/// What the master key is told it seals.
const REFRESH_CONTEXT: &str = "refresh token";

/// What an access token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always `sewa`.
    pub iss: String,
    /// The user.
    pub sub: Uuid,
    /// The account; absent for staff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acc: Option<Uuid>,
    /// The role.
    pub role: String,
    /// True for a sandbox account.
    pub sandbox: bool,
    /// The refresh family: one sign-in.
    pub sid: Uuid,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Not valid before, Unix seconds.
    pub nbf: i64,
    /// Valid before, Unix seconds.
    pub exp: i64,
    /// When the person last confirmed that it is them, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How, in the words of RFC 8176: `pwd` and `otp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
}

impl Claims {
    /// The issuer's own claims filled in.
    pub fn new(
        sub: Uuid,
        acc: Option<Uuid>,
        role: &str,
        sandbox: bool,
        sid: Uuid,
        now: DateTime<Utc>,
        lifetime: Duration,
    ) -> Self {
        let iat = now.timestamp();
        Self {
            iss: ISSUER.to_owned(),
            sub,
            acc,
            role: role.to_owned(),
            sandbox,
            sid,
            iat,
            nbf: iat,
            exp: (now + lifetime).timestamp(),
            auth_time: None,
            amr: Vec::new(),
        }
    }

    /// The same, saying what the session has confirmed.
    #[must_use]
    pub fn confirmed(self, family: &Family) -> Self {
        let means: &[&str] = if family.second_factor {
            &["pwd", "otp"]
        } else {
            &["pwd"]
        };
        Self {
            auth_time: family.confirmed_at.map(|at| at.timestamp()),
            amr: family.confirmed_at.map_or_else(Vec::new, |_| {
                means.iter().map(|m| (*m).to_owned()).collect()
            }),
            ..self
        }
    }
}

/// Why an access token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It does not verify, or is not one of ours.
    Invalid,
    /// It is genuine and has expired.
    Expired,
}

/// A public key, as published.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Key id.
    pub kid: String,
    /// The point's x coordinate, base64url.
    pub x: String,
    /// The point's y coordinate, base64url.
    pub y: String,
    /// When it begins to sign.
    pub active_at: DateTime<Utc>,
    /// When it stops being published.
    pub retire_at: Option<DateTime<Utc>>,
}

impl PublicKey {
    /// Whether it is one of ours at a time: keys are read now and then, and not while the database is away.
    fn is_published(&self, now: DateTime<Utc>) -> bool {
        self.retire_at.is_none_or(|at| at > now)
    }
}

struct Key {
    public: PublicKey,
    signs: EncodingKey,
    verifies: DecodingKey,
}

struct Keys {
    read_at: DateTime<Utc>,
    newest_first: Arc<[Key]>,
}

/// Signs and verifies access tokens.
pub struct Signer {
    db: PgPool,
    master: MasterKey,
    lifetime: Duration,
    keys: RwLock<Arc<Keys>>,
    reading: tokio::sync::Mutex<()>,
}

impl Signer {
    /// Reads the keys, and makes the first one on an empty database.
    ///
    /// # Errors
    /// Of the database; if the master key is not the one the keys were sealed with.
    pub async fn load(db: &PgPool, master: &MasterKey) -> anyhow::Result<Self> {
        let now = Clock.now();
        let mut connection = db.acquire().await?;
        if signing::newest_generation(&mut connection).await?.is_none() {
            // Another replica may do the same at this moment; one row stays, and the next statement reads it.
            make(&mut connection, master, 1, now, now).await?;
        }
        let keys = read(&mut connection, master, now).await?;
        Ok(Self {
            db: db.clone(),
            master: master.clone(),
            lifetime: model::ACCESS_LIFETIME,
            keys: RwLock::new(Arc::new(keys)),
            reading: tokio::sync::Mutex::new(()),
        })
    }

    /// The same, whose access tokens are valid for another time.
    #[must_use]
    pub fn lasting(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// How long an access token is valid.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs an access token.
    ///
    /// # Errors
    /// If there is no key, which `load` prevents.
    pub async fn sign(&self, claims: &Claims, now: DateTime<Utc>) -> anyhow::Result<String> {
        let keys = self.keys_read_within(KEEP, now).await;
        let key = keys
            .newest_first
            .iter()
            .find(|key| key.public.active_at <= now)
            .or(keys.newest_first.last())
            .context("there is no signing key")?;
        let header = Header {
            kid: Some(key.public.kid.clone()),
            ..Header::new(Algorithm::ES256)
        };
        Ok(jsonwebtoken::encode(&header, claims, &key.signs)?)
    }

    /// Verifies an access token. Its own header decides nothing but which of our keys to use.
    ///
    /// # Errors
    /// Why it was refused.
    pub async fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, Refused> {
        let kid = jsonwebtoken::decode_header(token)
            .ok()
            .and_then(|header| header.kid)
            .ok_or(Refused::Invalid)?;
        let mut keys = self.keys_read_within(KEEP, now).await;
        if !keys.newest_first.iter().any(|key| key.public.kid == kid) {
            keys = self.keys_read_within(LOOK_AGAIN, now).await;
        }
        let key = keys
            .newest_first
            .iter()
            .find(|key| key.public.kid == kid && key.public.is_published(now))
            .ok_or(Refused::Invalid)?;
        let mut rules = Validation::new(Algorithm::ES256);
        // The library would ask the wall clock; times are checked below against the time of the call.
        rules.validate_exp = false;
        rules.set_issuer(&[ISSUER]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.verifies, &rules)
            .map_err(|_| Refused::Invalid)?
            .claims;
        if claims.nbf > now.timestamp() + LEEWAY_SECONDS || claims.iss != ISSUER {
            Err(Refused::Invalid)
        } else if claims.exp <= now.timestamp() {
            Err(Refused::Expired)
        } else {
            Ok(claims)
        }
    }

    /// The keys to publish, newest first.
    pub async fn public_keys(&self, now: DateTime<Utc>) -> Vec<PublicKey> {
        let keys = self.keys_read_within(KEEP, now).await;
        keys.newest_first
            .iter()
            .filter(|key| key.public.is_published(now))
            .map(|key| key.public.clone())
            .collect()
    }

    /// Seals refresh token number `generation` of a family.
    ///
    /// # Errors
    /// Never in practice, as sealing does not fail.
    pub fn seal_refresh(&self, family: Uuid, generation: i32) -> anyhow::Result<String> {
        let plain = [family.as_bytes().as_slice(), &generation.to_be_bytes()].concat();
        Ok(format!(
            "{REFRESH_PREFIX}{}",
            URL_SAFE_NO_PAD.encode(self.master.seal(&plain, REFRESH_CONTEXT)?)
        ))
    }

    /// Opens a refresh token; `None` if it is not one of ours.
    pub fn open_refresh(&self, token: &str) -> Option<(Uuid, i32)> {
        let sealed = URL_SAFE_NO_PAD
            .decode(token.strip_prefix(REFRESH_PREFIX)?)
            .ok()?;
        let plain = self.master.open(&sealed, REFRESH_CONTEXT).ok()?;
        let (family, generation) = plain.split_first_chunk::<16>()?;
        Some((
            Uuid::from_bytes(*family),
            i32::from_be_bytes(generation.try_into().ok()?),
        ))
    }

    /// The keys, read again if the last reading is older than `age`. One caller reads and the others go on with the keys known; if the database is away, those are
    /// better than none.
    async fn keys_read_within(&self, age: Duration, now: DateTime<Utc>) -> Arc<Keys> {
        let known = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        if now - known.read_at < age {
            return known;
        }
        let Ok(_reading) = self.reading.try_lock() else {
            return known;
        };
        let keys = self.read_again(now).await.unwrap_or_else(|cause| {
            tracing::warn!(%cause, "signing keys not read again");
            Keys {
                read_at: now,
                newest_first: Arc::clone(&known.newest_first),
            }
        });
        let keys = Arc::new(keys);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        keys
    }

    async fn read_again(&self, now: DateTime<Utc>) -> anyhow::Result<Keys> {
        let mut connection = self.db.acquire().await?;
        read(&mut connection, &self.master, now).await
    }
}

/// Makes the next signing key and retires the others. Returns its id and when it begins to sign; `None` if another rotation was faster.
///
/// # Errors
/// Of the database.
pub async fn rotate(
    db: &PgPool,
    master: &MasterKey,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<(String, DateTime<Utc>)>> {
    let mut tx = db.begin().await?;
    let newest = signing::newest_generation(&mut tx).await?.unwrap_or(0);
    let active_at = if newest == 0 { now } else { now + ANNOUNCE };
    let made = make(&mut tx, master, newest + 1, now, active_at).await?;
    if made.is_some() {
        signing::retire_before(&mut tx, newest + 1, active_at + RETIRE).await?;
    }
    tx.commit().await?;
    Ok(made.map(|kid| (kid, active_at)))
}

async fn make(
    connection: &mut PgConnection,
    master: &MasterKey,
    generation: i32,
    now: DateTime<Utc>,
    active_at: DateTime<Utc>,
) -> anyhow::Result<Option<String>> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| anyhow::anyhow!("making a signing key failed"))?;
    let pkcs8 = pair
        .to_pkcs8v1()
        .map_err(|_| anyhow::anyhow!("encoding a signing key failed"))?;
    let public_key = pair.public_key().as_ref().to_vec();
    let kid = thumbprint(&coordinates(&public_key)?);
    let private_key_sealed = master.seal(pkcs8.as_ref(), &context(&kid))?;
    let row = Row {
        kid,
        generation,
        public_key,
        private_key_sealed,
        created_at: now,
        active_at,
        retire_at: None,
    };
    Ok(signing::insert(connection, &row).await?.then_some(row.kid))
}

async fn read(
    connection: &mut PgConnection,
    master: &MasterKey,
    now: DateTime<Utc>,
) -> anyhow::Result<Keys> {
    let mut newest_first = Vec::new();
    for row in signing::list(connection, now).await? {
        let pkcs8 = master.open(&row.private_key_sealed, &context(&row.kid))?;
        let (x, y) = coordinates(&row.public_key)?;
        let verifies = DecodingKey::from_ec_components(&x, &y)?;
        let public = PublicKey {
            kid: row.kid,
            x,
            y,
            active_at: row.active_at,
            retire_at: row.retire_at,
        };
        newest_first.push(Key {
            public,
            signs: EncodingKey::from_ec_der(&pkcs8),
            verifies,
        });
    }
    Ok(Keys {
        read_at: now,
        newest_first: newest_first.into(),
    })
}

fn context(kid: &str) -> String {
    format!("signing_keys/{kid}")
}

/// The coordinates of an uncompressed point: 0x04, x, y.
fn coordinates(public_key: &[u8]) -> anyhow::Result<(String, String)> {
    match public_key {
        [4, point @ ..] if point.len() == 64 => {
            let (x, y) = point.split_at(32);
            Ok((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
        }
        _ => anyhow::bail!("not an uncompressed P-256 point"),
    }
}

/// RFC 7638: the digest of the key's required members in alphabetical order.
fn thumbprint((x, y): &(String, String)) -> String {
    URL_SAFE_NO_PAD.encode(crypto::digest(
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes(),
    ))
}
