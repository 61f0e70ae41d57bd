//! What the contract says about each method and each error reason, read from the descriptors.
//!
//! The descriptors are walked once; a call costs one hash lookup on its path. Nothing in here names a method, so an RPC added to the contract is obeyed as
//! soon as its stub is generated.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, MethodDescriptor, Value};
use prost_types::method_options::IdempotencyLevel;

/// The rules of a contract.
#[derive(Debug, Default)]
pub struct Rules {
    methods: HashMap<String, MethodRule>,
    reasons: HashMap<String, ReasonRule>,
}

/// The rule of one method.
#[derive(Debug)]
pub struct MethodRule {
    /// Whether the method may be repeated, and what that takes.
    pub repeat: Repeat,
    /// True where the method can be called without credentials.
    pub public: bool,
    /// How long a call may take when the caller does not say.
    pub default_deadline: Option<Duration>,
    /// Whether one message goes in and one comes out.
    pub shape: Shape,
}

/// Whether a method may be repeated when it is not known if the first try took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Never: it is no read, takes no key, and is not idempotent. Rotating a refresh token is such a method: a repeat looks like theft.
    Unsafe,
    /// Freely: a read, or a write that is idempotent by itself.
    Free,
    /// With the same `idempotency-key`.
    Keyed,
}

/// How many messages go in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One in, one out.
    Unary,
    /// One in, many out.
    ServerStream,
    /// Many in.
    ClientStream,
}

/// The rule of one error reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonRule {
    /// What a client may repeat.
    pub retry: RetryClass,
    /// What the caller should do, in one sentence.
    pub remedy: String,
}

/// What a client may repeat after an error. Ordered from the boldest to the most careful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryClass {
    /// The same call, with the same idempotency key.
    Call,
    /// A new call, after reading the state again.
    UnitOfWork,
    /// Nothing: repeating cannot help until something else changes.
    Nothing,
}

impl Rules {
    /// The rules of the contract this SDK was built from.
    pub fn contract() -> &'static Self {
        static RULES: OnceLock<Rules> = OnceLock::new();
        RULES.get_or_init(|| Self::read(crate::pool()))
    }

    /// Reads the rules of any descriptor pool that declares them with the `sewa.api.v1` options.
    pub fn read(pool: &DescriptorPool) -> Self {
        let mut rules = Self::default();
        if let Some(option) = pool.get_extension_by_name("sewa.api.v1.method") {
            for method in pool
                .services()
                .flat_map(|service| service.methods().collect::<Vec<_>>())
            {
                let declared = method.options().get_extension(&option).into_owned();
                let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
                rules
                    .methods
                    .insert(path, MethodRule::read(&method, &declared));
            }
        }
        if let Some(option) = pool.get_extension_by_name("sewa.api.v1.error") {
            for reasons in pool
                .all_enums()
                .filter(|found| found.name().ends_with("ErrorReason"))
            {
                let prefix = value_prefix(&reasons);
                for value in reasons
                    .values()
                    .filter(|value| value.options().has_extension(&option))
                {
                    let name = value.name().strip_prefix(&prefix).unwrap_or(value.name());
                    rules.add_reason(
                        name,
                        ReasonRule::read(&value.options().get_extension(&option)),
                    );
                }
            }
        }
        rules
    }

    /// The rule of the method at this path, `/package.Service/Method`.
    pub fn method(&self, path: &str) -> Option<&MethodRule> {
        self.methods.get(path)
    }

    /// The rule of this error reason; `None` for a reason the contract does not know, for example one of a newer server.
    pub fn reason(&self, reason: &str) -> Option<&ReasonRule> {
        self.reasons.get(reason)
    }

    /// Two services may use one word; where their advice differs the careful one wins, because a needless error is cheaper than a wrong repeat.
    fn add_reason(&mut self, name: &str, rule: ReasonRule) {
        match self.reasons.get_mut(name) {
            Some(known) if known.retry >= rule.retry => {}
            Some(known) => *known = rule,
            None => {
                self.reasons.insert(name.to_owned(), rule);
            }
        }
    }
}

impl MethodRule {
    fn read(method: &MethodDescriptor, declared: &Value) -> Self {
        let message = declared.as_message();
        Self {
            repeat: match (
                message.and_then(|rule| number(rule, "idempotency")),
                level(method),
            ) {
                (Some(2 | 3), _) => Repeat::Keyed,
                (Some(1), Some(IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent)) => {
                    Repeat::Free
                }
                _ => Repeat::Unsafe,
            },
            public: message
                .and_then(|rule| rule.get_field_by_name("public")?.as_bool())
                .unwrap_or(false),
            default_deadline: message.and_then(default_deadline),
            shape: match (method.is_client_streaming(), method.is_server_streaming()) {
                (true, _) => Shape::ClientStream,
                (false, true) => Shape::ServerStream,
                (false, false) => Shape::Unary,
            },
        }
    }

}

impl ReasonRule {
    fn read(declared: &Value) -> Self {
        let message = declared.as_message();
        Self {
            retry: match message.and_then(|rule| number(rule, "retry")) {
                Some(1) => RetryClass::Call,
                Some(2) => RetryClass::UnitOfWork,
                _ => RetryClass::Nothing,
            },
            remedy: message
                .and_then(|rule| Some(rule.get_field_by_name("remedy")?.as_str()?.to_owned()))
                .unwrap_or_default(),
        }
    }
}

fn level(method: &MethodDescriptor) -> Option<IdempotencyLevel> {
    let options = method.method_descriptor_proto().options.as_ref()?;
    Some(options.idempotency_level())
}

fn number(message: &DynamicMessage, field: &str) -> Option<i32> {
    message.get_field_by_name(field)?.as_enum_number()
}

fn default_deadline(rule: &DynamicMessage) -> Option<Duration> {
    let deadline = rule.get_field_by_name("deadline")?;
    let span = deadline
        .as_message()?
        .get_field_by_name("default")?
        .into_owned();
    let seconds = span.as_message()?.get_field_by_name("seconds")?.as_i64()?;
    let nanos = span.as_message()?.get_field_by_name("nanos")?.as_i32()?;
    let span = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?);
    (!span.is_zero()).then_some(span)
}

/// `WalletErrorReason` → `WALLET_ERROR_REASON_`, as the style guide prefixes enum values.
fn value_prefix(reasons: &EnumDescriptor) -> String {
    let mut prefix = String::new();
    for letter in reasons.name().chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix + "_"
}
