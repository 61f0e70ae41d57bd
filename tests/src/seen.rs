//! Which errors were seen. The contract lists what each method may answer; a world fails the test in which a method answered anything else, and the test that
//! promised in `provoked.txt` to provoke an error and did not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use prost_reflect::Value;

/// A method's full name and one reason.
pub type Refusal = (String, String);

/// Everything seen in one test.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<BTreeSet<Refusal>>>);

impl Seen {
    /// Remembers a refusal. `path` is `/package.Service/Method`.
    pub fn note(&self, path: &str, reason: &str) {
        let mut seen = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        seen.insert((path.trim_start_matches('/').to_owned(), reason.to_owned()));
    }

    /// What was seen.
    pub fn all(&self) -> BTreeSet<Refusal> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// What was seen although the contract does not list it.
    pub fn unlisted(&self) -> Vec<Refusal> {
        let listed = listed();
        let allowed = |(method, reason): &Refusal| {
            anywhere().contains(reason)
                || listed
                    .get(method)
                    .is_some_and(|reasons| reasons.contains(reason))
        };
        self.all()
            .into_iter()
            .filter(|refusal| !allowed(refusal))
            .collect()
    }
}

/// The reasons each method lists.
pub fn listed() -> &'static BTreeMap<String, BTreeSet<String>> {
    static LISTED: OnceLock<BTreeMap<String, BTreeSet<String>>> = OnceLock::new();
    LISTED.get_or_init(|| {
        let option = sewa_sdk::pool()
            .get_extension_by_name("sewa.api.v1.method")
            .expect("the contract has its options");
        let methods = sewa_sdk::pool()
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        methods
            .map(|method| {
                let rule = method.options().get_extension(&option).into_owned();
                let errors = rule
                    .as_message()
                    .and_then(|rule| rule.get_field_by_name("errors").map(|e| e.into_owned()));
                let errors = errors.as_ref().and_then(Value::as_list).unwrap_or_default();
                let name = format!("{}/{}", method.parent_service().full_name(), method.name());
                let reasons = errors.iter().filter_map(Value::as_str).map(str::to_owned);
                (name, reasons.collect())
            })
            .collect()
    })
}

/// The reasons any method may give.
fn anywhere() -> &'static BTreeSet<String> {
    static ANYWHERE: OnceLock<BTreeSet<String>> = OnceLock::new();
    ANYWHERE.get_or_init(|| {
        let reasons = sewa_sdk::pool()
            .get_enum_by_name("sewa.api.v1.CommonErrorReason")
            .expect("the contract has reasons for every method");
        let prefix = "COMMON_ERROR_REASON_";
        reasons
            .values()
            .map(|value| value.name().trim_start_matches(prefix).to_owned())
            .collect()
    })
}

/// What the tests promise: `method reason test`, one a line.
pub fn promises() -> Vec<(Refusal, String)> {
    const PROVOKED: &str = include_str!("../tests/it/provoked.txt");
    let lines = PROVOKED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace().map(str::to_owned);
            let mut word = || {
                words
                    .next()
                    .unwrap_or_else(|| panic!("provoked.txt: {line:?} is not `method reason test`"))
            };
            ((word(), word()), word())
        })
        .collect()
}
