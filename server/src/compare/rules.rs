//! Validation rules, flattened to `path = value`, so that two versions can be held against each other leaf by leaf.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage, Value};

/// One leaf of a rule.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Leaf {
    Flag(bool),
    /// Numbers, and times in nanoseconds.
    Number(f64),
    Text(String),
    Set(BTreeSet<String>),
}

/// Rules by path, for example `string.max_len`.
pub(super) type Rules = BTreeMap<String, Leaf>;

/// `FieldRules.ignore`: the rules do not count at all.
const IGNORE_ALWAYS: f64 = 3.0;

const UPPER: &[&str] = &[
    "max_len",
    "max_bytes",
    "max_items",
    "max_pairs",
    "lte",
    "lt",
];
const LOWER: &[&str] = &[
    "min_len",
    "min_bytes",
    "min_items",
    "min_pairs",
    "gte",
    "gt",
];

pub(super) fn of_field(field: &FieldDescriptor) -> Rules {
    let pool = field.parent_message().parent_pool().clone();
    let rules = read(
        &field.options(),
        pool.get_extension_by_name("buf.validate.field"),
    );
    if rules.get("ignore") == Some(&Leaf::Number(IGNORE_ALWAYS)) {
        return Rules::new();
    }
    rules
}

pub(super) fn of_message(message: &MessageDescriptor) -> Rules {
    read(
        &message.options(),
        message
            .parent_pool()
            .get_extension_by_name("buf.validate.message"),
    )
}

fn read(options: &DynamicMessage, extension: Option<prost_reflect::ExtensionDescriptor>) -> Rules {
    let mut out = Rules::new();
    if let Some(extension) = extension.filter(|extension| options.has_extension(extension))
        && let Some(rules) = options.get_extension(&extension).as_message()
    {
        flatten("", rules, &mut out);
    }
    out
}

fn flatten(prefix: &str, rules: &DynamicMessage, out: &mut Rules) {
    for field in rules
        .descriptor()
        .fields()
        .filter(|field| rules.has_field(field))
    {
        let value = rules.get_field(&field);
        let path = format!("{prefix}{}", field.name());
        match value.as_ref() {
            Value::Message(inner) => match nanoseconds(inner) {
                Some(n) => drop(out.insert(path, Leaf::Number(n))),
                None => flatten(&format!("{path}."), inner, out),
            },
            Value::List(items) if items.iter().any(|item| item.as_message().is_some()) => {
                for item in items.iter().filter_map(Value::as_message) {
                    let (id, text) = named(item);
                    out.insert(format!("{path}[{id}]"), Leaf::Text(text));
                }
            }
            Value::List(items) => {
                drop(out.insert(path, Leaf::Set(items.iter().map(shown).collect())))
            }
            Value::Bool(flag) => drop(out.insert(path, Leaf::Flag(*flag))),
            Value::String(text) => drop(out.insert(path, Leaf::Text(text.clone()))),
            Value::Bytes(_) => drop(out.insert(path, Leaf::Text(shown(&value)))),
            whole => {
                // For whole numbers "more than 0" and "at least 1" are the same.
                let is_whole = !matches!(whole, Value::F32(_) | Value::F64(_));
                let number = number(whole);
                let (path, number) = match field.name() {
                    "gt" if is_whole => (format!("{prefix}gte"), number + 1.0),
                    "lt" if is_whole => (format!("{prefix}lte"), number - 1.0),
                    _ => (path, number),
                };
                out.insert(path, Leaf::Number(number));
            }
        }
    }
}

/// Times, whose JSON is text; other messages are rules within rules.
fn nanoseconds(message: &DynamicMessage) -> Option<f64> {
    let name = message.descriptor().full_name().to_owned();
    if name != "google.protobuf.Duration" && name != "google.protobuf.Timestamp" {
        return None;
    }
    let part = |name| {
        message
            .get_field_by_name(name)
            .map_or(0.0, |value| number(&value))
    };
    Some(part("seconds") * 1e9 + part("nanos"))
}

/// An expression by its id, or a rule over several fields by all it says.
fn named(rule: &DynamicMessage) -> (String, String) {
    let text = |name: &str| {
        rule.get_field_by_name(name)
            .and_then(|value| value.as_str().map(str::to_owned))
    };
    match text("expression") {
        Some(expression) => (text("id").unwrap_or_default(), expression),
        None => (rule.to_string(), rule.to_string()),
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::I32(n) | Value::EnumNumber(n) => f64::from(*n),
        Value::I64(n) => *n as f64,
        Value::U32(n) => f64::from(*n),
        Value::U64(n) => *n as f64,
        Value::F32(n) => f64::from(*n),
        Value::F64(n) => *n,
        _ => f64::NAN,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the newer rules refuse and the older took, in words.
pub(super) fn tightened(old: &Rules, new: &Rules) -> Vec<String> {
    let mut out = Vec::new();
    for (path, after) in new {
        let name = path.rsplit('.').next().unwrap_or(path);
        let before = old.get(path);
        if name != "ignore" && refuses_more(name, before, after) {
            out.push(match before {
                None => format!("{path}: new, {}", words(after)),
                Some(before) => format!("{path}: was {} and is {}", words(before), words(after)),
            });
        }
    }
    let ignores = |rules: &Rules| rules.get("ignore").is_some();
    if ignores(old) && !ignores(new) && !new.is_empty() {
        out.push("ignore: its rules count for the zero value, which they did not".to_owned());
    }
    out
}

fn refuses_more(name: &str, before: Option<&Leaf>, after: &Leaf) -> bool {
    match (before, after) {
        (Some(Leaf::Number(was)), Leaf::Number(is)) if UPPER.contains(&name) => is < was,
        (Some(Leaf::Number(was)), Leaf::Number(is)) if LOWER.contains(&name) => is > was,
        (None, Leaf::Number(is)) if name.starts_with("min_") => *is > 0.0,
        (before, Leaf::Set(now)) if name == "not_in" => match before {
            Some(Leaf::Set(was)) => !now.is_subset(was),
            _ => !now.is_empty(),
        },
        (Some(Leaf::Set(was)), Leaf::Set(now)) if name == "in" => !was.is_subset(now),
        (before, Leaf::Flag(flag)) => *flag && before != Some(&Leaf::Flag(true)),
        (before, after) => before != Some(after),
    }
}

fn words(leaf: &Leaf) -> String {
    match leaf {
        Leaf::Flag(flag) => flag.to_string(),
        Leaf::Number(n) => n.to_string(),
        Leaf::Text(text) => format!("\"{text}\""),
        Leaf::Set(items) => format!("[{}]", items.iter().cloned().collect::<Vec<_>>().join(", ")),
    }
}
