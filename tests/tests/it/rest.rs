//! The same platform as JSON over HTTP. [C3 C8 C9, R46 R47]

use http::Method;
use serde_json::{Value, json};
use sewa_tests::http::Http;
use sewa_tests::patience::eventually;
use sewa_tests::world::PASSWORD;
use sewa_tests::{NOBODYS_ID, World};

/// A write, with the key that some of them need.
async fn write(http: &Http, path: &str, key: &str, body: Value) -> Value {
    http.send(Method::POST, path, &[("idempotency-key", key)], Some(body))
        .await
        .ok()
}

async fn first(http: &Http, path: &str, list: &str) -> Value {
    http.get(path).await.ok()[list][0].clone()
}

#[tokio::test]
async fn a_resellers_day_goes_the_same_way_in_json() {
    let world = World::new().await;
    let nobody = world.http();
    let registered = write(
        &nobody,
        "/v1/auth:register",
        "reg-1",
        json!({"email": "rest@example.com", "password": PASSWORD, "name": "Budi", "accountName": "Toko Budi", "accountKind": "ACCOUNT_KIND_RESELLER", "sandbox": true}),
    )
    .await;
    let budi = nobody.bearer(registered["tokens"]["accessToken"].as_str().unwrap());
    let caller = budi.get("/v1/caller").await.ok();
    assert_eq!(caller["accountId"], registered["accountId"]);

    let deposit = write(
        &budi,
        "/v1/wallet/deposits",
        "dep-1",
        json!({"amount": {"currencyCode": "IDR", "units": "1000000"}, "method": "METHOD_SANDBOX"}),
    )
    .await;
    assert_eq!(
        (deposit["state"].as_str(), &deposit["amount"]["units"]),
        (Some("STATE_PENDING"), &json!("1000000"))
    );
    write(
        &budi,
        &format!(
            "/v1/sandbox/deposits/{}:settle",
            deposit["id"].as_str().unwrap()
        ),
        "set-1",
        json!({"outcome": "OUTCOME_PAID"}),
    )
    .await;
    assert_eq!(
        budi.get("/v1/wallet").await.ok()["available"],
        json!({"currencyCode": "IDR", "units": "1000000", "nanos": 0})
    );

    let (plan, region, image) = (
        first(&nobody, "/v1/plans", "plans").await,
        first(&nobody, "/v1/regions", "regions").await,
        first(&nobody, "/v1/images", "images").await,
    );
    let draft = json!({"planId": plan["id"], "regionId": region["id"], "imageId": image["id"], "period": "BILLING_PERIOD_MONTH", "hostname": "web-1"});
    let quote = budi
        .post("/v1/orders:preview", json!({"draft": draft}))
        .await
        .ok();
    let placed = write(
        &budi,
        "/v1/orders",
        "ord-1",
        json!({"draft": draft, "payment": "PAYMENT_WALLET", "expectedTotal": quote["total"]}),
    )
    .await;
    assert_eq!(placed["order"]["quote"]["total"], quote["total"]);
    let operation = format!(
        "/v1/operations/{}",
        placed["operation"]["id"].as_str().unwrap()
    );
    eventually("the order is fulfilled", || async {
        let now = budi
            .get(&format!("{operation}:wait?timeout=10s"))
            .await
            .ok();
        if now["state"] == "STATE_SUCCEEDED" {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let order = budi
        .get(&format!(
            "/v1/orders/{}",
            placed["order"]["id"].as_str().unwrap()
        ))
        .await
        .ok();
    assert_eq!(
        (
            order["state"].as_str(),
            order["history"].as_array().map(Vec::len)
        ),
        (Some("STATE_ACTIVE"), Some(3))
    );

    let path = format!("/v1/instances/{}", order["instanceId"].as_str().unwrap());
    // The mask is derived from the keys of the body.
    let renamed = budi
        .send(
            Method::PATCH,
            &path,
            &[],
            Some(json!({"displayName": "shop"})),
        )
        .await
        .ok();
    assert_eq!(
        (&renamed["displayName"], &renamed["hostname"]),
        (&json!("shop"), &json!("web-1"))
    );
    let rebooted = write(&budi, &format!("{path}:reboot"), "reb-1", json!({})).await;
    eventually("the machine has rebooted", || async {
        let now = budi
            .get(&format!(
                "/v1/operations/{}",
                rebooted["id"].as_str().unwrap()
            ))
            .await
            .ok();
        if now["state"] == "STATE_SUCCEEDED" {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    let proof = budi.get("/v1/ledger:prove").await.ok();
    assert_eq!(proof["proved"], true);
}

#[tokio::test]
async fn an_error_has_its_envelope_with_every_detail() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let answer = http
        .send(
            Method::GET,
            &format!("/v1/orders/{NOBODYS_ID}"),
            &[("x-request-id", "my-request-1")],
            None,
        )
        .await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.header("content-type"),
            answer.header("x-request-id")
        ),
        (404, "application/json", "my-request-1")
    );
    let error = &answer.json()["error"];
    assert_eq!(
        (&error["code"], &error["status"]),
        (&json!(404), &json!("NOT_FOUND"))
    );
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty())
    );
    let details = error["details"].as_array().unwrap();
    let detail = |kind: &str| {
        details
            .iter()
            .find(|detail| detail["@type"] == format!("type.googleapis.com/google.rpc.{kind}"))
    };
    assert_eq!(
        detail("ErrorInfo").map(|info| (&info["reason"], &info["domain"])),
        Some((&json!("ORDER_NOT_FOUND"), &json!("sewa")))
    );
    assert_eq!(
        detail("RequestInfo").map(|info| &info["requestId"]),
        Some(&json!("my-request-1"))
    );

    let answer = http
        .send(
            Method::POST,
            "/v1/orders",
            &[("idempotency-key", "k")],
            Some(json!({"draft": {"planId": "x", "hostname": "A"}})),
        )
        .await;
    assert_eq!(answer.status.as_u16(), 400);
    let json = answer.json();
    let violations = json["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|detail| detail["fieldViolations"].as_array())
        .unwrap();
    let fields: Vec<&str> = violations
        .iter()
        .filter_map(|violation| violation["field"].as_str())
        .collect();
    for expected in ["draft.hostname", "draft.plan_id", "payment"] {
        assert!(fields.contains(&expected), "{fields:?}");
    }
    for (path, status) in [
        ("/v1/nothing", 404),
        ("/v1/orders/not-a-uuid", 400),
        ("/v1/wallet?nonsense=1", 400),
    ] {
        let answer = http.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        assert!(!answer.reason().is_empty());
    }
    assert_eq!(
        http.send(Method::DELETE, "/v1/wallet", &[], None)
            .await
            .status
            .as_u16(),
        405
    );
    assert_eq!(world.http().get("/v1/wallet").await.status.as_u16(), 401);
    assert_eq!(
        world
            .http()
            .bearer("sk_nonsense")
            .get("/v1/wallet")
            .await
            .reason(),
        "UNAUTHENTICATED"
    );
}

#[tokio::test]
async fn a_write_repeated_with_its_key_says_that_it_is_a_repeat() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let body = || {
        Some(
            json!({"amount": {"currencyCode": "IDR", "units": "50000"}, "method": "METHOD_SANDBOX"}),
        )
    };
    let send = async || {
        http.send(
            Method::POST,
            "/v1/wallet/deposits",
            &[("idempotency-key", "k-1")],
            body(),
        )
        .await
    };
    let (one, two) = (send().await, send().await);
    assert_eq!(
        (
            one.header("idempotency-replayed"),
            two.header("idempotency-replayed")
        ),
        ("", "true")
    );
    assert_eq!(one.ok(), two.ok());
    let other = Some(
        json!({"amount": {"currencyCode": "IDR", "units": "60000"}, "method": "METHOD_SANDBOX"}),
    );
    let refused = http
        .send(
            Method::POST,
            "/v1/wallet/deposits",
            &[("idempotency-key", "k-1")],
            other,
        )
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.reason().as_str()),
        (400, "IDEMPOTENCY_KEY_REUSED")
    );
    // Over gRPC the key is the same key.
    let request = sewa_sdk::sewa::wallet::v1::CreateDepositRequest {
        amount: Some(sewa_sdk::money::Money::idr(50_000)),
        method: 1,
        ..Default::default()
    };
    let repeated = budi
        .wallet()
        .create_deposit(sewa_tests::keyed("k-1", request))
        .await
        .unwrap();
    assert!(sewa_tests::is_replay(&repeated));
    assert_eq!(
        json!(repeated.into_inner().deposit.unwrap().id),
        one.ok()["id"]
    );
}

#[tokio::test]
async fn every_method_with_a_path_answers_there() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let option = sewa_sdk::pool()
        .get_extension_by_name("google.api.http")
        .unwrap();
    let methods = sewa_sdk::pool()
        .services()
        .filter(|s| s.full_name().starts_with("sewa."))
        .flat_map(|s| s.methods().collect::<Vec<_>>());
    let mut asked = 0;
    for method in methods.filter(|method| !method.is_server_streaming()) {
        let rule = method
            .options()
            .get_extension(&option)
            .as_message()
            .cloned()
            .unwrap();
        for (verb, name) in [
            (Method::GET, "get"),
            (Method::POST, "post"),
            (Method::PATCH, "patch"),
            (Method::DELETE, "delete"),
        ] {
            let path = rule
                .get_field_by_name(name)
                .and_then(|path| path.as_str().map(str::to_owned))
                .filter(|path| !path.is_empty());
            let Some(path) = path else { continue };
            // Any id will do: what is asked is whether somebody is at home.
            let path: String = path
                .split('{')
                .enumerate()
                .map(|(i, part)| {
                    if i == 0 {
                        part.to_owned()
                    } else {
                        format!("{NOBODYS_ID}{}", part.split_once('}').unwrap().1)
                    }
                })
                .collect();
            let body = [Method::POST, Method::PATCH]
                .contains(&verb)
                .then(|| json!({}));
            let answer = http
                .send(verb.clone(), &path, &[("idempotency-key", "k")], body)
                .await;
            let reason = if answer.status.is_success() {
                String::new()
            } else {
                answer.reason()
            };
            assert!(
                answer.status.as_u16() < 500 && answer.status.as_u16() != 405,
                "{verb} {path}: {} {reason}",
                answer.status
            );
            let at_home = answer.status.is_success() || reason != "ROUTE_NOT_FOUND";
            assert!(at_home, "{verb} {path} leads nowhere");
            asked += 1;
        }
    }
    assert!(asked > 60, "{asked}");
}
