//! The committed contract, changed in memory one thing at a time, as JSON of its descriptor set: what must be found, and what must not.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};

use super::{Finding, compare, load};

const METHOD: &str = "[sewa.api.v1.method]";
const HTTP: &str = "[google.api.http]";
const ERROR: &str = "[sewa.api.v1.error]";
const RULES: &str = "[buf.validate.field]";
const BEHAVIOR: &str = "[google.api.field_behavior]";
const SECRET: &str = "[sewa.api.v1.secret]";

const PLACE_ORDER: &str = "sewa.order.v1.OrderService.PlaceOrder";
const GET_ORDER: &str = "sewa.order.v1.OrderService.GetOrder";
const HOSTNAME: &str = "sewa.order.v1.OrderDraft.hostname";
const PRICE_CHANGED: &str = "sewa.order.v1.OrderErrorReason.ORDER_ERROR_REASON_PRICE_CHANGED";

fn set_type() -> prost_reflect::MessageDescriptor {
    sewa_sdk::pool()
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .expect("options import descriptor.proto")
}

fn contract() -> Value {
    let set = DynamicMessage::decode(set_type(), sewa_sdk::DESCRIPTORS)
        .expect("the committed set decodes");
    serde_json::to_value(&set).expect("descriptors have JSON")
}

fn pool(contract: &Value) -> DescriptorPool {
    let set = DynamicMessage::deserialize(set_type(), contract).expect("JSON of a descriptor set");
    load(&set.encode_to_vec()).expect("a complete descriptor set")
}

/// What a change of the contract is reported as.
fn findings(change: impl Fn(&mut Value)) -> Vec<Finding> {
    let mut changed = contract();
    change(&mut changed);
    compare(sewa_sdk::pool(), &pool(&changed))
}

/// The element of one of `lists` that has this name.
fn named<'j>(owner: &'j mut Value, lists: &[&str], name: &str) -> Option<&'j mut Value> {
    let list = lists.iter().find(|list| {
        owner[**list]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["name"] == name))
    })?;
    owner[*list]
        .as_array_mut()?
        .iter_mut()
        .find(|one| one["name"] == name)
}

/// The declaration with this full name.
fn at<'j>(contract: &'j mut Value, full_name: &str) -> &'j mut Value {
    let files = contract["file"].as_array_mut().expect("files");
    let package = |file: &Value| format!("{}.", file["package"].as_str().unwrap_or_default());
    let file = files
        .iter_mut()
        .find(|file| {
            full_name.strip_prefix(&package(file)).is_some_and(|rest| {
                let first = rest.split('.').next().unwrap_or_default();
                ["service", "messageType", "enumType"].iter().any(|list| {
                    file[*list]
                        .as_array()
                        .is_some_and(|all| all.iter().any(|one| one["name"] == first))
                })
            })
        })
        .expect("a file");
    let rest = full_name[package(file).len()..].to_owned();
    let lists = [
        "service",
        "messageType",
        "enumType",
        "nestedType",
        "method",
        "field",
        "value",
    ];
    rest.split('.').fold(file, |owner, name| {
        named(owner, &lists, name).unwrap_or_else(|| panic!("{full_name}: no {name}"))
    })
}

fn option<'j>(contract: &'j mut Value, full_name: &str, option: &str) -> &'j mut Value {
    &mut at(contract, full_name)["options"][option]
}

/// Replaces a text in every comment that has it.
fn recomment(contract: &mut Value, from: &str, to: &str) {
    let mut replaced = 0;
    for file in contract["file"].as_array_mut().expect("files") {
        for location in file["sourceCodeInfo"]["location"]
            .as_array_mut()
            .into_iter()
            .flatten()
        {
            if let Some(text) = location["leadingComments"]
                .as_str()
                .filter(|text| text.contains(from))
            {
                location["leadingComments"] = text.replace(from, to).into();
                replaced += 1;
            }
        }
    }
    assert!(replaced > 0, "no comment says {from}");
}

fn remove_from(list: &mut Value, item: &str) {
    let list = list.as_array_mut().expect("a list");
    let before = list.len();
    list.retain(|one| one != item);
    assert!(list.len() < before, "no {item}");
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(list) => list.push(item),
        other => *other = json!([item]),
    }
}

fn new_field(name: &str, options: Value) -> Value {
    json!({"name": name, "jsonName": name, "number": 900, "label": "LABEL_OPTIONAL", "type": "TYPE_STRING", "options": options})
}

type Change = fn(&mut Value);

/// Rule, place, change.
const BREAKING: &[(&str, &str, Change)] = &[
    ("REST_METHOD_CHANGED", PLACE_ORDER, |c| {
        *option(c, PLACE_ORDER, HTTP) = json!({"put": "/v1/orders", "body": "*"})
    }),
    ("REST_PATH_CHANGED", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, HTTP)["post"] = json!("/v1/order")
    }),
    ("REST_BODY_CHANGED", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, HTTP)["body"] = json!("draft")
    }),
    ("REST_RESPONSE_BODY_CHANGED", GET_ORDER, |c| {
        option(c, GET_ORDER, HTTP)["responseBody"] = json!("")
    }),
    ("REST_BINDING_REMOVED", GET_ORDER, |c| {
        at(c, GET_ORDER)["options"] = json!({METHOD: option(c, GET_ORDER, METHOD).clone()});
    }),
    ("ACCESS_CHANGED", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, METHOD)["permission"] = json!("orders.write")
    }),
    ("ACCESS_CHANGED", GET_ORDER, |c| {
        let rule = option(c, GET_ORDER, METHOD)
            .as_object_mut()
            .expect("a rule");
        rule.remove("permission");
        rule.insert("public".to_owned(), json!(true));
    }),
    ("STEP_UP_ADDED", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, METHOD)["stepUp"] = json!(true)
    }),
    (
        "IDEMPOTENCY_CHANGED",
        "sewa.order.v1.OrderService.CancelOrder",
        |c| {
            option(c, "sewa.order.v1.OrderService.CancelOrder", METHOD)["idempotency"] =
                json!("IDEMPOTENCY_MODE_KEY_REQUIRED");
        },
    ),
    ("IDEMPOTENCY_CHANGED", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, METHOD)["idempotency"] = json!("IDEMPOTENCY_MODE_NONE")
    }),
    ("RATE_CLASS_CHANGED", GET_ORDER, |c| {
        option(c, GET_ORDER, METHOD)["rate"] = json!("order")
    }),
    ("DEADLINE_SHRUNK", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, METHOD)["deadline"]["default"] = json!("2s")
    }),
    ("DEADLINE_SHRUNK", PLACE_ORDER, |c| {
        option(c, PLACE_ORDER, METHOD)["deadline"]["max"] = json!("29.500s")
    }),
    ("METHOD_ERROR_REMOVED", PLACE_ORDER, |c| {
        remove_from(
            &mut option(c, PLACE_ORDER, METHOD)["errors"],
            "PRICE_CHANGED",
        )
    }),
    ("METHOD_ERROR_ADDED", GET_ORDER, |c| {
        push(
            &mut option(c, GET_ORDER, METHOD)["errors"],
            json!("ORDER_STATE_CONFLICT"),
        )
    }),
    ("STREAM_KIND_CHANGED", GET_ORDER, |c| {
        at(c, GET_ORDER)["serverStreaming"] = json!(true)
    }),
    ("REASON_CODE_CHANGED", PRICE_CHANGED, |c| {
        option(c, PRICE_CHANGED, ERROR)["code"] = json!("ABORTED")
    }),
    ("REASON_METADATA_REMOVED", PRICE_CHANGED, |c| {
        remove_from(
            &mut option(c, PRICE_CHANGED, ERROR)["metadataKeys"],
            "total",
        )
    }),
    ("REASON_RETRY_CHANGED", PRICE_CHANGED, |c| {
        option(c, PRICE_CHANGED, ERROR)["retry"] = json!("RETRY_CLASS_NOTHING")
    }),
    ("REASON_REMOVED", PRICE_CHANGED, |c| {
        at(c, PRICE_CHANGED)["name"] = json!("ORDER_ERROR_REASON_PRICE_MOVED")
    }),
    ("REASON_REMOVED", PRICE_CHANGED, |c| {
        at(c, PRICE_CHANGED)["options"] = json!({})
    }),
    ("RULE_TIGHTENED", HOSTNAME, |c| {
        option(c, HOSTNAME, RULES)["string"]["maxLen"] = json!("62")
    }),
    ("RULE_TIGHTENED", HOSTNAME, |c| {
        option(c, HOSTNAME, RULES)["string"]["minLen"] = json!("2")
    }),
    ("RULE_TIGHTENED", HOSTNAME, |c| {
        option(c, HOSTNAME, RULES)["string"]["pattern"] = json!("^[a-z]+$")
    }),
    ("RULE_TIGHTENED", "sewa.order.v1.OrderDraft.labels", |c| {
        option(c, "sewa.order.v1.OrderDraft.labels", RULES)["map"]["values"]["string"]["maxLen"] =
            json!("64");
    }),
    ("RULE_TIGHTENED", "sewa.order.v1.OrderDraft.period", |c| {
        push(
            &mut option(c, "sewa.order.v1.OrderDraft.period", RULES)["enum"]["notIn"],
            json!(2),
        );
    }),
    (
        "RULE_TIGHTENED",
        "sewa.order.v1.PlaceOrderRequest.expected_total",
        |c| {
            option(c, "sewa.order.v1.PlaceOrderRequest.expected_total", RULES)["cel"][0]["expression"] =
                json!("this.units >= 1");
        },
    ),
    (
        "RULE_TIGHTENED",
        "sewa.order.v1.ListOrdersRequest.plan_id",
        |c| {
            option(c, "sewa.order.v1.ListOrdersRequest.plan_id", RULES)
                .as_object_mut()
                .expect("rules")
                .remove("ignore");
        },
    ),
    (
        "RULE_TIGHTENED",
        "sewa.order.v1.OrderDraft.auto_renew",
        |c| {
            at(c, "sewa.order.v1.OrderDraft.auto_renew")["options"] =
                json!({RULES: {"bool": {"const": true}}});
        },
    ),
    (
        "RULE_TIGHTENED",
        "sewa.wallet.v1.ListTransactionsRequest.page_size",
        |c| {
            option(c, "sewa.wallet.v1.ListTransactionsRequest.page_size", RULES)["int32"]["lte"] =
                json!(200);
        },
    ),
    ("NEW_REQUIRED", "sewa.order.v1.OrderDraft.auto_renew", |c| {
        at(c, "sewa.order.v1.OrderDraft.auto_renew")["options"] = json!({BEHAVIOR: ["REQUIRED"]});
    }),
    ("NEW_REQUIRED", "sewa.order.v1.OrderDraft.purpose", |c| {
        push(
            &mut at(c, "sewa.order.v1.OrderDraft")["field"],
            new_field("purpose", json!({RULES: {"string": {"minLen": "1"}}})),
        );
    }),
    ("FIELD_NOT_WRITABLE", HOSTNAME, |c| {
        *option(c, HOSTNAME, BEHAVIOR) = json!(["REQUIRED", "OUTPUT_ONLY"])
    }),
    ("SECRET_CHANGED", HOSTNAME, |c| {
        *option(c, HOSTNAME, SECRET) = json!("SECRET_WRITE_ONCE")
    }),
    (
        "PAGE_CAP_LOWERED",
        "sewa.wallet.v1.ListTransactionsRequest.page_size",
        |c| recomment(c, "50 if 0, at most 200", "50 if 0, at most 100"),
    ),
    (
        "DEFAULT_CHANGED",
        "sewa.wallet.v1.ListTransactionsRequest.page_size",
        |c| recomment(c, "50 if 0, at most 200", "20 if 0, at most 200"),
    ),
];

/// Changes no caller notices.
const COMPATIBLE: &[(&str, Change)] = &[
    ("nothing", |_| {}),
    ("a new optional field", |c| {
        push(
            &mut at(c, "sewa.order.v1.OrderDraft")["field"],
            new_field("note", json!({RULES: {"string": {"maxLen": "20"}}})),
        );
    }),
    ("a looser bound", |c| {
        option(c, HOSTNAME, RULES)["string"]["maxLen"] = json!("100")
    }),
    ("a rule that is gone", |c| {
        drop(
            option(c, HOSTNAME, RULES)["string"]
                .as_object_mut()
                .expect("rules")
                .remove("pattern"),
        )
    }),
    ("at least 0 said as more than -1", |c| {
        *option(c, "sewa.wallet.v1.ListTransactionsRequest.page_size", RULES) =
            json!({"int32": {"gt": -1, "lt": 1001}});
    }),
    ("more time", |c| {
        option(c, PLACE_ORDER, METHOD)["deadline"] = json!({"default": "20s", "max": "60s"})
    }),
    ("a key that is no longer required", |c| {
        option(c, PLACE_ORDER, METHOD)["idempotency"] = json!("IDEMPOTENCY_MODE_KEY_OPTIONAL")
    }),
    ("another remedy", |c| {
        option(c, PRICE_CHANGED, ERROR)["remedy"] = json!("Look at the new price.")
    }),
    ("one more metadata key", |c| {
        push(
            &mut option(c, PRICE_CHANGED, ERROR)["metadataKeys"],
            json!("since"),
        )
    }),
    ("an additional binding", |c| {
        option(c, GET_ORDER, HTTP)["additionalBindings"] =
            json!([{"get": "/v1/order/{order_id}", "responseBody": "order"}]);
    }),
    ("bindings in another order", |c| {
        let old = option(c, GET_ORDER, HTTP).clone();
        *option(c, GET_ORDER, HTTP) = json!({"get": "/v1/order/{order_id}", "responseBody": "order", "additionalBindings": [old]});
    }),
    ("a new method", |c| {
        let mut method = at(c, GET_ORDER).clone();
        method["name"] = json!("ReadOrder");
        method["options"][HTTP] = json!({"get": "/v1/order/{order_id}"});
        push(&mut at(c, "sewa.order.v1.OrderService")["method"], method);
    }),
    ("a new reason", |c| {
        let mut reason = at(c, PRICE_CHANGED).clone();
        reason["name"] = json!("ORDER_ERROR_REASON_TOO_LATE");
        reason["number"] = json!(900);
        push(
            &mut at(c, "sewa.order.v1.OrderErrorReason")["value"],
            reason,
        );
    }),
    ("a rule of a reply", |c| {
        at(c, "sewa.order.v1.Quote.Line.description")["options"] =
            json!({RULES: {"string": {"maxLen": "9"}}})
    }),
    ("a larger page", |c| {
        recomment(c, "50 if 0, at most 200", "50 if 0, at most 500")
    }),
    ("a comment", |c| recomment(c, "Buying.", "How to buy.")),
];

#[test]
fn every_breaking_change_is_found_with_its_rule_and_place() {
    for (rule, place, change) in BREAKING {
        let found = findings(change);
        let hit = found
            .iter()
            .find(|finding| finding.rule == *rule && finding.place == *place);
        let hit = hit.unwrap_or_else(|| panic!("{rule} at {place} was not found: {found:?}"));
        assert!(hit.position.starts_with("sewa/"), "{hit:?}");
        // A change of one thing is not reported as a change of others, but for comments, which many fields share.
        assert!(
            found.iter().all(|finding| finding.rule == *rule),
            "{rule}: {found:?}"
        );
        if !rule.ends_with("LOWERED") && *rule != "DEFAULT_CHANGED" {
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}

#[test]
fn compatible_changes_raise_no_alarm() {
    for (name, change) in COMPATIBLE {
        assert_eq!(findings(change), [], "{name}");
    }
}

#[test]
fn a_set_without_the_files_of_others_is_completed() {
    let mut own = contract();
    own["file"].as_array_mut().expect("files").retain(|file| {
        file["package"]
            .as_str()
            .is_some_and(|package| package.starts_with("sewa."))
    });
    assert_eq!(compare(sewa_sdk::pool(), &pool(&own)), []);
    assert!(load(b"not a descriptor set").is_err());
    assert!(load(b"").is_err());
}
