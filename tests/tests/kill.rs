//! The demonstration, fifty times over, while the server is killed with `kill -9` at random moments and started again. Whatever was under way, every step is
//! observed, every account ends in the same state, and the books are proved.
//!
//! The moments follow from a seed, which is printed; `SEWA_KILL_SEED` brings one back. What the processes make of a moment does not repeat exactly, since they
//! run in real time.

use std::time::Duration;

use sewa_tests::random::Random;
use sewa_tests::{Settings, World};
use tokio::task::JoinSet;
use tokio::time::Instant;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the same file is an example of the SDK, with a main of its own"
)]
#[path = "../../sdk-rust/examples/journey/main.rs"]
mod journey;

/// Rounds, each with a server and a seed of its own.
const ROUNDS: u64 = 5;
/// Demonstrations played at the same time in a round.
const AT_ONCE: usize = 10;
/// Longest time a server lives.
const LIFE_MS: u64 = 5000;
/// A round that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_ends_the_same_however_often_the_server_is_killed() {
    let mut kills = 0;
    for round in 0..ROUNDS {
        let seed = first_seed().wrapping_add(round);
        println!("round {round}: seed {seed}");
        kills += play_and_kill(seed).await;
    }
    println!("{kills} kills, {} demonstrations", ROUNDS * AT_ONCE as u64);
    assert!(
        kills >= ROUNDS * 4,
        "only {kills} kills: the test tests little"
    );
}

fn first_seed() -> u64 {
    let asked = std::env::var("SEWA_KILL_SEED").ok();
    asked
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()) << 8)
}

/// Plays a round, and returns how often the server was killed.
async fn play_and_kill(seed: u64) -> u64 {
    let mut world = World::with(Settings::default().with("DATABASE_CONNECTIONS", 12)).await;
    let mut random = Random::from_seed(seed);
    let mut playing = JoinSet::new();
    for _ in 0..AT_ONCE {
        let url = world.url();
        // A thread of its own, as a reseller's process would be.
        playing.spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(journey::play(&url))
        });
    }
    let end = Instant::now() + PATIENCE;
    let mut kills = 0;
    while !playing.is_empty() {
        assert!(
            Instant::now() < end,
            "seed {seed}: demonstrations hang after {kills} kills"
        );
        let life = Duration::from_millis(500 + random.below(LIFE_MS - 500));
        let killing = tokio::time::sleep(life);
        tokio::pin!(killing);
        loop {
            tokio::select! {
                ended = playing.join_next() => match ended {
                    Some(played) => played.expect("no panic").unwrap_or_else(|error| panic!("seed {seed}: {error}")),
                    None => break,
                },
                () = &mut killing => {
                    world.restart();
                    kills += 1;
                    break;
                }
            }
        }
    }
    same_end(&world, seed).await;
    world.settled().await;
    kills
}

/// What is true of every account that has seen the whole demonstration.
async fn same_end(world: &World, seed: u64) {
    let mut database = world.behind_the_scenes().await;
    let unlike: Vec<(String, i64)> = sqlx::query_as(
        "select 'machines left' as what, count(*) from instances where state not in ('DELETED', 'FAILED')
         union all select 'orders not active', count(*) from orders where state <> 'ACTIVE'
         union all select 'operations open', count(*) from operations where finished_at is null
         union all select 'subscriptions alive', count(*) from subscriptions where state <> 'ENDED'
         union all select 'money held', count(*) from balances where held <> 0
         union all select 'accounts unlike the first',
            count(*) filter (where (available, held) is distinct from (select (b.available, b.held) from balances b order by account_id limit 1)) from balances
         union all select 'machines at the cloud', count(*) from sim_machines where gone_at is null or gone_at > now()",
    )
    .fetch_all(&mut database)
    .await
    .expect("the database answers");
    for (what, count) in unlike {
        assert_eq!(count, 0, "seed {seed}: {what}");
    }
    let orders: i64 = sqlx::query_scalar("select count(*) from orders")
        .fetch_one(&mut database)
        .await
        .expect("the database answers");
    assert_eq!(
        orders,
        2 * AT_ONCE as i64,
        "seed {seed}: two orders for each account"
    );
}
