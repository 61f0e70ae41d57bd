//! Tokens that must not get anybody through: signed by whom we are not, for others, for another time, or read as something else than they are.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Duration;
use serde_json::{Value, json};

use super::*;
use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::service::identity::store::signing;
use crate::service::identity::tokens::{PublicKey, rotate};

/// A signer with one key, and what an attacker does not have: the private key.
struct Platform {
    db: PgPool,
    master: MasterKey,
    signer: Signer,
    key: PublicKey,
    pkcs8: Vec<u8>,
    now: DateTime<Utc>,
}

impl Platform {
    async fn new(db: PgPool) -> Self {
        let (master, now) = (MasterKey::new([7; 32]), Clock.now());
        let signer = Signer::load(&db, &master).await.expect("loads");
        let key = signer.public_keys(now).await.remove(0);
        let mut connection = db.acquire().await.expect("a connection");
        let row = signing::list(&mut connection, now).await.expect("reads");
        let context = format!("signing_keys/{}", key.kid);
        let pkcs8 = master.open(&row[0].private_key_sealed, &context);
        drop(connection);
        Self {
            db,
            master,
            signer,
            key,
            pkcs8: pkcs8.expect("opens"),
            now,
        }
    }

    fn header(&self) -> Value {
        json!({"typ": "JWT", "alg": "ES256", "kid": self.key.kid})
    }

    fn claims(&self) -> Value {
        let now = self.now.timestamp();
        json!({"iss": "sewa", "sub": Uuid::nil(), "role": "super_admin", "sandbox": false, "sid": Uuid::nil(), "iat": now, "nbf": now, "exp": now + 900})
    }

    /// Signs with the platform's own key.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        sign(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &self.pkcs8,
            &unsigned(header, claims),
        )
    }

    async fn refused(&self, what: &str, token: &str) {
        let verdict = self.signer.verify(token, self.now).await;
        assert_eq!(verdict, Err(Refused::Invalid), "{what}: {token}");
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn sign(algorithm: &'static EcdsaSigningAlgorithm, pkcs8: &[u8], text: &str) -> String {
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).expect("a key");
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(signature.expect("signs"));
    format!("{text}.{signature}")
}

fn hmac_signed(secret: &[u8], text: &str) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The same with some members changed; `null` takes one away.
fn with(value: &Value, changes: Value) -> Value {
    let mut changed = value.clone();
    let object = changed.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
    changed
}

#[sqlx::test(migrations = "../migrations")]
async fn an_algorithm_is_not_the_callers_choice(db: sqlx::PgPool) {
    let platform = Platform::new(PgPool::from(db)).await;
    let (header, claims) = (platform.header(), platform.claims());
    let good = platform.signed(&header, &claims);
    assert!(platform.signer.verify(&good, platform.now).await.is_ok());
    let (_, signature) = good.rsplit_once('.').expect("three parts");
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let text = unsigned(&with(&header, json!({"alg": alg})), &claims);
        for token in [
            text.clone(),
            format!("{text}."),
            format!("{text}.{signature}"),
        ] {
            platform.refused(alg, &token).await;
        }
    }
    // Whoever takes the public key for a secret verifies what anybody can sign with it.
    let point = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64");
    let (x, y) = (point(&platform.key.x), point(&platform.key.y));
    let raw = [&[4][..], &x, &y].concat();
    // RFC 5480: the head of a SubjectPublicKeyInfo of P-256.
    let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let head: Vec<u8> = (0..head.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&head[at..at + 2], 16).expect("hex"))
        .collect();
    let der = [&head[..], &raw].concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(&der)
    );
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": platform.key.x, "y": platform.key.y});
    let hs256 = unsigned(&with(&header, json!({"alg": "HS256"})), &claims);
    for secret in [
        b"".to_vec(),
        raw,
        x,
        der,
        pem.trim().into(),
        pem.into(),
        jwk.to_string().into(),
        platform.key.x.clone().into(),
        platform.key.kid.clone().into(),
    ] {
        platform
            .refused("HS256", &hmac_signed(&secret, &hs256))
            .await;
        // The head says ES256, the signature is the other one.
        let text = unsigned(&header, &claims);
        platform
            .refused("a tag as a signature", &hmac_signed(&secret, &text))
            .await;
    }
    for alg in ["HS256", "HS512", "ES384", "RS256", "PS256", "EdDSA"] {
        let header = with(&header, json!({"alg": alg}));
        platform
            .refused(alg, &platform.signed(&header, &claims))
            .await;
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_one_of_ours_whatever_the_head_brings(db: sqlx::PgPool) {
    let platform = Platform::new(PgPool::from(db)).await;
    let (header, claims) = (platform.header(), platform.claims());
    let own = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let pkcs8 = own.to_pkcs8v1().expect("encodes");
    let forged = |header: &Value| {
        let text = unsigned(header, &claims);
        sign(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &text)
    };
    let point = aws_lc_rs::signature::KeyPair::public_key(&own).as_ref()[1..].to_vec();
    let (x, y) = point.split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": platform.key.kid, "x": x, "y": y});
    for changes in [
        json!({}),
        json!({"jwk": jwk}),
        json!({"jku": "https://attacker.example/keys"}),
        json!({"x5u": "https://attacker.example/certificate"}),
        json!({"kid": null}),
        json!({"kid": null, "jwk": jwk}),
        json!({"kid": "", "jwk": jwk}),
        json!({"kid": "attacker", "jwk": jwk}),
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "' union select 1 --"}),
        json!({"kid": 1}),
        json!({"kid": [platform.key.kid]}),
    ] {
        let token = forged(&with(&header, changes.clone()));
        platform.refused(&changes.to_string(), &token).await;
    }
    // The right key under another name than its own.
    for kid in [
        json!(null),
        json!(""),
        json!("other"),
        json!(platform.key.kid.to_lowercase() + "x"),
    ] {
        let header = with(&header, json!({"kid": kid}));
        platform
            .refused("kid", &platform.signed(&header, &claims))
            .await;
    }
    // Two keys of ours, and the name of one with the signature of the other.
    let (fresh, active_at) = rotate(&platform.db, &platform.master, platform.now)
        .await
        .expect("rotates")
        .expect("nobody else does");
    let mixed = platform.signed(&with(&header, json!({"kid": fresh})), &claims);
    let verdict = platform.signer.verify(&mixed, active_at).await;
    assert_eq!(verdict, Err(Refused::Invalid));
}

#[sqlx::test(migrations = "../migrations")]
async fn claims_are_ours_and_of_this_time(db: sqlx::PgPool) {
    let platform = Platform::new(PgPool::from(db)).await;
    let (header, claims) = (platform.header(), platform.claims());
    let now = platform.now.timestamp();
    for changes in [
        json!({"iss": "other"}),
        json!({"iss": "Sewa"}),
        json!({"iss": null}),
        json!({"iss": ["sewa", "other"]}),
        json!({"aud": "other"}),
        json!({"aud": ["sewa", "other"]}),
        json!({"nbf": now + 3600}),
        json!({"nbf": i64::MAX}),
        json!({"nbf": null}),
        json!({"exp": null}),
        json!({"exp": (now + 900).to_string()}),
        json!({"exp": "never"}),
        json!({"exp": 1e300}),
        json!({"sub": null}),
        json!({"sub": "root"}),
        json!({"sid": null}),
        json!({"role": null}),
        json!({"role": ["owner", "super_admin"]}),
        json!({"acc": "*"}),
    ] {
        let token = platform.signed(&header, &with(&claims, changes.clone()));
        platform.refused(&changes.to_string(), &token).await;
    }
    for (exp, ends) in [
        (now, Err(Refused::Expired)),
        (now - 1, Err(Refused::Expired)),
        // No time at all.
        (-1, Err(Refused::Invalid)),
        (now + 1, Ok(())),
    ] {
        let token = platform.signed(&header, &with(&claims, json!({"exp": exp})));
        let verdict = platform.signer.verify(&token, platform.now).await;
        assert_eq!(verdict.map(|_| ()), ends, "{exp}");
    }
    // A role nobody has is nobody's.
    let token = platform.signed(&header, &with(&claims, json!({"role": "root"})));
    let caller = authenticate_user(&platform.signer, &token, platform.now).await;
    assert_eq!(
        caller.err().map(|refusal| refusal.code()),
        Some(tonic::Code::Unauthenticated)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_token_is_read_in_one_way_only(db: sqlx::PgPool) {
    let platform = Platform::new(PgPool::from(db)).await;
    let (header, claims) = (platform.header(), platform.claims());
    let good = platform.signed(&header, &claims);
    let (text, signature) = good.rsplit_once('.').expect("three parts");
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let encoded = |bytes: &[u8]| format!("{text}.{}", URL_SAFE_NO_PAD.encode(bytes));
    let der = sign(&ECDSA_P256_SHA256_ASN1_SIGNING, &platform.pkcs8, text);
    let mut flipped = bytes.clone();
    flipped[63] ^= 1;
    for (what, token) in [
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("two parts", text.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("five parts", format!("{good}..")),
        ("no signature", format!("{text}.")),
        ("a signature of zeros", encoded(&[0; 64])),
        ("a signature that is too short", encoded(&bytes[..63])),
        (
            "a signature that is too long",
            encoded(&[&bytes[..], &[0]].concat()),
        ),
        ("a signature with a bit changed", encoded(&flipped)),
        ("a signature as X.509 writes them", der),
        ("padding", format!("{good}=")),
        ("a space", format!(" {good}")),
        ("a line", format!("{good}\n")),
        ("a NUL", format!("{good}\0")),
        (
            "no JSON",
            format!("{}.{signature}", text.replace("ey", "ay")),
        ),
    ] {
        platform.refused(what, &token).await;
    }
    // Claims that were signed and claims that were not.
    let other = with(&claims, json!({"sub": Uuid::max()}));
    platform
        .refused(
            "changed claims",
            &format!("{}.{signature}", unsigned(&header, &other)),
        )
        .await;
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_that_was_rotated_out_verifies_nothing_any_more(db: sqlx::PgPool) {
    let platform = Platform::new(PgPool::from(db)).await;
    let (_, active_at) = rotate(&platform.db, &platform.master, platform.now)
        .await
        .expect("rotates")
        .expect("nobody else does");
    let retired = active_at + Duration::days(7);
    // Whoever has stolen the old key can sign for any time.
    let lasting = json!({"exp": (retired + Duration::days(365)).timestamp()});
    let token = platform.signed(&platform.header(), &with(&platform.claims(), lasting));
    let last = retired - Duration::seconds(1);
    assert!(platform.signer.verify(&token, last).await.is_ok());
    // The keys were read a second ago, and the old one was among them.
    assert_eq!(
        platform.signer.verify(&token, retired).await,
        Err(Refused::Invalid)
    );
    // And the database may be away for as long as it likes.
    platform.db.close().await;
    let later = retired + Duration::days(30);
    assert_eq!(
        platform.signer.verify(&token, later).await,
        Err(Refused::Invalid)
    );
}
