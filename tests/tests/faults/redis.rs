//! Redis that is not there, forgets, or does not answer. Rate limits and watches go on without it. [R5]

use sewa_sdk::sewa::event::v1::WatchEventsRequest;
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_tests::http::Http;
use sewa_tests::patience::{eventually, next, soon};
use sewa_tests::proxy::Proxy;
use sewa_tests::redis::Redis;
use sewa_tests::{Actor, Settings, World, soak};

/// Calls a minute in these tests.
const ALLOWED: usize = 30;

/// A platform of two servers, and somebody known to both.
async fn platform(redis_url: String) -> (World, Actor, Actor) {
    let settings = Settings::default()
        .with("REDIS_URL", redis_url)
        .with("RATES__DEFAULT", ALLOWED);
    let mut world = World::with(settings).await;
    let second = tokio::task::block_in_place(|| world.add_server());
    let budi = world.reseller().await;
    let token = sewa_sdk::Credentials::token(&budi.tokens.access_token);
    let elsewhere = budi.through(world.client_of(second, token));
    (world, budi, elsewhere)
}

/// How many of more calls than are allowed one server lets pass. Each is answered, and says what is left.
async fn let_pass(world: &World, server: usize, budi: &Actor) -> usize {
    let http = Http::new(world.servers[server].address()).bearer(&budi.tokens.access_token);
    let mut passed = 0;
    for _ in 0..ALLOWED + 30 {
        let answer = soon("an answer", http.get("/v1/wallet")).await;
        match answer.status.as_u16() {
            200 => {
                assert_eq!(answer.header("ratelimit-limit"), ALLOWED.to_string());
                passed += 1;
            }
            429 => assert_eq!(answer.reason(), "RATE_LIMITED"),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    passed
}

/// Both servers count in Redis: with all forgotten, the second goes on where the first was. Each by itself would have refused or begun anew.
async fn count_together(world: &World, redis: &Redis, budi: &Actor) {
    let servers =
        [0, 1].map(|n| Http::new(world.servers[n].address()).bearer(&budi.tokens.access_token));
    let all = i64::try_from(ALLOWED).unwrap();
    eventually("the servers count together", || async {
        redis.flush().unwrap();
        let mut left = Vec::new();
        for http in &servers {
            let answer = soon("an answer", http.get("/v1/wallet")).await;
            left.push(answer.header("ratelimit-remaining").parse::<i64>().ok());
        }
        match left[..] {
            [Some(first), Some(second)] if first == all - 1 && second == all - 2 => Ok(()),
            _ => Err(left),
        }
    })
    .await;
}

/// A watch on one server hears of what is written on the other.
async fn is_heard(budi: &Actor, elsewhere: &Actor) {
    let request = WatchEventsRequest {
        checkpoints: true,
        ..Default::default()
    };
    let mut events = elsewhere.events();
    let opened = soon("a watch", events.watch_events(request)).await;
    let mut stream = opened.unwrap().into_inner();
    next(&mut stream).await;
    let deposit = budi.open_deposit(10_000).await;
    loop {
        if let Some(Item::Event(event)) = next(&mut stream).await.item {
            assert_eq!(event.subject_id, deposit.id);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_start_without_redis_and_share_their_counts_once_it_is_there() {
    let mut redis = Redis::start().unwrap();
    redis.stop().unwrap();
    let (world, budi, elsewhere) = platform(redis.url()).await;
    is_heard(&budi, &elsewhere).await;
    let passed = let_pass(&world, 0, &budi).await;
    assert!(passed >= ALLOWED - 5, "{passed}");
    redis.start_again().unwrap();
    count_together(&world, &redis, &budi).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_costs_no_call() {
    let redis = Redis::start().unwrap();
    let (world, budi, elsewhere) = platform(redis.url()).await;
    for _ in 0..soak() {
        redis.flush().unwrap();
        is_heard(&budi, &elsewhere).await;
        redis.flush().unwrap();
        let passed = let_pass(&world, 0, &budi).await;
        assert!(
            passed >= ALLOWED,
            "forgotten calls are not held against anybody"
        );
        assert!(passed < ALLOWED + 20, "counting begins again: {passed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_does_not_answer_holds_nothing_up() {
    let redis = Redis::start().unwrap();
    let proxy = Proxy::to_tcp(redis.address()).await.unwrap();
    let (world, budi, elsewhere) = platform(redis.url_through(proxy.address())).await;
    is_heard(&budi, &elsewhere).await;
    for _ in 0..soak() {
        proxy.stall();
        redis.flush().unwrap();
        // Each counts by itself meanwhile.
        let passed = let_pass(&world, 0, &budi).await;
        assert!(passed < ALLOWED + 20, "nobody counts: {passed}");
        is_heard(&elsewhere, &budi.through(elsewhere.client.clone())).await;
        proxy.pass();
        proxy.cut_all();
    }
    count_together(&world, &redis, &budi).await;
}
