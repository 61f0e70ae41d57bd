//! What a method declares: its REST bindings, and its rule.

use std::time::Duration;

use prost_reflect::{DynamicMessage, MethodDescriptor, Value};
use sewa_sdk::sewa::api::v1::{IdempotencyMode, MethodRule, method_rule::Access};

use super::{Findings, Place};

pub(super) fn compare(old: &MethodDescriptor, new: &MethodDescriptor, findings: &mut Findings) {
    let place = Place::new(
        old.full_name(),
        &new.parent_service().parent_file(),
        new.path(),
    );
    bindings(old, new, &place, findings);
    let kind = |method: &MethodDescriptor| match (
        method.is_client_streaming(),
        method.is_server_streaming(),
    ) {
        (false, false) => "unary",
        (false, true) => "a server stream",
        (true, false) => "a client stream",
        (true, true) => "a stream both ways",
    };
    if kind(old) != kind(new) {
        findings.add(
            "STREAM_KIND_CHANGED",
            &place,
            format!("it was {} and is {}", kind(old), kind(new)),
        );
    }
    let (before, after) = (rule(old), rule(new));
    access(&before, &after, &place, findings);
    let (was, is) = (before.idempotency(), after.idempotency());
    // Who always sent a key may go on doing so.
    let relaxed = was == IdempotencyMode::KeyRequired && is == IdempotencyMode::KeyOptional;
    if was != is && !relaxed {
        findings.add(
            "IDEMPOTENCY_CHANGED",
            &place,
            format!("it was {} and is {}", was.as_str_name(), is.as_str_name()),
        );
    }
    if before.rate != after.rate {
        findings.add(
            "RATE_CLASS_CHANGED",
            &place,
            format!("it was {} and is {}", before.rate, after.rate),
        );
    }
    deadlines(&before, &after, &place, findings);
    for reason in before
        .errors
        .iter()
        .filter(|reason| !after.errors.contains(reason))
    {
        findings.add(
            "METHOD_ERROR_REMOVED",
            &place,
            format!("it does not give {reason} any more"),
        );
    }
    for reason in after
        .errors
        .iter()
        .filter(|reason| !before.errors.contains(reason))
    {
        findings.add(
            "METHOD_ERROR_ADDED",
            &place,
            format!("it gives {reason}, which callers do not expect"),
        );
    }
}

fn access(before: &MethodRule, after: &MethodRule, place: &Place, findings: &mut Findings) {
    if before.access != after.access {
        let words = |access: &Option<Access>| match access {
            Some(Access::Permission(permission)) => format!("permission {permission}"),
            Some(Access::Public(true)) => "public".to_owned(),
            _ => "undeclared".to_owned(),
        };
        let message = format!(
            "it was {} and is {}",
            words(&before.access),
            words(&after.access)
        );
        findings.add("ACCESS_CHANGED", place, message);
    }
    if after.step_up && !before.step_up {
        findings.add(
            "STEP_UP_ADDED",
            place,
            "it needs a second factor, which it did not".to_owned(),
        );
    }
}

fn deadlines(before: &MethodRule, after: &MethodRule, place: &Place, findings: &mut Findings) {
    let (old, new) = (
        before.deadline.unwrap_or_default(),
        after.deadline.unwrap_or_default(),
    );
    let sides = [
        ("default", old.default, new.default),
        ("greatest", old.max, new.max),
    ];
    for (side, was, is) in sides {
        let time = |side: Option<prost_types::Duration>| {
            side.and_then(|d| Duration::try_from(d).ok())
                .unwrap_or_default()
        };
        let (was, is) = (time(was), time(is));
        if is < was {
            let message = format!("the {side} time was {was:?} and is {is:?}");
            findings.add("DEADLINE_SHRUNK", place, message);
        }
    }
}

fn rule(method: &MethodDescriptor) -> MethodRule {
    let pool = method.parent_pool().clone();
    let extension = pool.get_extension_by_name("sewa.api.v1.method");
    let rule = extension.and_then(|extension| {
        let options = method.options();
        options
            .get_extension(&extension)
            .as_message()
            .and_then(|rule| rule.transcode_to().ok())
    });
    rule.unwrap_or_default()
}

/// One REST binding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    verb: String,
    path: String,
    body: String,
    response_body: String,
}

/// Every old binding must still be there, the first or not. One that is not is held against the new one in its place, to say what changed.
fn bindings(
    old: &MethodDescriptor,
    new: &MethodDescriptor,
    place: &Place,
    findings: &mut Findings,
) {
    let (before, after) = (read_bindings(old), read_bindings(new));
    for (index, binding) in before
        .iter()
        .enumerate()
        .filter(|(_, binding)| !after.contains(binding))
    {
        let shown = format!("{} {}", binding.verb, binding.path);
        let Some(now) = after.get(index).filter(|now| !before.contains(now)) else {
            findings.add("REST_BINDING_REMOVED", place, format!("{shown} is gone"));
            continue;
        };
        let sides = [
            ("REST_METHOD_CHANGED", &binding.verb, &now.verb),
            ("REST_PATH_CHANGED", &binding.path, &now.path),
            ("REST_BODY_CHANGED", &binding.body, &now.body),
            (
                "REST_RESPONSE_BODY_CHANGED",
                &binding.response_body,
                &now.response_body,
            ),
        ];
        for (rule, was, is) in sides.into_iter().filter(|(_, was, is)| was != is) {
            findings.add(
                rule,
                place,
                format!("{shown}: it was \"{was}\" and is \"{is}\""),
            );
        }
    }
}

fn read_bindings(method: &MethodDescriptor) -> Vec<Binding> {
    let pool = method.parent_pool().clone();
    let options = method.options();
    let Some(extension) = pool
        .get_extension_by_name("google.api.http")
        .filter(|e| options.has_extension(e))
    else {
        return Vec::new();
    };
    let value = options.get_extension(&extension);
    let Some(rule) = value.as_message() else {
        return Vec::new();
    };
    let mut all = vec![binding(rule)];
    let more = rule.get_field_by_name("additional_bindings");
    let more = more.as_deref().and_then(Value::as_list).unwrap_or_default();
    all.extend(more.iter().filter_map(Value::as_message).map(binding));
    all
}

fn binding(rule: &DynamicMessage) -> Binding {
    let text = |message: &DynamicMessage, name: &str| {
        message
            .get_field_by_name(name)
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    };
    let plain = ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .find(|verb| rule.has_field_by_name(verb));
    let (verb, path) = match plain {
        Some(verb) => (verb.to_uppercase(), text(rule, verb)),
        None => {
            let custom = rule.get_field_by_name("custom");
            let custom = custom.as_deref().and_then(Value::as_message);
            custom.map_or_else(Default::default, |custom| {
                (text(custom, "kind"), text(custom, "path"))
            })
        }
    };
    Binding {
        verb,
        path,
        body: text(rule, "body"),
        response_body: text(rule, "response_body"),
    }
}
