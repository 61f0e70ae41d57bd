//! Payments of orders that the gateway takes back: before the machine runs the order ends, afterwards the period it paid for. [O3 W2 B3 R7]

use futures_util::future::join_all;
use sewa_payment_simulators::Status;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{Event, EventType};
use sewa_sdk::sewa::instance::v1::Instance;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{Order, RetryOrderRequest};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::wallet::v1::deposit::State as DepositState;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, Settings};

use crate::fulfilment::machines;
use crate::order::path;
use crate::order_payment::{reference, total};
use crate::plan_change::{FAST, FASTER, change, preview, sell};
use crate::shop::Shop;

/// A shop whose cloud takes this long to boot a machine.
async fn slow_shop(boot_ms: u32) -> Shop {
    Shop::with(
        60_000,
        Settings::default().with("SIMULATOR_BOOT_MS", boot_ms),
    )
    .await
}

fn told(event: &Event) -> (EventType, i64, String) {
    match event.payload.clone() {
        Some(Payload::Wallet(w)) => (event.r#type(), rupiah(w.amount.as_ref()), w.reason),
        Some(Payload::Order(o)) => (event.r#type(), rupiah(o.total.as_ref()), o.reason),
        other => panic!("{other:?}"),
    }
}

/// Waits until this comes next for the machine of an order.
async fn until_next(actor: &Actor, order: &Order, step: &str) -> Instance {
    let what = format!("waits for {step}");
    actor
        .wait_instance(&order.instance_id, &what, |i| i.next_step == step)
        .await
}

fn paid_until(instance: &Instance) -> i64 {
    instance.paid_until.unwrap().seconds
}

/// Money on the wallet, by the gateway.
async fn top_up(shop: &Shop, amount: i64) -> String {
    let deposit = shop.deposit(amount).await;
    shop.say(&deposit.gateway_reference, Status::Paid).await;
    deposit.gateway_reference
}

#[tokio::test]
async fn an_order_under_way_whose_payment_is_taken_back_ends_and_its_machine_goes() {
    let shop = slow_shop(20_000).await;
    // Money that has nothing to do with it stays untouched.
    top_up(&shop, 50_000).await;
    let order = shop.order("web-1").await;
    let paid_by = reference(&order);
    shop.say(&paid_by, Status::Paid).await;
    shop.budi.wait_order(&order.id, State::Provisioning).await;
    eventually("the cloud makes the machine", || async {
        match machines(&shop.world, &shop.budi.account_id).await {
            1 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert_eq!(shop.budi.balance().await, (50_000, total(&order)));
    shop.say(&paid_by, Status::Refunded).await;
    let ended = shop.budi.wait_order(&order.id, State::Cancelled).await;
    assert_eq!(
        path(&ended),
        [
            State::PendingPayment,
            State::Paid,
            State::Provisioning,
            State::Cancelled
        ]
    );
    let failure = ended.failure.unwrap();
    assert_eq!(failure.reason, "PAYMENT_REVERSED");
    assert_eq!(ended.deposit.unwrap().state(), DepositState::Reversed);
    assert_eq!(shop.budi.balance().await, (50_000, 0));
    let last = &shop.budi.transactions().await[0];
    assert_eq!(last.kind(), Kind::Reversal);
    eventually("the machine is gone", || async {
        match machines(&shop.world, &shop.budi.account_id).await {
            0 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    let of_order = |event: &Event| {
        event.subject_id == order.id
            && matches!(
                event.r#type(),
                EventType::OrderCancelled | EventType::OrderPaymentCredited
            )
    };
    let events = shop.budi.logged(1, of_order).await;
    let events: Vec<_> = events.iter().map(told).collect();
    let expected = (
        EventType::OrderCancelled,
        total(&order),
        "PAYMENT_REVERSED".to_owned(),
    );
    assert_eq!(events, [expected], "nothing of it became credit");
    // It is over for staff too.
    let sysadmin = shop.world.staff("sysadmin").await;
    let request = RetryOrderRequest {
        order_id: order.id.clone(),
        reason: "try again".to_owned(),
    };
    let refused = sewa_tests::refused(sysadmin.orders().retry_order(request).await);
    assert!(refused.is("ORDER_STATE_CONFLICT"), "{refused:?}");
    shop.agree().await;
}

#[tokio::test]
async fn payments_and_their_way_back_race_with_delivery_and_one_wins() {
    let shop = slow_shop(150).await;
    let orders = join_all((0..12).map(|i| {
        let hostname = format!("race-{i}");
        let shop = &shop;
        async move { shop.order(&hostname).await }
    }))
    .await;
    join_all(orders.iter().enumerate().map(|(i, order)| {
        let shop = &shop;
        async move {
            let reference = reference(order);
            shop.say(&reference, Status::Paid).await;
            // Some are taken back at once, some while they are made, some about when they run.
            match i % 3 {
                0 => {}
                1 => drop(left(&shop.budi, order, State::PendingPayment).await),
                _ => {
                    let begun = left(&shop.budi, order, State::PendingPayment).await;
                    if begun.state() == State::Paid {
                        left(&shop.budi, order, State::Paid).await;
                    }
                }
            }
            let both = shop
                .tripay
                .callback_saying(&reference, Status::Refunded, |_| {});
            shop.tripay.move_to(&reference, Status::Refunded);
            let again = shop.deliver(&both);
            let (one, two) = tokio::join!(shop.deliver(&both), again);
            assert_eq!((one.0, two.0), (200, 200));
        }
    }))
    .await;
    let mut running = 0;
    for order in &orders {
        let ended = eventually("an order has ended", || async {
            let order = shop.budi.order(&order.id).await;
            match order.state() {
                State::Active | State::Cancelled | State::Expired => Ok(order),
                _ => Err(order),
            }
        })
        .await;
        if ended.state() == State::Active {
            // Nobody has paid for it, so it is not paid for any longer.
            until_next(&shop.budi, &ended, "suspend").await;
            running += 1;
        } else {
            assert_eq!(ended.failure.unwrap().reason, "PAYMENT_REVERSED");
        }
    }
    eventually("the cloud has those machines that run", || async {
        match machines(&shop.world, &shop.budi.account_id).await {
            count if count == running => Ok(()),
            count => Err((count, running)),
        }
    })
    .await;
    assert_eq!(shop.budi.balance().await, (0, 0));
    assert_eq!(shop.tripay.owed(), 0);
    shop.agree().await;
}

/// Waits until an order is no longer in a state.
async fn left(actor: &Actor, order: &Order, state: State) -> Order {
    eventually("an order moves on", || async {
        let found = actor.order(&order.id).await;
        if found.state() == state {
            Err(found)
        } else {
            Ok(found)
        }
    })
    .await
}

#[tokio::test]
async fn a_payment_taken_back_after_delivery_is_taken_from_the_wallet_or_ends_the_period() {
    let shop = slow_shop(100).await;
    let delivered = async |hostname: &str| {
        let order = shop.order(hostname).await;
        shop.say(&reference(&order), Status::Paid).await;
        shop.budi.wait_order(&order.id, State::Active).await
    };
    // The wallet covers it: the machine is paid for by that.
    let covered = delivered("web-1").await;
    let price = total(&covered);
    top_up(&shop, price + 7).await;
    let before = until_next(&shop.budi, &covered, "renew").await;
    shop.say(&reference(&covered), Status::Refunded).await;
    assert_eq!(shop.budi.balance().await, (7, 0));
    let reversed = shop.budi.order(&covered.id).await;
    assert_eq!(reversed.state(), State::Active);
    assert_eq!(reversed.deposit.unwrap().state(), DepositState::Reversed);

    // It does not: the period ends, and the next one cannot be paid.
    let owing = delivered("web-2").await;
    let paid = until_next(&shop.budi, &owing, "renew").await;
    shop.say(&reference(&owing), Status::Refunded).await;
    let grace = until_next(&shop.budi, &owing, "suspend").await;
    assert!(paid_until(&grace) < paid_until(&paid) - 27 * 86_400);
    let of_orders = |event: &Event| event.r#type() == EventType::OrderPaymentReversed;
    let events = shop.budi.logged(1, of_orders).await;
    assert_eq!(events[0].subject_id, owing.id);
    let (_, missing, reason) = told(&events[0]);
    assert_eq!((missing, reason.as_str()), (price - 7, "PERIOD_ENDED"));
    let after = shop.budi.instance(&covered.instance_id).await;
    let goes_on = (after.paid_until, after.next_step_time);
    assert_eq!(goes_on, (before.paid_until, before.next_step_time));
    assert_eq!(shop.budi.balance().await, (0, 0));

    // Saying it again changes nothing.
    shop.say(&reference(&owing), Status::Refunded).await;
    let again = shop.budi.instance(&owing.instance_id).await;
    assert_eq!(again.next_step_time, grace.next_step_time);

    // Paying goes on from there.
    top_up(&shop, price).await;
    let later = |i: &Instance| paid_until(i) > paid_until(&grace);
    let id = &owing.instance_id;
    let resumed = shop.budi.wait_instance(id, "is paid again", later).await;
    let days = (paid_until(&resumed) - paid_until(&grace)) / 86_400;
    assert!(
        (28..=31).contains(&days),
        "one month from there, not {days} days"
    );
    assert_eq!(shop.budi.balance().await, (0, 0));
    shop.agree().await;
}

/// Plans change at their price for the rest of a period. If that period turns out to be unpaid, there is no rest of it to give back or to pay for.
#[tokio::test]
async fn no_money_moves_for_a_change_of_plan_whose_period_was_taken_back() {
    let shop = slow_shop(100).await;
    let (owing, later) = (shop.order("web-1").await, shop.order("web-2").await);
    sell(&shop.world, &shop.budi).await;
    let mut database = shop.world.behind_the_scenes().await;
    let account: uuid::Uuid = shop.budi.account_id.parse().unwrap();
    // What the cloud is asked fails until that is cleared.
    let fail = format!(
        "insert into sim_faults (account_id, kind, times_left) values ('{account}', {}, 0)",
        FaultKind::Error as i16
    );
    let clear = "delete from sim_faults";
    let id = owing.instance_id.clone();
    shop.say(&reference(&owing), Status::Paid).await;
    shop.budi.wait_order(&owing.id, State::Active).await;
    // Up to a larger plan, with the last of the wallet, and on the way back down.
    let up = preview(&shop.budi, &id, FASTER).await.unwrap();
    top_up(&shop, rupiah(up.total.as_ref())).await;
    let up = change(&shop.budi, &id, FASTER).await.unwrap();
    shop.budi.finish(&up.operation.unwrap()).await.unwrap();
    assert_eq!(shop.budi.balance().await, (0, 0));
    raw(&mut database, &fail).await;
    let down = change(&shop.budi, &id, FAST).await.unwrap();
    shop.say(&reference(&owing), Status::Refunded).await;
    let reversed = |event: &Event| event.r#type() == EventType::OrderPaymentReversed;
    shop.budi.logged(1, reversed).await;
    raw(&mut database, clear).await;
    shop.budi.finish(&down.operation.unwrap()).await.unwrap();
    assert_eq!(
        shop.budi.balance().await,
        (0, 0),
        "nothing is given back of what was not paid"
    );
    let after = until_next(&shop.budi, &owing, "suspend").await;
    assert_eq!(after.plan_id, FAST);

    // Up, with money that is held for it.
    let owing = later;
    let id = owing.instance_id.clone();
    shop.say(&reference(&owing), Status::Paid).await;
    shop.budi.wait_order(&owing.id, State::Active).await;
    let price = rupiah(preview(&shop.budi, &id, FAST).await.unwrap().total.as_ref());
    // The other one is paid again by whatever comes.
    raw(&mut database, &fail).await;
    let off = "update subscriptions set auto_renew = false";
    raw(&mut database, off).await;
    top_up(&shop, price).await;
    let up = change(&shop.budi, &id, FAST).await.unwrap();
    assert_eq!(shop.budi.balance().await, (0, price));
    shop.say(&reference(&owing), Status::Refunded).await;
    shop.budi.logged(2, reversed).await;
    raw(&mut database, clear).await;
    shop.budi.finish(&up.operation.unwrap()).await.unwrap();
    assert_eq!(
        shop.budi.balance().await,
        (price, 0),
        "nothing is taken for days that are not paid for"
    );
    shop.agree().await;
    shop.world.prove();
}

async fn raw(database: &mut sqlx::PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(database)
        .await
        .unwrap();
}
