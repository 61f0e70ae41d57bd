//! Path, query and header parameters of one binding.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::schema::{Schemas, well_known};
use super::settings::KeyUse;
use crate::route::template::{Segment, Template};

/// Depth to which messages are taken apart into dotted query keys; deeper ones, and those that hold themselves, stay out.
const DEPTH: usize = 4;

/// The path as OpenAPI writes it, and the names of its parameters in order. Variables carry the JSON names of their fields.
pub(crate) fn path(template: &Template, input: &MessageDescriptor) -> (String, Vec<Parameter>) {
    let mut out = String::new();
    let mut parameters = Vec::new();
    let mut at = 0;
    while at < template.segments.len() {
        out.push('/');
        if let Some(variable) = template
            .variables
            .iter()
            .find(|variable| variable.start == at)
        {
            let names: Vec<&str> = variable.path.iter().map(|name| &**name).collect();
            let field = resolve(input, &names);
            let name = in_one_word(&json_path(input, &names));
            out.push_str(&format!("{{{name}}}"));
            let captured = &template.segments[variable.start..variable.end];
            let single = captured.len() == 1 && captured[0] == Segment::One;
            parameters.push(Parameter {
                name,
                field,
                pattern: (!single).then(|| pattern(captured)),
            });
            at = variable.end.max(at + 1);
        } else {
            match &template.segments[at] {
                Segment::Literal(text) => out.push_str(text),
                segment => {
                    let name = format!("segment{}", at + 1);
                    out.push_str(&format!("{{{name}}}"));
                    let many = *segment == Segment::Many;
                    let pattern = many.then(|| ".*".to_owned());
                    parameters.push(Parameter {
                        name,
                        field: None,
                        pattern,
                    });
                }
            }
            at += 1;
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    if let Some(verb) = &template.verb {
        out.push(':');
        out.push_str(verb);
    }
    (out, parameters)
}

/// One parameter of a path.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) field: Option<FieldDescriptor>,
    /// What several segments have to look like.
    pattern: Option<String>,
}

impl Parameter {
    /// The Parameter Object, under the name the document's path uses.
    pub(crate) fn object(&self, name: &str, schemas: &mut Schemas<'_>) -> Value {
        let mut schema = self.field.as_ref().map_or_else(
            || json!({"type": "string"}),
            |field| schemas.property(field, true),
        );
        let description = take_description(&mut schema);
        if let (Some(pattern), Value::Object(schema)) = (&self.pattern, &mut schema) {
            schema.insert("pattern".to_owned(), json!(pattern));
        } else if let Value::Object(schema) = &mut schema
            && schema.get("type") == Some(&json!("string"))
        {
            // An empty segment is another path.
            schema.entry("minLength").or_insert(json!(1));
        }
        let mut object = json!({"name": name, "in": "path", "required": true, "schema": schema});
        if let (Some(description), Value::Object(object)) = (description, &mut object) {
            object.insert("description".to_owned(), description);
        }
        object
    }
}

fn pattern(segments: &[Segment]) -> String {
    let one = |segment: &Segment| match segment {
        Segment::Literal(text) => text.to_string(),
        Segment::One => "[^/]+".to_owned(),
        Segment::Many => ".*".to_owned(),
    };
    let parts: Vec<String> = segments.iter().map(one).collect();
    format!("^{}$", parts.join("/"))
}

fn resolve(input: &MessageDescriptor, names: &[&str]) -> Option<FieldDescriptor> {
    let field = input.get_field_by_name(names.first()?)?;
    match (names.len(), field.kind()) {
        (1, _) => Some(field),
        (_, Kind::Message(inner)) => resolve(&inner, &names[1..]),
        _ => None,
    }
}

/// `planId` of `plan.id`: the name is the document's own, and many tools take a dot in it for something else.
fn in_one_word(path: &str) -> String {
    let mut words = path.split('.');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name + &head.to_uppercase() + rest
    })
}

fn json_path(input: &MessageDescriptor, names: &[&str]) -> String {
    let Some(field) = names.first().and_then(|name| input.get_field_by_name(name)) else {
        return names.join(".");
    };
    match field.kind() {
        Kind::Message(inner) if names.len() > 1 => {
            format!("{}.{}", field.json_name(), json_path(&inner, &names[1..]))
        }
        _ => field.json_name().to_owned(),
    }
}

/// Query parameters: every field that is neither in the path nor in the body.
pub(crate) fn query(
    input: &MessageDescriptor,
    in_path: &[String],
    body_field: Option<&str>,
    schemas: &mut Schemas<'_>,
) -> Vec<Value> {
    let mut out = Vec::new();
    for field in input.fields() {
        if Some(field.name()) != body_field {
            add_query(&mut out, &field, ("", ""), in_path, schemas, DEPTH);
        }
    }
    out
}

fn add_query(
    out: &mut Vec<Value>,
    field: &FieldDescriptor,
    (proto_prefix, json_prefix): (&str, &str),
    in_path: &[String],
    schemas: &mut Schemas<'_>,
    depth: usize,
) {
    let proto_name = format!("{proto_prefix}{}", field.name());
    let json_name = format!("{json_prefix}{}", field.json_name());
    if in_path.contains(&proto_name) || field.is_map() {
        return;
    }
    if let Kind::Message(inner) = field.kind() {
        let is_text = well_known(inner.full_name()).is_some_and(|schema| {
            schema
                .get("type")
                .is_some_and(|t| t != "object" && t != "array")
        });
        if !is_text {
            if !field.is_list() && depth > 0 && well_known(inner.full_name()).is_none() {
                let prefixes = (format!("{proto_name}."), format!("{json_name}."));
                for field in inner.fields() {
                    add_query(
                        out,
                        &field,
                        (&prefixes.0, &prefixes.1),
                        in_path,
                        schemas,
                        depth - 1,
                    );
                }
            }
            return;
        }
    }
    let mut schema = schemas.property(field, true);
    let description = take_description(&mut schema);
    let required = json_prefix.is_empty() && schemas.is_required(field);
    let mut object = Map::new();
    object.insert("name".to_owned(), json_name.into());
    object.insert("in".to_owned(), "query".into());
    if required {
        object.insert("required".to_owned(), true.into());
    }
    if let Some(description) = description {
        object.insert("description".to_owned(), description);
    }
    if schema.get("type") == Some(&json!("array")) {
        object.insert("style".to_owned(), "form".into());
        object.insert("explode".to_owned(), true.into());
    }
    object.insert("schema".to_owned(), schema);
    out.push(object.into());
}

fn take_description(schema: &mut Value) -> Option<Value> {
    schema.as_object_mut()?.remove("description")
}

/// Parameters shared by operations, for `components.parameters`.
pub(crate) fn shared() -> Value {
    let key = |required: bool, text: &str| {
        json!({
            "name": "Idempotency-Key", "in": "header", "required": required, "description": text,
            "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]{1,64}$"},
        })
    };
    json!({
        "IdempotencyKey": key(false, "With a key the call may be repeated: a repeat gets the outcome of the first call. The same key with another request is refused."),
        "IdempotencyKeyRequired": key(true, "A new key for each new intent, the same on every repeat: a repeat gets the outcome of the first call. The same key with another request is refused."),
        "RequestId": {
            "name": "X-Request-Id", "in": "header", "description": "Your name for this call, in logs and in errors. One is made if there is none.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[!-~]{1,64}$"},
        },
        "Timeout": {
            "name": "Grpc-Timeout", "in": "header", "description": "How long the call may take: one to eight digits and a unit, H, M, S, m (milliseconds), u or n.",
            "schema": {"type": "string", "pattern": "^[0-9]{1,8}[HMSmun]$"}, "example": "10S",
        },
    })
}

/// References to the header parameters of one operation.
pub(crate) fn headers(key: KeyUse) -> Vec<Value> {
    let names = [
        (key == KeyUse::Required).then_some("IdempotencyKeyRequired"),
        (key == KeyUse::Optional).then_some("IdempotencyKey"),
        Some("RequestId"),
        Some("Timeout"),
    ];
    let reference = |name| json!({"$ref": format!("#/components/parameters/{name}")});
    names.into_iter().flatten().map(reference).collect()
}

/// The header that sets the request field in which a stream is resumed, under the field's own rules.
pub(crate) fn last_event_id(field: &FieldDescriptor, schemas: &mut Schemas<'_>) -> Value {
    let mut schema = schemas.property(field, true);
    take_description(&mut schema);
    json!({
        "name": "Last-Event-ID", "in": "header", "description": "Cursor of the last event seen; the stream goes on after it. Browsers send it by themselves.",
        "schema": schema,
    })
}
