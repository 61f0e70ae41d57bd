//! Query parameters.

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
use crate::schema::{Schema, Shape, Type};
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
    let mut binder = Binder {
        schema: reader.schema,
        route,
        max_depth: config.limits.depth(),
        seen: HashSet::new(),
    };
    for pair in pairs() {
        if reader.faults.is_full() {
            break;
        }
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
        if let Err((field, refusal)) = binder.set(&key, &value, message) {
            reader.faults.at(field, refusal);
        }
    }
    Ok(())
}

struct Binder<'a> {
    schema: &'a Schema,
    route: &'a Route,
    max_depth: usize,
    /// Single-valued fields set so far.
    seen: HashSet<Vec<FieldRef>>,
}

impl Binder<'_> {
    /// Sets one parameter; a refusal comes with the field it is about.
    fn set(
        &mut self,
        key: &str,
        value: &str,
        message: &mut DynamicMessage,
    ) -> Result<(), (String, Refusal)> {
        let path = self
            .resolve(key)
            .map_err(|refusal| (number::clip(key).to_owned(), refusal))?;
        self.set_field(&path, value, message)
            .map_err(|refusal| (dotted(self.schema, &path), refusal))
    }

    fn set_field(
        &mut self,
        path: &[FieldRef],
        value: &str,
        message: &mut DynamicMessage,
    ) -> Result<(), Refusal> {
        refuse_bound_elsewhere(self.route, path)?;
        let field = path[path.len() - 1].get(self.schema);
        let unsupported = |text: &str| Err(Refusal::new(UNSUPPORTED, text));
        let ty = match field.shape {
            Shape::One(ty) => ty,
            Shape::List(Type::Message(_)) => {
                return unsupported("a list of messages cannot be given in the query");
            }
            Shape::List(ty) => ty,
            Shape::Map { .. } => return unsupported("a map cannot be given in the query"),
        };
        if !text::has_text_form(self.schema, ty) {
            return unsupported("a message cannot be given in the query; name one of its fields");
        }
        let read = text::value(self.schema, ty, value)?;
        let holder = merge::parent_of(self.schema, message, path)?;
        if matches!(field.shape, Shape::List(_)) {
            if let Value::List(items) = holder.get_field_mut(&field.desc) {
                items.push(read);
            }
            return Ok(());
        }
        holder.set_field(&field.desc, read);
        if self.seen.insert(path.to_vec()) {
            Ok(())
        } else {
            let text = "this parameter is given more than once";
            Err(Refusal::new(DUPLICATE_FIELD, text))
        }
    }

    /// Turns `a.bC.d` into fields; each part may be a JSON or a proto name.
    fn resolve(&self, key: &str) -> Result<Vec<FieldRef>, Refusal> {
        let mut path = Vec::new();
        let mut message = Some(self.route.input);
        for part in key.split('.') {
            if path.len() == self.max_depth {
                return Err(Refusal::new(UNSUPPORTED, "the field is nested too deeply"));
            }
            let Some(id) = message else {
                let text = format!("\"{}\" has no fields inside", number::clip(key));
                return Err(Refusal::new(UNKNOWN_FIELD, text));
            };
            let known = self.schema.message(id);
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
