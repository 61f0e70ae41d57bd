//! The simulated cloud against a real database.

use secrecy::SecretString;
use sewa_sdk::sewa::sandbox::v1::Fault;
use sewa_sdk::sewa::sandbox::v1::fault::Kind;

use crate::base::clock::Clock;
use crate::base::crypto;
use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::simulator::{Simulator, faults};
use crate::provider::compute::{Boot, Compute, CreateMachine, Power, ProviderError, Reference};

/// Longer than any test runs.
const FOREVER: u64 = 3_600_000;

fn cloud(db: &PgPool, boot_ms: u64) -> Simulator {
    Simulator::new(db.clone(), Clock, boot_ms)
}

fn wish(account: AccountId) -> CreateMachine {
    CreateMachine {
        reference: Reference {
            account,
            instance: InstanceId::new(),
        },
        size: "s-1vcpu-1gb".to_owned(),
        region: "sgp1".to_owned(),
        image: "debian-13".to_owned(),
        boot: boot("first"),
        place: None,
    }
}

fn boot(password: &str) -> Boot {
    Boot {
        hostname: "web-1".to_owned(),
        password: SecretString::from(password),
        ssh_keys: vec!["ssh-ed25519 AAAA".to_owned()],
        user_data: None,
    }
}

async fn inject(db: &PgPool, account: AccountId, kind: Kind, times: i32) {
    faults::inject(&mut db.acquire().await.unwrap(), account, kind, times)
        .await
        .unwrap();
}

async fn password_digest(db: &PgPool) -> Vec<u8> {
    sqlx::query_scalar!("select password_digest from sim_machines")
        .fetch_one(db)
        .await
        .unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_machine_lives_from_creation_to_deletion(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let wish = wish(AccountId::new());
    let made = cloud.create(&wish).await.unwrap();
    let id = made.provider_ref.as_str();
    assert_eq!(
        cloud.find(wish.reference).await.unwrap(),
        [cloud.get(id).await.unwrap().unwrap()]
    );
    assert_eq!(made.reference, wish.reference.instance.to_string());
    assert_eq!(password_digest(&db).await, crypto::digest(b"first"));

    cloud.shutdown(id).await.unwrap();
    assert_eq!(cloud.get(id).await.unwrap().unwrap().power, Power::Stopped);
    assert!(matches!(
        cloud.reboot(id).await,
        Err(ProviderError::Refused(_))
    ));
    cloud.power_on(id).await.unwrap();
    cloud.power_on(id).await.unwrap();
    cloud
        .reset_password(id, &SecretString::from("second"))
        .await
        .unwrap();
    assert_eq!(password_digest(&db).await, crypto::digest(b"second"));
    cloud
        .rebuild(id, "ubuntu-24", &boot("third"))
        .await
        .unwrap();
    assert_eq!(password_digest(&db).await, crypto::digest(b"third"));
    assert_eq!(
        sqlx::query_scalar!("select image from sim_machines")
            .fetch_one(&db)
            .await
            .unwrap(),
        "ubuntu-24"
    );
    assert_eq!(
        cloud.get(id).await.unwrap().unwrap().ipv4,
        made.ipv4,
        "a rebuilt machine keeps its address"
    );

    cloud.delete(id).await.unwrap();
    assert_eq!(cloud.get(id).await.unwrap(), None);
    assert_eq!(cloud.delete(id).await, Err(ProviderError::NotFound));
    assert_eq!(cloud.power_on(id).await, Err(ProviderError::NotFound));
    assert_eq!(cloud.find(wish.reference).await.unwrap(), []);
}

#[sqlx::test(migrations = "../migrations")]
async fn asking_twice_makes_two_machines(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let wish = wish(AccountId::new());
    let (first, second) = (
        cloud.create(&wish).await.unwrap(),
        cloud.create(&wish).await.unwrap(),
    );
    assert_ne!(first.ipv4, second.ipv4);
    assert_eq!(cloud.find(wish.reference).await.unwrap(), [first, second]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_booting_machine_refuses_work(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, FOREVER);
    let made = cloud.create(&wish(AccountId::new())).await.unwrap();
    assert_eq!(
        (made.power, made.busy, made.ipv4),
        (Power::Booting, true, None)
    );
    assert_eq!(
        cloud.power_off(&made.provider_ref).await,
        Err(ProviderError::Busy)
    );
    assert_eq!(
        cloud.delete(&made.provider_ref).await,
        Err(ProviderError::Busy)
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_full_region_takes_a_machine_again_once_one_is_gone(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    sqlx::query!("insert into sim_regions (code, capacity, used) values ('sgp1', 1, 0)")
        .execute(&db)
        .await
        .unwrap();
    let account = AccountId::new();
    let first = cloud.create(&wish(account)).await.unwrap();
    assert_eq!(
        cloud.create(&wish(account)).await,
        Err(ProviderError::NoCapacity)
    );
    cloud.delete(&first.provider_ref).await.unwrap();
    cloud.create(&wish(account)).await.unwrap();
    assert_eq!(
        sqlx::query_scalar!("select used from sim_regions")
            .fetch_one(&db)
            .await
            .unwrap(),
        1
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_taken_address_is_skipped(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let first = cloud.create(&wish(AccountId::new())).await.unwrap();
    sqlx::query!("select setval('sim_addresses_seq', 1, false)")
        .fetch_one(&db)
        .await
        .unwrap();
    let second = cloud.create(&wish(AccountId::new())).await.unwrap();
    assert_ne!(first.ipv4, second.ipv4);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_lost_answer_leaves_a_machine_to_be_found(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let wish = wish(AccountId::new());
    inject(&db, wish.reference.account, Kind::AnswerLost, 1).await;
    assert_eq!(cloud.create(&wish).await, Err(ProviderError::Unknown));
    assert_eq!(cloud.find(wish.reference).await.unwrap().len(), 1);
}

#[sqlx::test(migrations = "../migrations")]
async fn faults_spoil_as_many_calls_as_told_and_only_of_their_account(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let (spoiled, other) = (AccountId::new(), AccountId::new());
    inject(&db, spoiled, Kind::NoCapacity, 2).await;
    cloud.create(&wish(other)).await.unwrap();
    for _ in 0..2 {
        assert_eq!(
            cloud.create(&wish(spoiled)).await,
            Err(ProviderError::NoCapacity)
        );
    }
    let made = cloud.create(&wish(spoiled)).await.unwrap();

    inject(&db, spoiled, Kind::Error, 1).await;
    inject(&db, spoiled, Kind::Error, 0).await;
    for _ in 0..3 {
        assert!(matches!(
            cloud.get(&made.provider_ref).await,
            Err(ProviderError::Unavailable(_))
        ));
        assert!(matches!(
            cloud.power_off(&made.provider_ref).await,
            Err(ProviderError::Unavailable(_))
        ));
    }
    let mut connection = db.acquire().await.unwrap();
    assert_eq!(
        faults::list(&mut connection, spoiled).await.unwrap(),
        [Fault {
            kind: Kind::Error as i32,
            times_left: 0
        }]
    );
    faults::clear(&mut connection, spoiled).await.unwrap();
    assert_eq!(
        cloud.get(&made.provider_ref).await.unwrap().unwrap().power,
        Power::Running,
        "the calls that failed had no effect"
    );
}

#[sqlx::test(migrations = "../migrations")]
async fn a_vanishing_machine_is_gone_after_it_was_seen_running(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let cloud = cloud(&db, 0);
    let wish = wish(AccountId::new());
    inject(&db, wish.reference.account, Kind::Vanish, 1).await;
    let made = cloud.create(&wish).await.unwrap();
    assert_eq!(
        cloud.get(&made.provider_ref).await.unwrap().unwrap().power,
        Power::Running
    );
    assert_eq!(cloud.get(&made.provider_ref).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_slow_cloud_boots_ten_times_as_long(db: sqlx::PgPool) {
    let db = PgPool::from(db);
    let account = AccountId::new();
    inject(&db, account, Kind::Slow, 1).await;
    let cloud = cloud(&db, 1000);
    cloud.create(&wish(account)).await.unwrap();
    cloud.create(&wish(account)).await.unwrap();
    let seconds = sqlx::query_scalar!(
        r#"select extract(epoch from settles_at - began_at)::integer as "s!" from sim_machines order by created_at"#
    );
    assert_eq!(seconds.fetch_all(&db).await.unwrap(), [10, 1]);
}
