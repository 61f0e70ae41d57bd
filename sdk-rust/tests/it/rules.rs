//! Rules are read from descriptors, of this contract and of any other.

use std::time::Duration;

use prost_reflect::DescriptorPool;
use sewa_sdk::{Repeat, RetryClass, Rules, Shape};

#[test]
fn the_contract_is_read_whole() {
    let rules = Rules::contract();
    for service in sewa_sdk::pool()
        .services()
        .filter(|service| service.full_name().starts_with("sewa."))
    {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let rule = rules
                .method(&path)
                .unwrap_or_else(|| panic!("{path} has no rule"));
            assert!(rule.default_deadline.is_some(), "{path} has no deadline");
        }
    }
    let order = rules
        .method("/sewa.order.v1.OrderService/PlaceOrder")
        .unwrap();
    assert_eq!(
        (order.repeat, order.public, order.shape),
        (Repeat::Keyed, false, Shape::Unary)
    );
    assert_eq!(order.default_deadline, Some(Duration::from_secs(10)));
    let login = rules
        .method("/sewa.identity.v1.IdentityService/Login")
        .unwrap();
    assert_eq!((login.repeat, login.public), (Repeat::Unsafe, true));
    assert_eq!(
        rules
            .method("/sewa.wallet.v1.WalletService/GetWallet")
            .unwrap()
            .repeat,
        Repeat::Free
    );
    assert_eq!(
        rules
            .method("/sewa.event.v1.EventService/WatchEvents")
            .unwrap()
            .shape,
        Shape::ServerStream
    );
    assert!(rules.method("/sewa.order.v1.OrderService/Nope").is_none());
    assert_eq!(
        rules.reason("RATE_LIMITED").unwrap().retry,
        RetryClass::Call
    );
    assert_eq!(
        rules.reason("ETAG_MISMATCH").unwrap().retry,
        RetryClass::UnitOfWork
    );
    assert_eq!(
        rules.reason("EMAIL_TAKEN").unwrap().retry,
        RetryClass::Nothing
    );
    assert!(rules.reason("UNSPECIFIED").is_none());
}

const OTHER: &str = r#"
syntax = "proto3";
package other.v1;
import "sewa/api/v1/options.proto";
service Other {
  rpc Plain(Nothing) returns (Nothing);
  rpc Upload(stream Nothing) returns (Nothing) { option (sewa.api.v1.method) = {idempotency: IDEMPOTENCY_MODE_KEY_OPTIONAL}; }
  rpc Half(Nothing) returns (Nothing) { option (sewa.api.v1.method) = {public: true deadline: {default: {nanos: 500000000}}}; }
}
message Nothing {}
enum OtherErrorReason {
  OTHER_ERROR_REASON_UNSPECIFIED = 0;
  OTHER_ERROR_REASON_SHARED = 1 [(sewa.api.v1.error) = {code: "ABORTED" retry: RETRY_CLASS_CALL remedy: "Again."}];
  OTHER_ERROR_REASON_MIXED = 2 [(sewa.api.v1.error) = {code: "ABORTED" retry: RETRY_CLASS_NOTHING remedy: "Never."}];
}
enum StrictErrorReason {
  STRICT_ERROR_REASON_UNSPECIFIED = 0;
  STRICT_ERROR_REASON_SHARED = 1 [(sewa.api.v1.error) = {code: "ABORTED" retry: RETRY_CLASS_NOTHING remedy: "Never."}];
  STRICT_ERROR_REASON_MIXED = 2 [(sewa.api.v1.error) = {code: "ABORTED" retry: RETRY_CLASS_UNIT_OF_WORK remedy: "Anew."}];
}
"#;

#[test]
fn another_contract_with_the_same_options_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("other.proto"), OTHER).unwrap();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut compiler = protox::Compiler::new([dir.path(), contract.as_ref()]).unwrap();
    compiler
        .include_imports(true)
        .open_file("other.proto")
        .unwrap();
    let rules = Rules::read(
        &DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap(),
    );

    let plain = rules.method("/other.v1.Other/Plain").unwrap();
    assert_eq!(
        (plain.repeat, plain.default_deadline, plain.public),
        (Repeat::Unsafe, None, false)
    );
    let upload = rules.method("/other.v1.Other/Upload").unwrap();
    assert_eq!(
        (upload.repeat, upload.shape),
        (Repeat::Keyed, Shape::ClientStream)
    );
    let half = rules.method("/other.v1.Other/Half").unwrap();
    assert_eq!(
        (half.public, half.default_deadline),
        (true, Some(Duration::from_millis(500)))
    );
    // Of two pieces of advice the careful one wins, whichever comes first.
    for shared in ["SHARED", "MIXED"] {
        let rule = rules.reason(shared).unwrap();
        assert_eq!(
            (rule.retry, rule.remedy.as_str()),
            (RetryClass::Nothing, "Never.")
        );
    }
    assert_eq!(Rules::read(&DescriptorPool::new()).reason("SHARED"), None);
}
