//! Promotions of plans: the same in the catalogue, in preview, in the order and on the invoice to the rupiah; never more than their limits; and back when the order ends
//! without a machine. [K3 O1 W5]

use futures_util::future::join_all;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::create_plan_promotion_request::Value;
use sewa_sdk::sewa::catalog::v1::{
    CreatePlanPromotionRequest, GetPlanRequest, ListPlanPromotionsRequest, PlanOffer,
    PlanPromotion, PlanPromotionPercent, UpdatePlanPromotionRequest,
};
use sewa_sdk::sewa::lifecycle::v1::PreviewRenewalRequest;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::quote::line::Kind as Line;
use sewa_sdk::sewa::order::v1::{
    CancelOrderRequest, GatewayPayment, OrderDraft, Payment, PlaceOrderRequest, Quote,
};
use sewa_sdk::sewa::promotion::v1::{CreateCouponRequest, create_coupon_request};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, refused};

use crate::coupons::total;
use crate::order::from_wallet;

fn promotion(name: &str, value: Value) -> CreatePlanPromotionRequest {
    CreatePlanPromotionRequest {
        display_name: name.to_owned(),
        value: Some(value),
        enabled: true,
        sandbox: true,
        ..Default::default()
    }
}

pub(crate) fn fixed(name: &str, amount: i64) -> CreatePlanPromotionRequest {
    promotion(name, Value::Fixed(Money::idr(amount)))
}

pub(crate) async fn make(staff: &Actor, request: CreatePlanPromotionRequest) -> PlanPromotion {
    let reply = staff.catalog().create_plan_promotion(request).await;
    reply.expect("making").into_inner().promotion.unwrap()
}

pub(crate) async fn update(
    staff: &Actor,
    new: PlanPromotion,
    path: &str,
) -> Result<PlanPromotion, sewa_sdk::Error> {
    let request = UpdatePlanPromotionRequest {
        promotion: Some(new),
        update_mask: Some(prost_types::FieldMask {
            paths: vec![path.to_owned()],
        }),
    };
    let reply = staff.catalog().update_plan_promotion(request).await?;
    Ok(reply.into_inner().promotion.unwrap())
}

async fn switch_off(staff: &Actor, promotion: &PlanPromotion) {
    let new = PlanPromotion {
        id: promotion.id.clone(),
        ..Default::default()
    };
    update(staff, new, "enabled").await.expect("switching off");
}

async fn uses(staff: &Actor, id: &str) -> i32 {
    let request = ListPlanPromotionsRequest::default();
    let reply = staff.catalog().list_plan_promotions(request).await.unwrap();
    let listed = reply.into_inner().promotions;
    listed.iter().find(|p| p.id == id).unwrap().uses
}

/// What the catalogue offers sandbox accounts for a draft.
pub(crate) async fn offers(actor: &Actor, draft: &OrderDraft) -> Vec<PlanOffer> {
    offers_of(actor, draft, true).await
}

/// Waits until so many are offered.
async fn offered(actor: &Actor, draft: &OrderDraft, count: usize) {
    eventually("the catalogue offers what is left", || async {
        let shown = offers(actor, draft).await;
        if shown.len() == count {
            Ok(())
        } else {
            Err(shown)
        }
    })
    .await;
}

async fn offers_of(actor: &Actor, draft: &OrderDraft, sandbox: bool) -> Vec<PlanOffer> {
    let request = GetPlanRequest {
        plan_id: draft.plan_id.clone(),
        sandbox,
    };
    let reply = actor.catalog().get_plan(request).await.unwrap();
    let prices = reply.into_inner().plan.unwrap().prices;
    let found = prices.into_iter().find(|p| p.period() == draft.period());
    found.unwrap().offers
}

fn lines(quote: &Quote) -> Vec<(Line, i64)> {
    let lines = quote.lines.iter();
    lines
        .map(|l| (l.kind(), rupiah(l.amount.as_ref())))
        .collect()
}

async fn renewal(actor: &Actor, instance_id: &str) -> i64 {
    let request = PreviewRenewalRequest {
        instance_id: instance_id.to_owned(),
    };
    let reply = actor.lifecycle().preview_renewal(request).await.unwrap();
    rupiah(reply.into_inner().renewal.unwrap().total.as_ref())
}

#[tokio::test]
async fn catalogue_preview_order_and_invoice_agree_to_the_rupiah() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(5_000_000).await;
    let draft = budi.draft("web-1").await;
    let full = budi.preview(&draft).await.unwrap();
    let price = rupiah(full.subtotal.as_ref());
    let percent = |basis_points, cap: Option<i64>| {
        let cap = cap.map(Money::idr);
        Value::Percent(PlanPromotionPercent { basis_points, cap })
    };
    let cases = [
        ("Odd", percent(3333, None), false, price * 3333 / 10_000),
        ("Capped", percent(5000, Some(10_001)), true, 10_001),
        ("Fixed", Value::Fixed(Money::idr(12_345)), true, 12_345),
        ("All of it", percent(10_000, None), false, price - 1),
    ];
    for (number, (name, value, renewals, off)) in cases.into_iter().enumerate() {
        let request = CreatePlanPromotionRequest {
            renewals,
            ..promotion(name, value)
        };
        let made = make(&business, request).await;
        let shown = offers(&budi, &draft).await;
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].display_name, name);
        assert_eq!(rupiah(shown[0].amount.as_ref()), price - off);
        assert_eq!(shown[0].renewals, renewals);
        let quote = budi.preview(&draft).await.unwrap();
        let amounts = lines(&quote);
        let tax = rupiah(quote.tax.as_ref());
        let expected = [
            (Line::Base, price),
            (Line::Promotion, -off),
            (Line::Tax, tax),
        ];
        assert_eq!(amounts, expected, "{name}");
        assert_eq!(rupiah(quote.subtotal.as_ref()), price - off);
        assert_eq!(total(&quote), price - off + tax);
        let before = budi.balance().await.0;
        let request = PlaceOrderRequest {
            expected_total: quote.total.clone(),
            ..from_wallet(draft.clone())
        };
        let reply = budi.orders().place_order(request).await.unwrap();
        let placed = reply.into_inner().order.unwrap();
        let quoted = Quote {
            wallet: None,
            ..quote
        };
        assert_eq!(placed.quote, Some(quoted.clone()));
        let active = budi.wait_order(&placed.id, State::Active).await;
        assert_eq!(active.quote, Some(quoted.clone()));
        assert_eq!(budi.balance().await, (before - total(&quoted), 0));
        let again = renewal(&budi, &active.instance_id).await;
        let renewed = if renewals {
            total(&quoted)
        } else {
            total(&full)
        };
        assert_eq!(again, renewed, "{name}");
        let invoice = budi.invoiced(number + 1).await.pop().unwrap();
        assert_eq!(rupiah(invoice.total.as_ref()), total(&quoted));
        assert_eq!(rupiah(invoice.tax.as_ref()), tax);
        assert!(invoice.lines[0].description.contains(name), "{invoice:?}");
        assert_eq!(uses(&business, &made.id).await, 1);
        switch_off(&business, &made).await;
        assert!(offers(&budi, &draft).await.is_empty());
        assert_eq!(total(&budi.preview(&draft).await.unwrap()), total(&full));
    }
}

#[tokio::test]
async fn a_coupon_takes_its_part_of_what_a_promotion_leaves() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let coupon = CreateCouponRequest {
        code: "TENTH".to_owned(),
        display_name: "A tenth".to_owned(),
        value: Some(create_coupon_request::Value::Percent(
            sewa_sdk::sewa::promotion::v1::PromotionPercent {
                basis_points: 1000,
                cap: None,
            },
        )),
        enabled: true,
        sandbox: true,
        ..Default::default()
    };
    let made = business.promotions().create_coupon(coupon).await;
    made.unwrap();
    make(&business, fixed("Less", 10_007)).await;
    let draft = OrderDraft {
        coupon_code: "TENTH".to_owned(),
        ..budi.draft("web-1").await
    };
    let quote = budi.preview(&draft).await.unwrap();
    let shown = lines(&quote);
    let price = shown[0].1;
    let tenth = (price - 10_007) / 10;
    let tax = rupiah(quote.tax.as_ref());
    let expected = [
        (Line::Base, price),
        (Line::Promotion, -10_007),
        (Line::Coupon, -tenth),
        (Line::Tax, tax),
    ];
    assert_eq!(shown, expected);
    let placed = budi.place(draft).await.unwrap();
    let active = budi.wait_active(&placed).await;
    assert_eq!(lines(active.quote.as_ref().unwrap()), expected);
}

#[tokio::test]
async fn an_order_is_given_the_best_that_its_account_may_use() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let (budi, ani) = (world.reseller().await, world.reseller().await);
    for actor in [&budi, &ani] {
        actor.deposit(2_000_000).await;
    }
    let draft = budi.draft("web-1").await;
    let price = rupiah(budi.preview(&draft).await.unwrap().subtotal.as_ref());
    let newcomers = CreatePlanPromotionRequest {
        new_customers_only: true,
        ..fixed("Welcome", 20_000)
    };
    make(&business, newcomers).await;
    let twice = CreatePlanPromotionRequest {
        account_limit: 2,
        ..fixed("Twice", 9_000)
    };
    make(&business, twice).await;
    // These are for others.
    let mut others = vec![
        CreatePlanPromotionRequest {
            sandbox: false,
            ..fixed("Real", 30_000)
        },
        CreatePlanPromotionRequest {
            enabled: false,
            ..fixed("Off", 30_000)
        },
        CreatePlanPromotionRequest {
            periods: vec![BillingPeriod::Year.into()],
            ..fixed("Year", 30_000)
        },
    ];
    let in_seconds = |seconds: i64| {
        let mut at = prost_types::Timestamp::from(std::time::SystemTime::now());
        at.seconds += seconds;
        Some(at)
    };
    others.push(CreatePlanPromotionRequest {
        start_time: in_seconds(3600),
        ..fixed("Early", 30_000)
    });
    others.push(CreatePlanPromotionRequest {
        start_time: in_seconds(-3600),
        end_time: in_seconds(-60),
        ..fixed("Late", 30_000)
    });
    for request in others {
        make(&business, request).await;
    }
    for (sandbox, names) in [(true, &["Welcome", "Twice"][..]), (false, &["Real"][..])] {
        let shown = offers_of(&budi, &draft, sandbox).await;
        let shown: Vec<&str> = shown.iter().map(|o| o.display_name.as_str()).collect();
        assert_eq!(shown, names);
    }
    // The first order is that of a new customer, two more have the other one, and then there is none left for this account.
    for (number, off) in [20_000, 9_000, 9_000, 0].into_iter().enumerate() {
        let draft = budi.draft(&format!("web-{number}")).await;
        let quote = budi.preview(&draft).await.unwrap();
        assert_eq!(rupiah(quote.subtotal.as_ref()), price - off);
        let placed = budi.place(draft).await.unwrap();
        let active = budi.wait_active(&placed).await;
        assert_eq!(total(active.quote.as_ref().unwrap()), total(&quote));
    }
    // Two first orders at once: one of them is not the first.
    let both = join_all(["a-1", "a-2"].map(|hostname| {
        let ani = &ani;
        async move { ani.place(ani.draft(hostname).await).await.unwrap() }
    }))
    .await;
    let mut paid: Vec<i64> = both
        .iter()
        .map(|p| rupiah(p.order.quote.as_ref().unwrap().subtotal.as_ref()))
        .collect();
    paid.sort_unstable();
    assert_eq!(paid, [price - 20_000, price - 9_000]);
    for placed in &both {
        ani.wait_active(placed).await;
    }
}

#[tokio::test]
async fn sixty_four_orders_at_once_have_a_promotion_no_more_than_its_limits() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let people = join_all((0..4).map(|_| world.reseller())).await;
    join_all(people.iter().map(|actor| actor.deposit(20_000_000))).await;
    let draft = people[0].draft("web-1").await;
    let full = people[0].preview(&draft).await.unwrap();
    let request = CreatePlanPromotionRequest {
        total_limit: 10,
        account_limit: 4,
        ..fixed("Rush", 20_000)
    };
    let made = make(&business, request).await;
    let quote = people[0].preview(&draft).await.unwrap();
    // Half of them take any price, the others the one they were shown.
    let placed = join_all(people.iter().flat_map(|actor| {
        let (draft, quote) = (&draft, &quote);
        (0..16).map(move |i| async move {
            let draft = OrderDraft {
                hostname: format!("rush-{i}"),
                ..draft.clone()
            };
            let expected_total = quote.total.clone().filter(|_| i % 2 == 0);
            let request = PlaceOrderRequest {
                expected_total,
                ..from_wallet(draft)
            };
            let placed = actor.orders().place_order(request).await;
            (
                actor,
                i,
                placed.map(|reply| reply.into_inner().order.unwrap()),
            )
        })
    }))
    .await;
    let mut given = 0;
    for actor in &people {
        let own = placed
            .iter()
            .filter(|(a, ..)| a.account_id == actor.account_id);
        let (mut count, mut plain) = (0, 0);
        for (_, i, outcome) in own {
            match outcome {
                Ok(order) if total(order.quote.as_ref().unwrap()) == total(&quote) => count += 1,
                Ok(order) => {
                    assert_eq!(i % 2, 1, "this one was to cost what was shown");
                    assert_eq!(order.quote.as_ref().unwrap().total, full.total);
                    plain += 1;
                }
                Err(status) => {
                    let error = sewa_sdk::Error::from(status.clone());
                    assert!(error.is("PRICE_CHANGED") && i % 2 == 0, "{error:?}");
                    let now = total(&full).to_string();
                    assert_eq!(error.metadata("total"), Some(now.as_str()));
                }
            }
        }
        assert!(count <= 4, "{count}");
        let spent = count * total(&quote) + plain * total(&full);
        assert_eq!(actor.balance().await.0, 20_000_000 - spent);
        given += count;
    }
    assert_eq!(given, 10);
    assert_eq!(uses(&business, &made.id).await, 10);
    // The catalogue is at most a second behind the counts.
    offered(&people[0], &draft, 0).await;
}

#[tokio::test]
async fn an_order_that_ends_without_a_machine_returns_its_promotion() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let request = CreatePlanPromotionRequest {
        total_limit: 1,
        new_customers_only: true,
        ..fixed("Once", 10_000)
    };
    let once = make(&business, request).await;
    let draft = budi.draft("web-1").await;
    budi.inject(FaultKind::NoCapacity, 1).await;
    let placed = budi.place(draft.clone()).await.unwrap();
    assert_eq!(placed.order.quote.as_ref().unwrap().lines.len(), 3);
    budi.wait_order(&placed.order.id, State::Refunded).await;
    assert_eq!(uses(&business, &once.id).await, 0);
    offered(&budi, &draft, 1).await;
    // It was not paid in time at the gateway, and one that waits for staff was called off.
    let at_gateway = PlaceOrderRequest {
        payment: Payment::Gateway.into(),
        gateway: Some(GatewayPayment {
            method: Method::Sandbox.into(),
            channel: String::new(),
        }),
        ..from_wallet(draft.clone())
    };
    let reply = budi.orders().place_order(at_gateway).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    let asked = rupiah(order.deposit.as_ref().unwrap().amount.as_ref());
    assert_eq!(asked, total(order.quote.as_ref().unwrap()));
    assert_eq!(order.quote.as_ref().unwrap().lines.len(), 3);
    assert_eq!(uses(&business, &once.id).await, 1);
    budi.settle(&order.deposit_id, Outcome::Expired)
        .await
        .unwrap();
    budi.wait_order(&order.id, State::Expired).await;
    assert_eq!(uses(&business, &once.id).await, 0);
    let by_staff = PlaceOrderRequest {
        payment: Payment::StaffApproval.into(),
        ..from_wallet(draft.clone())
    };
    let reply = budi.orders().place_order(by_staff).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    assert_eq!(uses(&business, &once.id).await, 1);
    let request = CancelOrderRequest {
        order_id: order.id,
        reason: String::new(),
    };
    budi.orders().cancel_order(request).await.unwrap();
    assert_eq!(uses(&business, &once.id).await, 0);
    // One that is refused for want of money uses nothing.
    let poor = world.reseller().await;
    let error = refused(poor.place(poor.draft("web-1").await).await);
    assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
    assert_eq!(uses(&business, &once.id).await, 0);
}
