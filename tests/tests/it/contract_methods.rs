//! What every method of the contract says about itself: bounds, callers, secrets, paths and explanations. The R numbers are those of the house rules for contracts.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{Cardinality, DynamicMessage, Kind};
use sewa_sdk::pool;

use crate::contract::{
    behaviors, binding, http, messages, methods, none, option, path_of, rule, sent, text,
    validation,
};

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
                // Some formats have a length of their own.
                (Kind::String | Kind::Bytes, _) => [
                    "max_len",
                    "uuid:true",
                    "ipv4:true",
                    "ipv4_prefix:true",
                    "in:[",
                ]
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
pub(crate) fn comments() -> BTreeMap<String, String> {
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

/// The request that a comment gives as an example.
pub(crate) fn example_in(comment: &str) -> Option<&str> {
    let (_, rest) = comment.split_once("Example request: `")?;
    rest.split_once('`').map(|(json, _)| json)
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
        let Some(example) = example_in(comment) else {
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
