//! Message to JSON text, from the bytes of the one straight into those of the other.
//!
//! Scalars and enums are always printed, unset messages, optionals and oneof members never (contract R46); 64-bit integers
//! are strings; enums go out by name, by number when the name is not known here.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::MapKey;

use super::wire::{self, Malformed, Raw, Wire};
use super::write_known;
use crate::schema::{Field, Form, Message, MessageId, Schema, Shape, Type};

/// How deep messages may nest, as in every protobuf library.
const MAX_DEPTH: u8 = 100;

/// Writes values of one schema into one buffer.
pub(crate) struct Writer<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) out: &'a mut Vec<u8>,
    /// How many messages the writer stands inside of.
    pub(crate) depth: u8,
    /// How many `Any` the writer stands inside of.
    pub(crate) any_depth: u8,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(schema: &'a Schema, out: &'a mut Vec<u8>) -> Self {
        Self {
            schema,
            out,
            depth: 0,
            any_depth: 0,
        }
    }
}

impl Writer<'_> {
    /// Writes a message of any form. What was written before bytes turned out to be malformed stays in the buffer.
    pub(crate) fn message(&mut self, id: MessageId, bytes: &[u8]) -> Result<(), Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed);
        }
        self.depth += 1;
        let schema = self.schema;
        let message = schema.message(id);
        match message.form {
            Form::Plain | Form::HttpBody => {
                self.out.push(b'{');
                self.fields(message, bytes, true)?;
                self.out.push(b'}');
            }
            _ => write_known::message(self, message, bytes)?,
        }
        self.depth -= 1;
        Ok(())
    }

    /// Writes `"key":value` pairs; `first` says whether no pair precedes them.
    pub(crate) fn fields(
        &mut self,
        message: &Message,
        bytes: &[u8],
        mut first: bool,
    ) -> Result<(), Malformed> {
        let found = wire::fields(message, bytes)?;
        let mut rest = found.as_slice();
        for (index, field) in (0..).zip(&message.fields) {
            let count = rest.iter().take_while(|(at, _)| *at == index).count();
            let (values, after) = rest.split_at(count);
            rest = after;
            if field.presence && values.is_empty() {
                continue;
            }
            if !first {
                self.out.push(b',');
            }
            first = false;
            self.out.extend_from_slice(field.json_key.as_bytes());
            self.field_value(field, values)?;
        }
        Ok(())
    }

    /// Writes the value of one field of a message.
    pub(crate) fn field(
        &mut self,
        message: &Message,
        field: &Field,
        bytes: &[u8],
    ) -> Result<(), Malformed> {
        let mut values = wire::fields(message, bytes)?;
        values.retain(|(index, _)| std::ptr::eq(&message.fields[usize::from(*index)], field));
        self.field_value(field, &values)
    }

    /// Writes the value of a whole field: one value, a list or a map.
    fn field_value(&mut self, field: &Field, values: &[(u16, Raw<'_>)]) -> Result<(), Malformed> {
        match field.shape {
            Shape::One(ty) => match (ty, values) {
                (Type::Message(id), [_, _, ..]) => {
                    let parts = values.iter().map(|(_, raw)| match *raw {
                        Raw::Bytes(bytes) | Raw::Group(bytes) => Ok(bytes),
                        _ => Err(Malformed),
                    });
                    let parts = parts.collect::<Result<Vec<_>, _>>()?;
                    self.message(id, &wire::whole(&parts))
                }
                _ => {
                    let raw = values.last().map_or(field.wire.zero(), |(_, raw)| *raw);
                    self.value(ty, field.wire, raw)
                }
            },
            Shape::List(ty) => {
                self.out.push(b'[');
                self.list(ty, field.wire, values)?;
                self.out.push(b']');
                Ok(())
            }
            Shape::Map { key, value } => {
                let types = [(key, field.key_wire), (value, field.wire)];
                self.out.push(b'{');
                self.map(types, values)?;
                self.out.push(b'}');
                Ok(())
            }
        }
    }

    fn list(&mut self, ty: Type, wire: Wire, values: &[(u16, Raw<'_>)]) -> Result<(), Malformed> {
        let mut first = true;
        let mut comma = |out: &mut Vec<u8>| {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
        };
        for (_, raw) in values {
            match *raw {
                Raw::Bytes(mut packed) if !matches!(wire, Wire::Bytes | Wire::Group) => {
                    while !packed.is_empty() {
                        comma(self.out);
                        self.value(ty, wire, wire.unpack(&mut packed)?)?;
                    }
                }
                raw => {
                    comma(self.out);
                    self.value(ty, wire, raw)?;
                }
            }
        }
        Ok(())
    }

    /// A map on the wire is a list of messages of a key and a value each, of which the last of a key counts. An answer should not change between two identical requests, so
    /// the keys are sorted.
    fn map(
        &mut self,
        [key, value]: [(Type, Wire); 2],
        values: &[(u16, Raw<'_>)],
    ) -> Result<(), Malformed> {
        let mut entries = Vec::with_capacity(values.len());
        for (_, raw) in values {
            let Raw::Bytes(entry) = *raw else {
                return Err(Malformed);
            };
            let part = |number, (_, wire): (_, Wire)| {
                wire::last(entry, number).map(|raw| raw.unwrap_or(wire.zero()))
            };
            entries.push((map_key(key, part(1, key)?)?, part(2, value)?));
        }
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        let mut first = true;
        for (at, (key, raw)) in entries.iter().enumerate() {
            if entries.get(at + 1).is_some_and(|(next, _)| next == key) {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.out.push(b',');
            }
            match key {
                MapKey::String(key) => self.string(key),
                MapKey::Bool(key) => self.quoted(key),
                MapKey::I32(key) => self.quoted(key),
                MapKey::I64(key) => self.quoted(key),
                MapKey::U32(key) => self.quoted(key),
                MapKey::U64(key) => self.quoted(key),
            }
            self.out.push(b':');
            self.value(value.0, value.1, *raw)?;
        }
        Ok(())
    }

    /// Writes one value.
    fn value(&mut self, ty: Type, wire: Wire, raw: Raw<'_>) -> Result<(), Malformed> {
        match (ty, raw) {
            (Type::Message(id), Raw::Bytes(bytes)) if wire == Wire::Bytes => {
                return self.message(id, bytes);
            }
            (Type::Message(id), Raw::Group(bytes)) if wire == Wire::Group => {
                return self.message(id, bytes);
            }
            (Type::Enum(id), Raw::Varint(_)) => {
                let number = number_32(wire, raw)?;
                let enumeration = self.schema.enumeration(id);
                match enumeration.name(number) {
                    _ if enumeration.null => self.raw("null"),
                    Some(name) => {
                        self.out.push(b'"');
                        self.raw(name);
                        self.out.push(b'"');
                    }
                    None => self.number(number),
                }
            }
            (Type::Bool, Raw::Varint(value)) => self.raw(if value == 0 { "false" } else { "true" }),
            (Type::I32, _) => self.number(number_32(wire, raw)?),
            (Type::U32, _) => self.number(number_32(wire, raw)?.cast_unsigned()),
            (Type::I64, _) => self.quoted(&number_64(wire, raw)?),
            (Type::U64, _) => self.quoted(&number_64(wire, raw)?.cast_unsigned()),
            (Type::F32, Raw::Fixed32(bits)) => self.float(f32::from_bits(bits)),
            (Type::F64, Raw::Fixed64(bits)) => self.double(f64::from_bits(bits)),
            (Type::String, raw) => self.string(wire::text(raw)?),
            (Type::Bytes, Raw::Bytes(bytes)) => self.bytes(bytes),
            _ => return Err(Malformed),
        }
        Ok(())
    }

    pub(crate) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn display(&mut self, value: impl std::fmt::Display) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn number(&mut self, value: impl serde::Serialize) {
        // Serialising a number into a Vec cannot fail. Faster than `Display`.
        let _ = serde_json::to_writer(&mut *self.out, &value);
    }

    fn quoted(&mut self, value: &impl serde::Serialize) {
        self.out.push(b'"');
        self.number(value);
        self.out.push(b'"');
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

    fn double(&mut self, value: f64) {
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
            self.number(value);
        }
    }

    fn float(&mut self, value: f32) {
        if value.is_finite() && !(value.fract() == 0.0 && value.abs() < 1e15) {
            // As f32: the shortest digits that read back as the same float.
            self.number(value);
        } else {
            self.double(f64::from(value));
        }
    }
}

/// A number of 32 bits. Of a longer varint the low bits count, as in every protobuf library.
#[expect(
    clippy::cast_possible_truncation,
    reason = "that is what the format says"
)]
fn number_32(wire: Wire, raw: Raw<'_>) -> Result<i32, Malformed> {
    match (wire, raw) {
        (Wire::Varint, Raw::Varint(value)) => Ok(value as i32),
        (Wire::ZigZag, Raw::Varint(value)) => {
            let value = value as u32;
            Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
        }
        (Wire::Fixed32, Raw::Fixed32(value)) => Ok(value.cast_signed()),
        _ => Err(Malformed),
    }
}

/// A number of 64 bits.
fn number_64(wire: Wire, raw: Raw<'_>) -> Result<i64, Malformed> {
    match (wire, raw) {
        (Wire::Varint, Raw::Varint(value)) | (Wire::Fixed64, Raw::Fixed64(value)) => {
            Ok(value.cast_signed())
        }
        (Wire::ZigZag, Raw::Varint(value)) => {
            Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
        }
        _ => Err(Malformed),
    }
}

fn map_key((ty, wire): (Type, Wire), raw: Raw<'_>) -> Result<MapKey, Malformed> {
    Ok(match (ty, raw) {
        (Type::String, raw) => MapKey::String(wire::text(raw)?.to_owned()),
        (Type::Bool, Raw::Varint(value)) => MapKey::Bool(value != 0),
        (Type::I32, raw) => MapKey::I32(number_32(wire, raw)?),
        (Type::U32, raw) => MapKey::U32(number_32(wire, raw)?.cast_unsigned()),
        (Type::I64, raw) => MapKey::I64(number_64(wire, raw)?),
        (Type::U64, raw) => MapKey::U64(number_64(wire, raw)?.cast_unsigned()),
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
