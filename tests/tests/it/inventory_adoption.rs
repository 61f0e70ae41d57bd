//! Machines that were made elsewhere, taken in. [V7 V8]

use std::time::{Duration, Instant};

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_sdk::sewa::instance::v1::instance::State as InstanceState;
use sewa_sdk::sewa::inventory::v1::AdoptMachineRequest;
use sewa_sdk::sewa::inventory::v1::inventory_finding::Reason;
use sewa_tests::compute::Dialect;
use sewa_tests::{NOBODYS_ID, World, once, reason_of};
use sqlx::Row;

use crate::instance::{Verb, ask};
use crate::inventory::run;
use crate::providers::{IMAGE, LARGER, PLAN, REGION, Shop, TOKEN, draft, open_shop, rich_reseller};

fn adoption(shop: &Shop, account_id: &str, machine: u64, seconds: i64) -> AdoptMachineRequest {
    let until = chrono::Utc::now().timestamp() + seconds;
    AdoptMachineRequest {
        provider_account_id: shop.account.id.clone(),
        provider_machine: machine.to_string(),
        account_id: account_id.to_owned(),
        plan_id: PLAN.to_owned(),
        region_id: REGION.to_owned(),
        image_id: IMAGE.to_owned(),
        hostname: "web-of-old".to_owned(),
        period: BillingPeriod::Month.into(),
        price: None,
        paid_until: Some(prost_types::Timestamp {
            seconds: until,
            nanos: 0,
        }),
        auto_renew: true,
    }
}

#[tokio::test]
async fn a_machine_that_was_made_elsewhere_is_taken_in_once_and_charged_from_then_on() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    let budi = rich_reseller(&world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    let ours = budi.wait_active(&placed).await.instance_id;
    let (own, old, busy) = {
        let mut books = shop.cloud.books();
        let own = *books.machines.keys().next().unwrap();
        let (old, busy) = (books.plant("web-of-old"), books.plant("web-at-work"));
        let vm = books.machines.get_mut(&busy).unwrap();
        vm.done_at = Instant::now() + Duration::from_secs(3600);
        books.machines.get_mut(&old).unwrap().done_at = Instant::now();
        (own, old, busy)
    };
    let good = adoption(&shop, &budi.account_id, old, 864_000);
    let refusals = [
        (
            adoption(&shop, &budi.account_id, 1, 86_400),
            "MACHINE_NOT_FOUND",
        ),
        (
            adoption(&shop, &budi.account_id, own, 86_400),
            "MACHINE_IS_OURS",
        ),
        (
            adoption(&shop, &budi.account_id, busy, 86_400),
            "MACHINE_IS_BUSY",
        ),
        (
            adoption(&shop, NOBODYS_ID, old, 86_400),
            "ACCOUNT_NOT_FOUND",
        ),
        (
            adoption(&shop, &budi.account_id, old, -5),
            "INVALID_REQUEST",
        ),
        (
            adoption(&shop, &budi.account_id, old, 40 * 86_400),
            "INVALID_REQUEST",
        ),
        (
            AdoptMachineRequest {
                plan_id: LARGER.to_owned(),
                ..good.clone()
            },
            "MACHINE_DOES_NOT_FIT",
        ),
        (
            AdoptMachineRequest {
                provider_account_id: NOBODYS_ID.to_owned(),
                ..good.clone()
            },
            "PROVIDER_ACCOUNT_NOT_FOUND",
        ),
    ];
    let mut inventory = shop.sysadmin.inventory();
    for (request, reason) in refusals {
        let refusal = inventory.adopt_machine(once(request)).await;
        assert_eq!(reason_of(refusal), reason);
    }
    shop.cloud.books().token = "another-one".to_owned();
    let refusal = inventory.adopt_machine(once(good.clone())).await;
    assert_eq!(reason_of(refusal), "PROVIDER_DOES_NOT_ANSWER");
    shop.cloud.books().token = TOKEN.to_owned();

    let before = budi.balance().await;
    // Two people at once: one of them takes it in.
    let (one, other) = futures_util::join!(
        async {
            shop.sysadmin
                .inventory()
                .adopt_machine(once(good.clone()))
                .await
        },
        async {
            shop.sysadmin
                .inventory()
                .adopt_machine(once(good.clone()))
                .await
        },
    );
    let (done, refusal) = if one.is_ok() {
        (one, other)
    } else {
        (other, one)
    };
    assert_eq!(reason_of(refusal), "MACHINE_IS_OURS");
    let id = done.unwrap().into_inner().instance_id;
    let taken = budi.instance(&id).await;
    assert_eq!(taken.state(), InstanceState::Running);
    assert_eq!(
        (
            taken.price.unwrap().units,
            taken.order_id.as_str(),
            taken.next_step.as_str()
        ),
        (124_000, "", "renew")
    );
    assert!(!taken.ipv4_address.is_empty());
    assert_eq!(taken.paid_until, good.paid_until);
    assert_eq!(budi.balance().await, before, "it is paid already");
    // From then on it is charged like any other, once.
    let mut database = world.behind_the_scenes().await;
    sqlx::query(
        "update subscriptions set anchor_at = anchor_at - interval '11 days', paid_until = paid_until - interval '11 days',
            next_step_at = next_step_at - interval '11 days' where instance_id = $1::uuid",
    )
    .bind(&id)
    .execute(&mut database)
    .await
    .unwrap();
    let until = good.paid_until.unwrap().seconds;
    let renewed = budi
        .wait_instance(&id, "is renewed", |seen| {
            seen.paid_until.unwrap().seconds > until
        })
        .await;
    assert_eq!(renewed.state(), InstanceState::Running);
    let after = budi.balance().await;
    let next = renewed.next_charge.unwrap().units;
    assert_eq!((before.0 - after.0, after.1), (next, before.1));
    // Its owner works with it, and the inventory knows it by its own name.
    let off = ask(&budi, Verb::PowerOff, &id, "").await.unwrap();
    budi.finish(&off).await.unwrap();
    assert!(!shop.cloud.books().machines[&old].on);
    let (_, found) = run(&shop, true).await;
    let foreign: Vec<&str> = found
        .iter()
        .filter(|f| f.reason() == Reason::Foreign)
        .map(|f| f.machine_name.as_str())
        .collect();
    assert_eq!(foreign, ["web-at-work"], "{found:?}");
    let audited: i64 = sqlx::query(
        "select count(*) from writes where method like '%AdoptMachine' and code = 0 and about_account_id = $1::uuid",
    )
    .bind(&budi.account_id)
    .fetch_one(&mut database)
    .await
    .unwrap()
    .get(0);
    assert_eq!(audited, 1);
    let request = DeleteInstanceRequest {
        instance_id: id.clone(),
        confirm_hostname: "web-of-old".to_owned(),
        ..Default::default()
    };
    let deleted = budi.instances().delete_instance(request).await.unwrap();
    budi.finish(&deleted.into_inner().operation.unwrap())
        .await
        .unwrap();
    let left: Vec<u64> = shop.cloud.books().machines.keys().copied().collect();
    assert_eq!(left, [own, busy]);
    assert_eq!(budi.instance(&ours).await.state(), InstanceState::Running);
    world.prove();
}
