//! The description of the API, held against two validators and against what the server does. [C3]

use std::path::{Path, PathBuf};
use std::process::Command;

use http::Method;
use serde_json::{Value, json};
use sewa_tests::{Actor, World};

/// What `tools/setup` has unpacked.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// Runs a program of `tools/setup` and returns what it said.
///
/// # Panics
/// If it fails, with all it said.
fn run(command: &mut Command) -> String {
    let (succeeded, said) = try_run(command);
    assert!(succeeded, "{command:?}\n{said}");
    said
}

fn try_run(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: run tools/setup"));
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", tools().join("openapi-checks"));
    command
}

async fn document(world: &World) -> Value {
    world.http().get("/openapi.json").await.ok()
}

#[tokio::test]
async fn the_document_is_openapi_to_two_validators() {
    let world = World::new().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), document(&world).await.to_string()).expect("writing");
    run(python()
        .args(["-m", "openapi_spec_validator"])
        .arg(file.path()));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/validate-openapi.mjs");
    run(Command::new("node")
        .arg(script)
        .arg(tools().join("npm"))
        .arg(file.path()));
}

/// The reasons that an operation lists for a status.
fn reasons<'a>(document: &'a Value, operation: &Value, status: &str) -> &'a [Value] {
    let shared = operation["responses"][status]["$ref"].as_str();
    let place = shared.expect("a shared response").trim_start_matches('#');
    let response = document.pointer(place).expect("a response");
    response["x-error-reasons"].as_array().expect("reasons")
}

#[tokio::test]
async fn the_document_says_what_the_contract_says() {
    let world = World::new().await;
    let document = document(&world).await;
    let place = &document["paths"]["/v1/orders"]["post"];
    assert_eq!(place["x-permission"], "orders.place");
    assert_eq!(
        place["security"],
        json!([{"accessToken": ["orders.place"]}, {"apiKey": ["orders.place"]}])
    );
    assert_eq!(place["x-deadline"], json!({"default": "10s", "max": "30s"}));
    assert_eq!(
        place["requestBody"]["content"]["application/json"]["example"]["draft"]["hostname"],
        "web-1"
    );
    assert!(
        place["parameters"]
            .as_array()
            .expect("parameters")
            .contains(&json!({"$ref": "#/components/parameters/IdempotencyKeyRequired"}))
    );
    let refused = reasons(&document, place, "400");
    for reason in [
        "PRICE_CHANGED",
        "INSUFFICIENT_BALANCE",
        "IDEMPOTENCY_KEY_REQUIRED",
    ] {
        assert!(refused.contains(&json!(reason)), "{reason}: {refused:?}");
    }
    let take_away = &document["paths"]["/v1/second-factor"]["delete"];
    assert_eq!(
        (&take_away["x-step-up"], place.get("x-step-up")),
        (&json!(true), None)
    );
    for (operation, confirmed) in [(take_away, true), (place, false)] {
        let refused = reasons(&document, operation, "403");
        assert_eq!(
            refused.contains(&json!("STEP_UP_REQUIRED")),
            confirmed,
            "{refused:?}"
        );
    }
    assert_eq!(
        document["x-error-reasons"]["PRICE_CHANGED"]["retry"],
        "UNIT_OF_WORK"
    );
    let draft = &document["components"]["schemas"]["OrderDraft"];
    assert_eq!(draft["properties"]["hostname"]["maxLength"], 63);
    assert_eq!(draft["properties"]["labels"]["maxProperties"], 32);
    let months = &draft["properties"]["period"]["enum"];
    assert!(
        months
            .as_array()
            .is_some_and(|all| !all.contains(&json!("BILLING_PERIOD_HOUR"))),
        "{months}"
    );
    assert_eq!(
        document["components"]["schemas"]["LoginRequest"]["properties"]["password"]["writeOnly"],
        true
    );
    assert_eq!(
        document["paths"]["/v1/auth:login"]["post"]["security"],
        json!([])
    );
    // Every method of the contract that has a binding is there, under the name the server knows it by.
    let described: Vec<&str> = document["paths"]
        .as_object()
        .into_iter()
        .flat_map(|paths| paths.values())
        .flat_map(|item| item.as_object().into_iter().flat_map(|item| item.values()))
        .filter_map(|operation| operation["x-grpc-method"].as_str())
        .collect();
    let permissions = world.http().get("/v1/permissions?pageSize=200").await.ok();
    for method in permissions["methods"].as_array().expect("methods") {
        assert!(
            described
                .iter()
                .any(|name| Some(*name) == method["method"].as_str()),
            "{method} is not described"
        );
    }
}

#[tokio::test]
async fn the_page_needs_nobody_else_and_is_sent_once() {
    let world = World::new().await;
    let http = world.http();
    for path in [
        "/openapi.json",
        "/docs",
        "/docs/page.js",
        "/docs/operation.js",
        "/docs/page.css",
    ] {
        let first = http.get(path).await;
        assert_eq!(first.status, 200, "{path}");
        let etag = first.headers["etag"].to_str().expect("an etag").to_owned();
        let policy = first.headers["content-security-policy"]
            .to_str()
            .expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let again = http
            .send(Method::GET, path, &[("if-none-match", &etag)], None)
            .await;
        assert_eq!(
            (again.status.as_u16(), again.body.len()),
            (304, 0),
            "{path}"
        );
        let packed = http
            .send(Method::GET, path, &[("accept-encoding", "gzip")], None)
            .await;
        assert_eq!(packed.headers["content-encoding"], "gzip", "{path}");
        assert!(packed.body.len() < first.body.len(), "{path}");
        let wrong = http.send(Method::POST, path, &[], None).await;
        assert_eq!(
            (wrong.status.as_u16(), &wrong.headers["allow"]),
            (405, &"GET, HEAD".parse().expect("a header")),
            "{path}"
        );
        assert!(
            path == "/openapi.json" || !first.text().contains("://"),
            "{path} names another host"
        );
    }
}

/// Names things that exist in paths and bodies, so that calls get past NOT_FOUND.
async fn parameters(budi: &Actor) -> String {
    budi.deposit(5_000_000).await;
    let placed = budi.buy("described").await;
    let order = budi.wait_active(&placed).await;
    let plan = order.draft.as_ref().map_or("", |draft| &draft.plan_id);
    let lines = [
        ("path.orderId", order.id.as_str()),
        ("path.operationId", &placed.operation.id),
        ("path.instanceId", &order.instance_id),
        ("path.planId", plan),
        ("path.accountId", &budi.account_id),
    ];
    let lines = lines
        .iter()
        .map(|(name, value)| format!("\"{name}\" = \"{value}\"\n"));
    format!("[parameters]\n{}", lines.collect::<String>())
}

/// Thousands of calls made from the document, good and bad ones. Every answer has to be one that the document announces: status, reason, type, members.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_does_what_the_document_says() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let boss = world.staff("super_admin").await;
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("schemathesis.toml");
    std::fs::write(&settings, parameters(&budi).await).expect("writing");
    for (who, examples) in [(&budi, "6"), (&boss, "3")] {
        // What is to be confirmed within ten minutes is asked for during the whole of the run.
        let who = world.login(&who.email).await;
        let (succeeded, said) = tokio::task::block_in_place(|| {
            try_run(
                python()
                    .current_dir(folder.path())
                    .env(
                        "SCHEMATHESIS_HOOKS",
                        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/openapi_checks.py"),
                    )
                    .args(["-m", "schemathesis.cli", "--config-file"])
                    .arg(&settings)
                    .args(["run", &format!("{}/openapi.json", world.url())])
                    .args([
                        "--header",
                        &format!("authorization: Bearer {}", who.tokens.access_token),
                    ])
                    // An account made up here would be one at a real provider, which no test may call.
                    .args(["--exclude-name", "POST /v1/provider-accounts"])
                    // Streams and waits end by themselves, long before a call counts as one that was never answered.
                    .args(["--header", "grpc-timeout: 2S"])
                    .args(["--request-timeout", "10"])
                    .args([
                        "--checks",
                        CHECKS,
                        "--phases",
                        "coverage,fuzzing",
                        "--max-examples",
                        examples,
                    ])
                    .args([
                        "--seed",
                        "20250101",
                        "--generation-database",
                        "none",
                        "--workers",
                        "1",
                        "--no-color",
                    ]),
            )
        });
        assert!(succeeded, "{said}\n{}", world.servers[0].last_words());
    }
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,\
    unsupported_method,missing_required_header,documented_reason";
