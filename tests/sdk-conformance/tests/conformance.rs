//! Every runner in `runners.txt` does every case, over each transport it speaks.
//!
//! `SEWA_CONFORMANCE=python` runs one language, `SEWA_CONFORMANCE=python/refresh` those of its cases whose name begins so.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sewa_sdk_conformance::case::{Case, read_all};
use sewa_sdk_conformance::compare::differences;
use sewa_sdk_conformance::runner::{Entry, Runner, table};
use sewa_sdk_conformance::seen;
use sewa_sdk_conformance::server::Server;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn root() -> PathBuf {
    here().join("../..")
}

/// What one case came to: differences, or the reason why the runner cannot do it.
enum Outcome {
    Differences(Vec<String>),
    Unsupported(String),
}

async fn play(case: &Case, transport: &str, runner: &mut Runner) -> anyhow::Result<Outcome> {
    let server = Server::start(case.server.clone()).await?;
    let answer = runner
        .ask(&json!({
            "case": case.case,
            "target": format!("http://{}", server.address),
            "transport": transport,
            "client": case.client,
            "steps": case.steps,
        }))
        .await?;
    if let Some(reason) = answer.get("unsupported").and_then(Value::as_str) {
        return Ok(Outcome::Unsupported(reason.to_owned()));
    }
    let mut found = differences(&json!(case.case), &answer["case"]);
    found.extend(differences(&case.expect.client, &answer));
    let given_up = case.expect.server.iter();
    for (method, expected) in given_up.filter_map(|(name, seen)| Some((name, seen.abandoned?))) {
        // Too long without word is a difference, found below.
        let word = server.abandoned(method, expected);
        let _ = tokio::time::timeout(std::time::Duration::from_secs(10), word).await;
    }
    found.extend(seen::check(&case.expect.server, &server.seen()));
    if !found.is_empty() {
        found.push(format!("the answer: {answer}"));
    }
    Ok(Outcome::Differences(found))
}

async fn run(entry: &Entry, cases: &[Case], listed: &[&str]) -> Vec<String> {
    let mut failures = Vec::new();
    let mut runner = match entry.start(&root()).await {
        Ok(runner) => runner,
        Err(error) => return vec![format!("{}: {error:#}", entry.name)],
    };
    for transport in &entry.transports {
        for case in cases {
            let name = format!("{} {} {transport}", entry.name, case.case);
            let is_listed = listed
                .iter()
                .any(|line| line.starts_with(&format!("{name} ")));
            match play(case, transport, &mut runner).await {
                Ok(Outcome::Differences(found)) if found.is_empty() => {
                    if is_listed {
                        failures.push(format!("{name} works, so strike it from unsupported.txt"));
                    }
                    runner.said();
                }
                Ok(Outcome::Differences(found)) => failures.push(format!(
                    "{name}:\n  {}\n{}",
                    found.join("\n  "),
                    runner.said()
                )),
                Ok(Outcome::Unsupported(_)) if is_listed => {}
                Ok(Outcome::Unsupported(reason)) => {
                    failures.push(format!("{name} is not in unsupported.txt: {reason}"));
                }
                Err(error) => {
                    failures.push(format!("{name}: {error:#}\n{}", runner.said()));
                    // A runner that failed once cannot be trusted with the next case.
                    match entry.start(&root()).await {
                        Ok(fresh) => runner = fresh,
                        Err(error) => {
                            failures.push(format!("{}: {error:#}", entry.name));
                            return failures;
                        }
                    }
                }
            }
        }
    }
    if let Err(error) = runner.end().await {
        failures.push(format!("{}: {error:#}", entry.name));
    }
    failures
}

#[tokio::test(flavor = "multi_thread")]
async fn all_languages_behave_alike() {
    let read = |name: &str| std::fs::read_to_string(here().join(name)).expect(name);
    let entries = table(&read("runners.txt")).expect("the table of runners");
    let listed = read("unsupported.txt");
    let listed: Vec<&str> = listed
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let mut cases = read_all(&here().join("cases")).expect("the cases");
    let chosen = std::env::var("SEWA_CONFORMANCE").unwrap_or_default();
    let (language, prefix) = chosen.split_once('/').unwrap_or((&chosen, ""));
    cases.retain(|case| case.case.starts_with(prefix));
    let chosen = entries
        .iter()
        .filter(|entry| language.is_empty() || entry.name == language);
    // Side by side: a runner mostly waits.
    let played = chosen.map(|entry| run(entry, &cases, &listed));
    let failures = futures_util::future::join_all(played).await.concat();
    assert!(
        failures.is_empty(),
        "{} failures:\n\n{}\n",
        failures.len(),
        failures.join("\n\n")
    );
}

#[test]
fn there_are_enough_cases_and_all_of_them_can_be_played() {
    let cases = read_all(&here().join("cases")).expect("the cases");
    assert!(cases.len() >= 60, "{} cases", cases.len());
}
