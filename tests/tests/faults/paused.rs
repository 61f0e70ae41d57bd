//! A replica that is put to sleep in the middle of its work, and wakes when another has done it. What it still believes to hold is refused. [R9]
//!
//! A lease is half a minute and PostgreSQL ends a sleeping transaction after a whole one. Nobody waits that long for a test: both are brought about by SQL.

use sewa_sdk::Credentials;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_tests::patience::eventually;
use sewa_tests::proxy::Proxy;
use sewa_tests::{Actor, Settings, World, soak};

use crate::load::{end_leases, nothing_is_double, people};

/// Orders in one account.
const ORDERS: usize = 6;

/// What PostgreSQL does to a transaction whose owner sleeps.
async fn end_sleeping_transactions(world: &World) {
    eventually("nobody sleeps in a transaction", || async {
        let ended: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where datname = current_database() and application_name = 'sewa' and state like 'idle in transaction%'",
        )
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
        if ended == 0 { Ok(()) } else { Err(ended) }
    })
    .await;
    end_leases(world).await;
}

/// Puts the first server to sleep at a statement, lets another one take over, and wakes the first. `before` is whether its statement still reaches PostgreSQL
/// before the other begins; otherwise it does after the other has ended.
async fn asleep_at(statement: &str, before: bool) {
    println!("asleep at {statement:?}, before {before}");
    let proxy = Proxy::to_postgres().await.unwrap();
    let mut world = World::behind(&proxy, Settings::default()).await;
    let (budi, draft) = people(&world, 1).await.remove(0);
    proxy.hold_at(statement);
    for number in 0..ORDERS {
        let mut draft = draft.clone();
        draft.hostname = format!("web-{number}");
        budi.place(draft).await.unwrap();
    }
    proxy.reached().await;
    world.servers[0].pause().unwrap();
    if before {
        proxy.let_go();
    }
    end_sleeping_transactions(&world).await;
    let second = tokio::task::block_in_place(|| world.add_server());
    let awake = awake(&world, second, &budi);
    all_active(&world, ORDERS).await;
    let settled = histories(&world).await;
    if !before {
        proxy.let_go();
    }
    world.servers[0].resume().unwrap();
    // The one that slept does the next order alone, so by then it is through with what it slept over.
    world.servers[second].kill();
    drop(awake);
    let mut draft = draft.clone();
    draft.hostname = "web-last".to_owned();
    budi.place(draft).await.unwrap();
    end_sleeping_transactions(&world).await;
    all_active(&world, ORDERS + 1).await;
    let after = histories(&world).await;
    for order in &settled {
        assert!(
            after.contains(order),
            "{order:?} was changed by who had slept"
        );
    }
    nothing_is_double(&world).await;
    let active =
        |event: &sewa_sdk::sewa::event::v1::Event| event.r#type() == EventType::OrderActive;
    assert_eq!(budi.logged(ORDERS + 1, active).await.len(), ORDERS + 1);
}

fn awake(world: &World, server: usize, budi: &Actor) -> Actor {
    let token = Credentials::token(&budi.tokens.access_token);
    budi.through(world.client_of(server, token))
}

async fn all_active(world: &World, orders: usize) {
    eventually("every order is active", || async {
        let states: Vec<(String, Option<String>, i32)> =
            sqlx::query_as("select state, last_error, fence from orders order by created_at")
                .fetch_all(&mut world.behind_the_scenes().await)
                .await
                .unwrap();
        let active = states
            .iter()
            .filter(|(state, ..)| state == "ACTIVE")
            .count();
        if active == orders {
            Ok(())
        } else {
            Err(states)
        }
    })
    .await;
}

/// What happened to each order, as it is kept.
async fn histories(world: &World) -> Vec<(uuid::Uuid, i64, i32, String)> {
    sqlx::query_as("select id, revision, fence, history::text from orders")
        .fetch_all(&mut world.behind_the_scenes().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_over_its_lease_of_an_order_changes_nothing_when_it_wakes() {
    for _ in 0..soak() {
        // Claiming the right to ask the cloud for the machine; asking; and writing down that it runs.
        asleep_at("unanswered = unanswered or unsure_until", true).await;
        asleep_at("insert into sim_machines", true).await;
        asleep_at("insert into sim_machines", false).await;
        asleep_at("insert into subscriptions", false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sleeps_in_a_sweep_renews_nothing_twice_when_it_wakes() {
    for _ in 0..soak() {
        asleep_in_a_sweep("insert into renewals").await;
        asleep_in_a_sweep("update subscriptions").await;
    }
}

async fn asleep_in_a_sweep(statement: &str) {
    println!("asleep at {statement:?}");
    let proxy = Proxy::to_postgres().await.unwrap();
    let mut world = World::behind(&proxy, Settings::default()).await;
    let (budi, draft) = people(&world, 1).await.remove(0);
    for number in 0..ORDERS {
        let mut draft = draft.clone();
        draft.hostname = format!("web-{number}");
        budi.place(draft).await.unwrap();
    }
    all_active(&world, ORDERS).await;
    proxy.hold_at(statement);
    let due = "with periods as (
            update renewals r set ends_at = ends_at - interval '40 days', starts_at = starts_at - interval '40 days'
            from subscriptions s where s.account_id = r.account_id and s.instance_id = r.instance_id and s.next_step_at is not null
        )
        update subscriptions set anchor_at = anchor_at - interval '40 days', paid_until = paid_until - interval '40 days',
        next_step_at = next_step_at - interval '40 days'";
    let mut database = world.behind_the_scenes().await;
    sqlx::query(due).execute(&mut database).await.unwrap();
    proxy.reached().await;
    world.servers[0].pause().unwrap();
    end_sleeping_transactions(&world).await;
    let second = tokio::task::block_in_place(|| world.add_server());
    let renewed = async || -> (i64, i64) {
        let figures =
            "select (select count(*) from renewals where period_number = 2 and state = 'PAID'),
            (select count(*) from subscriptions where next_step_at <= now())";
        let mut database = world.behind_the_scenes().await;
        let row = sqlx::query_as(figures).fetch_one(&mut database);
        row.await.unwrap()
    };
    let expected = (i64::try_from(ORDERS).unwrap(), 0);
    eventually("everything due is renewed", || async {
        match renewed().await {
            figures if figures == expected => Ok(()),
            figures => Err(figures),
        }
    })
    .await;
    let balance = awake(&world, second, &budi).balance().await;
    proxy.let_go();
    world.servers[0].resume().unwrap();
    let renewed_event =
        |event: &sewa_sdk::sewa::event::v1::Event| event.r#type() == EventType::Renewed;
    // The one that slept does what falls due next alone, so by then it is through with what it slept over.
    world.servers[second].kill();
    sqlx::query(due).execute(&mut database).await.unwrap();
    assert_eq!(
        budi.logged(ORDERS * 2, renewed_event).await.len(),
        ORDERS * 2
    );
    let renewals: Vec<i64> =
        sqlx::query_scalar("select count(*) from renewals group by instance_id, period_number")
            .fetch_all(&mut database)
            .await
            .unwrap();
    assert!(renewals.iter().all(|count| *count == 1), "{renewals:?}");
    let (available, held) = budi.balance().await;
    let price = (50_000_000 - balance.0) / 2;
    assert_eq!(
        (available, held),
        (50_000_000 - 3 * price, 0),
        "three periods of each are paid"
    );
    nothing_is_double(&world).await;
}
