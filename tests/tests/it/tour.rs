//! The tour in the README, as its reader would take it: every console block is run by bash, in order, in one shell.

use std::path::Path;
use std::process::Command;

use sewa_tests::World;

const PORT: &str = "127.0.0.1:7070";

/// The ```console blocks of a text.
fn blocks(text: &str) -> Vec<&str> {
    let opened = text.split("\n```console\n").skip(1);
    opened
        .filter_map(|rest| rest.split_once("\n```"))
        .map(|(block, _)| block)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_in_the_readme_works_when_pasted() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let Ok(text) = std::fs::read_to_string(readme) else {
        println!("there is no README.md yet");
        return;
    };
    let tour = text.split_once("tour\n").map_or("", |(_, tour)| tour);
    let tour = tour.split("\n## ").next().unwrap_or_default();
    let blocks = blocks(tour);
    assert!(
        blocks.len() >= 5,
        "a tour has more than {} steps",
        blocks.len()
    );
    let world = World::new().await;
    let budi = world.reseller().await;
    let scopes =
        "wallet,orders,instances,instances.delete,lifecycle,operations,events,sandbox,profile";
    let made = world
        .sewa(
            &[
                "key",
                "create",
                "--account-email",
                &budi.email,
                "--scopes",
                scopes,
                "--name",
                "tour",
            ],
            "",
        )
        .unwrap();
    let key = made
        .lines()
        .find(|line| line.starts_with("sk_"))
        .unwrap()
        .trim();
    // As `sewa dev` keeps it for its reseller.
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".sewa")).unwrap();
    std::fs::write(home.path().join(".sewa/reseller.key"), key).unwrap();

    let address = world.servers[0].address().to_string();
    let script = format!(
        "set -eu -o pipefail\nset -x\n{}",
        blocks.join("\n").replace(PORT, &address)
    );
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin");
    let path = format!(
        "{}:{}",
        tools.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(home.path())
        .env("PATH", path)
        .env("SEWA_API_KEY", key)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for word in ["ERROR:", "command not found", "Traceback"] {
        assert!(!said.contains(word), "a step of the tour fails:\n{said}");
    }
    // The tour shows one refusal, on purpose.
    assert_eq!(said.matches("\"error\":").count(), 1, "{said}");
    assert!(said.contains("INSTANCE_NOT_FOUND"), "{said}");
}

#[test]
fn only_console_blocks_are_commands() {
    let text = "## A tour\n```console\ncurl \\\n  one\n```\n```rust\nfn no() {}\n```\n\n```console\ntwo\n```\n";
    assert_eq!(blocks(text), ["curl \\\n  one", "two"]);
}
