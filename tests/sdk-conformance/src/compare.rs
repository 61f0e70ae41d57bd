//! Compares what was said with what was expected.
//!
//! An object expects its keys and allows others; a list expects as many items; anything else must be equal. An object whose keys begin with `$` is a pattern:
//! `$any`, `$absent`, `$min`, `$max`, `$prefix`, `$contains` and `$lacks` (lists of texts), `$in` (a list of values), `$distinct` (a list without repeats).

use serde_json::Value;

/// Every difference, each with its path.
pub fn differences(expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, Some(actual), &mut found);
    found
}

fn compare(path: &str, expected: &Value, actual: Option<&Value>, found: &mut Vec<String>) {
    if let Value::Object(patterns) = expected
        && !patterns.is_empty()
        && patterns.keys().all(|key| key.starts_with('$'))
    {
        for (pattern, argument) in patterns {
            if !holds(pattern, argument, actual) {
                found.push(format!(
                    "{path}: {} is not {pattern} {argument}",
                    shown(actual)
                ));
            }
        }
        return;
    }
    match (expected, actual) {
        (Value::Object(expected), Some(Value::Object(actual))) => {
            for (key, value) in expected {
                compare(&format!("{path}.{key}"), value, actual.get(key), found);
            }
        }
        (Value::Array(expected), Some(Value::Array(actual))) => {
            if expected.len() != actual.len() {
                found.push(format!(
                    "{path}: {} items, not {}: {}",
                    actual.len(),
                    expected.len(),
                    Value::from(actual.clone())
                ));
            }
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                compare(&format!("{path}[{index}]"), expected, Some(actual), found);
            }
        }
        (expected, Some(actual)) if equal(expected, actual) => {}
        (Value::Null, None) => {}
        _ => found.push(format!("{path}: {} is not {expected}", shown(actual))),
    }
}

/// Numbers are equal by value, whatever their notation.
fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other).is_eq(),
        _ => one == other,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

fn holds(pattern: &str, argument: &Value, actual: Option<&Value>) -> bool {
    let Some(actual) = actual else {
        return pattern == "$absent";
    };
    let text = match actual {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let texts = || {
        argument
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    };
    match pattern {
        "$any" => !actual.is_null(),
        "$absent" => actual.is_null(),
        "$min" => actual.as_f64() >= argument.as_f64() && actual.is_number(),
        "$max" => actual.as_f64() <= argument.as_f64() && actual.is_number(),
        "$prefix" => argument.as_str().is_some_and(|start| text.starts_with(start)),
        "$contains" => texts().all(|part| text.contains(part)),
        "$lacks" => texts().all(|part| !text.contains(part)),
        "$in" => argument
            .as_array()
            .is_some_and(|values| values.iter().any(|value| equal(value, actual))),
        "$distinct" => actual.as_array().is_some_and(|items| {
            let all: std::collections::BTreeSet<_> = items.iter().map(Value::to_string).collect();
            all.len() == items.len()
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_pattern_can_hold_and_fail() {
        for (expected, good, bad) in [
            (json!(1), json!(1.0), json!(2)),
            (json!({"a": 1}), json!({"a": 1, "b": 2}), json!({"b": 2})),
            (json!([1, 2]), json!([1, 2]), json!([1])),
            (json!({"a": null}), json!({}), json!({"a": 1})),
            (json!({"$any": true}), json!(0), json!(null)),
            (json!({"a": {"$absent": true}}), json!({}), json!({"a": 0})),
            (json!({"$min": 2}), json!(2), json!(1)),
            (json!({"$max": 2}), json!(2), json!("1")),
            (json!({"$prefix": "ab"}), json!("abc"), json!("cab")),
            (json!({"$contains": ["b", "c"]}), json!("abc"), json!("ab")),
            (json!({"$lacks": ["x"]}), json!({"a": "b"}), json!({"a": "x"})),
            (json!({"$in": ["A", "B"]}), json!("B"), json!("C")),
            (json!({"$distinct": true}), json!([1, 2]), json!([1, 1])),
        ] {
            assert!(differences(&expected, &good).is_empty(), "{expected} {good}");
            assert!(!differences(&expected, &bad).is_empty(), "{expected} {bad}");
        }
        assert!(!differences(&json!({"$typo": 1}), &json!(1)).is_empty());
    }
}
