//! Orders paid directly at a gateway: sold once, whatever comes late, twice, short or at the same time. [O3 B3 R7]

use futures_util::future::join_all;
use sewa_payment_simulators::Status;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{
    ApproveOrderPaymentRequest, CancelOrderRequest, GatewayPayment, Order, Payment,
    PlaceOrderRequest,
};
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::ConfirmDepositRequest;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State as DepositState};
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, keyed, once, refused};

use crate::order::from_wallet;
use crate::shop::{Shop, bank, credited};

async fn by_gateway(
    actor: &Actor,
    hostname: &str,
    method: Method,
    channel: &str,
) -> PlaceOrderRequest {
    PlaceOrderRequest {
        payment: Payment::Gateway.into(),
        gateway: Some(GatewayPayment {
            method: method.into(),
            channel: channel.to_owned(),
        }),
        ..from_wallet(actor.draft(hostname).await)
    }
}

async fn order_at(actor: &Actor, hostname: &str, method: Method, channel: &str) -> Order {
    let request = by_gateway(actor, hostname, method, channel).await;
    let reply = actor.orders().place_order(request).await;
    let reply = reply.expect("placing").into_inner();
    assert!(reply.operation.is_none());
    let order = reply.order.unwrap();
    assert_eq!(
        (order.state(), order.operation_id.as_str()),
        (State::PendingPayment, "")
    );
    order
}

pub(crate) fn total(order: &Order) -> i64 {
    rupiah(order.quote.as_ref().unwrap().total.as_ref())
}

pub(crate) fn reference(order: &Order) -> String {
    order.deposit.as_ref().unwrap().gateway_reference.clone()
}

impl Shop {
    pub(crate) async fn order(&self, hostname: &str) -> Order {
        let order = order_at(&self.budi, hostname, Method::Tripay, "BRIVA").await;
        let deposit = order.deposit.as_ref().unwrap();
        assert_eq!(deposit.state(), DepositState::Pending, "{deposit:?}");
        order
    }

    pub(crate) async fn say(&self, reference: &str, status: Status) {
        self.tripay.move_to(reference, status);
        let callback = self.tripay.callback(reference);
        assert_eq!(self.deliver(&callback).await.0, 200);
    }
}

/// Waits until the log says that money for an order became credit, so often, and returns amounts and reasons.
pub(crate) async fn credits(actor: &Actor, order_id: &str, count: usize) -> Vec<(i64, String)> {
    let is_credit = |event: &sewa_sdk::sewa::event::v1::Event| {
        event.subject_id == order_id && event.r#type() == EventType::OrderPaymentCredited
    };
    let told = actor.logged(count, is_credit).await;
    let read = |payload| match payload {
        Some(Payload::Wallet(wallet)) => (rupiah(wallet.amount.as_ref()), wallet.reason),
        other => panic!("{other:?}"),
    };
    told.into_iter().map(|event| read(event.payload)).collect()
}

#[tokio::test]
async fn an_order_is_paid_at_the_gateway_and_sold_once() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| s.fee_on_payer = true);
    let request = by_gateway(&shop.budi, "web-1", Method::Tripay, "BRIVA").await;
    let reply = shop
        .budi
        .orders()
        .place_order(keyed("o-1", request.clone()))
        .await;
    let order = reply.unwrap().into_inner().order.unwrap();
    let again = shop.budi.orders().place_order(keyed("o-1", request)).await;
    assert_eq!(again.unwrap().into_inner().order.unwrap().id, order.id);
    assert_eq!(shop.tripay.creations(), 1);

    let deposit = order.deposit.clone().unwrap();
    assert_eq!(deposit.id, order.deposit_id);
    assert_eq!(deposit.order_id, order.id);
    assert_eq!(rupiah(deposit.amount.as_ref()), total(&order));
    assert_eq!(rupiah(deposit.payable.as_ref()), total(&order) + 4250);
    assert!(!deposit.pay_code.is_empty() && !deposit.instructions.is_empty());
    assert!(deposit.expire_time.is_some());
    assert_eq!(
        shop.budi.order(&order.id).await.deposit,
        Some(deposit.clone())
    );

    // Sixteen copies of the callback, and one more afterwards.
    shop.tripay
        .move_to(&deposit.gateway_reference, Status::Paid);
    let callback = shop.tripay.callback(&deposit.gateway_reference);
    for answer in join_all((0..16).map(|_| shop.deliver(&callback))).await {
        assert_eq!(answer.0, 200);
    }
    let active = shop.budi.wait_order(&order.id, State::Active).await;
    assert!(!active.operation_id.is_empty());
    assert_eq!(active.deposit.unwrap().state(), DepositState::Paid);
    let states: Vec<State> = active.history.iter().map(|m| m.to()).collect();
    assert_eq!(
        states,
        [
            State::PendingPayment,
            State::Paid,
            State::Provisioning,
            State::Active
        ]
    );
    shop.deliver(&callback).await;
    assert_eq!(shop.budi.balance().await, (0, 0));
    shop.agree().await;
}

#[tokio::test]
async fn what_is_not_paid_in_time_expires_and_late_money_is_credit() {
    let shop = Shop::open(60_000).await;
    let order = shop.order("web-1").await;
    let reference = reference(&order);
    shop.say(&reference, Status::Expired).await;
    let expired = shop.budi.wait_order(&order.id, State::Expired).await;
    assert_eq!(
        expired.history.last().unwrap().reason,
        "the payment is EXPIRED"
    );
    shop.tripay.pay(&reference, total(&order), 90_000);
    shop.deliver(&shop.tripay.callback(&reference)).await;
    let told = credits(&shop.budi, &order.id, 1).await;
    assert_eq!(told, [(total(&order), "LATE".to_owned())]);
    assert_eq!(shop.budi.balance().await, (total(&order), 0));
    assert_eq!(
        shop.budi.order(&order.id).await.state(),
        State::Expired,
        "nothing is sold twice or late"
    );
    shop.agree().await;

    // The gateway refuses to open it.
    shop.tripay.switch(|s| s.refuse_creates = 1);
    let refused = order_at(&shop.budi, "web-2", Method::Tripay, "BRIVA").await;
    let ended = shop.budi.wait_order(&refused.id, State::Expired).await;
    let deposit = ended.deposit.unwrap();
    assert_eq!(deposit.failure_reason, "GATEWAY_REJECTED");
    // The money that came late buys it from the wallet.
    let placed = shop.budi.buy("web-2").await;
    shop.budi.wait_active(&placed).await;
    assert_eq!(shop.budi.balance().await, (0, 0));
}

#[tokio::test]
async fn short_long_and_double_money_becomes_credit() {
    let (_file, settings) = bank();
    let world = World::with(settings).await;
    let budi = world.real_reseller().await;
    let ani = world.staff("finance").await;
    let confirm = async |order: &Order, received: i64, bank_reference: &str| {
        let request = ConfirmDepositRequest {
            deposit_id: order.deposit_id.clone(),
            received: Some(Money::idr(received)),
            bank_reference: bank_reference.to_owned(),
        };
        ani.wallet().confirm_deposit(request).await.unwrap();
    };
    let short = order_at(&budi, "web-1", Method::BankTransfer, "BCA").await;
    let price = total(&short);
    assert_eq!(short.deposit.as_ref().unwrap().pay_code, "0123456789");
    confirm(&short, price - 1, "S-1").await;
    budi.wait_order(&short.id, State::Expired).await;
    let told = credits(&budi, &short.id, 1).await;
    assert_eq!(told, [(price - 1, "UNDERPAID".to_owned())]);
    assert_eq!(budi.balance().await, (price - 1, 0));

    let long = order_at(&budi, "web-2", Method::BankTransfer, "BCA").await;
    confirm(&long, price + 5, "L-1").await;
    confirm(&long, price, "L-2").await;
    budi.wait_order(&long.id, State::Active).await;
    let told = credits(&budi, &long.id, 2).await;
    let expected = [(5, "OVERPAID"), (price, "DUPLICATE")];
    assert_eq!(told, expected.map(|(a, why)| (a, why.to_owned())));
    let left = price - 1 + 5 + price;
    assert_eq!(budi.balance().await, (left, 0));
    let revenue = price;
    assert_eq!(credited(&world).await, left + revenue);
}

#[tokio::test]
async fn money_for_an_order_that_was_called_off_or_paid_otherwise_is_credit() {
    let shop = Shop::open(60_000).await;
    let finance = shop.world.staff("finance").await;
    let cancelled = shop.order("web-1").await;
    let request = CancelOrderRequest {
        order_id: cancelled.id.clone(),
        reason: "found another".to_owned(),
    };
    shop.budi.orders().cancel_order(request).await.unwrap();
    shop.say(&reference(&cancelled), Status::Paid).await;
    let told = credits(&shop.budi, &cancelled.id, 1).await;
    assert_eq!(told, [(total(&cancelled), "CANCELLED".to_owned())]);
    assert_eq!(shop.budi.balance().await, (total(&cancelled), 0));

    // Staff have seen the money elsewhere, and then it comes by the gateway too.
    let approved = shop.order("web-2").await;
    let request = ApproveOrderPaymentRequest {
        order_id: approved.id.clone(),
        reason: "cash at the counter".to_owned(),
    };
    let reply = finance.orders().approve_order_payment(request).await;
    assert_eq!(
        reply.unwrap().into_inner().order.unwrap().state(),
        State::Paid
    );
    shop.budi.wait_order(&approved.id, State::Active).await;
    shop.say(&reference(&approved), Status::Paid).await;
    let told = credits(&shop.budi, &approved.id, 1).await;
    assert_eq!(told, [(total(&approved), "ACTIVE".to_owned())]);
    let both = total(&cancelled) + total(&approved);
    assert_eq!(shop.budi.balance().await, (both, 0));
}

#[tokio::test]
async fn payment_against_expiry_and_cancellation_has_one_winner() {
    let shop = Shop::open(60_000).await;
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
            let paid = shop
                .tripay
                .callback_saying(&reference, Status::Paid, |_| {});
            shop.tripay.move_to(&reference, Status::Paid);
            let pay = shop.deliver(&paid);
            let cancel = async {
                let request = CancelOrderRequest {
                    order_id: order.id.clone(),
                    reason: String::new(),
                };
                // Called off in time, or refused because the machine runs.
                let _ = shop.budi.orders().cancel_order(request).await;
            };
            if i % 2 == 0 {
                tokio::join!(pay, cancel);
            } else {
                tokio::join!(cancel, pay);
            }
        }
    }))
    .await;
    let mut sold = 0;
    for order in &orders {
        let ended = eventually("an order has ended", || async {
            let order = shop.budi.order(&order.id).await;
            match order.state() {
                State::Active | State::Cancelled => Ok(order),
                _ => Err(order),
            }
        })
        .await;
        if ended.state() == State::Active {
            sold += total(order);
        }
    }
    let paid: i64 = orders.iter().map(total).sum();
    eventually("what was not sold is credit", || async {
        let balance = shop.budi.balance().await;
        if balance == (paid - sold, 0) {
            Ok(())
        } else {
            Err((balance, paid, sold))
        }
    })
    .await;
    shop.agree().await;

    // The gateway tells of an expiry and of a payment at once.
    let orders = join_all((0..8).map(|i| {
        let hostname = format!("late-{i}");
        let shop = &shop;
        async move { shop.order(&hostname).await }
    }))
    .await;
    let before = shop.budi.balance().await.0;
    join_all(orders.iter().map(|order| {
        let shop = &shop;
        async move {
            let reference = reference(order);
            shop.tripay.move_to(&reference, Status::Expired);
            let expired = shop.tripay.callback(&reference);
            let pay = async {
                shop.tripay.pay(&reference, total(order), 0);
                shop.deliver(&shop.tripay.callback(&reference)).await
            };
            tokio::join!(shop.deliver(&expired), pay);
        }
    }))
    .await;
    let mut kept = before;
    for order in &orders {
        let ended = eventually("an order has ended", || async {
            let order = shop.budi.order(&order.id).await;
            match order.state() {
                State::Active | State::Expired => Ok(order),
                _ => Err(order),
            }
        })
        .await;
        if ended.state() == State::Expired {
            kept += total(order);
        }
    }
    assert_eq!(shop.budi.balance().await, (kept, 0));
    shop.agree().await;
}

#[tokio::test]
async fn a_way_to_pay_that_is_not_there_is_refused_and_nothing_is_ordered() {
    let (_file, settings) = bank();
    let shop = Shop::with(60_000, settings).await;
    let refusal = async |actor: &Actor, method, channel: &str| {
        let request = by_gateway(actor, "web-1", method, channel).await;
        refused(actor.orders().place_order(request).await)
    };
    let sandbox = shop.world.reseller().await;
    let error = refusal(&sandbox, Method::Tripay, "BRIVA").await;
    assert!(error.is("DEPOSIT_METHOD_UNAVAILABLE"), "{error:?}");
    let error = refusal(&shop.budi, Method::Tripay, "NOVA").await;
    assert!(error.is("DEPOSIT_CHANNEL_UNAVAILABLE"), "{error:?}");
    let mut dear = by_gateway(&shop.budi, "web-1", Method::Tripay, "BRIVA").await;
    let draft = dear.draft.as_mut().unwrap();
    draft.period = sewa_sdk::sewa::api::v1::BillingPeriod::Year.into();
    draft.plan_id = dearest(&shop.budi).await;
    let error = refused(shop.budi.orders().place_order(dear).await);
    assert!(error.is("DEPOSIT_AMOUNT_OUT_OF_RANGE"), "{error:?}");
    let mut without = by_gateway(&shop.budi, "web-1", Method::Tripay, "BRIVA").await;
    without.gateway = None;
    let error = refused(shop.budi.orders().place_order(without).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    assert_eq!(error.field_violations()[0].field, "gateway");
    let mut besides = by_gateway(&shop.budi, "web-1", Method::Tripay, "BRIVA").await;
    besides.payment = Payment::Wallet.into();
    let error = refused(shop.budi.orders().place_order(besides).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");

    // A gateway that fails is left alone, and orders by it are refused.
    shop.tripay.place().go_down().await;
    let refusal = eventually("orders are refused", || async {
        let request = by_gateway(&shop.budi, "web-1", Method::Tripay, "BRIVA").await;
        match shop.budi.orders().place_order(once(request)).await {
            // Before the gateway is given up, its channels are shown as not offered.
            Err(status) => match sewa_sdk::Error::from(status) {
                error if error.is("PAYMENT_GATEWAY_UNAVAILABLE") => Ok(error),
                error => Err(format!("{error:?}")),
            },
            Ok(_) => Err("accepted".to_owned()),
        }
    })
    .await;
    assert_eq!(refusal.metadata("method"), Some("METHOD_TRIPAY"));
    shop.tripay.place().come_back().await.unwrap();
}

/// The plan that costs most by the year.
async fn dearest(actor: &Actor) -> String {
    use sewa_sdk::sewa::api::v1::BillingPeriod;
    use sewa_sdk::sewa::catalog::v1::ListPlansRequest;
    let request = ListPlansRequest::default();
    let plans = actor.catalog().list_plans(request).await.unwrap();
    let yearly = |plan: &sewa_sdk::sewa::catalog::v1::Plan| {
        let prices = plan.prices.iter();
        let mut yearly = prices.filter(|p| p.period() == BillingPeriod::Year && p.available);
        yearly
            .next()
            .map_or(0, |price| rupiah(price.amount.as_ref()))
    };
    let plans = plans.into_inner().plans.into_iter();
    plans.max_by_key(yearly).unwrap().id
}

#[tokio::test]
async fn sandbox_accounts_pay_their_orders_with_play_money() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let order = order_at(&budi, "web-1", Method::Sandbox, "").await;
    budi.settle(&order.deposit_id, Outcome::Paid).await.unwrap();
    budi.wait_order(&order.id, State::Active).await;
    let failed = order_at(&budi, "web-2", Method::Sandbox, "").await;
    budi.settle(&failed.deposit_id, Outcome::Expired)
        .await
        .unwrap();
    budi.wait_order(&failed.id, State::Expired).await;
    assert_eq!(budi.balance().await, (0, 0));
}
