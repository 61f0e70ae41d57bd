//! Confirming before what is dangerous. [I9]

use serde_json::json;
use sewa_sdk::Credentials;
use sewa_sdk::sewa::identity::v1::{
    CreateApiKeyRequest, CreateSecondFactorRequest, DeleteSecondFactorRequest,
    GetSecondFactorRequest, LogoutRequest, RefreshTokenRequest, ResetRecoveryCodesRequest,
    StepUpRequest,
};
use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_tests::world::PASSWORD;
use sewa_tests::{NOBODYS_ID, World, keyed, reason_of, refused};
use tonic::Code;

use crate::second_factor::{confirm, enrol, login};

/// As if the last confirmation of all sessions was an hour ago.
async fn let_confirmations_end(world: &World) {
    sqlx::query("update refresh_families set confirmed_at = confirmed_at - interval '1 hour'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
}

fn a_key(scopes: &[&str]) -> CreateApiKeyRequest {
    CreateApiKeyRequest {
        display_name: "shop".to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        lifetime_days: 0,
    }
}

fn with_password(password: &str) -> StepUpRequest {
    StepUpRequest {
        password: password.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn with_code(code: &str) -> StepUpRequest {
    StepUpRequest {
        code: code.to_owned(),
        ..Default::default()
    }
}

/// What an access token says, unverified.
fn claims(token: &str) -> serde_json::Value {
    use base64::Engine;
    let body = token.split('.').nth(1).expect("a JWT");
    let plain = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(body);
    serde_json::from_slice(&plain.expect("base64url")).expect("claims")
}

#[tokio::test]
async fn a_confirmation_ends_and_the_password_renews_it() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.identity()
        .create_api_key(a_key(&["orders"]))
        .await
        .expect("signing in confirms");
    let_confirmations_end(&world).await;
    let error = refused(budi.identity().create_api_key(a_key(&["orders"])).await);
    assert!(
        error.is("STEP_UP_REQUIRED") && error.code() == Code::PermissionDenied,
        "{error:?}"
    );
    assert_eq!(
        (
            error.metadata("confirm_with"),
            error.metadata("max_age_seconds")
        ),
        (Some("password"), Some("600"))
    );
    let http = world.http().bearer(&budi.tokens.access_token);
    let body = json!({"displayName": "shop", "scopes": ["orders"]});
    let answer = http.post("/v1/api-keys", body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (403, "STEP_UP_REQUIRED")
    );
    // New tokens are no confirmation.
    let refreshed = budi
        .identity()
        .refresh_token(RefreshTokenRequest {
            refresh_token: budi.tokens.refresh_token.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .tokens
        .unwrap();
    let renewed = world.http().bearer(&refreshed.access_token);
    assert_eq!(
        renewed.post("/v1/api-keys", body.clone()).await.reason(),
        "STEP_UP_REQUIRED"
    );

    let mut identity = budi.identity();
    for none in [
        with_password(""),
        StepUpRequest {
            code: "123456".to_owned(),
            ..with_password(PASSWORD)
        },
    ] {
        assert_eq!(reason_of(identity.step_up(none).await), "INVALID_REQUEST");
    }
    assert_eq!(
        reason_of(identity.step_up(with_password("wrong horse 99")).await),
        "INVALID_CREDENTIALS"
    );
    assert_eq!(
        reason_of(identity.step_up(with_code("123456")).await),
        "SECOND_FACTOR_NOT_FOUND"
    );
    let before = claims(&refreshed.access_token);
    let stepped = identity
        .step_up(with_password(PASSWORD))
        .await
        .unwrap()
        .into_inner();
    let after = claims(&stepped.access_token);
    assert_eq!(after["amr"], json!(["pwd"]));
    assert_eq!(after["sid"], before["sid"], "the session is the same");
    assert!(
        after["auth_time"].as_i64() >= before["auth_time"].as_i64().map(|at| at + 3600),
        "{after} {before}"
    );
    // The session has confirmed, whichever of its tokens is shown.
    for token in [&stepped.access_token, &budi.tokens.access_token] {
        let http = world.http().bearer(token);
        http.post("/v1/api-keys", body.clone()).await.ok();
    }
    let elsewhere = world.login(&budi.email).await;
    sqlx::query("update refresh_families set confirmed_at = confirmed_at - interval '1 hour' where user_id = $1 and id <> $2")
        .bind(uuid::Uuid::parse_str(&budi.user_id).unwrap())
        .bind(uuid::Uuid::parse_str(after["sid"].as_str().unwrap()).unwrap())
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    assert_eq!(
        reason_of(
            elsewhere
                .identity()
                .create_api_key(a_key(&["orders"]))
                .await
        ),
        "STEP_UP_REQUIRED",
        "another session confirms for itself"
    );
    // A session that was ended does nothing dangerous any more, although its access token is good for a while.
    let request = LogoutRequest {
        refresh_token: refreshed.refresh_token,
    };
    budi.identity().logout(request).await.unwrap();
    assert_eq!(
        http.post("/v1/api-keys", body).await.reason(),
        "UNAUTHENTICATED"
    );
}

#[tokio::test]
async fn who_has_a_second_factor_confirms_with_it() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let earlier = world.login(&budi.email).await;
    let (phone, codes) = enrol(&budi).await;
    budi.identity()
        .create_api_key(a_key(&["orders"]))
        .await
        .expect("the code that turned it on confirms");
    let error = refused(earlier.identity().create_api_key(a_key(&["orders"])).await);
    assert!(
        error.is("STEP_UP_REQUIRED") && error.metadata("confirm_with") == Some("code"),
        "a password is not enough any more: {error:?}"
    );
    let mut identity = earlier.identity();
    assert_eq!(
        reason_of(identity.step_up(with_password(PASSWORD)).await),
        "SECOND_FACTOR_REQUIRED"
    );
    assert_eq!(
        reason_of(identity.step_up(with_code(&phone.old_code())).await),
        "CODE_INVALID"
    );
    let stepped = identity
        .step_up(with_code(&phone.next_code()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(claims(&stepped.access_token)["amr"], json!(["pwd", "otp"]));
    identity.create_api_key(a_key(&["orders"])).await.unwrap();
    let_confirmations_end(&world).await;
    assert_eq!(
        reason_of(
            identity
                .delete_second_factor(DeleteSecondFactorRequest {})
                .await
        ),
        "STEP_UP_REQUIRED"
    );
    identity.step_up(with_code(&codes[0])).await.unwrap();
    identity
        .delete_second_factor(DeleteSecondFactorRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn staff_confirm_before_they_move_money() {
    use sewa_sdk::money::Money;
    use sewa_sdk::sewa::wallet::v1::AdjustWalletRequest;
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.staff("finance").await);
    let adjust = |key: &str| {
        let request = AdjustWalletRequest {
            account_id: budi.account_id.clone(),
            amount: Some(Money::idr(5_000)),
            reason: "goodwill".to_owned(),
        };
        keyed(key, request)
    };
    siti.wallet().adjust_wallet(adjust("a-1")).await.unwrap();
    let_confirmations_end(&world).await;
    assert_eq!(
        reason_of(siti.wallet().adjust_wallet(adjust("a-2")).await),
        "STEP_UP_REQUIRED"
    );
    assert_eq!(budi.balance().await, (5_000, 0));
    siti.identity()
        .step_up(with_password(PASSWORD))
        .await
        .unwrap();
    siti.wallet().adjust_wallet(adjust("a-2")).await.unwrap();
    assert_eq!(budi.balance().await, (10_000, 0));
    // Staff have second factors of their own.
    let (_, codes) = enrol(&siti).await;
    let nobody = world.nobody();
    assert_eq!(
        login(&nobody, &siti.email, "").await,
        "SECOND_FACTOR_REQUIRED"
    );
    assert_eq!(login(&nobody, &siti.email, &codes[0]).await, "");
    let mut identity = siti.identity();
    identity
        .reset_recovery_codes(ResetRecoveryCodesRequest {})
        .await
        .unwrap();
    identity
        .delete_second_factor(DeleteSecondFactorRequest {})
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_does_what_is_to_be_confirmed_only_if_its_scopes_name_it() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let shop = async |scopes: &[&str]| {
        let made = budi.identity().create_api_key(a_key(scopes)).await.unwrap();
        budi.through(world.client(Credentials::api_key(&made.into_inner().secret)))
    };
    let delete = || DeleteInstanceRequest {
        instance_id: NOBODYS_ID.to_owned(),
        confirm_hostname: "web-1".to_owned(),
        ..Default::default()
    };
    let by_group = shop(&["instances"]).await;
    let error = refused(by_group.instances().delete_instance(delete()).await);
    assert!(
        error.is("PERMISSION_DENIED") && error.metadata("permission") == Some("instances.delete"),
        "{error:?}"
    );
    let by_name = shop(&["instances.delete", "profile", "second_factor.write"]).await;
    let_confirmations_end(&world).await;
    assert_eq!(
        reason_of(by_name.instances().delete_instance(delete()).await),
        "INSTANCE_NOT_FOUND",
        "nobody confirms the calls of a key"
    );
    // A key is no person.
    let mut identity = by_name.identity();
    let no_profile = [
        reason_of(identity.step_up(with_password(PASSWORD)).await),
        reason_of(identity.get_second_factor(GetSecondFactorRequest {}).await),
        reason_of(
            identity
                .create_second_factor(CreateSecondFactorRequest {})
                .await,
        ),
        reason_of(
            identity
                .confirm_second_factor(confirm("123456".to_owned()))
                .await,
        ),
        reason_of(
            identity
                .reset_recovery_codes(ResetRecoveryCodesRequest {})
                .await,
        ),
        reason_of(
            identity
                .delete_second_factor(DeleteSecondFactorRequest {})
                .await,
        ),
    ];
    assert_eq!(no_profile, ["PROFILE_NOT_FOUND"; 6]);
}
