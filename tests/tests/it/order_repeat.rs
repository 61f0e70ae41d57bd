//! The same order sent again: by its key, by many at once, and by its reference. [O6]

use futures_util::future::join_all;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::{ListOrdersRequest, OrderDraft, PlaceOrderRequest};
use sewa_tests::{World, is_replay, keyed, persist, reason_of, refused};

use crate::order::from_wallet;

#[tokio::test]
async fn an_order_repeated_with_its_key_is_the_same_order() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let draft = budi.draft("web-1").await;
    let first = budi
        .orders()
        .place_order(keyed("cart-1", from_wallet(draft.clone())))
        .await
        .unwrap();
    assert!(!is_replay(&first));
    let first = first.into_inner();
    budi.wait_order(&first.order.as_ref().unwrap().id, State::Active)
        .await;
    let again = budi
        .orders()
        .place_order(keyed("cart-1", from_wallet(draft.clone())))
        .await
        .unwrap();
    assert!(is_replay(&again));
    assert_eq!(
        again.into_inner(),
        first,
        "the reply of then, though the order has moved on"
    );
    let other = OrderDraft {
        hostname: "web-2".to_owned(),
        ..draft.clone()
    };
    assert_eq!(
        reason_of(
            budi.orders()
                .place_order(keyed("cart-1", from_wallet(other)))
                .await
        ),
        "IDEMPOTENCY_KEY_REUSED"
    );
    assert_eq!(
        budi.orders()
            .list_orders(ListOrdersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .orders
            .len(),
        1
    );
    // A refusal is an outcome too, and is kept.
    let poor = world.reseller().await;
    let refusal = refused(
        poor.orders()
            .place_order(keyed("cart-1", from_wallet(draft.clone())))
            .await,
    );
    poor.deposit(1_000_000).await;
    let repeated = refused(
        poor.orders()
            .place_order(keyed("cart-1", from_wallet(draft.clone())))
            .await,
    );
    assert!(refusal.is("INSUFFICIENT_BALANCE") && repeated.is("INSUFFICIENT_BALANCE"));
    poor.orders()
        .place_order(keyed("cart-2", from_wallet(draft)))
        .await
        .unwrap();
}

#[tokio::test]
async fn sixteen_placings_with_one_key_buy_one_machine() {
    let mut world = World::new().await;
    let second = world.add_server();
    let budi = world.reseller().await;
    budi.deposit(10_000_000).await;
    let elsewhere = budi.through(world.client_of(
        second,
        sewa_sdk::Credentials::token(&budi.tokens.access_token),
    ));
    let draft = budi.draft("web-1").await;
    let placings = (0..16).map(|i| {
        let somebody = if i % 2 == 0 { &budi } else { &elsewhere };
        let draft = &draft;
        persist(move || async move {
            let request = keyed("cart-1", from_wallet(draft.clone()));
            somebody.orders().place_order(request).await
        })
    });
    let ids: std::collections::BTreeSet<String> = join_all(placings)
        .await
        .into_iter()
        .map(|placed| {
            placed
                .expect("placed, or the same reply")
                .into_inner()
                .order
                .unwrap()
                .id
        })
        .collect();
    assert_eq!(ids.len(), 1);
    // Both replicas know it, the one that placed it and the one that looked it up.
    for somebody in [&budi, &elsewhere, &elsewhere] {
        let request = keyed("cart-1", from_wallet(draft.clone()));
        let again = somebody.orders().place_order(request).await.unwrap();
        assert!(is_replay(&again));
        assert!(ids.contains(&again.into_inner().order.unwrap().id));
    }
    assert_eq!(
        budi.orders()
            .list_orders(ListOrdersRequest::default())
            .await
            .unwrap()
            .into_inner()
            .orders
            .len(),
        1
    );
}

#[tokio::test]
async fn a_client_reference_is_used_once_for_ever() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let draft = budi.draft("web-1").await;
    let request = || PlaceOrderRequest {
        client_reference: "inv-4711".to_owned(),
        ..from_wallet(draft.clone())
    };
    let order = budi
        .orders()
        .place_order(request())
        .await
        .unwrap()
        .into_inner()
        .order
        .unwrap();
    assert_eq!(
        reason_of(budi.orders().place_order(request()).await),
        "CLIENT_REFERENCE_TAKEN"
    );
    let answers = join_all((0..4).map(|_| async {
        budi.orders()
            .place_order(PlaceOrderRequest {
                client_reference: "inv-4712".to_owned(),
                ..request()
            })
            .await
    }))
    .await;
    assert_eq!(
        answers.iter().filter(|answer| answer.is_ok()).count(),
        1,
        "one of four at once"
    );
    let found = ListOrdersRequest {
        client_reference: "inv-4711".to_owned(),
        ..Default::default()
    };
    let found = budi
        .orders()
        .list_orders(found)
        .await
        .unwrap()
        .into_inner()
        .orders;
    assert_eq!(
        found.iter().map(|o| o.id.as_str()).collect::<Vec<_>>(),
        [order.id.as_str()]
    );
    let siti = world.reseller().await;
    siti.deposit(1_000_000).await;
    siti.orders().place_order(request()).await.unwrap();
}
