//! The reconciler and the patrol.

use chrono::TimeDelta;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;

use super::error::Error;
use super::model::Refused;
use super::tests::World;
use super::*;
use crate::base::db::PgPool;
use crate::provider::compute::simulator::faults;
use crate::provider::compute::{Compute, Power};
use crate::service::operation::model as work;

#[sqlx::test(migrations = "../migrations")]
async fn a_reboot_is_asked_once_and_seen_through(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 30).await;
    let id = world.running().await;
    let before = sqlx::query_scalar!("select began_at from sim_machines")
        .fetch_one(&world.app.db)
        .await
        .unwrap();
    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    reconcile_once(&world.app).await.unwrap();
    let begun = sqlx::query!("select action, began_at from sim_machines")
        .fetch_one(&world.app.db)
        .await
        .unwrap();
    assert!(begun.action == "REBOOT" && begun.began_at > before);
    world.settle().await;
    let after = sqlx::query_scalar!("select began_at from sim_machines")
        .fetch_one(&world.app.db)
        .await
        .unwrap();
    assert_eq!(
        (after, world.end_of(&asked).await.0),
        (begun.began_at, work::State::Succeeded)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_machine_that_vanished_is_lost_and_can_be_deleted(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    world.inject(Fault::Vanish, 1).await;
    let id = world.running().await;
    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    world.settle().await;
    assert_eq!(
        (world.state(id).await, world.end_of(&asked).await),
        (
            State::Lost,
            (work::State::Failed, Some("INSTANCE_NOT_FOUND".to_owned()))
        )
    );
    world.impose(Kind::Delete, id).await;
    world.settle().await;
    assert_eq!(world.state(id).await, State::Deleted);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_patrol_finds_machines_that_vanished_or_were_shut_down_inside(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let stopped = world.running().await;
    world.inject(Fault::Vanish, 1).await;
    let vanished = world.running().await;
    let name = world.get(stopped).await.provider_ref.unwrap();
    world.cloud.shutdown(&name).await.unwrap();
    world.patrol().await;
    assert_eq!(
        (world.state(vanished).await, world.state(stopped).await),
        (State::Lost, State::Stopped)
    );
    assert_eq!(world.get(stopped).await.wanted, Wanted::Stopped);
    world.cloud.power_on(&name).await.unwrap();
    world.patrol().await;
    assert_eq!(world.state(stopped).await, State::Running);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_suspended_machine_is_off_until_it_is_resumed(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    world.impose(Kind::Suspend, id).await;
    assert!(matches!(
        world.ask(id, Kind::Reboot).await,
        Err(Error::Refused(Refused::Suspended))
    ));
    world.impose(Kind::Suspend, id).await;
    world.settle().await;
    assert_eq!(world.state(id).await, State::Suspended);
    assert!(matches!(
        world.ask(id, Kind::PowerOn).await,
        Err(Error::Refused(Refused::Suspended))
    ));

    // Somebody overtaken by the suspension powers it on all the same.
    let name = world.get(id).await.provider_ref.unwrap();
    world.cloud.power_on(&name).await.unwrap();
    world.patrol().await;
    world.settle().await;
    assert_eq!(
        world.cloud.get(&name).await.unwrap().unwrap().power,
        Power::Stopped
    );

    world.impose(Kind::Resume, id).await;
    world.settle().await;
    assert_eq!(world.state(id).await, State::Running);
    assert_eq!(
        world.history(id).await,
        ["PROVISIONING", "RUNNING", "SUSPENDED", "RUNNING"]
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn suspension_takes_the_place_of_what_was_under_way_and_remembers_the_wish(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let asked = world.ask(id, Kind::PowerOff).await.unwrap();
    world.impose(Kind::Suspend, id).await;
    assert_eq!(
        (
            world.end_of(&asked).await.0,
            world.operation(&asked).await.step.as_str()
        ),
        (work::State::Cancelled, "superseded")
    );
    world.settle().await;
    assert_eq!(world.state(id).await, State::Suspended);
    world.impose(Kind::Resume, id).await;
    world.settle().await;
    assert_eq!(
        world.state(id).await,
        State::Stopped,
        "its owner had wanted it off"
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn two_reconcilers_share_the_work(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let mut asked = Vec::new();
    for _ in 0..12 {
        let id = world.running().await;
        asked.push(world.ask(id, Kind::Reboot).await.unwrap());
    }
    let (one, two) = tokio::join!(reconcile_once(&world.app), reconcile_once(&world.app));
    assert_eq!(
        one.unwrap() + two.unwrap(),
        asked.len(),
        "each operation was leased once"
    );
    world.settle().await;
    for operation in &asked {
        assert_eq!(world.end_of(operation).await.0, work::State::Succeeded);
    }
    let finished = sqlx::query_scalar!(
        r#"select count(*) as "n!" from events where type = $1"#,
        EventType::OperationFinished as i16
    );
    assert_eq!(finished.fetch_one(&world.app.db).await.unwrap(), 12);
}

#[sqlx::test(migrations = "../migrations")]
async fn whoever_died_between_acting_and_writing_it_down_is_replaced(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let asked = world.ask(id, Kind::PowerOff).await.unwrap();
    let lease = async || {
        let now = world.now();
        let until = now + TimeDelta::seconds(30);
        operation::store::lease(
            &world.app.db,
            operation::store::Queue::Instances,
            now,
            until,
            10,
        )
        .await
        .unwrap()
        .pop()
        .unwrap()
    };
    let dead = lease().await;
    world
        .cloud
        .power_off(&world.get(id).await.provider_ref.unwrap())
        .await
        .unwrap();
    assert_eq!(
        reconcile_once(&world.app).await.unwrap(),
        0,
        "the lease holds"
    );
    world.hurry().await;
    lease().await;
    let failed = work::End::Failed {
        reason: "INTERNAL".into(),
        message: "too late".to_owned(),
    };
    let mut connection = world.app.db.acquire().await.unwrap();
    assert!(
        !operation::settle(&mut connection, &dead, &failed, world.now())
            .await
            .unwrap(),
        "another holds the lease"
    );
    world.settle().await;
    assert_eq!(
        (world.state(id).await, world.end_of(&asked).await.0),
        (State::Stopped, work::State::Succeeded)
    );
    assert!(
        !operation::settle(&mut connection, &dead, &failed, world.now())
            .await
            .unwrap(),
        "it is over"
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_provider_that_fails_for_long_ends_what_owners_asked_but_not_what_must_be(
    db: sqlx::PgPool,
) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let (id, unpaid) = (world.running().await, world.running().await);
    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    world.impose(Kind::Suspend, unpaid).await;
    world.inject(Fault::Error, 0).await;
    reconcile_once(&world.app).await.unwrap();
    assert_eq!(world.end_of(&asked).await.0, work::State::Running);
    sqlx::query!("update operations set created_at = created_at - interval '11 minutes'")
        .execute(&world.app.db)
        .await
        .unwrap();
    world.hurry().await;
    reconcile_once(&world.app).await.unwrap();
    assert_eq!(
        world.end_of(&asked).await,
        (work::State::Failed, Some("PROVIDER_UNAVAILABLE".to_owned()))
    );
    faults::clear(&mut world.app.db.acquire().await.unwrap(), world.account)
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(world.state(unpaid).await, State::Suspended);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_slow_cloud_is_waited_for(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 20).await;
    let id = world.running().await;
    world.inject(Fault::Slow, 1).await;
    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    reconcile_once(&world.app).await.unwrap();
    world.hurry().await;
    reconcile_once(&world.app).await.unwrap();
    assert_eq!(
        (
            world.end_of(&asked).await.0,
            world.operation(&asked).await.step.as_str()
        ),
        (work::State::Running, "working")
    );
    world.settle().await;
    assert_eq!(world.end_of(&asked).await.0, work::State::Succeeded);
}

#[test]
fn the_words_of_a_provider_are_told_without_its_number() {
    assert_eq!(job::said("400: no match: none"), "no match: none");
    assert_eq!(job::said("no match: none"), "no match: none");
    assert_eq!(job::said("no match"), "no match");
}
