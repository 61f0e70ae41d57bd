//! Checks every binding against its messages and turns it into a [`Route`], so that a request resolves no name twice.

use http::Method;
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::annotation::{self, Rule};
use super::table::{Table, Verb};
use super::template::{self, Template};
use crate::error::BuildError;
use crate::schema::{Field, Form, MessageId, Schema, Shape, Type};

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FieldRef {
    pub(crate) message: MessageId,
    pub(crate) field: u16,
}

impl FieldRef {
    pub(crate) fn get<'s>(&self, schema: &'s Schema) -> &'s Field {
        &schema.message(self.message).fields[usize::from(self.field)]
    }
}

/// A path of fields from a request message inwards.
pub(crate) type FieldPath = Vec<FieldRef>;

/// `instance.id`, for messages.
pub(crate) fn dotted(schema: &Schema, path: &[FieldRef]) -> String {
    let names: Vec<&str> = path.iter().map(|step| &*step.get(schema).name).collect();
    names.join(".")
}

/// A path variable.
pub(crate) struct Variable {
    pub(crate) field: FieldPath,
    pub(crate) ty: Type,
    /// First captured segment.
    pub(crate) start: usize,
    /// One past the last captured segment, if no `**` lies before it.
    pub(crate) end: usize,
    /// Whether the end is counted from the end of the path, because the capture holds `**`.
    pub(crate) holds_many: bool,
    /// Whether it captures exactly one segment, which changes how it is decoded.
    pub(crate) single: bool,
}

/// Where the request body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRule {
    None,
    Whole,
    Field(FieldRef),
}

/// One binding of one RPC.
pub(crate) struct Route {
    /// `pkg.Service.Method`, for messages.
    pub(crate) rpc: Box<str>,
    /// `/pkg.Service/Method`.
    pub(crate) grpc_path: PathAndQuery,
    pub(crate) input: MessageId,
    pub(crate) output: MessageId,
    pub(crate) variables: Vec<Variable>,
    /// Segments of the template.
    pub(crate) segments: usize,
    pub(crate) body: BodyRule,
    pub(crate) response_body: Option<FieldRef>,
    pub(crate) client_streaming: bool,
    pub(crate) server_streaming: bool,
    /// `update_mask` of a PATCH whose body is one message field: the mask field, and the resource it speaks of.
    pub(crate) update_mask: Option<(FieldRef, FieldRef)>,
    /// Request field that `Last-Event-ID` sets.
    pub(crate) resume_field: Option<FieldRef>,
    /// Where a streamed message carries its cursor.
    pub(crate) cursor_field: Option<FieldPath>,
}

impl Route {
    /// Segments of the path that lie after a capture which holds `**`.
    pub(crate) fn segments_after(&self, variable: &Variable) -> usize {
        self.segments.saturating_sub(variable.end)
    }
}

/// Every route, and the table that finds them.
pub(crate) struct Routes {
    pub(crate) table: Table,
    pub(crate) list: Vec<Route>,
}

/// Reads every annotation of a pool.
pub(crate) fn compile(pool: &DescriptorPool, schema: &Schema) -> Result<Routes, BuildError> {
    let mut routes = Routes {
        table: Table::default(),
        list: Vec::new(),
    };
    let Some(extension) = pool.get_extension_by_name("google.api.http") else {
        return Ok(routes);
    };
    for service in pool.services() {
        for method in service.methods() {
            let rules = annotation::rules(&method, &extension);
            let rules = rules.map_err(|reason| BuildError::InvalidRule {
                rpc: method.full_name().to_owned(),
                reason,
            })?;
            for rule in rules {
                add(&mut routes, schema, &method, rule)?;
            }
        }
    }
    Ok(routes)
}

fn add(
    routes: &mut Routes,
    schema: &Schema,
    method: &MethodDescriptor,
    rule: Rule,
) -> Result<(), BuildError> {
    let template =
        template::parse(&rule.template).map_err(|reason| BuildError::InvalidTemplate {
            rpc: method.full_name().to_owned(),
            template: rule.template.clone(),
            reason,
        })?;
    let compiler = Compiler { schema, method };
    let route = compiler.route(&rule, &template)?;
    let http_method = rule.method.clone();
    routes
        .table
        .insert(&template, rule.method, routes.list.len())
        .map_err(|first| BuildError::Conflict {
            first: routes.list[first].rpc.to_string(),
            second: method.full_name().to_owned(),
            method: match http_method {
                Verb::Any => "*".to_owned(),
                Verb::Is(method) => method.to_string(),
            },
            template: rule.template,
        })?;
    routes.list.push(route);
    Ok(())
}

struct Compiler<'a> {
    schema: &'a Schema,
    method: &'a MethodDescriptor,
}

impl Compiler<'_> {
    fn route(&self, rule: &Rule, template: &Template) -> Result<Route, BuildError> {
        let message = |desc: prost_reflect::MessageDescriptor| {
            self.schema
                .find(desc.full_name())
                .expect("a pool holds the messages of its methods")
        };
        let (input, output) = (message(self.method.input()), message(self.method.output()));
        let variables = template
            .variables
            .iter()
            .map(|variable| self.variable(input, template, variable))
            .collect::<Result<_, _>>()?;
        let body = match rule.body.as_str() {
            "" => BodyRule::None,
            "*" => BodyRule::Whole,
            name => BodyRule::Field(self.top_level("body", input, name)?),
        };
        let response_body = match rule.response_body.as_str() {
            "" => None,
            name => Some(self.top_level("response_body", output, name)?),
        };
        let service = self.method.parent_service().full_name();
        let grpc_path = format!("/{service}/{}", self.method.name());
        Ok(Route {
            rpc: self.method.full_name().into(),
            grpc_path: grpc_path.parse().map_err(|_| BuildError::InvalidRule {
                rpc: self.method.full_name().to_owned(),
                reason: "the name of the RPC is not a path",
            })?,
            input,
            output,
            variables,
            segments: template.segments.len(),
            body,
            response_body,
            client_streaming: self.method.is_client_streaming(),
            server_streaming: self.method.is_server_streaming(),
            update_mask: self.update_mask(&rule.method, input, body),
            resume_field: ["resume_cursor", "cursor"]
                .iter()
                .find_map(|name| self.string_field(input, name)),
            cursor_field: self.cursor_field(output, response_body),
        })
    }

    fn invalid(&self, place: &'static str, field: &str, reason: &'static str) -> BuildError {
        BuildError::InvalidField {
            rpc: self.method.full_name().to_owned(),
            place,
            field: field.to_owned(),
            reason,
        }
    }

    fn top_level(
        &self,
        place: &'static str,
        message: MessageId,
        name: &str,
    ) -> Result<FieldRef, BuildError> {
        let found = self.schema.message(message).field_by_proto_name(name);
        let (field, _) = found.ok_or_else(|| self.invalid(place, name, "is not a field"))?;
        Ok(FieldRef { message, field })
    }

    fn variable(
        &self,
        input: MessageId,
        template: &Template,
        variable: &template::Variable,
    ) -> Result<Variable, BuildError> {
        let name = variable.path.join(".");
        let invalid = |reason| self.invalid("path variable", &name, reason);
        let mut field_path = FieldPath::new();
        let mut message = input;
        let mut shape = None;
        for (index, step) in variable.path.iter().enumerate() {
            let (field, found) = self
                .schema
                .message(message)
                .field_by_proto_name(step)
                .ok_or_else(|| invalid("is not a field"))?;
            field_path.push(FieldRef { message, field });
            shape = Some(found.shape);
            if index + 1 < variable.path.len() {
                message = found
                    .message()
                    .ok_or_else(|| invalid("goes through a field that is not a single message"))?;
            }
        }
        let ty = match shape {
            Some(Shape::One(Type::Message(_))) => return Err(invalid("is a message")),
            Some(Shape::One(ty)) => ty,
            _ => return Err(invalid("is repeated or a map")),
        };
        let many_at = template.many_at();
        if many_at.is_some_and(|at| variable.start > at) {
            return Err(invalid("stands after \"**\""));
        }
        let holds_many = many_at.is_some_and(|at| (variable.start..variable.end).contains(&at));
        Ok(Variable {
            field: field_path,
            ty,
            start: variable.start,
            end: variable.end,
            holds_many,
            single: variable.end - variable.start == 1 && !holds_many,
        })
    }

    fn update_mask(
        &self,
        method: &Verb,
        input: MessageId,
        body: BodyRule,
    ) -> Option<(FieldRef, FieldRef)> {
        let BodyRule::Field(resource) = body else {
            return None;
        };
        resource.get(self.schema).message()?;
        let (field, mask) = self
            .schema
            .message(input)
            .field_by_proto_name("update_mask")?;
        let is_mask = self.schema.message(mask.message()?).form == Form::FieldMask;
        let mask = FieldRef {
            message: input,
            field,
        };
        (is_mask && *method == Verb::Is(Method::PATCH)).then_some((mask, resource))
    }

    fn string_field(&self, message: MessageId, name: &str) -> Option<FieldRef> {
        let (field, found) = self.schema.message(message).field_by_proto_name(name)?;
        (found.shape == Shape::One(Type::String)).then_some(FieldRef { message, field })
    }

    /// `cursor` in the message itself, or in what the message carries.
    fn cursor_field(
        &self,
        output: MessageId,
        response_body: Option<FieldRef>,
    ) -> Option<FieldPath> {
        if let Some(cursor) = self.string_field(output, "cursor") {
            return Some(vec![cursor]);
        }
        let event = || {
            let (field, _) = self.schema.message(output).field_by_proto_name("event")?;
            Some(FieldRef {
                message: output,
                field,
            })
        };
        let carrier = response_body.or_else(event)?;
        let inner = carrier.get(self.schema).message()?;
        Some(vec![carrier, self.string_field(inner, "cursor")?])
    }
}
