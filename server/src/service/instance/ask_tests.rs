//! What owners ask of their machines.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;

use super::ask::{self, Target, Update};
use super::error::Error;
use super::model::Refused;
use super::tests::{FOREVER, World};
use super::*;
use crate::base::crypto;
use crate::base::db::PgPool;
use crate::base::id::ImageId;
use crate::service::catalog;
use crate::service::operation::model as work;
use crate::service::operation::rpc::Operations;

#[sqlx::test(migrations = "../migrations")]
async fn the_power_follows_what_the_owner_asks(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    for (kind, state) in [
        (Kind::PowerOff, State::Stopped),
        (Kind::PowerOn, State::Running),
        (Kind::Shutdown, State::Stopped),
        (Kind::PowerOn, State::Running),
        (Kind::Reboot, State::Running),
    ] {
        let asked = world.ask(id, kind).await.unwrap();
        world.settle().await;
        assert_eq!(
            (world.state(id).await, world.end_of(&asked).await),
            (state, (work::State::Succeeded, None)),
            "{kind:?}"
        );
    }
    assert_eq!(
        world.history(id).await,
        [
            "PROVISIONING",
            "RUNNING",
            "STOPPED",
            "RUNNING",
            "STOPPED",
            "RUNNING"
        ]
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_password_reaches_the_machine_and_is_kept_nowhere(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let mut tx = world.app.db.begin().await.unwrap();
    let (asked, password) = ask::reset_password(&world.app, &mut tx, world.target(id), world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let sealed = sqlx::query_scalar!("select secret from operations where id = $1", asked.id.0)
        .fetch_one(&world.app.db)
        .await
        .unwrap()
        .unwrap();
    assert!(
        !sealed
            .windows(password.len())
            .any(|w| w == password.as_bytes())
    );
    world.settle().await;
    let digest = sqlx::query_scalar!("select password_digest from sim_machines")
        .fetch_one(&world.app.db)
        .await
        .unwrap();
    assert_eq!(digest, crypto::digest(password.as_bytes()));
    assert_eq!(
        sqlx::query_scalar!("select secret from operations where id = $1", asked.id.0)
            .fetch_one(&world.app.db)
            .await
            .unwrap(),
        None
    );
}

fn from_image(image: ImageId) -> ask::Rebuild {
    ask::Rebuild {
        image: Some(image),
        ..Default::default()
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_rebuild_takes_an_image_that_fits_and_keeps_the_address(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    catalog::seed(&world.app.db, catalog::DEFAULT_CATALOGUE)
        .await
        .unwrap();
    let catalogue = world.app.catalog.snapshot(&world.app.db).await.unwrap();
    let image = catalogue
        .images()
        .into_iter()
        .find(|i| i.min_disk_gib <= 25)
        .unwrap();
    let id = world.running().await;
    let before = world.get(id).await;
    let mut tx = world.app.db.begin().await.unwrap();
    let unknown = ask::rebuild(
        &world.app,
        &mut tx,
        &catalogue,
        world.target(id),
        from_image(ImageId::new()),
        world.now(),
    )
    .await;
    assert!(matches!(unknown, Err(Error::ImageUnavailable(_))));
    ask::rebuild(
        &world.app,
        &mut tx,
        &catalogue,
        world.target(id),
        from_image(image.id),
        world.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        world.get(id).await.image,
        before.image,
        "it is built from the old one until it is done"
    );
    world.settle().await;
    let after = world.get(id).await;
    assert_eq!(
        (after.image, after.image_code.as_str(), after.ipv4),
        (image.id, image.provider_image.as_str(), before.ipv4)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn refusals_say_why(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    assert!(matches!(
        world.ask(id, Kind::PowerOn).await,
        Err(Error::Refused(Refused::IllegalState(State::Running)))
    ));
    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    assert!(
        matches!(world.ask(id, Kind::Reboot).await, Err(Error::Refused(Refused::Busy(open))) if open == asked.id)
    );
    world.settle().await;

    let mut connection = world.app.db.acquire().await.unwrap();
    let stale = Target {
        etag: "r1",
        ..world.target(id)
    };
    assert!(matches!(
        ask::power(
            &world.app.providers,
            &mut connection,
            stale,
            Kind::Reboot,
            world.now()
        )
        .await,
        Err(Error::Refused(Refused::EtagMismatch { .. }))
    ));
    let foreign = Target {
        account: AccountId::new(),
        ..world.target(id)
    };
    assert!(matches!(
        ask::power(
            &world.app.providers,
            &mut connection,
            foreign,
            Kind::Reboot,
            world.now()
        )
        .await,
        Err(Error::InstanceNotFound)
    ));
    assert!(matches!(
        ask::delete(&mut connection, world.target(id), "web-2", world.now()).await,
        Err(Error::ConfirmationMismatch)
    ));
    let current = world.get(id).await.etag();
    let fresh = Target {
        etag: &current,
        ..world.target(id)
    };
    let update = Update {
        display_name: Some("shop".to_owned()),
        labels: Some(BTreeMap::from([("env".to_owned(), "test".to_owned())])),
    };
    ask::update(&mut connection, fresh, update.clone(), world.now())
        .await
        .unwrap();
    assert!(matches!(
        ask::update(&mut connection, fresh, update, world.now()).await,
        Err(Error::Refused(Refused::EtagMismatch { .. }))
    ));
    let updated = world.get(id).await;
    assert_eq!(
        (
            updated.display_name.as_str(),
            updated.labels["env"].as_str()
        ),
        ("shop", "test")
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deleted_machine_is_gone_and_deleting_repeats_safely(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let mut tx = world.app.db.begin().await.unwrap();
    let asked = ask::delete(&mut tx, world.target(id), "web-1", world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(world.state(id).await, State::Deleting);
    sqlx::query!("update sim_machines set gone_at = now()")
        .execute(&world.app.db)
        .await
        .unwrap();
    world.settle().await;
    assert_eq!(
        (world.state(id).await, world.end_of(&asked).await.0),
        (State::Deleted, work::State::Succeeded)
    );
    assert_eq!(
        world.history(id).await,
        ["PROVISIONING", "RUNNING", "DELETING", "DELETED"]
    );
    world.impose(Kind::Delete, id).await;
    assert_eq!(world.state(id).await, State::Deleted);
}

#[sqlx::test(migrations = "../migrations")]
async fn only_what_the_provider_does_not_know_of_can_be_taken_back(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, FOREVER).await;
    let id = world.ordered().await;
    let mut tx = world.app.db.begin().await.unwrap();
    mark_running(&mut tx, world.account, id, world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let asked = world.ask(id, Kind::PowerOff).await.unwrap();
    let mut connection = world.app.db.acquire().await.unwrap();
    let cancelled = operation::cancel(&mut connection, world.account, asked.id, world.now())
        .await
        .unwrap();
    assert_eq!(cancelled, world.operation(&asked).await);
    assert_eq!(
        (cancelled.state, world.get(id).await.wanted),
        (work::State::Cancelled, Wanted::Running)
    );
    assert!(
        operation::cancel(&mut connection, world.account, asked.id, world.now())
            .await
            .is_err()
    );

    let asked = world.ask(id, Kind::Reboot).await.unwrap();
    operation::store::lease(
        &world.app.db,
        operation::store::Queue::Instances,
        world.now(),
        world.now() + TimeDelta::seconds(30),
        10,
    )
    .await
    .unwrap();
    assert!(
        operation::cancel(&mut connection, world.account, asked.id, world.now())
            .await
            .is_err()
    );
    assert!(
        operation::cancel(&mut connection, AccountId::new(), asked.id, world.now())
            .await
            .is_err()
    );
    world.impose(Kind::Suspend, id).await;
    let open = operation::store::get_open(&mut connection, world.account, id)
        .await
        .unwrap()
        .unwrap();
    assert!(
        operation::cancel(&mut connection, world.account, open, world.now())
            .await
            .is_err(),
        "a suspension is not its owner's to cancel"
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn waiting_ends_when_the_operation_does(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let asked = world.ask(id, Kind::PowerOff).await.unwrap();
    let waiter = Operations {
        app: world.app.clone(),
    };
    let impatient = waiter
        .wait(world.account, asked.id, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(impatient.state, work::State::Pending);
    let (waited, ()) = tokio::join!(
        waiter.wait(world.account, asked.id, Duration::from_secs(20)),
        world.settle()
    );
    assert_eq!(waited.unwrap().state, work::State::Succeeded);
    assert!(
        waiter
            .wait(AccountId::new(), asked.id, Duration::ZERO)
            .await
            .is_err()
    );
}
