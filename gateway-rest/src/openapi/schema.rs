//! JSON Schema of messages and enums, as protobuf's JSON writes and this gateway reads them.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use super::options::{Extensions, enum_of};
use super::rules;
use super::settings::{SecretUse, Settings};

/// Where the types of a document are used, which decides what their schemas may promise.
#[derive(Default)]
pub(crate) struct Uses {
    /// Messages that clients send. Unknown members are refused, rules hold.
    pub(crate) sent: HashSet<String>,
    /// Messages that come back. Every member without presence is there.
    pub(crate) returned: HashSet<String>,
}

impl Uses {
    /// Adds a message and everything within it.
    pub(crate) fn add(set: &mut HashSet<String>, desc: &MessageDescriptor) {
        if set.insert(desc.full_name().to_owned()) {
            for field in desc.fields() {
                Self::add_field(set, &field);
            }
        }
    }

    /// Adds what a field holds.
    pub(crate) fn add_field(set: &mut HashSet<String>, field: &FieldDescriptor) {
        if let Kind::Message(inner) = field.kind() {
            Self::add(set, &inner);
        }
    }
}

/// The schemas of one document, made as they are first referred to.
pub(crate) struct Schemas<'a> {
    pub(crate) comments: &'a Comments,
    pub(crate) extensions: &'a Extensions,
    pub(crate) settings: &'a Settings,
    uses: Uses,
    names: HashMap<String, String>,
    pub(crate) components: BTreeMap<String, Value>,
}

/// Which members of a message a schema shows.
#[derive(Clone, Copy)]
pub(crate) enum Part<'p> {
    Whole,
    /// Without these top-level fields, which are in the path.
    Without(&'p [String]),
    /// Only what a client may change, nothing required.
    Patch,
}

impl<'a> Schemas<'a> {
    pub(crate) fn new(
        comments: &'a Comments,
        extensions: &'a Extensions,
        settings: &'a Settings,
        uses: Uses,
    ) -> Self {
        Self {
            comments,
            extensions,
            settings,
            names: HashMap::new(),
            components: BTreeMap::new(),
            uses,
        }
    }

    /// A reference to a message, or the schema of one that has a JSON form of its own.
    pub(crate) fn message(&mut self, desc: &MessageDescriptor) -> Value {
        if let Some(known) = well_known(desc.full_name()) {
            return known;
        }
        self.part(desc, Part::Whole)
    }

    /// A reference to a message, or to a part of it under a name of its own.
    pub(crate) fn part(&mut self, desc: &MessageDescriptor, part: Part<'_>) -> Value {
        let package = desc.parent_file().package_name().to_owned();
        let mut name = self.name(desc.full_name(), &package);
        match part {
            Part::Whole => {}
            Part::Without([]) => {}
            Part::Without(_) => name.push_str("Body"),
            Part::Patch => name.push_str("Patch"),
        }
        if !self.components.contains_key(&name) {
            // Before the schema is made, for messages that hold themselves.
            self.components.insert(name.clone(), Value::Null);
            let schema = self.object(desc, part);
            self.components.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// The name of a type without its package, unless another package has the name, too.
    fn name(&mut self, full_name: &str, package: &str) -> String {
        let short = full_name
            .strip_prefix(package)
            .map_or(full_name, |rest| rest.trim_start_matches('.'));
        match self.names.get(short) {
            Some(owner) if owner != full_name => full_name.to_owned(),
            Some(_) => short.to_owned(),
            None => {
                self.names.insert(short.to_owned(), full_name.to_owned());
                short.to_owned()
            }
        }
    }

    fn enumeration(&mut self, desc: &EnumDescriptor) -> Value {
        if desc.full_name() == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        let name = self.name(desc.full_name(), desc.parent_file().package_name());
        if !self.components.contains_key(&name) {
            let file = desc.parent_file();
            let comment = self.comments.of(&file, desc.path());
            let values: Vec<Value> = desc.values().map(|value| json!(value.name())).collect();
            let meanings: Map<String, Value> = desc
                .values()
                .map(|value| {
                    let text = self.comments.of(&file, value.path()).text;
                    (value.name().to_owned(), json!(text))
                })
                .collect();
            let schema = json!({
                "type": "string", "description": comment.text, "enum": values, "x-enum-descriptions": meanings,
            });
            self.components.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn object(&mut self, desc: &MessageDescriptor, part: Part<'_>) -> Value {
        let sent = self.uses.sent.contains(desc.full_name())
            || matches!(part, Part::Patch | Part::Without(_));
        let returned = self.uses.returned.contains(desc.full_name())
            && !matches!(part, Part::Patch | Part::Without(_));
        let mut properties = Map::new();
        let mut required: Vec<Value> = Vec::new();
        for field in desc.fields() {
            let behavior = self.extensions.behavior(&field);
            let left_out = match part {
                Part::Whole => false,
                Part::Without(names) => names.iter().any(|name| name == field.name()),
                Part::Patch => behavior.output_only || behavior.immutable,
            };
            if left_out {
                continue;
            }
            let always_there = !sent && !field.supports_presence();
            let asked_for = sent && !matches!(part, Part::Patch) && self.is_required(&field);
            if always_there || asked_for {
                required.push(json!(field.json_name()));
            }
            properties.insert(field.json_name().to_owned(), self.property(&field, sent));
        }
        let comment = self.comments.of(&desc.parent_file(), desc.path());
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        if !comment.text.is_empty() {
            schema.insert("description".to_owned(), comment.text.into());
        }
        let choices = choices(desc, &properties, sent);
        schema.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        if sent && !returned {
            schema.insert("additionalProperties".to_owned(), false.into());
        }
        if !choices.is_empty() {
            schema.insert("allOf".to_owned(), choices.into());
        }
        if let Some(rules) = self.extensions.message_rules(desc) {
            rules::add_for_message(&mut schema, &rules);
        }
        schema.into()
    }

    /// Whether a client has to send a field.
    pub(crate) fn is_required(&self, field: &FieldDescriptor) -> bool {
        let by_rule = self.extensions.field_rules(field);
        self.extensions.behavior(field).required
            || by_rule.is_some_and(|rules| rules::refuses_zero(field, &rules))
    }

    /// A field's schema with everything said about it. Rules are given for what clients send; replies do not promise them.
    pub(crate) fn property(&mut self, field: &FieldDescriptor, sent: bool) -> Value {
        let Value::Object(mut schema) = self.shape(field) else {
            return Value::Bool(true);
        };
        let comment = self
            .comments
            .of(&field.parent_message().parent_file(), field.path());
        if !comment.text.is_empty() {
            schema.insert("description".to_owned(), comment.text.into());
        }
        if sent && let Some(rules) = self.extensions.field_rules(field) {
            rules::add(&mut schema, field, &rules);
        }
        let behavior = self.extensions.behavior(field);
        if behavior.output_only {
            schema.insert("readOnly".to_owned(), true.into());
        }
        if behavior.immutable {
            schema.insert("x-immutable".to_owned(), true.into());
        }
        let secret = self.settings.secrets.get(field.full_name());
        if behavior.input_only || secret == Some(&SecretUse::Sent) {
            schema.insert("writeOnly".to_owned(), true.into());
        }
        if let Some(secret) = secret {
            let word = match secret {
                SecretUse::Sent => "sent",
                SecretUse::ReturnedOnce => "returned-once",
            };
            schema.insert("x-secret".to_owned(), word.into());
            if schema.get("type") == Some(&json!("string")) && !schema.contains_key("format") {
                schema.insert("format".to_owned(), "password".into());
            }
        }
        if super::options::is(&field.options(), "deprecated") {
            schema.insert("deprecated".to_owned(), true.into());
        }
        schema.into()
    }

    fn shape(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = self.single(&entry.map_entry_value_field());
                json!({"type": "object", "additionalProperties": values})
            }
            _ if field.is_list() => json!({"type": "array", "items": self.single(field)}),
            _ => self.single(field),
        }
    }

    /// The schema of one value of a field.
    fn single(&mut self, field: &FieldDescriptor) -> Value {
        if let Some(desc) = enum_of(field) {
            return self.enumeration(&desc);
        }
        match field.kind() {
            Kind::Message(desc) => self.message(&desc),
            kind => scalar(&kind),
        }
    }
}

/// One schema for each oneof: at most one of its members is there.
fn choices(desc: &MessageDescriptor, shown: &Map<String, Value>, sent: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for oneof in desc.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let members: Vec<Value> = oneof
            .fields()
            .filter(|field| shown.contains_key(field.json_name()))
            .map(|field| json!({"required": [field.json_name()]}))
            .collect();
        let required = sent
            && desc
                .parent_pool()
                .get_extension_by_name("buf.validate.oneof")
                .is_some_and(|extension| {
                    let options = oneof.options();
                    let rules = options.get_extension(&extension);
                    options.has_extension(&extension)
                        && rules
                            .as_message()
                            .is_some_and(|rules| super::options::is(rules, "required"))
                });
        if members.len() < 2 {
            continue;
        }
        let mut one_of = members.clone();
        if !required {
            one_of.push(json!({"not": {"anyOf": members}}));
        }
        all.push(json!({"oneOf": one_of}));
    }
    all
}

/// JSON of a scalar. 64-bit integers are text, as protobuf prescribes.
pub(crate) fn scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"})
        }
        Kind::Uint64 | Kind::Fixed64 => {
            json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"})
        }
        Kind::Float => {
            json!({"anyOf": [{"type": "number", "format": "float"}, NOT_NUMBERS.clone()]})
        }
        Kind::Double => {
            json!({"anyOf": [{"type": "number", "format": "double"}, NOT_NUMBERS.clone()]})
        }
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::String | Kind::Enum(_) | Kind::Message(_) => json!({"type": "string"}),
    }
}

static NOT_NUMBERS: std::sync::LazyLock<Value> =
    std::sync::LazyLock::new(|| json!({"enum": ["NaN", "Infinity", "-Infinity"]}));

/// Messages whose JSON is not an object of their fields.
pub(crate) fn well_known(full_name: &str) -> Option<Value> {
    let short = full_name.strip_prefix("google.protobuf.")?;
    Some(match short {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => {
            json!({"type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$", "examples": ["30s"]})
        }
        "FieldMask" => {
            json!({"type": "string", "description": "Field paths, separated by commas.", "examples": ["displayName,labels"]})
        }
        "Any" => {
            json!({"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]})
        }
        "Struct" => json!({"type": "object"}),
        "ListValue" => json!({"type": "array"}),
        "Value" => json!({}),
        "Empty" => json!({"type": "object", "maxProperties": 0}),
        "DoubleValue" => scalar(&Kind::Double),
        "FloatValue" => scalar(&Kind::Float),
        "Int64Value" => scalar(&Kind::Int64),
        "UInt64Value" => scalar(&Kind::Uint64),
        "Int32Value" => scalar(&Kind::Int32),
        "UInt32Value" => scalar(&Kind::Uint32),
        "BoolValue" => scalar(&Kind::Bool),
        "StringValue" => scalar(&Kind::String),
        "BytesValue" => scalar(&Kind::Bytes),
        _ => return None,
    })
}
