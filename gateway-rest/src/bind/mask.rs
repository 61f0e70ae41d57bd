//! `update_mask` of a PATCH: derived from the keys of the body unless the client gave one.

use prost_reflect::{DynamicMessage, Value};

use super::merge;
use crate::fault::{Refusal, UNKNOWN_FIELD};
use crate::json::parse::Json;
use crate::json::read::Reader;
use crate::json::{number, text};
use crate::route::{FieldRef, Route};
use crate::schema::{Field, Form, Message, MessageId, Schema};
use crate::suggest;

/// Checks the mask the client gave, or derives one.
pub(super) fn apply(
    reader: &mut Reader<'_>,
    route: &Route,
    mask: FieldRef,
    resource: FieldRef,
    tree: Option<&Json<'_>>,
    message: &mut DynamicMessage,
) {
    let schema = reader.schema;
    let mask_field = mask.get(schema);
    let (Some(resource_type), Some(mask_type)) =
        (resource.get(schema).message(), mask_field.message())
    else {
        return;
    };
    let paths = if message.has_field(&mask_field.desc) {
        let given = given_paths(schema, message, mask);
        match resolve_all(schema, resource_type, &given) {
            Ok(paths) => paths,
            Err(refusal) => {
                reader.faults.at(mask_field.name.to_string(), refusal);
                return;
            }
        }
    } else {
        let Some(Json::Object(_)) = tree else { return };
        let mut paths = Vec::new();
        if let Some(tree) = tree {
            derive(schema, resource_type, tree, &mut String::new(), &mut paths);
        }
        paths.retain(|path| !is_path_bound(schema, route, resource, path));
        paths
    };
    let mut value = DynamicMessage::new(schema.message(mask_type).desc.clone());
    let paths = paths.into_iter().map(Value::String).collect();
    value.set_field_by_number(1, Value::List(paths));
    if let Ok(holder) = merge::parent_of(schema, message, &[mask]) {
        holder.set_field(&mask_field.desc, Value::Message(value));
    }
}

fn given_paths(schema: &Schema, message: &DynamicMessage, mask: FieldRef) -> Vec<String> {
    let value = message.get_field(&mask.get(schema).desc);
    let Value::Message(mask) = value.as_ref() else {
        return Vec::new();
    };
    match mask.get_field_by_number(1).as_deref() {
        Some(Value::List(paths)) => paths
            .iter()
            .filter_map(|path| path.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

/// Names in a mask may be JSON or proto names; what goes to the server is proto names.
fn resolve_all(
    schema: &Schema,
    resource: MessageId,
    given: &[String],
) -> Result<Vec<String>, Refusal> {
    given
        .iter()
        .map(|path| {
            if path == "*" {
                return Ok(path.clone());
            }
            let mut message = Some(resource);
            let mut out = Vec::new();
            for part in path.split('.') {
                let known = message.map(|id| schema.message(id));
                let found = known.and_then(|known| named(known, part));
                let Some((_, field)) = found else {
                    let names = known.into_iter().flat_map(|known| known.json_names());
                    let hint = suggest::hint(part, names);
                    let path = number::clip(path);
                    let text = format!("\"{path}\" is not a field of the resource{hint}");
                    return Err(Refusal::new(UNKNOWN_FIELD, text));
                };
                out.push(&*field.name);
                message = field.message();
            }
            Ok(out.join("."))
        })
        .collect()
}

/// A field by either name, or by what its JSON name became when the mask was read as snake case.
fn named<'m>(message: &'m Message, part: &str) -> Option<(u16, &'m Field)> {
    message.field(part).or_else(|| {
        let mut fields = (0_u16..).zip(&message.fields);
        fields.find(|(_, field)| text::snake_case(&field.json_name) == part)
    })
}

/// Collects the paths of the keys of an object. Lists, maps, well-known types, `{}` and `null` stand for the whole field.
fn derive(
    schema: &Schema,
    message: MessageId,
    json: &Json<'_>,
    prefix: &mut String,
    paths: &mut Vec<String>,
) {
    let Json::Object(entries) = json else { return };
    for (key, value) in entries {
        // An unknown key is already a fault.
        let Some((_, field)) = schema.message(message).field(key) else {
            continue;
        };
        let mark = prefix.len();
        if mark > 0 {
            prefix.push('.');
        }
        prefix.push_str(&field.name);
        let inner = field
            .message()
            .filter(|id| schema.message(*id).form == Form::Plain);
        match (inner, value) {
            (Some(inner), Json::Object(entries)) if !entries.is_empty() => {
                derive(schema, inner, value, prefix, paths);
            }
            _ => paths.push(prefix.clone()),
        }
        prefix.truncate(mark);
    }
}

fn is_path_bound(schema: &Schema, route: &Route, resource: FieldRef, path: &str) -> bool {
    route.variables.iter().any(|variable| {
        variable.field.first() == Some(&resource)
            && variable.field[1..]
                .iter()
                .map(|step| &*step.get(schema).name)
                .eq(path.split('.'))
    })
}
