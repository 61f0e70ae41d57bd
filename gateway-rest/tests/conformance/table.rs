//! The table of the 60 cases: which tests hold which, and whether they go through the standalone binary too.
//!
//! It is read from the line `/// Case N` or `/// Cases N, M and O` above each test, so it cannot say what no test says.

use std::collections::BTreeMap;

const SOURCES: [(&str, &str); 11] = [
    ("body", include_str!("body.rs")),
    ("errors", include_str!("errors.rs")),
    ("escapes", include_str!("escapes.rs")),
    ("fuzz", include_str!("fuzz.rs")),
    ("limits", include_str!("limits.rs")),
    ("patch", include_str!("patch.rs")),
    ("query", include_str!("query.rs")),
    ("responses", include_str!("responses.rs")),
    ("routing", include_str!("routing.rs")),
    ("streams", include_str!("streams.rs")),
    ("transport", include_str!("transport.rs")),
];

/// Tests that talk to the process and nothing else.
const WIRE: &str = include_str!("wire.rs");

/// Ways to send a request that go through both faces.
const BOTH_WAYS: [&str; 9] = [
    ".send(",
    ".call(",
    ".call_with(",
    "accepts(",
    "refuses(",
    "mask_of(",
    "watch(",
    "failing(",
    "get(",
];

/// The numbers in a line such as `Cases 49 and 51: the rest`; nothing for other lines.
fn numbers(line: &str) -> Vec<u32> {
    let Some(rest) = line.trim_start().strip_prefix("/// Case") else {
        return Vec::new();
    };
    let rest = rest.strip_prefix('s').unwrap_or(rest);
    let list = rest.split([':', '.']).next().unwrap_or("");
    list.split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Every test of a file: its cases, its name and its text.
fn tests(source: &str) -> Vec<(Vec<u32>, String, String)> {
    let mut found = Vec::new();
    let mut cases = Vec::new();
    let lines: Vec<&str> = source.lines().collect();
    let mut is_test = false;
    for (at, line) in lines.iter().enumerate() {
        cases.extend(numbers(line));
        let line = line.trim_start();
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let name = line.strip_prefix("async fn ").or(line.strip_prefix("fn "));
        let Some(name) = name else { continue };
        if std::mem::take(&mut is_test) {
            let text = lines[at..].iter().take_while(|line| **line != "}");
            let name = name.split('(').next().unwrap_or(name).to_owned();
            let text = text.copied().collect::<Vec<_>>().join("\n");
            found.push((std::mem::take(&mut cases), name, text));
        }
        cases.clear();
    }
    found
}

#[test]
fn every_case_has_a_test_in_process_and_through_the_binary() {
    let mut here: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut binary: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (file, source) in SOURCES {
        for (cases, name, text) in tests(source) {
            let through =
                !text.contains("in_process()") && BOTH_WAYS.iter().any(|way| text.contains(way));
            for case in cases {
                let name = format!("{file}::{name}");
                if through {
                    binary.entry(case).or_default().push(name.clone());
                }
                here.entry(case).or_default().push(name);
            }
        }
    }
    for (cases, name, _) in tests(WIRE) {
        assert!(!cases.is_empty(), "wire::{name} names no case");
        for case in cases {
            binary
                .entry(case)
                .or_default()
                .push(format!("wire::{name}"));
        }
    }
    for (case, tests) in &here {
        println!("{case:2}  {}", tests.join(", "));
    }
    let missing = |table: &BTreeMap<u32, Vec<String>>| -> Vec<u32> {
        (1..=60).filter(|case| !table.contains_key(case)).collect()
    };
    assert_eq!(missing(&here), [0; 0], "cases without a test in process");
    assert_eq!(
        missing(&binary),
        [0; 0],
        "cases without a test through the binary"
    );
    assert!(
        here.keys()
            .chain(binary.keys())
            .all(|case| (1..=60).contains(case))
    );
}
