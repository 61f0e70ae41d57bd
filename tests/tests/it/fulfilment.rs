//! What providers and staff do to orders. [O2 O3 O5 V7 W5]

use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{
    ApproveOrderPaymentRequest, GiveUpOrderRequest, Order, Payment, PlaceOrderRequest,
    RejectOrderPaymentRequest, RetryOrderRequest, SearchOrdersRequest,
};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::{ClearFaultsRequest, ListFaultsRequest};
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, reason_of, refused};
use sqlx::Row;

use crate::order::{from_wallet, path};

/// Machines the simulated cloud has for an account; the cloud's own books, which no customer sees.
pub(crate) async fn machines(world: &World, account_id: &str) -> i64 {
    let mut database = world.behind_the_scenes().await;
    let count = sqlx::query("select count(*) from sim_machines where account_id = $1 and (gone_at is null or gone_at > now())")
        .bind(uuid::Uuid::parse_str(account_id).unwrap())
        .fetch_one(&mut database);
    count.await.unwrap().get(0)
}

async fn wait_for_staff(budi: &Actor, hostname: &str) -> Order {
    let request = PlaceOrderRequest {
        payment: Payment::StaffApproval.into(),
        ..from_wallet(budi.draft(hostname).await)
    };
    let reply = budi
        .orders()
        .place_order(request)
        .await
        .unwrap()
        .into_inner();
    assert!(reply.operation.is_none());
    let order = reply.order.unwrap();
    assert_eq!(
        (order.state(), order.operation_id.as_str()),
        (State::PendingPayment, "")
    );
    order
}

fn approval(order: &Order) -> ApproveOrderPaymentRequest {
    ApproveOrderPaymentRequest {
        order_id: order.id.clone(),
        reason: "bank transfer seen, BCA 14:02".to_owned(),
    }
}

fn rejection(order: &Order) -> RejectOrderPaymentRequest {
    RejectOrderPaymentRequest {
        order_id: order.id.clone(),
        reason: "no transfer arrived".to_owned(),
    }
}

#[tokio::test]
async fn a_lost_answer_makes_one_machine() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::AnswerLost, 1).await;
    let placed = budi.buy("web-1").await;
    budi.wait_active(&placed).await;
    assert_eq!(machines(&world, &budi.account_id).await, 1);
}

#[tokio::test]
async fn a_full_region_gives_the_money_back_at_once() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::NoCapacity, 1).await;
    let placed = budi.buy("web-1").await;
    let error = refused(budi.finish(&placed.operation).await);
    assert!(
        error.is("OUT_OF_CAPACITY") && error.code() == tonic::Code::ResourceExhausted,
        "{error:?}"
    );
    let order = budi.wait_order(&placed.order.id, State::Refunded).await;
    assert_eq!(
        path(&order),
        [
            State::Paid,
            State::Provisioning,
            State::Failed,
            State::Refunded
        ]
    );
    assert_eq!(
        order.failure.as_ref().map(|f| f.reason.as_str()),
        Some("OUT_OF_CAPACITY")
    );
    assert_eq!(budi.balance().await, (1_000_000, 0));
    assert_eq!(budi.transactions().await[0].kind(), Kind::Release);
    assert_eq!(machines(&world, &budi.account_id).await, 0);
}

#[tokio::test]
async fn a_provider_that_errs_is_asked_again_and_again_until_it_answers() {
    let world = World::new().await;
    let (budi, sysadmin) = (world.reseller().await, world.staff("sysadmin").await);
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::Error, 3).await;
    let placed = budi.buy("web-1").await;
    let order = budi.wait_active(&placed).await;
    assert!(order.attempts >= 1, "{order:?}");
    assert!(order.last_error.is_empty(), "the error detail is for staff");
    assert_eq!(sysadmin.order(&order.id).await.state(), State::Active);
    assert_eq!(machines(&world, &budi.account_id).await, 1);
}

#[tokio::test]
async fn a_provider_that_never_answers_costs_nothing_once_the_deadline_is_over() {
    let world = World::with(Settings::default().with("PROVISIONING_DEADLINE_SECONDS", 3)).await;
    let (budi, sysadmin) = (world.reseller().await, world.staff("sysadmin").await);
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::Error, 0).await;
    let placed = budi.buy("web-1").await;
    let seen = eventually("staff see the error", || async {
        let order = sysadmin.order(&placed.order.id).await;
        if order.last_error.is_empty() {
            Err(order.state())
        } else {
            Ok(order)
        }
    })
    .await;
    assert!(seen.attempts >= 1);
    let order = budi.wait_order(&placed.order.id, State::Refunded).await;
    assert_eq!(
        order.failure.as_ref().map(|f| f.reason.as_str()),
        Some("PROVIDER_UNAVAILABLE")
    );
    assert!(refused(budi.finish(&placed.operation).await).is("PROVIDER_UNAVAILABLE"));
    assert_eq!(budi.balance().await, (1_000_000, 0));
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    assert!(
        budi.sandbox()
            .list_faults(ListFaultsRequest::default())
            .await
            .unwrap()
            .into_inner()
            .faults
            .is_empty()
    );
    assert_eq!(machines(&world, &budi.account_id).await, 0);
}

#[tokio::test]
async fn a_machine_too_slow_to_boot_is_given_up_and_destroyed() {
    let world = World::with(
        Settings::default()
            .with("PROVISIONING_DEADLINE_SECONDS", 2)
            .with("SIMULATOR_BOOT_MS", 8_000),
    )
    .await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    let order = budi.wait_order(&placed.order.id, State::Refunded).await;
    assert_eq!(
        order.failure.as_ref().map(|f| f.reason.as_str()),
        Some("PROVISIONING_TIMEOUT")
    );
    assert!(refused(budi.finish(&placed.operation).await).is("PROVISIONING_TIMEOUT"));
    assert_eq!(budi.balance().await, (1_000_000, 0));
    // A machine that boots cannot be destroyed; it is as soon as it has.
    eventually("nothing is left at the provider", || async {
        match machines(&world, &budi.account_id).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn staff_try_an_order_again_before_its_time() {
    let world = World::new().await;
    let (budi, sysadmin) = (world.reseller().await, world.staff("sysadmin").await);
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::Error, 0).await;
    let placed = budi.buy("web-1").await;
    eventually("an attempt has failed", || async {
        let order = sysadmin.order(&placed.order.id).await;
        if order.attempts > 0 {
            Ok(())
        } else {
            Err(order.state())
        }
    })
    .await;
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    let retry = |id: &str| RetryOrderRequest {
        order_id: id.to_owned(),
        reason: "provider is back".to_owned(),
    };
    sysadmin
        .orders()
        .retry_order(retry(&placed.order.id))
        .await
        .unwrap();
    budi.wait_active(&placed).await;
    let error = refused(sysadmin.orders().retry_order(retry(&placed.order.id)).await);
    assert!(
        error.is("ORDER_STATE_CONFLICT") && error.metadata("state") == Some("ACTIVE"),
        "{error:?}"
    );
    assert_eq!(
        reason_of(sysadmin.orders().retry_order(retry(NOBODYS_ID)).await),
        "ORDER_NOT_FOUND"
    );
}

#[tokio::test]
async fn staff_see_what_is_stuck_and_give_it_up() {
    let world = World::new().await;
    let (budi, sysadmin) = (world.reseller().await, world.staff("sysadmin").await);
    budi.deposit(1_000_000).await;
    budi.inject(FaultKind::Error, 0).await;
    let placed = budi.buy("web-1").await;
    let stuck = eventually("an attempt has failed", || async {
        let request = SearchOrdersRequest {
            state: State::Provisioning.into(),
            ..Default::default()
        };
        let found = sysadmin.orders().search_orders(request).await.unwrap();
        let found = found.into_inner().orders;
        let tried = found.into_iter().find(|order| order.attempts > 0);
        tried.ok_or("not yet")
    })
    .await;
    assert!(
        stuck.last_error.contains("told to fail"),
        "the provider's words: {stuck:?}"
    );
    assert!(stuck.next_attempt_time.is_some() && stuck.deadline_time.is_some());
    let seen = budi.order(&placed.order.id).await;
    assert_eq!(
        (seen.last_error.as_str(), seen.next_attempt_time),
        ("", None),
        "that is for staff"
    );
    let give_up = |id: &str| GiveUpOrderRequest {
        order_id: id.to_owned(),
        reason: "down for the day".to_owned(),
    };
    let order = sysadmin
        .orders()
        .give_up_order(give_up(&placed.order.id))
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap();
    assert_eq!(order.state(), State::Refunded);
    assert_eq!(
        order.failure.as_ref().map(|f| f.reason.as_str()),
        Some("PROVIDER_UNAVAILABLE")
    );
    let by = &order.history[order.history.len() - 2];
    assert_eq!(
        (by.reason.as_str(), by.to()),
        ("down for the day", State::Failed)
    );
    assert!(by.actor.contains(&sysadmin.user_id), "{by:?}");
    assert!(order.last_error.contains("told to fail"));
    assert_eq!(budi.balance().await, (1_000_000, 0));
    let error = refused(
        sysadmin
            .orders()
            .give_up_order(give_up(&placed.order.id))
            .await,
    );
    assert!(error.is("ORDER_STATE_CONFLICT"), "{error:?}");
    assert_eq!(
        reason_of(sysadmin.orders().give_up_order(give_up(NOBODYS_ID)).await),
        "ORDER_NOT_FOUND"
    );
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    // Where the wallet is frozen, money is not given back either.
    budi.inject(FaultKind::Error, 0).await;
    let placed = budi.buy("web-2").await;
    let freeze = "update balances set frozen_at = case when $1 then now() end, frozen_for = 'a test' where account_id = $2::uuid";
    let mut database = world.behind_the_scenes().await;
    for frozen in [true, false] {
        sqlx::query(freeze)
            .bind(frozen)
            .bind(&budi.account_id)
            .execute(&mut database)
            .await
            .unwrap();
        let answer = sysadmin
            .orders()
            .give_up_order(give_up(&placed.order.id))
            .await;
        if frozen {
            assert_eq!(reason_of(answer), "WALLET_FROZEN");
        } else {
            answer.unwrap();
        }
    }
    assert_eq!(budi.balance().await, (1_000_000, 0));
}

#[tokio::test]
async fn an_order_waits_for_staff_to_see_the_payment() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    let order = wait_for_staff(&budi, "web-1").await;
    let found = SearchOrdersRequest {
        account_id: budi.account_id.clone(),
        state: State::PendingPayment.into(),
        ..Default::default()
    };
    let found = finance
        .orders()
        .search_orders(found)
        .await
        .unwrap()
        .into_inner()
        .orders;
    assert_eq!(
        found.iter().map(|o| o.id.as_str()).collect::<Vec<_>>(),
        [order.id.as_str()]
    );
    let approved = finance
        .orders()
        .approve_order_payment(approval(&order))
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap();
    assert_eq!(
        approved.history.last().unwrap().reason,
        "bank transfer seen, BCA 14:02"
    );
    assert!(
        approved
            .history
            .last()
            .unwrap()
            .actor
            .ends_with(&finance.user_id)
    );
    let active = budi.wait_order(&order.id, State::Active).await;
    assert_eq!(
        path(&active),
        [
            State::PendingPayment,
            State::Paid,
            State::Provisioning,
            State::Active
        ]
    );
    assert_eq!(budi.balance().await, (0, 0), "what came in was captured");
    for error in [
        refused(
            finance
                .orders()
                .approve_order_payment(approval(&order))
                .await,
        ),
        refused(
            finance
                .orders()
                .reject_order_payment(rejection(&order))
                .await,
        ),
    ] {
        assert!(
            error.is("PAYMENT_STATUS_CONFLICT") && error.metadata("state") == Some("ACTIVE"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_payment_that_never_came_ends_the_order() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    let order = wait_for_staff(&budi, "web-1").await;
    let rejected = finance
        .orders()
        .reject_order_payment(rejection(&order))
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap();
    assert_eq!(path(&rejected), [State::PendingPayment, State::Cancelled]);
    assert!(budi.transactions().await.is_empty());
    let nothing = Order {
        id: NOBODYS_ID.to_owned(),
        ..order
    };
    assert_eq!(
        reason_of(
            finance
                .orders()
                .approve_order_payment(approval(&nothing))
                .await
        ),
        "ORDER_NOT_FOUND"
    );
    assert_eq!(
        reason_of(
            finance
                .orders()
                .reject_order_payment(rejection(&nothing))
                .await
        ),
        "ORDER_NOT_FOUND"
    );
}

#[tokio::test]
async fn money_received_for_a_machine_that_cannot_be_had_stays_in_the_wallet() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.inject(FaultKind::NoCapacity, 0).await;
    let order = wait_for_staff(&budi, "web-1").await;
    finance
        .orders()
        .approve_order_payment(approval(&order))
        .await
        .unwrap();
    budi.wait_order(&order.id, State::Refunded).await;
    let total = sewa_tests::actor::rupiah(order.quote.as_ref().unwrap().total.as_ref());
    assert_eq!(budi.balance().await, (total, 0));
}

#[tokio::test]
async fn an_order_nobody_paid_for_expires_and_takes_nothing() {
    let mut world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    let order = wait_for_staff(&budi, "web-1").await;
    // Nobody waits days for a test, and what is due when a server starts is done first.
    sqlx::query("update orders set deadline_at = now() - interval '1 second'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    world.restart();
    let expired = budi.wait_order(&order.id, State::Expired).await;
    assert_eq!(path(&expired), [State::PendingPayment, State::Expired]);
    assert!(budi.transactions().await.is_empty());
    let told = budi
        .logged(1, |event| event.r#type() == EventType::OrderExpired)
        .await;
    assert_eq!(told[0].subject_id, order.id);
    let late = finance
        .orders()
        .approve_order_payment(approval(&order))
        .await;
    assert_eq!(reason_of(late), "PAYMENT_STATUS_CONFLICT");
}
