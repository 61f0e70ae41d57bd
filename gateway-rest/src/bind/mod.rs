//! Builds the request message from path, query and body, in the order body, path, query, so that a value named twice is
//! noticed whichever way it came.

mod body;
mod mask;
mod merge;
mod path;
mod query;

use bytes::Bytes;
use prost_reflect::{DynamicMessage, Value};

use crate::config::GatewayConfig;
use crate::json::parse::Json;
use crate::json::read::Reader;
use crate::rejection::Rejection;
use crate::route::{BodyRule, RawPath, Route};
use crate::schema::Schema;

pub(crate) use body::MediaType;

/// A request, as far as it becomes a message.
pub(crate) struct Input<'r> {
    pub(crate) path: RawPath<'r>,
    pub(crate) query: Option<&'r str>,
    pub(crate) body: Bytes,
    pub(crate) media_type: Option<MediaType>,
    /// `Last-Event-ID`: where a broken stream is to resume.
    pub(crate) last_event_id: Option<&'r str>,
}

/// Builds the request message of a route.
pub(crate) fn bind(
    schema: &Schema,
    config: &GatewayConfig,
    route: &Route,
    input: &Input<'_>,
) -> Result<DynamicMessage, Rejection> {
    let mut reader = Reader::new(schema);
    let tree = body::parse(schema, config, route, input)?;
    let mut message = body::read(&mut reader, route, input, tree.as_ref());
    path::bind(&mut reader, route, &input.path, tree.as_ref(), &mut message);
    query::bind(&mut reader, config, route, input.query, &mut message)?;
    if let Some((mask, resource)) = route.update_mask {
        mask::apply(
            &mut reader,
            route,
            mask,
            resource,
            tree.as_ref(),
            &mut message,
        );
    }
    if let (Some(id), Some(field)) = (input.last_event_id, route.resume_field) {
        let field = field.get(schema);
        message.set_field(&field.desc, Value::String(id.to_owned()));
    }
    if reader.faults.is_empty() {
        Ok(message)
    } else {
        Err(Rejection::faulty(reader.faults.into_vec()))
    }
}

/// The body tree seen as an object of the request message: itself for `body: "*"`, the field's own value otherwise.
pub(crate) fn body_says<'t, 'j>(
    schema: &Schema,
    route: &Route,
    tree: &'t Json<'j>,
    path: &[crate::route::FieldRef],
) -> Option<&'t Json<'j>> {
    let (mut json, rest) = match (route.body, path.split_first()) {
        (BodyRule::Whole, _) => (tree, path),
        (BodyRule::Field(field), Some((first, rest))) if field == *first => (tree, rest),
        _ => return None,
    };
    for step in rest {
        let Json::Object(entries) = json else {
            return None;
        };
        let message = schema.message(step.message);
        json = entries
            .iter()
            .find(|(key, _)| message.field(key).is_some_and(|(at, _)| at == step.field))
            .map(|(_, json)| json)?;
    }
    Some(json)
}
