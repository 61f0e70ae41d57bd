//! The other gateways behind the same interface: Midtrans, Xendit, and transfers that staff confirm. [B2]

use sewa_payment_simulators::midtrans::{self, Midtrans};
use sewa_payment_simulators::xendit::{self, Xendit};
use sewa_payment_simulators::{Callback, Status};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;
use sewa_sdk::sewa::wallet::v1::{
    ConfirmDepositRequest, Deposit, DepositToConfirm, ListDepositsToConfirmRequest,
};
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

#[tokio::test]
async fn what_xendit_gives_back_is_taken_once_whoever_tells_of_it() {
    let xendit = Xendit::open().await.unwrap();
    let settings = Settings::default()
        .with("PAYMENTS__POLL_MS", 300)
        .with("PAYMENTS__XENDIT__BASE_URL", xendit.base_url())
        .with("PAYMENTS__XENDIT__SECRET_KEY", xendit::SECRET_KEY)
        .with("PAYMENTS__XENDIT__CALLBACK_TOKEN", xendit::CALLBACK_TOKEN)
        .with("PAYMENTS__XENDIT__USER_ID", xendit::USER);
    let world = World::with(settings).await;
    let budi = world.real_reseller().await;
    let deposit = open(&budi, Method::Xendit, "INVOICE", 50_000).await;
    let id = deposit.gateway_reference.as_str();
    // A key that may not read refunds holds no payment up.
    xendit.hide_refunds(true);
    xendit.pay(id, 50_000);
    let paid = until(&budi, &deposit.id, State::Paid).await;
    assert_eq!(payments(&paid), [(Kind::Exact, 50_000, 50_000)]);
    // Three on two pages, one of them told of, and one that failed.
    xendit.refund(id, 1_000, true);
    xendit.refund(id, 7_000, false);
    let told = xendit.refund(id, 2_000, true);
    assert_eq!(deliver(&world, "xendit", &told).await.0, 200);
    assert_eq!(budi.balance().await, (50_000, 0), "nobody could look");
    xendit.hide_refunds(false);
    let balance = async |wanted: i64| {
        sewa_tests::patience::eventually("refunds are taken", || async {
            match budi.balance().await {
                (available, 0) if available == wanted => Ok(()),
                other => Err(other),
            }
        })
        .await;
    };
    balance(47_000).await;
    let rest = xendit.refund(id, 47_000, true);
    for _ in 0..3 {
        assert_eq!(deliver(&world, "xendit", &rest).await.0, 200);
    }
    balance(0).await;
    let seen = until(&budi, &deposit.id, State::Reversed).await;
    let back: i64 = payments(&seen)[1..].iter().map(|(.., c)| c).sum();
    assert_eq!(back, -50_000);
    // One about a refund of something else, and one of somebody else's.
    let mut other = rest.clone();
    other.body = serde_json::json!({"event": "refund.succeeded", "business_id": xendit::USER, "data": {"id": "rfd-9", "invoice_id": null}})
        .to_string()
        .into();
    assert_eq!(deliver(&world, "xendit", &other).await.0, 200);
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

/// The queue of staff, all pages of one item each.
async fn queue(staff: &Actor, second_person_only: bool) -> Vec<DepositToConfirm> {
    let mut request = ListDepositsToConfirmRequest {
        page_size: 1,
        second_person_only,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let reply = staff
            .wallet()
            .list_deposits_to_confirm(request.clone())
            .await;
        let reply = reply.unwrap().into_inner();
        all.extend(reply.deposits);
        if reply.next_page_token.is_empty() {
            return all;
        }
        request.page_token = reply.next_page_token;
    }
}

#[tokio::test]
async fn staff_see_what_waits_for_them_across_accounts_oldest_first() {
    let (_file, settings) = bank();
    let world = World::with(settings).await;
    let (budi, siti) = (world.real_reseller().await, world.real_reseller().await);
    let (ani, edi) = (world.staff("finance").await, world.staff("finance").await);
    assert_eq!(queue(&ani, false).await, []);
    let small = open(&budi, Method::BankTransfer, "BCA", 250_000).await;
    let large = open(&siti, Method::BankTransfer, "BCA", 2_000_000).await;
    let last = open(&budi, Method::BankTransfer, "BCA", 3_000_000).await;
    let ids = |listed: &[DepositToConfirm]| -> Vec<String> {
        let deposits = listed.iter().filter_map(|l| l.deposit.as_ref());
        deposits.map(|d| d.id.clone()).collect()
    };
    let waiting = queue(&ani, false).await;
    assert_eq!(
        ids(&waiting),
        [&small.id, &large.id, &last.id].map(Clone::clone)
    );
    let shown: Vec<(&str, bool, usize)> = waiting
        .iter()
        .map(|l| {
            let seen = l.confirmations.len();
            (l.account_id.as_str(), l.second_person_needed, seen)
        })
        .collect();
    let (budis, sitis) = (budi.account_id.as_str(), siti.account_id.as_str());
    let expected = [(budis, false, 0), (sitis, true, 0), (budis, true, 0)];
    assert_eq!(shown, expected);
    assert!(waiting.iter().all(|l| !l.account_name.is_empty()));
    assert_eq!(queue(&ani, true).await, []);
    // One person has seen the large one, and the small one is done.
    confirm(&ani, saw(&large, 2_000_000, "L-1")).await;
    confirm(&ani, saw(&small, 250_000, "S-1")).await;
    let waiting = queue(&edi, false).await;
    assert_eq!(ids(&waiting), [&large.id, &last.id].map(Clone::clone));
    let second = queue(&edi, true).await;
    assert_eq!(second, waiting[..1]);
    let seen = &second[0].confirmations[0];
    assert_eq!(seen.bank_reference, "L-1");
    assert_eq!(seen.received, Some(Money::idr(2_000_000)));
    assert_eq!(seen.confirmed_by, ani.user_id);
    confirm(&edi, saw(&large, 2_000_000, "L-1")).await;
    // A second transfer for one that is done waits as well, until somebody else has seen it.
    confirm(&edi, saw(&large, 1_500_000, "L-2")).await;
    assert_eq!(ids(&queue(&ani, true).await), [large.id.clone()]);
    confirm(&ani, saw(&large, 1_500_000, "L-2")).await;
    assert_eq!(queue(&ani, true).await, []);
    assert_eq!(ids(&queue(&ani, false).await), [last.id]);
    // It is nobody else's business.
    let support = world.staff("support").await;
    for actor in [&support, &budi] {
        let request = ListDepositsToConfirmRequest::default();
        let asked = actor.wallet().list_deposits_to_confirm(request).await;
        assert!(refused(asked).is("PERMISSION_DENIED"));
    }
}
