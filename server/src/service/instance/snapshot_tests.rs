//! Snapshots between their owners and the provider.

use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;

use super::error::Error;
use super::model::snapshot::{LIMIT, Snapshot, State as Shot};
use super::snapshot_work::tend_once;
use super::tests::World;
use super::*;
use crate::base::db::PgPool;
use crate::service::operation::model as work;

impl World {
    async fn snapshot(&self, id: InstanceId) -> Result<(Snapshot, NewOperation), Error> {
        let mut tx = self.app.db.begin().await.unwrap();
        let (providers, name) = (&self.app.providers, "before".to_owned());
        let asked = snapshot::create(providers, &mut tx, self.target(id), name, self.now()).await;
        tx.commit().await.unwrap();
        asked
    }

    async fn shown(&self, snapshot: &Snapshot) -> Option<Shot> {
        let mut connection = self.app.db.acquire().await.unwrap();
        store::snapshots::get(&mut connection, self.account, snapshot.id)
            .await
            .unwrap()
            .map(|s| s.state())
    }

    /// What the cloud has.
    async fn copies(&self) -> i64 {
        sqlx::query_scalar!(r#"select count(*) as "n!" from sim_snapshots"#)
            .fetch_one(&self.app.db)
            .await
            .unwrap()
    }

    /// Looks after every snapshot, as often as it takes to delete one and see that it is gone.
    async fn tend(&self) {
        for _ in 0..2 {
            sqlx::query!("update snapshots set look_at = now() - interval '1 second' where look_at is not null")
                .execute(&self.app.db)
                .await
                .unwrap();
            tend_once(&self.app).await.unwrap();
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_snapshot_whose_answer_was_lost_is_taken_once(db: sqlx::PgPool) {
    let world = World::new(PgPool::from(db), 0).await;
    let id = world.running().await;
    world.inject(Fault::AnswerLost, 1).await;
    let (snapshot, asked) = world.snapshot(id).await.unwrap();
    assert_eq!(world.shown(&snapshot).await, Some(Shot::Creating));
    world.settle().await;
    assert_eq!(world.end_of(&asked).await.0, work::State::Succeeded);
    assert_eq!(world.shown(&snapshot).await, Some(Shot::Available));
    assert_eq!(world.copies().await, 1);
    world.tend().await;
    assert_eq!(world.shown(&snapshot).await, Some(Shot::Available));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_snapshot_that_a_suspension_overtook_leaves_nothing_behind(db: sqlx::PgPool) {
    let world = World::new(PgPool::from(db), 0).await;
    let id = world.running().await;
    let (snapshot, asked) = world.snapshot(id).await.unwrap();
    // It is under way, and the provider has it before we know.
    reconcile_once(&world.app).await.unwrap();
    assert_eq!(world.copies().await, 1);
    world.tend().await;
    assert_eq!(world.shown(&snapshot).await, Some(Shot::Creating));
    world.impose(Kind::Suspend, id).await;
    world.settle().await;
    assert_eq!(world.end_of(&asked).await.0, work::State::Cancelled);
    world.tend().await;
    assert_eq!(
        (world.shown(&snapshot).await, world.copies().await),
        (None, 0)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deletion_that_is_called_off_in_time_deletes_nothing(db: sqlx::PgPool) {
    let world = World::new(PgPool::from(db), 0).await;
    let id = world.running().await;
    let (snapshot, _) = world.snapshot(id).await.unwrap();
    world.settle().await;
    let mut tx = world.app.db.begin().await.unwrap();
    let now = world.now();
    let asked = snapshot::delete(&mut tx, world.account, snapshot.id, now).await;
    let asked = asked.unwrap();
    let cancelled = operation::cancel(&mut tx, world.account, asked.id, now).await;
    assert_eq!(cancelled.unwrap().state, work::State::Cancelled);
    tx.commit().await.unwrap();
    world.tend().await;
    assert_eq!(world.shown(&snapshot).await, Some(Shot::Available));
    assert_eq!(world.copies().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn snapshots_end_with_their_machine(db: sqlx::PgPool) {
    let world = World::new(PgPool::from(db), 0).await;
    let id = world.running().await;
    for _ in 0..LIMIT {
        world.snapshot(id).await.unwrap();
        world.settle().await;
    }
    let refused = world.snapshot(id).await;
    assert!(matches!(refused, Err(Error::SnapshotLimit)), "{refused:?}");
    assert_eq!(world.copies().await, LIMIT);
    world.impose(Kind::Delete, id).await;
    world.settle().await;
    assert_eq!(world.copies().await, LIMIT, "the cloud keeps them");
    world.tend().await;
    assert_eq!(world.copies().await, 0);
    let rows = sqlx::query_scalar!(r#"select count(*) as "n!" from snapshots"#);
    assert_eq!(rows.fetch_one(&world.app.db).await.unwrap(), 0);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_disk_goes_back_to_what_it_was(db: sqlx::PgPool) {
    let world = World::new(PgPool::from(db), 0).await;
    let id = world.running().await;
    let (snapshot, _) = world.snapshot(id).await.unwrap();
    world.settle().await;
    let digest = async || {
        sqlx::query_scalar!("select password_digest from sim_machines")
            .fetch_one(&world.app.db)
            .await
            .unwrap()
    };
    let before = digest().await;
    let mut tx = world.app.db.begin().await.unwrap();
    let target = world.target(id);
    let reset = ask::reset_password(&world.app, &mut tx, target, world.now()).await;
    reset.unwrap();
    tx.commit().await.unwrap();
    world.settle().await;
    assert_ne!(digest().await, before);
    world.ask(id, Kind::PowerOff).await.unwrap();
    world.settle().await;
    let mut tx = world.app.db.begin().await.unwrap();
    let asked = snapshot::restore(&mut tx, world.account, snapshot.id, world.now()).await;
    let asked = asked.unwrap();
    tx.commit().await.unwrap();
    world.settle().await;
    assert_eq!(world.end_of(&asked).await.0, work::State::Succeeded);
    assert_eq!(digest().await, before);
    assert_eq!(world.state(id).await, State::Running);
}
