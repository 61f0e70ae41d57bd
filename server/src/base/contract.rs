//! The contract as the server reads it: one rule for each method, one for each error reason, taken from the descriptors. Anything undeclared is an error, and a
//! server that finds one does not start.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::time::Duration;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ReflectMessage, Value,
};
use sewa_sdk::sewa::api::v1::{
    ErrorRule, IdempotencyMode, MethodRule, RetryClass, method_rule::Access as AccessRule,
};
use tonic::Code;

/// All methods and error reasons.
pub struct Contract {
    methods: HashMap<String, Method>,
    reasons_by_value: HashMap<String, ReasonRule>,
    metadata: HashSet<(String, String)>,
    confirmed: HashSet<String>,
    secret: ExtensionDescriptor,
    secret_fields: HashSet<String>,
    secret_messages: HashSet<String>,
}

/// One method.
pub struct Method {
    /// Full name, for example `sewa.order.v1.OrderService/PlaceOrder`.
    pub name: String,
    /// Request type.
    pub input: MessageDescriptor,
    /// Reply type.
    pub output: MessageDescriptor,
    /// Who may call.
    pub access: Access,
    /// Whether a person must have confirmed a moment ago.
    pub step_up: bool,
    /// Whether a key is needed.
    pub idempotency: IdempotencyMode,
    /// Rate class.
    pub rate: String,
    /// Time given when the client asks for none.
    pub default_deadline: Duration,
    /// Greatest time given.
    pub max_deadline: Duration,
    /// True if the reply is a stream.
    pub streaming: bool,
    /// True if the request holds a secret, at any depth.
    pub secret_input: bool,
    /// True if the reply holds a secret, at any depth.
    pub secret_output: bool,
    /// Reasons the method lists for itself.
    pub errors: Vec<String>,
}

/// Who may call a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Callers that hold this permission.
    Permission(String),
}

/// One error reason.
pub struct ReasonRule {
    /// As clients see it, for example `PRICE_CHANGED`.
    pub reason: String,
    /// Its status code.
    pub code: Code,
    /// What may be repeated.
    pub retry: RetryClass,
    /// What to do.
    pub remedy: String,
    /// Keys of the metadata it carries.
    pub metadata_keys: Vec<String>,
}

impl Contract {
    /// The contract this server was built with.
    ///
    /// # Panics
    /// If it has faults; `main` calls [`Contract::load`] first and reports them, and a test reads the committed descriptors.
    pub fn get() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| {
            Self::load(sewa_sdk::pool())
                .unwrap_or_else(|faults| panic!("the contract has faults: {}", faults.join("; ")))
        })
    }

    /// Reads a contract.
    ///
    /// # Errors
    /// Every undeclared or contradictory thing found.
    pub fn load(pool: &DescriptorPool) -> Result<Self, Vec<String>> {
        let (Some(method), Some(error), Some(secret), Some(no_http)) = (
            pool.get_extension_by_name("sewa.api.v1.method"),
            pool.get_extension_by_name("sewa.api.v1.error"),
            pool.get_extension_by_name("sewa.api.v1.secret"),
            pool.get_extension_by_name("sewa.api.v1.no_http"),
        ) else {
            return Err(vec!["the descriptors lack sewa.api.v1 options".to_owned()]);
        };
        let http = pool.get_extension_by_name("google.api.http");
        let mut contract = Self {
            methods: HashMap::new(),
            reasons_by_value: HashMap::new(),
            metadata: HashSet::new(),
            confirmed: HashSet::new(),
            secret,
            secret_fields: HashSet::new(),
            secret_messages: HashSet::new(),
        };
        contract.read_secrets(pool);
        let mut faults = Vec::new();
        contract.read_reasons(pool, &error, &mut faults);
        for service in pool
            .services()
            .filter(|s| s.full_name().starts_with("sewa."))
        {
            for descriptor in service.methods() {
                let options = descriptor.options();
                let bound = http.as_ref().is_some_and(|h| options.has_extension(h));
                if bound == options.has_extension(&no_http) {
                    faults.push(format!(
                        "{}: needs either google.api.http or no_http",
                        descriptor.full_name()
                    ));
                }
                contract.read_method(&descriptor, &options, &method, &mut faults);
            }
        }
        contract.check_listed_errors(&mut faults);
        if faults.is_empty() {
            Ok(contract)
        } else {
            Err(faults)
        }
    }

    /// The method at an HTTP path such as `/sewa.order.v1.OrderService/PlaceOrder`.
    pub fn method_at(&self, path: &str) -> Option<&Method> {
        self.methods.get(path.strip_prefix('/')?)
    }

    /// All methods, in no order.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        self.methods.values()
    }

    /// All reasons by the full name of their enum value, in no order.
    pub fn reasons(&self) -> impl Iterator<Item = (&String, &ReasonRule)> {
        self.reasons_by_value.iter()
    }

    /// The rule of an error reason, by the full name of its enum value.
    pub fn reason(&self, value_name: &str) -> &ReasonRule {
        static UNDECLARED: OnceLock<ReasonRule> = OnceLock::new();
        self.reasons_by_value.get(value_name).unwrap_or_else(|| {
            UNDECLARED.get_or_init(|| ReasonRule {
                reason: "INTERNAL".to_owned(),
                code: Code::Internal,
                retry: RetryClass::Nothing,
                remedy: String::new(),
                metadata_keys: Vec::new(),
            })
        })
    }

    /// Whether the contract lists a metadata key for a reason.
    pub fn allows_metadata(&self, reason: &str, key: &str) -> bool {
        self.metadata.contains(&(reason.to_owned(), key.to_owned()))
    }

    /// Whether a method of this permission needs its caller's confirmation.
    pub fn is_confirmed(&self, permission: &str) -> bool {
        self.confirmed.contains(permission)
    }

    /// Whether a secret field of a message is set, at any depth. Costs next to nothing for messages of which nothing can be secret.
    pub fn carries_secret(&self, message: &DynamicMessage) -> bool {
        self.secret_messages
            .contains(message.descriptor().full_name())
            && message.fields().any(|(field, value)| {
                self.secret_fields.contains(field.full_name()) || self.value_carries_secret(value)
            })
    }

    fn value_carries_secret(&self, value: &Value) -> bool {
        match value {
            Value::Message(inner) => self.carries_secret(inner),
            Value::List(items) => items.iter().any(|item| self.value_carries_secret(item)),
            Value::Map(entries) => entries
                .values()
                .any(|entry| self.value_carries_secret(entry)),
            _ => false,
        }
    }

    fn read_secrets(&mut self, pool: &DescriptorPool) {
        for message in pool.all_messages() {
            if self.holds_secret(&message, &mut HashSet::new()) {
                self.secret_messages.insert(message.full_name().to_owned());
            }
            let secret = |field: &FieldDescriptor| field.options().has_extension(&self.secret);
            let fields: Vec<String> = message
                .fields()
                .filter(secret)
                .map(|field| field.full_name().to_owned())
                .collect();
            self.secret_fields.extend(fields);
        }
    }

    /// Clears every secret field of a message, at any depth.
    pub fn redact(&self, message: &mut DynamicMessage) {
        let fields: Vec<FieldDescriptor> = message.descriptor().fields().collect();
        for field in fields {
            if field.options().has_extension(&self.secret) {
                message.clear_field(&field);
            } else if matches!(field.kind(), Kind::Message(_)) && message.has_field(&field) {
                self.redact_value(message.get_field_mut(&field));
            }
        }
    }

    fn redact_value(&self, value: &mut Value) {
        match value {
            Value::Message(inner) => self.redact(inner),
            Value::List(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Map(entries) => entries
                .values_mut()
                .for_each(|entry| self.redact_value(entry)),
            _ => {}
        }
    }

    fn holds_secret(&self, message: &MessageDescriptor, seen: &mut HashSet<String>) -> bool {
        seen.insert(message.full_name().to_owned()) && message.fields().any(|field| {
            field.options().has_extension(&self.secret)
                || matches!(field.kind(), Kind::Message(inner) if self.holds_secret(&inner, seen))
        })
    }

    fn read_reasons(
        &mut self,
        pool: &DescriptorPool,
        error: &ExtensionDescriptor,
        faults: &mut Vec<String>,
    ) {
        for catalogue in pool
            .all_enums()
            .filter(|e| e.full_name().starts_with("sewa.") && e.name().ends_with("ErrorReason"))
        {
            let first = catalogue.default_value().name().to_owned();
            let prefix = first.trim_end_matches("UNSPECIFIED").to_owned();
            for value in catalogue.values().filter(|v| v.number() != 0) {
                let name = value.full_name().to_owned();
                let rule: Option<ErrorRule> = value
                    .options()
                    .get_extension(error)
                    .as_message()
                    .and_then(|m| m.transcode_to().ok());
                let parsed = rule.and_then(|rule| Some((code(&rule.code)?, rule)));
                let Some((code, rule)) = parsed.filter(|(_, rule)| {
                    rule.retry() != RetryClass::Unspecified && !rule.remedy.is_empty()
                }) else {
                    faults.push(format!(
                        "{name}: needs sewa.api.v1.error with code, retry and remedy"
                    ));
                    continue;
                };
                let reason = value.name().trim_start_matches(&prefix).to_owned();
                for key in &rule.metadata_keys {
                    self.metadata.insert((reason.clone(), key.clone()));
                }
                let (retry, remedy, metadata_keys) =
                    (rule.retry(), rule.remedy, rule.metadata_keys);
                self.reasons_by_value.insert(
                    value.name().to_owned(),
                    ReasonRule {
                        reason,
                        code,
                        retry,
                        remedy,
                        metadata_keys,
                    },
                );
            }
        }
    }

    fn read_method(
        &mut self,
        descriptor: &MethodDescriptor,
        options: &DynamicMessage,
        extension: &ExtensionDescriptor,
        faults: &mut Vec<String>,
    ) {
        let name = format!(
            "{}/{}",
            descriptor.parent_service().full_name(),
            descriptor.name()
        );
        let rule: MethodRule = options
            .get_extension(extension)
            .as_message()
            .and_then(|m| m.transcode_to().ok())
            .unwrap_or_default();
        let mut missing = Vec::new();
        let access = match &rule.access {
            Some(AccessRule::Permission(permission)) if !permission.is_empty() => {
                Access::Permission(permission.clone())
            }
            Some(AccessRule::Public(true)) => Access::Public,
            _ => {
                missing.push("permission or public");
                Access::Permission(String::new())
            }
        };
        let idempotency = rule.idempotency();
        if idempotency == IdempotencyMode::Unspecified {
            missing.push("idempotency");
        }
        match &access {
            Access::Permission(permission) if rule.step_up => {
                self.confirmed.insert(permission.clone());
            }
            Access::Public if rule.step_up => faults.push(format!(
                "{name}: declares step_up and is public, so there is nobody to confirm"
            )),
            Access::Permission(_) | Access::Public => {}
        }
        if rule.rate.is_empty() {
            missing.push("rate");
        }
        let deadline = |side: Option<&prost_types::Duration>| {
            side.and_then(|d| Duration::try_from(*d).ok())
                .filter(|d| !d.is_zero())
        };
        let (default, max) = (
            deadline(rule.deadline.as_ref().and_then(|d| d.default.as_ref())),
            deadline(rule.deadline.as_ref().and_then(|d| d.max.as_ref())),
        );
        let (Some(default_deadline), Some(max_deadline), true) = (default, max, missing.is_empty())
        else {
            if default.is_none() || max.is_none() {
                missing.push("deadline");
            }
            faults.push(format!("{name}: does not declare {}", missing.join(", ")));
            return;
        };
        let method = Method {
            input: descriptor.input(),
            output: descriptor.output(),
            access,
            step_up: rule.step_up,
            idempotency,
            rate: rule.rate,
            default_deadline,
            max_deadline,
            streaming: descriptor.is_server_streaming(),
            secret_input: self.holds_secret(&descriptor.input(), &mut HashSet::new()),
            secret_output: self.holds_secret(&descriptor.output(), &mut HashSet::new()),
            errors: rule.errors,
            name: name.clone(),
        };
        self.methods.insert(name, method);
    }

    fn check_listed_errors(&self, faults: &mut Vec<String>) {
        let known: HashSet<&str> = self
            .reasons_by_value
            .values()
            .map(|r| r.reason.as_str())
            .collect();
        for method in self.methods.values() {
            for reason in method.errors.iter().filter(|r| !known.contains(r.as_str())) {
                faults.push(format!(
                    "{}: lists unknown error reason {reason}",
                    method.name
                ));
            }
        }
    }
}

fn code(name: &str) -> Option<Code> {
    Some(match name {
        "INVALID_ARGUMENT" => Code::InvalidArgument,
        "NOT_FOUND" => Code::NotFound,
        "ALREADY_EXISTS" => Code::AlreadyExists,
        "PERMISSION_DENIED" => Code::PermissionDenied,
        "RESOURCE_EXHAUSTED" => Code::ResourceExhausted,
        "FAILED_PRECONDITION" => Code::FailedPrecondition,
        "ABORTED" => Code::Aborted,
        "OUT_OF_RANGE" => Code::OutOfRange,
        "UNIMPLEMENTED" => Code::Unimplemented,
        "INTERNAL" => Code::Internal,
        "UNAVAILABLE" => Code::Unavailable,
        "DEADLINE_EXCEEDED" => Code::DeadlineExceeded,
        "UNAUTHENTICATED" => Code::Unauthenticated,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_contract_declares_everything() {
        let contract = Contract::load(sewa_sdk::pool())
            .map_err(|faults| faults.join("\n"))
            .expect("no faults");
        assert!(
            contract.methods.len() > 50,
            "methods read: {}",
            contract.methods.len()
        );
        assert!(
            contract
                .method_at("/sewa.identity.v1.IdentityService/Login")
                .is_some_and(|m| m.secret_input && m.secret_output)
        );
    }
}
