use std::path::Path;
use std::sync::OnceLock;

use proptest::prelude::*;
use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, json};

use super::Writer;
use crate::json::wire::{Malformed, Wire};
use crate::schema::{Form, Message, Schema, Shape, Type};

fn schema() -> &'static (DescriptorPool, Schema) {
    static SCHEMA: OnceLock<(DescriptorPool, Schema)> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = [here.join("tests/proto"), here.join("../third_party")];
        let mut compiler = protox::Compiler::new(folders).unwrap();
        compiler
            .include_imports(true)
            .open_file("echo.proto")
            .unwrap();
        let set = compiler.encode_file_descriptor_set();
        let pool = DescriptorPool::decode(set.as_slice()).unwrap();
        let schema = Schema::new(&pool);
        (pool, schema)
    })
}

const EVERYTHING: &str = "echo.v1.Everything";

fn written(bytes: &[u8]) -> Result<Value, Malformed> {
    let (_, schema) = schema();
    let mut out = Vec::new();
    let id = schema.find(EVERYTHING).unwrap();
    Writer::new(schema, &mut out).message(id, bytes)?;
    Ok(serde_json::from_slice(&out).unwrap())
}

/// The same by the library that builds a tree of the message. `None` where it refuses to print what it could read.
fn by_tree(bytes: &[u8]) -> Result<Option<Value>, prost::DecodeError> {
    let (pool, _) = schema();
    let desc = pool.get_message_by_name(EVERYTHING).unwrap();
    let message = DynamicMessage::decode(desc, bytes)?;
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut out);
    let printed = message.serialize_with_options(&mut serializer, &options);
    Ok(printed
        .ok()
        .map(|()| numbers(serde_json::from_slice(&out).unwrap())))
}

/// The library prints `1.0` for what is `1` here, and other digits for a float that read back as the same one.
fn numbers(json: Value) -> Value {
    match json {
        Value::Number(number) => json!(number.as_f64().map(|number| number as f32)),
        Value::Array(items) => items.into_iter().map(numbers).collect(),
        Value::Object(items) => items
            .into_iter()
            .map(|(key, item)| (key, numbers(item)))
            .collect(),
        other => other,
    }
}

/// A message put together by hand: number of the field, type on the wire, value.
fn fields(parts: &[(u32, WireType, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, kind, value) in parts {
        encode_key(*number, *kind, &mut out);
        if *kind == WireType::LengthDelimited {
            encode_varint(value.len() as u64, &mut out);
        }
        out.extend_from_slice(value);
    }
    out
}

use WireType::{LengthDelimited as Bytes, StartGroup, Varint};

#[test]
fn the_last_of_several_values_counts() {
    let json = written(&fields(&[(2, Varint, &[1]), (2, Varint, &[7])])).unwrap();
    assert_eq!(json["i32"], 7);
}

#[test]
fn parts_of_a_message_are_one_message() {
    let json = written(&fields(&[
        (18, Bytes, b"\x0a\x01a"),
        (1, Varint, &[1]),
        (18, Bytes, b"\x10\x05"),
    ]));
    assert_eq!(
        json.unwrap()["child"],
        json!({"name": "a", "size": 5, "tags": {}})
    );
}

#[test]
fn of_a_oneof_the_last_member_counts() {
    let json = written(&fields(&[
        (23, Bytes, b"l"),
        (24, Varint, &[3]),
        (23, Bytes, b"left"),
    ]));
    let json = json.unwrap();
    assert_eq!((&json["left"], json.get("right")), (&json!("left"), None));
}

#[test]
fn lists_may_be_packed_or_not_or_both() {
    let json = written(&fields(&[
        (15, Varint, &[1]),
        (15, Bytes, &[2, 3]),
        (15, Bytes, &[]),
    ]));
    assert_eq!(json.unwrap()["numbers"], json!([1, 2, 3]));
}

#[test]
fn a_map_has_each_key_once_and_sorted() {
    let json = written(&fields(&[
        (20, Bytes, b"\x0a\x01b\x10\x01"),
        (20, Bytes, b"\x0a\x01a\x10\x02"),
        (20, Bytes, b"\x0a\x01b\x10\x03"),
        (20, Bytes, b""),
    ]));
    let text = json.unwrap()["counts"].to_string();
    assert_eq!(text, r#"{"":"0","a":"2","b":"3"}"#);
}

#[test]
fn the_parts_of_a_time_may_have_any_sign_and_size() {
    let parts = |seconds: i64, nanos: i32| {
        let mut out = Vec::new();
        encode_key(1, Varint, &mut out);
        encode_varint(seconds.cast_unsigned(), &mut out);
        encode_key(2, Varint, &mut out);
        encode_varint(i64::from(nanos).cast_unsigned(), &mut out);
        out
    };
    for (seconds, nanos, span, at) in [
        (3, 0, "3s", "1970-01-01T00:00:03Z"),
        (1, -500_000_000, "0.500s", "1970-01-01T00:00:00.500Z"),
        (0, -500_000_000, "-0.500s", "1969-12-31T23:59:59.500Z"),
        (-1, -1, "-1.000000001s", "1969-12-31T23:59:58.999999999Z"),
        (-2, 500_000, "-1.999500s", "1969-12-31T23:59:58.000500Z"),
        (0, 2_000_000_000, "2s", "1970-01-01T00:00:02Z"),
    ] {
        let time = parts(seconds, nanos);
        let json = written(&fields(&[(26, Bytes, &time), (27, Bytes, &time)])).unwrap();
        assert_eq!((&json["span"], &json["at"]), (&json!(span), &json!(at)));
    }
    let most = parts(i64::MIN, i32::MIN);
    assert!(written(&fields(&[(26, Bytes, &most), (27, Bytes, &most)])).is_ok());
}

#[test]
fn unknown_fields_are_passed_over() {
    let group = [&[8, 1][..], &[0x9c, 0x06]].concat();
    let json = written(&fields(&[(99, StartGroup, &group), (2, Varint, &[4])]));
    assert_eq!(json.unwrap()["i32"], 4);
}

#[test]
fn what_is_no_message_of_the_type_is_refused() {
    for bad in [
        fields(&[(10, Bytes, b"\xff")]),
        fields(&[(10, Varint, &[1])]),
        fields(&[(2, Bytes, b"1")]),
        fields(&[(99, StartGroup, b"")]),
        b"\x0c".to_vec(),
        b"\x12\x05a".to_vec(),
        b"\x10".to_vec(),
        b"\x80".to_vec(),
    ] {
        assert_eq!(written(&bad), Err(Malformed), "{bad:?}");
    }
}

#[test]
fn nesting_has_an_end() {
    let mut message = Vec::new();
    for _ in 0..200 {
        let deep = fields(&[(3, Bytes, &message)]);
        message = fields(&[(18, Bytes, &deep)]);
    }
    assert_eq!(written(&message), Err(Malformed));
}

/// Values of the fields of a message, most of them as their type has them; `Any` is not among them, which the library prints only if it knows the type.
fn encoded(message: &'static Message, depth: u8) -> BoxedStrategy<Vec<u8>> {
    let (_, schema) = schema();
    if message.fields.is_empty() {
        return Just(Vec::new()).boxed();
    }
    let part = (0..message.fields.len()).prop_flat_map(move |index| {
        let field = &message.fields[index];
        let number = field.desc.number();
        let ty = match field.shape {
            Shape::One(ty) | Shape::List(ty) => ty,
            Shape::Map { .. } => Type::Bytes,
        };
        let inner = match ty {
            // Of a duration whose parts have two signs the library prints the wrong one.
            Type::Message(id) if depth > 0 && schema.message(id).form != Form::Duration => {
                encoded(schema.message(id), depth - 1)
            }
            Type::Message(_) => Just(Vec::new()).boxed(),
            Type::String => "[a-z\u{e9}\"]{0,3}".prop_map(String::into_bytes).boxed(),
            _ => proptest::collection::vec(any::<u8>(), 0..4).boxed(),
        };
        let wire = match field.shape {
            Shape::Map { .. } => Wire::Bytes,
            _ => field.wire,
        };
        (any::<u64>(), 0_u8..64, inner).prop_map(move |(random, bits, inner)| {
            let mut out = Vec::new();
            let value = random >> bits;
            // The library takes any value for the entry of a map.
            let kind = if field.desc.is_map() { 1 } else { random % 16 };
            match (wire, kind) {
                (Wire::Varint | Wire::ZigZag, 2..) | (_, 0) => {
                    encode_key(number, WireType::Varint, &mut out);
                    encode_varint(value, &mut out);
                }
                (Wire::Fixed32, _) => {
                    encode_key(number, WireType::ThirtyTwoBit, &mut out);
                    out.put_u32_le(value as u32);
                }
                (Wire::Fixed64, _) => {
                    encode_key(number, WireType::SixtyFourBit, &mut out);
                    out.put_u64_le(value);
                }
                // Of a number that is a list, packed; of one that is none, malformed.
                _ => out = fields(&[(number, Bytes, &inner)]),
            }
            out
        })
    });
    proptest::collection::vec(part, 0..6)
        .prop_map(|parts| parts.concat())
        .boxed()
}

fn everything() -> BoxedStrategy<Vec<u8>> {
    let (_, schema) = schema();
    encoded(schema.message(schema.find(EVERYTHING).unwrap()), 3)
}

proptest! {
    /// Whatever the bytes, this prints what the library prints that builds a tree of them, and refuses nothing that it reads. It does not look into what a later value
    /// replaces, as the library does.
    #[test]
    fn prints_what_the_library_prints(bytes in everything()) {
        match by_tree(&bytes) {
            Ok(Some(json)) => prop_assert_eq!(written(&bytes).map(numbers), Ok(json)),
            Ok(None) => prop_assert!(written(&bytes).is_ok()),
            Err(_) => {}
        }
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = written(&bytes);
    }
}
