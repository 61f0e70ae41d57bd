//! Coupons: the same in preview and order to the rupiah, never more than their limits, and back when the order ends without a machine. [K6 O1 W5]

use futures_util::future::join_all;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::lifecycle::v1::PreviewRenewalRequest;
use sewa_sdk::sewa::order::v1::order::State;
use sewa_sdk::sewa::order::v1::quote::line::Kind as Line;
use sewa_sdk::sewa::order::v1::{
    CancelOrderRequest, GatewayPayment, OrderDraft, Payment, PlaceOrderRequest, Quote,
};
use sewa_sdk::sewa::promotion::v1::create_coupon_request::Value;
use sewa_sdk::sewa::promotion::v1::{
    Coupon, CreateCouponRequest, ListCouponsRequest, PromotionPercent, UpdateCouponRequest,
};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::actor::rupiah;
use sewa_tests::{Actor, NOBODYS_ID, World, refused};

use crate::order::from_wallet;

fn coupon(code: &str, value: Value) -> CreateCouponRequest {
    CreateCouponRequest {
        code: code.to_owned(),
        display_name: format!("Coupon {code}"),
        value: Some(value),
        enabled: true,
        sandbox: true,
        ..Default::default()
    }
}

fn fixed(code: &str, amount: i64) -> CreateCouponRequest {
    coupon(code, Value::Fixed(Money::idr(amount)))
}

async fn make(staff: &Actor, request: CreateCouponRequest) -> Coupon {
    let reply = staff.promotions().create_coupon(request).await;
    reply.expect("making").into_inner().coupon.unwrap()
}

async fn uses(staff: &Actor, code: &str) -> i32 {
    let request = ListCouponsRequest::default();
    let reply = staff.promotions().list_coupons(request).await.unwrap();
    let listed = reply.into_inner().coupons;
    listed.iter().find(|c| c.code == code).unwrap().uses
}

async fn with(actor: &Actor, hostname: &str, code: &str) -> OrderDraft {
    OrderDraft {
        coupon_code: code.to_owned(),
        ..actor.draft(hostname).await
    }
}

pub(crate) fn total(quote: &Quote) -> i64 {
    rupiah(quote.total.as_ref())
}

#[tokio::test]
async fn a_preview_with_a_coupon_and_the_order_agree_to_the_rupiah() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let percent = |basis_points, cap: Option<i64>| {
        let cap = cap.map(Money::idr);
        Value::Percent(PromotionPercent { basis_points, cap })
    };
    let cases = [
        ("ODD", percent(3333, None)),
        ("CAPPED", percent(5000, Some(10_001))),
        ("FIXED", Value::Fixed(Money::idr(12_345))),
        ("ALL", percent(10_000, None)),
    ];
    let full = budi.preview(&budi.draft("web-1").await).await.unwrap();
    let price = rupiah(full.subtotal.as_ref());
    for (code, value) in cases {
        make(&business, coupon(code, value)).await;
        let draft = with(&budi, "web-1", code).await;
        let quote = budi.preview(&draft).await.unwrap();
        let kinds: Vec<Line> = quote.lines.iter().map(|l| l.kind()).collect();
        assert_eq!(kinds, [Line::Base, Line::Coupon, Line::Tax]);
        let amounts = quote.lines.iter().map(|l| rupiah(l.amount.as_ref()));
        let amounts: Vec<i64> = amounts.collect();
        assert_eq!(amounts[0], price);
        let discount = match code {
            "ODD" => price * 3333 / 10_000,
            "CAPPED" => 10_001,
            "FIXED" => 12_345,
            _ => price - 1,
        };
        assert_eq!(amounts[1], -discount, "{code}");
        assert_eq!(rupiah(quote.subtotal.as_ref()), price - discount);
        assert_eq!(amounts.iter().sum::<i64>(), total(&quote));
        let before = budi.balance().await.0;
        let placed = budi.place(draft.clone()).await.unwrap();
        let shown = placed.order.quote.clone().unwrap();
        let quoted = Quote {
            wallet: None,
            ..quote
        };
        assert_eq!(shown, quoted);
        assert_eq!(placed.order.draft, Some(draft));
        let active = budi.wait_active(&placed).await;
        assert_eq!(active.quote, Some(shown));
        assert_eq!(budi.balance().await, (before - total(&quoted), 0));
        // The next period costs the full price.
        let request = PreviewRenewalRequest {
            instance_id: active.instance_id,
        };
        let renewal = budi.lifecycle().preview_renewal(request).await.unwrap();
        let renewal = renewal.into_inner().renewal.unwrap();
        assert_eq!(rupiah(renewal.total.as_ref()), total(&full));
        assert_eq!(uses(&business, code).await, 1);
    }
}

#[tokio::test]
async fn an_order_that_ends_without_a_machine_returns_its_coupon() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let once = CreateCouponRequest {
        total_limit: 1,
        ..fixed("ONCE", 10_000)
    };
    make(&business, once).await;
    // It failed.
    budi.inject(FaultKind::NoCapacity, 1).await;
    let placed = budi
        .place(with(&budi, "web-1", "ONCE").await)
        .await
        .unwrap();
    budi.wait_order(&placed.order.id, State::Refunded).await;
    assert_eq!(uses(&business, "ONCE").await, 0);
    // It was not paid in time at the gateway, and one that waits for staff was called off.
    let at_gateway = PlaceOrderRequest {
        payment: Payment::Gateway.into(),
        gateway: Some(GatewayPayment {
            method: Method::Sandbox.into(),
            channel: String::new(),
        }),
        ..from_wallet(with(&budi, "web-1", "ONCE").await)
    };
    let reply = budi.orders().place_order(at_gateway.clone()).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    let asked = rupiah(order.deposit.as_ref().unwrap().amount.as_ref());
    assert_eq!(asked, total(order.quote.as_ref().unwrap()));
    assert_eq!(uses(&business, "ONCE").await, 1);
    let error = refused(budi.orders().place_order(at_gateway).await);
    assert_eq!(error.metadata("why"), Some("USED_UP"));
    budi.settle(&order.deposit_id, Outcome::Expired)
        .await
        .unwrap();
    budi.wait_order(&order.id, State::Expired).await;
    assert_eq!(uses(&business, "ONCE").await, 0);
    let by_staff = PlaceOrderRequest {
        payment: Payment::StaffApproval.into(),
        ..from_wallet(with(&budi, "web-1", "ONCE").await)
    };
    let reply = budi.orders().place_order(by_staff).await.unwrap();
    let order = reply.into_inner().order.unwrap();
    assert_eq!(uses(&business, "ONCE").await, 1);
    let request = CancelOrderRequest {
        order_id: order.id,
        reason: String::new(),
    };
    budi.orders().cancel_order(request).await.unwrap();
    assert_eq!(uses(&business, "ONCE").await, 0);
    // One that is refused for want of money uses nothing.
    let poor = world.reseller().await;
    let error = refused(poor.place(with(&poor, "web-1", "ONCE").await).await);
    assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
    assert_eq!(uses(&business, "ONCE").await, 0);
    let placed = budi
        .place(with(&budi, "web-1", "ONCE").await)
        .await
        .unwrap();
    budi.wait_active(&placed).await;
    assert_eq!(uses(&business, "ONCE").await, 1);
}

#[tokio::test]
async fn sixty_four_orders_at_once_use_a_coupon_no_more_than_its_limits() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let request = CreateCouponRequest {
        total_limit: 10,
        account_limit: 4,
        ..fixed("RUSH", 20_000)
    };
    make(&business, request).await;
    let people = join_all((0..4).map(|_| world.reseller())).await;
    join_all(people.iter().map(|actor| actor.deposit(10_000_000))).await;
    let draft = with(&people[0], "web-1", "RUSH").await;
    let quote = people[0].preview(&draft).await.unwrap();
    let placed = join_all(people.iter().flat_map(|actor| {
        let draft = &draft;
        (0..16).map(move |i| async move {
            let draft = OrderDraft {
                hostname: format!("rush-{i}"),
                ..draft.clone()
            };
            (actor, actor.place(draft).await)
        })
    }))
    .await;
    let mut sold = 0;
    for actor in &people {
        let own = placed
            .iter()
            .filter(|(a, _)| a.account_id == actor.account_id);
        let mut count = 0;
        for (_, outcome) in own {
            match outcome {
                Ok(placed) => {
                    let paid = placed.order.quote.as_ref().unwrap();
                    assert_eq!(total(paid), total(&quote));
                    count += 1;
                }
                Err(error) => {
                    assert!(error.is("INVALID_COUPON"), "{error:?}");
                    let why = error.metadata("why");
                    assert!(
                        matches!(why, Some("USED_UP" | "USED_BY_ACCOUNT")),
                        "{why:?}"
                    );
                }
            }
        }
        assert!(count <= 4, "{count}");
        let (available, held) = actor.balance().await;
        // What runs already is captured, the rest is held.
        assert_eq!(available, 10_000_000 - count * total(&quote));
        assert!(held <= count * total(&quote));
        sold += count;
    }
    assert_eq!(sold, 10);
    assert_eq!(uses(&business, "RUSH").await, 10);
}

#[tokio::test]
async fn a_coupon_that_does_not_fit_is_refused_with_its_reason() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let in_seconds = |seconds: i64| {
        let mut at = prost_types::Timestamp::from(std::time::SystemTime::now());
        at.seconds += seconds;
        Some(at)
    };
    let cases = [
        (
            "UNKNOWN",
            CreateCouponRequest {
                enabled: false,
                ..fixed("OFF", 5)
            },
        ),
        (
            "UNKNOWN",
            CreateCouponRequest {
                sandbox: false,
                ..fixed("REAL", 5)
            },
        ),
        (
            "NOT_STARTED",
            CreateCouponRequest {
                start_time: in_seconds(3600),
                ..fixed("EARLY", 5)
            },
        ),
        (
            "ENDED",
            CreateCouponRequest {
                start_time: in_seconds(-3600),
                end_time: in_seconds(-60),
                ..fixed("LATE", 5)
            },
        ),
        (
            "OTHER_PLAN",
            CreateCouponRequest {
                plan_ids: vec![NOBODYS_ID.to_owned()],
                ..fixed("PLAN", 5)
            },
        ),
        (
            "OTHER_PERIOD",
            CreateCouponRequest {
                periods: vec![BillingPeriod::Year.into(), BillingPeriod::Day.into()],
                ..fixed("PERIOD", 5)
            },
        ),
        (
            "BELOW_MINIMUM",
            CreateCouponRequest {
                minimum: Some(Money::idr(900_000_000)),
                ..fixed("MINIMUM", 5)
            },
        ),
    ];
    for (why, request) in cases {
        let code = request.code.clone();
        make(&business, request).await;
        let draft = with(&budi, "web-1", &code).await;
        for error in [
            refused(budi.preview(&draft).await),
            refused(budi.place(draft.clone()).await),
        ] {
            assert!(error.is("INVALID_COUPON"), "{error:?}");
            assert_eq!(error.metadata("why"), Some(why), "{code}");
            assert_eq!(error.metadata("coupon_code"), Some(code.as_str()));
        }
    }
    let nobody = refused(budi.place(with(&budi, "web-1", "NO-SUCH").await).await);
    assert_eq!(nobody.metadata("why"), Some("UNKNOWN"));
    let error = refused(budi.preview(&with(&budi, "web-1", "lower").await).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    assert_eq!(budi.balance().await, (1_000_000, 0));
}

#[tokio::test]
async fn staff_make_switch_and_change_coupons() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let made = make(&business, fixed("RAYA", 5_000)).await;
    // Those of sandbox accounts and of the others do not get into each other's way.
    let real = CreateCouponRequest {
        sandbox: false,
        ..fixed("RAYA", 7)
    };
    make(&business, real).await;
    let again = business.promotions().create_coupon(fixed("RAYA", 1)).await;
    assert!(refused(again).is("COUPON_CODE_TAKEN"));
    let update = async |new: Coupon, path: &str| {
        let request = UpdateCouponRequest {
            coupon: Some(new),
            update_mask: Some(prost_types::FieldMask {
                paths: vec![path.to_owned()],
            }),
        };
        business.promotions().update_coupon(request).await
    };
    let budi = world.reseller().await;
    let draft = with(&budi, "web-1", "RAYA").await;
    budi.preview(&draft).await.unwrap();
    let new = Coupon {
        id: made.id.clone(),
        ..Default::default()
    };
    let changed = update(new.clone(), "enabled").await.unwrap();
    let changed = changed.into_inner().coupon.unwrap();
    let expected = Coupon {
        enabled: false,
        ..made.clone()
    };
    assert_eq!(changed, expected);
    assert!(refused(budi.preview(&draft).await).is("INVALID_COUPON"));
    assert!(refused(update(new.clone(), "code").await).is("FIELD_NOT_WRITABLE"));
    assert!(refused(update(new.clone(), "display_name").await).is("INVALID_REQUEST"));
    let nothing = Coupon {
        id: NOBODYS_ID.to_owned(),
        ..new
    };
    assert!(refused(update(nothing, "enabled").await).is("COUPON_NOT_FOUND"));
    let backwards = CreateCouponRequest {
        end_time: made.start_time,
        start_time: made.start_time,
        ..fixed("BACK", 1)
    };
    let error = refused(business.promotions().create_coupon(backwards).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
}
