//! Setting a value deep inside a message that may already hold others.

use prost_reflect::{DynamicMessage, Value};

use crate::fault::Refusal;
use crate::json::read::oneof_conflict;
use crate::route::FieldRef;
use crate::schema::Schema;

/// The message that holds the last field of a path, created on the way where needed.
///
/// Refuses to walk into a oneof whose other member is set: setting it would silently throw that member away.
pub(super) fn parent_of<'m>(
    schema: &Schema,
    message: &'m mut DynamicMessage,
    path: &[FieldRef],
) -> Result<&'m mut DynamicMessage, Refusal> {
    let mut holder = message;
    for (index, step) in path.iter().enumerate() {
        check_oneof(schema, holder, *step)?;
        if index + 1 == path.len() {
            break;
        }
        let desc = &step.get(schema).desc;
        holder = match holder.get_field_mut(desc) {
            Value::Message(inner) => inner,
            _ => return Err(Refusal::invalid("is not a message")),
        };
    }
    Ok(holder)
}

fn check_oneof(schema: &Schema, holder: &DynamicMessage, step: FieldRef) -> Result<(), Refusal> {
    let Some(oneof) = step.get(schema).oneof else {
        return Ok(());
    };
    let message = schema.message(step.message);
    let other = (0_u16..).zip(&message.fields).find(|(index, field)| {
        *index != step.field && field.oneof == Some(oneof) && holder.has_field(&field.desc)
    });
    match other {
        Some((other, _)) => Err(oneof_conflict(message, oneof, other)),
        None => Ok(()),
    }
}
