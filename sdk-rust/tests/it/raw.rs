//! Calls by name, without a stub.

use bytes::Bytes;
use futures_util::TryStreamExt;
use prost::Message;
use prost_reflect::ReflectMessage;
use sewa_sdk::fake::Fake;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::{WatchEventsRequest, WatchEventsResponse};
use sewa_sdk::sewa::wallet::v1::{GetWalletRequest, GetWalletResponse, Wallet};
use sewa_sdk::to_json;
use tonic::{Code, Request, Response, Status};

use crate::script::{Line, Script, unavailable};

fn wallet() -> GetWalletResponse {
    GetWalletResponse {
        wallet: Some(Wallet {
            account_id: "a1".into(),
            available: Some(Money::idr(150_000)),
            ..Wallet::default()
        }),
    }
}

#[tokio::test(start_paused = true)]
async fn json_goes_in_and_out_and_the_rules_hold() {
    let script = Script::new([unavailable(), Line::Answer(wallet())]);
    let client = script
        .play::<GetWalletRequest>(Fake::default(), "sewa.wallet.v1.WalletService/GetWallet")
        .client()
        .build()
        .unwrap();
    for name in [
        "sewa.wallet.v1.WalletService/GetWallet",
        "/sewa.wallet.v1.WalletService/GetWallet",
        "sewa.wallet.v1.WalletService.GetWallet",
    ] {
        let reply: serde_json::Value =
            serde_json::from_str(&client.raw(name).unwrap().json("{}").await.unwrap()).unwrap();
        assert_eq!(reply["wallet"]["accountId"], "a1");
        assert_eq!(reply["wallet"]["available"]["units"], "150000");
    }
    assert_eq!(script.count(), 4, "the first was repeated");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_contract_is_refused_before_it_is_sent() {
    let client = Fake::default().client().build().unwrap();
    for name in [
        "",
        "x",
        "/",
        "sewa.wallet.v1.WalletService/Nope",
        "sewa.Nope/GetWallet",
    ] {
        assert_eq!(
            client.raw(name).unwrap_err().code(),
            Code::Unimplemented,
            "{name:?}"
        );
    }
    let method = client
        .raw("sewa.wallet.v1.WalletService/GetWallet")
        .unwrap();
    for json in ["", "{", "[]", "{} {}", r#"{"unknown": 1}"#] {
        assert_eq!(
            method.request(json).unwrap_err().code(),
            Code::InvalidArgument,
            "{json:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_can_be_read_without_a_stub() {
    let fake = Fake::default().on_stream(
        "sewa.event.v1.EventService/WatchEvents",
        |request: Request<WatchEventsRequest>| async move {
            let cursor = request.into_inner().resume_cursor;
            let reply = move |n| {
                Ok::<_, Status>(WatchEventsResponse {
                    cursor: format!("{cursor}{n}"),
                    item: None,
                })
            };
            Ok(Response::new(futures_util::stream::iter((0..3).map(reply))))
        },
    );
    let client = fake.client().build().unwrap();
    let watch = client
        .raw("sewa.event.v1.EventService/WatchEvents")
        .unwrap();
    let request = watch.request(r#"{"resumeCursor": "c"}"#).unwrap();
    let messages: Vec<_> = watch
        .stream(Request::new(request))
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0].descriptor().name(), "WatchEventsResponse");
    assert!(to_json(&messages[2]).unwrap().contains(r#""cursor":"c2""#));
}

#[tokio::test(start_paused = true)]
async fn bytes_go_to_any_path() {
    let script = Script::new([Line::Answer(wallet())]);
    let client = script
        .play::<GetWalletRequest>(Fake::default(), "of.the.Future/Call")
        .client()
        .build()
        .unwrap();
    let reply = client
        .raw_bytes(
            "/of.the.Future/Call".parse().unwrap(),
            Request::new(Bytes::new()),
        )
        .await
        .unwrap();
    assert_eq!(
        GetWalletResponse::decode(reply.into_inner()).unwrap(),
        wallet()
    );
    assert_eq!(script.header("idempotency-key"), [None]);
    assert!(script.header("x-request-id")[0].is_some());
}
