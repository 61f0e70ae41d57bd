//! Credentials that have ended, at every method: expired, revoked, of a suspended account, or changed on the way; and streams that were opened with what has ended
//! since. [I4 I5]

use std::time::{Duration, Instant};

use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{WatchEventsRequest, WatchEventsResponse};
use sewa_sdk::sewa::identity::v1::{
    CreateApiKeyRequest, DeleteApiKeyRequest, GetCallerRequest, LogoutRequest, RefreshTokenRequest,
};
use sewa_sdk::{Credentials, Error};
use sewa_tests::patience::{eventually, next, soon};
use sewa_tests::{Actor, Settings, World, once, reason_of};
use tonic::Streaming;

use crate::contract::{methods, path_of, rule};

/// Seconds that an access token of these tests is good for.
const TOKEN: u64 = 3;

async fn key(owner: &Actor, days: i32) -> (String, String) {
    let request = CreateApiKeyRequest {
        display_name: "shop".to_owned(),
        scopes: vec![
            "wallet".to_owned(),
            "orders".to_owned(),
            "events".to_owned(),
        ],
        lifetime_days: days,
    };
    let made = owner.identity().create_api_key(request).await;
    let made = made.unwrap().into_inner();
    (made.api_key.unwrap().id, made.secret)
}

/// What somebody with these credentials hears of a method.
async fn refusal(world: &World, credentials: &Credentials, path: &str) -> Option<Error> {
    let client = world.client(credentials.clone());
    let method = client.raw(path).unwrap();
    let request = once(prost_reflect::DynamicMessage::new(
        method.descriptor().input(),
    ));
    if method.descriptor().is_server_streaming() {
        method.stream(request).await.map(drop).err()
    } else {
        method.unary(request).await.map(drop).err()
    }
}

#[tokio::test]
async fn what_has_ended_opens_no_method() {
    let world = World::with(Settings::default().with("ACCESS_TOKEN_SECONDS", TOKEN)).await;
    let (budi, siti, tuti) = (
        world.reseller().await,
        world.reseller().await,
        world.reseller().await,
    );
    let (expired, revoked, suspended) = (
        key(&budi, 1).await,
        key(&siti, 0).await,
        key(&tuti, 0).await,
    );
    let request = DeleteApiKeyRequest {
        api_key_id: revoked.0,
    };
    siti.identity().delete_api_key(request).await.unwrap();
    let mut database = world.behind_the_scenes().await;
    for change in [
        "update api_keys set expires_at = now() - interval '1 second' where expires_at is not null",
        "update accounts set suspended_at = now() where id = $1::uuid",
    ] {
        let query = sqlx::query(change);
        let query = if change.contains("$1") {
            query.bind(&tuti.account_id)
        } else {
            query
        };
        query.execute(&mut database).await.unwrap();
    }
    let token = &budi.tokens.access_token;
    let mut callers = vec![
        ("a key that expired", expired.1.clone(), "UNAUTHENTICATED"),
        ("a key that was revoked", revoked.1, "UNAUTHENTICATED"),
        (
            "a key of a suspended account",
            suspended.1,
            "ACCOUNT_SUSPENDED",
        ),
        ("a token that expired", token.clone(), "TOKEN_EXPIRED"),
        (
            "a refresh token",
            budi.tokens.refresh_token.clone(),
            "UNAUTHENTICATED",
        ),
        (
            "a key nobody has",
            "sk_".to_owned() + &"A".repeat(43),
            "UNAUTHENTICATED",
        ),
        (
            "the digest of a key",
            hex(expired.1.as_bytes()),
            "UNAUTHENTICATED",
        ),
    ];
    let (head, _) = token.rsplit_once('.').unwrap();
    let (_, other) = siti.tokens.access_token.rsplit_once('.').unwrap();
    callers.push((
        "a token with another's signature",
        format!("{head}.{other}"),
        "UNAUTHENTICATED",
    ));
    tokio::time::sleep(Duration::from_secs(TOKEN)).await;
    let mut walked = 0;
    for method in methods() {
        let public = rule(&method)
            .get_field_by_name("public")
            .and_then(|it| it.as_bool());
        let path = path_of(&method);
        for (what, bearer, reason) in &callers {
            let refusal = refusal(&world, &Credentials::token(bearer), &path).await;
            if public == Some(true) {
                // Who need not say who they are are not held to it.
                let asked =
                    refusal.is_some_and(|error| error.code() == tonic::Code::Unauthenticated);
                assert!(
                    !asked || path.ends_with("RefreshToken") || path.ends_with("Login"),
                    "{what}: {path}"
                );
            } else {
                let refusal = refusal.unwrap_or_else(|| panic!("{what} opens {path}"));
                assert!(refusal.is(reason), "{what}: {path}: {refusal:?}");
                walked += 1;
            }
        }
    }
    assert!(walked > 500, "{walked} calls");
    // Signing out ends what would have made new tokens.
    let session = world.login(&siti.email).await;
    let refresh_token = session.tokens.refresh_token;
    let request = LogoutRequest {
        refresh_token: refresh_token.clone(),
    };
    world
        .login(&siti.email)
        .await
        .identity()
        .logout(request)
        .await
        .unwrap();
    let request = RefreshTokenRequest { refresh_token };
    assert_eq!(
        reason_of(siti.identity().refresh_token(request).await),
        "REFRESH_TOKEN_INVALID"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_token_ends_when_it_says_also_where_it_was_believed_a_moment_ago() {
    let world = World::with(Settings::default().with("ACCESS_TOKEN_SECONDS", 2)).await;
    let budi = world.login(&world.reseller().await.email).await;
    let issued = Instant::now();
    let held = budi.through(world.client(Credentials::token(&budi.tokens.access_token)));
    let error = eventually("the token has ended", || async {
        match held.identity().get_caller(once(GetCallerRequest {})).await {
            Ok(_) => Err("it still works"),
            Err(status) => Ok(Error::from(status)),
        }
    })
    .await;
    assert!(error.is("TOKEN_EXPIRED"), "{error:?}");
    // Its times are whole seconds.
    let took = issued.elapsed();
    assert!(took < Duration::from_millis(3500), "it worked for {took:?}");
}

async fn watch(world: &World, bearer: &str) -> Streaming<WatchEventsResponse> {
    use sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient;
    let client = world.client(Credentials::token(bearer));
    let request = WatchEventsRequest {
        checkpoints: true,
        ..Default::default()
    };
    let mut events = client.service(EventServiceClient::new);
    let mut stream = events
        .watch_events(once(request))
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut stream).await;
    assert!(matches!(first.item, Some(Item::Checkpoint(_))), "{first:?}");
    stream
}

/// How a stream ends, and after how long.
async fn end(mut stream: Streaming<WatchEventsResponse>) -> (String, Duration) {
    let began = Instant::now();
    let refusal = loop {
        match soon("the end of the stream", stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break Error::from(status),
        }
    };
    let reason = refusal.reason().map(|reason| reason.0.clone());
    (reason.unwrap_or_default(), began.elapsed())
}

#[tokio::test]
async fn a_watch_ends_with_what_it_was_opened_with() {
    let mut world = World::with(Settings::default().with("ACCESS_TOKEN_SECONDS", TOKEN)).await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let (revoked, kept) = (key(&budi, 0).await, key(&budi, 0).await);
    let of_revoked = watch(&world, &revoked.1).await;
    let mut of_kept = watch(&world, &kept.1).await;
    let fresh = world.login(&budi.email).await;
    let of_token = watch(&world, &fresh.tokens.access_token).await;
    // By another replica than the one that streams.
    let elsewhere = budi.through(world.client_of(
        second,
        Credentials::Session(sewa_sdk::Session::resume(budi.tokens.clone())),
    ));
    let request = DeleteApiKeyRequest {
        api_key_id: revoked.0,
    };
    elsewhere.identity().delete_api_key(request).await.unwrap();
    let (one, other) = tokio::join!(end(of_revoked), end(of_token));
    assert_eq!(one.0, "UNAUTHENTICATED");
    assert!(
        one.1 < Duration::from_secs(8),
        "five seconds are promised, it took {:?}",
        one.1
    );
    assert_eq!(other.0, "TOKEN_EXPIRED");
    assert!(
        other.1 < Duration::from_secs(TOKEN + 8),
        "it took {:?}",
        other.1
    );
    // What was opened with a key that works goes on.
    budi.open_deposit(20_000).await;
    let event = next(&mut of_kept).await;
    assert!(matches!(event.item, Some(Item::Event(_))), "{event:?}");
}
