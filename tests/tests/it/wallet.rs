//! Money in, out and proved. [W1 W3 W5]

use futures_util::future::join_all;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_sdk::sewa::wallet::v1::{
    AdjustWalletRequest, CreateDepositRequest, GetDepositRequest, GetWalletRequest,
    ListDepositsRequest, ListTransactionsRequest, ProveLedgerRequest, deposit,
};
use sewa_tests::actor::rupiah;
use sewa_tests::{NOBODYS_ID, World, is_replay, keyed, persist, reason_of, refused};

#[tokio::test]
async fn a_deposit_is_credited_once_however_often_it_is_settled() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let deposit = budi.open_deposit(250_000).await;
    assert_eq!(deposit.state(), deposit::State::Pending);
    assert_eq!(budi.balance().await, (0, 0));
    let settled = join_all((0..16).map(|_| budi.settle(&deposit.id, Outcome::Paid))).await;
    for outcome in settled {
        outcome.expect("settling the same way again changes nothing");
    }
    budi.settle(&deposit.id, Outcome::Paid).await.unwrap();
    assert_eq!(budi.balance().await, (250_000, 0));
    assert_eq!(budi.transactions().await.len(), 1);
    let request = GetDepositRequest {
        deposit_id: deposit.id.clone(),
    };
    let paid = budi
        .wallet()
        .get_deposit(request)
        .await
        .unwrap()
        .into_inner()
        .deposit
        .unwrap();
    assert!(paid.state() == deposit::State::Paid && paid.paid_time.is_some());
    let error = refused(budi.settle(&deposit.id, Outcome::Failed).await);
    assert!(
        error.is("PAYMENT_STATUS_CONFLICT") && error.metadata("state").is_some(),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_deposit_that_ends_otherwise_moves_no_money() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for (outcome, state) in [
        (Outcome::Expired, deposit::State::Expired),
        (Outcome::Failed, deposit::State::Failed),
    ] {
        let deposit = budi.open_deposit(50_000).await;
        budi.settle(&deposit.id, outcome).await.unwrap();
        let listed = budi
            .wallet()
            .list_deposits(ListDepositsRequest {
                state: state.into(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner()
            .deposits;
        assert_eq!(
            listed.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(),
            [deposit.id.as_str()]
        );
    }
    assert_eq!(budi.balance().await, (0, 0));
    assert!(budi.transactions().await.is_empty());
}

#[tokio::test]
async fn a_deposit_repeated_with_its_key_is_opened_once() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let request = |units| CreateDepositRequest {
        amount: Some(Money::idr(units)),
        method: deposit::Method::Sandbox.into(),
        client_reference: "inv-1".to_owned(),
        channel: String::new(),
    };
    let first = budi
        .wallet()
        .create_deposit(keyed("d-1", request(50_000)))
        .await
        .unwrap();
    let again = budi
        .wallet()
        .create_deposit(keyed("d-1", request(50_000)))
        .await
        .unwrap();
    assert!(!is_replay(&first) && is_replay(&again));
    assert_eq!(first.into_inner(), again.into_inner());
    assert_eq!(
        reason_of(
            budi.wallet()
                .create_deposit(keyed("d-1", request(60_000)))
                .await
        ),
        "IDEMPOTENCY_KEY_REUSED"
    );
    assert_eq!(
        reason_of(
            budi.wallet()
                .create_deposit(keyed("d-2", request(50_000)))
                .await
        ),
        "CLIENT_REFERENCE_TAKEN"
    );
    // References are the account's own.
    let siti = world.reseller().await;
    siti.wallet()
        .create_deposit(keyed("d-1", request(50_000)))
        .await
        .unwrap();
}

#[tokio::test]
async fn only_sandbox_accounts_play_with_sandbox_money() {
    let world = World::new().await;
    let real = world.real_reseller().await;
    let request = CreateDepositRequest {
        amount: Some(Money::idr(50_000)),
        method: deposit::Method::Sandbox.into(),
        ..Default::default()
    };
    let error = refused(real.wallet().create_deposit(request).await);
    assert!(
        error.is("DEPOSIT_METHOD_UNAVAILABLE")
            && error.metadata("method") == Some("METHOD_SANDBOX"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_foreign_deposit_looks_like_none() {
    let world = World::new().await;
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    let deposit = budi.open_deposit(50_000).await;
    let foreign = refused(
        siti.wallet()
            .get_deposit(GetDepositRequest {
                deposit_id: deposit.id.clone(),
            })
            .await,
    );
    let missing = refused(
        siti.wallet()
            .get_deposit(GetDepositRequest {
                deposit_id: NOBODYS_ID.to_owned(),
            })
            .await,
    );
    assert!(foreign.is("DEPOSIT_NOT_FOUND"));
    assert_eq!(
        (foreign.code(), foreign.message()),
        (missing.code(), missing.message())
    );
    assert_eq!(
        reason_of(siti.settle(&deposit.id, Outcome::Paid).await),
        "DEPOSIT_NOT_FOUND"
    );
    assert_eq!(budi.balance().await, (0, 0));
}

#[tokio::test]
async fn transactions_list_with_a_running_balance_and_page_without_gaps() {
    let world = World::new().await;
    let budi = world.reseller().await;
    for amount in [10_000, 20_000, 30_000, 40_000, 50_000] {
        budi.deposit(amount).await;
    }
    let mut request = ListTransactionsRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut all = Vec::new();
    loop {
        let page = budi
            .wallet()
            .list_transactions(request.clone())
            .await
            .unwrap()
            .into_inner();
        assert!(page.transactions.len() <= 2);
        all.extend(page.transactions);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let amounts: Vec<i64> = all
        .iter()
        .map(|t| rupiah(t.available_change.as_ref()))
        .collect();
    assert_eq!(amounts, [50_000, 40_000, 30_000, 20_000, 10_000]);
    for pair in all.windows(2) {
        let (newer, older) = (&pair[0], &pair[1]);
        assert_eq!(
            rupiah(newer.available_after.as_ref()),
            rupiah(older.available_after.as_ref()) + rupiah(newer.available_change.as_ref())
        );
    }
    assert_eq!(rupiah(all[0].available_after.as_ref()), 150_000);
    let holds = ListTransactionsRequest {
        kind: Kind::Hold.into(),
        ..Default::default()
    };
    assert!(
        budi.wallet()
            .list_transactions(holds)
            .await
            .unwrap()
            .into_inner()
            .transactions
            .is_empty()
    );
    // A token belongs to its caller and its filter.
    let siti = world.reseller().await;
    let stolen = ListTransactionsRequest {
        page_token: request.page_token.clone(),
        ..Default::default()
    };
    assert_eq!(
        reason_of(siti.wallet().list_transactions(stolen).await),
        "INVALID_PAGE_TOKEN"
    );
}

#[tokio::test]
async fn finance_adjusts_a_wallet_with_a_reason_and_never_below_zero() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.deposit(20_000).await;
    let adjust = |account: &str, units: i64| AdjustWalletRequest {
        account_id: account.to_owned(),
        amount: Some(Money::idr(units)),
        reason: "double credit of 3 May".to_owned(),
    };
    let taken = finance
        .wallet()
        .adjust_wallet(adjust(&budi.account_id, -5_000))
        .await
        .unwrap()
        .into_inner()
        .transaction
        .unwrap();
    assert_eq!(
        (
            taken.kind(),
            rupiah(taken.available_change.as_ref()),
            rupiah(taken.available_after.as_ref())
        ),
        (Kind::Adjustment, -5_000, 15_000)
    );
    let error = refused(
        finance
            .wallet()
            .adjust_wallet(adjust(&budi.account_id, -15_001))
            .await,
    );
    assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
    assert_eq!(
        (error.metadata("required"), error.metadata("available")),
        (Some("15001"), Some("15000"))
    );
    assert_eq!(
        reason_of(
            finance
                .wallet()
                .adjust_wallet(adjust(NOBODYS_ID, 5_000))
                .await
        ),
        "ACCOUNT_NOT_FOUND"
    );
    assert_eq!(budi.balance().await, (15_000, 0));
    assert_eq!(
        budi.transactions().await[0].description,
        "double credit of 3 May"
    );
    let request = GetWalletRequest {
        account_id: budi.account_id.clone(),
    };
    let seen = finance
        .wallet()
        .get_wallet(request)
        .await
        .unwrap()
        .into_inner()
        .wallet
        .unwrap();
    assert_eq!(rupiah(seen.available.as_ref()), 15_000);
    let missing = GetWalletRequest {
        account_id: NOBODYS_ID.to_owned(),
    };
    assert_eq!(
        reason_of(finance.wallet().get_wallet(missing).await),
        "ACCOUNT_NOT_FOUND"
    );
}

#[tokio::test]
async fn sixteen_adjustments_with_one_key_are_one() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    let request = || AdjustWalletRequest {
        account_id: budi.account_id.clone(),
        amount: Some(Money::idr(7_000)),
        reason: "welcome".to_owned(),
    };
    let call = || async {
        finance
            .wallet()
            .adjust_wallet(keyed("a-1", request()))
            .await
    };
    let answers = join_all((0..16).map(|_| persist(call))).await;
    let ids: std::collections::BTreeSet<String> = answers
        .into_iter()
        .map(|answer| {
            answer
                .expect("adjusted, or the same reply")
                .into_inner()
                .transaction
                .unwrap()
                .id
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(budi.balance().await, (7_000, 0));
}

#[tokio::test]
async fn the_books_are_proved_by_their_owner_and_by_finance() {
    let world = World::new().await;
    let (budi, siti, finance) = (
        world.reseller().await,
        world.reseller().await,
        world.staff("finance").await,
    );
    budi.deposit(90_000).await;
    siti.deposit(10_000).await;
    let own = budi
        .wallet()
        .prove_ledger(ProveLedgerRequest::default())
        .await
        .unwrap()
        .into_inner()
        .proof
        .unwrap();
    assert!(own.proved && own.findings.is_empty());
    assert_eq!((own.accounts, own.journals), (1, 1));
    let all = finance
        .wallet()
        .prove_ledger(ProveLedgerRequest::default())
        .await
        .unwrap()
        .into_inner()
        .proof
        .unwrap();
    assert!(all.proved && all.accounts >= 2);
    assert_eq!(all.trial_balance.values().sum::<i64>(), 0);
    assert_eq!(all.trial_balance.get("available"), Some(&100_000));
}

#[tokio::test]
async fn a_proof_finds_a_balance_that_was_tampered_with() {
    let world = World::new().await;
    let (budi, finance) = (world.reseller().await, world.staff("finance").await);
    budi.deposit(90_000).await;
    let mut database = world.behind_the_scenes().await;
    sqlx::query("update balances set available = available + 1")
        .execute(&mut database)
        .await
        .unwrap();
    let proof = finance
        .wallet()
        .prove_ledger(ProveLedgerRequest::default())
        .await
        .unwrap()
        .into_inner()
        .proof
        .unwrap();
    assert!(
        !proof.proved
            && proof
                .findings
                .iter()
                .any(|finding| finding.account_id == budi.account_id),
        "{proof:?}"
    );
    assert!(world.sewa(&["prove"], "").is_err());
    sqlx::query("update balances set available = available - 1")
        .execute(&mut database)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_role_of_the_server_cannot_change_what_was_booked() {
    let world = World::new().await;
    world.reseller().await.deposit(90_000).await;
    let mut database = world.behind_the_scenes().await;
    sqlx::query("set role sewa_app")
        .execute(&mut database)
        .await
        .unwrap();
    for statement in [
        "update journals set account_id = account_id",
        "delete from journals",
        "update events set type = type",
        "delete from writes",
        "truncate journals",
    ] {
        let error = sqlx::query(statement)
            .execute(&mut database)
            .await
            .expect_err(statement);
        let code = error
            .as_database_error()
            .and_then(|e| e.code())
            .map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}: {error}");
    }
}
