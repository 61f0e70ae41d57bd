//! People: registering, signing in, going on, signing out, and their profile. [I2]

use sewa_sdk::sewa::identity::v1::{
    AccountKind, GetCallerRequest, GetJwksRequest, GetProfileRequest, LoginRequest, LogoutRequest,
    Profile, RefreshTokenRequest, RegisterRequest, Tokens, UpdateProfileRequest,
};
use sewa_sdk::{Credentials, Session};
use sewa_tests::patience::eventually;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Actor, Settings, World, is_replay, keyed, reason_of, refused};
use tonic::Code;

fn registration(email: &str) -> RegisterRequest {
    RegisterRequest {
        email: email.to_owned(),
        password: PASSWORD.to_owned(),
        name: "Siti".to_owned(),
        account_name: "Toko Siti".to_owned(),
        account_kind: AccountKind::Reseller.into(),
        sandbox: true,
        referral_code: String::new(),
    }
}

async fn refresh(somebody: &Actor, token: &str) -> Result<Tokens, sewa_sdk::Error> {
    let request = RefreshTokenRequest {
        refresh_token: token.to_owned(),
    };
    Ok(somebody
        .identity()
        .refresh_token(request)
        .await?
        .into_inner()
        .tokens
        .expect("tokens"))
}

#[tokio::test]
async fn a_reseller_registers_and_is_signed_in() {
    let world = World::new().await;
    let budi = world.reseller().await;
    assert_eq!(budi.balance().await, (0, 0));
    let caller = budi
        .identity()
        .get_caller(GetCallerRequest {})
        .await
        .unwrap()
        .into_inner()
        .caller
        .unwrap();
    assert_eq!(
        (
            caller.account_id,
            caller.user_id,
            caller.role.as_str(),
            caller.sandbox
        ),
        (
            budi.account_id.clone(),
            budi.user_id.clone(),
            "reseller",
            true
        )
    );
    assert!(
        caller.permissions.contains(&"orders.place".to_owned()) && caller.permissions.is_sorted()
    );
    let profile = budi
        .identity()
        .get_profile(GetProfileRequest {})
        .await
        .unwrap()
        .into_inner()
        .profile
        .unwrap();
    assert_eq!(
        (
            profile.email,
            profile.account_name.as_str(),
            profile.account_kind
        ),
        (
            budi.email.clone(),
            "Toko Budi",
            AccountKind::Reseller.into()
        )
    );
}

#[tokio::test]
async fn an_address_registers_once_whatever_its_case() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let again = registration(&budi.email.to_uppercase());
    let error = refused(budi.identity().register(again).await);
    assert!(
        error.is("EMAIL_TAKEN") && error.code() == Code::AlreadyExists,
        "{error:?}"
    );
}

#[tokio::test]
async fn a_registration_repeated_with_its_key_makes_one_account_and_hides_the_tokens() {
    let world = World::new().await;
    let mut identity = world
        .nobody()
        .service(sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient::new);
    let first = identity
        .register(keyed("siti-1", registration("siti@example.com")))
        .await
        .unwrap();
    let again = identity
        .register(keyed("siti-1", registration("siti@example.com")))
        .await
        .unwrap();
    assert!(!is_replay(&first) && is_replay(&again));
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(
        (first.account_id, first.user_id),
        (again.account_id, again.user_id)
    );
    assert!(!first.tokens.unwrap().access_token.is_empty());
    let hidden = again.tokens.unwrap_or_default();
    assert!(hidden.access_token.is_empty() && hidden.refresh_token.is_empty());
    // The password is part of what is repeated: another one is another request.
    let other = RegisterRequest {
        password: "another horse 9".to_owned(),
        ..registration("siti@example.com")
    };
    assert_eq!(
        reason_of(identity.register(keyed("siti-1", other)).await),
        "IDEMPOTENCY_KEY_REUSED"
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let mut identity = budi.identity();
    let wrong = refused(
        identity
            .login(LoginRequest {
                email: budi.email.clone(),
                password: "wrong horse 99".to_owned(),
                ..Default::default()
            })
            .await,
    );
    let unknown = refused(
        identity
            .login(LoginRequest {
                email: "nobody@example.com".to_owned(),
                password: PASSWORD.to_owned(),
                ..Default::default()
            })
            .await,
    );
    assert!(wrong.is("INVALID_CREDENTIALS") && unknown.is("INVALID_CREDENTIALS"));
    assert_eq!(
        (wrong.code(), wrong.message()),
        (unknown.code(), unknown.message())
    );
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_reuse_ends_the_family() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let first = budi.tokens.refresh_token.clone();
    let second = refresh(&budi, &first).await.unwrap().refresh_token;
    let third = refresh(&budi, &second).await.unwrap().refresh_token;
    assert!(first != second && second != third);
    assert_eq!(
        reason_of(refresh(&budi, &first).await),
        "REFRESH_TOKEN_REUSED"
    );
    assert_eq!(
        reason_of(refresh(&budi, &third).await),
        "REFRESH_TOKEN_INVALID"
    );
    // Another family of the same user lives on.
    let elsewhere = world.login(&budi.email).await;
    refresh(&elsewhere, &elsewhere.tokens.refresh_token)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refresh_token_that_is_none_is_refused() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for none in [
        "srt_0123456789",
        "nonsense",
        &budi.tokens.access_token[..190],
    ] {
        assert_eq!(
            reason_of(refresh(&budi, none).await),
            "REFRESH_TOKEN_INVALID"
        );
    }
}

#[tokio::test]
async fn after_logout_the_refresh_token_is_worth_nothing() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for _ in 0..2 {
        let request = LogoutRequest {
            refresh_token: budi.tokens.refresh_token.clone(),
        };
        budi.identity().logout(request).await.unwrap();
    }
    assert_eq!(
        reason_of(refresh(&budi, &budi.tokens.refresh_token).await),
        "REFRESH_TOKEN_INVALID"
    );
}

#[tokio::test]
async fn a_session_of_the_sdk_goes_on_across_a_restart_of_the_server() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    let login = budi.through(world.client(Credentials::login(&budi.email, PASSWORD)));
    assert_eq!(login.balance().await, (0, 0));
    world.restart();
    assert_eq!(login.balance().await, (0, 0));
    assert_eq!(budi.balance().await, (0, 0));
}

#[tokio::test]
async fn the_published_keys_verify_an_access_token_and_no_forged_one() {
    use jsonwebtoken::{
        Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    };
    let world = World::new().await;
    let budi = world.reseller().await;
    let keys = budi
        .identity()
        .get_jwks(GetJwksRequest {})
        .await
        .unwrap()
        .into_inner()
        .keys;
    let header = decode_header(&budi.tokens.access_token).unwrap();
    let key = keys
        .iter()
        .find(|key| Some(&key.kid) == header.kid.as_ref())
        .expect("the key that signed");
    assert_eq!(
        (
            key.kty.as_str(),
            key.alg.as_str(),
            key.crv.as_str(),
            key.r#use.as_str()
        ),
        ("EC", "ES256", "P-256", "sig")
    );
    let mut rules = Validation::new(Algorithm::ES256);
    rules.validate_aud = false;
    let verifier = DecodingKey::from_ec_components(&key.x, &key.y).unwrap();
    let claims = decode::<serde_json::Value>(&budi.tokens.access_token, &verifier, &rules)
        .unwrap()
        .claims;
    assert_eq!(claims["sub"], budi.user_id);
    let (issued, ends) = (
        claims["iat"].as_i64().unwrap(),
        claims["exp"].as_i64().unwrap(),
    );
    assert_eq!(ends - issued, 15 * 60, "an access token lives 15 minutes");

    // The same words under another algorithm and under no signature.
    let mut forged_header = Header::new(Algorithm::HS256);
    forged_header.kid = header.kid;
    let forged = encode(
        &forged_header,
        &claims,
        &EncodingKey::from_secret(key.x.as_bytes()),
    )
    .unwrap();
    let parts: Vec<&str> = budi.tokens.access_token.split('.').collect();
    for token in [
        forged,
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}x", budi.tokens.access_token),
    ] {
        let forger = budi.through(world.client(Credentials::token(token)));
        assert_eq!(
            reason_of(forger.identity().get_caller(GetCallerRequest {}).await),
            "UNAUTHENTICATED"
        );
    }
}

#[tokio::test]
async fn a_profile_changes_only_where_its_owner_may_write() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let update = |profile: Profile, paths: &[&str]| {
        let mask = prost_types::FieldMask {
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        };
        UpdateProfileRequest {
            profile: Some(profile),
            update_mask: Some(mask),
        }
    };
    let new = Profile {
        name: "Budi Santoso".to_owned(),
        phone: "+628123456789".to_owned(),
        ..Default::default()
    };
    let changed = budi
        .identity()
        .update_profile(update(new.clone(), &["name"]))
        .await
        .unwrap()
        .into_inner()
        .profile
        .unwrap();
    assert_eq!(
        (changed.name.as_str(), changed.phone.as_str()),
        ("Budi Santoso", "")
    );
    for path in ["email", "account_id", "nonsense"] {
        let error = refused(
            budi.identity()
                .update_profile(update(new.clone(), &[path]))
                .await,
        );
        assert!(
            error.is("FIELD_NOT_WRITABLE") && error.metadata("path") == Some(path),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_suspended_account_is_told_so() {
    let world = World::new().await;
    let budi = world.reseller().await;
    sqlx::query("update accounts set suspended_at = now()")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    let request = LoginRequest {
        email: budi.email.clone(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    assert_eq!(
        reason_of(budi.identity().login(request).await),
        "ACCOUNT_SUSPENDED"
    );
    let resumed =
        budi.through(world.client(Credentials::Session(Session::resume(budi.tokens.clone()))));
    assert_eq!(
        reason_of(refresh(&resumed, &budi.tokens.refresh_token).await),
        "ACCOUNT_SUSPENDED"
    );
}

#[tokio::test]
async fn an_access_token_ends_and_a_session_goes_on() {
    let world = World::with(Settings::default().with("ACCESS_TOKEN_SECONDS", 1)).await;
    let budi = world.reseller().await;
    let token = &budi.tokens.access_token;
    let held = budi.through(world.client(Credentials::token(token)));
    let error = eventually("the token has ended", || async {
        match held.identity().get_caller(GetCallerRequest {}).await {
            Ok(_) => Err("it still works"),
            Err(status) => Ok(sewa_sdk::Error::from(status)),
        }
    })
    .await;
    assert!(
        error.is("TOKEN_EXPIRED") && error.code() == Code::Unauthenticated,
        "{error:?}"
    );
    let answer = world.http().bearer(token).get("/v1/caller").await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (401, "TOKEN_EXPIRED")
    );
    // The SDK exchanges the refresh token by itself.
    assert_eq!(budi.balance().await, (0, 0));
}
