//! Machines and operations against a real database and the simulated cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::SecretString;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask::{self, Target, Update};
use super::error::Error;
use super::model::Refused;
use super::*;
use crate::app::App;
use crate::base::clock::Clock;
use crate::base::crypto::{self, MasterKey};
use crate::base::id::{ImageId, OrderId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::base::outbox::reader::Tail;
use crate::config::Config;
use crate::provider::compute::simulator::{self, Simulator, faults};
use crate::provider::compute::{Compute, CreateMachine, Providers, Reference};
use crate::service::operation::model as work;
use crate::service::operation::rpc::Operations;
use crate::service::{catalog, identity, order};

/// Longer than any test runs.
const FOREVER: u64 = 3_600_000;

struct World {
    app: App,
    cloud: Arc<Simulator>,
    account: AccountId,
}

impl World {
    async fn new(db: PgPool, boot_ms: u64) -> Self {
        let (clock, master, tail) = (Clock, MasterKey::new([7; 32]), Tail::start(db.clone()));
        let cloud = Arc::new(Simulator::new(db.clone(), clock.clone(), boot_ms));
        let app = App {
            signer: Arc::new(identity::tokens::Signer::load(&db, &master).await.unwrap()),
            catalog: catalog::Cache::default(),
            providers: Providers::new([(
                simulator::NAME.to_owned(),
                Arc::clone(&cloud) as Arc<dyn Compute>,
            )]),
            placing: order::place::lanes(db.clone(), clock.clone(), tail.clone(), 1),
            db,
            clock,
            master,
            tail,
            config: Arc::new(Config::default()),
            stop: CancellationToken::new(),
        };
        Self {
            app,
            cloud,
            account: AccountId::new(),
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.app.clock.now()
    }

    /// An instance whose machine is not made yet.
    async fn ordered(&self) -> InstanceId {
        let id = InstanceId::new();
        let new = NewInstance {
            account: self.account,
            id,
            order: OrderId::new(),
            provider: simulator::NAME.to_owned(),
            provider_size: "s-1vcpu-1gb".to_owned(),
            plan: PlanId::new(),
            vcpus: 1,
            memory_mib: 1024,
            disk_gib: 25,
            region: RegionId::new(),
            region_code: "sgp1".to_owned(),
            image: ImageId::new(),
            image_code: "debian-13".to_owned(),
            hostname: "web-1".to_owned(),
            labels: BTreeMap::new(),
            price: Rupiah(100_000),
            period: BillingPeriod::Month,
            created_at: self.now(),
        };
        let mut tx = self.app.db.begin().await.unwrap();
        insert_many(&mut tx, std::slice::from_ref(&new))
            .await
            .unwrap();
        insert_many(&mut tx, &[new]).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn provision(&self, id: InstanceId) -> Provisioned {
        provision(&self.app, self.account, id).await.unwrap()
    }

    /// Takes the making of a machine on until it runs, as an order would.
    async fn provision_until_running(&self, id: InstanceId) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.provision(id).await != Provisioned::Running {
            assert!(Instant::now() < end, "the machine did not run in time");
        }
    }

    async fn running(&self) -> InstanceId {
        let id = self.ordered().await;
        self.provision_until_running(id).await;
        mark_running(
            &mut self.app.db.acquire().await.unwrap(),
            self.account,
            id,
            self.now(),
        )
        .await
        .unwrap();
        id
    }

    async fn get(&self, id: InstanceId) -> Instance {
        store::get(&self.app.db, self.account, id)
            .await
            .unwrap()
            .unwrap()
    }

    async fn state(&self, id: InstanceId) -> State {
        self.get(id).await.state
    }

    fn target(&self, id: InstanceId) -> Target<'static> {
        Target {
            account: self.account,
            id,
            etag: "",
        }
    }

    async fn ask(&self, id: InstanceId, kind: Kind) -> Result<NewOperation, Error> {
        let mut tx = self.app.db.begin().await.unwrap();
        let asked = ask::power(&mut tx, self.target(id), kind, self.now()).await;
        tx.commit().await.unwrap();
        asked
    }

    async fn operation(&self, asked: &NewOperation) -> work::Operation {
        operation::store::get(&self.app.db, self.account, asked.id)
            .await
            .unwrap()
            .unwrap()
    }

    async fn end_of(&self, asked: &NewOperation) -> (work::State, Option<String>) {
        let found = self.operation(asked).await;
        (found.state, found.error.map(|(reason, _)| reason))
    }

    /// Makes every wait of the reconciler end now.
    async fn hurry(&self) {
        sqlx::query!("update operations set next_attempt_at = now() - interval '1 second' where finished_at is null").execute(&self.app.db).await.unwrap();
    }

    /// Reconciles until nothing is under way.
    async fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        while sqlx::query_scalar!(
            r#"select count(*) as "n!" from operations where finished_at is null"#
        )
        .fetch_one(&self.app.db)
        .await
        .unwrap()
            > 0
        {
            assert!(Instant::now() < end, "operations did not end in time");
            self.hurry().await;
            reconcile_once(&self.app).await.unwrap();
        }
    }

    async fn patrol(&self) {
        sqlx::query!(
            "update instances set look_at = now() - interval '1 second' where look_at is not null"
        )
        .execute(&self.app.db)
        .await
        .unwrap();
        patrol_once(&self.app).await.unwrap();
    }

    async fn inject(&self, kind: Fault, times: i32) {
        faults::inject(
            &mut self.app.db.acquire().await.unwrap(),
            self.account,
            kind,
            times,
        )
        .await
        .unwrap();
    }

    async fn machines(&self) -> i64 {
        sqlx::query_scalar!(r#"select count(*) as "n!" from sim_machines where gone_at is null"#)
            .fetch_one(&self.app.db)
            .await
            .unwrap()
    }

    /// The states an instance went through, as the event log tells it.
    async fn history(&self, id: InstanceId) -> Vec<String> {
        let events = sqlx::query_scalar!(
            "select payload from events where subject_id = $1 order by seq",
            id.0
        )
        .fetch_all(&self.app.db)
        .await
        .unwrap();
        let state =
            |bytes: Vec<u8>| match <sewa_sdk::sewa::event::v1::Event as prost::Message>::decode(
                bytes.as_slice(),
            )
            .unwrap()
            .payload
            {
                Some(Payload::Instance(instance)) => instance.state,
                other => panic!("not about an instance: {other:?}"),
            };
        events.into_iter().map(state).collect()
    }

    async fn impose(&self, kind: Kind, id: InstanceId) {
        let mut tx = self.app.db.begin().await.unwrap();
        let named = [(self.account, id)];
        match kind {
            Kind::Suspend => suspend_many(&mut tx, &named, self.now()).await.unwrap(),
            Kind::Resume => resume_many(&mut tx, &named, self.now()).await.unwrap(),
            _ => terminate_many(&mut tx, &named, self.now()).await.unwrap(),
        }
        tx.commit().await.unwrap();
    }

    fn wish(&self, instance: InstanceId) -> CreateMachine {
        CreateMachine {
            reference: Reference {
                account: self.account,
                instance,
            },
            size: "s-1vcpu-1gb".to_owned(),
            region: "sgp1".to_owned(),
            image: "debian-13".to_owned(),
            hostname: "web-1".to_owned(),
            first_password: SecretString::from("first"),
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_ordered_machine_runs_and_shows_its_addresses(db: PgPool) {
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
async fn a_lost_answer_makes_one_machine(db: PgPool) {
    let world = World::new(db, 0).await;
    world.inject(Fault::AnswerLost, 1).await;
    world.running().await;
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn many_replicas_make_one_machine(db: PgPool) {
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
async fn nobody_creates_while_a_creation_may_be_under_way(db: PgPool) {
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let now = world.now();
    // A replica claims the creation and dies before it hears anything.
    assert!(
        store::claim(
            &world.app.db,
            world.account,
            id,
            now,
            now + TimeDelta::hours(1)
        )
        .await
        .unwrap()
    );
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
async fn a_claim_that_is_over_is_taken_by_the_next(db: PgPool) {
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let before = world.now() - TimeDelta::hours(1);
    assert!(
        store::claim(&world.app.db, world.account, id, before, before)
            .await
            .unwrap()
    );
    world.provision_until_running(id).await;
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_machine_that_is_gone_before_it_was_noticed_is_made_again(db: PgPool) {
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
    assert!(matches!(
        world.provision(id).await,
        Provisioned::Waiting { .. }
    ));
    assert_eq!(world.machines().await, 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn failures_say_whether_trying_again_helps(db: PgPool) {
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
async fn what_is_left_of_a_failed_order_is_destroyed(db: PgPool) {
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
async fn cleaning_up_waits_for_a_machine_that_may_still_turn_up(db: PgPool) {
    let world = World::new(db, 0).await;
    let id = world.ordered().await;
    let now = world.now();
    assert!(
        store::claim(
            &world.app.db,
            world.account,
            id,
            now,
            now + TimeDelta::hours(1)
        )
        .await
        .unwrap()
    );
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

#[sqlx::test(migrations = "../migrations")]
async fn the_power_follows_what_the_owner_asks(db: PgPool) {
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
async fn a_reboot_is_asked_once_and_seen_through(db: PgPool) {
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
async fn a_new_password_reaches_the_machine_and_is_kept_nowhere(db: PgPool) {
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

#[sqlx::test(migrations = "../migrations")]
async fn a_rebuild_takes_an_image_that_fits_and_keeps_the_address(db: PgPool) {
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
        &mut tx,
        &catalogue,
        world.target(id),
        Some(ImageId::new()),
        world.now(),
    )
    .await;
    assert!(matches!(unknown, Err(Error::ImageUnavailable(_))));
    ask::rebuild(
        &mut tx,
        &catalogue,
        world.target(id),
        Some(image.id),
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
async fn refusals_say_why(db: PgPool) {
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
        ask::power(&mut connection, stale, Kind::Reboot, world.now()).await,
        Err(Error::Refused(Refused::EtagMismatch { .. }))
    ));
    let foreign = Target {
        account: AccountId::new(),
        ..world.target(id)
    };
    assert!(matches!(
        ask::power(&mut connection, foreign, Kind::Reboot, world.now()).await,
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
async fn a_deleted_machine_is_gone_and_deleting_repeats_safely(db: PgPool) {
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
async fn a_machine_that_vanished_is_lost_and_can_be_deleted(db: PgPool) {
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
async fn the_patrol_finds_machines_that_vanished_or_were_shut_down_inside(db: PgPool) {
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
async fn a_suspended_machine_is_off_until_it_is_resumed(db: PgPool) {
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
        crate::provider::compute::Power::Stopped
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
async fn suspension_takes_the_place_of_what_was_under_way_and_remembers_the_wish(db: PgPool) {
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
async fn two_reconcilers_share_the_work(db: PgPool) {
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
async fn whoever_died_between_acting_and_writing_it_down_is_replaced(db: PgPool) {
    let world = World::new(db, 0).await;
    let id = world.running().await;
    let asked = world.ask(id, Kind::PowerOff).await.unwrap();
    let now = world.now();
    let mut leased = operation::store::lease(&world.app.db, now, now + TimeDelta::seconds(30), 10)
        .await
        .unwrap();
    let dead = leased.pop().unwrap();
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
    reconcile_once(&world.app).await.unwrap();
    assert_eq!(
        (world.state(id).await, world.end_of(&asked).await.0),
        (State::Stopped, work::State::Succeeded)
    );
    let failed = work::End::Failed {
        reason: "INTERNAL",
        message: "too late".to_owned(),
    };
    let mut connection = world.app.db.acquire().await.unwrap();
    assert!(
        !operation::settle(&mut connection, &dead, &failed, world.now())
            .await
            .unwrap(),
        "its result is refused"
    );
    assert_eq!(world.end_of(&asked).await.0, work::State::Succeeded);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_provider_that_fails_for_long_ends_what_owners_asked_but_not_what_must_be(db: PgPool) {
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
async fn a_slow_cloud_is_waited_for(db: PgPool) {
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

#[sqlx::test(migrations = "../migrations")]
async fn only_what_the_provider_does_not_know_of_can_be_taken_back(db: PgPool) {
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
async fn waiting_ends_when_the_operation_does(db: PgPool) {
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
