//! A database that is brought back as it was at an earlier moment: the books are right, what happened since is listed where somebody else remembers it, and whoever
//! follows the log misses nothing of what happens from then on. [R12]

use sewa_payment_simulators::Status;
use sewa_payment_simulators::tripay::{self, Tripay};
use sewa_sdk::Credentials;
use sewa_sdk::sewa::event::v1::ListEventsRequest;
use sewa_sdk::sewa::provider::v1::CompareProviderAccountRequest;
use sewa_sdk::sewa::provider::v1::difference::Kind as Differs;
use sewa_sdk::sewa::report::v1::reconciliation_difference::Kind;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_tests::cluster::Cluster;
use sewa_tests::compute::Dialect;
use sewa_tests::patience::eventually;
use sewa_tests::proxy::Proxy;
use sewa_tests::{Actor, Settings, World};
use sqlx::{Connection, PgConnection};

use crate::instance::{Verb, ask};
use crate::providers::{draft, open_shop, rich_reseller};
use crate::reconciliation::{differences, prove};
use crate::reports::{backdating, days_ago};
use crate::shop::{open, read, until};

/// Orders a machine at the simulated cloud, and waits for it.
async fn buy(budi: &Actor, hostname: &str) -> String {
    let placed = budi.place(draft(hostname)).await.unwrap();
    budi.wait_active(&placed).await.instance_id
}

/// The newest position of the log that somebody knows.
async fn newest(budi: &Actor) -> String {
    let events = budi.all_events().await;
    events.last().unwrap().cursor.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_is_brought_back_lists_what_it_does_not_know_any_more() {
    let cluster = Cluster::start(60).await.unwrap();
    let proxy = Proxy::to_postgres_at(&cluster.url()).await.unwrap();
    let tripay = Tripay::open().await.unwrap();
    let settings = Settings::default()
        // What happened today is said to have happened yesterday, which the proof of all books would not believe.
        .with("PROOF_REST_SECONDS", 0)
        .with("PAYMENTS__POLL_MS", 500)
        .with("PAYMENTS__REST_MS", 300)
        .with("PAYMENTS__TRIPAY__BASE_URL", tripay.base_url())
        .with("PAYMENTS__TRIPAY__MERCHANT_CODE", tripay::MERCHANT)
        .with("PAYMENTS__TRIPAY__API_KEY", tripay::API_KEY)
        .with("PAYMENTS__TRIPAY__PRIVATE_KEY", tripay::PRIVATE_KEY);
    let mut world = World::on(&cluster, &proxy, settings).await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    let budi = rich_reseller(&world).await;
    let finance = world.staff("finance").await;

    let deleted_since = buy(&budi, "web-1").await;
    let backup = cluster.back_up().unwrap();
    // After the backup, and before the moment: it is brought back from the log.
    let kept = buy(&budi, "web-0").await;
    let paid_since = open(&budi, Method::Tripay, "BRIVA", 60_000).await;
    let balance = budi.balance().await;
    let mut database = world.behind_the_scenes().await;
    let moment: String = sqlx::query_scalar("select clock_timestamp()::text")
        .fetch_one(&mut database)
        .await
        .unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;

    // What will never have happened here, and has elsewhere.
    let forgotten = buy(&budi, "web-2").await;
    let gone = ask(&budi, Verb::Delete, &deleted_since, "").await;
    budi.finish(&gone.unwrap()).await.unwrap();
    let unknown = open(&budi, Method::Tripay, "BRIVA", 80_000).await;
    for deposit in [&paid_since, &unknown] {
        tripay.move_to(&deposit.gateway_reference, Status::Paid);
        until(&budi, &deposit.id, State::Paid).await;
    }
    let cursor = newest(&budi).await;
    world.servers[0].kill();
    let restored = cluster.as_it_was(backup, &moment).await.unwrap();

    let own = || Settings::default().with("DATABASE_URL", restored.url());
    world.sewa_with(&["prove"], own()).unwrap();
    world.sewa_with(&["restored"], own()).unwrap();
    let server = tokio::task::block_in_place(|| world.add_server_with(own())).unwrap();
    let there = |actor: &Actor| {
        let token = Credentials::token(&actor.tokens.access_token);
        actor.through(world.client_of(server, token))
    };
    let (budi, finance, sysadmin) = (there(&budi), there(&finance), there(&shop.sysadmin));
    // The deposit that was open is paid at its gateway, which is asked again.
    let again = until(&budi, &paid_since.id, State::Paid).await;
    assert_eq!(again.amount, paid_since.amount);
    assert_eq!(budi.balance().await, (balance.0 + 60_000, balance.1));
    assert_eq!(read(&budi, &again.id).await.state(), State::Paid);

    // The cloud has a machine that nobody owns, and has not one that somebody does.
    let known = eventually("machines are compared", || async {
        let request = CompareProviderAccountRequest {
            provider_account_id: shop.account.id.clone(),
        };
        let reply = sysadmin.providers().compare_provider_account(request).await;
        let found = reply.map_err(|e| e.to_string())?.into_inner().differences;
        let orphan = found.iter().any(|d| d.kind() == Differs::Orphan);
        let ghost = found.iter().any(|d| d.kind() == Differs::Ghost);
        let lost = budi.instance(&deleted_since).await.state();
        let lost = lost == sewa_sdk::sewa::instance::v1::instance::State::Lost;
        if orphan && (ghost || lost) {
            Ok(found)
        } else {
            Err(format!("{found:?}"))
        }
    })
    .await;
    assert!(
        known.iter().all(|d| !d.instance_id.contains(&kept)),
        "{known:?}"
    );
    let label = format!("sewa-{forgotten}");
    let named = shop
        .cloud
        .books()
        .machines
        .values()
        .any(|vm| vm.label == label);
    assert!(named, "what is not known is not touched");

    // The gateway has a payment of which nobody here knows.
    let mut database = PgConnection::connect(&restored.url()).await.unwrap();
    for statement in backdating(1) {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        statement.execute(&mut database).await.unwrap();
    }
    for deposit in [&paid_since, &unknown] {
        tripay.backdate(&deposit.gateway_reference, 86_400);
    }
    let run = prove(&finance, &days_ago(1).to_string()).await;
    let found = differences(&finance, &run.id).await;
    let named: Vec<_> = found
        .iter()
        .map(|d| (d.kind(), d.gateway_reference.as_str()))
        .collect();
    assert!(
        named.contains(&(Kind::PaymentNotInBooks, unknown.gateway_reference.as_str())),
        "{named:?}"
    );
    assert!(
        !found
            .iter()
            .any(|d| d.gateway_reference == paid_since.gateway_reference),
        "{named:?}"
    );

    // Whoever followed the log to positions that have not been given out now misses nothing that is told from now on.
    let opened = open(&budi, Method::Tripay, "BRIVA", 20_000).await;
    eventually("the log tells of it after an old cursor", || async {
        let request = ListEventsRequest {
            resume_cursor: cursor.clone(),
            ..Default::default()
        };
        let listed = budi.events().list_events(request).await;
        let events = listed.map_err(|e| e.to_string())?.into_inner().events;
        if events.iter().any(|event| event.subject_id == opened.id) {
            Ok(())
        } else {
            Err(format!("{} events", events.len()))
        }
    })
    .await;
    // And all goes on.
    let fresh = buy(&budi, "web-3").await;
    assert_ne!(fresh, forgotten);
    world.sewa_with(&["prove"], own()).unwrap();
}
