//! Query parameters.

use std::borrow::Cow;
use std::collections::HashSet;

use prost_reflect::{DynamicMessage, Value};

use super::merge;
use crate::config::GatewayConfig;
use crate::fault::{
    BAD_ESCAPE, DUPLICATE_FIELD, FIELD_CONFLICT, Refusal, UNKNOWN_FIELD, UNSUPPORTED,
};
use crate::json::read::Reader;
use crate::json::{number, text};
use crate::percent;
use crate::rejection::Rejection;
use crate::route::{BodyRule, FieldRef, Route, dotted};
use crate::schema::{Schema, Shape};
use crate::suggest;

/// Sets every query parameter.
pub(super) fn bind(
    reader: &mut Reader<'_>,
    config: &GatewayConfig,
    route: &Route,
    query: Option<&str>,
    message: &mut DynamicMessage,
) -> Result<(), Rejection> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Ok(());
    };
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if pairs().count() > config.limits.query_keys {
        return Err(Rejection::bad_request(
            "TOO_MANY_QUERY_KEYS",
            "the query has too many keys",
        ));
    }
    let mut seen = HashSet::new();
    for pair in pairs() {
        let (raw_key, raw_value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent::decode_query(raw_key);
        let value = percent::decode_query(raw_value);
        let (Some(key), Some(value)) = (key, value) else {
            let refusal = Refusal::new(BAD_ESCAPE, "the query has a malformed percent-escape");
            reader.faults.at(number::clip(raw_key).to_owned(), refusal);
            continue;
        };
        if config.system_query_keys.iter().any(|known| *known == key) {
            continue;
        }
        if route.body == BodyRule::Whole {
            let refusal = Refusal::new(
                UNKNOWN_FIELD,
                "everything belongs in the body here; the query must be empty",
            );
            reader.faults.at(number::clip(&key).to_owned(), refusal);
            continue;
        }
        if let Err((field, refusal)) = set(reader.schema, route, &key, value, &mut seen, message) {
            reader.faults.at(field, refusal);
        }
    }
    Ok(())
}

fn set(
    schema: &Schema,
    route: &Route,
    key: &str,
    value: Cow<'_, str>,
    seen: &mut HashSet<Vec<FieldRef>>,
    message: &mut DynamicMessage,
) -> Result<(), (String, Refusal)> {
    let path =
        resolve(schema, route, key).map_err(|refusal| (number::clip(key).to_owned(), refusal))?;
    let fail = |refusal| (dotted(schema, &path), refusal);
    refuse_bound_elsewhere(route, &path).map_err(fail)?;
    let field = path[path.len() - 1].get(schema);
    let ty = match field.shape {
        Shape::One(ty) => ty,
        Shape::List(ty) if !matches!(ty, crate::schema::Type::Message(_)) => ty,
        Shape::List(_) => {
            return Err(fail(Refusal::new(
                UNSUPPORTED,
                "a list of messages cannot be given in the query",
            )));
        }
        Shape::Map { .. } => {
            return Err(fail(Refusal::new(
                UNSUPPORTED,
                "a map cannot be given in the query",
            )));
        }
    };
    if !text::has_text_form(schema, ty) {
        let text = "a message cannot be given in the query; name one of its fields";
        return Err(fail(Refusal::new(UNSUPPORTED, text)));
    }
    let read = text::value(schema, ty, &value).map_err(fail)?;
    let holder = merge::parent_of(schema, message, &path).map_err(fail)?;
    if matches!(field.shape, Shape::List(_)) {
        if let Value::List(items) = holder.get_field_mut(&field.desc) {
            items.push(read);
        }
        return Ok(());
    }
    holder.set_field(&field.desc, read);
    if seen.insert(path.clone()) {
        Ok(())
    } else {
        let text = "this parameter is given more than once";
        Err(fail(Refusal::new(DUPLICATE_FIELD, text)))
    }
}

/// Turns `a.bC.d` into fields; each part may be a JSON or a proto name.
fn resolve(schema: &Schema, route: &Route, key: &str) -> Result<Vec<FieldRef>, Refusal> {
    let mut path = Vec::new();
    let mut message = Some(route.input);
    for part in key.split('.') {
        let Some(id) = message else {
            let text = format!("\"{}\" has no fields inside", number::clip(key));
            return Err(Refusal::new(UNKNOWN_FIELD, text));
        };
        let known = schema.message(id);
        let Some((field, found)) = known.field(part) else {
            let hint = suggest::hint(part, known.json_names());
            let text = format!("{} has no such field{hint}", known.desc.name());
            return Err(Refusal::new(UNKNOWN_FIELD, text));
        };
        path.push(FieldRef { message: id, field });
        message = found.message();
    }
    Ok(path)
}

fn refuse_bound_elsewhere(route: &Route, path: &[FieldRef]) -> Result<(), Refusal> {
    if let BodyRule::Field(body) = route.body
        && path.first() == Some(&body)
    {
        return Err(Refusal::new(FIELD_CONFLICT, "this field is the body"));
    }
    let in_path = route
        .variables
        .iter()
        .any(|variable| variable.field == path);
    if in_path {
        return Err(Refusal::new(
            FIELD_CONFLICT,
            "this field is part of the path and must not be repeated in the query",
        ));
    }
    Ok(())
}
