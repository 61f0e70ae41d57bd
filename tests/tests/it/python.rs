//! The Python SDK as its users have it: the wheel, in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use sewa_tests::World;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sdk-python")
        .join(name)
        .canonicalize()
        .unwrap()
}

/// Runs a program without any variable of ours and returns what it printed.
fn said(program: &Path, arguments: &[&Path], at: &Path) -> String {
    let mut command = Command::new(program);
    for name in [
        "SEWA_API_KEY",
        "SEWA_TOKEN",
        "SEWA_API_KEY_FILE",
        "PYTHONPATH",
    ] {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .current_dir(at)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; has `make setup` run?", program.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}:\n{text}\n{errors}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wheel_plays_the_journey_and_every_snippet() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/python/bin/python");
    let temporary = tempfile::tempdir().unwrap();
    let printed = said(
        &tools,
        &[&folder("tests/package.py"), temporary.path()],
        temporary.path(),
    );
    let python = PathBuf::from(printed.lines().last().unwrap());

    let from = said(
        &python,
        &[
            Path::new("-c"),
            Path::new("import sewa; print(sewa.__file__)"),
        ],
        temporary.path(),
    );
    assert!(
        from.starts_with(&*temporary.path().to_string_lossy()),
        "{from}"
    );

    let snippets = temporary.path().join("snippets");
    std::fs::create_dir(&snippets).unwrap();
    said(
        &python,
        &[&folder("tests/snippets.py"), &snippets],
        temporary.path(),
    );
    let (mypy, settings) = (Path::new("mypy"), folder("pyproject.toml"));
    let strict = [
        Path::new("-m"),
        mypy,
        Path::new("--config-file"),
        &settings,
        Path::new("snippets"),
    ];
    said(&python, &strict, temporary.path());

    let world = World::new().await;
    let journey = [
        Path::new("-m"),
        Path::new("journey"),
        &PathBuf::from(world.url()),
    ];
    let played = said(&python, &journey, &folder("examples"));
    assert!(played.ends_with("Every step was observed.\n"), "{played}");
}
