//! Rows changed by hand are found and named, and freeze the money of their own account only. [R17]

use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::instance::v1::DeleteInstanceRequest;
use sewa_sdk::sewa::lifecycle::v1::RenewInstanceRequest;
use sewa_sdk::sewa::order::v1::{
    ApproveOrderPaymentRequest, CancelOrderRequest, Order, Payment, PlaceOrderRequest,
};
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_sdk::sewa::wallet::v1::{
    AdjustWalletRequest, ConfirmDepositRequest, GetWalletRequest, LedgerFinding,
    ProveLedgerRequest, UnfreezeWalletRequest, Wallet,
};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, reason_of, refused};

use crate::shop::{bank, open};

/// A platform that looks at its books all the time.
fn watchful() -> Settings {
    Settings::default().with("PROOF_REST_SECONDS", 1)
}

async fn by_hand(world: &World, account: &Actor, statement: &'static str) {
    let account: uuid::Uuid = account.account_id.parse().unwrap();
    // The sum of a journal is guarded by a check, which whoever changes rows by hand may take away.
    let done = sqlx::query(statement)
        .bind(account)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1, "{statement}");
}

async fn wallet(actor: &Actor) -> Wallet {
    let request = GetWalletRequest::default();
    let reply = actor.wallet().get_wallet(request).await.unwrap();
    reply.into_inner().wallet.unwrap()
}

async fn until_frozen(actor: &Actor) {
    eventually("the wallet is frozen", || async {
        let wallet = wallet(actor).await;
        if wallet.freeze_time.is_some() {
            Ok(())
        } else {
            Err(wallet)
        }
    })
    .await;
}

async fn findings(staff: &Actor, of: &Actor) -> Vec<LedgerFinding> {
    let request = ProveLedgerRequest {
        account_id: of.account_id.clone(),
    };
    let reply = staff.wallet().prove_ledger(request).await.unwrap();
    reply.into_inner().proof.unwrap().findings
}

fn lift(account_id: &str) -> UnfreezeWalletRequest {
    UnfreezeWalletRequest {
        account_id: account_id.to_owned(),
        reason: "the row was restored".to_owned(),
    }
}

/// What is changed by hand, which rule and table name it, and how it is put right.
const CASES: [(&str, &str, &str, &str); 9] = [
    (
        "update journals set available = available + 1, cash_in = cash_in - 1 where account_id = $1 and kind = 1",
        "balance_after_is_running_sum",
        "journals",
        "update journals set available = available - 1, cash_in = cash_in + 1 where account_id = $1 and kind = 1",
    ),
    (
        "update journals set revenue = revenue + 1, ppn_payable = ppn_payable - 1 where account_id = $1 and kind = 3",
        "active_order_is_captured",
        "orders",
        "update journals set revenue = revenue - 1, ppn_payable = ppn_payable + 1 where account_id = $1 and kind = 3",
    ),
    (
        "update journals set held_after = held_after + 5 where account_id = $1 and kind = 2",
        "balance_after_is_running_sum",
        "journals",
        "update journals set held_after = held_after - 5 where account_id = $1 and kind = 2",
    ),
    (
        "update balances set available = available + 1 where account_id = $1",
        "balance_is_sum_of_postings",
        "balances",
        "update balances set available = available - 1 where account_id = $1",
    ),
    (
        "update orders set state = 'CANCELLED' where account_id = $1",
        "order_state_is_end_of_history",
        "orders",
        "update orders set state = 'ACTIVE' where account_id = $1",
    ),
    (
        "update orders set subtotal = subtotal - 1, total = total - 1 where account_id = $1",
        "order_holds_its_total",
        "orders",
        "update orders set subtotal = subtotal + 1, total = total + 1 where account_id = $1",
    ),
    (
        "update deposits set state = 'FAILED' where account_id = $1",
        "deposit_with_a_payment_is_paid",
        "deposits",
        "update deposits set state = 'PAID' where account_id = $1",
    ),
    (
        "update subscriptions set paid_until = paid_until + interval '1 year' where account_id = $1",
        "paid_until_is_end_of_period",
        "subscriptions",
        "update subscriptions set paid_until = paid_until - interval '1 year' where account_id = $1",
    ),
    (
        "update subscriptions set state = 'SUSPENDED' where account_id = $1",
        "unpaid_only_when_due",
        "subscriptions",
        "update subscriptions set state = 'ACTIVE' where account_id = $1",
    ),
];

#[tokio::test]
async fn a_row_changed_by_hand_is_named_and_freezes_its_own_wallet_only() {
    let world = World::with(watchful()).await;
    let (siti, finance) = (world.reseller().await, world.staff("finance").await);
    siti.deposit(1_000_000).await;
    let mut people = Vec::new();
    for (number, (change, ..)) in CASES.iter().enumerate() {
        let budi = world.reseller().await;
        budi.deposit(1_000_000).await;
        budi.running(&format!("web-{number}")).await;
        by_hand(&world, &budi, change).await;
        people.push(budi);
    }
    for (budi, (change, rule, table, repair)) in people.iter().zip(CASES) {
        until_frozen(budi).await;
        let found = findings(&finance, budi).await;
        let named = found
            .iter()
            .any(|f| f.rule == rule && f.row.starts_with(table));
        assert!(named, "{change}: {found:?}");
        let draft = budi.draft("web-9").await;
        assert!(refused(budi.place(draft).await).is("WALLET_FROZEN"));
        let told = |e: &sewa_sdk::sewa::event::v1::Event| e.r#type() == EventType::WalletFrozen;
        assert_eq!(budi.logged(1, told).await.len(), 1);
        // Nobody lifts it before the row is what it was.
        let request = lift(&budi.account_id);
        let error = refused(finance.wallet().unfreeze_wallet(request.clone()).await);
        assert!(error.is("LEDGER_NOT_PROVED"), "{error:?}");
        assert!(error.metadata("row").unwrap().starts_with(table) || found.len() > 1);
        by_hand(&world, budi, repair).await;
        let reply = finance.wallet().unfreeze_wallet(request).await.unwrap();
        assert!(reply.into_inner().wallet.unwrap().freeze_time.is_none());
        let placed = budi.buy("web-9").await;
        budi.wait_active(&placed).await;
    }
    // Others went on all the while.
    assert!(wallet(&siti).await.freeze_time.is_none());
    let placed = siti.buy("web-1").await;
    siti.wait_active(&placed).await;
    let nobody = finance.wallet().unfreeze_wallet(lift(NOBODYS_ID)).await;
    assert_eq!(reason_of(nobody), "ACCOUNT_NOT_FOUND");
    world.settled().await;
}

fn approval(order: &Order) -> ApproveOrderPaymentRequest {
    ApproveOrderPaymentRequest {
        order_id: order.id.clone(),
        reason: "paid by transfer".to_owned(),
    }
}

#[tokio::test]
async fn no_money_of_a_frozen_wallet_moves_and_all_of_it_moves_again() {
    let (_file, settings) = bank();
    let world = World::with(settings.with("PROOF_REST_SECONDS", 1)).await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.take_a_clock().await;
    budi.deposit(5_000_000).await;
    let (kept, deleted) = (budi.running("web-1").await, budi.running("web-2").await);
    for machine in [&kept, &deleted] {
        let request = RenewInstanceRequest {
            instance_id: machine.id.clone(),
        };
        budi.lifecycle().renew_instance(request).await.unwrap();
    }
    let pending = budi.open_deposit(10_000).await;
    let mut request = PlaceOrderRequest {
        draft: Some(budi.draft("web-3").await),
        payment: Payment::StaffApproval.into(),
        ..Default::default()
    };
    let placed = budi.orders().place_order(request.clone()).await.unwrap();
    let unpaid = placed.into_inner().order.unwrap();
    // A cloud that errs keeps an order with its hold open.
    budi.inject(FaultKind::Error, 0).await;
    let open_order = budi.buy("web-4").await.order;
    let (available, held) = budi.balance().await;

    by_hand(
        &world,
        &budi,
        "update balances set withdrawable = withdrawable + 1 where account_id = $1",
    )
    .await;
    until_frozen(&budi).await;
    request.payment = Payment::Wallet.into();
    assert_eq!(
        reason_of(budi.orders().place_order(request).await),
        "WALLET_FROZEN"
    );
    let cancel = CancelOrderRequest {
        order_id: open_order.id.clone(),
        reason: "changed my mind".to_owned(),
    };
    assert_eq!(
        reason_of(budi.orders().cancel_order(cancel.clone()).await),
        "WALLET_FROZEN"
    );
    assert_eq!(
        reason_of(
            finance
                .orders()
                .approve_order_payment(approval(&unpaid))
                .await
        ),
        "WALLET_FROZEN"
    );
    assert!(refused(budi.settle(&pending.id, Outcome::Paid).await).is("WALLET_FROZEN"));
    let adjust = AdjustWalletRequest {
        account_id: budi.account_id.clone(),
        amount: Some(Money::idr(1000)),
        reason: "a gift".to_owned(),
    };
    assert_eq!(
        reason_of(finance.wallet().adjust_wallet(adjust).await),
        "WALLET_FROZEN"
    );
    let delete = DeleteInstanceRequest {
        instance_id: deleted.id.clone(),
        confirm_hostname: deleted.hostname.clone(),
        ..Default::default()
    };
    budi.instances().delete_instance(delete).await.unwrap();
    assert_eq!(budi.balance().await, (available, held));
    let siti = world.real_reseller().await;
    let transfer = open(&siti, Method::BankTransfer, "BCA", 50_000).await;
    by_hand(
        &world,
        &siti,
        "insert into balances (account_id, withdrawable, updated_at) values ($1, 1, now())",
    )
    .await;
    until_frozen(&siti).await;
    let confirm = ConfirmDepositRequest {
        deposit_id: transfer.id.clone(),
        received: Some(Money::idr(50_000)),
        bank_reference: "BCA-1".to_owned(),
    };
    assert_eq!(
        reason_of(finance.wallet().confirm_deposit(confirm).await),
        "WALLET_FROZEN"
    );
    assert_eq!(wallet(&siti).await.available, Some(Money::idr(0)));

    for who in [&budi, &siti] {
        by_hand(
            &world,
            who,
            "update balances set withdrawable = withdrawable - 1 where account_id = $1",
        )
        .await;
        let request = lift(&who.account_id);
        finance.wallet().unfreeze_wallet(request).await.unwrap();
    }
    budi.settle(&pending.id, Outcome::Paid).await.unwrap();
    // What was paid ahead for the machine that was deleted meanwhile comes back, and so does the order's money.
    eventually("the prepaid period is released", || async {
        let ended: i64 = sqlx::query_scalar(
            "select count(*) from subscriptions where state = 'ENDED' and renewal_hold is null",
        )
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
        if ended == 1 { Ok(()) } else { Err(ended) }
    })
    .await;
    budi.orders().cancel_order(cancel).await.unwrap();
    // The cloud errs no more, so what was deleted can be destroyed.
    budi.sandbox()
        .clear_faults(ClearFaultsRequest {})
        .await
        .unwrap();
    world.settled().await;
}

#[tokio::test]
async fn a_frozen_wallet_is_not_renewed_and_nothing_of_it_is_suspended() {
    let world = World::with(watchful()).await;
    let (budi, machine) = crate::lifecycle::owner(&world, 3).await;
    let finance = world.staff("finance").await;
    by_hand(
        &world,
        &budi,
        "update balances set withdrawable = withdrawable + 1 where account_id = $1",
    )
    .await;
    until_frozen(&budi).await;
    let renew = RenewInstanceRequest {
        instance_id: machine.id.clone(),
    };
    assert_eq!(
        reason_of(budi.lifecycle().renew_instance(renew).await),
        "WALLET_FROZEN"
    );
    let clock = budi.clone();
    let walked = tokio::spawn(async move { clock.advance(70, 0).await });
    // Another account's clock is walked past it.
    let (siti, _) = crate::lifecycle::owner(&world, 3).await;
    siti.advance(40, 0).await;
    let mut database = world.behind_the_scenes().await;
    let account: uuid::Uuid = budi.account_id.parse().unwrap();
    let (state, number): (String, i32) =
        sqlx::query_as("select state, period_number from subscriptions where account_id = $1")
            .bind(account)
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!((state.as_str(), number), ("ACTIVE", 1));
    by_hand(
        &world,
        &budi,
        "update balances set withdrawable = withdrawable - 1 where account_id = $1",
    )
    .await;
    let request = lift(&budi.account_id);
    finance.wallet().unfreeze_wallet(request).await.unwrap();
    // The clock goes where it was sent, and the periods in between are paid, each once.
    walked.await.unwrap();
    let number: i32 =
        sqlx::query_scalar("select period_number from subscriptions where account_id = $1")
            .bind(account)
            .fetch_one(&mut database)
            .await
            .unwrap();
    assert_eq!(number, 3);
    world.settled().await;
}
