//! The second factor, and confirming before what is dangerous. [I3 I8 I9]

use serde_json::json;
use sewa_sdk::sewa::identity::v1::second_factor::State;
use sewa_sdk::sewa::identity::v1::{
    ConfirmSecondFactorRequest, CreateApiKeyRequest, CreateSecondFactorRequest,
    DeleteSecondFactorRequest, GetSecondFactorRequest, LoginRequest, LogoutRequest,
    RefreshTokenRequest, ResetRecoveryCodesRequest, SecondFactor, StepUpRequest,
};
use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_sdk::{Client, Credentials};
use sewa_tests::redis::Redis;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, keyed, once, reason_of, refused};
use tonic::Code;
use totp_rs::{Builder, Secret};

/// An authenticator application with one entry.
struct Phone(totp_rs::Totp);

impl Phone {
    fn new(base32: &str) -> Self {
        let secret = Secret::try_from_base32(base32).expect("base32");
        Self(Builder::new().with_secret(secret).build().expect("TOTP"))
    }

    fn at(&self, steps: i64) -> String {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp();
        let time = u64::try_from(now + 30 * steps).unwrap();
        self.0.generate(time).to_string()
    }

    /// What it shows.
    fn code(&self) -> String {
        self.at(0)
    }

    /// What it shows half a minute later, when that of now is used; good already, because clocks differ.
    fn next_code(&self) -> String {
        self.at(1)
    }

    /// What it showed long ago.
    fn old_code(&self) -> String {
        self.at(-100)
    }
}

async fn state(actor: &Actor) -> SecondFactor {
    let reply = actor
        .identity()
        .get_second_factor(GetSecondFactorRequest {})
        .await;
    reply
        .expect("reading the second factor")
        .into_inner()
        .second_factor
        .expect("a second factor")
}

/// Gives somebody a second factor, and returns the recovery codes with it.
async fn enrol(actor: &Actor) -> (Phone, Vec<String>) {
    let made = actor
        .identity()
        .create_second_factor(CreateSecondFactorRequest {})
        .await
        .expect("making a second factor")
        .into_inner();
    let phone = Phone::new(&made.secret);
    let confirmed = actor
        .identity()
        .confirm_second_factor(ConfirmSecondFactorRequest { code: phone.code() })
        .await
        .expect("confirming a second factor")
        .into_inner();
    (phone, confirmed.recovery_codes)
}

/// Signs in with a code; the reason of the refusal, or empty.
async fn login(client: &Client, email: &str, code: &str) -> String {
    use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
    let request = LoginRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        code: code.to_owned(),
    };
    match client
        .service(IdentityServiceClient::new)
        .login(once(request))
        .await
    {
        Ok(_) => String::new(),
        refused => reason_of(refused),
    }
}

fn confirm(code: String) -> ConfirmSecondFactorRequest {
    ConfirmSecondFactorRequest { code }
}

#[tokio::test]
async fn a_second_factor_is_made_confirmed_asked_for_and_taken_away() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let nobody = world.nobody();
    assert_eq!(state(&budi).await.state(), State::None);
    assert_eq!(
        reason_of(
            budi.identity()
                .confirm_second_factor(confirm("123456".to_owned()))
                .await
        ),
        "SECOND_FACTOR_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            budi.identity()
                .reset_recovery_codes(ResetRecoveryCodesRequest {})
                .await
        ),
        "SECOND_FACTOR_NOT_FOUND"
    );
    let request = keyed("make-1", CreateSecondFactorRequest {});
    let made = budi
        .identity()
        .create_second_factor(request)
        .await
        .unwrap()
        .into_inner();
    let again = keyed("make-1", CreateSecondFactorRequest {});
    let again = budi.identity().create_second_factor(again).await.unwrap();
    assert!(
        again.get_ref().secret.is_empty() && again.get_ref().otpauth_uri.is_empty(),
        "a replay shows no secret"
    );
    assert!(
        made.otpauth_uri.starts_with("otpauth://totp/Sewa:")
            && made.otpauth_uri.contains(&made.secret),
        "{}",
        made.otpauth_uri
    );
    let phone = Phone::new(&made.secret);
    assert_eq!(state(&budi).await.state(), State::Pending);
    assert_eq!(
        login(&nobody, &budi.email, "").await,
        "",
        "nothing is asked yet"
    );
    assert_eq!(
        reason_of(
            budi.identity()
                .confirm_second_factor(confirm(phone.old_code()))
                .await
        ),
        "CODE_INVALID"
    );
    let used = phone.code();
    let codes = budi
        .identity()
        .confirm_second_factor(confirm(used.clone()))
        .await
        .unwrap()
        .into_inner()
        .recovery_codes;
    let now = state(&budi).await;
    assert_eq!((codes.len(), now.recovery_codes_left), (10, 10));
    assert!(now.state() == State::Active && now.confirm_time.is_some());
    assert_eq!(
        reason_of(
            budi.identity()
                .create_second_factor(CreateSecondFactorRequest {})
                .await
        ),
        "SECOND_FACTOR_EXISTS"
    );
    assert_eq!(
        reason_of(
            budi.identity()
                .confirm_second_factor(confirm(phone.next_code()))
                .await
        ),
        "SECOND_FACTOR_EXISTS"
    );

    assert_eq!(
        login(&nobody, &budi.email, "").await,
        "SECOND_FACTOR_REQUIRED"
    );
    assert_eq!(login(&nobody, &budi.email, &used).await, "CODE_INVALID");
    let next = phone.next_code();
    assert_eq!(login(&nobody, &budi.email, &next).await, "");
    assert_eq!(login(&nobody, &budi.email, &next).await, "CODE_INVALID");
    assert_eq!(login(&nobody, &budi.email, &codes[0]).await, "");
    assert_eq!(login(&nobody, &budi.email, &codes[0]).await, "CODE_INVALID");
    let typed = codes[1].replace('-', "").to_uppercase();
    assert_eq!(login(&nobody, &budi.email, &typed).await, "");
    assert_eq!(state(&budi).await.recovery_codes_left, 8);

    let fresh = budi
        .identity()
        .reset_recovery_codes(ResetRecoveryCodesRequest {})
        .await
        .unwrap()
        .into_inner()
        .recovery_codes;
    assert_eq!(login(&nobody, &budi.email, &codes[2]).await, "CODE_INVALID");
    assert_eq!(login(&nobody, &budi.email, &fresh[0]).await, "");
    for _ in 0..2 {
        budi.identity()
            .delete_second_factor(DeleteSecondFactorRequest {})
            .await
            .unwrap();
    }
    assert_eq!(state(&budi).await.state(), State::None);
    assert_eq!(login(&nobody, &budi.email, "").await, "");
}

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

fn with_code(code: &str) -> StepUpRequest {
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

#[tokio::test]
async fn a_code_used_on_one_server_is_refused_on_every_other_whatever_becomes_of_redis() {
    let mut redis = Redis::start().unwrap();
    let mut world = World::with(Settings::default().with("REDIS_URL", redis.url())).await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let (phone, codes) = enrol(&budi).await;
    let servers = [world.nobody(), world.client_of(second, Credentials::None)];
    let code = phone.next_code();
    let mut calls = Vec::new();
    for call in 0..6 {
        let (client, email, code) = (servers[call % 2].clone(), budi.email.clone(), code.clone());
        calls.push(tokio::spawn(
            async move { login(&client, &email, &code).await },
        ));
    }
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(call.await.unwrap());
    }
    outcomes.sort();
    assert_eq!(outcomes[0], "", "one of six at once");
    assert!(
        outcomes[1..].iter().all(|o| o == "CODE_INVALID"),
        "{outcomes:?}"
    );
    assert_eq!(login(&servers[1], &budi.email, &codes[0]).await, "");
    redis.stop().unwrap();
    for client in &servers {
        for used in [&code, &codes[0]] {
            assert_eq!(login(client, &budi.email, used).await, "CODE_INVALID");
        }
    }
    assert_eq!(login(&servers[0], &budi.email, &codes[1]).await, "");
    assert_eq!(
        login(&servers[1], &budi.email, &codes[1]).await,
        "CODE_INVALID"
    );
}

#[tokio::test]
async fn codes_are_guessed_ten_times_and_no_more() {
    let mut world = World::new().await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let (phone, codes) = enrol(&budi).await;
    let servers = [world.nobody(), world.client_of(second, Credentials::None)];
    for guess in 0..10 {
        assert_eq!(
            login(&servers[guess % 2], &budi.email, "aaaaa-aaaaa").await,
            "CODE_INVALID"
        );
    }
    for right in [phone.next_code(), codes[0].clone()] {
        assert_eq!(
            login(&servers[0], &budi.email, &right).await,
            "CODE_ATTEMPTS_EXCEEDED"
        );
    }
    let error = refused(budi.identity().step_up(once(with_code(&codes[0]))).await);
    assert!(
        error.is("CODE_ATTEMPTS_EXCEEDED") && error.metadata("limit") == Some("10"),
        "{error:?}"
    );
    let wait = error.retry().after.expect("RetryInfo").as_secs();
    assert!((1..=900).contains(&wait), "{wait}");
    sqlx::query(
        "update second_factors set attempts_since = attempts_since - interval '15 minutes'",
    )
    .execute(&mut world.behind_the_scenes().await)
    .await
    .unwrap();
    assert_eq!(login(&servers[1], &budi.email, &codes[0]).await, "");
    // A right code sets the count back.
    for _ in 0..9 {
        login(&servers[0], &budi.email, "aaaaa-aaaaa").await;
    }
    assert_eq!(login(&servers[1], &budi.email, &codes[1]).await, "");
    assert_eq!(
        login(&servers[0], &budi.email, "aaaaa-aaaaa").await,
        "CODE_INVALID"
    );
}

#[tokio::test]
async fn an_operator_takes_a_lost_second_factor_away() {
    let world = World::new().await;
    let budi = world.reseller().await;
    enrol(&budi).await;
    let nobody = world.nobody();
    assert_eq!(
        login(&nobody, &budi.email, "").await,
        "SECOND_FACTOR_REQUIRED"
    );
    let arguments = ["user", "forget-second-factor", "--email", &budi.email];
    world.sewa(&arguments, "").unwrap();
    assert_eq!(login(&nobody, &budi.email, "").await, "");
    let said = world.sewa(&arguments, "").unwrap_err();
    assert!(said.contains("with a second factor"), "{said}");
}

#[tokio::test]
async fn secrets_of_the_second_factor_are_nowhere_in_the_clear() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    let made = budi
        .identity()
        .create_second_factor(CreateSecondFactorRequest {})
        .await
        .unwrap()
        .into_inner();
    let phone = Phone::new(&made.secret);
    let code = phone.code();
    let codes = budi
        .identity()
        .confirm_second_factor(confirm(code))
        .await
        .unwrap()
        .into_inner()
        .recovery_codes;
    let mut words = codes;
    words.push(made.secret.clone());
    let plain = phone.0.secret().as_bytes().to_vec();
    let log = world.server().log();
    let mut connection = world.behind_the_scenes().await;
    for word in &words {
        assert!(!log.contains(word.as_str()), "{word} is in the log");
        let kept: i64 = sqlx::query_scalar(
            "select count(*) from writes where position($1 in request) > 0 or position($1 in reply) > 0 or position($1 in before) > 0",
        )
        .bind(word.as_bytes())
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(kept, 0, "{word} is in the audit trail");
        let digests: i64 = sqlx::query_scalar(
            "select count(*) from recovery_codes where digest = $1 or digest = sha256($1)",
        )
        .bind(word.as_bytes())
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert_eq!(digests, 0);
    }
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar("select secret_sealed from second_factors")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert!(sealed.len() == 1 && !sealed[0].windows(plain.len()).any(|w| w == plain));
}
