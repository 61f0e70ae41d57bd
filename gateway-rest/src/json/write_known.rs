//! Printing the well-known types that have a JSON form of their own.

use super::wire::{self, Malformed, Raw};
use super::write::Writer;
use crate::schema::{Form, Message};

/// Writes a message whose form is not plain.
pub(super) fn message(
    writer: &mut Writer<'_>,
    message: &Message,
    bytes: &[u8],
) -> Result<(), Malformed> {
    match message.form {
        Form::Timestamp => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            timestamp(writer, seconds, nanos);
        }
        Form::Duration => {
            let (seconds, nanos) = seconds_and_nanos(bytes)?;
            duration(writer, seconds, nanos);
        }
        Form::FieldMask => field_mask(writer, bytes)?,
        Form::Wrapped | Form::Struct | Form::ListValue => first_field(writer, message, bytes)?,
        Form::Value => dynamic_value(writer, message, bytes)?,
        Form::Any => any(writer, bytes)?,
        Form::Empty | Form::Plain | Form::HttpBody => writer.raw("{}"),
    }
    Ok(())
}

/// Wrappers, `Struct` and `ListValue` print as their only field.
fn first_field(writer: &mut Writer<'_>, message: &Message, bytes: &[u8]) -> Result<(), Malformed> {
    match message.fields.first() {
        Some(field) => writer.field(message, field, bytes),
        None => Err(Malformed),
    }
}

/// A `Value` prints as the member of its oneof that is set.
fn dynamic_value(
    writer: &mut Writer<'_>,
    message: &Message,
    bytes: &[u8],
) -> Result<(), Malformed> {
    match wire::fields(message, bytes)?.last() {
        Some((index, _)) => {
            let field = &message.fields[usize::from(*index)];
            writer.field(message, field, bytes)
        }
        None => {
            writer.raw("null");
            Ok(())
        }
    }
}

/// The two parts of a `Timestamp` or `Duration`, the second from nothing to less than a second, whatever the service sent.
fn seconds_and_nanos(mut bytes: &[u8]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0_i64, 0_i32);
    while !bytes.is_empty() {
        match wire::next(&mut bytes)? {
            (1, Raw::Varint(value)) => seconds = value.cast_signed(),
            #[expect(clippy::cast_possible_truncation, reason = "an int32")]
            (2, Raw::Varint(value)) => nanos = value as i32,
            (1 | 2, _) => return Err(Malformed),
            _ => {}
        }
    }
    let whole = nanos.div_euclid(SECOND);
    Ok((
        seconds.saturating_add(i64::from(whole)),
        nanos.rem_euclid(SECOND),
    ))
}

/// Nanoseconds.
const SECOND: i32 = 1_000_000_000;

/// `2030-01-31T09:30:00Z`, with 3, 6 or 9 digits of fraction if there is any.
fn timestamp(writer: &mut Writer<'_>, seconds: i64, nanos: i32) {
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    writer.display(format_args!(
        "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    ));
    fraction(writer, nanos);
    writer.raw("Z\"");
}

/// The inverse of counting days in 400-year eras that start in March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn duration(writer: &mut Writer<'_>, seconds: i64, nanos: i32) {
    let (sign, seconds, nanos) = match (seconds, nanos) {
        (..0, 1..) => ("-", (seconds + 1).unsigned_abs(), SECOND - nanos),
        (..0, _) => ("-", seconds.unsigned_abs(), nanos),
        _ => ("", seconds.unsigned_abs(), nanos),
    };
    writer.display(format_args!("\"{sign}{seconds}"));
    fraction(writer, nanos);
    writer.raw("s\"");
}

fn fraction(writer: &mut Writer<'_>, nanos: i32) {
    if nanos == 0 {
    } else if nanos % 1_000_000 == 0 {
        writer.display(format_args!(".{:03}", nanos / 1_000_000));
    } else if nanos % 1000 == 0 {
        writer.display(format_args!(".{:06}", nanos / 1000));
    } else {
        writer.display(format_args!(".{nanos:09}"));
    }
}

fn field_mask(writer: &mut Writer<'_>, mut bytes: &[u8]) -> Result<(), Malformed> {
    let mut joined = String::new();
    while !bytes.is_empty() {
        if let (1, raw) = wire::next(&mut bytes)? {
            if !joined.is_empty() {
                joined.push(',');
            }
            camel_case(wire::text(raw)?, &mut joined);
        }
    }
    writer.string(&joined);
    Ok(())
}

/// `foo_bar` to `fooBar`; an underscore that does not stand before a small letter is kept, so nothing is lost.
fn camel_case(path: &str, out: &mut String) {
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        match letters.peek() {
            Some(next) if letter == '_' && next.is_ascii_lowercase() => {
                out.push(next.to_ascii_uppercase());
                letters.next();
            }
            _ => out.push(letter),
        }
    }
}

fn any(writer: &mut Writer<'_>, bytes: &[u8]) -> Result<(), Malformed> {
    let url = wire::last(bytes, 1)?.map_or(Ok(""), wire::text)?;
    let payload = match wire::last(bytes, 2)? {
        None => &[],
        Some(Raw::Bytes(payload)) => payload,
        Some(_) => return Err(Malformed),
    };
    if url.is_empty() && payload.is_empty() {
        writer.raw("{}");
    } else {
        any_parts(writer, url, payload);
    }
    Ok(())
}

/// Nothing but this bounds how deep they nest, because each is bytes to the one around it; deeper ones go out as base64.
const MAX_ANY_DEPTH: u8 = 4;

/// `{"@type": …}` with the fields beside it; a type this pool does not know, or bytes that are not of that type, go out as
/// base64 under `value`, so that one foreign detail cannot make a whole answer unreadable.
pub(crate) fn any_parts(writer: &mut Writer<'_>, url: &str, payload: &[u8]) {
    writer.any_depth += 1;
    writer.raw("{\"@type\":");
    writer.string(url);
    let (written, depth) = (writer.out.len(), writer.depth);
    if known(writer, url, payload).is_err() {
        writer.out.truncate(written);
        writer.depth = depth;
        writer.raw(",\"value\":");
        writer.bytes(payload);
    }
    writer.raw("}");
    writer.any_depth -= 1;
}

fn known(writer: &mut Writer<'_>, url: &str, payload: &[u8]) -> Result<(), Malformed> {
    let schema = writer.schema;
    let id = url
        .rsplit_once('/')
        .filter(|_| writer.any_depth <= MAX_ANY_DEPTH)
        .and_then(|(_, name)| schema.find(name))
        .ok_or(Malformed)?;
    let message = schema.message(id);
    if matches!(message.form, Form::Plain | Form::HttpBody) {
        return writer.fields(message, payload, false);
    }
    writer.raw(",\"value\":");
    writer.message(id, payload)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::Any;

    use super::{any_parts, camel_case, civil_from_days};
    use crate::json::write::Writer;
    use crate::schema::Schema;

    #[test]
    fn a_tower_of_anys_does_not_exhaust_the_stack() {
        let pool = prost_reflect::DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET);
        let schema = Schema::new(&pool.unwrap());
        let mut any = Any::default();
        for _ in 0..2000 {
            any = Any {
                type_url: "x/google.protobuf.Any".to_owned(),
                value: any.encode_to_vec(),
            };
        }
        let mut out = Vec::new();
        any_parts(
            &mut Writer::new(&schema, &mut out),
            &any.type_url,
            &any.value,
        );
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(
            json.pointer("/value/value/value/value/value")
                .unwrap()
                .is_string()
        );
    }

    #[test]
    fn dates_of_day_numbers() {
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(civil_from_days(19_782), (2024, 2, 29));
        assert_eq!(civil_from_days(-719_162), (1, 1, 1));
        assert_eq!(civil_from_days(2_932_896), (9999, 12, 31));
    }

    #[test]
    fn mask_paths_become_camel_case_without_loss() {
        let camel = |path| {
            let mut out = String::new();
            camel_case(path, &mut out);
            out
        };
        assert_eq!(camel("display_name.foo_bar"), "displayName.fooBar");
        assert_eq!(camel("a__b_1"), "a_B_1");
    }
}
