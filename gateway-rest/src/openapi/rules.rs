//! What `buf.validate` rules add to a JSON Schema. What a keyword cannot say is kept as `x-rules`, for people.

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, ReflectMessage as _, Value as Proto,
};
use serde_json::{Map, Value, json};

use super::options::{self, Ignore, get, inner, is, list, text};

/// Formats by the name of the rule.
const FORMATS: &[(&str, &str)] = &[
    ("email", "email"),
    ("hostname", "hostname"),
    ("ipv4", "ipv4"),
    ("ipv6", "ipv6"),
    ("uri", "uri"),
    ("uri_ref", "uri-reference"),
    ("uuid", "uuid"),
];

/// Adds a field's rules to its schema.
pub(crate) fn add(
    schema: &mut Map<String, Value>,
    field: &FieldDescriptor,
    rules: &DynamicMessage,
) {
    if field.is_map() {
        if let Some(map) = inner(rules, "map") {
            map_rules(schema, field, &map);
        }
    } else if field.is_list() {
        if let Some(repeated) = inner(rules, "repeated") {
            list_rules(schema, field, &repeated);
        }
    } else {
        value_rules(schema, &field.kind(), rules);
    }
    expressions(schema, rules);
}

/// Adds the rules of a message that no field holds alone.
pub(crate) fn add_for_message(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    expressions(schema, rules);
}

/// Whether an unset field without presence breaks its rules, so that a client has to send it.
pub(crate) fn refuses_zero(field: &FieldDescriptor, rules: &DynamicMessage) -> bool {
    if is(rules, "required") {
        return true;
    }
    if field.supports_presence() || options::ignore(rules) == Ignore::IfZero {
        return false;
    }
    let Some((kind, rules)) = kind_rules(rules) else {
        return false;
    };
    let positive = |name| number(&rules, name).is_some_and(|n| n > 0.0);
    match kind.as_str() {
        "string" => {
            let empty_left_out = !list(&rules, "in").is_empty()
                && !list(&rules, "in").iter().any(|v| v.as_str() == Some(""));
            positive("min_len")
                || positive("len")
                || positive("min_bytes")
                || empty_left_out
                || text(&rules, "const").is_some_and(|text| !text.is_empty())
                || ["prefix", "suffix", "contains"]
                    .iter()
                    .any(|name| text(&rules, name).is_some())
                || FORMATS
                    .iter()
                    .any(|(rule, _)| *rule != "uri_ref" && is(&rules, rule))
                || is(&rules, "ip")
                || is(&rules, "tuuid")
        }
        "bytes" => positive("min_len") || positive("len"),
        "enum" => {
            let listed = list(&rules, "in");
            list(&rules, "not_in").iter().any(|n| n.as_i32() == Some(0))
                || (!listed.is_empty() && !listed.iter().any(|n| n.as_i32() == Some(0)))
        }
        "repeated" => positive("min_items"),
        "map" => positive("min_pairs"),
        "bool" => is(&rules, "const"),
        _ => {
            positive("gte")
                || number(&rules, "gt").is_some_and(|n| n >= 0.0)
                || number(&rules, "lt").is_some_and(|n| n <= 0.0)
                || number(&rules, "lte").is_some_and(|n| n < 0.0)
        }
    }
}

/// The member of `FieldRules.type` that is set, and its name.
fn kind_rules(rules: &DynamicMessage) -> Option<(String, DynamicMessage)> {
    let oneof = rules
        .descriptor()
        .oneofs()
        .find(|oneof| oneof.name() == "type")?;
    let field = oneof.fields().find(|field| rules.has_field(field))?;
    let value = rules.get_field(&field);
    Some((field.name().to_owned(), value.as_message()?.clone()))
}

fn value_rules(schema: &mut Map<String, Value>, kind: &Kind, rules: &DynamicMessage) {
    let Some((name, rules)) = kind_rules(rules) else {
        return;
    };
    match (name.as_str(), kind) {
        ("string", _) => string_rules(schema, &rules),
        ("bytes", _) => bytes_rules(schema, &rules),
        ("bool", _) => {
            if let Some(value) = get(&rules, "const").and_then(|value| value.as_bool()) {
                schema.insert("const".to_owned(), value.into());
            }
        }
        ("enum", Kind::Enum(desc)) => enum_rules(schema, desc, &rules),
        ("duration" | "timestamp" | "field_mask" | "any", _) => {
            said_in_words(schema, &name, &rules)
        }
        (_, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64) => {
            // JSON carries these as text, which has no bounds in JSON Schema.
            said_in_words(schema, &name, &rules);
        }
        _ => number_rules(schema, &rules),
    }
}

fn string_rules(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    // A byte is at least as long as a character is many.
    let bounds = [
        ("min_len", "minLength"),
        ("max_bytes", "maxLength"),
        ("max_len", "maxLength"),
        ("len", "minLength"),
        ("len", "maxLength"),
    ];
    copy_counts(schema, rules, &bounds);
    copy_sets(schema, rules);
    for (rule, format) in FORMATS.iter().filter(|(rule, _)| is(rules, rule)) {
        schema.insert("format".to_owned(), json!(format));
        if *rule == "uuid" {
            schema.insert("pattern".to_owned(), json!(UUID));
        }
    }
    if is(rules, "ip") {
        schema.insert(
            "anyOf".to_owned(),
            json!([{"format": "ipv4"}, {"format": "ipv6"}]),
        );
    }
    if is(rules, "tuuid") {
        schema.insert("pattern".to_owned(), json!("^[0-9a-fA-F]{32}$"));
    }
    let mut patterns: Vec<String> = Vec::new();
    patterns.extend(text(rules, "pattern"));
    patterns.extend(text(rules, "prefix").map(|text| format!("^{}", quoted(&text))));
    patterns.extend(text(rules, "suffix").map(|text| format!("{}$", quoted(&text))));
    patterns.extend(text(rules, "contains").map(|text| quoted(&text)));
    if patterns.len() == 1 && !schema.contains_key("pattern") {
        schema.insert("pattern".to_owned(), json!(patterns[0]));
    } else if !patterns.is_empty() {
        let all: Vec<Value> = patterns
            .iter()
            .map(|pattern| json!({"pattern": pattern}))
            .collect();
        schema.insert("allOf".to_owned(), all.into());
    }
    if let Some(part) = text(rules, "not_contains") {
        schema.insert("not".to_owned(), json!({"pattern": quoted(&part)}));
    }
}

/// What validators of this rule take: the canonical text with hyphens.
const UUID: &str = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$";

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\^$.|?*+()[]{}".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn bytes_rules(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    let encoded = |n: f64| json!(((n / 3.0).ceil() * 4.0) as u64);
    for (rule, keyword) in [("max_len", "maxLength"), ("len", "maxLength")] {
        if let Some(n) = number(rules, rule) {
            schema.insert(keyword.to_owned(), encoded(n));
        }
    }
}

fn number_rules(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    let bounds = [
        ("gte", "minimum"),
        ("gt", "exclusiveMinimum"),
        ("lte", "maximum"),
        ("lt", "exclusiveMaximum"),
        ("const", "const"),
    ];
    for (rule, keyword) in bounds {
        if let Some(value) = get(rules, rule).and_then(|value| plain(&value)) {
            schema.insert(keyword.to_owned(), value);
        }
    }
    copy_sets(schema, rules);
}

fn enum_rules(schema: &mut Map<String, Value>, desc: &EnumDescriptor, rules: &DynamicMessage) {
    let names = |numbers: Vec<Proto>| -> Vec<Value> {
        let name = |number: &Proto| Some(json!(desc.get_value(number.as_i32()?)?.name()));
        numbers.iter().filter_map(name).collect()
    };
    if let Some(value) = get(rules, "const") {
        schema.insert("enum".to_owned(), names(vec![value]).into());
    }
    let (listed, left_out) = (names(list(rules, "in")), names(list(rules, "not_in")));
    if !listed.is_empty() {
        schema.insert("enum".to_owned(), listed.into());
    } else if !left_out.is_empty() {
        let rest = desc
            .values()
            .map(|value| json!(value.name()))
            .filter(|name| !left_out.contains(name));
        schema.insert("enum".to_owned(), rest.collect());
    }
}

fn list_rules(schema: &mut Map<String, Value>, field: &FieldDescriptor, rules: &DynamicMessage) {
    copy_counts(
        schema,
        rules,
        &[("min_items", "minItems"), ("max_items", "maxItems")],
    );
    if is(rules, "unique") {
        schema.insert("uniqueItems".to_owned(), true.into());
    }
    if let Some(items) = inner(rules, "items")
        && let Some(Value::Object(schema)) = schema.get_mut("items")
    {
        value_rules(schema, &field.kind(), &items);
        expressions(schema, &items);
    }
}

fn map_rules(schema: &mut Map<String, Value>, field: &FieldDescriptor, rules: &DynamicMessage) {
    copy_counts(
        schema,
        rules,
        &[
            ("min_pairs", "minProperties"),
            ("max_pairs", "maxProperties"),
        ],
    );
    let Kind::Message(entry) = field.kind() else {
        return;
    };
    if let Some(keys) = inner(rules, "keys") {
        let mut names = Map::new();
        value_rules(&mut names, &entry.map_entry_key_field().kind(), &keys);
        schema.insert("propertyNames".to_owned(), names.into());
    }
    if let Some(values) = inner(rules, "values")
        && let Some(Value::Object(schema)) = schema.get_mut("additionalProperties")
    {
        value_rules(schema, &entry.map_entry_value_field().kind(), &values);
    }
}

fn expressions(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    let mut said: Vec<Value> = Vec::new();
    for rule in list(rules, "cel") {
        let Some(rule) = rule.as_message() else {
            continue;
        };
        said.push(json!({
            "id": text(rule, "id").unwrap_or_default(),
            "message": text(rule, "message").unwrap_or_default(),
            "cel": text(rule, "expression").unwrap_or_default(),
        }));
    }
    for rule in list(rules, "cel_expression") {
        said.push(json!({"cel": rule.as_str().unwrap_or_default()}));
    }
    say(schema, said);
}

/// Keeps rules no keyword can say, as `name value`.
fn said_in_words(schema: &mut Map<String, Value>, kind: &str, rules: &DynamicMessage) {
    let mut said = Vec::new();
    for field in rules
        .descriptor()
        .fields()
        .filter(|field| rules.has_field(field))
    {
        let value = rules.get_field(&field);
        said.push(json!({"id": format!("{kind}.{}", field.name()), "value": in_words(&value)}));
    }
    say(schema, said);
}

fn say(schema: &mut Map<String, Value>, said: Vec<Value>) {
    if said.is_empty() {
        return;
    }
    if let Value::Array(all) = schema.entry("x-rules").or_insert_with(|| json!([])) {
        all.extend(said);
    }
}

fn in_words(value: &Proto) -> Value {
    match value {
        Proto::Message(message) => serde_json::to_value(message).unwrap_or_default(),
        Proto::List(items) => items.iter().map(in_words).collect(),
        other => plain(other).unwrap_or_default(),
    }
}

fn copy_counts(schema: &mut Map<String, Value>, rules: &DynamicMessage, names: &[(&str, &str)]) {
    for (rule, keyword) in names {
        if let Some(value) = get(rules, rule).and_then(|value| value.as_u64()) {
            schema.insert((*keyword).to_owned(), value.into());
        }
    }
}

fn copy_sets(schema: &mut Map<String, Value>, rules: &DynamicMessage) {
    let plain_list = |name| {
        list(rules, name)
            .iter()
            .filter_map(plain)
            .collect::<Vec<Value>>()
    };
    let (listed, left_out) = (plain_list("in"), plain_list("not_in"));
    if !listed.is_empty() {
        schema.insert("enum".to_owned(), listed.into());
    }
    if !left_out.is_empty() {
        schema.insert("not".to_owned(), json!({"enum": left_out}));
    }
    if let Some(text) = text(rules, "const") {
        schema.insert("const".to_owned(), text.into());
    }
}

fn plain(value: &Proto) -> Option<Value> {
    Some(match value {
        Proto::Bool(b) => json!(b),
        Proto::I32(n) => json!(n),
        Proto::I64(n) => json!(n),
        Proto::U32(n) => json!(n),
        Proto::U64(n) => json!(n),
        Proto::F32(n) => json!(n),
        Proto::F64(n) => json!(n),
        Proto::String(text) => json!(text),
        Proto::EnumNumber(n) => json!(n),
        _ => return None,
    })
}

fn number(rules: &DynamicMessage, name: &str) -> Option<f64> {
    plain(&get(rules, name)?)?.as_f64()
}
