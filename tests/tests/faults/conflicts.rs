//! Transactions that get into each other's way: PostgreSQL ends one of them by a deadlock or a serialization failure, and nobody but a retry notices. [R4]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sewa_tests::cluster::Cluster;
use sewa_tests::patience::eventually;
use sewa_tests::proxy::Proxy;
use sewa_tests::random::Random;
use sewa_tests::{Settings, World, seed, soak};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::database::{disturbed, nothing_is_left_open};
use crate::load::{as_told, people, set_to_work};

/// People who work at the same time.
const PEOPLE: usize = 6;
/// Orders, deposits and reboots of each.
const ROUNDS: u64 = 2;
/// Of a thousand statements that lock, write or commit, so many fail.
const CONFLICTS: u64 = 60;
/// People whose things others lock as well, and what each does: few, so that they are met.
const FEW: usize = 2;
const ROUNDS_OF_FEW: u64 = 5;
/// Sessions that take locks in an order nobody else does.
const SABOTEURS: u64 = 6;

/// What the platform locks as well.
const LOCKS: [&str; 5] = [
    "select from balances where account_id = $1 for update",
    "select from orders where account_id = $1 and state in ('PAID', 'PROVISIONING', 'ACTIVE') order by id desc limit 1 for update",
    "select from operations where account_id = $1 order by id desc limit 1 for update",
    "select from instances where account_id = $1 order by id desc limit 1 for update",
    "select from subscriptions where account_id = $1 order by instance_id desc limit 1 for update",
];

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_at_any_statement_lose_nothing() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let people = people(&world, PEOPLE).await;
    proxy.make_conflicts(seed, CONFLICTS);
    let working = set_to_work(&people, 0..ROUNDS * soak());
    let told = disturbed(&world, working, &mut random, async || {}).await;
    proxy.make_conflicts(seed, 0);
    let made = proxy.conflicts_made();
    println!("{made} statements were ended by conflicts");
    assert!(made >= 20, "the test tests little");
    as_told(&world, &told).await;
    nothing_is_left_open(&world).await;
}

/// Locks two things of people, in any order, again and again. That it is somebody else who is ended is because this session does not look for deadlocks.
async fn sabotages(url: String, people: Vec<Uuid>, mut random: Random, enough: Arc<AtomicBool>) {
    let mut session = PgConnection::connect(&url).await.unwrap();
    for setting in ["set deadlock_timeout = '1h'", "set lock_timeout = '3s'"] {
        sqlx::query(setting).execute(&mut session).await.unwrap();
    }
    while !enough.load(Ordering::Relaxed) {
        let mut some = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
        // Most often two things of one person, which somebody may be about to lock the other way round.
        let (one, another) = (people[some(people.len())], people[some(people.len())]);
        let second = if some(4) == 0 { another } else { one };
        let steps = [(some(LOCKS.len()), one), (some(LOCKS.len()), second)];
        let pause = Duration::from_millis(some(8) as u64);
        let mut locking = session.begin().await.unwrap();
        for (which, person) in steps {
            let lock = LOCKS[which];
            // If it is in vain, others have shown more patience.
            if sqlx::query(lock)
                .bind(person)
                .execute(&mut *locking)
                .await
                .is_err()
            {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        locking.rollback().await.unwrap();
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_wait_for_each_other_lose_nothing() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let cluster = Cluster::start(60).await.unwrap();
    let mut session = PgConnection::connect(&cluster.url()).await.unwrap();
    for statement in [
        "alter system set deadlock_timeout = '20ms'",
        "select pg_reload_conf()",
    ] {
        sqlx::raw_sql(statement)
            .execute(&mut session)
            .await
            .unwrap();
    }
    let proxy = Proxy::to_postgres_at(&cluster.url()).await.unwrap();
    let world = World::on(&cluster, &proxy, Settings::default()).await;
    let people = people(&world, FEW).await;
    let accounts: Vec<Uuid> = people
        .iter()
        .map(|(person, _)| person.account_id.parse().unwrap())
        .collect();
    let enough = Arc::new(AtomicBool::new(false));
    let saboteurs: Vec<_> = (0..SABOTEURS)
        .map(|number| {
            let random = Random::from_seed(seed ^ (number + 1));
            tokio::spawn(sabotages(
                cluster.url(),
                accounts.clone(),
                random,
                Arc::clone(&enough),
            ))
        })
        .collect();
    let working = set_to_work(&people, 0..ROUNDS_OF_FEW * soak());
    let told = disturbed(&world, working, &mut random, async || {}).await;
    enough.store(true, Ordering::Relaxed);
    for saboteur in saboteurs {
        saboteur.await.unwrap();
    }
    let deadlocks = eventually("a deadlock is counted", || async {
        let counted = "select deadlocks from pg_stat_database where datname = current_database()";
        let mut session = PgConnection::connect(&cluster.url()).await.unwrap();
        let deadlocks: i64 = sqlx::query_scalar(counted)
            .fetch_one(&mut session)
            .await
            .unwrap();
        if deadlocks > 0 {
            Ok(deadlocks)
        } else {
            Err("none: the test tests nothing")
        }
    })
    .await;
    println!("{deadlocks} deadlocks");
    as_told(&world, &told).await;
    nothing_is_left_open(&world).await;
}
