//! Message to JSON text, straight into a byte buffer.
//!
//! Scalars and enums are always printed, unset messages, optionals and oneof members never (contract R46); 64-bit integers
//! are strings; enums go out by name, by number when the name is not known here.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, MapKey, Value};

use super::write_known;
use crate::schema::{Form, Message, MessageId, Schema, Shape, Type};

/// Writes values of one schema into one buffer.
pub(crate) struct Writer<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) out: &'a mut Vec<u8>,
    /// How many `Any` the writer stands inside of.
    pub(crate) any_depth: u8,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(schema: &'a Schema, out: &'a mut Vec<u8>) -> Self {
        Self {
            schema,
            out,
            any_depth: 0,
        }
    }
}

impl Writer<'_> {
    /// Writes a message of any form.
    pub(crate) fn message(&mut self, id: MessageId, value: &DynamicMessage) {
        let schema = self.schema;
        let message = schema.message(id);
        match message.form {
            Form::Plain | Form::HttpBody => {
                self.out.push(b'{');
                self.fields(message, value, true);
                self.out.push(b'}');
            }
            _ => write_known::message(self, message, value),
        }
    }

    /// Writes `"key":value` pairs; `first` says whether no pair precedes them.
    pub(crate) fn fields(&mut self, message: &Message, value: &DynamicMessage, mut first: bool) {
        for field in &message.fields {
            if field.presence && !value.has_field(&field.desc) {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.out.extend_from_slice(field.json_key.as_bytes());
            self.field_value(field.shape, &value.get_field(&field.desc));
        }
    }

    /// Writes the value of a whole field: one value, a list or a map.
    pub(crate) fn field_value(&mut self, shape: Shape, value: &Value) {
        match (shape, value) {
            (Shape::One(ty), value) => self.value(ty, value),
            (Shape::List(ty), Value::List(items)) => {
                self.out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.value(ty, item);
                }
                self.out.push(b']');
            }
            (Shape::Map { value: ty, .. }, Value::Map(map)) => {
                // A hash map has no order; an answer should not change between two identical requests.
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by(|left, right| left.0.cmp(right.0));
                self.out.push(b'{');
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(b',');
                    }
                    self.map_key(key);
                    self.out.push(b':');
                    self.value(ty, item);
                }
                self.out.push(b'}');
            }
            _ => self.raw("null"),
        }
    }

    /// Writes one value. A `Value` always matches its type, since both come from one descriptor.
    pub(crate) fn value(&mut self, ty: Type, value: &Value) {
        match (ty, value) {
            (Type::Message(id), Value::Message(message)) => self.message(id, message),
            (Type::Enum(id), Value::EnumNumber(number)) => {
                let enumeration = self.schema.enumeration(id);
                match enumeration.name(*number) {
                    _ if enumeration.null => self.raw("null"),
                    Some(name) => self.quoted(format_args!("{name}")),
                    None => self.display(number),
                }
            }
            (_, Value::Bool(value)) => self.raw(if *value { "true" } else { "false" }),
            (_, Value::I32(value)) => self.display(value),
            (_, Value::U32(value)) => self.display(value),
            (_, Value::I64(value)) => self.quoted(format_args!("{value}")),
            (_, Value::U64(value)) => self.quoted(format_args!("{value}")),
            (_, Value::F32(value)) => self.float(*value),
            (_, Value::F64(value)) => self.double(*value),
            (_, Value::String(value)) => self.string(value),
            (_, Value::Bytes(value)) => self.bytes(value),
            _ => self.raw("null"),
        }
    }

    fn map_key(&mut self, key: &MapKey) {
        match key {
            MapKey::String(value) => self.string(value),
            MapKey::Bool(value) => self.quoted(format_args!("{value}")),
            MapKey::I32(value) => self.quoted(format_args!("{value}")),
            MapKey::I64(value) => self.quoted(format_args!("{value}")),
            MapKey::U32(value) => self.quoted(format_args!("{value}")),
            MapKey::U64(value) => self.quoted(format_args!("{value}")),
        }
    }

    pub(crate) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// Quotes text known to need no escapes.
    pub(crate) fn quoted(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = write!(self.out, "\"{text}\"");
    }

    pub(crate) fn string(&mut self, text: &str) {
        // Serialising a &str into a Vec cannot fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out.push(b'"');
        let start = self.out.len();
        let length = bytes.len().div_ceil(3) * 4;
        self.out.resize(start + length, 0);
        // The buffer has exactly the padded length, so this cannot fail.
        let _ = STANDARD.encode_slice(bytes, &mut self.out[start..]);
        self.out.push(b'"');
    }

    pub(crate) fn double(&mut self, value: f64) {
        if value.is_nan() {
            self.raw("\"NaN\"");
        } else if value.is_infinite() {
            self.raw(if value > 0.0 {
                "\"Infinity\""
            } else {
                "\"-Infinity\""
            });
        } else if value.fract() == 0.0 && value.abs() < 1e15 {
            // `1`, as every other protobuf library prints it, not `1.0`; also keeps the sign of -0.
            self.display(value);
        } else {
            let _ = serde_json::to_writer(&mut *self.out, &value);
        }
    }

    fn float(&mut self, value: f32) {
        if value.is_finite() && !(value.fract() == 0.0 && value.abs() < 1e15) {
            // As f32: the shortest digits that read back as the same float.
            let _ = serde_json::to_writer(&mut *self.out, &value);
        } else {
            self.double(f64::from(value));
        }
    }
}
