//! The second factor. [I3 I8]

use sewa_sdk::sewa::identity::v1::second_factor::State;
use sewa_sdk::sewa::identity::v1::{
    ConfirmSecondFactorRequest, CreateSecondFactorRequest, DeleteSecondFactorRequest,
    GetSecondFactorRequest, LoginRequest, ResetRecoveryCodesRequest, SecondFactor,
};
use sewa_sdk::{Client, Credentials};
use sewa_tests::redis::Redis;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Actor, Settings, World, keyed, once, reason_of, refused};
use totp_rs::{Builder, Secret};

use crate::step_up::with_code;

/// An authenticator application with one entry.
pub(crate) struct Phone(totp_rs::Totp);

impl Phone {
    pub(crate) fn new(base32: &str) -> Self {
        let secret = Secret::try_from_base32(base32).expect("base32");
        Self(Builder::new().with_secret(secret).build().expect("TOTP"))
    }

    fn at(&self, steps: i64) -> String {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).timestamp();
        let time = u64::try_from(now + 30 * steps).unwrap();
        self.0.generate(time).to_string()
    }

    /// What it shows.
    pub(crate) fn code(&self) -> String {
        self.at(0)
    }

    /// What it shows half a minute later, when that of now is used; good already, because clocks differ.
    pub(crate) fn next_code(&self) -> String {
        self.at(1)
    }

    /// What it showed long ago.
    pub(crate) fn old_code(&self) -> String {
        self.at(-100)
    }
}

pub(crate) async fn state(actor: &Actor) -> SecondFactor {
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
pub(crate) async fn enrol(actor: &Actor) -> (Phone, Vec<String>) {
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
pub(crate) async fn login(client: &Client, email: &str, code: &str) -> String {
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

pub(crate) fn confirm(code: String) -> ConfirmSecondFactorRequest {
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
