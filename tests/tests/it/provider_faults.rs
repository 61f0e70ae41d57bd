//! Never twice, never lost: every verb of every adapter under every fault of its provider. Afterwards the provider's books and the platform's agree. [O2 V7 R6]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{DeleteInstanceRequest, ShowFirstPasswordRequest};
use sewa_tests::compute::{Dialect, Fault, Verb};
use sewa_tests::{Actor, World, reason_of};
use sqlx::Row;

use crate::instance::{Verb as Asked, ask};
use crate::providers::{Shop, draft, open_shop, rich_reseller};

/// A fault may cost a time-out, a look-up delay and some pauses.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the platform's owner of a machine can ask of this provider.
fn verbs(dialect: Dialect) -> Vec<(Verb, Asked)> {
    let all = [
        (Verb::PowerOn, Asked::PowerOn),
        (Verb::PowerOff, Asked::PowerOff),
        (Verb::Shutdown, Asked::Shutdown),
        (Verb::Reboot, Asked::Reboot),
        (Verb::Rebuild, Asked::Rebuild),
        (Verb::ResetPassword, Asked::ResetPassword),
        (Verb::Delete, Asked::Delete),
    ];
    let has = |verb: Verb| match verb {
        Verb::ResetPassword => matches!(dialect, Dialect::Linode | Dialect::Proxmox),
        Verb::Shutdown => dialect != Dialect::Vultr,
        Verb::Rebuild => dialect != Dialect::Vsphere,
        _ => true,
    };
    all.into_iter().filter(|(verb, _)| has(*verb)).collect()
}

/// Until nothing is under way.
async fn settled(world: &World) {
    let mut database = world.behind_the_scenes().await;
    let began = Instant::now();
    loop {
        let open: Vec<String> = sqlx::query(
            "select o.kind::text || ' ' || o.step || ' ' || o.instance_id::text from operations o where o.state in ('PENDING', 'RUNNING')
            union all select 'order ' || state || ' ' || coalesce(last_error, '') from orders where state in ('PAID', 'PROVISIONING')",
        )
        .fetch_all(&mut database)
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
        if open.is_empty() {
            return;
        }
        assert!(
            began.elapsed() < PATIENCE,
            "still under way after {PATIENCE:?}: {open:#?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Case {
    verb: Verb,
    asked: Asked,
    fault: Fault,
    instance_id: String,
}

async fn machines(owner: &Actor, count: usize) -> Vec<String> {
    let placed = futures_util::stream::iter(0..count)
        .map(|_| async { owner.place(draft("web-1")).await.unwrap() })
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    placed
        .into_iter()
        .map(|placed| placed.order.instance_id)
        .collect()
}

async fn act(owner: &Actor, case: &Case) {
    if case.asked == Asked::Delete {
        let request = DeleteInstanceRequest {
            instance_id: case.instance_id.clone(),
            confirm_hostname: "web-1".to_owned(),
            ..Default::default()
        };
        owner.instances().delete_instance(request).await.unwrap();
    } else {
        ask(owner, case.asked, &case.instance_id, "").await.unwrap();
    }
}

/// Every verb under every fault, all at once.
async fn every_verb_under_every_fault(dialect: Dialect) {
    let world = World::new().await;
    let shop = open_shop(&world, dialect).await;
    let budi = rich_reseller(&world).await;
    let table: Vec<(Verb, Asked, Fault)> = verbs(dialect)
        .into_iter()
        .flat_map(|(verb, asked)| Fault::ALL.map(|fault| (verb, asked, fault)))
        .collect();
    let ids = machines(&budi, table.len()).await;
    settled(&world).await;
    let cases: Vec<Case> = table
        .into_iter()
        .zip(ids)
        .map(|((verb, asked, fault), instance_id)| Case {
            verb,
            asked,
            fault,
            instance_id,
        })
        .collect();
    for case in cases.iter().filter(|case| case.verb == Verb::PowerOn) {
        ask(&budi, Asked::PowerOff, &case.instance_id, "")
            .await
            .unwrap();
    }
    settled(&world).await;

    for case in &cases {
        let label = format!("sewa-{}", case.instance_id);
        shop.cloud.books().arm(&label, case.verb, case.fault);
    }
    let creations = [&Fault::ALL[..], &[Fault::Full]].concat();
    for fault in &creations {
        shop.cloud.books().arm_creation(*fault);
    }
    let made = machines(&budi, creations.len()).await;
    futures_util::stream::iter(&cases)
        .for_each_concurrent(16, |case| act(&budi, case))
        .await;
    settled(&world).await;

    assert_eq!(shop.cloud.books().armed(), 0, "every fault met its call");
    the_books_agree(&world, &shop).await;
    for case in &cases {
        let state = budi.instance(&case.instance_id).await.state();
        let expected = match (case.asked, case.fault) {
            (Asked::Delete, _) => State::Deleted,
            (_, Fault::Vanish) => State::Lost,
            (Asked::PowerOff | Asked::Shutdown, _) => State::Stopped,
            _ => State::Running,
        };
        assert_eq!(state, expected, "{:?} under {:?}", case.verb, case.fault);
    }
    the_passwords_open(&budi, &shop, &cases).await;
    let mut refunded = 0;
    for id in made {
        match budi.instance(&id).await.state() {
            State::Running => {}
            State::Failed | State::Deleted => refunded += 1,
            other => panic!("a new machine is {other:?}"),
        }
    }
    assert_eq!(refunded, 1, "only where there was no room");
}

/// Whatever happened on the way, the first password that an owner is shown opens the machine; one that another has replaced is not shown.
async fn the_passwords_open(owner: &Actor, shop: &Shop, cases: &[Case]) {
    let mut opened = 0;
    for case in cases {
        let label = format!("sewa-{}", case.instance_id);
        let vm = shop
            .cloud
            .books()
            .machines
            .values()
            .find(|vm| vm.label == label)
            .cloned();
        let request = ShowFirstPasswordRequest {
            instance_id: case.instance_id.clone(),
        };
        let shown = owner.instances().show_first_password(request).await;
        match (vm, case.asked) {
            (None, _) | (Some(_), Asked::ResetPassword) => {
                assert_eq!(reason_of(shown), "FIRST_PASSWORD_GONE");
            }
            (Some(vm), _) => {
                let shown = shown.unwrap().into_inner().password;
                assert_eq!(
                    vm.password,
                    Some(shown),
                    "{:?} under {:?}",
                    case.verb,
                    case.fault
                );
                opened += 1;
            }
        }
    }
    assert!(opened > 12, "{opened} machines were opened");
}

/// The provider's truth against ours: a machine for each living instance, none besides, with the same power; an order is delivered or its money is back.
async fn the_books_agree(world: &World, shop: &Shop) {
    let mut database = world.behind_the_scenes().await;
    let rows = sqlx::query(
        "select i.id::text, i.state, i.provider_ref, o.state as order_state, o.id::text as order_id from instances i
        join orders o on o.account_id = i.account_id and o.id = i.order_id",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let books = shop.cloud.books();
    let mut live: BTreeMap<String, (u64, bool)> = BTreeMap::new();
    for vm in books.machines.values() {
        let twin = live.insert(vm.label.clone(), (vm.id, vm.on));
        assert!(twin.is_none(), "{} was made twice and kept", vm.label);
    }
    for row in rows {
        let (id, state, order): (String, String, String) =
            (row.get("id"), row.get("state"), row.get("order_state"));
        let machine = live.remove(&format!("sewa-{id}"));
        match state.as_str() {
            "RUNNING" | "STOPPED" => {
                let (number, on) = machine.unwrap_or_else(|| panic!("{id} is {state} and nowhere"));
                assert_eq!(on, state == "RUNNING", "the power of {id}");
                let known: Option<String> = row.get("provider_ref");
                let name = match shop.cloud.dialect {
                    Dialect::Vultr => uuid::Uuid::from_u128(u128::from(number)).to_string(),
                    Dialect::Vsphere => format!("vm-{number}"),
                    _ => number.to_string(),
                };
                assert_eq!(known, Some(name));
                assert_eq!(order, "ACTIVE", "order of {id}");
            }
            "DELETED" | "LOST" | "FAILED" => {
                assert!(machine.is_none(), "{id} is {state} and still there");
                let paid_and_gone = state != "FAILED" && order == "ACTIVE";
                assert!(
                    paid_and_gone || order == "REFUNDED",
                    "order of {id}: {order}"
                );
            }
            other => panic!("{id} is {other}"),
        }
    }
    assert!(live.is_empty(), "nobody's machines: {live:?}");
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn every_verb_under_every_fault_at_digitalocean() {
    every_verb_under_every_fault(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn every_verb_under_every_fault_at_linode() {
    every_verb_under_every_fault(Dialect::Linode).await;
}

#[tokio::test]
async fn every_verb_under_every_fault_at_proxmox() {
    every_verb_under_every_fault(Dialect::Proxmox).await;
}

#[tokio::test]
async fn every_verb_under_every_fault_at_vsphere() {
    every_verb_under_every_fault(Dialect::Vsphere).await;
}

#[tokio::test]
async fn every_verb_under_every_fault_at_vultr() {
    every_verb_under_every_fault(Dialect::Vultr).await;
}
