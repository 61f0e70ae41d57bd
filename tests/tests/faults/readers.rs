//! Readers that do not read, and callers who leave. [R11]

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;
use sewa_sdk::sewa::event::v1::WatchEventsRequest;
use sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient;
use sewa_sdk::sewa::order::v1::{ListOrdersRequest, Payment, PlaceOrderRequest};
use sewa_tests::patience::{eventually, soon};
use sewa_tests::random::Random;
use sewa_tests::{Actor, World, keyed, seed, soak, until_answered};
use tokio::task::JoinSet;

use crate::database::nothing_is_left_open;
use crate::load::{pay_in, people};

/// Streams that nobody reads, over so many connections.
const CONNECTIONS: u64 = 10;
const STREAMS: u64 = 30;
/// Events they do not read: more than a server keeps for slow readers.
const EVENTS: i64 = 20_000;
/// Callers who leave.
const LEAVERS: u64 = 300;
/// What a server may use more than before when all are gone, in KiB. The allocator keeps some.
const KEPT_KIB: u64 = 96 << 10;

async fn open_watches(world: &World) -> Option<u64> {
    let metrics = world.http().get("/metrics").await.text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("sewa_calls_open") && line.contains("WatchEvents"))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// A stream and what holds its connection.
async fn watch_and_do_not_read(
    world: &World,
    budi: &Actor,
) -> Vec<tonic::Streaming<sewa_sdk::sewa::event::v1::WatchEventsResponse>> {
    let endpoint = tonic::transport::Endpoint::from_shared(world.url()).unwrap();
    // Windows of their own, which nobody empties.
    let channel = endpoint.initial_stream_window_size(65_535).connect().await;
    let client = EventServiceClient::new(channel.unwrap());
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut request = tonic::Request::new(WatchEventsRequest {
            checkpoints: true,
            ..Default::default()
        });
        let bearer = format!("Bearer {}", budi.tokens.access_token);
        request
            .metadata_mut()
            .insert("authorization", bearer.parse().unwrap());
        let mut client = client.clone();
        let opened = soon("a stream", client.watch_events(request)).await;
        streams.push(opened.unwrap().into_inner());
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_never_read_cost_little_and_hold_nobody_up() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let before = world.servers[0].memory_kib().unwrap();
    for round in 0..soak() {
        let mut lazy = Vec::new();
        for _ in 0..CONNECTIONS {
            lazy.extend(watch_and_do_not_read(&world, &budi).await);
        }
        eventually("all watches are open", || async {
            match open_watches(&world).await {
                Some(open) if open == CONNECTIONS * STREAMS => Ok(()),
                other => Err(other),
            }
        })
        .await;
        let many = "insert into events select account_id, nextval('events_seq'), gen_random_uuid(), type, subject_id, revision, occurred_at, payload
            from (select * from events limit 1) one, generate_series(1, $1)";
        sqlx::query(many)
            .bind(EVENTS)
            .execute(&mut world.behind_the_scenes().await)
            .await
            .unwrap();
        // Others are served meanwhile, and hear what is new.
        let deposit = pay_in(&budi, 10_000, &round.to_string()).await;
        let wanted = format!("/v1/events?subject_id={deposit}");
        let http = world.http().bearer(&budi.tokens.access_token);
        eventually("the log is read on", || async {
            let answer = soon("an answer", http.get(&wanted)).await;
            // A busy machine refuses now and then.
            let read = answer.status == StatusCode::OK && answer.json()["events"][0].is_object();
            read.then_some(()).ok_or_else(|| answer.text())
        })
        .await;
        let during = world.servers[0].memory_kib().unwrap();
        println!("memory: {before} KiB before, {during} KiB with readers that do not read");
        drop(lazy);
        nothing_is_left_open(&world).await;
    }
    let after = world.servers[0].memory_kib().unwrap();
    println!("memory: {before} KiB before, {after} KiB after");
    assert!(after < before + KEPT_KIB, "{before} KiB grew to {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_who_leave_in_the_middle_have_all_or_nothing_done() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let world = World::new().await;
    let (budi, draft) = people(&world, 1).await.remove(0);
    // A cloud that is full ends orders without machines, so that many may be placed.
    let body = |number: u64| {
        json!({"draft": {
            "plan_id": draft.plan_id, "region_id": draft.region_id, "image_id": draft.image_id,
            "period": "BILLING_PERIOD_MONTH", "hostname": format!("web-{number}"), "auto_renew": true,
        }, "payment": "PAYMENT_WALLET"})
    };
    let count = LEAVERS * soak();
    let mut leaving = JoinSet::new();
    let mut left = 0;
    for number in 0..count {
        let http = world.http().bearer(&budi.tokens.access_token);
        let http = if number % 2 == 0 { http } else { http.http2() };
        let body = Bytes::from(body(number).to_string());
        let patience = Duration::from_micros(random.below(20_000));
        leaving.spawn(async move {
            let key = format!("key-{number}");
            let headers = [
                ("content-type", "application/json"),
                ("idempotency-key", &*key),
            ];
            let call = http.open(http::Method::POST, "/v1/orders", &headers, body);
            tokio::time::timeout(patience, call).await.is_err()
        });
        if leaving.len() >= 32 {
            left += u64::from(leaving.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(gone) = leaving.join_next().await {
        left += u64::from(gone.unwrap());
    }
    println!("{left} of {count} left before they were answered");
    assert!(left > count / 10, "the test tests little");
    nothing_is_left_open(&world).await;
    let _ = budi
        .orders()
        .list_orders(ListOrdersRequest::default())
        .await
        .unwrap();
    // Whoever left and asks again with the same key gets the one order there is.
    let mut told = std::collections::BTreeSet::new();
    for number in 0..count {
        let mut draft = draft.clone();
        draft.hostname = format!("web-{number}");
        let request = PlaceOrderRequest {
            draft: Some(draft),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        let key = format!("key-{number}");
        let placed = until_answered(|| {
            let (budi, request) = (budi.clone(), keyed(&key, request.clone()));
            async move { budi.orders().place_order(request).await }
        })
        .await;
        told.insert(placed.order.unwrap().id);
    }
    assert_eq!(told.len() as u64, count);
    let orders: i64 = sqlx::query_scalar("select count(*) from orders")
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    assert_eq!(orders.cast_unsigned(), count, "one order for each key");
    world.prove();
}
