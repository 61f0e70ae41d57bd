//! Webhook signatures against the published vector of Standard Webhooks, and against every way to cheat we could think of.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use sewa_sdk::webhook::{Rejected, Secret, TOLERANCE, sign, verify};

const BODY: &[u8] = br#"{"test": 2432232314}"#;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn secret() -> Secret {
    Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
}

fn other() -> Secret {
    Secret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap()
}

fn vector() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        "webhook-id",
        HeaderValue::from_static("msg_p5jXN8AQM9LWM0D4loKWxJek"),
    );
    headers.insert("webhook-timestamp", HeaderValue::from_static("1614265330"));
    headers.insert(
        "webhook-signature",
        HeaderValue::from_static("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    );
    headers
}

#[test]
fn the_published_vector_verifies() {
    let delivery = verify(&[secret()], &vector(), BODY, at(1_614_265_330), TOLERANCE).unwrap();
    assert_eq!(delivery.id, "msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_eq!(delivery.time, at(1_614_265_330));
}

#[test]
fn the_published_vector_is_what_we_sign() {
    assert_eq!(
        sign(
            &secret(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at(1_614_265_330),
            BODY
        ),
        vector()
    );
}

#[test]
fn during_rotation_either_secret_and_either_signature_will_do() {
    let now = at(1_614_265_330);
    verify(&[other(), secret()], &vector(), BODY, now, TOLERANCE).unwrap();

    let mut both = vector();
    let foreign =
        sign(&other(), "msg_p5jXN8AQM9LWM0D4loKWxJek", now, BODY)["webhook-signature"].clone();
    let list = format!(
        "v1a,unknownscheme {} {}",
        foreign.to_str().unwrap(),
        both["webhook-signature"].to_str().unwrap()
    );
    both.insert("webhook-signature", list.parse().unwrap());
    verify(&[secret()], &both, BODY, now, TOLERANCE).unwrap();
}

#[test]
fn anything_altered_is_refused() {
    let now = at(1_614_265_330);
    assert_eq!(
        verify(&[other()], &vector(), BODY, now, TOLERANCE),
        Err(Rejected::Signature)
    );
    assert_eq!(
        verify(&[], &vector(), BODY, now, TOLERANCE),
        Err(Rejected::Signature)
    );
    assert_eq!(
        verify(&[secret()], &vector(), b"{}", now, TOLERANCE),
        Err(Rejected::Signature)
    );
    for (name, value) in [
        ("webhook-id", "msg_another"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", "v1,"),
        (
            "webhook-signature",
            "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        (
            "webhook-signature",
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ] {
        let mut headers = vector();
        headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(
            verify(&[secret()], &headers, BODY, now, TOLERANCE),
            Err(Rejected::Signature),
            "{name}: {value}"
        );
    }
}

#[test]
fn the_window_is_closed_on_both_sides() {
    let signed = 1_614_265_330;
    verify(&[secret()], &vector(), BODY, at(signed + 300), TOLERANCE).unwrap();
    verify(&[secret()], &vector(), BODY, at(signed - 300), TOLERANCE).unwrap();
    assert_eq!(
        verify(&[secret()], &vector(), BODY, at(signed + 301), TOLERANCE),
        Err(Rejected::TooOld)
    );
    assert_eq!(
        verify(&[secret()], &vector(), BODY, at(signed - 301), TOLERANCE),
        Err(Rejected::TooNew)
    );
}

#[test]
fn missing_and_malformed_headers_are_named() {
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let mut headers = vector();
        headers.remove(name);
        assert_eq!(
            verify(&[secret()], &headers, BODY, at(1_614_265_330), TOLERANCE),
            Err(Rejected::Header(name))
        );
    }
    for time in [
        "",
        "soon",
        "-1",
        "1e9",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        let mut headers = vector();
        headers.insert("webhook-timestamp", HeaderValue::from_str(time).unwrap());
        let result = verify(&[secret()], &headers, BODY, at(1_614_265_330), TOLERANCE);
        assert!(
            matches!(
                result,
                Err(Rejected::Header("webhook-timestamp") | Rejected::TooNew)
            ),
            "{time}: {result:?}"
        );
    }
}

#[test]
fn a_secret_is_never_printed() {
    assert_eq!(format!("{:?}", secret()), "Secret([REDACTED])");
    assert_eq!(
        Secret::parse("whsec_!").unwrap_err(),
        Rejected::MalformedSecret
    );
    assert_eq!(
        Secret::parse("whsec_").unwrap_err(),
        Rejected::MalformedSecret
    );
}
