//! A change of plan at each vendor, under every fault of it: the machine's size, the plan and the money agree afterwards. [O9 V5 V7 R6]

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::State as Progress;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::operation::v1::WaitOperationRequest;
use sewa_tests::actor::rupiah;
use sewa_tests::compute::machines::Vm;
use sewa_tests::compute::{Dialect, Fault, Verb as Done};
use sewa_tests::{Actor, World, refused};

use crate::instance::{Verb, ask};
use crate::plan_change::{change, preview};
use crate::providers::{FASTER, LARGER, PLAN, Shop, draft, open_shop, rich_reseller};

/// A fault may cost a time-out and some pauses.
const PATIENCE: Duration = Duration::from_secs(240);

fn vm(shop: &Shop, instance_id: &str) -> Option<Vm> {
    let label = format!("sewa-{instance_id}");
    let books = shop.cloud.books();
    books
        .machines
        .values()
        .find(|vm| vm.label == label)
        .cloned()
}

async fn made(owner: &Actor, count: usize) -> Vec<String> {
    let placing = (0..count).map(|_| async {
        let placed = owner.place(draft("web-1")).await.unwrap();
        owner.wait_active(&placed).await.instance_id
    });
    futures_util::stream::iter(placing)
        .buffer_unordered(16)
        .collect()
        .await
}

async fn up_and_down(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let id = made(&budi, 1).await.remove(0);
    let [(small, _), (faster, _), (larger, _)] = dialect.sizes();
    let before = budi.balance().await.0;

    let up = change(&budi, &id, FASTER).await.unwrap();
    let paid = rupiah(up.plan_change.as_ref().unwrap().total.as_ref());
    budi.finish(&up.operation.unwrap()).await.unwrap();
    let seen = vm(&shop, &id).unwrap();
    assert_eq!((seen.size.as_str(), seen.disk, seen.on), (faster, 25, true));
    assert_eq!(budi.balance().await, (before - paid, 0));
    let expected = match dialect {
        Dialect::DigitalOcean => vec![Done::Create, Done::Shutdown, Done::Resize, Done::PowerOn],
        Dialect::Linode | Dialect::Vultr => vec![Done::Create, Done::Resize],
        Dialect::Proxmox | Dialect::Vsphere => vec![
            Done::Create,
            Done::PowerOn,
            Done::Shutdown,
            Done::Resize,
            Done::PowerOn,
        ],
    };
    assert_eq!(seen.history, expected, "each thing was done once");

    let back = change(&budi, &id, PLAN).await;
    if dialect == Dialect::Vultr {
        let error = refused(back);
        assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
        assert_eq!(error.metadata("capability"), Some("resize_down"));
    } else {
        let operation = back.unwrap().operation.unwrap();
        budi.finish(&operation).await.unwrap();
        assert_eq!(vm(&shop, &id).unwrap().size, small);
        assert_eq!(budi.balance().await, (before, 0), "on the same day");
    }

    if dialect == Dialect::Vsphere {
        let error = refused(change(&budi, &id, LARGER).await);
        assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
        assert_eq!(error.metadata("capability"), Some("resize_disk"));
        return;
    }
    // One that is off stays off, and has its disk grown for good.
    let off = ask(&budi, Verb::PowerOff, &id, "").await.unwrap();
    budi.finish(&off).await.unwrap();
    let up = change(&budi, &id, LARGER).await.unwrap();
    budi.finish(&up.operation.unwrap()).await.unwrap();
    let seen = vm(&shop, &id).unwrap();
    assert_eq!(
        (seen.size.as_str(), seen.disk, seen.on),
        (larger, 80, false)
    );
    let machine = budi.instance(&id).await;
    assert_eq!(
        (machine.state(), machine.plan_id.as_str(), machine.disk_gib),
        (State::Stopped, LARGER, 80)
    );
    let error = refused(preview(&budi, &id, PLAN).await);
    assert_eq!(error.metadata("problem"), Some("disk_smaller"), "{error:?}");
    let invalid = shop.cloud.books().invalid.clone();
    assert!(invalid.is_empty(), "{invalid:?}");
}

#[tokio::test]
async fn up_and_down_at_digitalocean() {
    up_and_down(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn up_and_down_at_linode() {
    up_and_down(Dialect::Linode).await;
}

#[tokio::test]
async fn up_and_down_at_proxmox() {
    up_and_down(Dialect::Proxmox).await;
}

#[tokio::test]
async fn up_and_down_at_vsphere() {
    up_and_down(Dialect::Vsphere).await;
}

#[tokio::test]
async fn up_and_down_at_vultr() {
    up_and_down(Dialect::Vultr).await;
}

async fn under_every_fault(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let faults = [&Fault::ALL[..], &[Fault::Full]].concat();
    let ids = made(&budi, faults.len()).await;
    let before = budi.balance().await.0;
    let began = Instant::now();
    let cases = faults.iter().zip(&ids).map(|(fault, id)| {
        let (shop, budi) = (&shop, &budi);
        async move {
            let label = format!("sewa-{id}");
            shop.cloud.books().arm(&label, Done::Resize, *fault);
            let begun = change(budi, id, FASTER).await.unwrap();
            let total = rupiah(begun.plan_change.unwrap().total.as_ref());
            let request = WaitOperationRequest {
                operation_id: begun.operation.unwrap().id,
                ..Default::default()
            };
            let over = loop {
                let reply = budi.operations().wait_operation(request.clone()).await;
                let seen = reply.unwrap().into_inner().operation.unwrap();
                if seen.finish_time.is_some() {
                    break seen;
                }
                assert!(began.elapsed() < PATIENCE, "{fault:?} is under way");
            };
            (over.state(), total)
        }
    });
    let results: Vec<(Progress, i64)> = futures_util::stream::iter(cases)
        .buffered(faults.len())
        .collect()
        .await;
    let [(small, _), (faster, _), _] = dialect.sizes();
    let mut paid = 0;
    for ((fault, id), (state, total)) in faults.iter().zip(&ids).zip(results) {
        let machine = budi.instance(id).await;
        let seen = vm(&shop, id);
        match fault {
            Fault::Vanish => {
                assert_eq!((state, machine.state()), (Progress::Failed, State::Lost));
                assert!(seen.is_none());
            }
            Fault::Full => {
                assert_eq!((state, machine.state()), (Progress::Failed, State::Running));
                let seen = seen.unwrap();
                assert_eq!((seen.size.as_str(), seen.on), (small, true));
                assert_eq!(machine.plan_id, PLAN);
            }
            _ => {
                paid += total;
                assert_eq!(
                    (state, machine.state()),
                    (Progress::Succeeded, State::Running),
                    "{fault:?}"
                );
                let seen = seen.unwrap();
                assert_eq!((seen.size.as_str(), seen.on), (faster, true), "{fault:?}");
                assert_eq!(machine.plan_id, FASTER, "{fault:?}");
            }
        }
    }
    assert_eq!(budi.balance().await, (before - paid, 0));
    let books = shop.cloud.books();
    assert_eq!(books.armed(), 0, "every fault met its call");
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn under_every_fault_at_digitalocean() {
    under_every_fault(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn under_every_fault_at_linode() {
    under_every_fault(Dialect::Linode).await;
}

#[tokio::test]
async fn under_every_fault_at_proxmox() {
    under_every_fault(Dialect::Proxmox).await;
}

#[tokio::test]
async fn under_every_fault_at_vsphere() {
    under_every_fault(Dialect::Vsphere).await;
}

#[tokio::test]
async fn under_every_fault_at_vultr() {
    under_every_fault(Dialect::Vultr).await;
}
