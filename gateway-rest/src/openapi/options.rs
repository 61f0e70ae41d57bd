//! Reading options through the extensions a pool holds. A pool without them has none of the options.

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, ReflectMessage as _, Value,
};

/// The extensions this library understands besides `google.api.http`.
pub(crate) struct Extensions {
    behavior: Option<ExtensionDescriptor>,
    field_rules: Option<ExtensionDescriptor>,
    message_rules: Option<ExtensionDescriptor>,
}

/// `google.api.field_behavior` of one field.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Behavior {
    pub(crate) required: bool,
    pub(crate) output_only: bool,
    pub(crate) input_only: bool,
    pub(crate) immutable: bool,
}

impl Extensions {
    pub(crate) fn new(pool: &DescriptorPool) -> Self {
        Self {
            behavior: pool.get_extension_by_name("google.api.field_behavior"),
            field_rules: pool.get_extension_by_name("buf.validate.field"),
            message_rules: pool.get_extension_by_name("buf.validate.message"),
        }
    }

    pub(crate) fn behavior(&self, field: &FieldDescriptor) -> Behavior {
        let mut behavior = Behavior::default();
        let Some(extension) = &self.behavior else {
            return behavior;
        };
        let options = field.options();
        let value = options.get_extension(extension);
        for number in value.as_list().unwrap_or_default() {
            match number.as_enum_number() {
                Some(2) => behavior.required = true,
                Some(3) => behavior.output_only = true,
                Some(4) => behavior.input_only = true,
                Some(5) => behavior.immutable = true,
                _ => {}
            }
        }
        behavior
    }

    /// `buf.validate.field`, unless it says that it is always to be ignored.
    pub(crate) fn field_rules(&self, field: &FieldDescriptor) -> Option<DynamicMessage> {
        let rules = message(&field.options(), self.field_rules.as_ref()?)?;
        (ignore(&rules) != Ignore::Always).then_some(rules)
    }

    /// `buf.validate.message`.
    pub(crate) fn message_rules(&self, desc: &MessageDescriptor) -> Option<DynamicMessage> {
        message(&desc.options(), self.message_rules.as_ref()?)
    }
}

/// When a field's rules do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignore {
    IfUnset,
    IfZero,
    Always,
}

pub(crate) fn ignore(rules: &DynamicMessage) -> Ignore {
    match get(rules, "ignore").and_then(|value| value.as_enum_number()) {
        Some(1) => Ignore::IfZero,
        Some(3) => Ignore::Always,
        _ => Ignore::IfUnset,
    }
}

fn message(options: &DynamicMessage, extension: &ExtensionDescriptor) -> Option<DynamicMessage> {
    if !options.has_extension(extension) {
        return None;
    }
    options.get_extension(extension).as_message().cloned()
}

/// A field that is set.
pub(crate) fn get(message: &DynamicMessage, name: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(name)?;
    message
        .has_field(&field)
        .then(|| message.get_field(&field).into_owned())
}

/// A message field that is set.
pub(crate) fn inner(message: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    get(message, name)?.as_message().cloned()
}

/// Whether a bool is true.
pub(crate) fn is(message: &DynamicMessage, name: &str) -> bool {
    get(message, name).and_then(|value| value.as_bool()) == Some(true)
}

/// The elements of a list.
pub(crate) fn list(message: &DynamicMessage, name: &str) -> Vec<Value> {
    get(message, name)
        .and_then(|value| value.as_list().map(<[Value]>::to_vec))
        .unwrap_or_default()
}

/// A text, if it is set.
pub(crate) fn text(message: &DynamicMessage, name: &str) -> Option<String> {
    Some(get(message, name)?.as_str()?.to_owned())
}

/// The enum of a field, if it holds one.
pub(crate) fn enum_of(field: &FieldDescriptor) -> Option<EnumDescriptor> {
    match field.kind() {
        Kind::Enum(desc) => Some(desc),
        _ => None,
    }
}
