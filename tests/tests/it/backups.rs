//! Backups: taken where the plan has them, gone back to, and ended with the plan or the machine. [V9]

use sewa_sdk::Error;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::api::v1::{BillingPeriod, Operation};
use sewa_sdk::sewa::catalog::v1::{
    CreatePlanRequest, ListImagesRequest, Plan, SetPlanPriceRequest,
};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{
    Backup, BackupStatus, GetBackupStatusRequest, ListBackupsRequest, RebuildInstanceRequest,
    RestoreBackupRequest,
};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::compute::{Dialect, Fault, Verb as Done};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};

use crate::instance::{Verb, ask};
use crate::plan_change::change;
use crate::providers::{PLAN, Shop, draft, open_shop, rich_reseller};

/// Another image of the built-in cloud than the one machines are made of.
async fn other_image(budi: &Actor, than: &str) -> String {
    let images = budi
        .catalog()
        .list_images(ListImagesRequest::default())
        .await;
    let mut images = images.unwrap().into_inner().images.into_iter();
    let other = images.find(|image| image.id != than && image.min_disk_gib <= 10);
    other.expect("another image").id
}

fn plan(provider: &str, size: &str, disk_gib: i32) -> CreatePlanRequest {
    CreatePlanRequest {
        code: "safe".to_owned(),
        display_name: "Safe".to_owned(),
        vcpus: 1,
        memory_mib: 1024,
        disk_gib,
        transfer_gib: 1000,
        provider: provider.to_owned(),
        provider_size: size.to_owned(),
        backups: true,
    }
}

/// Sells a plan with backups.
async fn sell(world: &World, wish: CreatePlanRequest) -> Plan {
    let business = world.staff("business").await;
    let made = business.catalog().create_plan(wish).await.unwrap();
    let plan = made.into_inner().plan.unwrap();
    assert!(plan.backups);
    let price = SetPlanPriceRequest {
        plan_id: plan.id.clone(),
        period: BillingPeriod::Month.into(),
        amount: Some(Money::idr(150_000)),
        effective_time: None,
        available: true,
    };
    business.catalog().set_plan_price(price).await.unwrap();
    plan
}

async fn status(owner: &Actor, instance_id: &str) -> Result<BackupStatus, Error> {
    let request = GetBackupStatusRequest {
        instance_id: instance_id.to_owned(),
    };
    let reply = owner.backups().get_backup_status(request).await?;
    Ok(reply.into_inner().status.expect("a status"))
}

async fn listed(owner: &Actor, instance_id: &str) -> Result<Vec<Backup>, Error> {
    let mut request = ListBackupsRequest {
        instance_id: instance_id.to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let page = owner.backups().list_backups(request.clone()).await?;
        let page = page.into_inner();
        all.extend(page.backups);
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        request.page_token = page.next_page_token;
    }
}

async fn restore(owner: &Actor, id: &str) -> Result<Operation, Error> {
    let request = RestoreBackupRequest {
        backup_id: id.to_owned(),
    };
    let reply = owner.backups().restore_backup(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

/// Waits until an instance is backed up, or is no more, and has as many backups as that.
async fn kept(owner: &Actor, instance_id: &str, enabled: bool, count: usize) -> Vec<Backup> {
    eventually("the backups are as the plan has them", || async {
        // An instance is there once its order is worked on.
        let seen = status(owner, instance_id).await;
        let seen = seen.map_err(|error| error.to_string())?;
        let copies = listed(owner, instance_id).await.unwrap();
        if (seen.included, seen.enabled, copies.len()) == (enabled, enabled, count) {
            Ok(copies)
        } else {
            Err(format!("{seen:?}: {copies:?}"))
        }
    })
    .await
}

/// Has the platform ask providers now, and not in some hours.
async fn look_now(world: &World) {
    let mut database = world.behind_the_scenes().await;
    sqlx::query("update backup_watches set due_at = now()")
        .execute(&mut database)
        .await
        .unwrap();
}

/// Somebody who has a machine with a backup at the built-in cloud, and that backup.
async fn safe_owner(world: &World) -> (Actor, String, Backup) {
    let safe = sell(world, plan("simulator", "s-1vcpu-1gb", 25)).await;
    let budi = world.reseller().await;
    budi.take_a_clock().await;
    // The price with PPN, and nothing for the next month.
    budi.deposit(166_500).await;
    let wish = OrderDraft {
        plan_id: safe.id,
        ..budi.draft("web-1").await
    };
    let placed = budi.place(wish).await.unwrap();
    budi.wait_active(&placed).await;
    let id = placed.order.instance_id;
    let [backup] = kept(&budi, &id, true, 1).await.try_into().unwrap();
    (budi, id, backup)
}

#[tokio::test]
async fn a_disk_is_put_back_to_a_backup() {
    let world = World::new().await;
    let (budi, id, backup) = safe_owner(&world).await;
    let siti = world.reseller().await;
    let machine = budi.instance(&id).await;
    assert!(machine.capabilities.contains(&"backups".to_owned()));
    assert_eq!(
        (&backup.instance_id, &backup.image_id),
        (&id, &machine.image_id)
    );
    let seen = status(&budi, &id).await.unwrap();
    assert_eq!(seen.last_backup_time, backup.take_time);
    assert!(seen.check_time.is_some());

    let support = world.staff("support").await;
    assert_eq!(status(&support, &id).await.unwrap(), seen);
    assert_eq!(listed(&support, &id).await.unwrap(), [backup.clone()]);

    // Somebody else's looks like none.
    for backup_id in [backup.id.as_str(), NOBODYS_ID] {
        let refusal = restore(&siti, backup_id).await;
        assert_eq!(reason_of(refusal), "BACKUP_NOT_FOUND");
    }
    for instance_id in [id.as_str(), NOBODYS_ID] {
        let refusal = status(&siti, instance_id).await;
        assert_eq!(reason_of(refusal), "INSTANCE_NOT_FOUND");
        let refusal = listed(&siti, instance_id).await;
        assert_eq!(reason_of(refusal), "INSTANCE_NOT_FOUND");
    }

    // Another system on the disk, and back again.
    let other = other_image(&budi, &machine.image_id).await;
    let request = RebuildInstanceRequest {
        instance_id: id.clone(),
        image_id: other.clone(),
        ..Default::default()
    };
    let rebuilt = budi.instances().rebuild_instance(request).await.unwrap();
    budi.finish(&rebuilt.into_inner().operation.unwrap())
        .await
        .unwrap();
    let machine = budi.instance(&id).await;
    assert_eq!(machine.image_id, other);
    assert!(machine.first_password_expire_time.is_some());
    let request = || RestoreBackupRequest {
        backup_id: backup.id.clone(),
    };
    let mut stub = budi.backups();
    budi.inject(FaultKind::AnswerLost, 1).await;
    let first = stub.restore_backup(keyed("back", request())).await.unwrap();
    let again = stub.restore_backup(keyed("back", request())).await.unwrap();
    assert!(is_replay(&again));
    let operation = first.into_inner().operation.unwrap();
    assert_eq!(again.into_inner().operation.as_ref(), Some(&operation));
    assert_eq!(operation.kind(), Kind::RestoreBackup);
    budi.finish(&operation).await.unwrap();
    let machine = budi.instance(&id).await;
    assert_eq!(
        (machine.state(), &machine.image_id),
        (State::Running, &backup.image_id)
    );
    // It opens the new disk, which is no more.
    assert!(machine.first_password_expire_time.is_none());

    // While the provider fails nothing else can be asked for.
    budi.inject(FaultKind::Error, 0).await;
    let operation = restore(&budi, &backup.id).await.unwrap();
    let late = restore(&budi, &backup.id).await;
    assert_eq!(reason_of(late), "OPERATION_IN_PROGRESS");
    let cleared = budi.sandbox().clear_faults(ClearFaultsRequest {}).await;
    cleared.unwrap();
    budi.finish(&operation).await.unwrap();

    // They end with the machine.
    budi.inject(FaultKind::Error, 0).await;
    let deleted = ask(&budi, Verb::Delete, &id, "").await.unwrap();
    let late = restore(&budi, &backup.id).await;
    assert_eq!(reason_of(late), "ILLEGAL_STATE");
    let cleared = budi.sandbox().clear_faults(ClearFaultsRequest {}).await;
    cleared.unwrap();
    budi.finish(&deleted).await.unwrap();
    assert!(listed(&budi, &id).await.unwrap().is_empty());
    assert!(!status(&budi, &id).await.unwrap().enabled);
    let late = restore(&budi, &backup.id).await;
    assert_eq!(reason_of(late), "BACKUP_NOT_FOUND");
}

#[tokio::test]
async fn a_suspended_machine_keeps_its_backups() {
    let world = World::new().await;
    let (budi, id, backup) = safe_owner(&world).await;
    budi.outlast(&budi.instance(&id).await).await;
    budi.wait_instance(&id, "is suspended", |i| {
        i.state() == State::Suspended && i.operation_id.is_empty()
    })
    .await;
    let refusal = restore(&budi, &backup.id).await;
    assert_eq!(reason_of(refusal), "INSTANCE_SUSPENDED");
    look_now(&world).await;
    assert_eq!(kept(&budi, &id, true, 1).await, [backup]);
}

#[tokio::test]
async fn a_plan_with_backups_needs_a_provider_that_takes_them() {
    let world = World::new().await;
    let business = world.staff("business").await;
    for provider in ["simulator-basic", "proxmox"] {
        let made = business
            .catalog()
            .create_plan(plan(provider, "s", 25))
            .await;
        let error = refused(made);
        assert!(error.is("INVALID_REQUEST"), "{error:?}");
        let violation = &error.field_violations()[0];
        assert_eq!(
            (violation.field.as_str(), violation.reason.as_str()),
            ("backups", "BACKUPS_NOT_SUPPORTED")
        );
    }
}

/// Sells a plan of the vendor's smallest size with backups.
async fn safe_plan(world: &World, dialect: Dialect) -> String {
    let (size, ..) = dialect.catalogue();
    sell(world, plan(dialect.provider(), size, 25)).await.id
}

/// Orders a machine of a plan.
async fn buy(budi: &Actor, plan_id: &str) -> String {
    let wish = OrderDraft {
        plan_id: plan_id.to_owned(),
        ..draft("web-1")
    };
    budi.place(wish).await.unwrap().order.instance_id
}

/// The only machine's number at its vendor.
fn only(shop: &Shop) -> u64 {
    *shop.cloud.books().machines.keys().next().unwrap()
}

/// What a vendor does of backups: switched on, gone back to though answers are lost, late or nonsense, deleted by and by, and switched off.
async fn a_life_of_backups(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let safe = safe_plan(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let id = buy(&budi, &safe).await;
    let first = kept(&budi, &id, true, 1).await.remove(0);
    let vm = only(&shop);
    shop.cloud.books().take_backup(vm);
    look_now(&world).await;
    let both = kept(&budi, &id, true, 2).await;
    assert_eq!(both[1], first, "newest first");

    let label = format!("sewa-{id}");
    for (n, fault) in Fault::ALL.into_iter().enumerate() {
        if fault == Fault::Vanish {
            continue;
        }
        {
            let mut books = shop.cloud.books();
            books.machines.get_mut(&vm).unwrap().password = Some(format!("later {n}"));
            books.arm(&label, Done::RestoreBackup, fault);
        }
        let asked = restore(&budi, &both[0].id).await.unwrap();
        let ended = budi.finish(&asked).await;
        ended.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        let books = shop.cloud.books();
        let machine = &books.machines[&vm];
        assert!(machine.on, "{fault:?}");
        assert_eq!(
            machine.password, machine.backups.copies[1].password,
            "{fault:?}"
        );
    }
    assert_eq!(shop.cloud.books().armed(), 0, "every fault met its call");
    assert_eq!(budi.instance(&id).await.state(), State::Running);

    // One that the vendor has deleted meanwhile.
    let before = shop.cloud.books().machines[&vm].history.clone();
    shop.cloud.books().delete_oldest_backup(vm);
    let asked = restore(&budi, &first.id).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("BACKUP_NOT_FOUND"), "{error:?}");
    assert_eq!(error.code(), tonic::Code::NotFound);
    assert_eq!(shop.cloud.books().machines[&vm].history, before);
    look_now(&world).await;
    kept(&budi, &id, true, 1).await;

    // A plan of the same size without them ends them.
    let changed = change(&budi, &id, PLAN).await.unwrap();
    budi.finish(&changed.operation.unwrap()).await.unwrap();
    look_now(&world).await;
    kept(&budi, &id, false, 0).await;
    assert!(!shop.cloud.books().machines[&vm].backups.on);
    // And one with them begins anew.
    let changed = change(&budi, &id, &safe).await.unwrap();
    budi.finish(&changed.operation.unwrap()).await.unwrap();
    let last = kept(&budi, &id, true, 1).await.remove(0);

    // A machine that is gone cannot be put back.
    shop.cloud
        .books()
        .arm(&label, Done::RestoreBackup, Fault::Vanish);
    let asked = restore(&budi, &last.id).await.unwrap();
    let error = refused(budi.finish(&asked).await);
    assert!(error.is("INSTANCE_NOT_FOUND"), "{error:?}");
    assert_eq!(budi.instance(&id).await.state(), State::Lost);
    look_now(&world).await;
    eventually(
        "the backups of a machine that is gone are forgotten",
        || async {
            let left = listed(&budi, &id).await.unwrap();
            if left.is_empty() { Ok(()) } else { Err(left) }
        },
    )
    .await;
    let books = shop.cloud.books();
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn a_life_of_backups_at_digitalocean() {
    a_life_of_backups(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn a_life_of_backups_at_linode() {
    a_life_of_backups(Dialect::Linode).await;
}

#[tokio::test]
async fn a_life_of_backups_at_vultr() {
    a_life_of_backups(Dialect::Vultr).await;
}

/// Backups are switched on whatever becomes of the call that does it, which is made again until it is seen to have worked.
async fn switched_on_whatever_happens(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let safe = safe_plan(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let faults = Fault::ALL.into_iter().filter(|f| *f != Fault::Vanish);
    let mut machines = Vec::new();
    for fault in faults {
        let id = buy(&budi, &safe).await;
        let label = format!("sewa-{id}");
        shop.cloud.books().arm(&label, Done::SwitchBackups, fault);
        machines.push(id);
    }
    for id in &machines {
        kept(&budi, id, true, 1).await;
    }
    let books = shop.cloud.books();
    assert_eq!(books.armed(), 0, "every fault met its call");
    for vm in books.machines.values() {
        assert!(vm.backups.on && vm.backups.copies.len() == 1, "{vm:?}");
        assert_eq!(vm.backups.daily, dialect == Dialect::Vultr);
    }
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn backups_are_switched_on_at_digitalocean_whatever_happens() {
    switched_on_whatever_happens(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn backups_are_switched_on_at_linode_whatever_happens() {
    switched_on_whatever_happens(Dialect::Linode).await;
}

#[tokio::test]
async fn backups_are_switched_on_at_vultr_whatever_happens() {
    switched_on_whatever_happens(Dialect::Vultr).await;
}
