//! The wire format of protobuf, as far as printing needs it: fields are cut out of a message where they lie, and no message is built of them.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, key_len, skip_field};
use prost_reflect::Kind;

use crate::schema::{Field, Message, Shape};

/// Bytes that are no message of the type they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Self {
        Self
    }
}

/// How the values of a field are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Varint,
    ZigZag,
    Fixed32,
    Fixed64,
    Bytes,
    Group,
}

impl Wire {
    pub(crate) fn of(kind: &Kind, group: bool) -> Self {
        match kind {
            Kind::Bool
            | Kind::Int32
            | Kind::Int64
            | Kind::Uint32
            | Kind::Uint64
            | Kind::Enum(_) => Self::Varint,
            Kind::Sint32 | Kind::Sint64 => Self::ZigZag,
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => Self::Fixed32,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => Self::Fixed64,
            Kind::Message(_) if group => Self::Group,
            Kind::Message(_) | Kind::String | Kind::Bytes => Self::Bytes,
        }
    }

    /// What a field holds that is not there.
    pub(crate) fn zero(self) -> Raw<'static> {
        match self {
            Self::Varint | Self::ZigZag => Raw::Varint(0),
            Self::Fixed32 => Raw::Fixed32(0),
            Self::Fixed64 => Raw::Fixed64(0),
            Self::Bytes => Raw::Bytes(&[]),
            Self::Group => Raw::Group(&[]),
        }
    }

    /// The next value of a packed list.
    pub(crate) fn unpack<'b>(self, rest: &mut &'b [u8]) -> Result<Raw<'b>, Malformed> {
        let kind = match self {
            Self::Varint | Self::ZigZag => WireType::Varint,
            Self::Fixed32 => WireType::ThirtyTwoBit,
            Self::Fixed64 => WireType::SixtyFourBit,
            Self::Bytes | Self::Group => return Err(Malformed),
        };
        value(0, kind, rest)
    }
}

/// A value whose type is not known yet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Raw<'b> {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
    Bytes(&'b [u8]),
    Group(&'b [u8]),
}

/// Cuts the next field off a message: its number and its value.
pub(crate) fn next<'b>(rest: &mut &'b [u8]) -> Result<(u32, Raw<'b>), Malformed> {
    let (number, kind) = decode_key(rest)?;
    Ok((number, value(number, kind, rest)?))
}

fn value<'b>(number: u32, kind: WireType, rest: &mut &'b [u8]) -> Result<Raw<'b>, Malformed> {
    Ok(match kind {
        WireType::Varint => Raw::Varint(decode_varint(rest)?),
        WireType::ThirtyTwoBit => Raw::Fixed32(u32::from_le_bytes(cut(rest)?)),
        WireType::SixtyFourBit => Raw::Fixed64(u64::from_le_bytes(cut(rest)?)),
        WireType::LengthDelimited => {
            let length = usize::try_from(decode_varint(rest)?).map_err(|_| Malformed)?;
            let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed)?;
            *rest = after;
            Raw::Bytes(bytes)
        }
        WireType::StartGroup => {
            let all = *rest;
            skip_field(kind, number, rest, DecodeContext::default())?;
            let length = (all.len() - rest.len()).checked_sub(key_len(number));
            Raw::Group(
                length
                    .and_then(|length| all.get(..length))
                    .ok_or(Malformed)?,
            )
        }
        WireType::EndGroup => return Err(Malformed),
    })
}

fn cut<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*bytes)
}

/// The values of the known fields of a message, by the index of the field; those of one field in the order they came in. Of a oneof only the member that came last.
pub(crate) fn fields<'b>(
    message: &Message,
    mut rest: &'b [u8],
) -> Result<Vec<(u16, Raw<'b>)>, Malformed> {
    let mut found: Vec<(u16, Raw<'b>)> = Vec::with_capacity(message.fields.len());
    while !rest.is_empty() {
        let (number, raw) = next(&mut rest)?;
        let Some(index) = message.index(number) else {
            continue;
        };
        if !fits(&message.fields[usize::from(index)], raw) {
            return Err(Malformed);
        }
        let oneof = |index: u16| message.fields[usize::from(index)].oneof;
        if let Some(group) = oneof(index) {
            found.retain(|(other, _)| *other == index || oneof(*other) != Some(group));
        }
        found.push((index, raw));
    }
    // Stable, so that repeated values and parts of a message stay in order. Most encoders write in the order of the fields.
    found.sort_by_key(|(index, _)| *index);
    Ok(found)
}

/// Whether this can be a value of the field, or several of a list.
fn fits(field: &Field, raw: Raw<'_>) -> bool {
    match (field.shape, field.wire, raw) {
        (Shape::Map { .. }, _, raw) => matches!(raw, Raw::Bytes(_)),
        (_, Wire::Varint | Wire::ZigZag, Raw::Varint(_))
        | (_, Wire::Fixed32, Raw::Fixed32(_))
        | (_, Wire::Fixed64, Raw::Fixed64(_))
        | (_, Wire::Bytes, Raw::Bytes(_))
        | (_, Wire::Group, Raw::Group(_)) => true,
        (Shape::List(_), wire, Raw::Bytes(_)) => wire != Wire::Group,
        _ => false,
    }
}

/// The last value of one field.
pub(crate) fn last(mut rest: &[u8], wanted: u32) -> Result<Option<Raw<'_>>, Malformed> {
    let mut found = None;
    while !rest.is_empty() {
        let (number, raw) = next(&mut rest)?;
        if number == wanted {
            found = Some(raw);
        }
    }
    Ok(found)
}

/// The message in a field that holds one, empty if it is not there. Parts that came apart are one message when they are put behind each other.
pub(crate) fn submessage(mut rest: &[u8], wanted: u32) -> Result<Cow<'_, [u8]>, Malformed> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        match next(&mut rest)? {
            (number, Raw::Bytes(bytes) | Raw::Group(bytes)) if number == wanted => {
                parts.push(bytes);
            }
            _ => {}
        }
    }
    Ok(whole(&parts))
}

/// Parts of one message, put together.
pub(crate) fn whole<'b>(parts: &[&'b [u8]]) -> Cow<'b, [u8]> {
    match parts {
        [] => Cow::Borrowed(&[]),
        [one] => Cow::Borrowed(one),
        parts => Cow::Owned(parts.concat()),
    }
}

/// The text in a value.
pub(crate) fn text(raw: Raw<'_>) -> Result<&str, Malformed> {
    match raw {
        Raw::Bytes(bytes) => str::from_utf8(bytes).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}
