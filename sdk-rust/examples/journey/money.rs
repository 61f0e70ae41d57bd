//! Money: in through the sandbox gateway, the proof that the books are right, and the statement.

use std::pin::pin;

use futures_util::TryStreamExt;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use sewa_sdk::sewa::sandbox::v1::{SettleDepositRequest, settle_deposit_request::Outcome};
use sewa_sdk::sewa::wallet::v1::wallet_service_client::WalletServiceClient;
use sewa_sdk::sewa::wallet::v1::{
    CreateDepositRequest, Deposit, GetDepositRequest, GetWalletRequest, ListTransactionsRequest,
    ProveLedgerRequest, deposit,
};
use sewa_sdk::{Error, pages};

use super::stage::{Stage, call, given, names, rupiah, units};

/// What can be spent, and what is set aside.
pub(crate) struct Balance {
    pub(crate) available: i64,
    pub(crate) held: i64,
}

/// Reads the wallet.
pub(crate) async fn balance(stage: &Stage) -> Result<Balance, Error> {
    let mut service = stage.client.service(WalletServiceClient::new);
    let reply = service
        .get_wallet(call(GetWalletRequest::default()))
        .await?
        .into_inner();
    let wallet = given(reply.wallet, "wallet")?;
    Ok(Balance {
        available: units(wallet.available.as_ref()),
        held: units(wallet.held.as_ref()),
    })
}

/// Pays money in, and sees it arrive.
pub(crate) async fn top_up(stage: &mut Stage, amount: i64) -> Result<(), Error> {
    let before = balance(stage).await?;
    stage.asks(format!(
        "open a deposit of {} at the sandbox gateway",
        rupiah(amount)
    ));
    let opened = open(stage, amount).await?;
    let pending = balance(stage).await?;
    stage.check(
        opened.state() == deposit::State::Pending && pending.available == before.available,
        format!("the deposit is {:?} before it is paid", opened.state()),
    )?;
    stage.sees(format!(
        "deposit {} is PENDING, the balance still {}",
        opened.id,
        rupiah(pending.available)
    ));

    stage.asks("pay it, as the payer would");
    settle(stage, &opened.id).await?;
    let after = balance(stage).await?;
    stage.check(
        after.available == before.available + amount,
        format!(
            "the balance went from {} to {}",
            rupiah(before.available),
            rupiah(after.available)
        ),
    )?;
    stage.sees(format!("the balance is {}", rupiah(after.available)));
    Ok(())
}

/// Opens a deposit, and reads it back.
pub(crate) async fn open(stage: &Stage, amount: i64) -> Result<Deposit, Error> {
    let request = CreateDepositRequest {
        amount: Some(Money::idr(amount)),
        method: deposit::Method::Sandbox.into(),
        client_reference: String::new(),
        channel: String::new(),
    };
    let mut service = stage.client.service(WalletServiceClient::new);
    let reply = service.create_deposit(call(request)).await?.into_inner();
    read(stage, given(reply.deposit, "deposit")?.id).await
}

/// Has a deposit paid, and sees it announced and PAID.
pub(crate) async fn settle(stage: &mut Stage, deposit_id: &str) -> Result<(), Error> {
    let request = SettleDepositRequest {
        deposit_id: deposit_id.to_owned(),
        outcome: Outcome::Paid.into(),
    };
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    sandbox.settle_deposit(call(request)).await?;
    let events = stage.follow(deposit_id, EventType::DepositPaid).await?;
    let state = read(stage, deposit_id.to_owned()).await?.state();
    stage.check(
        state == deposit::State::Paid,
        format!("the deposit is {state:?} after it was paid"),
    )?;
    stage.sees(format!("events {}; the deposit is PAID", names(&events)));
    Ok(())
}

async fn read(stage: &Stage, deposit_id: String) -> Result<Deposit, Error> {
    let mut service = stage.client.service(WalletServiceClient::new);
    let reply = service
        .get_deposit(call(GetDepositRequest { deposit_id }))
        .await?;
    given(reply.into_inner().deposit, "deposit")
}

/// Has the account's books recomputed from their first entry on.
pub(crate) async fn prove(stage: &mut Stage) -> Result<(), Error> {
    stage.asks(
        "prove the ledger: every journal sums to zero, every balance is the sum of its postings",
    );
    let mut service = stage.client.service(WalletServiceClient::new);
    let reply = service
        .prove_ledger(call(ProveLedgerRequest::default()))
        .await?
        .into_inner();
    let proof = given(reply.proof, "proof")?;
    stage.check(
        proof.proved,
        format!("the ledger is wrong: {:?}", proof.findings),
    )?;
    stage.check(
        proof.accounts == 1 && proof.journals > 0,
        format!(
            "{} journals of {} accounts were looked at",
            proof.journals, proof.accounts
        ),
    )?;
    let wallet = balance(stage).await?;
    let shown = |name: &str| proof.trial_balance.get(name).copied().unwrap_or_default();
    stage.check(
        shown("available") == wallet.available && shown("held") == wallet.held,
        format!(
            "the books say {} and the wallet {}",
            rupiah(shown("available")),
            rupiah(wallet.available)
        ),
    )?;
    let total: i64 = proof.trial_balance.values().sum();
    stage.check(
        total == 0,
        format!("the trial balance adds up to {}", rupiah(total)),
    )?;
    stage.sees(format!(
        "{} journals, no difference; the trial balance adds up to zero:",
        proof.journals
    ));
    let mut lines: Vec<(&String, &i64)> = proof
        .trial_balance
        .iter()
        .filter(|(_, sum)| **sum != 0)
        .collect();
    lines.sort_unstable();
    for (ledger_account, sum) in lines {
        println!("       {ledger_account:<16} {:>14}", rupiah(*sum));
    }
    Ok(())
}

/// Reads every movement of money, newest first.
pub(crate) async fn statement(stage: &mut Stage) -> Result<(), Error> {
    stage.asks("read the statement, page by page");
    let service = stage.client.service(WalletServiceClient::new);
    let first = ListTransactionsRequest {
        page_size: 5,
        ..Default::default()
    };
    let all = pages(
        first,
        |request, token| request.page_token = token,
        |request| {
            let mut service = service.clone();
            async move { service.list_transactions(call(request)).await }
        },
        |reply| (reply.transactions, reply.next_page_token),
    );
    let mut all = pin!(all);
    let mut lines = Vec::new();
    while let Some(line) = all.try_next().await? {
        lines.push(line);
    }
    let wallet = balance(stage).await?;
    let sum: i64 = lines
        .iter()
        .map(|line| units(line.available_change.as_ref()))
        .sum();
    let last = lines
        .first()
        .map_or(0, |line| units(line.available_after.as_ref()));
    stage.check(
        sum == wallet.available && last == wallet.available,
        format!(
            "the lines add up to {}, the last one ends at {}, and the wallet has {}",
            rupiah(sum),
            rupiah(last),
            rupiah(wallet.available)
        ),
    )?;
    stage.sees(format!(
        "{} lines, which add up to the balance of {}:",
        lines.len(),
        rupiah(sum)
    ));
    for line in lines {
        let change = rupiah(units(line.available_change.as_ref()));
        let after = rupiah(units(line.available_after.as_ref()));
        println!(
            "       {change:>12} {after:>12}  {:<8} {}",
            line.kind()
                .as_str_name()
                .trim_start_matches("KIND_")
                .to_lowercase(),
            line.description
        );
    }
    Ok(())
}
