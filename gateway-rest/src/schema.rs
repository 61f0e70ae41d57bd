//! The descriptor pool, flattened once into tables that a request can walk without cloning descriptors.
//!
//! A `FieldDescriptor` is an `Arc` plus an index, and every question asked of it walks the pool. The gateway asks the same
//! questions for each field of each request, so the answers are worked out at build time and addressed by index.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use crate::json::wire::Wire;

/// Index of a message in [`Schema::messages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MessageId(u32);

/// Index of an enum in [`Schema::enums`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EnumId(u32);

/// The type of one value: a list has the type of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Bool,
    I32,
    I64,
    U32,
    U64,
    F32,
    F64,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
}

/// How many values a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One(Type),
    List(Type),
    Map { key: Type, value: Type },
}

/// Messages whose JSON form is not "an object with one key per field".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Any,
    Timestamp,
    Duration,
    FieldMask,
    /// One of the `google.protobuf.*Value` wrappers; the JSON form is that of field 1.
    Wrapped,
    Struct,
    ListValue,
    Value,
    Empty,
    /// `google.api.HttpBody`: plain in JSON, raw bytes when it is a whole body.
    HttpBody,
}

/// One field, with everything the JSON reader, the writer and the binders ask about it.
pub(crate) struct Field {
    pub(crate) desc: FieldDescriptor,
    /// The name in the `.proto` file; used in error paths.
    pub(crate) name: Box<str>,
    /// `"jsonName":`, quoted and escaped, ready to be copied out.
    pub(crate) json_key: Box<str>,
    pub(crate) json_name: Box<str>,
    pub(crate) shape: Shape,
    /// How its values are encoded; those of a map, not its entries.
    pub(crate) wire: Wire,
    /// How the keys of a map are encoded.
    pub(crate) key_wire: Wire,
    /// Whether "unset" differs from "zero".
    pub(crate) presence: bool,
    /// Index of the (not synthetic) oneof this field is a member of.
    pub(crate) oneof: Option<u16>,
}

impl Field {
    /// The message this field holds one of, if that is what it holds.
    pub(crate) fn message(&self) -> Option<MessageId> {
        match self.shape {
            Shape::One(Type::Message(id)) => Some(id),
            _ => None,
        }
    }
}

/// One message type.
pub(crate) struct Message {
    pub(crate) desc: MessageDescriptor,
    pub(crate) form: Form,
    pub(crate) fields: Vec<Field>,
    pub(crate) oneofs: Vec<Box<str>>,
    /// Both names of every field. Where one field's JSON name is another's proto name, the JSON name wins.
    names: HashMap<Box<str>, u16>,
    /// Numbers of the fields, sorted.
    numbers: Vec<(u32, u16)>,
}

impl Message {
    /// The index of the field with this number.
    pub(crate) fn index(&self, number: u32) -> Option<u16> {
        let at = self
            .numbers
            .binary_search_by_key(&number, |(number, _)| *number);
        Some(self.numbers[at.ok()?].1)
    }

    /// Looks a field up by its JSON name or its proto name.
    pub(crate) fn field(&self, name: &str) -> Option<(u16, &Field)> {
        let index = *self.names.get(name)?;
        Some((index, &self.fields[usize::from(index)]))
    }

    /// Looks a field up by its proto name only, which is what `google.api.http` paths use.
    pub(crate) fn field_by_proto_name(&self, name: &str) -> Option<(u16, &Field)> {
        let index = self.fields.iter().position(|field| &*field.name == name)?;
        Some((u16::try_from(index).ok()?, &self.fields[index]))
    }

    /// The JSON names a client may use here, for "did you mean".
    pub(crate) fn json_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| &*field.json_name)
    }
}

/// One enum type.
pub(crate) struct Enum {
    /// `google.protobuf.NullValue`, whose JSON form is `null`.
    pub(crate) null: bool,
    numbers: HashMap<Box<str>, i32>,
    names: HashMap<i32, Box<str>>,
}

impl Enum {
    /// The number of a value name; case matters.
    pub(crate) fn number(&self, name: &str) -> Option<i32> {
        self.numbers.get(name).copied()
    }

    /// The first name declared for a number.
    pub(crate) fn name(&self, number: i32) -> Option<&str> {
        self.names.get(&number).map(|name| &**name)
    }

    /// Every value name, for "did you mean".
    pub(crate) fn value_names(&self) -> impl Iterator<Item = &str> {
        self.numbers.keys().map(|name| &**name)
    }
}

/// All messages and enums of one pool.
pub(crate) struct Schema {
    messages: Vec<Message>,
    enums: Vec<Enum>,
    by_name: HashMap<Box<str>, MessageId>,
}

impl Schema {
    /// Flattens a pool.
    pub(crate) fn new(pool: &DescriptorPool) -> Self {
        let mut message_ids = HashMap::new();
        for (index, message) in (0_u32..).zip(pool.all_messages()) {
            message_ids.insert(Box::from(message.full_name()), MessageId(index));
        }
        let mut enum_ids = HashMap::new();
        let mut enums = Vec::new();
        for (index, desc) in (0_u32..).zip(pool.all_enums()) {
            enum_ids.insert(Box::<str>::from(desc.full_name()), EnumId(index));
            enums.push(flatten_enum(&desc));
        }
        let messages = pool
            .all_messages()
            .map(|desc| flatten_message(desc, &message_ids, &enum_ids))
            .collect();
        Self {
            messages,
            enums,
            by_name: message_ids,
        }
    }

    /// The message with this id.
    pub(crate) fn message(&self, id: MessageId) -> &Message {
        &self.messages[id.0 as usize]
    }

    /// The enum with this id.
    pub(crate) fn enumeration(&self, id: EnumId) -> &Enum {
        &self.enums[id.0 as usize]
    }

    /// Finds a message by its full name (`google.rpc.ErrorInfo`).
    pub(crate) fn find(&self, full_name: &str) -> Option<MessageId> {
        self.by_name.get(full_name).copied()
    }
}

fn flatten_enum(desc: &EnumDescriptor) -> Enum {
    let mut numbers = HashMap::new();
    let mut names = HashMap::new();
    for value in desc.values() {
        numbers.insert(Box::from(value.name()), value.number());
        names
            .entry(value.number())
            .or_insert_with(|| Box::from(value.name()));
    }
    Enum {
        null: desc.full_name() == "google.protobuf.NullValue",
        numbers,
        names,
    }
}

fn flatten_message(
    desc: MessageDescriptor,
    messages: &HashMap<Box<str>, MessageId>,
    enums: &HashMap<Box<str>, EnumId>,
) -> Message {
    let oneof_names: Vec<Box<str>> = desc
        .oneofs()
        .filter(|oneof| !oneof.is_synthetic())
        .map(|oneof| Box::from(oneof.name()))
        .collect();
    let type_of = |kind: Kind| type_of(&kind, messages, enums);
    let fields: Vec<Field> = desc
        .fields()
        .map(|field| {
            let shape = match field.kind() {
                Kind::Message(entry) if field.is_map() => Shape::Map {
                    key: type_of(entry.map_entry_key_field().kind()),
                    value: type_of(entry.map_entry_value_field().kind()),
                },
                kind if field.is_list() => Shape::List(type_of(kind)),
                kind => Shape::One(type_of(kind)),
            };
            let (value, key_wire) = match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    let key = entry.map_entry_key_field().kind();
                    (entry.map_entry_value_field(), Wire::of(&key, false))
                }
                _ => (field.clone(), Wire::Bytes),
            };
            let oneof = field.containing_oneof().and_then(|oneof| {
                let at = oneof_names.iter().position(|name| **name == *oneof.name());
                at.and_then(|at| u16::try_from(at).ok())
            });
            Field {
                name: Box::from(field.name()),
                json_key: format!("{}:", serde_json::Value::from(field.json_name())).into(),
                json_name: Box::from(field.json_name()),
                shape,
                wire: Wire::of(&value.kind(), value.is_group()),
                key_wire,
                presence: field.supports_presence(),
                oneof,
                desc: field,
            }
        })
        .collect();
    let mut names = HashMap::with_capacity(fields.len() * 2);
    for (index, field) in (0_u16..).zip(&fields) {
        names.insert(field.name.clone(), index);
    }
    for (index, field) in (0_u16..).zip(&fields) {
        names.insert(field.json_name.clone(), index);
    }
    let mut numbers: Vec<_> = fields
        .iter()
        .zip(0_u16..)
        .map(|(field, index)| (field.desc.number(), index))
        .collect();
    numbers.sort_unstable();
    Message {
        form: form_of(desc.full_name()),
        desc,
        fields,
        oneofs: oneof_names,
        names,
        numbers,
    }
}

fn type_of(
    kind: &Kind,
    messages: &HashMap<Box<str>, MessageId>,
    enums: &HashMap<Box<str>, EnumId>,
) -> Type {
    match kind {
        Kind::Bool => Type::Bool,
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Type::I32,
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Type::I64,
        Kind::Uint32 | Kind::Fixed32 => Type::U32,
        Kind::Uint64 | Kind::Fixed64 => Type::U64,
        Kind::Float => Type::F32,
        Kind::Double => Type::F64,
        Kind::String => Type::String,
        Kind::Bytes => Type::Bytes,
        Kind::Enum(desc) => Type::Enum(
            *enums
                .get(desc.full_name())
                .expect("a pool holds every enum its fields use"),
        ),
        Kind::Message(desc) => Type::Message(
            *messages
                .get(desc.full_name())
                .expect("a pool holds every message its fields use"),
        ),
    }
}

fn form_of(full_name: &str) -> Form {
    match full_name {
        "google.protobuf.Any" => Form::Any,
        "google.protobuf.Timestamp" => Form::Timestamp,
        "google.protobuf.Duration" => Form::Duration,
        "google.protobuf.FieldMask" => Form::FieldMask,
        "google.protobuf.FloatValue"
        | "google.protobuf.DoubleValue"
        | "google.protobuf.Int32Value"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => Form::Wrapped,
        "google.protobuf.Struct" => Form::Struct,
        "google.protobuf.ListValue" => Form::ListValue,
        "google.protobuf.Value" => Form::Value,
        "google.protobuf.Empty" => Form::Empty,
        "google.api.HttpBody" => Form::HttpBody,
        _ => Form::Plain,
    }
}
