//! The TypeScript SDK as its users have it: the package `npm pack` makes, installed in an empty folder; in Node, and in a browser on a page of another origin.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use sewa_tests::World;
use sewa_tests::world::Settings;

/// What the package needs at run time. The compiler, the bundler and the driver of the browser are tools of the tests.
const DEPENDENCIES: [&str; 4] = [
    "@bufbuild/protobuf",
    "@connectrpc/connect",
    "@connectrpc/connect-node",
    "@connectrpc/connect-web",
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../sdk-typescript")
        .canonicalize()
        .unwrap()
}

/// Runs a program without any variable of ours and returns what it printed.
fn said(program: &str, arguments: &[&str], at: &Path) -> String {
    let mut command = Command::new(program);
    for name in ["SEWA_API_KEY", "SEWA_TOKEN", "SEWA_API_KEY_FILE"] {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .current_dir(at)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; has `make setup` run?"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}:\n{text}\n{errors}"
    );
    text
}

/// A folder of a program that has installed the package, beside the built tests and examples. Made once, because two builds would write the same files.
fn shop() -> &'static Path {
    static SHOP: OnceLock<tempfile::TempDir> = OnceLock::new();
    SHOP.get_or_init(|| {
        let (source, shop) = (source(), tempfile::tempdir().unwrap());
        let folder = shop.path().to_string_lossy().into_owned();
        said("node", &["tools/build.mjs", "--tests"], &source);
        let packed = said(
            "npm",
            &["pack", "--ignore-scripts", "--pack-destination", &folder],
            &source,
        );
        let package = format!("./{}", packed.lines().last().unwrap());
        std::fs::write(
            shop.path().join("package.json"),
            r#"{"name": "toko", "private": true, "type": "module"}"#,
        )
        .unwrap();
        // What is installed already stands in for the registry, so that no network is needed.
        let installed: Vec<String> = DEPENDENCIES
            .iter()
            .map(|name| source.join("node_modules").join(name))
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let mut arguments = vec!["install", "--offline", "--install-links", "--no-audit"];
        arguments.extend([
            "--ignore-scripts",
            "--no-fund",
            "--legacy-peer-deps",
            &package,
        ]);
        arguments.extend(installed.iter().map(String::as_str));
        said("npm", &arguments, shop.path());
        for part in ["tests", "examples", "bench"] {
            let (from, to) = (source.join("build").join(part), shop.path().join(part));
            let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
            said("cp", &["-r", &from, &to], shop.path());
        }
        shop
    })
    .path()
}

#[test]
fn the_package_is_whole_in_either_kind_of_module() {
    let program = "console.log(sdk.VERSION, sdk.contractDigest(), typeof webhook.verifyWebhook, typeof fake.Fake, wallet.WalletService.typeName)";
    let import = format!(
        "import * as sdk from '@sewa/sdk'; import * as webhook from '@sewa/sdk/webhook'; import * as fake from '@sewa/sdk/fake'; import * as wallet from '@sewa/sdk/wallet/v1'; {program}"
    );
    let require = format!(
        "const sdk = require('@sewa/sdk'), webhook = require('@sewa/sdk/webhook'), fake = require('@sewa/sdk/fake'), wallet = require('@sewa/sdk/wallet/v1'); {program}"
    );
    let package = std::fs::read_to_string(source().join("package.json")).unwrap();
    let package: serde_json::Value = serde_json::from_str(&package).unwrap();
    let expected = format!(
        "{} {} function function sewa.wallet.v1.WalletService\n",
        package["version"].as_str().unwrap(),
        sewa_sdk::contract_digest()
    );
    for (kind, program) in [("module", import), ("commonjs", require)] {
        let arguments = [format!("--input-type={kind}"), "--eval".to_owned(), program];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(said("node", &arguments, shop()), expected, "{kind}");
    }
}

#[test]
fn every_snippet_compiles_and_those_that_need_no_server_run() {
    let (readme, tools) = (source().join("README.md"), source().join("node_modules"));
    let arguments = [
        "tests/snippets.js",
        &readme.to_string_lossy(),
        &tools.to_string_lossy(),
    ];
    let ran = said("node", &arguments, shop());
    assert!(ran.contains("every snippet compiles"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_package_plays_the_journey() {
    let world = World::new().await;
    let played = said("node", &["examples/journey/main.js", &world.url()], shop());
    assert!(played.ends_with("Every step was observed.\n"), "{played}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_buys_a_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let origin = format!("http://localhost:{port}");
    let world = World::with(Settings::default().with("CORS_ORIGINS", origin)).await;
    let page = shop().join("tests/browser/page.js");
    // The driver is run where its own tools are; the page takes the package from the shop.
    let drive = source().join("build/tests/browser/drive.js");
    let arguments = [
        &*drive.to_string_lossy(),
        &world.url(),
        &port,
        &page.to_string_lossy(),
    ];
    let shown = said("node", &arguments, shop());
    let expected = [
        "registered in 2 attempts",
        "wrong password: UNAUTHENTICATED INVALID_CREDENTIALS, request named",
        "too little balance: FAILED_PRECONDITION INSUFFICIENT_BALANCE, told how much, retry NOTHING",
        "topped up: all of it arrived",
        "ordered: a repeat with the key is the same order",
        "watched: ORDER_PLACED, ORDER_PROVISIONING, ORDER_ACTIVE",
        "waited: done",
        "headers: contract shown, allowance shown",
        "closed: CANCELLED",
        "done",
        "stranger: UNAVAILABLE",
        "done",
        "kept out by its preflight: true",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn many_calls_at_once_are_answered_and_ended() {
    let ended = said("node", &["tests/parallel.js"], shop());
    assert_eq!(ended, "all calls ended\n");
}

#[test]
fn the_runtime_costs_little_over_the_bare_stub() {
    // The ratio itself is the benchmark's to judge; here it has to be measurable.
    let ratio = said("node", &["bench/overhead.js", "3"], shop());
    assert!(ratio.contains("typescript overhead"), "{ratio}");
}
