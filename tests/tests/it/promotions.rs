//! What is given with deposits: shown before, posted with them, never more than its limits, and taken back with the payment. [W2 W4 W5]

use futures_util::future::join_all;
use sewa_payment_simulators::Status;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::identity::v1::{AccountKind, RegisterRequest};
use sewa_sdk::sewa::order::v1::CancelOrderRequest;
use sewa_sdk::sewa::promotion::v1::create_promotion_request::Value;
use sewa_sdk::sewa::promotion::v1::promotion::Kind;
use sewa_sdk::sewa::promotion::v1::{
    CreatePromotionRequest, GetPromotionRequest, GetReferralRequest, ListPromotionsRequest,
    Promotion, PromotionPercent, Referral, UpdatePromotionRequest,
};
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::transaction::Kind as TransactionKind;
use sewa_sdk::sewa::wallet::v1::{
    DepositBonus, GetWalletRequest, PreviewDepositRequest, Wallet, deposit,
};
use sewa_tests::actor::rupiah;
use sewa_tests::world::PASSWORD;
use sewa_tests::{Actor, NOBODYS_ID, World, refused};

use crate::shop::{Shop, open, read};

fn fixed(kind: Kind, amount: i64) -> CreatePromotionRequest {
    CreatePromotionRequest {
        kind: kind.into(),
        display_name: format!("{} {amount}", kind.as_str_name()),
        value: Some(Value::Fixed(Money::idr(amount))),
        enabled: true,
        sandbox: true,
        ..Default::default()
    }
}

fn percent(kind: Kind, basis_points: i32, cap: i64) -> CreatePromotionRequest {
    let cap = (cap > 0).then(|| Money::idr(cap));
    CreatePromotionRequest {
        value: Some(Value::Percent(PromotionPercent { basis_points, cap })),
        ..fixed(kind, 1)
    }
}

async fn make(staff: &Actor, request: CreatePromotionRequest) -> Promotion {
    let reply = staff.promotions().create_promotion(request).await;
    reply.expect("making").into_inner().promotion.unwrap()
}

async fn get(staff: &Actor, id: &str) -> Promotion {
    let request = GetPromotionRequest {
        promotion_id: id.to_owned(),
    };
    let reply = staff.promotions().get_promotion(request).await;
    reply.expect("reading").into_inner().promotion.unwrap()
}

async fn wallet(actor: &Actor) -> Wallet {
    let reply = actor.wallet().get_wallet(GetWalletRequest::default()).await;
    reply.expect("reading").into_inner().wallet.unwrap()
}

/// Available, promo and withdrawable balance.
async fn money(actor: &Actor) -> (i64, i64, i64) {
    let wallet = wallet(actor).await;
    (
        rupiah(wallet.available.as_ref()),
        rupiah(wallet.promo.as_ref()),
        rupiah(wallet.withdrawable.as_ref()),
    )
}

async fn expected(actor: &Actor, amount: i64) -> Vec<(Kind, i64)> {
    let request = PreviewDepositRequest {
        amount: Some(Money::idr(amount)),
    };
    let reply = actor.wallet().preview_deposit(request).await.unwrap();
    let preview = reply.into_inner();
    assert_eq!(rupiah(preview.amount.as_ref()), amount);
    bonuses(&preview.bonuses)
}

fn bonuses(shown: &[DepositBonus]) -> Vec<(Kind, i64)> {
    let shown = shown.iter();
    shown
        .map(|b| (b.kind(), rupiah(b.amount.as_ref())))
        .collect()
}

async fn referral(actor: &Actor) -> Referral {
    let request = GetReferralRequest::default();
    let reply = actor.promotions().get_referral(request).await;
    reply.expect("reading").into_inner().referral.unwrap()
}

#[tokio::test]
async fn what_is_shown_before_paying_is_posted_with_the_deposit() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    assert_eq!(expected(&budi, 100_000).await, []);
    let capped = CreatePromotionRequest {
        minimum: Some(Money::idr(100_000)),
        ..percent(Kind::DepositBonus, 1250, 50_000)
    };
    let capped = make(&business, capped).await;
    make(&business, percent(Kind::DepositCashback, 100, 0)).await;
    make(&business, fixed(Kind::NewUserBonus, 7_000)).await;
    // Nothing for real accounts, nothing that is switched off, begins tomorrow or is over.
    let real = CreatePromotionRequest {
        sandbox: false,
        ..fixed(Kind::DepositBonus, 900_000)
    };
    let off = CreatePromotionRequest {
        enabled: false,
        ..fixed(Kind::DepositBonus, 900_000)
    };
    let in_seconds = |seconds: i64| {
        let now = std::time::SystemTime::now();
        let mut at = prost_types::Timestamp::from(now);
        at.seconds += seconds;
        Some(at)
    };
    let tomorrow = CreatePromotionRequest {
        start_time: in_seconds(86_400),
        ..fixed(Kind::DepositBonus, 900_000)
    };
    let over = CreatePromotionRequest {
        start_time: in_seconds(-86_400),
        end_time: in_seconds(-60),
        ..fixed(Kind::DepositBonus, 900_000)
    };
    for hidden in [real, off, tomorrow, over] {
        make(&business, hidden).await;
    }

    let small = [(Kind::DepositCashback, 999), (Kind::NewUserBonus, 7_000)];
    assert_eq!(expected(&budi, 99_999).await, small);
    let shown = expected(&budi, 1_000_000).await;
    let three = [
        (Kind::DepositBonus, 50_000),
        (Kind::DepositCashback, 10_000),
        (Kind::NewUserBonus, 7_000),
    ];
    assert_eq!(shown, three);
    let deposit = budi.deposit(1_000_000).await;
    assert_eq!(money(&budi).await, (1_010_000, 57_000, 0));
    assert_eq!(bonuses(&read(&budi, &deposit.id).await.bonuses), three);
    let transactions = budi.transactions().await;
    let kinds: Vec<_> = transactions.iter().map(|t| t.kind()).collect();
    let promotion = TransactionKind::Promotion;
    assert_eq!(
        kinds,
        [promotion, promotion, promotion, TransactionKind::Deposit]
    );
    assert!(transactions.iter().all(|t| t.subject_id == deposit.id));
    let is_gift = |e: &sewa_sdk::sewa::event::v1::Event| e.r#type() == EventType::PromotionGiven;
    assert_eq!(budi.logged(3, is_gift).await.len(), 3);
    // Settled again it brings nothing more, and the next one is no first one.
    budi.settle(&deposit.id, Outcome::Paid).await.unwrap();
    assert_eq!(money(&budi).await, (1_010_000, 57_000, 0));
    let second = [(Kind::DepositBonus, 25_000), (Kind::DepositCashback, 2_000)];
    assert_eq!(expected(&budi, 200_000).await, second);
    budi.deposit(200_000).await;
    assert_eq!(money(&budi).await, (1_212_000, 82_000, 0));
    let seen = get(&business, &capped.id).await;
    assert_eq!((seen.uses, seen.accounts), (2, 1));
    assert_eq!(rupiah(seen.given.as_ref()), 75_000);
    assert_eq!(rupiah(seen.taken_back.as_ref()), 0);
}

#[tokio::test]
async fn promo_credit_is_spent_first_and_what_was_earned_never() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let budi = world.reseller().await;
    make(&business, fixed(Kind::DepositBonus, 30_000)).await;
    make(&business, fixed(Kind::ReferralBonus, 500_000)).await;
    let code = referral(&budi).await.code;
    let tono = world.referred(true, &code).await;
    tono.deposit(10_000).await;
    assert_eq!(money(&budi).await, (0, 0, 500_000));
    let error = refused(budi.place(budi.draft("web-1").await).await);
    assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
    assert_eq!(error.metadata("available"), Some("0"));

    budi.deposit(100_000).await;
    let draft = budi.draft("web-1").await;
    let quote = budi.preview(&draft).await.unwrap();
    let total = rupiah(quote.total.as_ref());
    let share = quote.wallet.unwrap();
    let shown = [&share.promo, &share.available, &share.missing];
    assert_eq!(
        shown.map(|m| rupiah(m.as_ref())),
        [30_000, total - 30_000, 0]
    );
    let placed = budi.place(draft.clone()).await.unwrap();
    let hold = &budi.transactions().await[0];
    assert_eq!(rupiah(hold.promo_change.as_ref()), -30_000);
    assert_eq!(rupiah(hold.available_change.as_ref()), 30_000 - total);
    // Called off or failed, each goes back to where it came from; or the machine runs already, and then nothing does.
    let request = CancelOrderRequest {
        order_id: placed.order.id.clone(),
        reason: String::new(),
    };
    if budi.orders().cancel_order(request).await.is_ok() {
        assert_eq!(money(&budi).await, (100_000, 30_000, 500_000));
        let placed = budi.place(draft).await.unwrap();
        budi.wait_active(&placed).await;
    } else {
        budi.wait_active(&placed).await;
    }
    let left = 130_000 - total;
    assert_eq!(money(&budi).await, (left, 0, 500_000));
    let expensive = budi.preview(&budi.draft("web-2").await).await.unwrap();
    let missing = expensive.wallet.unwrap().missing;
    assert_eq!(rupiah(missing.as_ref()), total - left);
}

#[tokio::test]
async fn sixty_four_deposits_at_once_get_no_more_than_the_limits() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let limited = CreatePromotionRequest {
        total_limit: 20,
        account_limit: 3,
        ..fixed(Kind::DepositBonus, 1_000)
    };
    let limited = make(&business, limited).await;
    let new_user = make(&business, fixed(Kind::NewUserBonus, 500)).await;
    let referral_bonus = CreatePromotionRequest {
        account_limit: 5,
        ..fixed(Kind::ReferralBonus, 100)
    };
    let referral_bonus = make(&business, referral_bonus).await;
    let sari = world.reseller().await;
    let code = referral(&sari).await.code;
    let people = join_all((0..8).map(|_| world.referred(true, &code))).await;
    let opened = join_all(people.iter().flat_map(|actor| {
        (0..8).map(move |_| async move { (actor, actor.open_deposit(10_000).await) })
    }))
    .await;
    join_all(opened.iter().map(|(actor, deposit)| async move {
        actor.settle(&deposit.id, Outcome::Paid).await.unwrap();
    }))
    .await;
    let mut promo = 0;
    for actor in &people {
        let (available, given, _) = money(actor).await;
        assert_eq!(available, 80_000);
        // The bonus of the first deposit once, and three of the others at most.
        assert!((500..=3_500).contains(&given), "{given}");
        assert_eq!(given % 1_000, 500);
        promo += given;
    }
    assert_eq!(promo, 20 * 1_000 + 8 * 500);
    assert_eq!(money(&sari).await, (0, 0, 500));
    assert_eq!(get(&business, &limited.id).await.uses, 20);
    assert_eq!(get(&business, &new_user.id).await.uses, 8);
    let seen = get(&business, &referral_bonus.id).await;
    assert_eq!((seen.uses, seen.accounts), (5, 1));
    let brought = referral(&sari).await;
    assert_eq!(
        (brought.accounts, rupiah(brought.earned.as_ref())),
        (8, 500)
    );
}

#[tokio::test]
async fn what_was_given_is_taken_back_with_the_payment() {
    let shop = Shop::open(60_000).await;
    let business = shop.world.staff("business").await;
    let real = |request| CreatePromotionRequest {
        sandbox: false,
        ..request
    };
    let bonus = make(&business, real(fixed(Kind::DepositBonus, 140_000))).await;
    make(&business, real(percent(Kind::DepositCashback, 1000, 0))).await;
    make(&business, real(fixed(Kind::ReferralBonus, 9_000))).await;
    let code = referral(&shop.budi).await.code;
    let tono = shop.world.referred(false, &code).await;
    let deposit = open(&tono, deposit::Method::Tripay, "BRIVA", 200_000).await;
    let pay = async |status| {
        let reference = &deposit.gateway_reference;
        shop.tripay.move_to(reference, status);
        let callback = shop.tripay.callback(reference);
        join_all((0..4).map(|_| shop.deliver(&callback))).await;
    };
    pay(Status::Paid).await;
    assert_eq!(money(&tono).await, (220_000, 140_000, 0));
    assert_eq!(money(&shop.budi).await, (0, 0, 9_000));
    // Some of the promo credit is spent.
    let placed = tono.buy("web-1").await;
    tono.wait_active(&placed).await;
    let total = rupiah(placed.order.quote.as_ref().unwrap().total.as_ref());
    assert_eq!(money(&tono).await, (220_000, 140_000 - total, 0));
    pay(Status::Refunded).await;
    // The deposit takes 200 000, the bonus what is left of it and then of the cash.
    assert_eq!(money(&tono).await, (0, 0, 0));
    assert_eq!(money(&shop.budi).await, (0, 0, 0));
    let seen = read(&tono, &deposit.id).await;
    let taken: i64 = seen
        .bonuses
        .iter()
        .map(|b| rupiah(b.taken_back.as_ref()))
        .sum();
    assert_eq!(taken, 160_000 - total);
    let is_back =
        |e: &sewa_sdk::sewa::event::v1::Event| e.r#type() == EventType::PromotionTakenBack;
    assert_eq!(tono.logged(2, is_back).await.len(), 2);
    assert_eq!(shop.budi.logged(1, is_back).await.len(), 1);
    assert_eq!(rupiah(referral(&shop.budi).await.earned.as_ref()), 0);
    let seen = get(&business, &bonus.id).await;
    assert_eq!(rupiah(seen.given.as_ref()), 140_000);
    assert_eq!(rupiah(seen.taken_back.as_ref()), 160_000 - total);
    // A deposit that comes late gets nothing.
    let late = open(&tono, deposit::Method::Tripay, "BRIVA", 200_000).await;
    shop.tripay.pay(&late.gateway_reference, 200_000, 90_000);
    let callback = shop.tripay.callback(&late.gateway_reference);
    shop.deliver(&callback).await;
    assert_eq!(money(&tono).await, (200_000, 0, 0));
    shop.agree().await;
}

#[tokio::test]
async fn staff_make_switch_and_change_promotions() {
    let world = World::new().await;
    let business = world.staff("business").await;
    let made = make(&business, percent(Kind::DepositBonus, 1000, 5_000)).await;
    let other = make(&business, fixed(Kind::DepositCashback, 5)).await;
    let listed = business
        .promotions()
        .list_promotions(ListPromotionsRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().promotions, [other, made.clone()]);
    let update = async |new: Promotion, paths: &[&str]| {
        let request = UpdatePromotionRequest {
            promotion: Some(new),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|p| (*p).to_owned()).collect(),
            }),
        };
        business.promotions().update_promotion(request).await
    };
    let budi = world.reseller().await;
    assert_eq!(expected(&budi, 10_000).await.len(), 2);
    let new = Promotion {
        id: made.id.clone(),
        display_name: "Raya".to_owned(),
        total_limit: 4,
        ..Default::default()
    };
    let changed = update(new.clone(), &["display_name", "enabled", "total_limit"]).await;
    let changed = changed.unwrap().into_inner().promotion.unwrap();
    assert_eq!(changed.display_name, "Raya");
    assert_eq!((changed.enabled, changed.total_limit), (false, 4));
    assert_eq!(changed, get(&business, &made.id).await);
    assert_eq!(expected(&budi, 10_000).await.len(), 1);
    let error = refused(update(new.clone(), &["kind"]).await);
    assert!(error.is("FIELD_NOT_WRITABLE"), "{error:?}");
    let nameless = Promotion {
        display_name: String::new(),
        ..new.clone()
    };
    let error = refused(update(nameless, &["display_name"]).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    let backwards = Promotion {
        end_time: made.start_time,
        ..new.clone()
    };
    let error = refused(update(backwards, &["end_time"]).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    let nothing = Promotion {
        id: NOBODYS_ID.to_owned(),
        ..new
    };
    let error = refused(update(nothing, &["enabled"]).await);
    assert!(error.is("PROMOTION_NOT_FOUND"), "{error:?}");
    let missing = GetPromotionRequest {
        promotion_id: NOBODYS_ID.to_owned(),
    };
    let error = refused(business.promotions().get_promotion(missing).await);
    assert!(error.is("PROMOTION_NOT_FOUND"), "{error:?}");
    let without = CreatePromotionRequest {
        value: None,
        ..fixed(Kind::DepositBonus, 1)
    };
    let error = refused(business.promotions().create_promotion(without).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    let support = world.staff("support").await;
    let request = GetReferralRequest {
        account_id: NOBODYS_ID.to_owned(),
    };
    let error = refused(support.promotions().get_referral(request).await);
    assert!(error.is("REFERRAL_NOT_FOUND"), "{error:?}");
}

#[tokio::test]
async fn only_a_code_of_the_same_kind_of_account_brings_anybody() {
    let world = World::new().await;
    let (sandbox, real) = (world.reseller().await, world.real_reseller().await);
    let register = async |code: &str, sandbox: bool| {
        let request = RegisterRequest {
            email: world.new_email("brought"),
            password: PASSWORD.to_owned(),
            name: "Tono".to_owned(),
            account_name: "Toko Tono".to_owned(),
            account_kind: AccountKind::Reseller.into(),
            sandbox,
            referral_code: code.to_owned(),
        };
        let nobody = world.nobody();
        let mut identity = nobody.service(
            sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient::new,
        );
        identity.register(request).await
    };
    let (play, money) = (referral(&sandbox).await.code, referral(&real).await.code);
    for (code, is_sandbox) in [("000000000000", true), (&play, false), (&money, true)] {
        let error = refused(register(code, is_sandbox).await);
        assert!(error.is("REFERRAL_CODE_UNKNOWN"), "{error:?}");
    }
    let error = refused(register("nonsense", true).await);
    assert!(error.is("INVALID_REQUEST"), "{error:?}");
    register(&money, false).await.unwrap();
    assert_eq!(referral(&real).await.accounts, 1);
    assert_eq!(referral(&sandbox).await.accounts, 0);
}
