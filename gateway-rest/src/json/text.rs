//! One value from plain text: path variables, query values and the JSON strings of types that are written as strings.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, Value};

use super::{number, time};
use crate::fault::{Refusal, UNSUPPORTED};
use crate::schema::{Enum, Form, Message, Schema, Shape, Type};
use crate::suggest;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_allow_trailing_bits(true)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Reads a value of any type that has a text form.
pub(crate) fn value(schema: &Schema, ty: Type, text: &str) -> Result<Value, Refusal> {
    Ok(match ty {
        Type::Bool => Value::Bool(boolean(text)?),
        Type::I32 => Value::I32(number::integer_as(text)?),
        Type::I64 => Value::I64(number::integer_as(text)?),
        Type::U32 => Value::U32(number::integer_as(text)?),
        Type::U64 => Value::U64(number::integer_as(text)?),
        Type::F32 => Value::F32(float(text)?),
        Type::F64 => Value::F64(double(text)?),
        Type::String => Value::String(text.to_owned()),
        Type::Bytes => Value::Bytes(bytes(text)?.into()),
        Type::Enum(id) => Value::EnumNumber(enum_text(schema.enumeration(id), text)?),
        Type::Message(id) => Value::Message(message(schema, schema.message(id), text)?),
    })
}

/// Whether [`value`] can read this type at all.
pub(crate) fn has_text_form(schema: &Schema, ty: Type) -> bool {
    match ty {
        Type::Message(id) => matches!(
            schema.message(id).form,
            Form::Timestamp | Form::Duration | Form::FieldMask | Form::Wrapped
        ),
        _ => true,
    }
}

fn boolean(text: &str) -> Result<bool, Refusal> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Refusal::invalid("expected true or false")),
    }
}

/// A double, or one of the three names JSON has no number for.
pub(crate) fn double(text: &str) -> Result<f64, Refusal> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" => Ok(f64::INFINITY),
        "-Infinity" => Ok(f64::NEG_INFINITY),
        _ => number::double(text),
    }
}

/// As [`double`], for `float` fields.
pub(crate) fn float(text: &str) -> Result<f32, Refusal> {
    match text {
        "NaN" => Ok(f32::NAN),
        "Infinity" => Ok(f32::INFINITY),
        "-Infinity" => Ok(f32::NEG_INFINITY),
        _ => number::float(text),
    }
}

/// Standard or URL-safe base64, padded or not.
pub(crate) fn bytes(text: &str) -> Result<Vec<u8>, Refusal> {
    let engine = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    engine
        .decode(text)
        .map_err(|_| Refusal::invalid("expected base64"))
}

/// An enum by name, or by number so that values newer than this gateway still pass.
fn enum_text(enumeration: &Enum, text: &str) -> Result<i32, Refusal> {
    enumeration
        .number(text)
        .or_else(|| number::integer_as(text).ok())
        .ok_or_else(|| unknown_enum(enumeration, text))
}

/// An enum by name only, which is what a JSON string may hold.
pub(crate) fn enum_name(enumeration: &Enum, name: &str) -> Result<i32, Refusal> {
    enumeration
        .number(name)
        .ok_or_else(|| unknown_enum(enumeration, name))
}

fn unknown_enum(enumeration: &Enum, text: &str) -> Refusal {
    let hint = suggest::hint(text, enumeration.value_names());
    Refusal::invalid(format!(
        "\"{}\" is not a value of this enum{hint}",
        number::clip(text)
    ))
}

/// A message whose JSON form is a string, or a wrapper around a scalar.
pub(crate) fn message(
    schema: &Schema,
    message: &Message,
    text: &str,
) -> Result<DynamicMessage, Refusal> {
    let mut out = DynamicMessage::new(message.desc.clone());
    match message.form {
        Form::Timestamp => {
            let (seconds, nanos) = time::timestamp(text)?;
            out.set_field_by_number(1, Value::I64(seconds));
            out.set_field_by_number(2, Value::I32(nanos));
        }
        Form::Duration => {
            let (seconds, nanos) = time::duration(text)?;
            out.set_field_by_number(1, Value::I64(seconds));
            out.set_field_by_number(2, Value::I32(nanos));
        }
        Form::FieldMask => {
            let paths = text
                .split(',')
                .filter(|path| !path.is_empty())
                .map(|path| Value::String(snake_case(path)))
                .collect();
            out.set_field_by_number(1, Value::List(paths));
        }
        Form::Wrapped => {
            if let Some(Shape::One(ty)) = message.fields.first().map(|field| field.shape) {
                out.set_field_by_number(1, value(schema, ty, text)?);
            }
        }
        _ => {
            return Err(Refusal::new(
                UNSUPPORTED,
                "a message cannot be written as text here; name one of its fields",
            ));
        }
    }
    Ok(out)
}

/// `displayName.fooBar` to `display_name.foo_bar`; text that is snake case already stays as it is.
pub(crate) fn snake_case(path: &str) -> String {
    let mut out = String::with_capacity(path.len() + 4);
    for letter in path.trim().chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
            out.push(letter.to_ascii_lowercase());
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{bytes, snake_case};

    #[test]
    fn base64_of_both_alphabets_with_and_without_padding() {
        for text in ["-_8=", "-_8", "+/8=", "+/8"] {
            assert_eq!(bytes(text).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert!(bytes("a").is_err());
        assert!(bytes("!!!!").is_err());
    }

    #[test]
    fn mask_paths_become_snake_case() {
        assert_eq!(snake_case("displayName.fooBar"), "display_name.foo_bar");
        assert_eq!(snake_case("display_name"), "display_name");
    }
}
