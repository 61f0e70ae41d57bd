//! Clocks that are wrong: by minutes they change nothing, and by hours or days nothing is done by them. Nobody is billed, suspended or deleted because a machine woke
//! up in another month. [R8]

use std::time::Duration;

use sewa_sdk::Credentials;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::identity::v1::CreateApiKeyRequest;
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_tests::patience::eventually;
use sewa_tests::random::Random;
use sewa_tests::{Actor, Settings, World, refused, seed, soak};
use sqlx::PgConnection;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A clock that a test moves.
struct Hands(tempfile::NamedTempFile);

impl Hands {
    fn new(seconds: i64) -> Self {
        let hands = Self(tempfile::NamedTempFile::new().unwrap());
        hands.show(seconds);
        hands
    }

    /// The clock is so many seconds ahead.
    fn show(&self, seconds: i64) {
        // Renamed into place, so that nobody reads half a number.
        let path = self.0.path();
        let next = path.with_extension("next");
        std::fs::write(&next, seconds.to_string()).unwrap();
        std::fs::rename(next, path).unwrap();
    }

    fn setting(&self) -> Settings {
        Settings::default().with("FAULT_CLOCK", self.0.path().display())
    }
}

/// Somebody with money for a few periods of machines that are paid by the day.
async fn daily(world: &World, machines: usize) -> Actor {
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    for number in 0..machines {
        let draft = OrderDraft {
            period: BillingPeriod::Day.into(),
            ..budi.draft(&format!("web-{number}")).await
        };
        let placed = budi.place(draft).await.unwrap();
        budi.wait_active(&placed).await;
    }
    budi
}

/// What time must have done to: subscriptions, their periods, and the machines.
async fn paid(database: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select format('%s %s %s %s', s.instance_id, s.state, s.period_number, s.paid_until) from subscriptions s
        union all select format('%s %s', instance_id, period_number) from renewals
        union all select format('%s %s', id, state) from instances order by 1",
    )
    .fetch_all(database)
    .await
    .unwrap()
}

async fn is_ready(world: &World, server: usize) -> bool {
    let http = sewa_tests::http::Http::new(world.servers[server].address());
    http.get("/readyz").await.status.is_success()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_clock_that_is_wrong_by_hours_or_days_nothing_is_done() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let hands = Hands::new(0);
    let world = World::with(hands.setting()).await;
    let budi = daily(&world, 2).await;
    world.settled().await;
    let mut database = world.behind_the_scenes().await;
    let before = paid(&mut database).await;
    let jumps = [HOUR, -HOUR, DAY, -DAY, 30 * DAY, -30 * DAY, 3650 * DAY];
    for _ in 0..soak() {
        let mut left = jumps.to_vec();
        while !left.is_empty() {
            let which = usize::try_from(random.below(left.len() as u64)).unwrap();
            let jump = left.swap_remove(which);
            hands.show(jump);
            assert!(!is_ready(&world, 0).await, "ready, {jump} s away");
            // Longer than the sweeps rest.
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let mut catalog = budi.catalog();
            let plans = catalog.list_plans(sewa_tests::once(Default::default()));
            let refusal = refused(plans.await);
            assert!(refusal.is("UNAVAILABLE"), "{jump}: {refusal:?}");
            assert!(refusal.retry().after.is_some(), "{jump}: {refusal:?}");
            assert_eq!(paid(&mut database).await, before, "{jump} s away");
            hands.show(0);
            assert!(is_ready(&world, 0).await, "not ready after {jump} s");
        }
    }
    // And all goes on: what was begun meanwhile ends, and what is begun now.
    let placed = budi.buy("web-after").await;
    budi.wait_active(&placed).await;
    world.settled().await;
}

/// Lets the periods that are paid end in five minutes, as if all had begun earlier.
async fn nearly_end(database: &mut PgConnection) {
    let span: f64 = sqlx::query_scalar(
        "select extract(epoch from min(paid_until) - now() - interval '5 minutes')::float8 from subscriptions",
    )
    .fetch_one(&mut *database)
    .await
    .unwrap();
    for change in [
        "update subscriptions set anchor_at = anchor_at - make_interval(secs => $1), paid_until = paid_until - make_interval(secs => $1),
            next_step_at = next_step_at - make_interval(secs => $1)",
        "update renewals set starts_at = starts_at - make_interval(secs => $1), ends_at = ends_at - make_interval(secs => $1)",
    ] {
        let changing = sqlx::query(change).bind(span);
        changing.execute(&mut *database).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_whose_clocks_are_twenty_minutes_apart_renew_once() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let (one, other) = (Hands::new(10 * MINUTE), Hands::new(-10 * MINUTE));
    let mut world = World::with(one.setting()).await;
    let second = tokio::task::block_in_place(|| world.add_server_with(other.setting())).unwrap();
    let budi = daily(&world, 3).await;
    world.settled().await;
    let mut database = world.behind_the_scenes().await;
    for round in 0..2 * soak() {
        // Due for the one, and not for twenty minutes more for the other.
        nearly_end(&mut database).await;
        let periods = "select count(*) from renewals where state = 'PAID'";
        let due: i64 = sqlx::query_scalar(periods)
            .fetch_one(&mut database)
            .await
            .unwrap();
        eventually("each is renewed", || async {
            let mut database = world.behind_the_scenes().await;
            let paid: i64 = sqlx::query_scalar(periods)
                .fetch_one(&mut database)
                .await
                .unwrap();
            if paid >= due + 3 { Ok(()) } else { Err(paid) }
        })
        .await;
        // The one goes back by a quarter of an hour or so and the other forward, while they work.
        for _ in 0..4 {
            let (ahead, behind) = (random.below(1200), random.below(1200));
            let seconds = |n: u64| i64::try_from(n).unwrap() - 10 * MINUTE;
            one.show(seconds(ahead));
            other.show(seconds(behind));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let paid: i64 = sqlx::query_scalar(periods)
            .fetch_one(&mut database)
            .await
            .unwrap();
        assert_eq!(paid, due + 3, "round {round}: each once");
        assert!(is_ready(&world, 0).await && is_ready(&world, second).await);
        let (first, after) = if round % 2 == 0 { (-10, 10) } else { (10, -10) };
        one.show(first * MINUTE);
        other.show(after * MINUTE);
    }
    // A token that the one has signed is not yet valid for the other; a key has no such times.
    let request = CreateApiKeyRequest {
        display_name: "shop".to_owned(),
        scopes: vec!["wallet.read".to_owned()],
        ..Default::default()
    };
    let key = world
        .login(&budi.email)
        .await
        .identity()
        .create_api_key(request)
        .await;
    let key = Credentials::api_key(key.unwrap().into_inner().secret);
    let balance = budi.through(world.client(key.clone())).balance().await;
    let there = budi.through(world.client_of(second, key));
    assert_eq!(there.balance().await, balance);
    world.settled().await;
}
