//! What the contract's own options say, as the OpenAPI document of the gateway wants it.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, EnumValueDescriptor, FieldDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};
use sewa_gateway::openapi::{ErrorReason, KeyUse, Operation, SecretUse, Settings};
use sewa_sdk::sewa::api::v1::{IdempotencyMode, RetryClass, Secret};

use crate::base::contract::{Access, Contract, Method};
use crate::config::Config;

const DESCRIPTION: &str = "Sells and resells virtual servers. The same calls are there as gRPC and gRPC-Web on the same port.\n\n\
    Amounts are whole rupiah. Times are UTC. An error names a stable reason; `x-error-reasons` says what each means, what to do about it, and what may be \
    repeated: the call as it is (CALL), a new one after reading again (UNIT_OF_WORK), or nothing.";

/// Everything the document says beyond the descriptors.
pub fn settings(contract: &Contract, pool: &DescriptorPool, config: &Config) -> Settings {
    let mut settings = Settings {
        title: "Sewa".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: DESCRIPTION.to_owned(),
        package: "sewa.".to_owned(),
        security_schemes: security_schemes(),
        response_headers: response_headers(),
        reasons: reasons(contract, pool),
        ..Settings::default()
    };
    for service in pool.services() {
        for descriptor in service.methods() {
            let path = format!("/{}/{}", service.full_name(), descriptor.name());
            if let Some(method) = contract.method_at(&path) {
                let operation = operation(method, &descriptor, config);
                settings
                    .operations
                    .insert(descriptor.full_name().to_owned(), operation);
            }
        }
    }
    if let Some(secret) = pool.get_extension_by_name("sewa.api.v1.secret") {
        let fields = pool
            .all_messages()
            .flat_map(|message| message.fields().collect::<Vec<_>>());
        settings.secrets = fields
            .filter_map(|field| secret_use(&field, &secret))
            .collect();
    }
    settings
}

fn secret_use(
    field: &FieldDescriptor,
    extension: &prost_reflect::ExtensionDescriptor,
) -> Option<(String, SecretUse)> {
    let number = field.options().get_extension(extension).as_enum_number()?;
    let secret = match Secret::try_from(number).ok()? {
        Secret::WriteOnce => SecretUse::Sent,
        Secret::ReturnOnce => SecretUse::ReturnedOnce,
        Secret::Unspecified => return None,
    };
    Some((field.full_name().to_owned(), secret))
}

fn operation(method: &Method, descriptor: &MethodDescriptor, config: &Config) -> Operation {
    let mut extensions = Map::new();
    let security = match &method.access {
        Access::Public => Vec::new(),
        Access::Permission(permission) => {
            extensions.insert("x-permission".to_owned(), json!(permission));
            vec![
                json!({"accessToken": [permission]}),
                json!({"apiKey": [permission]}),
            ]
        }
    };
    if method.step_up {
        extensions.insert("x-step-up".to_owned(), json!(true));
    }
    let rate = json!({"class": method.rate, "perMinute": config.rate(&method.rate)});
    extensions.insert("x-rate".to_owned(), rate);
    extensions.insert(
        "x-deadline".to_owned(),
        json!({
            "default": format!("{}s", method.default_deadline.as_secs_f64()),
            "max": format!("{}s", method.max_deadline.as_secs_f64()),
        }),
    );
    Operation {
        security: Some(security),
        key: match method.idempotency {
            IdempotencyMode::KeyRequired => KeyUse::Required,
            IdempotencyMode::KeyOptional => KeyUse::Optional,
            IdempotencyMode::None | IdempotencyMode::Unspecified => KeyUse::Ignored,
        },
        reasons: reasons_of(method, descriptor),
        extensions,
    }
}

/// The reasons a method lists, and those that any method of its kind can give.
fn reasons_of(method: &Method, descriptor: &MethodDescriptor) -> Vec<String> {
    let mut all = method.errors.clone();
    let mut add = |reasons: &[&str]| all.extend(reasons.iter().map(|reason| (*reason).to_owned()));
    add(&[
        "INVALID_REQUEST",
        "RATE_LIMITED",
        "DEADLINE_EXCEEDED",
        "UNAVAILABLE",
        "INTERNAL",
        "UNIMPLEMENTED",
    ]);
    if method.access != Access::Public {
        add(&[
            "UNAUTHENTICATED",
            "TOKEN_EXPIRED",
            "PERMISSION_DENIED",
            "ACCOUNT_SUSPENDED",
        ]);
    }
    if method.step_up {
        add(&["STEP_UP_REQUIRED"]);
    }
    match method.idempotency {
        IdempotencyMode::KeyRequired | IdempotencyMode::KeyOptional => {
            add(&[
                "IDEMPOTENCY_KEY_REQUIRED",
                "IDEMPOTENCY_KEY_REUSED",
                "IDEMPOTENCY_IN_PROGRESS",
            ]);
        }
        IdempotencyMode::None | IdempotencyMode::Unspecified => {}
    }
    let input = descriptor.input();
    if input.get_field_by_name("page_token").is_some() {
        add(&["INVALID_PAGE_TOKEN"]);
    }
    let has_etag =
        |message: &prost_reflect::MessageDescriptor| message.get_field_by_name("etag").is_some();
    let within = |field: FieldDescriptor| match field.kind() {
        prost_reflect::Kind::Message(inner) => has_etag(&inner),
        _ => false,
    };
    if has_etag(&input) || input.fields().any(within) {
        add(&["ETAG_MISMATCH"]);
    }
    all
}

fn reasons(contract: &Contract, pool: &DescriptorPool) -> HashMap<String, ErrorReason> {
    let values = pool
        .all_enums()
        .flat_map(|catalogue| catalogue.values().collect::<Vec<_>>());
    let values: HashMap<String, EnumValueDescriptor> = values
        .map(|value| (value.name().to_owned(), value))
        .collect();
    let mut all: HashMap<String, ErrorReason> = HashMap::new();
    for (name, rule) in contract.reasons() {
        let reason = ErrorReason {
            code: rule.code,
            meaning: values.get(name).map(comment).unwrap_or_default(),
            remedy: rule.remedy.clone(),
            retry: rule
                .retry
                .as_str_name()
                .trim_start_matches("RETRY_CLASS_")
                .to_owned(),
            repeat: rule.retry == RetryClass::Call,
            metadata_keys: rule.metadata_keys.clone(),
        };
        // Two services may share a word; what every method can give is described by what all share.
        let is_shared = name.starts_with("COMMON_");
        if is_shared || !all.contains_key(&rule.reason) {
            all.insert(rule.reason.clone(), reason);
        }
    }
    all
}

fn comment(value: &EnumValueDescriptor) -> String {
    let file = value.parent_enum().parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| {
        info.location
            .iter()
            .find(|location| location.path == value.path())
    });
    let text = location
        .and_then(|location| location.leading_comments.as_deref())
        .unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn security_schemes() -> Map<String, Value> {
    let schemes = json!({
        "accessToken": {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The access token of a session, from Login. Its role decides which permissions it has.",
        },
        "apiKey": {
            "type": "http", "scheme": "bearer",
            "description": "An API key, sent like an access token. It has the permissions of its scopes.",
        },
    });
    let Value::Object(schemes) = schemes else {
        return Map::new();
    };
    schemes
}

fn response_headers() -> Map<String, Value> {
    let count =
        |text: &str| json!({"description": text, "schema": {"type": "integer", "minimum": 0}});
    [
        ("RateLimit-Limit", count("Calls a minute in this rate class.")),
        ("RateLimit-Remaining", count("Calls left.")),
        ("RateLimit-Reset", count("Seconds until all calls are there again.")),
        (
            "Idempotency-Replayed",
            json!({"description": "`true` if this is the outcome of an earlier call with the same key.", "schema": {"type": "string", "enum": ["true"]}}),
        ),
    ]
    .map(|(name, header)| (name.to_owned(), header))
    .into_iter()
    .collect()
}
