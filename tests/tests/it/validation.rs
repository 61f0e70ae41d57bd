//! Every broken rule of a request is named, all at once, by the path of its field. [I, C8]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::event::v1::ListEventsRequest;
use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::identity::v1::{CreateApiKeyRequest, LoginRequest, RegisterRequest};
use sewa_sdk::sewa::order::v1::{OrderDraft, PlaceOrderRequest};
use sewa_sdk::sewa::wallet::v1::{
    CreateDepositRequest, GetDepositRequest, ListTransactionsRequest,
};
use sewa_tests::{World, refused};

fn fields(error: &sewa_sdk::Error) -> Vec<(String, String)> {
    assert!(
        error.is("INVALID_REQUEST") && error.code() == tonic::Code::InvalidArgument,
        "{error:?}"
    );
    let mut fields: Vec<_> = error
        .field_violations()
        .iter()
        .map(|v| (v.field.clone(), v.reason.clone()))
        .collect();
    assert!(
        error
            .field_violations()
            .iter()
            .all(|v| !v.description.is_empty()),
        "{error:?}"
    );
    fields.sort();
    fields
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(field, reason)| ((*field).to_owned(), (*reason).to_owned()))
        .collect()
}

#[tokio::test]
async fn an_order_wrong_in_every_field_is_told_so_for_every_field() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let draft = OrderDraft {
        plan_id: "plan".to_owned(),
        region_id: String::new(),
        image_id: "0192f0c1-0000-7000-8000-000000000003".to_owned(),
        period: BillingPeriod::Hour.into(),
        hostname: "Web_1".to_owned(),
        auto_renew: true,
        labels: [("Team".to_owned(), "x".repeat(129))].into(),
        coupon_code: String::new(),
    };
    let request = PlaceOrderRequest {
        draft: Some(draft),
        payment: 7,
        expected_total: Some(Money {
            currency_code: "USD".to_owned(),
            units: 5,
            nanos: 1,
        }),
        client_reference: "r".repeat(65),
        ..Default::default()
    };
    let error = refused(budi.orders().place_order(request).await);
    let expected = pairs(&[
        ("client_reference", "STRING_MAX_LEN"),
        ("draft.hostname", "STRING_PATTERN"),
        ("draft.labels[\"Team\"]", "STRING_MAX_LEN"),
        ("draft.labels[\"Team\"]", "STRING_PATTERN"),
        ("draft.period", "ENUM_NOT_IN"),
        ("draft.plan_id", "STRING_UUID"),
        ("draft.region_id", "STRING_UUID_EMPTY"),
        ("expected_total", "MONEY_IDR"),
        ("payment", "ENUM_DEFINED_ONLY"),
    ]);
    assert_eq!(fields(&error), expected);
    assert_eq!(
        fields(&refused(
            budi.orders()
                .place_order(PlaceOrderRequest::default())
                .await
        )),
        pairs(&[("draft", "REQUIRED"), ("payment", "ENUM_NOT_IN")])
    );
}

#[tokio::test]
async fn items_are_named_by_their_index() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let request = CreateApiKeyRequest {
        display_name: String::new(),
        scopes: vec!["orders".to_owned(), "No Scope".to_owned(), String::new()],
        lifetime_days: -1,
    };
    let found = fields(&refused(budi.identity().create_api_key(request).await));
    let paths: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
    for expected in ["display_name", "lifetime_days", "scopes[1]", "scopes[2]"] {
        assert!(paths.contains(&expected), "{paths:?}");
    }
    let request = ListEventsRequest {
        types: vec![1, 99],
        subject_id: "x".to_owned(),
        page_size: -1,
        ..Default::default()
    };
    let expected = pairs(&[
        ("page_size", "INT32_GTE_LTE"),
        ("subject_id", "STRING_UUID"),
        ("types[1]", "ENUM_DEFINED_ONLY"),
    ]);
    assert_eq!(
        fields(&refused(budi.events().list_events(request).await)),
        expected
    );
}

#[tokio::test]
async fn money_is_whole_rupiah_within_its_bounds() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let rupiah = |units| Money::idr(units);
    let wrong = [
        rupiah(9_999),
        rupiah(1_000_000_001),
        rupiah(-50_000),
        Money {
            nanos: 1,
            ..rupiah(50_000)
        },
        Money {
            currency_code: "USD".to_owned(),
            ..rupiah(50_000)
        },
    ];
    for amount in wrong {
        let request = CreateDepositRequest {
            amount: Some(amount),
            method: 1,
            ..Default::default()
        };
        assert_eq!(
            fields(&refused(budi.wallet().create_deposit(request).await)),
            pairs(&[("amount", "MONEY_IDR")])
        );
    }
    for units in [10_000, 1_000_000_000] {
        budi.open_deposit(units).await;
    }
}

#[tokio::test]
async fn a_page_has_bounds_and_a_token_is_not_made_up() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let list = |page_size, page_token: &str| ListTransactionsRequest {
        page_size,
        page_token: page_token.to_owned(),
        ..Default::default()
    };
    for size in [-1, 1001] {
        assert_eq!(
            fields(&refused(
                budi.wallet().list_transactions(list(size, "")).await
            ))
            .len(),
            1
        );
    }
    budi.wallet()
        .list_transactions(list(1000, ""))
        .await
        .unwrap();
    let error = refused(budi.wallet().list_transactions(list(0, "made-up")).await);
    assert!(error.is("INVALID_PAGE_TOKEN"), "{error:?}");
}

#[tokio::test]
async fn an_id_that_is_none_and_a_password_too_short_are_refused_before_any_work() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let error = refused(
        budi.wallet()
            .get_deposit(GetDepositRequest {
                deposit_id: "0192f0c1".to_owned(),
            })
            .await,
    );
    assert_eq!(fields(&error), pairs(&[("deposit_id", "STRING_UUID")]));
    let error = refused(
        budi.identity()
            .register(RegisterRequest {
                email: "no address".to_owned(),
                password: "short".to_owned(),
                ..Default::default()
            })
            .await,
    );
    let found = fields(&error);
    for expected in [
        ("account_kind", "ENUM_NOT_IN"),
        ("email", "STRING_EMAIL"),
        ("password", "STRING_MIN_LEN"),
    ] {
        assert!(
            found.contains(&(expected.0.to_owned(), expected.1.to_owned())),
            "{found:?}"
        );
    }
    assert!(
        !error.message().contains("short\""),
        "what was sent is not repeated"
    );
}

#[tokio::test]
async fn a_write_that_needs_a_key_says_so() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let answer = http.post("/v1/wallet/deposits", serde_json::json!({"amount": {"currencyCode": "IDR", "units": "50000"}, "method": "METHOD_SANDBOX"})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (400, "IDEMPOTENCY_KEY_REQUIRED")
    );
    let long = "k".repeat(65);
    let body = serde_json::json!({"amount": {"currencyCode": "IDR", "units": "50000"}, "method": "METHOD_SANDBOX"});
    let answer = http
        .send(
            http::Method::POST,
            "/v1/wallet/deposits",
            &[("idempotency-key", &long)],
            Some(body),
        )
        .await;
    assert_eq!(answer.reason(), "IDEMPOTENCY_KEY_REQUIRED");
}

/// PostgreSQL keeps no text with this character, so it has to be refused before.
#[tokio::test]
async fn a_character_that_no_text_may_hold_is_refused_by_the_name_of_its_field() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let nobody = world.nobody();
    let login = LoginRequest {
        email: "budi\0@example.id".into(),
        password: "correct horse battery".into(),
        ..LoginRequest::default()
    };
    let error = refused(
        nobody
            .service(IdentityServiceClient::new)
            .login(login)
            .await,
    );
    assert!(
        fields(&error).contains(&("email".to_owned(), "STRING_NUL".to_owned())),
        "{error:?}"
    );
    let draft = OrderDraft {
        labels: [("team".to_owned(), "web\0".to_owned())].into(),
        ..budi.draft("web-1").await
    };
    let error = refused(budi.preview(&draft).await);
    assert!(
        fields(&error).contains(&("draft.labels[\"team\"]".to_owned(), "STRING_NUL".to_owned())),
        "{error:?}"
    );
}
