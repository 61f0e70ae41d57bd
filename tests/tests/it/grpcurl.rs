//! What people do at a terminal. [C5]

use std::path::Path;
use std::process::{Command, Output};

use sewa_tests::{Actor, World};

/// `grpcurl` on PATH, or where `tools/setup` puts it. The platform is meant to be used with it, so a machine without it cannot say that all is well.
fn grpcurl(world: &World, arguments: &[&str]) -> Output {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/grpcurl");
    let program = if own.exists() { own } else { "grpcurl".into() };
    let address = world.servers[0].address().to_string();
    let (last, flags): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| !argument.starts_with("flag:"));
    let mut command = Command::new(program);
    command.args(["-plaintext", "-max-time", "20"]);
    command.args(
        flags
            .iter()
            .flat_map(|flag| flag.trim_start_matches("flag:").splitn(2, ' ')),
    );
    command
        .arg(address)
        .args(last)
        .output()
        .expect("grpcurl is installed: run tools/setup")
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn authorization(somebody: &Actor) -> String {
    format!(
        "flag:-H authorization: Bearer {}",
        somebody.tokens.access_token
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_every_service_and_its_methods() {
    let world = World::new().await;
    let listed = said(&grpcurl(&world, &["list"]));
    let services = sewa_sdk::pool()
        .services()
        .filter(|service| service.full_name().starts_with("sewa."))
        .map(|s| s.full_name().to_owned());
    for service in services.chain(["grpc.health.v1.Health".to_owned()]) {
        assert!(
            listed.lines().any(|line| line == service),
            "{service} is not in {listed}"
        );
    }
    assert!(
        said(&grpcurl(&world, &["list", "sewa.order.v1.OrderService"]))
            .contains("sewa.order.v1.OrderService.PlaceOrder")
    );
    let health = said(&grpcurl(&world, &["grpc.health.v1.Health/Check"]));
    assert!(health.contains("SERVING"), "{health}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_describes_methods_as_a_manual_would() {
    let world = World::new().await;
    let method = said(&grpcurl(
        &world,
        &["describe", "sewa.order.v1.OrderService.PlaceOrder"],
    ));
    for word in [
        "rpc PlaceOrder",
        "Places an order",
        "Example request:",
        "INSUFFICIENT_BALANCE",
        "orders.place",
    ] {
        assert!(method.contains(word), "{word:?} is not in:\n{method}");
    }
    let message = said(&grpcurl(&world, &["describe", "sewa.order.v1.OrderDraft"]));
    assert!(
        message.contains("Host name") && message.contains("string hostname"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_calls_and_says_readably_what_is_wrong() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(75_000).await;
    let wallet = said(&grpcurl(
        &world,
        &[
            &authorization(&budi),
            "sewa.wallet.v1.WalletService/GetWallet",
        ],
    ));
    assert!(wallet.contains("\"units\": \"75000\""), "{wallet}");
    let plans = said(&grpcurl(
        &world,
        &[
            "flag:-d {\"pageSize\": 1}",
            "sewa.catalog.v1.CatalogService/ListPlans",
        ],
    ));
    assert!(plans.contains("\"nextPageToken\""), "{plans}");
    let refused = grpcurl(
        &world,
        &[
            &authorization(&budi),
            "flag:-d {\"orderId\": \"x\"}",
            "sewa.order.v1.OrderService/GetOrder",
        ],
    );
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr);
    for word in [
        "InvalidArgument",
        "order_id",
        "must be a UUID",
        "INVALID_REQUEST",
    ] {
        assert!(words.contains(word), "{word:?} is not in:\n{words}");
    }
}
