//! One binding of one RPC as an Operation Object.

use prost_reflect::{Kind, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::parameters;
use super::responses::{self, Shape, Shared};
use super::schema::{Part, Schemas};
use super::settings::{KeyUse, Operation};

/// What is known of a binding when its operation is made.
pub(crate) struct Binding<'b> {
    pub(crate) method: &'b MethodDescriptor,
    /// `get`, `post`, …
    pub(crate) verb: &'b str,
    /// How many bindings of the method came before.
    pub(crate) index: usize,
    pub(crate) body: &'b str,
    pub(crate) response_body: &'b str,
    pub(crate) path: &'b [parameters::Parameter],
    /// Names of the path's parameters in the document.
    pub(crate) path_names: &'b [String],
    /// Proto paths of the fields in the path.
    pub(crate) in_path: &'b [String],
}

/// Makes the operation.
pub(crate) fn operation(
    binding: &Binding<'_>,
    schemas: &mut Schemas<'_>,
    shared: &mut Shared,
) -> Value {
    let method = binding.method;
    let undeclared = Operation::default();
    let facts = schemas
        .settings
        .operations
        .get(method.full_name())
        .unwrap_or(&undeclared);
    let comment = schemas
        .comments
        .of(&method.parent_service().parent_file(), method.path());
    let input = method.input();
    let service = method.parent_service();
    let mut out = Map::new();
    let mut id = format!("{}_{}", service.name(), method.name());
    if binding.index > 0 {
        id.push_str(&format!("_{}", binding.index + 1));
    }
    out.insert("operationId".to_owned(), id.into());
    out.insert("tags".to_owned(), json!([service.name()]));
    out.insert("summary".to_owned(), comment.summary.into());
    out.insert("description".to_owned(), comment.text.into());
    if super::options::is(&method.options(), "deprecated") {
        out.insert("deprecated".to_owned(), true.into());
    }
    let mut parameters: Vec<Value> = Vec::new();
    for (parameter, name) in binding.path.iter().zip(binding.path_names) {
        parameters.push(parameter.object(name, schemas));
    }
    if binding.body != "*" {
        let body_field = (!binding.body.is_empty()).then_some(binding.body);
        parameters.extend(parameters::query(
            &input,
            binding.in_path,
            body_field,
            schemas,
        ));
    }
    let resumed_by = ["resume_cursor", "cursor"]
        .into_iter()
        .find_map(|name| input.get_field_by_name(name))
        .filter(|_| method.is_server_streaming());
    if let Some(field) = resumed_by {
        parameters.push(parameters::last_event_id(&field, schemas));
    }
    parameters.extend(parameters::headers(facts.key));
    out.insert("parameters".to_owned(), parameters.into());
    if let Some(body) = request_body(binding, comment.example, schemas) {
        out.insert("requestBody".to_owned(), body);
    }
    let by_status = responses::reasons_by_status(
        &Shape {
            has_body: !binding.body.is_empty(),
            has_path: !binding.path.is_empty(),
            reasons: &facts.reasons,
        },
        schemas.settings,
    );
    let mut all = Map::new();
    all.insert(
        "200".to_owned(),
        responses::success(method, binding.response_body, schemas),
    );
    for (status, reasons) in &by_status {
        all.insert(
            status.to_string(),
            shared.error(*status, reasons, schemas.settings),
        );
    }
    out.insert("responses".to_owned(), all.into());
    if let Some(security) = &facts.security {
        out.insert("security".to_owned(), security.clone().into());
    }
    out.insert(
        "x-grpc-method".to_owned(),
        format!("{}/{}", service.full_name(), method.name()).into(),
    );
    let statuses = responses::worth_a_repeat(&by_status, schemas.settings);
    for_generators(&mut out, binding, facts, statuses);
    out.extend(facts.extensions.clone());
    out.into()
}

fn request_body(
    binding: &Binding<'_>,
    example: Option<Value>,
    schemas: &mut Schemas<'_>,
) -> Option<Value> {
    let input = binding.method.input();
    let top_level: Vec<String> = binding
        .in_path
        .iter()
        .filter(|path| !path.contains('.'))
        .cloned()
        .collect();
    let (schema, required, example) = match binding.body {
        "" => return None,
        "*" => {
            let example = example.map(|mut example| {
                // The path has these already.
                if let Value::Object(members) = &mut example {
                    members.retain(|name, _| {
                        !top_level.iter().any(|field| {
                            input
                                .get_field_by_name(field)
                                .is_some_and(|field| field.json_name() == name)
                        })
                    });
                }
                example
            });
            (
                schemas.part(&input, Part::Without(&top_level)),
                false,
                example,
            )
        }
        name => {
            let field = input.get_field_by_name(name)?;
            let example = example.and_then(|example| example.get(field.json_name()).cloned());
            let schema = match field.kind() {
                Kind::Message(resource) if binding.verb == "patch" && !field.is_list() => {
                    schemas.part(&resource, Part::Patch)
                }
                _ => schemas.property(&field, true),
            };
            (schema, schemas.is_required(&field), example)
        }
    };
    let mut media = json!({"schema": schema});
    if let (Some(example), Value::Object(media)) = (example, &mut media) {
        media.insert("example".to_owned(), example);
    }
    Some(json!({"required": required, "content": {"application/json": media}}))
}

/// Words that generators of clients look for.
fn for_generators(
    out: &mut Map<String, Value>,
    binding: &Binding<'_>,
    facts: &Operation,
    statuses: Vec<String>,
) {
    let method = binding.method;
    let (input, output) = (method.input(), method.output());
    let is_read = binding.verb == "get";
    if (is_read || facts.key != KeyUse::Ignored) && !statuses.is_empty() {
        out.insert(
            "x-speakeasy-retries".to_owned(),
            json!({
                "strategy": "backoff",
                "backoff": {"initialInterval": 200, "maxInterval": 5000, "maxElapsedTime": 60000, "exponent": 2},
                "statusCodes": statuses,
                "retryConnectionErrors": true,
            }),
        );
    }
    if facts.key != KeyUse::Ignored {
        out.insert("x-fern-idempotent".to_owned(), true.into());
    }
    let items = output
        .fields()
        .find(|field| field.is_list() && !field.is_map());
    let pages = input.get_field_by_name("page_token").is_some()
        && output.get_field_by_name("next_page_token").is_some();
    if let (true, Some(items)) = (pages, items) {
        out.insert(
            "x-speakeasy-pagination".to_owned(),
            json!({
                "type": "cursor",
                "inputs": [{"name": "pageToken", "in": "parameters", "type": "cursor"}],
                "outputs": {"nextCursor": "$.nextPageToken", "results": format!("$.{}", items.json_name())},
            }),
        );
        out.insert(
            "x-fern-pagination".to_owned(),
            json!({
                "cursor": "$request.pageToken",
                "next_cursor": "$response.nextPageToken",
                "results": format!("$response.{}", items.json_name()),
            }),
        );
    }
    if method.is_server_streaming() {
        out.insert("x-stream".to_owned(), true.into());
    }
}
