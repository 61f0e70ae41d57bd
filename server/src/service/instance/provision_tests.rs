//! Making machines, and cleaning up after those that could not be made.

use chrono::TimeDelta;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;

use super::tests::{FOREVER, World};
use super::*;
use crate::base::db::PgPool;
use crate::provider::compute::Compute;
use crate::service::operation::model as work;

async fn claim(world: &World, id: InstanceId, now: DateTime<Utc>, until: DateTime<Utc>) -> bool {
    let password = boot::new_password(world.app.lines.vault(), id).unwrap();
    let instance = world.get(id).await;
    let taken = store::claim(
        &world.app.db,
        &instance,
        now,
        until,
        &password,
        now + boot::PASSWORD_KEPT,
    );
    taken.await.unwrap().is_some()
}

#[sqlx::test(migrations = "../migrations")]
async fn an_ordered_machine_runs_and_shows_its_addresses(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 20).await;
    let id = world.running().await;
    let instance = world.get(id).await;
    assert_eq!(
        (instance.state, instance.wanted),
        (State::Running, Wanted::Running)
    );
    assert!(instance.ipv4.is_some_and(|a| a.starts_with("198.18.")) && instance.ipv6.is_some());
    assert_eq!(world.history(id).await, ["PROVISIONING", "RUNNING"]);
    assert_eq!(
        world.provision(id).await,
        Provisioned::Running,
        "asking again changes nothing"
    );
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lost_answer_makes_one_machine(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    world.inject(Fault::AnswerLost, 1).await;
    world.running().await;
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn many_replicas_make_one_machine(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    world.inject(Fault::AnswerLost, 1).await;
    let id = world.ordered().await;
    for _ in 0..5 {
        futures_util::future::join_all((0..8).map(|_| world.provision(id))).await;
    }
    assert_eq!(
        (world.provision(id).await, world.machines().await),
        (Provisioned::Running, 1)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn nobody_creates_while_a_creation_may_be_under_way(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let now = world.now();
    // A replica claims the creation and dies before it hears anything.
    assert!(claim(&world, id, now, now + TimeDelta::hours(1)).await);
    assert!(matches!(
        world.provision(id).await,
        Provisioned::Waiting {
            step: "creating",
            ..
        }
    ));
    assert_eq!(world.machines().await, 0);
    // What it had asked for turns up, and is adopted.
    world.cloud.create(&world.wish(id)).await.unwrap();
    assert_eq!(
        (world.provision(id).await, world.machines().await),
        (Provisioned::Running, 1)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_claim_that_is_over_is_taken_by_the_next(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let before = world.now() - TimeDelta::hours(1);
    assert!(claim(&world, id, before, before).await);
    world.provision_until_running(id).await;
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_machine_that_is_gone_before_it_was_noticed_is_made_again(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, FOREVER).await;
    let id = world.ordered().await;
    assert!(matches!(
        world.provision(id).await,
        Provisioned::Waiting { .. }
    ));
    sqlx::query!("update sim_machines set gone_at = now()")
        .execute(&world.app.db)
        .await
        .unwrap();
    // The look that finds it gone is older than the doubt about it; the next one makes another.
    for made in [0, 1] {
        assert!(matches!(
            world.provision(id).await,
            Provisioned::Waiting { .. }
        ));
        assert_eq!(world.machines().await, made);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn failures_say_whether_trying_again_helps(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    world.inject(Fault::Error, 1).await;
    assert!(matches!(
        world.provision(id).await,
        Provisioned::Failed(ProvisionFailure::Unavailable(_))
    ));
    world.inject(Fault::NoCapacity, 1).await;
    assert_eq!(
        world.provision(id).await,
        Provisioned::Failed(ProvisionFailure::NoCapacity)
    );
    mark_failed(
        &mut world.app.db.acquire().await.unwrap(),
        world.account,
        id,
        world.now(),
    )
    .await
    .unwrap();
    assert_eq!(world.state(id).await, State::Failed);
    assert!(matches!(
        world.provision(id).await,
        Provisioned::Failed(ProvisionFailure::Refused(_))
    ));
    let operations = operation::store::list(&world.app.db, world.account, Some(id), None, 10)
        .await
        .unwrap();
    assert_eq!(operations, [], "there is nothing to clean up");
}

#[sqlx::test(migrations = "../migrations")]
async fn what_is_left_of_a_failed_order_is_destroyed(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    world.inject(Fault::AnswerLost, 1).await;
    world.provision(id).await;
    mark_failed(
        &mut world.app.db.acquire().await.unwrap(),
        world.account,
        id,
        world.now(),
    )
    .await
    .unwrap();
    assert_eq!(world.machines().await, 1);
    world.settle().await;
    assert_eq!(
        (world.machines().await, world.state(id).await),
        (0, State::Failed)
    );
    assert_eq!(world.history(id).await, ["PROVISIONING", "FAILED"]);
}

#[sqlx::test(migrations = "../migrations")]
async fn cleaning_up_waits_for_a_machine_that_may_still_turn_up(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let now = world.now();
    assert!(claim(&world, id, now, now + TimeDelta::hours(1)).await);
    mark_failed(
        &mut world.app.db.acquire().await.unwrap(),
        world.account,
        id,
        now,
    )
    .await
    .unwrap();
    reconcile_once(&world.app).await.unwrap();
    let operations = operation::store::list(&world.app.db, world.account, Some(id), None, 10)
        .await
        .unwrap();
    assert_eq!(operations[0].state, work::State::Running);
    let late = world.cloud.create(&world.wish(id)).await.unwrap();
    assert!(
        store::adopt(&world.app.db, world.account, id, &late.provider_ref)
            .await
            .unwrap(),
        "whoever created it says so"
    );
    world.settle().await;
    assert_eq!(world.machines().await, 0);
}
