//! The process is aborted before and after everything that somebody else remembers, once in the middle of each way a customer may go. It starts again, and what was
//! begun ends as if nothing had been. [R1 R2]
//!
//! The server names its own steps (`server/src/base/fault.rs`; a release build has none). A first life is lived in peace, and counts how often each moment comes; a
//! moment that never comes fails the test. Then each moment is the last one of a life.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sewa_payment_simulators::tripay::{self, Tripay};
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::patience::PATIENCE;
use sewa_tests::random::Random;
use sewa_tests::server::Server;
use sewa_tests::{Settings, World, seed, soak};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use crate::lives::{People, Way};

/// How long a process is given to reach the last moment of a life that has ended, if it need not come.
const LAST_MOMENT: Duration = Duration::from_secs(5);
/// Platforms on which lives are lived at the same time.
const PLATFORMS: usize = 4;

/// The steps of making a machine and of what is done to it, for pairs of aborts.
const SAGA: [&str; 9] = [
    "order.begin",
    "order.wait",
    "order.deliver",
    "order.give-up",
    "machine.claim",
    "machine.create",
    "machine.adopt",
    "cloud.call",
    "operation.apply",
];

/// A place where the process is aborted, and the how manyeth time it gets there.
#[derive(Clone, Debug)]
struct Moment {
    place: String,
    count: u64,
}

struct Platform {
    world: World,
    tripay: Tripay,
}

impl Platform {
    async fn open() -> Self {
        let tripay = Tripay::open().await.unwrap();
        let settings = Settings::default()
            .with("PAYMENTS__POLL_MS", 500)
            .with("PAYMENTS__REST_MS", 300)
            .with("PAYMENTS__TRIPAY__BASE_URL", tripay.base_url())
            .with("PAYMENTS__TRIPAY__MERCHANT_CODE", tripay::MERCHANT)
            .with("PAYMENTS__TRIPAY__API_KEY", tripay::API_KEY)
            .with("PAYMENTS__TRIPAY__PRIVATE_KEY", tripay::PRIVATE_KEY);
        let world = World::with(settings).await;
        Self { world, tripay }
    }

    /// Starts the server anew, with a setting of its own.
    fn start(&mut self, own: &[(&str, String)]) {
        start(&mut self.world.servers[0], own);
    }

    /// Lives a life during which the process is aborted at each of these moments, one after the other. Returns how many of them came, in the time they have.
    async fn live(&mut self, way: Way, moments: &[Moment], patience: Duration) -> usize {
        let people = People::new(&self.world).await;
        let mut database = self.world.behind_the_scenes().await;
        let url = format!("{}/callbacks/tripay", self.world.url());
        let mut aborted = 0;
        let armed = |n: usize| -> Vec<(&str, String)> {
            let moment: Option<&Moment> = moments.get(n);
            moment
                .map(|m| ("SEWA_FAULT", format!("{} {}", m.place, m.count)))
                .into_iter()
                .collect()
        };
        self.start(&armed(0));
        let working = self.world.behind_the_scenes().await;
        let Self { world, tripay } = self;
        {
            let living = people.live(way, working, tripay, &url);
            tokio::pin!(living);
            loop {
                tokio::select! {
                    () = &mut living => break,
                    () = tokio::time::sleep(Duration::from_millis(20)) => {}
                }
                let server = &mut world.servers[0];
                if server.has_ended() {
                    aborted += 1;
                    // Nobody works now, so leases and claims of the dead may end at once instead of in half a minute.
                    time_passes(&mut database).await;
                    start(server, &armed(aborted));
                }
            }
        }
        // What ends a life may be seen before the process gets to the moment after it.
        let deadline = Instant::now() + patience;
        while aborted < moments.len() && Instant::now() < deadline {
            if world.servers[0].has_ended() {
                aborted += 1;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.start(&[]);
        time_passes(&mut database).await;
        self.world.settled().await;
        let credited: i64 =
            sqlx::query_scalar("select coalesce(-sum(j.cash_in + j.gateway_fee), 0)::bigint from journals j join deposits d on d.id = j.subject_id where d.method = $1")
                .bind(Method::Tripay as i16)
                .fetch_one(&mut database)
                .await
                .unwrap();
        assert_eq!(credited, self.tripay.owed(), "I7 after {moments:?}");
        aborted
    }
}

fn start(server: &mut Server, own: &[(&str, String)]) {
    tokio::task::block_in_place(|| {
        server.kill();
        let started = server.start_again_with(own);
        // One that is to be aborted may get there before it is ready.
        assert!(
            started.is_ok() || server.has_ended() && !own.is_empty(),
            "{started:?}"
        );
    });
}

async fn time_passes(database: &mut PgConnection) {
    for ending in [
        "update orders set next_attempt_at = now() where state in ('PAID', 'PROVISIONING') and next_attempt_at > now()",
        "update operations set next_attempt_at = now() where finished_at is null and next_attempt_at > now()",
        "update instances set unsure_until = now() where unsure_until > now()",
        "update deposits set next_look_at = now() where next_look_at > now() and state in ('PREPARING', 'PENDING')",
    ] {
        sqlx::query(ending).execute(&mut *database).await.unwrap();
    }
}

/// How often each moment comes on each way when nothing disturbs. Every step has two.
async fn moments_of_a_life(platform: &mut Platform) -> BTreeMap<String, Vec<(Way, u64)>> {
    let mut moments: BTreeMap<String, Vec<(Way, u64)>> = BTreeMap::new();
    for way in [Way::Clock, Way::Time, Way::Gateway] {
        let log = tempfile::NamedTempFile::new().unwrap();
        let own = [("SEWA_FAULT_LOG", log.path().display().to_string())];
        let people = People::new(&platform.world).await;
        let url = format!("{}/callbacks/tripay", platform.world.url());
        platform.start(&own);
        let database = platform.world.behind_the_scenes().await;
        people.live(way, database, &platform.tripay, &url).await;
        platform.world.settled().await;
        platform.start(&[]);
        let text = std::fs::read_to_string(log.path()).unwrap();
        let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
        for line in text.lines() {
            match line.strip_prefix("there is ") {
                Some(step) => {
                    for when in ["before", "after"] {
                        moments.entry(format!("{step} {when}")).or_default();
                    }
                }
                None => *reached.entry(line).or_default() += 1,
            }
        }
        for (place, often) in reached {
            moments.get_mut(place).unwrap().push((way, often));
        }
    }
    moments
}

/// A life and the moments at which it is cut.
type Life = (Way, Vec<Moment>);

/// Lives lives on several platforms. Each is one of several that would do, because what is looked at again and again may be seen at the first look on some ways:
/// the next is lived if the moments of one do not come. Returns how many moments came.
async fn live_all(lives: Vec<Vec<Life>>, all_come: bool) -> usize {
    let mut working = JoinSet::new();
    let lives = std::sync::Arc::new(std::sync::Mutex::new(lives.into_iter()));
    for _ in 0..PLATFORMS {
        let lives = std::sync::Arc::clone(&lives);
        working.spawn(async move {
            let mut platform = Platform::open().await;
            let mut came = 0;
            loop {
                let next = lives.lock().unwrap().next();
                let Some(any_of) = next else {
                    return came;
                };
                let last = any_of.len() - 1;
                for (number, (way, moments)) in any_of.into_iter().enumerate() {
                    let must_come = all_come && number == last;
                    let patience = if must_come { PATIENCE } else { LAST_MOMENT };
                    let aborted = platform.live(way, &moments, patience).await;
                    came += aborted;
                    if aborted == moments.len() {
                        break;
                    }
                    assert!(!must_come, "{moments:?}: only {aborted} came");
                }
            }
        });
    }
    working.join_all().await.into_iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_aborted_anywhere_goes_on_where_it_was() {
    let mut random = Random::from_seed(seed());
    let mut platform = Platform::open().await;
    let moments = moments_of_a_life(&mut platform).await;
    drop(platform);
    let never: Vec<&String> = moments
        .iter()
        .filter(|(_, ways)| ways.is_empty())
        .map(|(place, _)| place)
        .collect();
    assert!(never.is_empty(), "never reached: {never:?}");
    assert!(moments.len() >= 30, "{moments:?}");
    let mut lives = Vec::new();
    for (place, ways) in &moments {
        // How often something is looked at differs from life to life; the first half comes in each.
        let sure = |often: u64| often.div_ceil(2);
        let life = |way: Way, count: u64| -> Life {
            let place = place.clone();
            (way, vec![Moment { place, count }])
        };
        // What is seen at the first look on its way is seen on the one where it comes most often.
        let (surest, _) = *ways.iter().max_by_key(|(_, often)| *often).unwrap();
        let mut cut = |way: Way, count: u64| {
            lives.push(vec![life(way, count), life(surest, 1)]);
        };
        if soak() == 1 {
            let one = random.below(ways.len() as u64);
            let (way, often) = ways[usize::try_from(one).unwrap()];
            cut(way, 1 + random.below(sure(often)));
            continue;
        }
        for (way, often) in ways {
            (1..=sure(*often).min(8)).for_each(|count| cut(*way, count));
        }
    }
    let count = lives.len();
    let came = live_all(lives, true).await;
    println!(
        "{came} aborts in {count} lives, at {} moments",
        moments.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_aborted_again_while_it_recovers_goes_on_where_it_was() {
    let places: Vec<String> = SAGA
        .iter()
        .flat_map(|step| ["before", "after"].map(|when| format!("{step} {when}")))
        .collect();
    let moment = |place: &String| Moment {
        place: place.clone(),
        count: 1,
    };
    let mut pairs: Vec<Vec<Life>> = places
        .iter()
        .flat_map(|first| {
            places
                .iter()
                .map(move |second| vec![(Way::Clock, vec![moment(first), moment(second)])])
        })
        .collect();
    if soak() == 1 {
        let mut random = Random::from_seed(seed());
        let few = (0..2).map(|_| {
            let last = pairs.len() as u64;
            pairs.swap_remove(usize::try_from(random.below(last)).unwrap())
        });
        pairs = few.collect();
    }
    let count = pairs.len();
    let came = live_all(pairs, false).await;
    println!("{came} aborts in {count} pairs");
    assert!(came >= count, "the first of a pair always comes");
}
