//! The rules of the contract that a machine can check, read from its descriptors. The R numbers are those of the house rules for contracts; buf checks the others.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    Value,
};
use sewa_sdk::pool;

pub(crate) fn methods() -> Vec<MethodDescriptor> {
    let services = pool()
        .services()
        .filter(|service| service.full_name().starts_with("sewa."));
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

pub(crate) fn messages() -> impl Iterator<Item = MessageDescriptor> {
    pool().all_messages().filter(|message| {
        message.full_name().starts_with("sewa.")
            && !message.is_map_entry()
            && message.package_name() != "sewa.api.v1"
    })
}

pub(crate) fn enums() -> impl Iterator<Item = EnumDescriptor> {
    pool()
        .all_enums()
        .filter(|found| found.full_name().starts_with("sewa."))
}

pub(crate) fn path_of(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

pub(crate) fn option(options: DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool()
        .get_extension_by_name(name)
        .unwrap_or_else(|| panic!("the contract lacks {name}"));
    options
        .has_extension(&extension)
        .then(|| options.get_extension(&extension).into_owned())
}

pub(crate) fn rule(method: &MethodDescriptor) -> DynamicMessage {
    option(method.options(), "sewa.api.v1.method")
        .and_then(|rule| rule.as_message().cloned())
        .unwrap_or_else(|| panic!("{} has no rule", path_of(method)))
}

pub(crate) fn http(method: &MethodDescriptor) -> Option<DynamicMessage> {
    option(method.options(), "google.api.http").and_then(|rule| rule.as_message().cloned())
}

pub(crate) fn text(message: &DynamicMessage, field: &str) -> String {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

pub(crate) fn number(message: &DynamicMessage, field: &str) -> i32 {
    message
        .get_field_by_name(field)
        .and_then(|value| value.as_enum_number())
        .unwrap_or_default()
}

/// HTTP verb and path of a method.
pub(crate) fn binding(method: &MethodDescriptor) -> Option<(&'static str, String)> {
    let http = http(method)?;
    ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .map(|verb| (verb, text(&http, verb)))
        .find(|(_, path)| !path.is_empty())
}

/// The numbers of `google.api.field_behavior`: 2 REQUIRED, 3 OUTPUT_ONLY, 5 IMMUTABLE.
pub(crate) fn behaviors(field: &FieldDescriptor) -> BTreeSet<i32> {
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
pub(crate) fn sent() -> BTreeMap<String, MessageDescriptor> {
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
pub(crate) fn none(faults: Vec<String>) {
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

pub(crate) fn validation(field: &FieldDescriptor) -> Option<DynamicMessage> {
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

pub(crate) fn upper_snake(name: &str) -> String {
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
            // What is measured is no money.
            .filter(|field| field.full_name() != "sewa.instance.v1.MetricPoint.value")
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
            // A sign-in is neither: each makes a session of its own, and codes work once. Nor is a ticket to a console, which is shown once and kept nowhere.
            (IdempotencyLevel::IdempotencyUnknown, 1) => {
                !reads && matches!(&*text(&rule(&method), "rate"), "login" | "console")
            }
            _ => false,
        };
        if !ok || (reads && level != IdempotencyLevel::NoSideEffects) {
            faults.push(format!("{}: {level:?} with mode {mode}", path_of(&method)));
        }
    }
    none(faults);
}
