//! The Rust SDK as its users get it: the packaged `.crate`, unpacked in an empty folder, and a program that depends on nothing else of this repository.

use std::path::Path;
use std::process::Command;

const PROGRAM: &str = r#"
use std::time::SystemTime;

use sewa_sdk::webhook::{self, Secret};
use sewa_sdk::{Client, Credentials, Error};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let client = Client::builder("http://127.0.0.1:1").credentials(Credentials::from_env()?).build()?;
    let method = client.raw("sewa.wallet.v1.WalletService/GetWallet")?;
    assert!(method.json("[]").await.is_err());
    let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
    let headers = webhook::sign(&secret, "msg_1", SystemTime::now(), b"{}");
    webhook::verify(&[secret], &headers, b"{}", SystemTime::now(), webhook::TOLERANCE).expect("our own");
    println!("{}", sewa_sdk::contract_digest());
    Ok(())
}
"#;

const MANIFEST: &str = r#"
[package]
name = "shop"
version = "0.0.0"
edition = "2024"

[dependencies]
sewa-sdk = { path = "../sewa-sdk" }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[profile.dev]
debug = false

[workspace]
"#;

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn the_packaged_sdk_builds_and_works_in_an_empty_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // Kept between runs: compiling the dependencies takes a minute.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    let cargo = env!("CARGO");
    let package = [
        "package",
        "--locked",
        "--no-verify",
        "--allow-dirty",
        "--quiet",
    ];
    run(Command::new(cargo)
        .args(package)
        .args(["-p", "sewa-sdk", "--target-dir"])
        .arg(&built)
        .current_dir(&root));

    let empty = tempfile::tempdir().expect("an empty folder");
    let name = format!("sewa-sdk-{}", env!("CARGO_PKG_VERSION"));
    run(Command::new("tar")
        .arg("-xzf")
        .arg(built.join(format!("package/{name}.crate")))
        .current_dir(empty.path()));
    let write = |path: &str, text: &str| {
        std::fs::write(empty.path().join(path), text).expect("writing the program");
    };
    std::fs::rename(empty.path().join(&name), empty.path().join("sewa-sdk")).expect("renaming");
    std::fs::create_dir_all(empty.path().join("shop/src")).expect("a folder");
    write("shop/Cargo.toml", MANIFEST);
    write("shop/src/main.rs", PROGRAM);
    // The versions this repository was tested with; those the program does not need are dropped from the copy.
    std::fs::copy(
        root.join("Cargo.lock"),
        empty.path().join("shop/Cargo.lock"),
    )
    .expect("a lock");
    let digest = run(Command::new(cargo)
        .args(["run", "--offline", "--quiet", "--target-dir"])
        .arg(&built)
        .current_dir(empty.path().join("shop")));
    assert_eq!(digest, sewa_sdk::contract_digest());
}
