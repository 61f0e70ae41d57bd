//! `google.api.http` read off a method through the dynamic extension in the pool.

use http::Method;
use prost_reflect::{DynamicMessage, ExtensionDescriptor, MethodDescriptor, Value};

use super::table::Verb;

/// One `HttpRule`.
pub(crate) struct Rule {
    pub(crate) method: Verb,
    pub(crate) template: String,
    pub(crate) body: String,
    pub(crate) response_body: String,
}

/// The rule of a method and its additional bindings, in order. Empty when the method has none.
pub(crate) fn rules(
    method: &MethodDescriptor,
    extension: &ExtensionDescriptor,
) -> Result<Vec<Rule>, &'static str> {
    let options = method.options();
    if !options.has_extension(extension) {
        return Ok(Vec::new());
    }
    let value = options.get_extension(extension);
    let Value::Message(rule) = value.as_ref() else {
        return Err("google.api.http is not a message in this pool");
    };
    let mut rules = vec![one(rule)?];
    if let Some(Value::List(more)) = rule.get_field_by_name("additional_bindings").as_deref() {
        for rule in more {
            let Value::Message(rule) = rule else { continue };
            let nested = rule.get_field_by_name("additional_bindings");
            if matches!(nested.as_deref(), Some(Value::List(nested)) if !nested.is_empty()) {
                return Err("additional_bindings cannot be nested");
            }
            rules.push(one(rule)?);
        }
    }
    Ok(rules)
}

fn one(rule: &DynamicMessage) -> Result<Rule, &'static str> {
    let patterns = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let plain = patterns
        .into_iter()
        .find(|(name, _)| rule.has_field_by_name(name))
        .map(|(name, method)| (Verb::Is(method), text(rule, name)));
    let (method, template) = match plain {
        Some(found) => found,
        None => custom(rule)?,
    };
    Ok(Rule {
        method,
        template,
        body: text(rule, "body"),
        response_body: text(rule, "response_body"),
    })
}

fn custom(rule: &DynamicMessage) -> Result<(Verb, String), &'static str> {
    let custom = rule
        .has_field_by_name("custom")
        .then(|| rule.get_field_by_name("custom"))
        .flatten();
    let Some(Value::Message(custom)) = custom.as_deref() else {
        return Err("google.api.http has no pattern");
    };
    let kind = text(custom, "kind");
    let method = match kind.as_str() {
        "*" => Verb::Any,
        _ => Verb::Is(
            Method::from_bytes(kind.as_bytes())
                .map_err(|_| "the kind of a custom pattern is not an HTTP method")?,
        ),
    };
    Ok((method, text(custom, "path")))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    match message.get_field_by_name(field).as_deref() {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    }
}
