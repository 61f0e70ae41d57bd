//! The page at which a person pays a sandbox deposit by hand. [B2 R4]

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use http_body_util::BodyExt;
use sewa_sdk::sewa::order::v1::order::State as OrderState;
use sewa_sdk::sewa::order::v1::{GatewayPayment, Payment as OrderPayment, PlaceOrderRequest};
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::Deposit;
use sewa_sdk::sewa::wallet::v1::deposit::{Method as Way, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;
use sewa_tests::http::Answer;
use sewa_tests::{World, refused};

use crate::order::from_wallet;
use crate::shop::{Shop, payments, read};

/// The part of a pay URL after the host, which has to be that of the server.
fn path(world: &World, deposit: &Deposit) -> String {
    let path = deposit.pay_url.strip_prefix(&world.url());
    path.expect("a page of this server").to_owned()
}

async fn send(world: &World, path: &str, form: &str) -> Answer {
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let body = Bytes::from(form.to_owned());
    let http = world.http();
    let answer = http.open(Method::POST, path, &[kind], body).await.unwrap();
    let (head, body) = answer.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Sends a form that is taken, and follows it to the page.
async fn act(world: &World, path: &str, form: &str) -> String {
    let answer = send(world, path, form).await;
    assert_eq!(answer.status.as_u16(), 303, "{form}: {}", answer.text());
    assert_eq!(answer.headers["location"], path);
    let page = world.http().get(path).await;
    assert_eq!(page.status.as_u16(), 200);
    page.text()
}

#[tokio::test]
async fn a_deposit_is_paid_on_its_page_and_the_page_brings_nothing_along() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let deposit = budi.open_deposit(150_000).await;
    let path = path(&world, &deposit);
    let (_, secret) = path.rsplit_once('/').unwrap();
    assert_eq!(secret.len(), 43, "256 bits");
    let page = world.http().get(&path).await;
    assert_eq!(page.status.as_u16(), 200);
    let text = page.text();
    assert!(
        text.contains("Rp 150,000") && text.contains(&deposit.id),
        "{text}"
    );
    assert!(
        !text.contains("<script") && !text.contains("http"),
        "{text}"
    );
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; form-action 'self';"));
    for (name, value) in [
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.headers[name], value);
    }
    let style = world.http().get("/sandbox/pay.css").await;
    assert_eq!(style.headers["content-type"], "text/css; charset=utf-8");

    // Pressed sixteen times, and by the API as well: it is paid once.
    let pay = "action=pay&amount=150000&number=0";
    for answer in join_all((0..16).map(|_| send(&world, &path, pay))).await {
        assert_eq!(answer.status.as_u16(), 303);
    }
    budi.settle(&deposit.id, Outcome::Paid).await.unwrap();
    let paid = read(&budi, &deposit.id).await;
    assert_eq!(payments(&paid), [(Kind::Exact, 150_000, 150_000)]);
    assert_eq!(budi.balance().await, (150_000, 0));
    let text = world.http().get(&path).await.text();
    assert!(
        text.contains("PAID") && !text.contains("Let it expire"),
        "{text}"
    );
}

#[tokio::test]
async fn what_gateways_do_to_payments_can_be_done_by_hand() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let deposit = budi.open_deposit(100_000).await;
    let page = path(&world, &deposit);
    act(&world, &page, "action=expire").await;
    assert_eq!(read(&budi, &deposit.id).await.state(), State::Expired);
    // Too late, then again, then a part of each back.
    act(&world, &page, "action=pay&amount=100000&number=0").await;
    act(&world, &page, "action=pay&amount=60000&number=1").await;
    let back = "action=take_back&amount=40000&number=0&before=0";
    act(&world, &page, back).await;
    let text = act(&world, &page, back).await;
    assert!(
        text.contains("value=\"60000\""),
        "what is left of the first: {text}"
    );
    act(
        &world,
        &page,
        "action=take_back&amount=60000&number=1&before=0",
    )
    .await;
    let seen = read(&budi, &deposit.id).await;
    let expected = [
        (Kind::Late, 100_000, 100_000),
        (Kind::Duplicate, 60_000, 60_000),
        (Kind::Reversal, 40_000, -40_000),
        (Kind::Reversal, 60_000, -60_000),
    ];
    assert_eq!(payments(&seen), expected);
    assert_eq!(budi.balance().await, (60_000, 0));
    for (amount, kind) in [(99_999, Kind::Underpaid), (100_001, Kind::Overpaid)] {
        let deposit = budi.open_deposit(100_000).await;
        let page = path(&world, &deposit);
        act(
            &world,
            &page,
            &format!("action=pay&amount={amount}&number=0"),
        )
        .await;
        let seen = read(&budi, &deposit.id).await;
        assert_eq!(payments(&seen), [(kind, amount, amount)]);
    }
    let refused = budi.open_deposit(100_000).await;
    act(&world, &path(&world, &refused), "action=fail").await;
    assert_eq!(read(&budi, &refused.id).await.state(), State::Failed);
}

#[tokio::test]
async fn a_part_of_an_orders_payment_taken_back_ends_the_order_and_leaves_the_rest() {
    let world =
        World::with(sewa_tests::Settings::default().with("SIMULATOR_BOOT_MS", 20_000)).await;
    let budi = world.reseller().await;
    let request = PlaceOrderRequest {
        payment: OrderPayment::Gateway.into(),
        gateway: Some(GatewayPayment {
            method: Way::Sandbox.into(),
            channel: String::new(),
        }),
        ..from_wallet(budi.draft("web-1").await)
    };
    let reply = budi.orders().place_order(request).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    let deposit = order.deposit.unwrap();
    let total = sewa_tests::actor::rupiah(deposit.amount.as_ref());
    let page = path(&world, &deposit);
    act(
        &world,
        &page,
        &format!("action=pay&amount={total}&number=0"),
    )
    .await;
    budi.wait_order(&order.id, OrderState::Provisioning).await;
    assert_eq!(budi.balance().await, (0, total));
    act(
        &world,
        &page,
        "action=take_back&amount=1000&number=0&before=0",
    )
    .await;
    let ended = budi.wait_order(&order.id, OrderState::Cancelled).await;
    assert_eq!(ended.failure.unwrap().reason, "PAYMENT_REVERSED");
    assert_eq!(budi.balance().await, (total - 1000, 0));
    let told = crate::order_payment::credits(&budi, &order.id, 1).await;
    assert_eq!(told, [(total - 1000, "REVERSAL".to_owned())]);
}

#[tokio::test]
async fn nobody_gets_anywhere_without_the_whole_address_and_nonsense_changes_nothing() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let (deposit, other) = (
        budi.open_deposit(50_000).await,
        budi.open_deposit(60_000).await,
    );
    let (page, theirs) = (path(&world, &deposit), path(&world, &other));
    let (place, secret) = page.rsplit_once('/').unwrap();
    let (other_place, _) = theirs.rsplit_once('/').unwrap();
    let pay = "action=pay&amount=50000&number=0";
    let mut answers = Vec::new();
    for wrong in [
        format!("{place}/{}", &secret[1..]),
        format!("{place}/{secret}x"),
        format!("{place}/x"),
        format!("{other_place}/{secret}"),
        format!("/sandbox/pay/{}/{secret}", sewa_tests::NOBODYS_ID),
        format!("/sandbox/pay/nonsense/{secret}"),
    ] {
        let answer = world.http().get(&wrong).await;
        assert_eq!(answer.status.as_u16(), 404, "{wrong}");
        answers.push(answer.text());
        assert_eq!(
            send(&world, &wrong, pay).await.status.as_u16(),
            404,
            "{wrong}"
        );
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "they look the same");
    for nonsense in [
        "",
        "action=pay",
        "action=pay&amount=0&number=0",
        "action=pay&amount=-5&number=0",
        "action=pay&amount=1000000001&number=0",
        "action=pay&amount=12x&number=0",
        "action=pay&amount=5&number=-1",
        "action=steal&amount=5&number=0",
        "action=take_back&amount=5&number=0",
    ] {
        let answer = send(&world, &page, nonsense).await;
        assert_eq!(answer.status.as_u16(), 400, "{nonsense}");
    }
    for closed in [
        "action=pay&amount=5&number=1",
        "action=take_back&amount=5&number=0&before=0",
    ] {
        let answer = send(&world, &page, closed).await;
        assert_eq!(answer.status.as_u16(), 409, "{closed}");
    }
    let long = format!("action=pay&amount=5&number=0&x={}", "x".repeat(2000));
    assert_eq!(send(&world, &page, &long).await.status.as_u16(), 400);
    let put = world.http().send(Method::PUT, &page, &[], None).await;
    assert_eq!(put.status.as_u16(), 405);
    for deposit in [&deposit, &other] {
        assert_eq!(read(&budi, &deposit.id).await.state(), State::Pending);
    }
    assert_eq!(budi.balance().await, (0, 0));
}

#[tokio::test]
async fn deposits_for_money_have_no_such_page() {
    let shop = Shop::open(60_000).await;
    let deposit = shop.deposit(50_000).await;
    assert!(!deposit.pay_url.contains("/sandbox/pay/"), "{deposit:?}");
    let (_, last) = deposit.pay_url.rsplit_once('/').unwrap_or_default();
    let page = format!("/sandbox/pay/{}/{last}", deposit.id);
    let answer = send(&shop.world, &page, "action=pay&amount=50000&number=0").await;
    assert_eq!(answer.status.as_u16(), 404);
    assert_eq!(shop.budi.balance().await, (0, 0));
    let settled = shop.budi.settle(&deposit.id, Outcome::Paid).await;
    assert!(refused(settled).is("SANDBOX_ONLY"));
}
