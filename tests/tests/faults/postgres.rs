//! A PostgreSQL that is restarted, dies, has no place left, or is silent for good. [R4]

use std::time::Duration;

use sewa_sdk::sewa::order::v1::{OrderDraft, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::wallet::v1::GetWalletRequest;
use sewa_tests::cluster::{Cluster, End};
use sewa_tests::patience::{eventually, soon};
use sewa_tests::proxy::Proxy;
use sewa_tests::random::Random;
use sewa_tests::{Actor, Settings, World, keyed, once, seed, soak, until_answered};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use crate::database::nothing_is_left_open;
use crate::load::{as_told, end_leases, end_leases_at, people, set_to_work};

/// People who work at the same time.
const PEOPLE: usize = 4;
/// Places for sessions; the server may take six.
const PLACES: u32 = 16;
/// Of a thousand replies to commits, so many are cut besides.
const CUT: u64 = 30;

/// What is done to PostgreSQL.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Restart(End),
    Terminate,
    Exhaust,
}

const HARMS: [Harm; 5] = [
    Harm::Restart(End::Fast),
    Harm::Restart(End::Immediate),
    Harm::Restart(End::Kill),
    Harm::Terminate,
    Harm::Exhaust,
];

async fn harm(cluster: &mut Cluster, random: &mut Random, harm: Harm) {
    match harm {
        Harm::Restart(how) => {
            cluster.end(how).unwrap();
            // Callers see it gone, too, and not only sessions that break.
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            cluster.start_again().await.unwrap();
        }
        Harm::Terminate => {
            let mut session = PgConnection::connect(&cluster.url()).await.unwrap();
            for _ in 0..20 {
                sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sewa' order by random() limit 1")
                    .execute(&mut session)
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Harm::Exhaust => {
            let end_all = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sewa'";
            let mut session = PgConnection::connect(&cluster.url()).await.unwrap();
            sqlx::query(end_all).execute(&mut session).await.unwrap();
            // A superuser may take the reserved places as well.
            let mut taken = Vec::new();
            while let Ok(another) = PgConnection::connect(&cluster.url()).await {
                taken.push(another);
            }
            tokio::time::sleep(Duration::from_millis(random.below(2000))).await;
            for session in taken {
                let _ = session.close().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_or_dies_loses_nothing() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let mut cluster = Cluster::start(PLACES).await.unwrap();
    let proxy = Proxy::to_postgres_at(&cluster.url()).await.unwrap();
    let world = World::on(&cluster, &proxy, Settings::default()).await;
    let people = people(&world, PEOPLE).await;
    proxy.cut_replies_to_commits(seed, CUT);
    let (mut done, mut told) = (0, Vec::new());
    for _ in 0..soak() {
        // Each harm once, in any order, while somebody works.
        let mut harms = HARMS.to_vec();
        while !harms.is_empty() {
            let next =
                harms.swap_remove(usize::try_from(random.below(harms.len() as u64)).unwrap());
            let mut working = set_to_work(&people, done..done + 1);
            tokio::time::sleep(Duration::from_millis(random.below(400))).await;
            println!("{next:?}");
            harm(&mut cluster, &mut random, next).await;
            while !working.is_empty() {
                tokio::select! {
                    ended = working.join_next() => told.extend(ended.map(|ended| ended.unwrap())),
                    () = tokio::time::sleep(Duration::from_millis(300)) => end_leases_at(&cluster.url()).await,
                }
            }
            done += 1;
        }
    }
    proxy.cut_replies_to_commits(seed, 0);
    println!(
        "{done} harms, and {} replies to commits cut",
        proxy.replies_cut()
    );
    as_told(&world, &told).await;
    nothing_is_left_open(&world).await;
}

async fn answers(actor: &Actor) -> Result<(), String> {
    let mut wallet = actor.wallet();
    let reply = wallet.get_wallet(once(GetWalletRequest::default())).await;
    reply.map(drop).map_err(|status| status.to_string())
}

fn order(draft: &OrderDraft, hostname: &str) -> PlaceOrderRequest {
    PlaceOrderRequest {
        draft: Some(OrderDraft {
            hostname: hostname.to_owned(),
            ..draft.clone()
        }),
        payment: Payment::Wallet.into(),
        ..Default::default()
    }
}

/// More calls than the pool has connections, so that each of them is lost, by reads and by orders, whose lanes have connections of their own.
async fn lose_every_connection(people: &[(Actor, OrderDraft)], round: u64) {
    let mut calls = JoinSet::new();
    for (person, draft) in people {
        for number in 0..10 {
            let (reading, ordering) = (person.clone(), person.clone());
            calls.spawn(async move { answers(&reading).await.is_ok() });
            let key = format!("lost-{round}-{number}");
            let request = order(draft, &key);
            calls.spawn(async move {
                let mut request = keyed(&key, request);
                request.extensions_mut().insert(sewa_sdk::CallOptions {
                    max_attempts: Some(1),
                    ..Default::default()
                });
                ordering.orders().place_order(request).await.is_ok()
            });
        }
    }
    let answered = soon("every call to end", calls.join_all()).await;
    let heard = answered.iter().filter(|heard| **heard).count();
    println!("{heard} of {} calls were answered", answered.len());
    assert!(
        heard < answered.len(),
        "nothing was lost: the test tests nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_packets_vanish_hangs_nobody_for_ever() {
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let people = people(&world, 2).await;
    for round in 0..soak().min(5) {
        proxy.swallow();
        lose_every_connection(&people, round).await;
        // New connections find the database again; what was lost stays lost, and nobody is told.
        proxy.pass();
        for (person, _) in &people {
            eventually("reads are answered again", || answers(person)).await;
        }
        let mut placed = JoinSet::new();
        for (person, draft) in people.clone() {
            for number in 0..10 {
                let (person, draft) = (person.clone(), draft.clone());
                placed.spawn(async move {
                    let key = format!("lost-{round}-{number}");
                    let request = order(&draft, &key);
                    until_answered(|| {
                        let (person, request) = (person.clone(), keyed(&key, request.clone()));
                        async move { person.orders().place_order(request).await }
                    })
                    .await
                });
            }
        }
        placed.join_all().await;
        world.settled().await;
        nothing_is_left_open(&world).await;
    }
}

/// What all callers share (a lane that places orders, the tail of the log) goes on without the answer, and soon: what follows is answered by other connections.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_vanishes_holds_up_nobody_who_comes_after() {
    use sewa_sdk::sewa::event::v1::WatchEventsRequest;
    const SOON: Duration = Duration::from_secs(40);
    const LANE: &str = "insert into orders";
    const TAIL: &str = "from events_seq";
    let proxy = Proxy::to_postgres().await.unwrap();
    let mut world = World::behind(&proxy, Settings::default()).await;
    let people = people(&world, 1).await;
    let (budi, draft) = &people[0];
    let placed = |key: &'static str| {
        let request = order(draft, key);
        async move {
            until_answered(|| {
                let request = keyed(key, request.clone());
                async move { budi.orders().place_order(request).await }
            })
            .await
        }
    };
    proxy.hold_at(LANE);
    let losing = async {
        proxy.reached().await;
        proxy.let_go_and_lose();
    };
    let both = async { tokio::join!(placed("lost"), losing, placed("after")) };
    let both = tokio::time::timeout(SOON, both).await;
    assert!(both.is_ok(), "the lane waits for an answer that is lost");

    let mut events = budi.events();
    let watching = events.watch_events(WatchEventsRequest::default()).await;
    let mut watched = watching.unwrap().into_inner();
    proxy.hold_at(TAIL);
    proxy.reached().await;
    proxy.let_go_and_lose();
    budi.open_deposit(20_000).await;
    let heard = tokio::time::timeout(SOON, watched.message()).await;
    assert!(matches!(heard, Ok(Ok(Some(_)))), "{heard:?}");
    // What works in the background has a minute for each statement; nobody waits that long for a test.
    world.restart();
    end_leases(&world).await;
    world.settled().await;
    nothing_is_left_open(&world).await;
}
