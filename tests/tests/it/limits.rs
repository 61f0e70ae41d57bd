//! How often one may call. [I7]

use serde_json::json;
use sewa_sdk::sewa::identity::v1::LoginRequest;
use sewa_sdk::sewa::wallet::v1::GetWalletRequest;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Settings, World, once, refused};

fn login(email: &str) -> LoginRequest {
    LoginRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn signing_in_is_for_five_a_minute_by_default() {
    let world = World::with(Settings::default().with("RATES__LOGIN", 5)).await;
    let budi = world.reseller().await;
    for _ in 0..5 {
        budi.identity()
            .login(once(login(&budi.email)))
            .await
            .unwrap();
    }
    let error = refused(budi.identity().login(once(login(&budi.email))).await);
    assert!(
        error.is("RATE_LIMITED") && error.code() == tonic::Code::ResourceExhausted,
        "{error:?}"
    );
    assert_eq!(error.metadata("rate_class"), Some("login"));
    let after = error.retry().after.expect("RetryInfo");
    assert!(
        (1..=12).contains(&after.as_secs()) || after.as_millis() > 0 && after.as_secs() <= 12,
        "{after:?}"
    );
    // Over REST the same, in its words.
    let answer = world
        .http()
        .post(
            "/v1/auth:login",
            json!({"email": budi.email, "password": PASSWORD}),
        )
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (429, "RATE_LIMITED")
    );
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=12).contains(&seconds));
    // Other classes are counted by themselves.
    assert_eq!(budi.balance().await, (0, 0));
}

#[tokio::test]
async fn the_defaults_are_those_of_the_requirements() {
    let classes = ["DEFAULT", "LOGIN", "REGISTER", "ORDER"];
    let shipped = classes.iter().fold(Settings::default(), |settings, class| {
        settings.without(&format!("RATES__{class}"))
    });
    let world = World::with(shipped).await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let limit_of = async |path: &str, body| {
        let answer = http.post(path, body).await;
        answer.header("ratelimit-limit").to_owned()
    };
    let plans = world.http().get("/v1/plans").await;
    assert_eq!(plans.header("ratelimit-limit"), "100");
    let nobody = json!({"email": "nobody@example.com", "password": "not this one"});
    assert_eq!(limit_of("/v1/auth:login", nobody).await, "5");
    assert_eq!(limit_of("/v1/orders", json!({})).await, "10");
    // Budi was the first of three who may register from one address in a minute.
    let body = || json!({"email": "a@example.com", "password": "short"});
    let register = async || world.http().post("/v1/auth:register", body()).await;
    for _ in 0..2 {
        assert_eq!(register().await.reason(), "INVALID_REQUEST");
    }
    assert_eq!(register().await.reason(), "RATE_LIMITED");
}

#[tokio::test]
async fn orders_are_counted_by_account_and_every_answer_says_what_is_left() {
    let world = World::with(Settings::default().with("RATES__ORDER", 10)).await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    let order = async |bearer: &str, key: &str| {
        world
            .http()
            .bearer(bearer)
            .send(
                http::Method::POST,
                "/v1/orders",
                &[("idempotency-key", key)],
                Some(json!({})),
            )
            .await
    };
    for left in (0..10).rev() {
        let answer = order(&budi.tokens.access_token, &format!("k-{left}")).await;
        assert_eq!(answer.reason(), "INVALID_REQUEST");
        assert_eq!(
            (
                answer.header("ratelimit-limit"),
                answer.header("ratelimit-remaining")
            ),
            ("10", &*left.to_string())
        );
        assert!(
            answer
                .header("ratelimit-reset")
                .parse::<u64>()
                .is_ok_and(|seconds| seconds <= 61)
        );
    }
    let second_session = world.login(&budi.email).await;
    assert_eq!(
        order(&second_session.tokens.access_token, "k-x")
            .await
            .reason(),
        "RATE_LIMITED",
        "the account is counted, not the session"
    );
    assert_eq!(
        order(&siti.tokens.access_token, "k-x").await.reason(),
        "INVALID_REQUEST"
    );
    budi.wallet()
        .get_wallet(GetWalletRequest::default())
        .await
        .unwrap();
}
