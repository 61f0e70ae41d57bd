//! Reading the well-known types that have a JSON form of their own.

use std::borrow::Cow;
use std::collections::HashMap;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MapKey, Value};

use super::parse::Json;
use super::read::Reader;
use super::{number, text};
use crate::fault::{DUPLICATE_FIELD, Refusal, UNKNOWN_FIELD};
use crate::schema::{Form, Message, Shape, Type};

/// Field numbers of `google.protobuf.Value`.
mod value_field {
    pub(super) const NULL: u32 = 1;
    pub(super) const NUMBER: u32 = 2;
    pub(super) const STRING: u32 = 3;
    pub(super) const BOOL: u32 = 4;
    pub(super) const STRUCT: u32 = 5;
    pub(super) const LIST: u32 = 6;
}

/// Reads a message whose form is not plain.
pub(super) fn message(
    reader: &mut Reader<'_>,
    message: &Message,
    json: &Json<'_>,
) -> Option<DynamicMessage> {
    match (message.form, json) {
        (Form::Timestamp | Form::Duration | Form::FieldMask, Json::String(literal)) => {
            let read = text::message(reader.schema, message, literal);
            reader.keep(read)
        }
        (Form::Wrapped, _) => wrapped(reader, message, json),
        (Form::Any, Json::Object(entries)) => any(reader, message, entries),
        (Form::Struct, Json::Object(entries)) => structure(reader, message, entries),
        (Form::ListValue, Json::Array(items)) => list_value(reader, message, items),
        (Form::Value, _) => dynamic_value(reader, message, json),
        (Form::Empty, Json::Object(entries)) => {
            let mut sound = true;
            for (key, _) in entries {
                let refusal = Refusal::new(UNKNOWN_FIELD, "this message has no fields");
                reader.faults.child(number::clip(key), refusal);
                sound = false;
            }
            sound.then(|| DynamicMessage::new(message.desc.clone()))
        }
        (form, other) => {
            let refusal = Refusal::wrong_type(expected(form), other.describe());
            reader.keep(Err(refusal))
        }
    }
}

fn expected(form: Form) -> &'static str {
    match form {
        Form::Timestamp => "an RFC 3339 time as a string",
        Form::Duration => "a duration as a string",
        Form::FieldMask => "field names as one comma-separated string",
        Form::ListValue => "an array",
        _ => "an object",
    }
}

fn wrapped(reader: &mut Reader<'_>, message: &Message, json: &Json<'_>) -> Option<DynamicMessage> {
    let field = message.fields.first()?;
    let Shape::One(ty) = field.shape else {
        return None;
    };
    let value = reader.value(ty, json)?;
    let mut out = DynamicMessage::new(message.desc.clone());
    out.set_field(&field.desc, value);
    Some(out)
}

fn any(
    reader: &mut Reader<'_>,
    message: &Message,
    entries: &[(Cow<'_, str>, Json<'_>)],
) -> Option<DynamicMessage> {
    let mut out = DynamicMessage::new(message.desc.clone());
    if entries.is_empty() {
        return Some(out);
    }
    let mut types = entries.iter().filter(|(key, _)| key == "@type");
    let (Some((_, Json::String(url))), None) = (types.next(), types.next()) else {
        let refusal = Refusal::invalid("an Any needs exactly one \"@type\" with a type URL");
        return reader.keep(Err(refusal));
    };
    let schema = reader.schema;
    let Some(id) = url.rsplit_once('/').and_then(|(_, name)| schema.find(name)) else {
        let text = format!("\"{}\" is not a known type", number::clip(url));
        reader.faults.child("@type", Refusal::invalid(text));
        return None;
    };
    let rest: Vec<_> = entries
        .iter()
        .filter(|(key, _)| key != "@type")
        .cloned()
        .collect();
    let payload = if matches!(schema.message(id).form, Form::Plain | Form::HttpBody) {
        reader.message(id, &Json::Object(rest))?
    } else {
        match rest.as_slice() {
            [(key, value)] if key == "value" => {
                let mark = reader.faults.enter("value");
                let payload = reader.message(id, value);
                reader.faults.leave(mark);
                payload?
            }
            _ => {
                let refusal =
                    Refusal::invalid("this type goes in \"value\", and nothing beside it");
                return reader.keep(Err(refusal));
            }
        }
    };
    out.set_field_by_number(1, Value::String(url.to_string()));
    out.set_field_by_number(2, Value::Bytes(payload.encode_to_vec().into()));
    Some(out)
}

fn structure(
    reader: &mut Reader<'_>,
    message: &Message,
    entries: &[(Cow<'_, str>, Json<'_>)],
) -> Option<DynamicMessage> {
    let field = message.fields.first()?;
    let Shape::Map {
        value: Type::Message(value_id),
        ..
    } = field.shape
    else {
        return None;
    };
    let value_message = reader.schema.message(value_id);
    let mut map = HashMap::with_capacity(entries.len());
    for (key, json) in entries {
        let mark = reader.faults.enter_key(number::clip(key));
        let value = dynamic_value(reader, value_message, json);
        let repeated = map.contains_key(&MapKey::String(key.to_string()));
        if repeated {
            let text = "this key is given more than once";
            reader.faults.here(Refusal::new(DUPLICATE_FIELD, text));
        }
        reader.faults.leave(mark);
        if repeated {
            return None;
        }
        map.insert(MapKey::String(key.to_string()), Value::Message(value?));
    }
    let mut out = DynamicMessage::new(message.desc.clone());
    out.set_field(&field.desc, Value::Map(map));
    Some(out)
}

fn list_value(
    reader: &mut Reader<'_>,
    message: &Message,
    items: &[Json<'_>],
) -> Option<DynamicMessage> {
    let field = message.fields.first()?;
    let Shape::List(Type::Message(value_id)) = field.shape else {
        return None;
    };
    let value_message = reader.schema.message(value_id);
    let mut values = Vec::with_capacity(items.len());
    for (index, json) in items.iter().enumerate() {
        let mark = reader.faults.enter_index(index);
        let value = dynamic_value(reader, value_message, json);
        reader.faults.leave(mark);
        values.push(Value::Message(value?));
    }
    let mut out = DynamicMessage::new(message.desc.clone());
    out.set_field(&field.desc, Value::List(values));
    Some(out)
}

fn dynamic_value(
    reader: &mut Reader<'_>,
    message: &Message,
    json: &Json<'_>,
) -> Option<DynamicMessage> {
    let child = |number: u32| {
        let field = message
            .fields
            .iter()
            .find(|field| field.desc.number() == number);
        field.and_then(crate::schema::Field::message)
    };
    let (number, value) = match json {
        Json::Null => (value_field::NULL, Value::EnumNumber(0)),
        Json::Bool(value) => (value_field::BOOL, Value::Bool(*value)),
        Json::Number(literal) => {
            let read = number::double(literal);
            (value_field::NUMBER, Value::F64(reader.keep(read)?))
        }
        Json::String(value) => (value_field::STRING, Value::String(value.to_string())),
        Json::Object(entries) => {
            let structure_message = reader.schema.message(child(value_field::STRUCT)?);
            let inner = structure(reader, structure_message, entries)?;
            (value_field::STRUCT, Value::Message(inner))
        }
        Json::Array(items) => {
            let list_message = reader.schema.message(child(value_field::LIST)?);
            let inner = list_value(reader, list_message, items)?;
            (value_field::LIST, Value::Message(inner))
        }
    };
    let mut out = DynamicMessage::new(message.desc.clone());
    out.set_field_by_number(number, value);
    Some(out)
}
