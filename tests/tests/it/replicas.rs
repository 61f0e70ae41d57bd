//! Several servers as one platform: on one database, with and without a Redis. [L5, M3, I7]

use std::collections::BTreeSet;
use std::time::Instant;

use sewa_sdk::Credentials;
use sewa_sdk::sewa::event::v1::WatchEventsRequest;
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sewa_sdk::sewa::lifecycle::v1::ListRenewalsRequest;
use sewa_sdk::sewa::lifecycle::v1::renewal::State as RenewalState;
use sewa_tests::actor::rupiah;
use sewa_tests::http::Http;
use sewa_tests::patience::{eventually, next, soon};
use sewa_tests::random::Random;
use sewa_tests::redis::Redis;
use sewa_tests::{Actor, Settings, World};

/// An owner with machines that fell due a while ago, and money for one renewal of each.
async fn overdue(world: &World, machines: usize) -> (Actor, i64) {
    let budi = world.reseller().await;
    let price = rupiah(
        budi.preview(&budi.draft("web-1").await)
            .await
            .unwrap()
            .total
            .as_ref(),
    );
    budi.deposit(price * 2 * i64::try_from(machines).unwrap())
        .await;
    let mut placed = Vec::new();
    for number in 0..machines {
        placed.push(budi.buy(&format!("web-{number}")).await);
    }
    for order in &placed {
        budi.wait_active(order).await;
    }
    (budi, price)
}

async fn let_time_pass(world: &World) {
    // Nobody waits a month for a test, and a test clock is walked by one server alone: real time is what replicas share.
    let shift = "with periods as (
            update renewals r set ends_at = ends_at - interval '40 days', starts_at = starts_at - interval '40 days'
            from subscriptions s where s.account_id = r.account_id and s.instance_id = r.instance_id and s.next_step_at is not null
        )
        update subscriptions set anchor_at = anchor_at - interval '40 days', paid_until = paid_until - interval '40 days',
        next_step_at = next_step_at - interval '40 days' where next_step_at is not null";
    sqlx::query(shift)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
}

async fn renewed_once(budi: &Actor, machines: usize, price: i64) {
    eventually("everything due is renewed", || async {
        match budi.balance().await {
            (0, 0) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let request = ListRenewalsRequest {
        page_size: 200,
        ..Default::default()
    };
    let renewals = budi
        .lifecycle()
        .list_renewals(request)
        .await
        .unwrap()
        .into_inner()
        .renewals;
    let second: Vec<_> = renewals
        .iter()
        .filter(|renewal| renewal.period_number == 2)
        .collect();
    assert_eq!(second.len(), machines);
    assert!(
        second
            .iter()
            .all(|renewal| renewal.state() == RenewalState::Paid
                && rupiah(renewal.total.as_ref()) == price)
    );
    let renewed = |event: &Event| event.r#type() == EventType::Renewed;
    let told = budi.logged(machines, renewed).await;
    assert_eq!(told.len(), machines, "each told once");
    let about: BTreeSet<&str> = told.iter().map(|event| event.subject_id.as_str()).collect();
    assert_eq!(about.len(), machines);
}

#[tokio::test]
async fn two_servers_renew_everything_due_once() {
    let mut world = World::new().await;
    world.add_server();
    let mut owners = Vec::new();
    for _ in 0..3 {
        owners.push(overdue(&world, 8).await);
    }
    let_time_pass(&world).await;
    for (budi, price) in &owners {
        renewed_once(budi, 8, *price).await;
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_sweep_loses_and_doubles_nothing() {
    let mut world = World::new().await;
    let second = world.add_server();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = Random::from_seed(seed);
    for round in 0..4 {
        let (budi, price) = overdue(&world, 6).await;
        let_time_pass(&world).await;
        let moment = Instant::now() + std::time::Duration::from_millis(random.below(400));
        while Instant::now() < moment {
            tokio::task::yield_now().await;
        }
        let victim = if round % 2 == 0 { 0 } else { second };
        world.servers[victim].kill();
        let survivor = budi.through(world.client_of(
            second - victim,
            Credentials::token(&budi.tokens.access_token),
        ));
        renewed_once(&survivor, 6, price).await;
        world.servers[victim].start_again().unwrap();
    }
}

#[tokio::test]
async fn a_watch_on_one_server_sees_what_is_written_on_another() {
    let redis = Redis::start().unwrap();
    let mut world = World::with(Settings::default().with("REDIS_URL", redis.url())).await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let elsewhere =
        budi.through(world.client_of(second, Credentials::token(&budi.tokens.access_token)));
    let mut stream = elsewhere
        .events()
        .watch_events(WatchEventsRequest {
            checkpoints: true,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await;
    let mut waits = Vec::new();
    for _ in 0..20 {
        let deposit = budi.open_deposit(10_000).await;
        let written = Instant::now();
        let told = async {
            loop {
                if let Some(Item::Event(event)) = next(&mut stream).await.item {
                    break event;
                }
            }
        };
        assert_eq!(soon("the news", told).await.subject_id, deposit.id);
        waits.push(written.elapsed());
    }
    // That each is seen is the promise; how soon is shown, and not asserted, because it is the machine's affair.
    waits.sort();
    println!("{waits:?}");
    assert_eq!(waits.len(), 20);
}

#[tokio::test]
async fn servers_share_one_count_of_calls_while_redis_lives_and_go_on_when_it_is_gone() {
    let mut redis = Redis::start().unwrap();
    let settings = Settings::default()
        .with("REDIS_URL", redis.url())
        .with("RATES__DEFAULT", 30);
    let mut world = World::with(settings).await;
    let second = world.add_server();
    let budi = world.reseller().await;
    let servers = [world.http(), Http::new(world.servers[second].address())]
        .map(|http| http.bearer(&budi.tokens.access_token));
    let mut allowed = 0;
    for call in 0..60 {
        let answer = servers[call % 2].get("/v1/wallet").await;
        match answer.status.as_u16() {
            200 => allowed += 1,
            429 => assert_eq!(answer.reason(), "RATE_LIMITED"),
            other => panic!("{other}: {}", answer.text()),
        }
    }
    // While the calls were made a few more came back into the allowance.
    assert!(
        (30..45).contains(&allowed),
        "thirty for both servers together, not {allowed}"
    );
    redis.stop().unwrap();
    let mut alone = 0;
    for http in &servers {
        let answer = http.get("/v1/wallet").await;
        alone += u32::from(answer.status.as_u16() == 200);
        assert!(
            [200, 429].contains(&answer.status.as_u16()),
            "{}",
            answer.text()
        );
    }
    assert_eq!(alone, 2, "each counts by itself now, from zero");
    assert_eq!(
        world.http().get("/readyz").await.status.as_u16(),
        200,
        "nothing depends on Redis"
    );
    redis.start_again().unwrap();
    eventually("the count is shared again", || async {
        let before: i64 = servers[0]
            .get("/v1/wallet")
            .await
            .header("ratelimit-remaining")
            .parse()
            .unwrap_or(0);
        let after: i64 = servers[1]
            .get("/v1/wallet")
            .await
            .header("ratelimit-remaining")
            .parse()
            .unwrap_or(0);
        if before - after == 1 || before == 0 && after == 0 {
            Ok(())
        } else {
            Err((before, after))
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_that_only_answers_leaves_the_work_to_workers() {
    let mut world = World::with(Settings::default().with("ROLE", "api")).await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    let waited = sewa_sdk::wait(
        &budi.client,
        placed.operation.id.clone(),
        sewa_sdk::WaitOptions::default().timeout(std::time::Duration::from_secs(2)),
    )
    .await;
    assert!(
        waited.is_err_and(|error| error.timed_out().is_some()),
        "nobody works"
    );
    world.add_worker();
    budi.wait_active(&placed).await;
}
