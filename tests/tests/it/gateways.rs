//! The other gateways behind the same interface: Midtrans, Xendit, and transfers that staff confirm. [B2]

use sewa_payment_simulators::midtrans::{self, Midtrans};
use sewa_payment_simulators::xendit::{self, Xendit};
use sewa_payment_simulators::{Callback, Status};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;
use sewa_sdk::sewa::wallet::v1::{ConfirmDepositRequest, Deposit};
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, keyed, refused};

use crate::shop::{bank, credited, deliver, open, payments, read, until};

async fn with_midtrans(poll_ms: u32) -> (World, Midtrans) {
    let midtrans = Midtrans::open().await.unwrap();
    let settings = Settings::default()
        .with("PAYMENTS__POLL_MS", poll_ms)
        .with("PAYMENTS__PUBLIC_URL", "http://127.0.0.1:1/")
        .with("PAYMENTS__MIDTRANS__BASE_URL", midtrans.core_url())
        .with("PAYMENTS__MIDTRANS__SNAP_URL", midtrans.snap_url())
        .with("PAYMENTS__MIDTRANS__SERVER_KEY", midtrans::SERVER_KEY)
        .with("PAYMENTS__MIDTRANS__MERCHANT_ID", midtrans::MERCHANT);
    (World::with(settings).await, midtrans)
}

#[tokio::test]
async fn midtrans_is_believed_only_when_it_is_asked() {
    let (world, midtrans) = with_midtrans(60_000).await;
    let budi = world.real_reseller().await;
    let deposit = open(&budi, Method::Midtrans, "SNAP", 50_000).await;
    assert_eq!(deposit.state(), State::Pending);
    assert!(deposit.pay_url.starts_with("https://"), "{deposit:?}");
    let url = &midtrans.payments()[0].callback_url;
    assert_eq!(url, "http://127.0.0.1:1/callbacks/midtrans");
    let said = |change: &dyn Fn(&mut serde_json::Value)| {
        midtrans.callback_saying(&deposit.id, Status::Paid, |body| change(body))
    };
    // The signature does not cover the status, so anybody who saw one can say anything with it.
    let lie = said(&|_| {});
    assert_eq!(deliver(&world, "midtrans", &lie).await.0, 200);
    let forged = said(&|body| body["gross_amount"] = "999999.00".into());
    assert_eq!(deliver(&world, "midtrans", &forged).await.0, 401);
    let other = said(&|body| body["merchant_id"] = "G9".into());
    assert_eq!(deliver(&world, "midtrans", &other).await.0, 200);
    assert_eq!(budi.balance().await, (0, 0));
    midtrans.move_to(&deposit.id, Status::Paid);
    for _ in 0..3 {
        assert_eq!(deliver(&world, "midtrans", &lie).await.0, 200);
    }
    let paid = read(&budi, &deposit.id).await;
    assert_eq!(payments(&paid), [(Kind::Exact, 50_000, 50_000)]);
    // Settled, and denied after all a minute later.
    midtrans.move_to(&deposit.id, Status::Refunded);
    let back = midtrans.callback_saying(&deposit.id, Status::Refunded, |_| {});
    assert_eq!(deliver(&world, "midtrans", &back).await.0, 200);
    assert_eq!(read(&budi, &deposit.id).await.state(), State::Reversed);
    assert_eq!(budi.balance().await, (0, 0));
    assert_eq!(credited(&world).await, midtrans.owed());
}

#[tokio::test]
async fn midtrans_is_looked_at_when_it_does_not_call() {
    let (world, midtrans) = with_midtrans(200).await;
    let budi = world.real_reseller().await;
    let deposit = open(&budi, Method::Midtrans, "SNAP", 50_000).await;
    midtrans.move_to(&deposit.id, Status::Paid);
    until(&budi, &deposit.id, State::Paid).await;
    assert_eq!(credited(&world).await, midtrans.owed());
}

#[tokio::test]
async fn xendit_pays_what_was_paid_and_is_found_after_a_lost_answer() {
    let xendit = Xendit::open().await.unwrap();
    let settings = Settings::default()
        .with("PAYMENTS__POLL_MS", 60_000)
        .with("PAYMENTS__XENDIT__BASE_URL", xendit.base_url())
        .with("PAYMENTS__XENDIT__SECRET_KEY", xendit::SECRET_KEY)
        .with("PAYMENTS__XENDIT__CALLBACK_TOKEN", xendit::CALLBACK_TOKEN)
        .with("PAYMENTS__XENDIT__USER_ID", xendit::USER);
    let world = World::with(settings).await;
    let budi = world.real_reseller().await;
    xendit.lose_create_answers(1);
    let opened = open(&budi, Method::Xendit, "INVOICE", 50_000).await;
    let deposit = until(&budi, &opened.id, State::Pending).await;
    assert_eq!(xendit.payments().len(), 1);
    assert!(deposit.pay_url.starts_with("https://"));
    let id = deposit.gateway_reference.as_str();
    let lie = xendit.callback_saying(id, Status::Paid, |_| {});
    assert_eq!(deliver(&world, "xendit", &lie).await.0, 200);
    let mut guessed = lie.clone();
    guessed.headers[0].1.push('x');
    assert_eq!(deliver(&world, "xendit", &guessed).await.0, 401);
    let unsigned = Callback {
        headers: Vec::new(),
        ..lie.clone()
    };
    assert_eq!(deliver(&world, "xendit", &unsigned).await.0, 401);
    assert_eq!(budi.balance().await, (0, 0));
    xendit.pay(id, 49_000);
    let paid = xendit.callback_saying(id, Status::Paid, |_| {});
    for _ in 0..3 {
        assert_eq!(deliver(&world, "xendit", &paid).await.0, 200);
    }
    let seen = read(&budi, &deposit.id).await;
    assert_eq!(payments(&seen), [(Kind::Underpaid, 49_000, 49_000)]);
    assert_eq!(credited(&world).await, xendit.owed());
}

fn saw(deposit: &Deposit, received: i64, bank_reference: &str) -> ConfirmDepositRequest {
    ConfirmDepositRequest {
        deposit_id: deposit.id.clone(),
        received: Some(Money::idr(received)),
        bank_reference: bank_reference.to_owned(),
    }
}

async fn confirm(staff: &Actor, request: ConfirmDepositRequest) -> Deposit {
    let reply = staff.wallet().confirm_deposit(request).await;
    reply.expect("confirming").into_inner().deposit.unwrap()
}

#[tokio::test]
async fn transfers_are_credited_when_enough_people_have_seen_them() {
    let (_file, settings) = bank();
    let world = World::with(settings).await;
    let budi = world.real_reseller().await;
    let (ani, edi) = (world.staff("finance").await, world.staff("finance").await);
    let small = open(&budi, Method::BankTransfer, "BCA", 250_000).await;
    assert_eq!(small.state(), State::Pending);
    assert_eq!(small.pay_code, "0123456789");
    let request = saw(&small, 250_000, "S-1");
    let first = ani
        .wallet()
        .confirm_deposit(keyed("c-1", request.clone()))
        .await;
    let first = first.unwrap().into_inner().deposit.unwrap();
    assert_eq!(payments(&first), [(Kind::Exact, 250_000, 250_000)]);
    let again = ani.wallet().confirm_deposit(keyed("c-1", request)).await;
    assert_eq!(again.unwrap().into_inner().deposit.unwrap(), first);
    let taken = ani
        .wallet()
        .confirm_deposit(saw(&small, 250_000, "S-1"))
        .await;
    assert!(refused(taken).is("BANK_REFERENCE_TAKEN"));
    // The customer pressed the button twice.
    let double = confirm(&edi, saw(&small, 250_000, "S-2")).await;
    assert_eq!(payments(&double)[1].0, Kind::Duplicate);
    assert_eq!(budi.balance().await, (500_000, 0));

    let large = open(&budi, Method::BankTransfer, "BCA", 2_000_000).await;
    let half = confirm(&ani, saw(&large, 2_000_000, "L-1")).await;
    assert_eq!(
        (half.state(), half.confirmations_needed),
        (State::Pending, 1)
    );
    assert_eq!(budi.balance().await, (500_000, 0));
    let alone = ani
        .wallet()
        .confirm_deposit(saw(&large, 2_000_000, "L-1"))
        .await;
    assert!(refused(alone).is("SECOND_PERSON_REQUIRED"));
    let other = edi
        .wallet()
        .confirm_deposit(saw(&large, 1_900_000, "L-1"))
        .await;
    let error = refused(other);
    assert!(error.is("CONFIRMED_AMOUNT_DIFFERS"), "{error:?}");
    let done = confirm(&edi, saw(&large, 2_000_000, "L-1")).await;
    assert_eq!((done.state(), done.confirmations_needed), (State::Paid, 0));
    assert_eq!(budi.balance().await, (2_500_000, 0));

    let sandbox = world.reseller().await;
    let play = sandbox.open_deposit(50_000).await;
    let error = refused(
        ani.wallet()
            .confirm_deposit(saw(&play, 50_000, "P-1"))
            .await,
    );
    assert!(error.is("DEPOSIT_NOT_CONFIRMABLE"), "{error:?}");
    let nothing = Deposit {
        id: NOBODYS_ID.to_owned(),
        ..small
    };
    let missing = ani.wallet().confirm_deposit(saw(&nothing, 1, "N-1")).await;
    assert!(refused(missing).is("DEPOSIT_NOT_FOUND"));
}
