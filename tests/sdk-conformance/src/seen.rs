//! What the server saw, and whether it is what a case expects.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use crate::case::Seen;
use crate::compare::differences;
use crate::wire;

/// One attempt of a call.
#[derive(Debug)]
pub struct Attempt {
    /// The headers, by name.
    pub headers: BTreeMap<String, String>,
    /// The request as protobuf JSON.
    pub request: Value,
    /// When it came.
    pub at: Instant,
    /// Whether the client gave it up while it ran.
    pub abandoned: bool,
}

/// Compares everything a server saw with what a case expects.
pub fn check(
    expected: &BTreeMap<String, Seen>,
    seen: &BTreeMap<String, Vec<Attempt>>,
) -> Vec<String> {
    let mut found: Vec<String> = seen
        .keys()
        .filter(|method| !expected.contains_key(*method))
        .map(|method| format!("{method} was called"))
        .collect();
    for (method, expected) in expected {
        let attempts = seen.get(method).map_or(&[][..], Vec::as_slice);
        found.extend(
            expected
                .check(attempts)
                .into_iter()
                .map(|difference| format!("{method} {difference}")),
        );
    }
    found
}

impl Seen {
    fn check(&self, seen: &[Attempt]) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, expected: &Value, actual: &Value| {
            found.extend(
                differences(expected, actual)
                    .into_iter()
                    .map(|difference| format!("{what}{difference}")),
            );
        };
        compare("attempts", &self.attempts, &json!(seen.len()));
        for (name, expected) in &self.headers {
            let values: Vec<Value> = seen.iter().map(|one| json!(one.headers.get(name))).collect();
            match expected {
                Value::Array(_) => compare(name, expected, &json!(values)),
                each => values.iter().for_each(|value| compare(name, each, value)),
            }
        }
        for (names, distinct) in [(&self.same, 1), (&self.different, seen.len())] {
            for name in names {
                let values: BTreeSet<_> = seen
                    .iter()
                    .filter_map(|one| one.headers.get(name))
                    .collect();
                let present = seen.iter().all(|one| one.headers.contains_key(name));
                compare(name, &json!([true, distinct]), &json!([present, values.len()]));
            }
        }
        if let Some(expected) = &self.deadline_ms {
            for one in seen {
                let span = one.headers.get("grpc-timeout");
                let millis = span
                    .and_then(|text| wire::timeout(text))
                    .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
                compare("grpc-timeout", expected, &json!(millis));
            }
        }
        if let Some(expected) = &self.requests {
            let requests: Vec<_> = seen.iter().map(|one| one.request.clone()).collect();
            compare("requests", &json!(expected), &json!(requests));
        }
        if let Some(least) = self.at_least_ms
            && let (Some(first), Some(last)) = (seen.first(), seen.last())
        {
            let span = u64::try_from((last.at - first.at).as_millis()).unwrap_or(u64::MAX);
            compare("span", &json!({"$min": least}), &json!(span));
        }
        if let Some(expected) = self.abandoned {
            let count = seen.iter().filter(|one| one.abandoned).count();
            compare("abandoned", &json!(expected), &json!(count));
        }
        found
    }
}
