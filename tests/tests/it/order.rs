//! From a price to a running machine, and back where there is none. [O1 O2 O4 O6 O7]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::ListPlansRequest;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{
    CancelOrderRequest, GetOrderRequest, ListOrdersRequest, Order, OrderDraft, Payment,
    PlaceOrderRequest, quote::line::Kind as LineKind,
};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::{NOBODYS_ID, World, reason_of, refused};

pub(crate) fn from_wallet(draft: OrderDraft) -> PlaceOrderRequest {
    PlaceOrderRequest {
        draft: Some(draft),
        payment: Payment::Wallet.into(),
        ..Default::default()
    }
}

/// The moves of an order, from its birth.
pub(crate) fn path(order: &Order) -> Vec<State> {
    order.history.iter().map(|step| step.to()).collect()
}

#[tokio::test]
async fn a_preview_and_the_order_agree_to_the_rupiah() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(100_000_000).await;
    for plan in budi
        .catalog()
        .list_plans(ListPlansRequest::default())
        .await
        .unwrap()
        .into_inner()
        .plans
    {
        let draft = OrderDraft {
            plan_id: plan.id.clone(),
            ..budi.draft("web-1").await
        };
        let quote = budi.preview(&draft).await.unwrap();
        let (subtotal, tax, total) = (
            rupiah(quote.subtotal.as_ref()),
            rupiah(quote.tax.as_ref()),
            rupiah(quote.total.as_ref()),
        );
        assert_eq!(total, subtotal + tax);
        // PPN: 12 % on 11/12, half a rupiah rounded up.
        assert_eq!(tax, (subtotal * 11 + 50) / 100);
        assert_eq!(
            quote
                .lines
                .iter()
                .map(|line| rupiah(line.amount.as_ref()))
                .sum::<i64>(),
            total
        );
        assert_eq!(
            quote
                .lines
                .iter()
                .map(|line| line.kind())
                .collect::<Vec<_>>(),
            [LineKind::Base, LineKind::Tax]
        );
        let (available, held) = budi.balance().await;
        let request = PlaceOrderRequest {
            expected_total: quote.total.clone(),
            ..from_wallet(draft)
        };
        let order = budi
            .orders()
            .place_order(request)
            .await
            .unwrap()
            .into_inner()
            .order
            .unwrap();
        assert_eq!(
            order.quote.as_ref().map(|q| (&q.total, &q.tax)),
            Some((&quote.total, &quote.tax))
        );
        let (left, now_held) = budi.balance().await;
        assert_eq!(available - left, total, "what is held is what was shown");
        assert!(now_held <= held + total);
    }
}

#[tokio::test]
async fn an_order_becomes_a_running_machine_and_its_history_says_how() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    assert_eq!(placed.order.operation_id, placed.operation.id);
    let total = rupiah(placed.order.quote.as_ref().unwrap().total.as_ref());
    let order = budi.wait_active(&placed).await;
    assert_eq!(
        path(&order),
        [State::Paid, State::Provisioning, State::Active]
    );
    assert!(
        order.history[0].actor.ends_with(&budi.user_id),
        "{:?}",
        order.history[0]
    );
    assert_eq!(order.history[2].actor, "system");
    assert!(
        order
            .history
            .iter()
            .all(|step| step.move_time.is_some() && !step.reason.is_empty()),
        "{:?}",
        order.history
    );
    assert_eq!(budi.balance().await, (1_000_000 - total, 0));
    let kinds: Vec<Kind> = budi.transactions().await.iter().map(|t| t.kind()).collect();
    assert_eq!(kinds, [Kind::Capture, Kind::Hold, Kind::Deposit]);
    let capture = &budi.transactions().await[0];
    assert_eq!(capture.tax, order.quote.as_ref().unwrap().tax);
    assert_eq!(capture.subject_id, order.id);
    let machine = budi.instance(&order.instance_id).await;
    assert_eq!(
        (machine.hostname.as_str(), machine.order_id.as_str()),
        ("web-1", order.id.as_str())
    );
}

#[tokio::test]
async fn an_order_beyond_the_balance_is_refused_and_takes_nothing() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(10_000).await;
    let draft = budi.draft("web-1").await;
    let total = rupiah(budi.preview(&draft).await.unwrap().total.as_ref());
    let error = refused(budi.place(draft).await);
    assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
    assert_eq!(
        (error.metadata("required"), error.metadata("available")),
        (Some(&*total.to_string()), Some("10000"))
    );
    assert_eq!(budi.balance().await, (10_000, 0));
    assert!(
        budi.orders()
            .list_orders(ListOrdersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .orders
            .is_empty()
    );
}

#[tokio::test]
async fn an_order_at_another_price_than_shown_is_refused() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let draft = budi.draft("web-1").await;
    let total = rupiah(budi.preview(&draft).await.unwrap().total.as_ref());
    let request = PlaceOrderRequest {
        expected_total: Some(Money::idr(total - 1)),
        ..from_wallet(draft)
    };
    let error = refused(budi.orders().place_order(request).await);
    assert!(error.is("PRICE_CHANGED"), "{error:?}");
    assert_eq!(
        (error.metadata("expected"), error.metadata("total")),
        (Some(&*(total - 1).to_string()), Some(&*total.to_string()))
    );
}

#[tokio::test]
async fn what_is_not_sold_cannot_be_previewed_or_ordered() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let good = budi.draft("web-1").await;
    let nothing = || NOBODYS_ID.to_owned();
    let mut database = world.behind_the_scenes().await;
    sqlx::query("delete from plan_prices where period = 4")
        .execute(&mut database)
        .await
        .unwrap();
    sqlx::query("update catalog_version set version = version + 1")
        .execute(&mut database)
        .await
        .unwrap();
    sewa_tests::patience::eventually("the yearly price is gone", || async {
        let yearly = OrderDraft {
            period: BillingPeriod::Year.into(),
            ..good.clone()
        };
        if budi.preview(&yearly).await.is_err() {
            Ok(())
        } else {
            Err(())
        }
    })
    .await;
    let cases = [
        (
            "PLAN_UNAVAILABLE",
            "plan_id",
            OrderDraft {
                plan_id: nothing(),
                ..good.clone()
            },
        ),
        (
            "REGION_UNAVAILABLE",
            "region_id",
            OrderDraft {
                region_id: nothing(),
                ..good.clone()
            },
        ),
        (
            "IMAGE_UNAVAILABLE",
            "image_id",
            OrderDraft {
                image_id: nothing(),
                ..good.clone()
            },
        ),
        (
            "PERIOD_UNAVAILABLE",
            "period",
            OrderDraft {
                period: BillingPeriod::Year.into(),
                ..good.clone()
            },
        ),
    ];
    for (reason, key, draft) in cases {
        let (previewed, placed) = (
            refused(budi.preview(&draft).await),
            refused(budi.place(draft).await),
        );
        for error in [previewed, placed] {
            assert!(
                error.is(reason) && error.metadata(key).is_some(),
                "{error:?}"
            );
        }
    }
    assert_eq!(budi.balance().await, (1_000_000, 0));
}

#[tokio::test]
async fn an_order_called_off_while_its_machine_is_made_gives_the_money_back() {
    let world =
        World::with(sewa_tests::Settings::default().with("SIMULATOR_BOOT_MS", 60_000)).await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    budi.wait_order(&placed.order.id, State::Provisioning).await;
    let request = || CancelOrderRequest {
        order_id: placed.order.id.clone(),
        reason: "ordered twice".to_owned(),
    };
    let cancelled = budi
        .orders()
        .cancel_order(request())
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap();
    assert_eq!(
        path(&cancelled),
        [State::Paid, State::Provisioning, State::Cancelled]
    );
    assert_eq!(cancelled.history[2].reason, "ordered twice");
    assert_eq!(budi.balance().await, (1_000_000, 0));
    let error = refused(budi.orders().cancel_order(request()).await);
    assert!(
        error.is("ORDER_STATE_CONFLICT") && error.metadata("state") == Some("CANCELLED"),
        "{error:?}"
    );
    let error = refused(budi.finish(&placed.operation).await);
    assert_eq!(error.code(), tonic::Code::Cancelled);
    let missing = CancelOrderRequest {
        order_id: NOBODYS_ID.to_owned(),
        reason: String::new(),
    };
    assert_eq!(
        reason_of(budi.orders().cancel_order(missing).await),
        "ORDER_NOT_FOUND"
    );
}

#[tokio::test]
async fn a_foreign_order_looks_like_none() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    let foreign = refused(
        siti.orders()
            .get_order(GetOrderRequest {
                order_id: placed.order.id.clone(),
            })
            .await,
    );
    let missing = refused(
        siti.orders()
            .get_order(GetOrderRequest {
                order_id: NOBODYS_ID.to_owned(),
            })
            .await,
    );
    assert!(foreign.is("ORDER_NOT_FOUND"));
    assert_eq!(
        (foreign.code(), foreign.message()),
        (missing.code(), missing.message())
    );
    let cancel = CancelOrderRequest {
        order_id: placed.order.id.clone(),
        reason: String::new(),
    };
    assert_eq!(
        reason_of(siti.orders().cancel_order(cancel).await),
        "ORDER_NOT_FOUND"
    );
    budi.wait_active(&placed).await;
}

#[tokio::test]
async fn orders_list_by_state_plan_and_time() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(2_000_000).await;
    let first = budi.buy("web-1").await;
    budi.wait_active(&first).await;
    budi.inject(FaultKind::NoCapacity, 0).await;
    let second = budi.buy("web-2").await;
    budi.wait_order(&second.order.id, State::Refunded).await;
    let list = async |request: ListOrdersRequest| -> Vec<String> {
        let orders = budi
            .orders()
            .list_orders(request)
            .await
            .unwrap()
            .into_inner()
            .orders;
        assert!(
            orders.iter().all(|order| order.history.is_empty()),
            "lists leave the history out"
        );
        orders.into_iter().map(|order| order.id).collect()
    };
    let (one, two) = (first.order.id.clone(), second.order.id.clone());
    assert_eq!(
        list(ListOrdersRequest::default()).await,
        [two.clone(), one.clone()]
    );
    assert_eq!(
        list(ListOrdersRequest {
            state: State::Active.into(),
            ..Default::default()
        })
        .await,
        [one.clone()]
    );
    assert_eq!(
        list(ListOrdersRequest {
            plan_id: NOBODYS_ID.to_owned(),
            ..Default::default()
        })
        .await,
        [] as [String; 0]
    );
    let when = second.order.create_time;
    assert_eq!(
        list(ListOrdersRequest {
            placed_from: when,
            ..Default::default()
        })
        .await,
        [two]
    );
    assert_eq!(
        list(ListOrdersRequest {
            placed_before: when,
            ..Default::default()
        })
        .await,
        [one]
    );
}
