//! The whole document: every binding of every service, then the components they refer to.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, Kind, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use super::operation::{Binding, operation};
use super::options::Extensions;
use super::parameters;
use super::responses::{self, Shared};
use super::schema::{Schemas, Uses};
use super::settings::Settings;
use crate::error::BuildError;
use crate::route::{Rule, Verb, rules, template};

/// Methods an OpenAPI 3.1 Path Item has a place for.
const VERBS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Describes every REST binding of a pool as OpenAPI 3.1.
///
/// RPCs without a binding are left out, and so are those that take a stream of requests, which REST cannot send, and custom
/// methods that OpenAPI has no place for. A pool with source information gives descriptions.
///
/// # Errors
/// A binding that does not parse, as [`crate::Gateway::new`] would say.
pub fn document(pool: &DescriptorPool, settings: &Settings) -> Result<Value, BuildError> {
    let bound = bound(pool, settings)?;
    let comments = Comments::new(pool);
    let extensions = Extensions::new(pool);
    let uses = uses(&bound, &extensions);
    let mut schemas = Schemas::new(&comments, &extensions, settings, uses);
    let mut shared = Shared::default();
    let mut paths = Paths::default();
    let mut tags: Vec<Value> = Vec::new();
    for (method, bindings) in &bound {
        let service = method.parent_service();
        let tag = json!({"name": service.name(), "description": comments.of(&service.parent_file(), service.path()).text});
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        for (index, rule) in bindings.iter().enumerate() {
            add(&mut paths, &mut schemas, &mut shared, method, index, rule)?;
        }
    }
    let mut components = json!({
        "schemas": {"Error": responses::envelope()},
        "parameters": parameters::shared(),
        "headers": responses::headers(settings),
        "responses": shared.components,
        "securitySchemes": settings.security_schemes,
    });
    if let Some(Value::Object(all)) = components.get_mut("schemas") {
        all.extend(std::mem::take(&mut schemas.components));
    }
    let or = |text: &str, other: &str| {
        if text.is_empty() {
            other.to_owned()
        } else {
            text.to_owned()
        }
    };
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": or(&settings.title, "API"),
            "version": or(&settings.version, "0"),
            "description": settings.description,
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths.items,
        "components": components,
        "x-error-reasons": responses::catalogue(settings),
    }))
}

type Bound = Vec<(MethodDescriptor, Vec<Rule>)>;

fn bound(pool: &DescriptorPool, settings: &Settings) -> Result<Bound, BuildError> {
    let mut bound = Vec::new();
    let Some(extension) = pool.get_extension_by_name("google.api.http") else {
        return Ok(bound);
    };
    for service in pool
        .services()
        .filter(|service| service.full_name().starts_with(&settings.package))
    {
        for method in service
            .methods()
            .filter(|method| !method.is_client_streaming())
        {
            let rules = rules(&method, &extension).map_err(|reason| BuildError::InvalidRule {
                rpc: method.full_name().to_owned(),
                reason,
            })?;
            bound.push((method, rules));
        }
    }
    bound.retain(|(_, rules)| !rules.is_empty());
    Ok(bound)
}

/// Which messages travel which way.
fn uses(bound: &Bound, extensions: &Extensions) -> Uses {
    let mut uses = Uses::default();
    for (method, rules) in bound {
        Uses::add(&mut uses.returned, &method.output());
        for rule in rules {
            for field in method.input().fields() {
                match field.kind() {
                    // The resource of a PATCH has a schema of its own; what it holds is sent.
                    Kind::Message(resource)
                        if rule.body == field.name()
                            && rule.method == Verb::Is(http::Method::PATCH) =>
                    {
                        for part in resource.fields() {
                            let behavior = extensions.behavior(&part);
                            if !behavior.output_only && !behavior.immutable {
                                Uses::add_field(&mut uses.sent, &part);
                            }
                        }
                    }
                    _ => Uses::add_field(&mut uses.sent, &field),
                }
            }
            uses.sent.insert(method.input().full_name().to_owned());
        }
    }
    uses
}

/// Path Items. Two templates that differ only in the names of their variables are one path.
#[derive(Default)]
struct Paths {
    items: Map<String, Value>,
    /// Path and names of its variables by the path without names.
    known: HashMap<String, (String, Vec<String>)>,
}

impl Paths {
    fn place(&mut self, path: String, names: Vec<String>) -> (String, Vec<String>) {
        let mut nameless = path.clone();
        for name in &names {
            nameless = nameless.replace(&format!("{{{name}}}"), "{}");
        }
        self.known.entry(nameless).or_insert((path, names)).clone()
    }
}

fn add(
    paths: &mut Paths,
    schemas: &mut Schemas<'_>,
    shared: &mut Shared,
    method: &MethodDescriptor,
    index: usize,
    rule: &Rule,
) -> Result<(), BuildError> {
    let parsed = template::parse(&rule.template).map_err(|reason| BuildError::InvalidTemplate {
        rpc: method.full_name().to_owned(),
        template: rule.template.clone(),
        reason,
    })?;
    let verb = match &rule.method {
        // Any method will do; POST is the one every client can send.
        Verb::Any => "post".to_owned(),
        Verb::Is(method) => method.as_str().to_ascii_lowercase(),
    };
    if !VERBS.contains(&verb.as_str()) {
        return Ok(());
    }
    let (path, variables) = parameters::path(&parsed, &method.input());
    let names = variables
        .iter()
        .map(|variable| variable.name.clone())
        .collect();
    let (path, names) = paths.place(path, names);
    let in_path: Vec<String> = parsed
        .variables
        .iter()
        .map(|variable| variable.path.join("."))
        .collect();
    let made = operation(
        &Binding {
            method,
            verb: &verb,
            index,
            body: &rule.body,
            response_body: &rule.response_body,
            path: &variables,
            path_names: &names,
            in_path: &in_path,
        },
        schemas,
        shared,
    );
    if let Value::Object(item) = paths.items.entry(path).or_insert_with(|| json!({})) {
        item.insert(verb, made);
    }
    Ok(())
}
