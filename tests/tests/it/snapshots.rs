//! Snapshots: taken, gone back to and deleted, and what is refused meanwhile. [V9]

use sewa_sdk::Error;
use sewa_sdk::sewa::api::v1::Operation;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::snapshot::State as Shot;
use sewa_sdk::sewa::instance::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, GetSnapshotRequest, ListSnapshotsRequest,
    RestoreSnapshotRequest, Snapshot,
};
use sewa_sdk::sewa::provider::v1::CompareProviderAccountRequest;
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_tests::compute::{Dialect, Verb as Done};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, is_replay, keyed, reason_of, refused};

use crate::instance::{Verb, ask, owner_of_a_machine};
use crate::lifecycle::owner;
use crate::providers::{draft, open_shop, rich_reseller};

pub(crate) async fn take(
    owner: &Actor,
    instance_id: &str,
    name: &str,
) -> Result<(Snapshot, Operation), Error> {
    let request = CreateSnapshotRequest {
        instance_id: instance_id.to_owned(),
        display_name: name.to_owned(),
    };
    let reply = owner.snapshots().create_snapshot(request).await?;
    let reply = reply.into_inner();
    Ok((
        reply.snapshot.expect("a snapshot"),
        reply.operation.expect("an operation"),
    ))
}

async fn restore(owner: &Actor, id: &str) -> Result<Operation, Error> {
    let request = RestoreSnapshotRequest {
        snapshot_id: id.to_owned(),
    };
    let reply = owner.snapshots().restore_snapshot(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

async fn delete(owner: &Actor, id: &str) -> Result<Operation, Error> {
    let request = DeleteSnapshotRequest {
        snapshot_id: id.to_owned(),
    };
    let reply = owner.snapshots().delete_snapshot(request).await?;
    Ok(reply.into_inner().operation.expect("an operation"))
}

async fn read(owner: &Actor, id: &str) -> Result<Snapshot, Error> {
    let request = GetSnapshotRequest {
        snapshot_id: id.to_owned(),
    };
    let reply = owner.snapshots().get_snapshot(request).await?;
    Ok(reply.into_inner().snapshot.expect("a snapshot"))
}

async fn list(owner: &Actor, instance_id: &str) -> Vec<Snapshot> {
    let mut request = ListSnapshotsRequest {
        instance_id: instance_id.to_owned(),
        page_size: 2,
        ..Default::default()
    };
    let mut listed = Vec::new();
    loop {
        let page = owner.snapshots().list_snapshots(request.clone()).await;
        let page = page.unwrap().into_inner();
        listed.extend(page.snapshots);
        if page.next_page_token.is_empty() {
            return listed;
        }
        request.page_token = page.next_page_token;
    }
}

/// Waits until an account has no snapshots any more.
async fn all_gone(owner: &Actor) {
    eventually("no snapshot is left", || async {
        let left = list(owner, "").await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn snapshots_are_taken_gone_back_to_and_deleted() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let siti = world.reseller().await;
    assert!(machine.capabilities.contains(&"snapshots".to_owned()));
    let request = || CreateSnapshotRequest {
        instance_id: machine.id.clone(),
        display_name: "before".to_owned(),
    };
    let mut stub = budi.snapshots();
    let first = stub.create_snapshot(keyed("s", request())).await.unwrap();
    let again = stub.create_snapshot(keyed("s", request())).await.unwrap();
    assert!(is_replay(&again));
    let asked = first.into_inner();
    assert_eq!(again.into_inner(), asked);
    let (before, operation) = (asked.snapshot.unwrap(), asked.operation.unwrap());
    assert_eq!(
        (before.state(), before.image_id.as_str()),
        (Shot::Creating, machine.image_id.as_str())
    );
    assert_eq!(operation.kind(), Kind::CreateSnapshot);
    budi.finish(&operation).await.unwrap();
    let whole = read(&budi, &before.id).await.unwrap();
    assert_eq!(
        (whole.state(), whole.instance_id.as_str()),
        (Shot::Available, machine.id.as_str())
    );
    // Somebody else's looks like none.
    for id in [whole.id.as_str(), NOBODYS_ID] {
        assert_eq!(reason_of(read(&siti, id).await), "SNAPSHOT_NOT_FOUND");
        assert_eq!(reason_of(restore(&siti, id).await), "SNAPSHOT_NOT_FOUND");
        assert_eq!(reason_of(delete(&siti, id).await), "SNAPSHOT_NOT_FOUND");
    }
    let foreign = take(&siti, &machine.id, "mine").await;
    assert_eq!(reason_of(foreign), "INSTANCE_NOT_FOUND");
    assert!(list(&siti, "").await.is_empty());

    let back = restore(&budi, &whole.id).await.unwrap();
    assert_eq!(back.kind(), Kind::RestoreSnapshot);
    budi.finish(&back).await.unwrap();
    assert_eq!(budi.instance(&machine.id).await.state(), State::Running);

    // While the provider fails nothing else can be asked for.
    budi.inject(FaultKind::Error, 0).await;
    let (second, operation) = take(&budi, &machine.id, "second").await.unwrap();
    for refusal in [
        restore(&budi, &whole.id).await,
        delete(&budi, &whole.id).await,
    ] {
        assert_eq!(reason_of(refusal), "OPERATION_IN_PROGRESS");
    }
    let third = take(&budi, &machine.id, "third").await;
    assert_eq!(reason_of(third), "OPERATION_IN_PROGRESS");
    for refusal in [
        restore(&budi, &second.id).await,
        delete(&budi, &second.id).await,
    ] {
        let error = refused(refusal);
        assert!(error.is("SNAPSHOT_NOT_AVAILABLE"), "{error:?}");
        assert_eq!(error.metadata("state"), Some("CREATING"));
    }
    let clear = async || {
        let cleared = budi.sandbox().clear_faults(ClearFaultsRequest {}).await;
        cleared.unwrap();
    };
    clear().await;
    budi.finish(&operation).await.unwrap();

    let (third, operation) = take(&budi, &machine.id, "third").await.unwrap();
    budi.finish(&operation).await.unwrap();
    let error = refused(take(&budi, &machine.id, "fourth").await);
    assert!(error.is("SNAPSHOT_LIMIT"), "{error:?}");
    assert_eq!(error.metadata("limit"), Some("3"));
    let names: Vec<String> = list(&budi, &machine.id)
        .await
        .into_iter()
        .map(|snapshot| snapshot.display_name)
        .collect();
    assert_eq!(names, ["third", "second", "before"], "newest first");
    let gone = delete(&budi, &third.id).await.unwrap();
    assert_eq!(gone.kind(), Kind::DeleteSnapshot);
    budi.finish(&gone).await.unwrap();
    assert_eq!(
        reason_of(read(&budi, &third.id).await),
        "SNAPSHOT_NOT_FOUND"
    );
    assert_eq!(list(&budi, "").await.len(), 2);

    // The rest ends with the machine.
    budi.inject(FaultKind::Error, 0).await;
    let deleted = ask(&budi, Verb::Delete, &machine.id, "").await.unwrap();
    let late = take(&budi, &machine.id, "late").await;
    for error in [
        refused(late),
        refused(restore(&budi, &whole.id).await),
        refused(delete(&budi, &whole.id).await),
    ] {
        assert!(error.is("ILLEGAL_STATE"), "{error:?}");
        assert_eq!(error.metadata("state"), Some("DELETING"));
    }
    clear().await;
    budi.finish(&deleted).await.unwrap();
    all_gone(&budi).await;
    let mut database = world.behind_the_scenes().await;
    let left: i64 = sqlx::query_scalar("select count(*) from sim_snapshots")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(left, 0, "nobody pays for any");
}

#[tokio::test]
async fn a_suspended_machine_keeps_its_snapshots() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    let (snapshot, operation) = take(&budi, &machine.id, "before").await.unwrap();
    budi.finish(&operation).await.unwrap();
    budi.outlast(&machine).await;
    budi.wait_instance(&machine.id, "is suspended", |i| {
        i.state() == State::Suspended && i.operation_id.is_empty()
    })
    .await;
    let more = take(&budi, &machine.id, "more").await;
    assert_eq!(reason_of(more), "INSTANCE_SUSPENDED");
    for refusal in [
        restore(&budi, &snapshot.id).await,
        delete(&budi, &snapshot.id).await,
    ] {
        assert_eq!(reason_of(refusal), "INSTANCE_SUSPENDED");
    }
    let kept = read(&budi, &snapshot.id).await.unwrap();
    assert_eq!(kept.state(), Shot::Available);
}

/// A snapshot's life at a vendor, and what is left there afterwards.
async fn a_life_of_snapshots(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let id = placed.order.instance_id.as_str();
    let capable = dialect != Dialect::Linode;
    let capabilities = budi.instance(id).await.capabilities;
    assert_eq!(capabilities.iter().any(|c| c == "snapshots"), capable);
    if !capable {
        let error = refused(take(&budi, id, "before").await);
        assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
        assert_eq!(error.metadata("capability"), Some("snapshots"));
        return;
    }
    let (first, operation) = take(&budi, id, "before").await.unwrap();
    budi.finish(&operation).await.unwrap();
    {
        let books = shop.cloud.books();
        let names: Vec<&str> = books.snapshots.values().map(|s| s.name.as_str()).collect();
        let name = format!("sewa-{}", first.id.replace('-', ""));
        assert_eq!(names, [name.as_str()], "under our name, once");
    }
    let back = restore(&budi, &first.id).await.unwrap();
    budi.finish(&back).await.unwrap();
    let request = CompareProviderAccountRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let mut providers = shop.sysadmin.providers();
    let compared = providers.compare_provider_account(request).await.unwrap();
    // What it was made from is a copy by now, which is as it should be.
    assert_eq!(compared.into_inner().differences, []);
    let (_, operation) = take(&budi, id, "second").await.unwrap();
    budi.finish(&operation).await.unwrap();
    let gone = delete(&budi, &first.id).await.unwrap();
    budi.finish(&gone).await.unwrap();
    {
        let books = shop.cloud.books();
        let vm = books.machines.values().next().unwrap();
        let expected = [Done::Create, Done::Snapshot, Done::Restore, Done::Snapshot];
        assert_eq!(vm.history, expected, "each thing was done once");
        assert_eq!(books.snapshots.len(), 1);
    }
    let deleted = ask(&budi, Verb::Delete, id, "").await.unwrap();
    budi.finish(&deleted).await.unwrap();
    all_gone(&budi).await;
    let books = shop.cloud.books();
    assert!(books.snapshots.is_empty(), "{:?}", books.snapshots);
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn a_life_of_snapshots_at_digitalocean() {
    a_life_of_snapshots(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn a_life_of_snapshots_at_vultr() {
    a_life_of_snapshots(Dialect::Vultr).await;
}

#[tokio::test]
async fn linode_has_no_snapshots_that_could_be_deleted() {
    a_life_of_snapshots(Dialect::Linode).await;
}
