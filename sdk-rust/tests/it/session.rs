//! Signing in, renewing, and never twice at a time. Time is virtual, but tokens end by the wall clock, as they do in life.

use std::time::{Duration, SystemTime};

use crate::script::{Line, Script, refusal, unavailable};
use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::event::v1::{
    WatchEventsRequest, WatchEventsResponse, event_service_client::EventServiceClient,
};
use sewa_sdk::sewa::identity::v1::{
    GetJwksRequest, GetJwksResponse, LoginRequest, LoginResponse, RefreshTokenRequest,
    RefreshTokenResponse, Tokens, identity_service_client::IdentityServiceClient,
};
use sewa_sdk::sewa::wallet::v1::{
    GetWalletRequest, GetWalletResponse, wallet_service_client::WalletServiceClient,
};
use sewa_sdk::{Client, Credentials, Error, Session};
use tonic::{Code, Request, Status};

const IDENTITY: &str = "sewa.identity.v1.IdentityService";
const GET_WALLET: &str = "sewa.wallet.v1.WalletService/GetWallet";

fn tokens(name: &str, life: Duration) -> Tokens {
    Tokens {
        access_token: format!("access-{name}"),
        refresh_token: format!("refresh-{name}"),
        access_expire_time: Some((SystemTime::now() + life).into()),
        refresh_expire_time: None,
    }
}

fn login(name: &str, life: Duration) -> Line<LoginResponse> {
    Line::Answer(LoginResponse {
        tokens: Some(tokens(name, life)),
        caller: None,
    })
}

fn refresh(name: &str, life: Duration) -> Line<RefreshTokenResponse> {
    Line::Answer(RefreshTokenResponse {
        tokens: Some(tokens(name, life)),
    })
}

fn expired<Resp>() -> Line<Resp> {
    Line::Refuse(refusal(Code::Unauthenticated, "TOKEN_EXPIRED"))
}

const HOUR: Duration = Duration::from_secs(3600);

struct Server {
    logins: Script<LoginResponse>,
    refreshes: Script<RefreshTokenResponse>,
    wallets: Script<GetWalletResponse>,
}

impl Server {
    fn new(logins: Line<LoginResponse>, refreshes: Line<RefreshTokenResponse>) -> Self {
        Self {
            logins: Script::new([logins]),
            refreshes: Script::new([refreshes]),
            wallets: Script::new([Line::Answer(GetWalletResponse::default())]),
        }
    }

    fn fake(&self) -> Fake {
        let fake = self
            .logins
            .play::<LoginRequest>(Fake::default(), &format!("{IDENTITY}/Login"));
        let fake = self
            .refreshes
            .play::<RefreshTokenRequest>(fake, &format!("{IDENTITY}/RefreshToken"));
        self.wallets.play::<GetWalletRequest>(fake, GET_WALLET)
    }

    fn client(&self, credentials: Credentials) -> Client {
        self.fake()
            .client()
            .credentials(credentials)
            .build()
            .unwrap()
    }

    fn sent(&self) -> Vec<String> {
        self.wallets
            .header("authorization")
            .into_iter()
            .map(Option::unwrap)
            .collect()
    }
}

async fn read(client: &Client) -> Result<GetWalletResponse, Error> {
    Ok(client
        .service(WalletServiceClient::new)
        .get_wallet(GetWalletRequest::default())
        .await?
        .into_inner())
}

#[tokio::test(start_paused = true)]
async fn keys_and_tokens_are_sent_as_bearers() {
    for credentials in [Credentials::api_key("sk_1"), Credentials::token("sk_1")] {
        let server = Server::new(login("a", HOUR), refresh("b", HOUR));
        read(&server.client(credentials)).await.unwrap();
        assert_eq!(server.sent(), ["Bearer sk_1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn many_calls_sign_in_once() {
    let server = Server::new(login("a", HOUR), refresh("b", HOUR));
    let client = server.client(Credentials::login("budi@example.com", "correct horse 9"));
    let calls = (0..20).map(|_| {
        let client = client.clone();
        tokio::spawn(async move { read(&client).await })
    });
    for call in futures_util::future::join_all(calls).await {
        call.unwrap().unwrap();
    }
    assert_eq!(server.logins.count(), 1);
    assert_eq!(server.logins.header("authorization"), [None]);
    assert!(server.sent().iter().all(|sent| sent == "Bearer access-a"));
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_renewed_once_and_the_call_repeated() {
    let mut server = Server::new(login("a", HOUR), refresh("b", HOUR));
    server.wallets = Script::new([expired(), Line::Answer(GetWalletResponse::default())]);
    read(&server.client(Credentials::Session(Session::resume(tokens("old", HOUR)))))
        .await
        .unwrap();
    assert_eq!(server.sent(), ["Bearer access-old", "Bearer access-b"]);
    assert_eq!((server.refreshes.count(), server.logins.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_calls_every_token_expired_is_not_asked_for_ever() {
    let mut server = Server::new(login("a", HOUR), refresh("b", HOUR));
    server.wallets = Script::new([expired()]);
    let error = read(&server.client(Credentials::Session(Session::resume(tokens("old", HOUR)))))
        .await
        .unwrap_err();
    assert!(error.is("TOKEN_EXPIRED"));
    assert_eq!((server.wallets.count(), server.refreshes.count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_expired_cannot_be_renewed() {
    let mut server = Server::new(login("a", HOUR), refresh("b", HOUR));
    server.wallets = Script::new([expired()]);
    assert!(
        read(&server.client(Credentials::token("t")))
            .await
            .unwrap_err()
            .is("TOKEN_EXPIRED")
    );
    assert_eq!(server.wallets.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_in_the_background_before_it_ends() {
    let server = Server::new(login("a", Duration::from_secs(600)), refresh("b", HOUR));
    let client = server.client(Credentials::login("budi@example.com", "correct horse 9"));
    read(&client).await.unwrap();
    tokio::time::advance(Duration::from_secs(500)).await;
    read(&client).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    read(&client).await.unwrap();
    assert_eq!(
        server.sent(),
        ["Bearer access-a", "Bearer access-a", "Bearer access-b"]
    );
    assert_eq!((server.logins.count(), server.refreshes.count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_token_leads_to_a_new_sign_in() {
    let refused = Line::Refuse(refusal(Code::Unauthenticated, "REFRESH_TOKEN_INVALID"));
    let server = Server::new(login("a", Duration::from_secs(60)), refused);
    let client = server.client(Credentials::login("budi@example.com", "correct horse 9"));
    read(&client).await.unwrap();
    tokio::time::advance(Duration::from_secs(61)).await;
    read(&client).await.unwrap();
    assert_eq!((server.logins.count(), server.refreshes.count()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_never_repeated_because_its_token_works_once() {
    let server = Server::new(login("a", HOUR), unavailable());
    let client = server.client(Credentials::Session(Session::resume(tokens(
        "old",
        Duration::ZERO,
    ))));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(read(&client).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!((server.refreshes.count(), server.wallets.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_is_tried_once_for_all_who_wait() {
    let refused = Line::Refuse(refusal(Code::Unauthenticated, "INVALID_CREDENTIALS"));
    let server = Server::new(refused, refresh("b", HOUR));
    let client = server.client(Credentials::login("budi@example.com", "wrong"));
    let calls = futures_util::future::join_all((0..10).map(|_| read(&client))).await;
    assert!(
        calls
            .iter()
            .all(|call| call.as_ref().unwrap_err().is("INVALID_CREDENTIALS"))
    );
    assert_eq!((server.logins.count(), server.wallets.count()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_outlives_the_call_that_wanted_it() {
    let mut server = Server::new(login("a", HOUR), refresh("b", HOUR));
    let slow = Line::Late(
        Duration::from_secs(3),
        RefreshTokenResponse {
            tokens: Some(tokens("b", HOUR)),
        },
    );
    server.refreshes = Script::new([slow]);
    let client = server.client(Credentials::Session(Session::resume(tokens(
        "old",
        Duration::ZERO,
    ))));
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::timeout(Duration::from_secs(1), read(&client))
        .await
        .unwrap_err();
    read(&client).await.unwrap();
    assert_eq!(server.sent(), ["Bearer access-b"]);
    assert_eq!(
        server.refreshes.count(),
        1,
        "a second use of the refresh token would have revoked the session"
    );
}

#[tokio::test(start_paused = true)]
async fn a_public_method_needs_no_session() {
    let server = Server::new(login("a", HOUR), refresh("b", HOUR));
    let jwks = Script::new([Line::Answer(GetJwksResponse::default())]);
    let fake = jwks.play::<GetJwksRequest>(server.fake(), &format!("{IDENTITY}/GetJwks"));
    let client = fake
        .client()
        .credentials(Credentials::login("budi@example.com", "correct horse 9"))
        .build()
        .unwrap();
    client
        .service(IdentityServiceClient::new)
        .get_jwks(GetJwksRequest::default())
        .await
        .unwrap();
    assert_eq!(
        (server.logins.count(), jwks.header("authorization")),
        (0, vec![None])
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_opened_again_when_its_token_is_expired() {
    let server = Server::new(login("a", HOUR), refresh("b", HOUR));
    let fake = server.fake().on_stream(
        "sewa.event.v1.EventService/WatchEvents",
        |request: Request<WatchEventsRequest>| async move {
            match request
                .metadata()
                .get("authorization")
                .and_then(|value| value.to_str().ok())
            {
                Some("Bearer access-b") => {
                    Ok(tonic::Response::new(futures_util::stream::iter([Ok::<
                        _,
                        Status,
                    >(
                        WatchEventsResponse::default(),
                    )])))
                }
                _ => Err(refusal(Code::Unauthenticated, "TOKEN_EXPIRED")),
            }
        },
    );
    let client = fake
        .client()
        .credentials(Credentials::Session(Session::resume(tokens("old", HOUR))))
        .build()
        .unwrap();
    let mut stream = client
        .service(EventServiceClient::new)
        .watch_events(WatchEventsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        stream.message().await.unwrap(),
        Some(WatchEventsResponse::default())
    );
    assert_eq!(server.refreshes.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn secrets_are_never_printed() {
    let session = Session::resume(tokens("hunter2", HOUR));
    let server = Server::new(login("a", HOUR), refresh("b", HOUR));
    let client = server.client(Credentials::Session(session.clone()));
    let builder = Client::builder("http://localhost").credentials(Credentials::api_key("hunter2"));
    let printed = [
        format!("{session:?}"),
        format!("{:?}", Credentials::api_key("hunter2")),
        format!("{:?}", Credentials::login("hunter2@example.com", "hunter2")),
        format!("{builder:?}"),
        format!("{client:?} {:?}", client.transport()),
    ];
    for text in printed {
        assert!(!text.contains("hunter2"), "{text}");
    }
}
