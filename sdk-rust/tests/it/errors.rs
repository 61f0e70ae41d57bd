//! Nothing a status carries is lost on the way to the typed error.

use std::collections::HashMap;
use std::time::Duration;

use prost::{Message, Name};
use sewa_sdk::{Error, FieldViolation, QuotaViolation, RetryClass};
use tonic::{Code, Status};
use tonic_types::pb;

fn any<M: Message>(name: &str, message: &M) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value: message.encode_to_vec(),
    }
}

fn status(code: Code, details: Vec<prost_types::Any>) -> Status {
    let encoded = pb::Status {
        code: code as i32,
        message: "m".into(),
        details,
    }
    .encode_to_vec();
    Status::with_details(code, "m", encoded.into())
}

#[test]
fn every_detail_is_read() {
    let violation = pb::bad_request::FieldViolation {
        field: "items[2].plan_id".into(),
        description: "must be a UUID".into(),
        reason: "STRING_UUID".into(),
        localized_message: None,
    };
    let quota = pb::quota_failure::Violation {
        subject: "account:1".into(),
        description: "20 instances".into(),
        quota_metric: "instances".into(),
        quota_value: 20,
        ..Default::default()
    };
    let error = Error::from(status(
        Code::ResourceExhausted,
        vec![
            any(
                "ErrorInfo",
                &pb::ErrorInfo {
                    reason: "RATE_LIMITED".into(),
                    domain: "sewa".into(),
                    metadata: HashMap::from([("rate_class".into(), "order".into())]),
                },
            ),
            any(
                "RetryInfo",
                &pb::RetryInfo {
                    retry_delay: Some(prost_types::Duration {
                        seconds: 2,
                        nanos: 500_000_000,
                    }),
                },
            ),
            any(
                "BadRequest",
                &pb::BadRequest {
                    field_violations: vec![violation.clone(), violation],
                },
            ),
            any(
                "QuotaFailure",
                &pb::QuotaFailure {
                    violations: vec![quota],
                },
            ),
            any(
                "LocalizedMessage",
                &pb::LocalizedMessage {
                    locale: "id".into(),
                    message: "terlalu banyak".into(),
                },
            ),
            any(
                "RequestInfo",
                &pb::RequestInfo {
                    request_id: "r1".into(),
                    serving_data: String::new(),
                },
            ),
            prost_types::Any {
                type_url: "type.googleapis.com/of.the.Future".into(),
                value: vec![1, 2, 3],
            },
        ],
    ));
    let expected = FieldViolation {
        field: "items[2].plan_id".into(),
        reason: "STRING_UUID".into(),
        description: "must be a UUID".into(),
    };
    assert!(error.is("RATE_LIMITED") && !error.is("rate_limited"));
    assert_eq!(error.metadata("rate_class"), Some("order"));
    assert_eq!(error.field_violations(), [expected.clone(), expected]);
    assert_eq!(
        error.quota_violations(),
        [QuotaViolation {
            subject: "account:1".into(),
            metric: "instances".into(),
            limit: 20,
            description: "20 instances".into()
        }]
    );
    assert_eq!(error.localized_message(), Some("terlalu banyak"));
    assert_eq!(error.request_id(), Some("r1"));
    assert_eq!(
        (error.retry().class, error.retry().after),
        (RetryClass::Call, Some(Duration::from_millis(2500)))
    );
    assert_eq!(error.remedy(), Some("Wait as long as RetryInfo says."));
    let text = error.to_string();
    assert!(
        text.contains("RATE_LIMITED")
            && text.contains("items[2].plan_id: must be a UUID")
            && text.contains("r1"),
        "{text}"
    );
    assert_eq!(Status::from(error).code(), Code::ResourceExhausted);
}

#[test]
fn malformed_details_cost_only_themselves() {
    let error = Error::from(Status::with_details(
        Code::Aborted,
        "m",
        vec![0xff; 9].into(),
    ));
    assert_eq!(
        (error.code(), error.message(), error.reason()),
        (Code::Aborted, "m", None)
    );

    let broken = prost_types::Any {
        type_url: "type.googleapis.com/google.rpc.BadRequest".into(),
        value: vec![0xff; 9],
    };
    let negative = any(
        "RetryInfo",
        &pb::RetryInfo {
            retry_delay: Some(prost_types::Duration {
                seconds: -5,
                nanos: 0,
            }),
        },
    );
    let info = any(
        "ErrorInfo",
        &pb::ErrorInfo {
            reason: "UNAVAILABLE".into(),
            ..Default::default()
        },
    );
    let error = Error::from(status(Code::Unavailable, vec![broken, negative, info]));
    assert!(error.is("UNAVAILABLE") && error.field_violations().is_empty());
    assert_eq!(error.retry().after, None);
}

#[test]
fn an_error_prints_no_response_metadata() {
    let mut status = Status::unauthenticated("no");
    status
        .metadata_mut()
        .insert("set-cookie", "hunter2".parse().unwrap());
    assert!(!format!("{:?}", Error::from(status)).contains("hunter2"));
}

#[test]
fn the_names_of_details_are_those_of_google() {
    assert_eq!(
        prost_types::Duration::full_name(),
        "google.protobuf.Duration"
    );
}
