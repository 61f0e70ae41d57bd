//! JSON tree to message. Every fault found is reported, each with the path of its field.

use std::borrow::Cow;

use prost_reflect::{DynamicMessage, MapKey, Value};

use super::parse::Json;
use super::{number, read_known, text};
use crate::fault::{DUPLICATE_FIELD, Faults, ONEOF_CONFLICT, Refusal, UNKNOWN_FIELD, WRONG_TYPE};
use crate::schema::{Form, Message, MessageId, Schema, Shape, Type};
use crate::suggest;

/// Reads values of a schema, collecting faults. A value with a fault inside comes back as `None`.
pub(crate) struct Reader<'s> {
    pub(crate) schema: &'s Schema,
    pub(crate) faults: Faults,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(schema: &'s Schema) -> Self {
        Self {
            schema,
            faults: Faults::default(),
        }
    }

    /// Records what was wrong with a value and yields `None` for it.
    pub(crate) fn keep<T>(&mut self, result: Result<T, Refusal>) -> Option<T> {
        result.map_err(|refusal| self.faults.here(refusal)).ok()
    }

    /// Reads a message of any form.
    pub(crate) fn message(&mut self, id: MessageId, json: &Json<'_>) -> Option<DynamicMessage> {
        let schema = self.schema;
        let message = schema.message(id);
        match (message.form, json) {
            (Form::Plain | Form::HttpBody, Json::Object(entries)) => {
                let mut out = DynamicMessage::new(message.desc.clone());
                self.fields(message, entries, &mut out).then_some(out)
            }
            (Form::Plain | Form::HttpBody, other) => {
                let refusal = Refusal::wrong_type("an object", other.describe());
                self.keep(Err(refusal))
            }
            _ => read_known::message(self, message, json),
        }
    }

    /// Reads the entries of an object into a message; false if anything was wrong.
    pub(crate) fn fields(
        &mut self,
        message: &Message,
        entries: &[(Cow<'_, str>, Json<'_>)],
        out: &mut DynamicMessage,
    ) -> bool {
        let mut sound = true;
        let mut seen = vec![false; message.fields.len()];
        let mut oneof_holder: Vec<Option<u16>> = vec![None; message.oneofs.len()];
        for (key, json) in entries {
            let Some((index, field)) = message.field(key) else {
                self.unknown_field(message, key);
                sound = false;
                continue;
            };
            if std::mem::replace(&mut seen[usize::from(index)], true) {
                let text = "this field is given more than once";
                self.faults
                    .child(&field.name, Refusal::new(DUPLICATE_FIELD, text));
                sound = false;
                continue;
            }
            if matches!(json, Json::Null) && !self.takes_null(field.shape) {
                continue;
            }
            if let Some(oneof) = field.oneof {
                let holder = &mut oneof_holder[usize::from(oneof)];
                if let Some(other) = holder.replace(index) {
                    let refusal = oneof_conflict(message, oneof, other);
                    self.faults.child(&field.name, refusal);
                    sound = false;
                    continue;
                }
            }
            let mark = self.faults.enter(&field.name);
            match self.field_value(field.shape, json) {
                Some(value) => out.set_field(&field.desc, value),
                None => sound = false,
            }
            self.faults.leave(mark);
        }
        sound
    }

    fn unknown_field(&mut self, message: &Message, key: &str) {
        if self.faults.is_full() {
            return;
        }
        let hint = suggest::hint(key, message.json_names());
        let description = format!("{} has no such field{hint}", message.desc.name());
        let key = number::clip(key);
        self.faults
            .child(key, Refusal::new(UNKNOWN_FIELD, description));
    }

    /// Reads the value of a whole field: one value, a list or a map.
    pub(crate) fn field_value(&mut self, shape: Shape, json: &Json<'_>) -> Option<Value> {
        match shape {
            Shape::One(ty) => self.value(ty, json),
            Shape::List(ty) => self.list(ty, json),
            Shape::Map { key, value } => self.map(key, value, json),
        }
    }

    /// Whether `null` is a value of this field rather than its absence.
    pub(crate) fn takes_null(&self, shape: Shape) -> bool {
        match shape {
            Shape::One(Type::Message(id)) => self.schema.message(id).form == Form::Value,
            Shape::One(Type::Enum(id)) => self.schema.enumeration(id).null,
            _ => false,
        }
    }

    fn list(&mut self, ty: Type, json: &Json<'_>) -> Option<Value> {
        let Json::Array(items) = json else {
            let refusal = Refusal::wrong_type("an array", json.describe());
            return self.keep(Err(refusal));
        };
        let mut sound = true;
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let mark = self.faults.enter_index(index);
            match self.value(ty, item) {
                Some(value) => values.push(value),
                None => sound = false,
            }
            self.faults.leave(mark);
        }
        sound.then_some(Value::List(values))
    }

    fn map(&mut self, key_type: Type, value_type: Type, json: &Json<'_>) -> Option<Value> {
        let Json::Object(entries) = json else {
            let refusal = Refusal::wrong_type("an object", json.describe());
            return self.keep(Err(refusal));
        };
        let mut sound = true;
        let mut map = std::collections::HashMap::with_capacity(entries.len());
        for (key, item) in entries {
            let mark = self.faults.enter_key(number::clip(key));
            let key = map_key(key_type, key);
            let key = self.keep(key);
            let value = self.value(value_type, item);
            match (key, value) {
                (Some(key), Some(value)) => {
                    if map.insert(key, value).is_some() {
                        let text = "this key is given more than once";
                        self.faults.here(Refusal::new(DUPLICATE_FIELD, text));
                        sound = false;
                    }
                }
                _ => sound = false,
            }
            self.faults.leave(mark);
        }
        sound.then_some(Value::Map(map))
    }

    /// Reads one value of a type.
    pub(crate) fn value(&mut self, ty: Type, json: &Json<'_>) -> Option<Value> {
        let schema = self.schema;
        let read = match (ty, json) {
            (Type::Message(id), _) => return self.message(id, json).map(Value::Message),
            (Type::Bool, Json::Bool(value)) => Ok(Value::Bool(*value)),
            (Type::String, Json::String(value)) => Ok(Value::String(value.to_string())),
            (Type::Enum(id), _) => self.enum_value(id, json),
            (Type::Bytes, Json::String(value)) => {
                text::bytes(value).map(|bytes| Value::Bytes(bytes.into()))
            }
            (
                Type::I32 | Type::I64 | Type::U32 | Type::U64 | Type::F32 | Type::F64,
                Json::String(literal),
            ) => text::value(schema, ty, literal),
            (
                Type::I32 | Type::I64 | Type::U32 | Type::U64 | Type::F32 | Type::F64,
                Json::Number(literal),
            ) => text::value(schema, ty, literal),
            _ => Err(Refusal::wrong_type(expected(ty), json.describe())),
        };
        self.keep(read)
    }

    fn enum_value(&self, id: crate::schema::EnumId, json: &Json<'_>) -> Result<Value, Refusal> {
        let enumeration = self.schema.enumeration(id);
        match json {
            Json::String(name) => text::enum_name(enumeration, name).map(Value::EnumNumber),
            Json::Number(literal) => number::integer_as(literal).map(Value::EnumNumber),
            Json::Null if enumeration.null => Ok(Value::EnumNumber(0)),
            _ => Err(Refusal::wrong_type(
                "the name of an enum value",
                json.describe(),
            )),
        }
    }
}

/// The fault of giving a second member of a oneof.
pub(crate) fn oneof_conflict(message: &Message, oneof: u16, other: u16) -> Refusal {
    let name = &message.oneofs[usize::from(oneof)];
    let other = &message.fields[usize::from(other)].name;
    Refusal::new(
        ONEOF_CONFLICT,
        format!("only one of \"{name}\" may be given, and \"{other}\" is given too"),
    )
}

fn expected(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "true or false",
        Type::I32 | Type::U32 => "an integer",
        Type::I64 | Type::U64 => "an integer, as a string or a number",
        Type::F32 | Type::F64 => "a number",
        Type::String => "a string",
        Type::Bytes => "a base64 string",
        Type::Enum(_) => "the name of an enum value",
        Type::Message(_) => "an object",
    }
}

fn map_key(ty: Type, key: &str) -> Result<MapKey, Refusal> {
    Ok(match ty {
        Type::Bool => match key {
            "true" => MapKey::Bool(true),
            "false" => MapKey::Bool(false),
            _ => return Err(Refusal::new(WRONG_TYPE, "the key must be true or false")),
        },
        Type::I32 => MapKey::I32(number::integer_as(key)?),
        Type::I64 => MapKey::I64(number::integer_as(key)?),
        Type::U32 => MapKey::U32(number::integer_as(key)?),
        Type::U64 => MapKey::U64(number::integer_as(key)?),
        _ => MapKey::String(key.to_owned()),
    })
}
