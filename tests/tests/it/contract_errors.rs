//! Which errors the contract lists, and that each is provoked by a test. The R numbers are those of the house rules for contracts.

use std::collections::{BTreeMap, BTreeSet};

use sewa_sdk::pool;
use sewa_tests::seen;

use crate::contract::{enums, none, number, option, text, upper_snake};

#[test]
fn r35_to_r37_reasons_are_declared_once_and_listed_ones_exist() {
    let mut faults = Vec::new();
    let mut known = BTreeSet::new();
    for reasons in enums().filter(|found| found.name().ends_with("ErrorReason")) {
        let prefix = upper_snake(reasons.name()) + "_";
        for value in reasons.values().filter(|value| value.number() != 0) {
            known.insert(value.name().trim_start_matches(&prefix).to_owned());
            let Some(rule) = option(value.options(), "sewa.api.v1.error")
                .and_then(|rule| rule.as_message().cloned())
            else {
                faults.push(format!("{} has no rule", value.full_name()));
                continue;
            };
            if text(&rule, "code").is_empty()
                || number(&rule, "retry") == 0
                || !text(&rule, "remedy").ends_with('.')
            {
                faults.push(format!("{}: {rule}", value.full_name()));
            }
        }
    }
    let common: BTreeSet<String> = pool()
        .get_enum_by_name("sewa.api.v1.CommonErrorReason")
        .unwrap()
        .values()
        .map(|value| {
            value
                .name()
                .trim_start_matches("COMMON_ERROR_REASON_")
                .to_owned()
        })
        .collect();
    for (method, reasons) in seen::listed() {
        faults.extend(
            reasons
                .iter()
                .filter(|reason| !known.contains(*reason))
                .map(|reason| format!("{method} lists unknown {reason}")),
        );
        faults.extend(
            reasons
                .iter()
                .filter(|reason| common.contains(*reason))
                .map(|reason| format!("{method} lists {reason}, which goes without saying")),
        );
    }
    none(faults);
}

#[test]
fn r37_every_listed_error_is_provoked_by_a_test_that_exists() {
    let promised = seen::promises();
    let sources = sources();
    let mut faults = Vec::new();
    let listed: BTreeSet<seen::Refusal> = seen::listed()
        .iter()
        .flat_map(|(method, reasons)| {
            reasons
                .iter()
                .map(move |reason| (method.clone(), reason.clone()))
        })
        .collect();
    let provoked: BTreeSet<seen::Refusal> = promised
        .iter()
        .map(|(refusal, _)| refusal.clone())
        .collect();
    faults.extend(
        listed
            .difference(&provoked)
            .map(|(method, reason)| format!("no test provokes {reason} of {method}")),
    );
    faults.extend(
        provoked
            .difference(&listed)
            .map(|(method, reason)| format!("{method} does not list {reason}")),
    );
    for (refusal, test) in &promised {
        // `never:why` stands where this build cannot give the error at all.
        let Some((module, name)) = test.split_once("::") else {
            if !test.starts_with("never:") {
                faults.push(format!("{refusal:?}: {test} is no test"));
            }
            continue;
        };
        if !sources
            .get(module)
            .is_some_and(|source| source.contains(&format!("async fn {name}()")))
        {
            faults.push(format!("{refusal:?}: there is no test {test}"));
        }
    }
    none(faults);
}

fn sources() -> BTreeMap<String, String> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(&path).unwrap(),
            )
        })
        .collect()
}
