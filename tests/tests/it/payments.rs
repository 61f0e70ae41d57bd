//! Money from payment gateways, against simulators that speak their dialects and misbehave. [B1 B3 W2 R7]
//!
//! Whatever is sent, how often and in which order: at the end customers have been credited exactly what the gateways say was paid.

use futures_util::future::join_all;
use sewa_payment_simulators::{Status, tripay};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::wallet::v1::ListDepositChannelsRequest;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{keyed, once, refused};

use crate::shop::{Shop, bank, open, payments, read, until, until_told, wish};

#[tokio::test]
async fn channels_show_their_fee_and_a_deposit_says_how_to_pay() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| {
        s.fee_on_payer = true;
        s.closed_channels.push("OVO".to_owned());
    });
    let request = ListDepositChannelsRequest {
        amount: Some(Money::idr(100_000)),
        ..Default::default()
    };
    let listed = shop
        .budi
        .wallet()
        .list_deposit_channels(request.clone())
        .await;
    let channels = listed.unwrap().into_inner().channels;
    let shown = |code: &str| channels.iter().find(|c| c.code == code).unwrap();
    assert!(channels.iter().all(|c| c.method() == Method::Tripay));
    assert_eq!(rupiah(shown("BRIVA").fee.as_ref()), 4250);
    let qris = shown("QRIS2");
    assert_eq!(rupiah(qris.fee.as_ref()), 750 + 700);
    assert_eq!((qris.fee_percent.as_str(), qris.available), ("0.70", true));
    assert!(!shown("OVO").available);

    let deposit = open(&shop.budi, Method::Tripay, "BRIVA", 100_000).await;
    assert_eq!(deposit.state(), State::Pending);
    assert_eq!(rupiah(deposit.payable.as_ref()), 104_250);
    assert_eq!(rupiah(deposit.fee.as_ref()), 4250);
    assert!(!deposit.pay_code.is_empty() && deposit.qr_string.is_empty());
    let steps = &deposit.instructions[0].steps;
    assert!(steps[1].contains(&deposit.pay_code), "{steps:?}");
    assert!(
        !steps.iter().any(|step| step.contains(['<', '{'])),
        "{steps:?}"
    );
    let qr = open(&shop.budi, Method::Tripay, "QRIS2", 100_000).await;
    assert!(qr.qr_string.starts_with("000201") && qr.pay_code.is_empty());
    until_told(&shop.budi, &qr.id, EventType::DepositReady, "").await;

    // The payer's fee is not credited.
    shop.tripay
        .move_to(&deposit.gateway_reference, Status::Paid);
    let callback = shop.tripay.callback(&deposit.gateway_reference);
    assert_eq!(
        shop.deliver(&callback).await,
        (200, r#"{"success":true}"#.to_owned())
    );
    assert_eq!(shop.budi.balance().await, (100_000, 0));
    shop.agree().await;

    let refusal = |channel: &str, amount| {
        let request = wish(Method::Tripay, channel, amount);
        let mut wallet = shop.budi.wallet();
        async move { refused(wallet.create_deposit(request).await) }
    };
    assert!(
        refusal("OVO", 50_000)
            .await
            .is("DEPOSIT_CHANNEL_UNAVAILABLE")
    );
    assert!(
        refusal("NOVA", 50_000)
            .await
            .is("DEPOSIT_CHANNEL_UNAVAILABLE")
    );
    let error = refusal("BRIVA", 10_000_001).await;
    assert!(error.is("DEPOSIT_AMOUNT_OUT_OF_RANGE"), "{error:?}");
    assert_eq!(error.metadata("maximum"), Some("10000000"));

    // Play money and money do not mix, and a gateway that was not set up is not there.
    let sandbox = shop.world.reseller().await;
    let listed = sandbox.wallet().list_deposit_channels(request).await;
    let listed = listed.unwrap().into_inner().channels;
    assert!(listed.len() == 1 && listed[0].method() == Method::Sandbox);
    for (actor, method) in [(&sandbox, Method::Tripay), (&shop.budi, Method::Xendit)] {
        let request = wish(method, "BRIVA", 50_000);
        let error = refused(actor.wallet().create_deposit(request).await);
        assert!(error.is("DEPOSIT_METHOD_UNAVAILABLE"), "{error:?}");
    }
}

#[tokio::test]
async fn sixteen_copies_at_once_credit_once() {
    let shop = Shop::open(60_000).await;
    let deposit = shop.deposit(250_000).await;
    shop.tripay
        .move_to(&deposit.gateway_reference, Status::Paid);
    let callback = shop.tripay.callback(&deposit.gateway_reference);
    let answers = join_all((0..16).map(|_| shop.deliver(&callback))).await;
    for answer in answers {
        assert_eq!(answer, (200, r#"{"success":true}"#.to_owned()));
    }
    assert_eq!(shop.budi.balance().await, (250_000, 0));
    let paid = read(&shop.budi, &deposit.id).await;
    assert_eq!(payments(&paid), [(Kind::Exact, 250_000, 250_000)]);
    assert!(paid.state() == State::Paid && paid.paid_time.is_some());
    // A copy of what was dealt with costs the gateway nothing.
    let looks = shop.tripay.looks();
    shop.deliver(&callback).await;
    assert_eq!(shop.tripay.looks(), looks);
    shop.agree().await;
}

#[tokio::test]
async fn what_is_forged_changed_or_untrue_moves_nothing() {
    let shop = Shop::open(60_000).await;
    let deposit = shop.deposit(50_000).await;
    let other = shop.deposit(60_000).await;
    let reference = deposit.gateway_reference.as_str();
    let lie = shop.tripay.callback_saying(reference, Status::Paid, |_| {});
    let mut unsigned = lie.clone();
    unsigned.headers.clear();
    let mut forged = lie.clone();
    forged.headers[1].1 = "0".repeat(64);
    let mut respelled = lie.clone();
    let json: serde_json::Value = serde_json::from_slice(&lie.body).unwrap();
    respelled.body = serde_json::to_vec_pretty(&json).unwrap().into();
    for callback in [&unsigned, &forged, &respelled] {
        assert_eq!(shop.deliver(callback).await.0, 401);
    }
    let nonsense = tripay::signed("[]".into());
    assert_eq!(shop.deliver(&nonsense).await.0, 400);
    // Signed, and not true: the gateway is asked, and says that nobody has paid.
    assert_eq!(shop.deliver(&lie).await.0, 200);
    assert_eq!(shop.budi.balance().await, (0, 0));

    // Signed, about a transaction that is paid, and naming the deposit of another one.
    shop.tripay.move_to(reference, Status::Paid);
    let wrong = shop
        .tripay
        .callback_saying(reference, Status::Paid, |body| {
            body["merchant_ref"] = other.id.clone().into();
        });
    assert_eq!(shop.deliver(&wrong).await.0, 200);
    assert_eq!(shop.budi.balance().await, (0, 0));
    let refusal = EventType::DepositPaymentRefused;
    until_told(&shop.budi, &other.id, refusal, "WRONG_REFERENCE").await;
    // A wrong amount does not matter: what counts is what the gateway says when it is asked.
    let too_much = shop
        .tripay
        .callback_saying(reference, Status::Paid, |body| {
            body["total_amount"] = 5_000_000.into();
        });
    assert_eq!(shop.deliver(&too_much).await.0, 200);
    assert_eq!(shop.budi.balance().await, (50_000, 0));
    // Of a stranger's transaction nothing is known.
    let strange = shop
        .tripay
        .callback_saying(reference, Status::Paid, |body| {
            body["reference"] = "T9999".into();
            body["merchant_ref"] = serde_json::Value::Null;
        });
    assert_eq!(shop.deliver(&strange).await.0, 200);
    shop.agree().await;
    let mut database = shop.world.behind_the_scenes().await;
    let kept: Vec<(String, i64)> = sqlx::query_as(
        "select verdict, count(*) from payment_callbacks group by verdict order by verdict",
    )
    .fetch_all(&mut database)
    .await
    .unwrap();
    let expected = [
        ("CONTRADICTED", 2),
        ("FORGED", 3),
        ("MALFORMED", 1),
        ("REFUSED", 1),
        ("UNCONFIRMED", 1),
    ];
    assert_eq!(kept, expected.map(|(v, n)| (v.to_owned(), n)));
}

#[tokio::test]
async fn callbacks_are_bounded_and_gateways_that_are_not_there_have_none() {
    let shop = Shop::open(60_000).await;
    let http = shop.world.http();
    let long = serde_json::json!("x".repeat(70_000));
    assert_eq!(http.post("/callbacks/tripay", long).await.status, 413);
    let short = serde_json::json!({});
    for nobody in ["xendit", "bank_transfer", "", "tripay/x"] {
        let answer = http
            .post(&format!("/callbacks/{nobody}"), short.clone())
            .await;
        assert_eq!(answer.status, 404, "{nobody}");
    }
    assert_eq!(http.get("/callbacks/tripay").await.status, 405);
}

#[tokio::test]
async fn a_lost_answer_is_found_and_never_asked_for_twice() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| s.lose_create_answers = 1);
    let request = wish(Method::Tripay, "BRIVA", 50_000);
    let reply = shop
        .budi
        .wallet()
        .create_deposit(keyed("d-1", request.clone()))
        .await;
    let first = reply.unwrap().into_inner().deposit.unwrap();
    let found = until(&shop.budi, &first.id, State::Pending).await;
    assert!(!found.instructions.is_empty() && !found.pay_code.is_empty());
    let again = shop
        .budi
        .wallet()
        .create_deposit(keyed("d-1", request))
        .await;
    assert_eq!(again.unwrap().into_inner().deposit.unwrap().id, first.id);
    assert_eq!(
        (shop.tripay.creations(), shop.tripay.payments().len()),
        (1, 1)
    );
    shop.tripay.move_to(&found.gateway_reference, Status::Paid);
    shop.deliver(&shop.tripay.callback(&found.gateway_reference))
        .await;
    assert_eq!(shop.budi.balance().await, (50_000, 0));
    shop.agree().await;
}

#[tokio::test]
async fn money_may_come_before_the_answer_to_the_creation() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| s.lose_create_answers = 1);
    let opened = open(&shop.budi, Method::Tripay, "BRIVA", 50_000).await;
    let reference = shop.tripay.payments()[0].reference.clone();
    shop.tripay.move_to(&reference, Status::Paid);
    shop.deliver(&shop.tripay.callback(&reference)).await;
    let paid = until(&shop.budi, &opened.id, State::Paid).await;
    assert_eq!(payments(&paid), [(Kind::Exact, 50_000, 50_000)]);
    assert_eq!(
        (shop.tripay.creations(), paid.gateway_reference),
        (1, reference)
    );
    shop.agree().await;
}

#[tokio::test]
async fn a_deposit_the_gateway_refuses_fails_with_a_reason() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| s.refuse_creates = 1);
    let failed = open(&shop.budi, Method::Tripay, "BRIVA", 50_000).await;
    assert_eq!(failed.state(), State::Failed);
    assert_eq!(failed.failure_reason, "GATEWAY_REJECTED");
    shop.agree().await;
}

#[tokio::test]
async fn a_gateway_that_fails_is_shown_so_and_another_can_be_chosen() {
    let (_file, bank) = bank();
    let shop = Shop::with(100, bank).await;
    shop.deposit(50_000).await;
    shop.tripay.place().go_down().await;
    let waiting = open(&shop.budi, Method::Tripay, "BRIVA", 70_000).await;
    assert_eq!(waiting.state(), State::Preparing);
    let request = ListDepositChannelsRequest::default();
    eventually("the gateway is shown as failing", || async {
        let listed = shop
            .budi
            .wallet()
            .list_deposit_channels(request.clone())
            .await;
        let channels = listed.unwrap().into_inner().channels;
        let of = |method| channels.iter().filter(move |c| c.method() == method);
        assert!(of(Method::BankTransfer).all(|c| c.available));
        assert!(
            of(Method::Tripay).count() > 1,
            "what was seen before is still listed"
        );
        match of(Method::Tripay).any(|c| c.available) {
            true => Err("available"),
            false => Ok(()),
        }
    })
    .await;
    let refusal = eventually("deposits are refused", || async {
        let request = once(wish(Method::Tripay, "BRIVA", 50_000));
        match shop.budi.wallet().create_deposit(request).await {
            Err(status) => Ok(sewa_sdk::Error::from(status)),
            Ok(_) => Err("accepted"),
        }
    });
    let refusal = refusal.await;
    assert!(refusal.is("PAYMENT_GATEWAY_UNAVAILABLE"), "{refusal:?}");
    let other = open(&shop.budi, Method::BankTransfer, "BCA", 50_000).await;
    assert_eq!(other.state(), State::Pending);
    shop.tripay.place().come_back().await.unwrap();
    let ready = until(&shop.budi, &waiting.id, State::Pending).await;
    shop.tripay.move_to(&ready.gateway_reference, Status::Paid);
    until(&shop.budi, &waiting.id, State::Paid).await;
    let of_it = shop.tripay.payments();
    let of_it = of_it.iter().filter(|p| p.merchant_ref == waiting.id);
    assert_eq!(of_it.count(), 1);
    shop.agree().await;
}

#[tokio::test]
async fn lost_callbacks_are_found_by_looking() {
    let shop = Shop::open(200).await;
    let opened = join_all((0..8).map(|_| shop.deposit(50_000))).await;
    for deposit in &opened {
        shop.tripay
            .move_to(&deposit.gateway_reference, Status::Paid);
    }
    for deposit in &opened {
        until(&shop.budi, &deposit.id, State::Paid).await;
    }
    assert_eq!(shop.budi.balance().await, (400_000, 0));
    shop.agree().await;
    shop.tripay
        .move_to(&opened[0].gateway_reference, Status::Refunded);
    let back = until(&shop.budi, &opened[0].id, State::Reversed).await;
    let expected = [
        (Kind::Exact, 50_000, 50_000),
        (Kind::Reversal, 50_000, -50_000),
    ];
    assert_eq!(payments(&back), expected);
    assert_eq!(shop.budi.balance().await, (350_000, 0));
    shop.agree().await;
}

#[tokio::test]
async fn a_sender_that_gave_up_on_a_server_that_was_gone_is_no_loss() {
    let mut shop = Shop::open(200).await;
    let deposit = shop.deposit(50_000).await;
    let url = format!("{}/callbacks/tripay", shop.world.url());
    shop.world.server().kill();
    shop.tripay
        .move_to(&deposit.gateway_reference, Status::Paid);
    let taken = shop
        .tripay
        .call_back(&deposit.gateway_reference, &url)
        .await;
    assert_eq!(taken, None);
    shop.world.server().start_again().unwrap();
    until(&shop.budi, &deposit.id, State::Paid).await;
    assert_eq!(shop.budi.balance().await, (50_000, 0));
    shop.agree().await;
}

#[tokio::test]
async fn late_short_long_and_double_payments_become_credit() {
    let shop = Shop::open(60_000).await;
    shop.tripay.switch(|s| s.fee_on_payer = true);
    let cases = [
        (Kind::Late, 54_250, 90_000, 50_000),
        (Kind::Underpaid, 40_000, 0, 35_750),
        (Kind::Overpaid, 60_000, 0, 55_750),
    ];
    for (kind, paid, late, amount) in cases {
        let before = shop.budi.balance().await.0;
        let deposit = shop.deposit(50_000).await;
        let reference = deposit.gateway_reference.as_str();
        shop.tripay.move_to(reference, Status::Expired);
        shop.deliver(&shop.tripay.callback(reference)).await;
        assert_eq!(read(&shop.budi, &deposit.id).await.state(), State::Expired);
        shop.tripay.pay(reference, paid, late);
        shop.deliver(&shop.tripay.callback(reference)).await;
        let seen = read(&shop.budi, &deposit.id).await;
        assert_eq!(payments(&seen), [(kind, paid, amount)]);
        assert_eq!(seen.state(), State::Paid);
        assert_eq!(shop.budi.balance().await.0, before + amount);
        let named = kind.as_str_name().trim_start_matches("KIND_");
        until_told(&shop.budi, &deposit.id, EventType::DepositPaid, named).await;
    }
    // Two transactions of one deposit, both paid, and one of them paid back.
    let before = shop.budi.balance().await.0;
    let deposit = shop.deposit(50_000).await;
    let (first, second) = (
        deposit.gateway_reference.clone(),
        shop.tripay.open_again(&deposit.gateway_reference),
    );
    for reference in [&first, &second] {
        shop.tripay.move_to(reference, Status::Paid);
        shop.deliver(&shop.tripay.callback(reference)).await;
    }
    let seen = read(&shop.budi, &deposit.id).await;
    let kinds: Vec<Kind> = seen.payments.iter().map(|p| p.kind()).collect();
    assert_eq!(kinds, [Kind::Exact, Kind::Duplicate]);
    shop.tripay.move_to(&first, Status::Refunded);
    shop.deliver(&shop.tripay.callback(&first)).await;
    let seen = read(&shop.budi, &deposit.id).await;
    assert_eq!(seen.state(), State::Paid, "one of the two still stands");
    assert_eq!(shop.budi.balance().await.0, before + 50_000);
    shop.agree().await;
}

#[tokio::test]
async fn money_that_was_spent_and_is_taken_back_is_the_platforms_loss() {
    let shop = Shop::open(60_000).await;
    let deposit = shop.deposit(50_000).await;
    let reference = deposit.gateway_reference.as_str();
    shop.tripay.move_to(reference, Status::Paid);
    shop.deliver(&shop.tripay.callback(reference)).await;
    let finance = shop.world.staff("finance").await;
    let request = sewa_sdk::sewa::wallet::v1::AdjustWalletRequest {
        account_id: shop.budi.account_id.clone(),
        amount: Some(Money::idr(-30_000)),
        reason: "spent".to_owned(),
    };
    finance.wallet().adjust_wallet(request).await.unwrap();
    shop.tripay.move_to(reference, Status::Refunded);
    shop.deliver(&shop.tripay.callback(reference)).await;
    let seen = read(&shop.budi, &deposit.id).await;
    let expected = [
        (Kind::Exact, 50_000, 50_000),
        (Kind::Reversal, 50_000, -20_000),
    ];
    assert_eq!(payments(&seen), expected);
    assert_eq!(seen.state(), State::Reversed);
    assert_eq!(shop.budi.balance().await, (0, 0));
    shop.agree().await;
}
