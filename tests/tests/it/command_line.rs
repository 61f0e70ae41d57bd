//! The API from a terminal: `sewa login`, `sewa call`, and the commands of `docs/grpcurl.md`. [C5]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sewa_tests::World;
use sewa_tests::server::binary;
use sewa_tests::world::PASSWORD;

/// A terminal of somebody with a home of their own.
struct Terminal {
    home: tempfile::TempDir,
    path: String,
}

impl Terminal {
    fn new() -> Self {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin");
        let binary = binary().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        Self {
            home: tempfile::tempdir().unwrap(),
            path: format!(
                "{}:{}:{path}",
                binary.parent().unwrap().display(),
                tools.display()
            ),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let ours = |name: &str| name.starts_with("SEWA_");
        command
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| !ours(name)))
            .env("PATH", &self.path)
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .current_dir(self.home.path());
        command
    }

    fn sewa(&self, arguments: &[&str], input: &str) -> Output {
        let input_file = self.home.path().join("input");
        std::fs::write(&input_file, input).unwrap();
        self.command("sewa")
            .args(arguments)
            .stdin(Stdio::from(std::fs::File::open(input_file).unwrap()))
            .output()
            .unwrap()
    }

    fn login(&self, world: &World, email: &str) {
        let endpoint = world.url();
        let arguments = ["login", "--email", email, "--endpoint", &endpoint];
        said(&self.sewa(&arguments, &format!("{PASSWORD}\n")));
    }

    fn profile(&self) -> PathBuf {
        self.home.path().join("config/sewa/default.json")
    }
}

fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_kept_for_its_owner_alone_until_it_is_ended() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(75_000).await;
    let terminal = Terminal::new();
    terminal.login(&world, &budi.email);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&terminal.profile()), 0o600);
    assert_eq!(mode(terminal.profile().parent().unwrap()), 0o700);

    let wallet = said(&terminal.sewa(&["call", "GetWallet"], ""));
    assert!(wallet.contains(r#""units":"75000""#), "{wallet}");
    let deposit =
        r#"{"amount": {"currencyCode": "IDR", "units": "50000"}, "method": "METHOD_SANDBOX"}"#;
    let arguments = ["call", "WalletService/CreateDeposit", "-", "--key", "once"];
    let first = said(&terminal.sewa(&arguments, deposit));
    assert_eq!(
        said(&terminal.sewa(&arguments, deposit)),
        first,
        "the key makes it one"
    );

    said(&terminal.sewa(&["logout"], ""));
    assert!(!terminal.profile().exists());
    let nobody = refused(&terminal.sewa(&["call", "GetWallet", "--endpoint", &world.url()], ""));
    assert!(nobody.contains("UNAUTHENTICATED"), "{nobody}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_is_renewed_and_the_new_one_kept() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let terminal = Terminal::new();
    terminal.login(&world, &budi.email);
    let read = || -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(terminal.profile()).unwrap()).unwrap()
    };
    for _ in 0..2 {
        let mut old = read();
        old["access_expire_time"] = "2020-01-01T00:00:00Z".into();
        std::fs::write(terminal.profile(), old.to_string()).unwrap();
        said(&terminal.sewa(&["call", "GetCaller"], ""));
        assert_ne!(read()["refresh_token"], old["refresh_token"]);
    }
    let token = said(&terminal.sewa(&["token"], ""));
    assert_eq!(read()["access_token"], token.trim());

    let mut gone = read();
    gone["access_expire_time"] = "2020-01-01T00:00:00Z".into();
    gone["refresh_token"] = "spent".into();
    std::fs::write(terminal.profile(), gone.to_string()).unwrap();
    let over = refused(&terminal.sewa(&["call", "GetCaller"], ""));
    assert!(over.contains("sewa login"), "{over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_printed_as_it_comes_and_blocks_no_other_call() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let terminal = Terminal::new();
    terminal.login(&world, &budi.email);
    let mut watch = terminal
        .command("sewa")
        .args(["call", "WatchEvents", r#"{"checkpoints": true}"#])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("checkpoint"), "{first}");
    budi.deposit(75_000).await;
    let next = lines.next().unwrap().unwrap();
    assert!(next.contains("EVENT_TYPE_DEPOSIT_CREATED"), "{next}");
    said(&terminal.sewa(&["call", "GetWallet"], ""));
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_what_to_do() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let terminal = Terminal::new();
    let endpoint = world.url();
    let wrong = ["login", "--email", &budi.email, "--endpoint", &endpoint];
    let refusal = refused(&terminal.sewa(&wrong, "not it\n"));
    assert!(refusal.contains("INVALID_CREDENTIALS"), "{refusal}");
    assert!(!terminal.profile().exists());

    terminal.login(&world, &budi.email);
    for (arguments, words) in [
        (&["call", "GetMoon"][..], &["no method GetMoon"][..]),
        (
            &["call", "GetOrder", "{\"orderId\": \"x\"}"],
            &["INVALID_REQUEST", "order_id", "Correct the fields"],
        ),
        (&["call", "GetOrder", "{\"moon\": 1}"], &["moon"]),
        (&["call", "GetOrder", "{"], &["not a GetOrderRequest"]),
        (
            &["call", "GetCaller", "--profile", "other"],
            &["no profile other", "sewa login"],
        ),
        (
            &["call", "GetCaller", "--profile", "../x"],
            &["letters, digits"],
        ),
        (
            &["call", "GetCaller", "--endpoint", "http://127.0.0.1:1"],
            &["not shown to another server"],
        ),
        (
            &["call", "GetCaller", "-H", "bad header: 1"],
            &["no header"],
        ),
    ] {
        let refusal = refused(&terminal.sewa(arguments, ""));
        for word in words {
            assert!(refusal.contains(word), "{word:?} is not in: {refusal}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twenty_commands_work_when_pasted() {
    let text = include_str!("../../../docs/grpcurl.md");
    let blocks: Vec<&str> = text
        .split("\n```console\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("\n```"))
        .map(|(block, _)| block)
        .collect();
    let script = blocks.join("\n");
    let calls = script.matches(" $GRPC ").count();
    assert!(calls >= 20, "{calls} commands");

    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let instance = budi.running("grpcurl-1").await;
    let placed = budi.buy("grpcurl-2").await;
    budi.wait_active(&placed).await;
    let admin = world.staff("admin").await;
    let terminal = Terminal::new();
    terminal.login(&world, &admin.email);
    let output = terminal
        .command("bash")
        .args(["-c", &format!("set -eu -o pipefail\nset -x\n{script}")])
        .env("GRPC", world.servers[0].address().to_string())
        .env("ACCOUNT", &budi.account_id)
        .env("ORDER", &placed.order.id)
        .env("INSTANCE", &instance.id)
        .env("PLAN", budi.plan().await.id)
        .output()
        .unwrap();
    let all = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{all}");
    for word in [
        "SERVING",
        "STATE_SUCCEEDED",
        "grpcurl-1",
        "invoiced",
        "79000",
    ] {
        assert!(all.contains(word), "{word} is not in:\n{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_and_confirming_with_a_code_works_from_a_terminal() {
    use sewa_sdk::sewa::identity::v1::{ConfirmSecondFactorRequest, CreateSecondFactorRequest};
    let world = World::new().await;
    let budi = world.reseller().await;
    let mut identity = budi.identity();
    let made = identity
        .create_second_factor(CreateSecondFactorRequest {})
        .await
        .unwrap()
        .into_inner();
    let secret = totp_rs::Secret::try_from_base32(&made.secret).unwrap();
    let phone = totp_rs::Builder::new().with_secret(secret).build().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let code = phone.generate(now.as_secs()).to_string();
    let codes = identity
        .confirm_second_factor(ConfirmSecondFactorRequest { code })
        .await
        .unwrap()
        .into_inner()
        .recovery_codes;
    let terminal = Terminal::new();
    let endpoint = world.url();
    let login = ["login", "--email", &budi.email, "--endpoint", &endpoint];
    let errors = refused(&terminal.sewa(&login, &format!("{PASSWORD}\n")));
    assert!(errors.contains("SECOND_FACTOR_REQUIRED"), "{errors}");
    said(&terminal.sewa(&login, &format!("{PASSWORD}\n{}\n", codes[0])));
    sqlx::query("update refresh_families set confirmed_at = confirmed_at - interval '1 hour'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    let make = [
        "call",
        "CreateApiKey",
        r#"{"displayName": "shop", "scopes": ["orders"]}"#,
    ];
    let errors = refused(&terminal.sewa(&make, ""));
    assert!(
        errors.contains("STEP_UP_REQUIRED") && errors.contains("Call StepUp"),
        "{errors}"
    );
    let confirm = format!(r#"{{"code": "{}"}}"#, codes[1]);
    said(&terminal.sewa(&["call", "StepUp", &confirm], ""));
    let key = said(&terminal.sewa(&make, ""));
    assert!(key.contains("sk_"), "{key}");
}
