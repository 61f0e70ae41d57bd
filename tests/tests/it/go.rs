//! The Go SDK as its users have it: the module's zip, fetched by the go command into an empty folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use sewa_tests::World;

const SETTINGS: [&str; 3] = ["SEWA_API_KEY", "SEWA_TOKEN", "SEWA_API_KEY_FILE"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Runs a command without any variable of ours and returns what it printed.
#[track_caller]
fn said(command: &mut Command) -> String {
    for name in SETTINGS {
        command.env_remove(name);
    }
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; has `make setup` run?"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{text}\n{errors}");
    text
}

/// The version the module gives itself.
fn version() -> String {
    let text = std::fs::read_to_string(root().join("sdk-go/doc.go")).unwrap();
    let number = text
        .split_once("const Version = \"")
        .and_then(|(_, rest)| rest.split_once('"'));
    format!("v{}", number.expect("doc.go has the version").0)
}

/// The go command of somebody who has nothing but a folder, and gets the SDK from the artifact and the rest from what setup fetched: no network.
struct Shop {
    folder: PathBuf,
    modules: PathBuf,
    proxies: String,
}

impl Shop {
    fn new(empty: &Path) -> Self {
        let fetched = said(Command::new("go").args(["env", "GOMODCACHE"]));
        let proxy = empty.join("proxy");
        said(
            Command::new(root().join(".tools/bin/modzip"))
                .arg(root().join("sdk-go"))
                .arg(version())
                .arg(&proxy),
        );
        let folder = empty.join("shop");
        std::fs::create_dir(&folder).unwrap();
        Self {
            folder,
            modules: empty.join("modules"),
            proxies: format!(
                "file://{},file://{}/cache/download",
                proxy.display(),
                fetched.trim()
            ),
        }
    }

    #[track_caller]
    fn go(&self, arguments: &[&str]) -> String {
        said(
            Command::new("go")
                .args(arguments)
                .current_dir(&self.folder)
                .env("GOMODCACHE", &self.modules)
                .env("GOPROXY", &self.proxies)
                // The sums of what comes from the machine's own cache were checked when it got there.
                .env("GOSUMDB", "off")
                .env("GOTOOLCHAIN", "local")
                .env("GOWORK", "off")
                // Without paths in them, builds are found in the cache again although every folder is new.
                .env("GOFLAGS", "-modcacherw -trimpath -mod=mod"),
        )
    }
}

/// Every Go block of the README as a package of its own.
fn write_snippets(folder: &Path) {
    let readme = std::fs::read_to_string(root().join("sdk-go/README.md")).unwrap();
    let blocks: Vec<&str> = readme
        .split("```go\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(blocks.len() >= 7, "the README has {} blocks", blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        let package = folder.join(format!("snippet{number}"));
        std::fs::create_dir(&package).unwrap();
        std::fs::write(package.join("snippet_test.go"), block).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_module_plays_the_journey_and_every_snippet() {
    let empty = tempfile::tempdir().unwrap();
    let shop = Shop::new(empty.path());
    shop.go(&["mod", "init", "shop"]);
    let module = format!("github.com/sewa-project/sewa/sdk-go@{}", version());
    shop.go(&["get", &module]);

    write_snippets(&shop.folder);
    let tested = shop.go(&["test", "-v", "./..."]);
    assert!(tested.contains("--- PASS: TestMyProgram"), "{tested}");

    let world = World::new().await;
    let url = world.url();
    let journey = "github.com/sewa-project/sewa/sdk-go/examples/journey";
    let played = shop.go(&["run", journey, &url]);
    assert!(played.ends_with("Every step was observed.\n"), "{played}");
}

#[test]
fn the_module_passes_its_own_tests() {
    said(
        Command::new("go")
            .args(["test", "./..."])
            .current_dir(root().join("sdk-go")),
    );
}
