//! The style of this repository, as tests: what a reviewer would otherwise have to say every time.
//! ARCHITECTURE.md gives the reasons; a failure names file, line and rule.

mod rules;
mod samples;

use std::path::PathBuf;
use std::process::Command;

use rules::{Finding, Source};
use samples::SAMPLES;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file that is, or would be, committed.
fn sources() -> Vec<Source> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "the tests run in a git checkout");
    let paths = String::from_utf8(output.stdout).expect("paths are UTF-8");
    paths
        .lines()
        // Unreadable: deleted but not yet committed, or not text.
        .filter_map(|path| {
            let text = std::fs::read_to_string(repository().join(path)).ok()?;
            Some(Source::new(path, &text))
        })
        .collect()
}

/// Code that a person wrote.
fn is_written(source: &Source) -> bool {
    let generated = [
        "/generated/",
        "_pb2",
        ".pb.go",
        "package-lock.json",
        "Cargo.lock",
        "go.sum",
    ];
    !generated.iter().any(|part| source.path.contains(part))
}

#[track_caller]
fn holds_everywhere(rule: fn(&Source) -> Vec<Finding>) {
    let sources = sources();
    let findings: Vec<Finding> = sources
        .iter()
        .filter(|source| is_written(source))
        .flat_map(rule)
        .collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn layers_have_their_names() {
    holds_everywhere(rules::layers_have_their_names);
}

#[test]
fn sql_stays_in_stores() {
    holds_everywhere(rules::sql_stays_in_stores);
}

#[test]
fn calls_go_down_the_ranks() {
    holds_everywhere(rules::calls_go_down_the_ranks);
}

#[test]
fn base_knows_no_slice() {
    holds_everywhere(rules::base_knows_no_slice);
}

#[test]
fn handlers_name_no_role() {
    holds_everywhere(rules::handlers_name_no_role);
}

#[test]
fn slices_tell_their_story() {
    holds_everywhere(rules::slices_tell_their_story);
}

#[test]
fn modules_say_why() {
    holds_everywhere(rules::modules_say_why);
}

#[test]
fn files_are_short() {
    holds_everywhere(rules::files_are_short);
}

#[test]
fn names_have_a_meaning() {
    holds_everywhere(rules::names_have_a_meaning);
}

#[test]
fn migrations_have_an_owner() {
    holds_everywhere(rules::migrations_have_an_owner);
}

#[test]
fn nothing_names_a_machine() {
    holds_everywhere(rules::nothing_names_a_machine);
}

#[test]
fn the_architecture_fits_two_hundred_lines() {
    let text = std::fs::read_to_string(repository().join("ARCHITECTURE.md"));
    let count = text
        .expect("ARCHITECTURE.md explains the tree")
        .lines()
        .count();
    assert!(
        count <= 200,
        "ARCHITECTURE.md:201: {count} lines: say less, or move it to docs/"
    );
}

/// Each rule sees what it is there to see: the first text breaks it, the second does not.
#[test]
fn every_rule_can_fail() {
    for (rule, path, bad, good) in SAMPLES {
        assert!(!rule(&Source::new(path, bad)).is_empty(), "not seen: {bad}");
        let findings = rule(&Source::new(path, good));
        assert!(findings.is_empty(), "seen for nothing: {findings:?}");
    }
    for path in ["wallet/handlers.rs", "shop/mod.rs", "wallet/deep/mod.rs"] {
        let source = Source::new(&format!("server/src/service/{path}"), "");
        assert!(
            !rules::layers_have_their_names(&source).is_empty(),
            "not seen: {path}"
        );
    }
    let good = Source::new("server/src/service/order/place.rs", "");
    assert!(rules::layers_have_their_names(&good).is_empty());
    for (count, ok) in [(500, true), (501, false)] {
        let source = Source::new("server/src/app.rs", &"x\n".repeat(count));
        assert_eq!(rules::files_are_short(&source).is_empty(), ok);
    }
    let named_badly = Source::new("migrations/1_x.sql", "-- owner: wallet\n");
    assert!(!rules::migrations_have_an_owner(&named_badly).is_empty());
}
