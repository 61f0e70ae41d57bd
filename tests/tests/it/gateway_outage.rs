//! A gateway that is away for an hour, and one whose clock is wrong: nobody loses a rupiah by it, and nobody wins one. [B3 R7]

use std::time::Duration;

use sewa_payment_simulators::Status;
use sewa_sdk::sewa::order::v1::order::State as Progress;
use sewa_sdk::sewa::wallet::v1::Deposit;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;

use crate::order_payment::{reference, total};
use crate::shop::{Shop, open, payments, read, until, wish};

/// Nobody waits an hour for a test: everything happened an hour earlier instead.
async fn an_hour_passes(shop: &Shop) {
    let earlier = "update deposits set created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour',
            asked_at = asked_at - interval '1 hour', next_look_at = now() where next_look_at is not null";
    sqlx::raw_sql(earlier)
        .execute(&mut shop.world.behind_the_scenes().await)
        .await
        .unwrap();
    for payment in shop.tripay.payments() {
        shop.tripay.backdate(&payment.reference, 3600);
    }
}

/// Waits until a deposit is where it should be. What could not be looked at is due again after a while, for which nobody waits.
async fn until_looked_at(shop: &Shop, id: &str, state: State) -> Deposit {
    let mut database = shop.world.behind_the_scenes().await;
    loop {
        sqlx::raw_sql("update deposits set next_look_at = now() where next_look_at > now() + interval '10 seconds'")
            .execute(&mut database)
            .await
            .unwrap();
        let due = tokio::time::timeout(Duration::from_secs(1), until(&shop.budi, id, state));
        if let Ok(there) = due.await {
            return there;
        }
    }
}

#[tokio::test]
async fn a_gateway_that_is_away_for_an_hour_costs_nobody_anything() {
    let shop = Shop::open(200).await;
    let (paid, late) = (shop.deposit(50_000).await, shop.deposit(60_000).await);
    let order = shop.order("web-1").await;
    let price = total(&order);
    // Made there, and nobody here was told.
    shop.tripay.switch(|s| s.lose_create_answers = 1);
    let unheard = open(&shop.budi, Method::Tripay, "BRIVA", 70_000).await;
    shop.tripay.place().go_down().await;
    // Refused where it is known already that the gateway fails.
    let request = wish(Method::Tripay, "BRIVA", 80_000);
    let unmade = match shop.budi.wallet().create_deposit(request).await {
        Ok(opened) => opened.into_inner().deposit,
        Err(status) => {
            let refusal = sewa_sdk::Error::from(status);
            assert!(refusal.is("PAYMENT_GATEWAY_UNAVAILABLE"), "{refusal:?}");
            None
        }
    };

    // People pay at their banks meanwhile, and callbacks are lost.
    for reference in [&paid.gateway_reference, &reference(&order)] {
        shop.tripay.move_to(reference, Status::Paid);
    }
    shop.tripay
        .move_to(&late.gateway_reference, Status::Expired);
    an_hour_passes(&shop).await;
    if let Some(unmade) = &unmade {
        let unmade = until(&shop.budi, &unmade.id, State::Failed).await;
        assert_eq!(unmade.failure_reason, "GATEWAY_UNAVAILABLE");
    }
    assert_eq!(
        shop.budi.balance().await,
        (0, 0),
        "nobody can say what was paid"
    );

    shop.tripay.place().come_back().await.unwrap();
    let seen = until_looked_at(&shop, &paid.id, State::Paid).await;
    assert_eq!(payments(&seen), [(Kind::Exact, 50_000, 50_000)]);
    until_looked_at(&shop, &order.deposit.as_ref().unwrap().id, State::Paid).await;
    shop.budi.wait_order(&order.id, Progress::Active).await;
    until_looked_at(&shop, &late.id, State::Expired).await;
    shop.tripay.pay(&late.gateway_reference, 60_000, 3600);
    let callback = shop.tripay.callback(&late.gateway_reference);
    assert_eq!(shop.deliver(&callback).await.0, 200);
    let seen = until(&shop.budi, &late.id, State::Paid).await;
    assert_eq!(payments(&seen), [(Kind::Late, 60_000, 60_000)]);
    let made = shop.tripay.payments();
    let of = |id: &str| -> Vec<String> {
        let of = made.iter().filter(|p| p.merchant_ref == id);
        of.map(|p| p.reference.clone()).collect()
    };
    if let Some(unmade) = &unmade {
        assert_eq!(of(&unmade.id), [""; 0], "what failed is made no more");
    }
    let [unheard_of] = &of(&unheard.id)[..] else {
        panic!("made once: {made:?}");
    };
    shop.say(unheard_of, Status::Paid).await;
    let seen = until(&shop.budi, &unheard.id, State::Paid).await;
    assert_eq!(seen.payments.len(), 1, "{seen:?}");
    assert_eq!(shop.budi.balance().await, (180_000, 0));
    shop.agree().await;
    assert_eq!(shop.tripay.owed(), 180_000 + price);
}

#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_is_believed_about_money_and_not_about_time() {
    let shop = Shop::open(60_000).await;
    let mut credited = 0;
    for hours in [-25, -1, 1, 25] {
        shop.tripay.switch(|s| s.clock_ahead = hours * 3600);
        let deposit = shop.deposit(50_000).await;
        assert_eq!(read(&shop.budi, &deposit.id).await.state(), State::Pending);
        shop.say(&deposit.gateway_reference, Status::Paid).await;
        let seen = until(&shop.budi, &deposit.id, State::Paid).await;
        // Beyond the life of a deposit, what is paid looks as if it came late; it is credited all the same.
        let kind = if hours > 24 { Kind::Late } else { Kind::Exact };
        assert_eq!(payments(&seen), [(kind, 50_000, 50_000)], "{hours}");
        credited += 50_000;
        assert_eq!(shop.budi.balance().await, (credited, 0), "{hours}");
        shop.say(&deposit.gateway_reference, Status::Refunded).await;
        until(&shop.budi, &deposit.id, State::Reversed).await;
        credited -= 50_000;
        assert_eq!(shop.budi.balance().await, (credited, 0), "{hours}");
    }
    shop.agree().await;
}
