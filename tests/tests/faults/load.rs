//! People at work while the platform is disturbed, and what has to be true of it afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::instance::v1::RebootInstanceRequest;
use sewa_sdk::sewa::operation::v1::GetOperationRequest;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{GetOrderRequest, OrderDraft, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::sandbox::v1::SettleDepositRequest;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::{CreateDepositRequest, deposit};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, keyed, until_answered};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

/// What a person was told is done, in some of their rounds.
#[derive(Debug, Default)]
pub(crate) struct Told {
    account: String,
    orders: BTreeSet<String>,
    deposits: BTreeSet<String>,
    reboots: BTreeSet<String>,
}

/// People with money, and what each of them orders.
pub(crate) async fn people(world: &World, count: usize) -> Vec<(Actor, OrderDraft)> {
    let mut people = Vec::new();
    for _ in 0..count {
        let person = world.reseller().await;
        person.deposit(50_000_000).await;
        let draft = person.draft("web").await;
        people.push((person, draft));
    }
    people
}

/// Sets people to work. Each repeats a call with its key until it is answered.
pub(crate) fn set_to_work(people: &[(Actor, OrderDraft)], rounds: Range<u64>) -> JoinSet<Told> {
    let mut working = JoinSet::new();
    for (person, draft) in people {
        working.spawn(work(person.clone(), draft.clone(), rounds.clone()));
    }
    working
}

async fn work(person: Actor, draft: OrderDraft, rounds: Range<u64>) -> Told {
    let mut told = Told {
        account: person.account_id.clone(),
        ..Told::default()
    };
    for round in rounds {
        let deposit = pay_in(&person, 10_000, &round.to_string()).await;
        told.deposits.insert(deposit);

        let request = PlaceOrderRequest {
            draft: Some(OrderDraft {
                hostname: format!("web-{round}"),
                ..draft.clone()
            }),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        let key = format!("order-{round}");
        let placed = until_answered(|| {
            let (person, request) = (person.clone(), keyed(&key, request.clone()));
            async move { person.orders().place_order(request).await }
        })
        .await;
        let order = placed.order.expect("an order").id;
        told.orders.insert(order.clone());

        let instance = wait_active(&person, &order).await;
        let key = format!("reboot-{round}");
        let request = RebootInstanceRequest {
            instance_id: instance,
            ..Default::default()
        };
        let reply = until_answered(|| {
            let (person, request) = (person.clone(), keyed(&key, request.clone()));
            async move { person.instances().reboot_instance(request).await }
        })
        .await;
        let reboot = reply.operation.expect("an operation").id;
        wait_ended(&person, &reboot).await;
        told.reboots.insert(reboot);
    }
    told
}

/// A deposit that is paid, however often that has to be asked for.
pub(crate) async fn pay_in(person: &Actor, amount: i64, key: &str) -> String {
    let request = CreateDepositRequest {
        amount: Some(Money::idr(amount)),
        method: deposit::Method::Sandbox.into(),
        ..Default::default()
    };
    let reply = until_answered(|| {
        let (person, request) = (person.clone(), request.clone());
        let request = keyed(&format!("deposit-{key}"), request);
        async move { person.wallet().create_deposit(request).await }
    })
    .await;
    let deposit = reply.deposit.expect("a deposit").id;
    let request = SettleDepositRequest {
        deposit_id: deposit.clone(),
        outcome: Outcome::Paid.into(),
    };
    until_answered(|| {
        let (person, request) = (person.clone(), request.clone());
        let request = keyed(&format!("settle-{key}"), request);
        async move { person.sandbox().settle_deposit(request).await }
    })
    .await;
    deposit
}

/// Brings the end of every lease about, which takes half a minute by itself.
pub(crate) async fn end_leases(world: &World) {
    // If somebody has it locked, or PostgreSQL ends it for a deadlock, the next time will do.
    let _ = end_leases_in(&mut world.behind_the_scenes().await).await;
}

/// The same in a database that may be away for a moment.
pub(crate) async fn end_leases_at(url: &str) {
    if let Ok(mut database) = PgConnection::connect(url).await {
        let _ = end_leases_in(&mut database).await;
    }
}

async fn end_leases_in(database: &mut PgConnection) -> sqlx::Result<()> {
    for leases in [
        "update orders set next_attempt_at = now() where state in ('PAID', 'PROVISIONING') and next_attempt_at > now()",
        "update operations set next_attempt_at = now() where finished_at is null and next_attempt_at > now()",
    ] {
        sqlx::query(leases).execute(&mut *database).await?;
    }
    Ok(())
}

async fn wait_active(person: &Actor, order_id: &str) -> String {
    eventually("the order is active", || async {
        let request = GetOrderRequest {
            order_id: order_id.to_owned(),
        };
        let mut orders = person.orders();
        let reply = orders.get_order(request).await.map_err(|e| e.to_string())?;
        let order = reply.into_inner().order.expect("an order");
        if order.state() == State::Active {
            Ok(order.instance_id)
        } else {
            Err(format!("{order:?}"))
        }
    })
    .await
}

async fn wait_ended(person: &Actor, operation_id: &str) {
    eventually("the operation has ended", || async {
        let request = GetOperationRequest {
            operation_id: operation_id.to_owned(),
        };
        let mut operations = person.operations();
        let reply = operations.get_operation(request).await;
        let reply = reply.map_err(|e| e.to_string())?.into_inner();
        let operation = reply.operation.expect("an operation");
        if operation.finish_time.is_some() {
            Ok(())
        } else {
            Err(format!("{operation:?}"))
        }
    })
    .await;
}

/// What people were told is there, and nothing besides; each order has its machine, and the books are right.
pub(crate) async fn as_told(world: &World, told: &[Told]) {
    let mut database = world.behind_the_scenes().await;
    let mut everybody: BTreeMap<&str, Told> = BTreeMap::new();
    for one in told {
        let all = everybody.entry(&one.account).or_default();
        all.account.clone_from(&one.account);
        all.orders.extend(one.orders.iter().cloned());
        all.deposits.extend(one.deposits.iter().cloned());
        all.reboots.extend(one.reboots.iter().cloned());
    }
    for Told {
        account,
        orders,
        deposits,
        reboots,
    } in everybody.values()
    {
        let account = Uuid::parse_str(account).unwrap();
        let mut ids = async |text: &'static str| -> BTreeSet<String> {
            let found: Vec<Uuid> = sqlx::query_scalar(text)
                .bind(account)
                .bind(Kind::Reboot as i16)
                .fetch_all(&mut database)
                .await
                .unwrap();
            found.iter().map(Uuid::to_string).collect()
        };
        let found = ids("select id from orders where account_id = $1 and $2 is not null").await;
        assert_eq!(&found, orders, "orders of {account}");
        // The first deposit was made in peace, before.
        let found = ids("select id from deposits where account_id = $1 and state = 'PAID' and amount = 10000 and $2 is not null").await;
        assert_eq!(&found, deposits, "deposits of {account}");
        let found = ids(
            "select id from operations where account_id = $1 and kind = $2 and state = 'SUCCEEDED'",
        )
        .await;
        assert_eq!(&found, reboots, "reboots of {account}");
        let every = ids("select id from operations where account_id = $1 and kind = $2").await;
        assert_eq!(&every, reboots, "one reboot for each key of {account}");
    }
    nothing_is_double(world).await;
}

/// One machine, one subscription and one capture for each order; nothing open, nothing held; the books proved.
pub(crate) async fn nothing_is_double(world: &World) {
    let mut database = world.behind_the_scenes().await;
    let wrong: Vec<(String, i64)> = sqlx::query_as(
        "select 'orders without one running machine at the cloud' as what, count(*) from orders o
            where state = 'ACTIVE' and 1 <> (select count(*) from sim_machines m where m.reference like '%' || o.instance_id::text || '%')
         union all select 'machines of no active order', (select count(*) from sim_machines) - (select count(*) from orders where state = 'ACTIVE')
         union all select 'orders not active', count(*) from orders where state <> 'ACTIVE'
         union all select 'subscriptions too many', (select count(*) from subscriptions) - (select count(*) from orders)
         union all select 'operations open', count(*) from operations where finished_at is null
         union all select 'money held', count(*) from balances where held <> 0
         union all select 'events told twice', count(*) from (select 1 from events group by account_id, type, subject_id, revision having count(*) > 1) twice",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    for (what, count) in wrong {
        assert_eq!(count, 0, "{what}");
    }
    world.settled().await;
}
