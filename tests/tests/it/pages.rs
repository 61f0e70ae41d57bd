//! What machines watch and operators do: pages, graceful stop, settings, subcommands. [M3]

use std::process::Command;
use std::time::Instant;

use sewa_sdk::sewa::meta::v1::meta_service_client::MetaServiceClient;
use sewa_sdk::sewa::meta::v1::{GetServerInfoRequest, ListErrorReasonsRequest};
use sewa_sdk::sewa::operation::v1::WaitOperationRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::patience::eventually;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Settings, World, server};

use crate::instance::{Verb, ask};

#[tokio::test]
async fn a_server_is_alive_ready_and_counted() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.balance().await;
    for page in ["/healthz", "/readyz"] {
        assert_eq!(world.http().get(page).await.status.as_u16(), 200, "{page}");
    }
    let metrics = world.http().get("/metrics").await.text();
    let line = metrics.lines().find(|line| {
        line.starts_with("sewa_calls_total")
            && line.contains("WalletService/GetWallet")
            && line.contains("OK")
    });
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    assert!(metrics.contains("sewa_call_seconds"));
}

#[tokio::test]
async fn a_server_without_its_database_is_alive_but_not_ready() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let mut database = world.behind_the_scenes().await;
    let name: String = sqlx::Row::get(
        &sqlx::query("select current_database()::text")
            .fetch_one(&mut database)
            .await
            .unwrap(),
        0,
    );
    // A new world is asked for on another database of the same PostgreSQL, so that this one can be closed.
    let other = World::new().await;
    let mut neighbour = other.behind_the_scenes().await;
    let run = async |neighbour: &mut sqlx::PgConnection, statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(neighbour)
            .await
            .unwrap()
    };
    drop(database);
    run(
        &mut neighbour,
        format!("alter database {name} with allow_connections false"),
    )
    .await;
    run(
        &mut neighbour,
        format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"),
    )
    .await;
    eventually("the server says that it is not ready", || async {
        match world.http().get("/readyz").await.status.as_u16() {
            503 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert_eq!(world.http().get("/healthz").await.status.as_u16(), 200);
    let answer = world
        .http()
        .bearer(&budi.tokens.access_token)
        .get("/v1/wallet")
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (503, "UNAVAILABLE")
    );
    run(
        &mut neighbour,
        format!("alter database {name} with allow_connections true"),
    )
    .await;
    // The SDK repeats until the database is back; nobody has to restart the server.
    assert_eq!(budi.balance().await, (0, 0));
    assert_eq!(world.http().get("/readyz").await.status.as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_finishes_what_is_in_flight() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let machine = budi.running("web-1").await;
    budi.inject(FaultKind::Error, 0).await;
    let stuck = ask(&budi, Verb::Reboot, &machine.id, "").await.unwrap();
    // A call that is still being answered when the signal comes.
    let waiting = tokio::spawn({
        let mut operations = budi.operations();
        let timeout = Some(prost_types::Duration {
            seconds: 3,
            nanos: 0,
        });
        async move {
            operations
                .wait_operation(sewa_tests::once(WaitOperationRequest {
                    operation_id: stuck.id,
                    timeout,
                }))
                .await
        }
    });
    eventually("the call is in flight", || async {
        let open = world.http().get("/metrics").await;
        if open.status.is_success() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    tokio::task::yield_now().await;
    let asked = Instant::now();
    let code = tokio::task::block_in_place(|| world.server().stop()).unwrap();
    assert_eq!(code, 0);
    assert!(asked.elapsed().as_secs() < 20, "{:?}", asked.elapsed());
    let answer = waiting.await.unwrap();
    assert!(answer.is_ok(), "{answer:?}");
    world.server().start_again().unwrap();
    budi.sandbox()
        .clear_faults(sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest {})
        .await
        .unwrap();
    budi.wait_instance(&machine.id, "has rebooted", |instance| {
        instance.operation_id.is_empty()
    })
    .await;
}

fn sewa(arguments: &[&str], settings: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(server::binary().unwrap());
    command
        .args(arguments)
        .env_clear()
        .envs(settings.iter().copied());
    let output = command.output().unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr),
    )
}

#[test]
fn wrong_settings_are_named_all_at_once() {
    let settings = [
        ("SEWA_MASTER_KEY", "short"),
        ("SEWA_DATABASE_CONNECTIONS", "1"),
        ("SEWA_LOG_FORMAT", "xml"),
        ("SEWA_RATES__LOGIN", "0"),
        ("SEWA_LISTEN", "127.0.0.1:0"),
    ];
    let (ok, said) = sewa(&["serve"], &settings);
    assert!(!ok);
    for word in [
        "SEWA_DATABASE_URL",
        "SEWA_MASTER_KEY",
        "database_connections",
        "log_format",
        "rates.login",
    ] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
    let (ok, said) = sewa(&["serve"], &[("SEWA_LISTEN", "nowhere")]);
    assert!(!ok && said.contains("listen"), "{said}");
}

#[test]
fn help_is_there_for_newcomers() {
    let (_, said) = sewa(&["--help"], &[]);
    for word in [
        "dev",
        "serve",
        "migrate",
        "catalogue",
        "user",
        "key",
        "prove",
    ] {
        assert!(said.contains(word), "{word} is not in:\n{said}");
    }
}

#[tokio::test]
async fn subcommands_repeat_safely_and_refuse_nonsense() {
    let world = World::new().await;
    for _ in 0..2 {
        world.sewa(&["migrate"], "").unwrap();
        world.sewa(&["catalogue"], "").unwrap();
    }
    let add = |email: &str, role: &str, password: &str| {
        world.sewa(&["user", "add", "--email", email, "--role", role], password)
    };
    add("ani@example.com", "finance", PASSWORD).unwrap();
    assert!(add("ani@example.com", "finance", PASSWORD).is_err_and(|said| said.contains("taken")));
    assert!(add("tuti@example.com", "emperor", PASSWORD).is_err());
    assert!(
        add("tuti@example.com", "support", "short").is_err_and(|said| said.contains("characters"))
    );
    assert!(
        world
            .sewa(&["user", "list"], "")
            .unwrap()
            .contains("ani@example.com finance")
    );
    let budi = world.reseller().await;
    let made = world
        .sewa(
            &[
                "key",
                "create",
                "--account-email",
                &budi.email,
                "--scopes",
                "wallet.read",
                "--name",
                "by hand",
            ],
            "",
        )
        .unwrap();
    let secret = made
        .lines()
        .find(|line| line.starts_with("sk_"))
        .expect("a secret")
        .trim()
        .to_owned();
    let shop = budi.through(world.client(sewa_sdk::Credentials::api_key(secret)));
    assert_eq!(shop.balance().await, (0, 0));
    world
        .sewa(&["user", "suspend", "--email", &budi.email], "")
        .unwrap();
    let request = sewa_sdk::sewa::identity::v1::LoginRequest {
        email: budi.email.clone(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        sewa_tests::reason_of(budi.identity().login(request.clone()).await),
        "ACCOUNT_SUSPENDED"
    );
    world
        .sewa(&["user", "suspend", "--email", &budi.email, "--lift"], "")
        .unwrap();
    budi.identity().login(request).await.unwrap();
}

#[tokio::test]
async fn tokens_outlive_a_rotation_of_the_signing_key() {
    let world = World::with(Settings::default()).await;
    let budi = world.reseller().await;
    let before = world.sewa(&["key", "list"], "").unwrap().lines().count();
    world.sewa(&["key", "rotate-signing"], "").unwrap();
    assert_eq!(
        world.sewa(&["key", "list"], "").unwrap().lines().count(),
        before + 1
    );
    assert_eq!(budi.balance().await, (0, 0));
    let anew = world.login(&budi.email).await;
    assert_eq!(anew.balance().await, (0, 0));
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let world = World::new().await;
    let mut meta = world.nobody().service(MetaServiceClient::new);
    let info = meta
        .get_server_info(GetServerInfoRequest {})
        .await
        .unwrap()
        .into_inner()
        .info
        .unwrap();
    assert_eq!(info.contract_digest, sewa_sdk::contract_digest());
    assert!(!info.version.is_empty());
    let reasons = meta
        .list_error_reasons(ListErrorReasonsRequest {
            page_size: 200,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .reasons;
    let insufficient = reasons
        .iter()
        .find(|reason| reason.reason == "INSUFFICIENT_BALANCE")
        .unwrap();
    assert_eq!(
        (insufficient.code.as_str(), insufficient.remedy.is_empty()),
        ("FAILED_PRECONDITION", false)
    );
}
