//! Path variables.

use prost_reflect::DynamicMessage;

use super::merge;
use crate::fault::{BAD_ESCAPE, FIELD_CONFLICT, Refusal};
use crate::json::parse::Json;
use crate::json::read::Reader;
use crate::json::text;
use crate::percent;
use crate::route::{RawPath, Route, dotted};

/// Sets every path variable; a body that says otherwise is a fault.
pub(super) fn bind(
    reader: &mut Reader<'_>,
    route: &Route,
    path: &RawPath<'_>,
    tree: Option<&Json<'_>>,
    message: &mut DynamicMessage,
) {
    let schema = reader.schema;
    for variable in &route.variables {
        let end = if variable.holds_many {
            path.len()
                .saturating_sub(route.segments_after(variable))
                .max(variable.start)
        } else {
            variable.end
        };
        let raw = path.span(variable.start, end);
        let decoded = if variable.single {
            percent::decode(raw)
        } else {
            percent::decode_keeping_slash(raw)
        };
        let set = decoded
            .ok_or_else(|| Refusal::new(BAD_ESCAPE, "the path has a malformed percent-escape"))
            .and_then(|text| text::value(schema, variable.ty, &text))
            .and_then(|value| {
                let holder = merge::parent_of(schema, message, &variable.field)?;
                let last = variable.field[variable.field.len() - 1].get(schema);
                let said = tree
                    .and_then(|tree| super::body_says(schema, route, tree, &variable.field))
                    .is_some_and(|json| !matches!(json, Json::Null));
                if said && *holder.get_field(&last.desc) != value {
                    return Err(Refusal::new(
                        FIELD_CONFLICT,
                        "the body and the path give different values",
                    ));
                }
                holder.set_field(&last.desc, value);
                Ok(())
            });
        if let Err(refusal) = set {
            let field = dotted(schema, &variable.field);
            reader.faults.at(field, refusal);
        }
    }
}
