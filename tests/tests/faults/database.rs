//! PostgreSQL that answers nothing, something else, or only half. [R4]

use std::time::Duration;

use sewa_sdk::Credentials;
use sewa_sdk::sewa::wallet::v1::GetWalletRequest;
use sewa_tests::patience::{eventually, soon};
use sewa_tests::proxy::Proxy;
use sewa_tests::random::Random;
use sewa_tests::{Actor, Settings, World, once, refused, seed, soak};
use tokio::task::JoinSet;

use crate::load::{Told, as_told, end_leases, people, set_to_work};

/// People who work at the same time.
const PEOPLE: usize = 6;
/// Orders, deposits and reboots of each.
const ROUNDS: u64 = 2;

/// Lets people work while `disturb` is done every now and then, until they have finished. A lease whose owner never heard that it has it lasts half a minute;
/// nobody waits that long for a test, so leases are ended by SQL as well.
pub(crate) async fn disturbed(
    world: &World,
    mut working: JoinSet<Told>,
    random: &mut Random,
    mut disturb: impl AsyncFnMut(),
) -> Vec<Told> {
    let mut told = Vec::new();
    while !working.is_empty() {
        let pause = Duration::from_millis(50 + random.below(400));
        tokio::select! {
            done = working.join_next() => told.extend(done.map(|done| done.expect("nobody panics"))),
            () = tokio::time::sleep(pause) => {
                disturb().await;
                end_leases(world).await;
            }
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_reply_is_cut_is_done_once() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let people = people(&world, PEOPLE).await;
    proxy.cut_replies_to_commits(seed, 150);
    let working = set_to_work(&people, 0..ROUNDS * soak());
    let told = disturbed(&world, working, &mut random, async || proxy.cut_all()).await;
    proxy.cut_replies_to_commits(seed, 0);
    println!("{} replies to commits were cut", proxy.replies_cut());
    assert!(proxy.replies_cut() >= 20, "the test tests little");
    as_told(&world, &told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_terminated_lose_nothing() {
    let mut random = Random::from_seed(seed());
    let world = World::new().await;
    let people = people(&world, PEOPLE).await;
    let mut database = world.behind_the_scenes().await;
    let mut ended = 0;
    let working = set_to_work(&people, 0..ROUNDS * soak());
    let told = disturbed(&world, working, &mut random, async || {
        let sessions: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name = 'sewa'",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        ended += sessions;
    })
    .await;
    println!("{ended} sessions were terminated");
    assert!(ended >= 20, "the test tests little");
    as_told(&world, &told).await;
}

/// An API key, which the server looks up in the database.
async fn api_key(budi: &Actor) -> String {
    use sewa_sdk::sewa::identity::v1::CreateApiKeyRequest;
    let request = CreateApiKeyRequest {
        display_name: "faults".to_owned(),
        scopes: vec!["wallet.read".to_owned()],
        ..Default::default()
    };
    let reply = budi.identity().create_api_key(request).await.unwrap();
    reply.into_inner().secret
}

async fn answers(actor: &Actor) -> Result<(), String> {
    let mut wallet = actor.wallet();
    let reply = wallet.get_wallet(once(GetWalletRequest::default())).await;
    reply.map(drop).map_err(|status| status.to_string())
}

pub(crate) async fn nothing_is_left_open(world: &World) {
    eventually("no call is open", || async {
        let metrics = world.http().get("/metrics").await.text();
        let open: Vec<String> = metrics
            .lines()
            .filter(|line| line.starts_with("sewa_calls_open") && !line.ends_with(" 0"))
            .map(str::to_owned)
            .collect();
        if open.is_empty() { Ok(()) } else { Err(open) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_refuses_calls_are_told_to_come_again_and_then_served() {
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let budi = world.reseller().await;
    let key = api_key(&budi).await;
    let keyed = budi.through(world.client(Credentials::api_key(&key)));
    for _ in 0..soak() {
        proxy.refuse();
        for actor in [&budi, &keyed] {
            let request = once(GetWalletRequest::default());
            let answer = soon("an answer", actor.wallet().get_wallet(request)).await;
            let error = refused(answer);
            assert!(error.is("UNAVAILABLE"), "{error:?}");
            assert!(error.retry().after.is_some(), "no hint: {error:?}");
        }
        let http = world.http().bearer(&budi.tokens.access_token);
        let answer = soon("an answer", http.get("/v1/wallet")).await;
        assert_eq!(
            (answer.status.as_u16(), &*answer.reason()),
            (503, "UNAVAILABLE")
        );
        assert_ne!(answer.header("retry-after"), "");
        assert_eq!(world.http().get("/readyz").await.status.as_u16(), 503);
        assert_eq!(world.http().get("/healthz").await.status.as_u16(), 200);
        proxy.pass();
        eventually("the server serves again", || answers(&budi)).await;
        eventually("keys are known again", || answers(&keyed)).await;
        let (before, held) = budi.balance().await;
        budi.deposit(1_000_000).await;
        assert_eq!(budi.balance().await, (before + 1_000_000, held));
        nothing_is_left_open(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_stalls_every_call_ends_by_its_deadline() {
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let budi = world.reseller().await;
    let key = api_key(&budi).await;
    let keyed = budi.through(world.client(Credentials::api_key(&key)));
    for round in 0..soak() {
        proxy.stall();
        // Far more than the pool has connections; half of them have to be looked up in the database before anything else. Over REST the deadline is the
        // server's own, and nobody but the server keeps it.
        let mut calls = JoinSet::new();
        for number in 0..60 {
            let bearer = if number % 2 == 0 {
                &budi.tokens.access_token
            } else {
                &key
            };
            let http = world.http().bearer(bearer);
            calls.spawn(async move { soon("an answer", http.get("/v1/wallet")).await });
        }
        let mut told_when = 0;
        while let Some(answer) = calls.join_next().await {
            let answer = answer.unwrap();
            match &*answer.reason() {
                "UNAVAILABLE" => {
                    assert_ne!(
                        answer.header("retry-after"),
                        "",
                        "no hint: {}",
                        answer.text()
                    );
                    told_when += 1;
                }
                "DEADLINE_EXCEEDED" => {}
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert!(told_when > 0, "nobody was told to come again");
        // Nobody waits inside the server either.
        nothing_is_left_open(&world).await;
        proxy.pass();
        eventually("the server serves again", || answers(&budi)).await;
        eventually("keys are known again", || answers(&keyed)).await;
        budi.deposit(1_000_000).await;
        let placed = budi.buy(&format!("web-{round}")).await;
        budi.wait_active(&placed).await;
    }
}
