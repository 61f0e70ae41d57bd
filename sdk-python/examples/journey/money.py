"""Money: in through the sandbox gateway, the proof that the books are right, and the statement."""

import sewa
from sewa.event.v1 import EventType
from sewa.sandbox.v1 import SandboxServiceStub, SettleDepositRequest
from sewa.wallet.v1 import (
    CreateDepositRequest,
    Deposit,
    GetDepositRequest,
    GetWalletRequest,
    ListTransactionsRequest,
    ProveLedgerRequest,
    Transaction,
    Wallet,
    WalletServiceStub,
)

from .stage import Stage, idr, names, rupiah


def service(stage: Stage) -> WalletServiceStub:
    return stage.client.service(WalletServiceStub)


def balance(stage: Stage) -> Wallet:
    """What can be spent, and what is set aside."""
    return service(stage).GetWallet(GetWalletRequest()).wallet


def top_up(stage: Stage, amount: int) -> None:
    """Pays money in, and sees it arrive."""
    before = balance(stage).available.units
    stage.asks(f"open a deposit of {rupiah(amount)} at the sandbox gateway")
    opened = start(stage, amount)
    pending = balance(stage).available.units
    stage.check(
        opened.state == Deposit.STATE_PENDING and pending == before, f"the deposit is {opened.state} before it is paid"
    )
    stage.sees(f"deposit {opened.id} is PENDING, the balance still {rupiah(pending)}")

    stage.asks("pay it, as the payer would")
    settle(stage, opened.id)
    after = balance(stage).available.units
    stage.check(after == before + amount, f"the balance went from {rupiah(before)} to {rupiah(after)}")
    stage.sees(f"the balance is {rupiah(after)}")


def start(stage: Stage, amount: int) -> Deposit:
    """Opens a deposit, and reads it back."""
    request = CreateDepositRequest(amount=idr(amount), method=Deposit.METHOD_SANDBOX)
    return read(stage, service(stage).CreateDeposit(request).deposit.id)


def settle(stage: Stage, deposit_id: str) -> None:
    """Has a deposit paid, and sees it announced and PAID."""
    sandbox = stage.client.service(SandboxServiceStub)
    sandbox.SettleDeposit(SettleDepositRequest(deposit_id=deposit_id, outcome=SettleDepositRequest.OUTCOME_PAID))
    events = stage.follow(deposit_id, EventType.EVENT_TYPE_DEPOSIT_PAID)
    state = read(stage, deposit_id).state
    stage.check(state == Deposit.STATE_PAID, f"the deposit is {state} after it was paid")
    stage.sees(f"events {names(events)}; the deposit is PAID")


def read(stage: Stage, deposit_id: str) -> Deposit:
    return service(stage).GetDeposit(GetDepositRequest(deposit_id=deposit_id)).deposit


def prove(stage: Stage) -> None:
    """Has the account's books recomputed from their first entry on."""
    stage.asks("prove the ledger: every journal sums to zero, every balance is the sum of its postings")
    proof = service(stage).ProveLedger(ProveLedgerRequest()).proof
    stage.check(proof.proved, f"the ledger is wrong: {proof.findings}")
    stage.check(proof.accounts == 1 and proof.journals > 0, f"{proof.journals} journals of {proof.accounts} accounts")
    books, wallet = dict(proof.trial_balance), balance(stage)
    stage.check(
        books.get("available", 0) == wallet.available.units and books.get("held", 0) == wallet.held.units,
        f"the books say {books} and the wallet {wallet}",
    )
    stage.check(sum(books.values()) == 0, f"the trial balance adds up to {rupiah(sum(books.values()))}")
    stage.sees(f"{proof.journals} journals, no difference; the trial balance adds up to zero:")
    for name, total in sorted(books.items()):
        if total:
            print(f"       {name:<16} {rupiah(total):>14}")


def statement(stage: Stage) -> None:
    """Reads every movement of money, newest first."""
    stage.asks("read the statement, page by page")
    request = ListTransactionsRequest(page_size=5)
    lines = list(sewa.items(service(stage).ListTransactions, request, lambda page: page.transactions))
    available = balance(stage).available.units
    total = sum(line.available_change.units for line in lines)
    last = lines[0].available_after.units if lines else 0
    stage.check(
        total == available == last,
        f"the lines add up to {rupiah(total)}, the last one ends at {rupiah(last)}, and the wallet has {rupiah(available)}",
    )
    stage.sees(f"{len(lines)} lines, which add up to the balance of {rupiah(total)}:")
    for line in lines:
        kind = Transaction.Kind.Name(line.kind).removeprefix("KIND_").lower()
        print(f"       {rupiah(line.available_change):>12} {rupiah(line.available_after):>12}  {kind:<8} {line.description}")
