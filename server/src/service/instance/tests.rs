//! What the tests of this slice share: a platform with one account, a real database and the simulated cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask::{self, Target};
use super::error::Error;
use super::*;
use crate::app::{App, Lookups, Parts};
use crate::base::agreed::Agreed;
use crate::base::clock::Clock;
use crate::base::crypto::MasterKey;
use crate::base::db::PgPool;
use crate::base::id::{ImageId, OrderId, PlanId, RegionId};
use crate::base::money::Rupiah;
use crate::base::outbox::reader::Tail;
use crate::base::repeats::Repeats;
use crate::config::Config;
use crate::provider::compute::simulator::{self, Simulator, faults};
use crate::provider::compute::{Boot, Compute, CreateMachine, Providers, Reference};
use crate::provider::payment::registry::Gateways;
use crate::service::operation::model as work;
use crate::service::{billing, catalog, identity, order, provider};

/// Longer than any test runs.
pub(super) const FOREVER: u64 = 3_600_000;

pub(super) struct World {
    pub(super) app: App,
    pub(super) cloud: Arc<Simulator>,
    pub(super) account: AccountId,
}

impl World {
    pub(super) async fn new(db: PgPool, boot_ms: u64) -> Self {
        let (clock, master, tail) = (Clock, MasterKey::new([7; 32]), Tail::start(db.clone()));
        let cloud = Arc::new(Simulator::new(db.clone(), clock.clone(), boot_ms));
        let app = Parts {
            signer: identity::tokens::Signer::load(&db, &master).await.unwrap(),
            billing: billing::complete::Complete::default(),
            catalog: catalog::Cache::default(),
            providers: Providers::new([(
                simulator::NAME.to_owned(),
                Arc::clone(&cloud) as Arc<dyn Compute>,
            )]),
            gateways: Gateways::default(),
            lines: provider::Lines::new(
                crate::base::vault::Vault::new(BTreeMap::from([("k".to_owned(), [1; 32])]), "k")
                    .unwrap(),
            ),
            placing: order::place::lanes(db.clone(), clock.clone(), tail.clone(), 1),
            repeats: Repeats::start(&db),
            reads: Lookups::start(&db),
            agreed: Agreed::start(&db, clock.clone(), CancellationToken::new())
                .await
                .unwrap(),
            db,
            clock,
            master,
            tail,
            config: Config::default(),
            stop: CancellationToken::new(),
        };
        Self {
            app: app.into(),
            cloud,
            account: AccountId::new(),
        }
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.app.clock.now()
    }

    /// An instance whose machine is not made yet.
    pub(super) async fn ordered(&self) -> InstanceId {
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

    pub(super) async fn provision(&self, id: InstanceId) -> Provisioned {
        provision(&self.app, self.account, id).await.unwrap()
    }

    /// Takes the making of a machine on until it runs, as an order would.
    pub(super) async fn provision_until_running(&self, id: InstanceId) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.provision(id).await != Provisioned::Running {
            assert!(Instant::now() < end, "the machine did not run in time");
        }
    }

    pub(super) async fn running(&self) -> InstanceId {
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

    pub(super) async fn get(&self, id: InstanceId) -> Instance {
        store::get(&self.app.db, self.account, id)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn state(&self, id: InstanceId) -> State {
        self.get(id).await.state
    }

    pub(super) fn target(&self, id: InstanceId) -> Target<'static> {
        Target {
            account: self.account,
            id,
            etag: "",
        }
    }

    pub(super) async fn ask(&self, id: InstanceId, kind: Kind) -> Result<NewOperation, Error> {
        let mut tx = self.app.db.begin().await.unwrap();
        let asked = ask::power(
            &self.app.providers,
            &mut tx,
            self.target(id),
            kind,
            self.now(),
        )
        .await;
        tx.commit().await.unwrap();
        asked
    }

    pub(super) async fn operation(&self, asked: &NewOperation) -> work::Operation {
        self.app
            .reads
            .operations
            .get((self.account, asked.id))
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn end_of(&self, asked: &NewOperation) -> (work::State, Option<String>) {
        let found = self.operation(asked).await;
        (found.state, found.error.map(|(reason, _)| reason))
    }

    /// Makes every wait of the reconciler end now.
    pub(super) async fn hurry(&self) {
        sqlx::query!("update operations set next_attempt_at = now() - interval '1 second' where finished_at is null").execute(&self.app.db).await.unwrap();
    }

    /// Reconciles until nothing is under way.
    pub(super) async fn settle(&self) {
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

    pub(super) async fn patrol(&self) {
        sqlx::query!(
            "update instances set look_at = now() - interval '1 second' where look_at is not null"
        )
        .execute(&self.app.db)
        .await
        .unwrap();
        patrol_once(&self.app).await.unwrap();
    }

    pub(super) async fn inject(&self, kind: Fault, times: i32) {
        faults::inject(
            &mut self.app.db.acquire().await.unwrap(),
            self.account,
            kind,
            times,
        )
        .await
        .unwrap();
    }

    pub(super) async fn machines(&self) -> i64 {
        sqlx::query_scalar!(r#"select count(*) as "n!" from sim_machines where gone_at is null"#)
            .fetch_one(&self.app.db)
            .await
            .unwrap()
    }

    /// The states an instance went through, as the event log tells it.
    pub(super) async fn history(&self, id: InstanceId) -> Vec<String> {
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

    pub(super) async fn impose(&self, kind: Kind, id: InstanceId) {
        let mut tx = self.app.db.begin().await.unwrap();
        let named = [(self.account, id)];
        match kind {
            Kind::Suspend => suspend_many(&mut tx, &named, self.now()).await.unwrap(),
            Kind::Resume => resume_many(&mut tx, &named, self.now()).await.unwrap(),
            _ => terminate_many(&mut tx, &named, self.now()).await.unwrap(),
        }
        tx.commit().await.unwrap();
    }

    pub(super) fn wish(&self, instance: InstanceId) -> CreateMachine {
        CreateMachine {
            reference: Reference {
                account: self.account,
                instance,
            },
            size: "s-1vcpu-1gb".to_owned(),
            region: "sgp1".to_owned(),
            image: "debian-13".to_owned(),
            boot: Boot {
                hostname: "web-1".to_owned(),
                password: SecretString::from("first"),
                ssh_keys: Vec::new(),
                user_data: None,
            },
            place: None,
        }
    }
}
