//! The rules of the contract that a machine can check, read from its descriptors. The R numbers are those of the house rules for contracts; buf checks the others.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    Cardinality, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};
use sewa_sdk::pool;
use sewa_tests::seen;

fn methods() -> Vec<MethodDescriptor> {
    let services = pool()
        .services()
        .filter(|service| service.full_name().starts_with("sewa."));
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

fn messages() -> impl Iterator<Item = MessageDescriptor> {
    pool().all_messages().filter(|message| {
        message.full_name().starts_with("sewa.")
            && !message.is_map_entry()
            && message.package_name() != "sewa.api.v1"
    })
}

fn enums() -> impl Iterator<Item = EnumDescriptor> {
    pool()
        .all_enums()
        .filter(|found| found.full_name().starts_with("sewa."))
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

fn option(options: DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool()
        .get_extension_by_name(name)
        .unwrap_or_else(|| panic!("the contract lacks {name}"));
    options
        .has_extension(&extension)
        .then(|| options.get_extension(&extension).into_owned())
}

fn rule(method: &MethodDescriptor) -> DynamicMessage {
    option(method.options(), "sewa.api.v1.method")
        .and_then(|rule| rule.as_message().cloned())
        .unwrap_or_else(|| panic!("{} has no rule", path_of(method)))
}

fn http(method: &MethodDescriptor) -> Option<DynamicMessage> {
    option(method.options(), "google.api.http").and_then(|rule| rule.as_message().cloned())
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn number(message: &DynamicMessage, field: &str) -> i32 {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_enum_number())
        .unwrap_or_default()
}

/// HTTP verb and path of a method.
fn binding(method: &MethodDescriptor) -> Option<(&'static str, String)> {
    let http = http(method)?;
    ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .map(|verb| (verb, text(&http, verb)))
        .find(|(_, path)| !path.is_empty())
}

/// The numbers of `google.api.field_behavior`: 2 REQUIRED, 3 OUTPUT_ONLY, 5 IMMUTABLE.
fn behaviors(field: &FieldDescriptor) -> BTreeSet<i32> {
    let behaviors = option(field.options(), "google.api.field_behavior");
    behaviors
        .as_ref()
        .and_then(Value::as_list)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_enum_number)
        .collect()
}

/// The messages requests are made of.
fn sent() -> BTreeMap<String, MessageDescriptor> {
    reachable(methods().iter().map(MethodDescriptor::input).collect())
}

fn reachable(mut open: Vec<MessageDescriptor>) -> BTreeMap<String, MessageDescriptor> {
    let mut found = BTreeMap::new();
    while let Some(message) = open.pop() {
        if found
            .insert(message.full_name().to_owned(), message.clone())
            .is_none()
        {
            open.extend(
                message
                    .fields()
                    .filter_map(|field| field.kind().as_message().cloned()),
            );
        }
    }
    found
}

#[track_caller]
fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn r8_each_method_has_its_own_request_and_response() {
    let mut faults = Vec::new();
    for method in methods() {
        let (input, output) = (method.input(), method.output());
        if input.name() != format!("{}Request", method.name())
            || output.name() != format!("{}Response", method.name())
        {
            faults.push(format!(
                "{}: {} and {}",
                path_of(&method),
                input.name(),
                output.name()
            ));
        }
        let Some(http) = http(&method) else { continue };
        let body = text(&http, "response_body");
        if !body.is_empty() && output.get_field_by_name(&body).is_none() {
            faults.push(format!(
                "{}: response_body {body} is no field of {}",
                path_of(&method),
                output.name()
            ));
        }
    }
    none(faults);
}

/// Resources: what carries an id, and what such a thing is made of.
fn is_resource(message: &MessageDescriptor) -> bool {
    let named = |suffix: &str| message.name().ends_with(suffix);
    !named("Request")
        && !named("Response")
        && !named("Payload")
        && message.fields().any(|field| !behaviors(&field).is_empty())
}

#[test]
fn r9_what_clients_cannot_write_is_marked() {
    let mut faults = Vec::new();
    let sent = sent();
    for message in messages().filter(is_resource) {
        for field in message.fields() {
            let marked = behaviors(&field);
            // A union is marked by its parts being so, and cannot be marked itself.
            let writable = marked.is_empty() && field.containing_oneof().is_none();
            let named = ["id", "create_time", "update_time", "state"].contains(&field.name());
            if named && !marked.contains(&3) {
                faults.push(format!(
                    "{}.{} is not OUTPUT_ONLY",
                    message.full_name(),
                    field.name()
                ));
            }
            // A field nobody can send needs no rule; one that somebody can has one, or is a switch.
            if writable && !sent.contains_key(message.full_name()) {
                faults.push(format!(
                    "{}.{} cannot be sent and is not marked OUTPUT_ONLY",
                    message.full_name(),
                    field.name()
                ));
            }
        }
    }
    for method in methods() {
        for field in method
            .input()
            .fields()
            .filter(|field| behaviors(field).contains(&3))
        {
            faults.push(format!(
                "{}.{} is asked for and OUTPUT_ONLY",
                method.input().full_name(),
                field.name()
            ));
        }
    }
    none(faults);
}

fn validation(field: &FieldDescriptor) -> Option<DynamicMessage> {
    option(field.options(), "buf.validate.field").and_then(|rules| rules.as_message().cloned())
}

fn sub(message: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    let has = message.has_field_by_name(field);
    has.then(|| {
        message
            .get_field_by_name(field)
            .and_then(|value| value.as_message().cloned())
    })
    .flatten()
}

fn requires_uuid(field: &FieldDescriptor) -> bool {
    let string = validation(field).and_then(|rules| sub(&rules, "string"));
    string
        .and_then(|string| {
            string
                .get_field_by_name("uuid")
                .and_then(|value| value.as_bool())
        })
        .unwrap_or(false)
}

#[test]
fn r10_ids_in_requests_are_uuids_named_by_their_type() {
    let mut faults = Vec::new();
    for method in methods() {
        for message in reachable(vec![method.input()]).values().filter(|message| {
            message.full_name() == method.input().full_name() || message.name() == "OrderDraft"
        }) {
            for field in message.fields() {
                if field.name() == "id" {
                    faults.push(format!("{}: `id` does not say whose", message.full_name()));
                }
                if field.name().ends_with("_id") && !requires_uuid(&field) {
                    faults.push(format!(
                        "{}.{} has no string.uuid rule",
                        message.full_name(),
                        field.name()
                    ));
                }
            }
        }
    }
    none(faults);
}

fn upper_snake(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

#[test]
fn r11_enums_are_prefixed_and_begin_unspecified_and_requests_take_only_known_values() {
    let mut faults = Vec::new();
    for found in enums() {
        let prefix = upper_snake(found.name()) + "_";
        if found.default_value().name() != format!("{prefix}UNSPECIFIED")
            || found.default_value().number() != 0
        {
            faults.push(format!(
                "{}: zero is {}",
                found.full_name(),
                found.default_value().name()
            ));
        }
        faults.extend(
            found
                .values()
                .filter(|value| !value.name().starts_with(&prefix))
                .map(|value| value.full_name().to_owned()),
        );
    }
    let own = |message: &&MessageDescriptor| {
        message.name().ends_with("Request") || message.name() == "OrderDraft"
    };
    for message in sent().values().filter(own) {
        for field in message.fields().filter(|field| {
            field
                .kind()
                .as_enum()
                .is_some_and(|e| e.full_name().starts_with("sewa."))
        }) {
            let rules = validation(&field)
                .map(|rules| rules.to_string())
                .unwrap_or_default();
            if !rules.contains("defined_only:true") {
                faults.push(format!(
                    "{}.{} takes values nobody knows",
                    message.full_name(),
                    field.name()
                ));
            }
            if behaviors(&field).contains(&2) && !rules.contains("not_in:[0") {
                faults.push(format!(
                    "{}.{} is required and may be 0",
                    message.full_name(),
                    field.name()
                ));
            }
        }
    }
    none(faults);
}

#[test]
fn r12_numbers_are_signed_and_not_fixed_and_no_money_is_a_float() {
    let wrong = |kind: &Kind| {
        matches!(
            kind,
            Kind::Uint32
                | Kind::Uint64
                | Kind::Fixed32
                | Kind::Fixed64
                | Kind::Sfixed32
                | Kind::Sfixed64
                | Kind::Sint32
                | Kind::Sint64
                | Kind::Float
                | Kind::Double
        )
    };
    let fields = messages().flat_map(|message| message.fields().collect::<Vec<_>>());
    none(
        fields
            .filter(|field| wrong(&field.kind()))
            .map(|field| field.full_name().to_owned())
            .collect(),
    );
}

#[test]
fn r24_every_method_says_whether_a_repeat_is_safe_and_twice_the_same() {
    use prost_types::method_options::IdempotencyLevel;
    let mut faults = Vec::new();
    for method in methods() {
        let proto = method.method_descriptor_proto().clone();
        let level = proto
            .options
            .as_ref()
            .map(|options| options.idempotency_level())
            .unwrap_or_default();
        let mode = number(&rule(&method), "idempotency");
        let reads = binding(&method).is_some_and(|(verb, _)| verb == "get");
        let ok = match (level, mode) {
            (IdempotencyLevel::NoSideEffects, 1) | (IdempotencyLevel::Idempotent, 1..=3) => true,
            // A sign-in is neither: each makes a session of its own.
            (IdempotencyLevel::IdempotencyUnknown, 1) => {
                !reads
                    && rule(&method)
                        .get_field_by_name("public")
                        .is_some_and(|v| v.as_bool() == Some(true))
            }
            _ => false,
        };
        if !ok || (reads && level != IdempotencyLevel::NoSideEffects) {
            faults.push(format!("{}: {level:?} with mode {mode}", path_of(&method)));
        }
    }
    none(faults);
}

#[test]
fn r35_to_r37_reasons_are_declared_once_and_listed_ones_exist() {
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for reasons in enums().filter(|found| found.name().ends_with("ErrorReason")) {
        let prefix = upper_snake(reasons.name()) + "_";
        for value in reasons.values().filter(|value| value.number() != 0) {
            known.insert(value.name().trim_start_matches(&prefix).to_owned());
            let Some(rule) = option(value.options(), "sewa.api.v1.error")
                .and_then(|rule| rule.as_message().cloned())
            else {
                faults.push(format!("{} has no rule", value.full_name()));
                continue;
            };
            if text(&rule, "code").is_empty()
                || number(&rule, "retry") == 0
                || !text(&rule, "remedy").ends_with('.')
            {
                faults.push(format!("{}: {rule}", value.full_name()));
            }
        }
    }
    let common: BTreeSet<String> = pool()
        .get_enum_by_name("sewa.api.v1.CommonErrorReason")
        .unwrap()
        .values()
        .map(|value| {
            value
                .name()
                .trim_start_matches("COMMON_ERROR_REASON_")
                .to_owned()
        })
        .collect();
    for (method, reasons) in seen::listed() {
        faults.extend(
            reasons
                .iter()
                .filter(|reason| !known.contains(*reason))
                .map(|reason| format!("{method} lists unknown {reason}")),
        );
        faults.extend(
            reasons
                .iter()
                .filter(|reason| common.contains(*reason))
                .map(|reason| format!("{method} lists {reason}, which goes without saying")),
        );
    }
    none(faults);
}

#[test]
fn r37_every_listed_error_is_provoked_by_a_test_that_exists() {
    let promised = seen::promises();
    let sources = sources();
    let mut faults = Vec::new();
    let listed: BTreeSet<seen::Refusal> = seen::listed()
        .iter()
        .flat_map(|(method, reasons)| {
            reasons
                .iter()
                .map(move |reason| (method.clone(), reason.clone()))
        })
        .collect();
    let provoked: BTreeSet<seen::Refusal> = promised
        .iter()
        .map(|(refusal, _)| refusal.clone())
        .collect();
    faults.extend(
        listed
            .difference(&provoked)
            .map(|(method, reason)| format!("no test provokes {reason} of {method}")),
    );
    faults.extend(
        provoked
            .difference(&listed)
            .map(|(method, reason)| format!("{method} does not list {reason}")),
    );
    for (refusal, test) in &promised {
        // `never:why` stands where this build cannot give the error at all.
        let Some((module, name)) = test.split_once("::") else {
            if !test.starts_with("never:") {
                faults.push(format!("{refusal:?}: {test} is no test"));
            }
            continue;
        };
        if !sources
            .get(module)
            .is_some_and(|source| source.contains(&format!("async fn {name}()")))
        {
            faults.push(format!("{refusal:?}: there is no test {test}"));
        }
    }
    none(faults);
}

fn sources() -> BTreeMap<String, String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn r41_what_clients_send_is_bounded() {
    let mut faults = Vec::new();
    for message in sent()
        .values()
        .filter(|message| message.full_name().starts_with("sewa.") && !message.is_map_entry())
    {
        for field in message
            .fields()
            .filter(|field| !behaviors(field).contains(&3) && !behaviors(field).contains(&5))
        {
            let rules = validation(&field)
                .map(|rules| rules.to_string())
                .unwrap_or_default();
            let bounded = match (field.kind(), field.cardinality()) {
                _ if field.is_map() => rules.contains("max_pairs"),
                (_, Cardinality::Repeated) => rules.contains("max_items"),
                (Kind::String | Kind::Bytes, _) => ["max_len", "uuid:true", "in:["]
                    .iter()
                    .any(|rule| rules.contains(rule)),
                (Kind::Int32 | Kind::Int64, _) => rules.contains("lte"),
                _ => true,
            };
            if !bounded {
                faults.push(format!("{} has no maximum: {rules}", field.full_name()));
            }
        }
    }
    none(faults);
}

#[test]
fn r42_every_method_says_who_may_call_it() {
    let mut faults = Vec::new();
    for method in methods() {
        let rule = rule(&method);
        let public = rule
            .get_field_by_name("public")
            .and_then(|value| value.as_bool())
            .unwrap_or(false);
        let permission = text(&rule, "permission");
        let well_formed = permission.split_once('.').is_some_and(|(group, verb)| {
            [group, verb].iter().all(|word| {
                !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            })
        });
        if public == well_formed {
            faults.push(format!(
                "{}: public {public}, permission {permission:?}",
                path_of(&method)
            ));
        }
    }
    none(faults);
}

#[test]
fn r44_secrets_are_redacted() {
    let secret = pool().get_extension_by_name("sewa.api.v1.secret").unwrap();
    let word = |name: &str| ["password", "secret", "access_token", "refresh_token"].contains(&name);
    let mut faults = Vec::new();
    for field in messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
        let options = field.options();
        let redacted = options
            .get_field_by_name("debug_redact")
            .and_then(|value| value.as_bool())
            .unwrap_or(false);
        if options.has_extension(&secret) != redacted || (word(field.name()) && !redacted) {
            faults.push(field.full_name().to_owned());
        }
    }
    none(faults);
}

#[test]
fn r45_every_method_has_a_path_of_the_house_or_says_why_not() {
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    for method in methods() {
        let Some((verb, path)) = binding(&method) else {
            if option(method.options(), "sewa.api.v1.no_http").is_none() {
                faults.push(format!(
                    "{} has neither a path nor a reason",
                    path_of(&method)
                ));
            }
            continue;
        };
        let http = http(&method).unwrap();
        let body = text(&http, "body");
        let verbed = path.rsplit('/').next().unwrap_or_default().contains(':');
        let ok = match verb {
            "get" | "delete" => body.is_empty(),
            "post" => body == "*",
            "patch" => !body.is_empty() && body != "*" && !verbed,
            _ => false,
        };
        if !ok
            || !(path.starts_with("/v1/") || path.starts_with("/.well-known/"))
            || path.ends_with('/')
        {
            faults.push(format!(
                "{}: {verb} {path} with body {body:?}",
                path_of(&method)
            ));
        }
        let shape: String = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    part.find('}').map_or("{}", |end| &part[end..])
                } else {
                    part
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        if !taken.insert((verb, shape)) {
            faults.push(format!("{}: {verb} {path} is taken", path_of(&method)));
        }
        if method.is_server_streaming() && verb != "get" {
            faults.push(format!("{}: a stream is read with GET", path_of(&method)));
        }
    }
    none(faults);
}

/// Comments by the full name of what they are about.
fn comments() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in pool()
        .files()
        .filter(|file| file.name().starts_with("sewa/"))
    {
        let proto = file.file_descriptor_proto();
        let locations = proto
            .source_code_info
            .iter()
            .flat_map(|info| &info.location);
        for location in locations.filter(|location| !location.leading_comments().is_empty()) {
            // 6: service, 2: method.
            if let [6, service, 2, method] = location.path[..] {
                let service = &proto.service[usize::try_from(service).unwrap()];
                let method = &service.method[usize::try_from(method).unwrap()];
                found.insert(
                    format!("{}.{}/{}", proto.package(), service.name(), method.name()),
                    location.leading_comments().to_owned(),
                );
            }
        }
    }
    found
}

#[test]
fn r49_every_method_is_explained_and_its_example_is_a_request() {
    let comments = comments();
    let mut faults = Vec::new();
    for method in methods() {
        let path = path_of(&method);
        let Some(comment) = comments.get(&path) else {
            faults.push(format!("{path} has no comment"));
            continue;
        };
        if !comment
            .trim()
            .split_inclusive('.')
            .next()
            .is_some_and(|sentence| {
                sentence.trim_start().starts_with(char::is_uppercase) && sentence.ends_with('.')
            })
        {
            faults.push(format!(
                "{path}: {comment:?} does not begin with a sentence"
            ));
        }
        let example = comment
            .split_once("Example request: `")
            .and_then(|(_, rest)| rest.split_once('`'))
            .map(|(json, _)| json);
        let Some(example) = example else {
            if binding(&method).is_some_and(|(verb, _)| ["post", "patch"].contains(&verb)) {
                faults.push(format!("{path} has no example"));
            }
            continue;
        };
        let mut reader = serde_json::Deserializer::from_str(example);
        let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(true);
        if let Err(error) =
            DynamicMessage::deserialize_with_options(method.input(), &mut reader, &options)
        {
            faults.push(format!("{path}: {example}: {error}"));
        }
    }
    none(faults);
}
