//! The machines at a provider against ours: what is found, and what is put right by policy. [V7 V8]

use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_sdk::sewa::instance::v1::instance::State as InstanceState;
use sewa_sdk::sewa::inventory::v1::inventory_finding::{CostBasis, Outcome, Reason, Repair};
use sewa_sdk::sewa::inventory::v1::inventory_run::State;
use sewa_sdk::sewa::inventory::v1::{
    GetInventoryPolicyRequest, GetInventoryRunRequest, InventoryFinding, InventoryRun,
    ListInventoryFindingsRequest, ListInventoryRepairsRequest, ListInventoryRunsRequest,
    RunInventoryRequest, SetInventoryPolicyRequest,
};
use sewa_tests::compute::Dialect;
use sewa_tests::patience::eventually;
use sewa_tests::{NOBODYS_ID, World, once, reason_of};
use sqlx::Row;

use crate::instance::{Verb, ask};
use crate::providers::{Shop, draft, open_shop, rich_reseller};

/// Asks for a run, and returns it with what it found once it has ended.
pub(crate) async fn run(shop: &Shop, dry_run: bool) -> (InventoryRun, Vec<InventoryFinding>) {
    let mut inventory = shop.sysadmin.inventory();
    let request = RunInventoryRequest {
        provider_account_id: shop.account.id.clone(),
        dry_run,
    };
    let asked = inventory.run_inventory(request).await.unwrap();
    let id = asked.into_inner().run.unwrap().id;
    let ended = ended(shop, &id).await;
    let found = findings(shop, id).await;
    (ended, found)
}

async fn findings(shop: &Shop, run_id: String) -> Vec<InventoryFinding> {
    let request = ListInventoryFindingsRequest {
        run_id,
        ..Default::default()
    };
    let found = shop
        .sysadmin
        .inventory()
        .list_inventory_findings(request)
        .await;
    found.unwrap().into_inner().findings
}

/// A run, once it has ended.
async fn ended(shop: &Shop, id: &str) -> InventoryRun {
    eventually("the run ends", || async {
        let request = GetInventoryRunRequest {
            run_id: id.to_owned(),
        };
        let reply = shop.sysadmin.inventory().get_inventory_run(request).await;
        let run = reply.unwrap().into_inner().run.unwrap();
        match run.state() {
            State::Done | State::Failed => Ok(run),
            other => Err(other),
        }
    })
    .await
}

fn told(found: &[InventoryFinding]) -> Vec<(Reason, Outcome)> {
    let mut told: Vec<_> = found.iter().map(|f| (f.reason(), f.outcome())).collect();
    told.sort();
    told
}

async fn set_policy(shop: &Shop, destroy: Option<i32>, look: Option<i32>, limit: i32) {
    let request = SetInventoryPolicyRequest {
        provider_account_id: shop.account.id.clone(),
        interval_minutes: 0,
        destroy_after_minutes: destroy,
        look_after_minutes: look,
        destroy_limit: limit,
    };
    let set = shop
        .sysadmin
        .inventory()
        .set_inventory_policy(request)
        .await;
    let policy = set.unwrap().into_inner().policy.unwrap();
    assert_eq!(policy.destroy_after_minutes, destroy);
}

/// Until the patrol has looked at every machine, which it does again in a quarter of an hour.
async fn patrolled(world: &World) {
    eventually("the patrol has passed", || async {
        let mut database = world.behind_the_scenes().await;
        let due = sqlx::query(
            "select count(*) from instances where state = 'RUNNING' and look_at < now() + interval '1 minute'",
        )
        .fetch_one(&mut database)
        .await
        .unwrap()
        .get::<i64, _>(0);
        if due == 0 { Ok(()) } else { Err(due) }
    })
    .await;
}

#[tokio::test]
async fn what_differs_is_found_priced_and_put_right_as_the_policy_says() {
    let world = World::new().await;
    let shop = open_shop(&world, Dialect::DigitalOcean).await;
    let budi = rich_reseller(&world).await;
    let request = GetInventoryPolicyRequest {
        provider_account_id: shop.account.id.clone(),
    };
    let usual = shop
        .sysadmin
        .inventory()
        .get_inventory_policy(request)
        .await;
    let usual = usual.unwrap().into_inner().policy.unwrap();
    assert_eq!(
        (usual.interval_minutes, usual.destroy_after_minutes),
        (360, Some(60))
    );
    set_policy(&shop, None, None, 5).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let placed = budi.place(draft(&format!("web-{n}"))).await.unwrap();
        ids.push(budi.wait_active(&placed).await.instance_id);
    }
    let deleted = ask(&budi, Verb::Delete, &ids[3], "").await;
    // Its name was web-3, and the typed one is that of the first.
    assert_eq!(reason_of(deleted), "CONFIRMATION_MISMATCH");
    let request = DeleteInstanceRequest {
        instance_id: ids[3].clone(),
        confirm_hostname: "web-3".to_owned(),
        ..Default::default()
    };
    let deleted = budi.instances().delete_instance(request).await.unwrap();
    budi.finish(&deleted.into_inner().operation.unwrap())
        .await
        .unwrap();
    patrolled(&world).await;
    let (clean, found) = run(&shop, false).await;
    assert_eq!((clean.state(), clean.machines), (State::Done, 3));
    assert_eq!(told(&found), []);

    let label = |n: usize| format!("sewa-{}", ids[n]);
    let foreign = {
        let mut books = shop.cloud.books();
        books.plant(&label(0));
        books.plant(&label(3));
        let (gone, changed) = (label(1), label(2));
        books.machines.retain(|_, vm| vm.label != gone);
        let vm = books.machines.values_mut().find(|vm| vm.label == changed);
        let vm = vm.unwrap();
        (vm.on, vm.size, vm.image) = (false, "another".to_owned(), "fedora".to_owned());
        books.plant("somebodys-own")
    };
    let all = [
        Reason::Foreign,
        Reason::Twin,
        Reason::Remains,
        Reason::Gone,
        Reason::Size,
        Reason::Power,
        Reason::Image,
    ];
    let free = [Reason::Foreign, Reason::Size, Reason::Image];
    let (dry, found) = run(&shop, true).await;
    let waiting = |reason| {
        if free.contains(&reason) {
            (reason, Outcome::Unspecified)
        } else {
            (reason, Outcome::Waiting)
        }
    };
    let mut expected = all.map(waiting);
    expected.sort();
    assert_eq!(told(&found), expected);
    assert_eq!((dry.dry_run, dry.findings), (true, 7));
    // Four machines of 6 dollars a month and one that is sold for 124000 rupiah.
    let cost = dry.daily_cost.as_ref().unwrap().units;
    assert_eq!(cost, 4 * 3255 + 4077);
    let priced = |reason| {
        let one = found.iter().find(|f| f.reason() == reason).unwrap();
        (
            one.daily_cost.as_ref().map_or(0, |c| c.units),
            one.cost_basis(),
        )
    };
    assert_eq!(priced(Reason::Foreign), (3255, CostBasis::ProviderPrice));
    assert_eq!(priced(Reason::Gone), (4077, CostBasis::InstancePrice));
    assert_eq!(priced(Reason::Power), (0, CostBasis::Unspecified));
    // What the policy does not allow is not done, however often it is found.
    let (_, found) = run(&shop, false).await;
    assert_eq!(told(&found), expected);
    assert_eq!(shop.cloud.books().machines.len(), 5);

    set_policy(&shop, Some(0), Some(0), 1).await;
    let (_, found) = run(&shop, true).await;
    let planned = found.iter().filter(|f| f.outcome() == Outcome::Planned);
    assert_eq!(planned.count(), 3, "one of two machines may be destroyed");
    assert_eq!(shop.cloud.books().machines.len(), 5, "a dry run");
    let since = |found: &[InventoryFinding]| {
        let one = found.iter().find(|f| f.reason() == Reason::Foreign);
        one.unwrap().first_seen_time
    };
    let first_seen = since(&found);
    run(&shop, false).await;
    assert_eq!(shop.cloud.books().machines.len(), 4, "one at a time");
    assert_eq!(budi.instance(&ids[1]).await.state(), InstanceState::Lost);
    assert_eq!(budi.instance(&ids[2]).await.state(), InstanceState::Stopped);
    run(&shop, false).await;
    let (_, found) = run(&shop, false).await;
    assert_eq!(since(&found), first_seen, "found all the time");
    let mut expected = free.map(waiting);
    expected.sort();
    assert_eq!(told(&found), expected, "what is left is for people");
    {
        let books = shop.cloud.books();
        let left: Vec<&str> = books
            .machines
            .values()
            .map(|vm| vm.label.as_str())
            .collect();
        assert_eq!(left, [label(0).as_str(), &label(2), "somebodys-own"]);
        assert!(books.machines.contains_key(&foreign));
    }
    let mut inventory = shop.sysadmin.inventory();
    let request = ListInventoryRepairsRequest {
        provider_account_id: shop.account.id.clone(),
        ..Default::default()
    };
    let repairs = inventory.list_inventory_repairs(request).await.unwrap();
    let repairs = repairs.into_inner().repairs;
    assert_eq!(
        told(&repairs),
        [Reason::Twin, Reason::Remains, Reason::Gone, Reason::Power]
            .map(|reason| (reason, Outcome::Done)),
        "{repairs:?}"
    );
    assert!(
        repairs
            .iter()
            .all(|r| r.repair_time.is_some() && !r.words.is_empty())
    );
    let request = ListInventoryRunsRequest {
        provider_account_id: shop.account.id.clone(),
        page_size: 3,
        ..Default::default()
    };
    let runs = inventory.list_inventory_runs(request).await.unwrap();
    let runs = runs.into_inner();
    assert_eq!(runs.runs.len(), 3);
    assert!(!runs.next_page_token.is_empty() && runs.runs[0].id > runs.runs[1].id);

    what_is_not_there_is_refused(&shop).await;
    one_run_at_a_time(&world, &shop).await;
    a_kill_amid_a_repair_is_not_forgotten(&world, &shop, &label(3)).await;
    // A provider that does not answer ends the run, and nothing is concluded.
    shop.cloud.books().token = "another-one".to_owned();
    let (failed, found) = run(&shop, false).await;
    assert_eq!((failed.state(), found.len()), (State::Failed, 0));
    assert!(!failed.failure.is_empty());
    world.prove();
}

async fn what_is_not_there_is_refused(shop: &Shop) {
    let nobodys = NOBODYS_ID.to_owned();
    let mut inventory = shop.sysadmin.inventory();
    let request = GetInventoryRunRequest {
        run_id: nobodys.clone(),
    };
    let refusal = inventory.get_inventory_run(request).await;
    assert_eq!(reason_of(refusal), "INVENTORY_RUN_NOT_FOUND");
    let request = ListInventoryFindingsRequest {
        run_id: nobodys.clone(),
        ..Default::default()
    };
    let refusal = inventory.list_inventory_findings(request).await;
    assert_eq!(reason_of(refusal), "INVENTORY_RUN_NOT_FOUND");
    let missing = "PROVIDER_ACCOUNT_NOT_FOUND";
    let request = RunInventoryRequest {
        provider_account_id: nobodys.clone(),
        dry_run: true,
    };
    assert_eq!(reason_of(inventory.run_inventory(request).await), missing);
    let request = GetInventoryPolicyRequest {
        provider_account_id: nobodys.clone(),
    };
    let refusal = inventory.get_inventory_policy(request).await;
    assert_eq!(reason_of(refusal), missing);
    let request = SetInventoryPolicyRequest {
        provider_account_id: nobodys,
        ..Default::default()
    };
    let refusal = inventory.set_inventory_policy(request).await;
    assert_eq!(reason_of(refusal), missing);
}

/// Of one account one run waits or is under way. One whose server died is carried on once its lease is over.
async fn one_run_at_a_time(world: &World, shop: &Shop) {
    let under_way = uuid::Uuid::now_v7();
    let mut database = world.behind_the_scenes().await;
    sqlx::query(
        "insert into inventory_runs (id, provider_account_id, dry_run, state, fence, leased_until, created_at)
        values ($1, $2::uuid, true, 'RUNNING', 1, now() + interval '1 hour', now())",
    )
    .bind(under_way)
    .bind(&shop.account.id)
    .execute(&mut database)
    .await
    .unwrap();
    let request = RunInventoryRequest {
        provider_account_id: shop.account.id.clone(),
        dry_run: true,
    };
    let mut inventory = shop.sysadmin.inventory();
    let refusal = inventory.run_inventory(once(request.clone())).await;
    assert_eq!(reason_of(refusal), "INVENTORY_RUN_IN_PROGRESS");
    sqlx::query("update inventory_runs set leased_until = now() where id = $1")
        .bind(under_way)
        .execute(&mut database)
        .await
        .unwrap();
    let run = ended(shop, &under_way.to_string()).await;
    assert_eq!(run.state(), State::Done, "{run:?}");
    // The next one may be asked for.
    let (next, _) = self::run(shop, true).await;
    assert_eq!(next.state(), State::Done);
}

/// A server was killed after it had begun to destroy a machine. Whoever carries the run on keeps that in mind: it was the only one that the run may destroy.
async fn a_kill_amid_a_repair_is_not_forgotten(world: &World, shop: &Shop, remains: &str) {
    let left = shop.cloud.books().plant(remains);
    let under_way = uuid::Uuid::now_v7();
    sqlx::query(
        "with run as (
            insert into inventory_runs (id, provider_account_id, dry_run, state, fence, leased_until, created_at)
            values ($1, $2::uuid, false, 'RUNNING', 1, now(), now())
        )
        insert into inventory_findings (id, run_id, provider_account_id, reason, machine, machine_name, detail, daily_cost, cost_basis, first_seen_at, repair, outcome,
            acted_at)
        values (gen_random_uuid(), $1, $2::uuid, $3, '1', 'another', '', 0, 0, now(), $4, $5, now())",
    )
    .bind(under_way)
    .bind(&shop.account.id)
    .bind(Reason::Remains as i16)
    .bind(Repair::DestroyMachine as i16)
    .bind(Outcome::Begun as i16)
    .execute(&mut world.behind_the_scenes().await)
    .await
    .unwrap();
    let carried_on = ended(shop, &under_way.to_string()).await;
    assert_eq!(carried_on.state(), State::Done, "{carried_on:?}");
    let of_remains = |found: &[InventoryFinding]| {
        let mut told = told(found);
        told.retain(|(reason, _)| *reason == Reason::Remains);
        told
    };
    assert_eq!(
        of_remains(&findings(shop, under_way.to_string()).await),
        [
            (Reason::Remains, Outcome::Begun),
            (Reason::Remains, Outcome::Skipped)
        ]
    );
    assert!(shop.cloud.books().machines.contains_key(&left));
    let (_, found) = run(shop, false).await;
    assert_eq!(of_remains(&found), [(Reason::Remains, Outcome::Done)]);
    assert!(!shop.cloud.books().machines.contains_key(&left));
}
