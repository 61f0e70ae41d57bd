// Money: in through the sandbox gateway, the proof that the books are right, and the statement.
import { items } from "@sewa/sdk";
import { EventType } from "@sewa/sdk/event/v1";
import { SandboxService, SettleDepositRequest_Outcome as Outcome } from "@sewa/sdk/sandbox/v1";
import {
  Deposit_Method as Method,
  Deposit_State as State,
  Transaction_Kind as Kind,
  WalletService,
  type Deposit,
  type Transaction,
  type Wallet,
} from "@sewa/sdk/wallet/v1";
import { given, idr, names, rupiah, units, type Stage } from "./stage.js";

const service = (stage: Stage) => stage.client.service(WalletService);

/** What can be spent, and what is set aside. */
export async function balance(stage: Stage): Promise<Wallet> {
  return given((await service(stage).getWallet({})).wallet, "wallet");
}

/** What can be spent. */
export async function available(stage: Stage): Promise<bigint> {
  return units((await balance(stage)).available);
}

/** Pays money in, and sees it arrive. */
export async function topUp(stage: Stage, amount: bigint): Promise<void> {
  const before = await available(stage);
  stage.asks(`open a deposit of ${rupiah(amount)} at the sandbox gateway`);
  const opened = await start(stage, amount);
  const pending = await available(stage);
  stage.check(opened.state === State.PENDING && pending === before, `the deposit is ${State[opened.state]} before it is paid`);
  stage.sees(`deposit ${opened.id} is PENDING, the balance still ${rupiah(pending)}`);

  stage.asks("pay it, as the payer would");
  await settle(stage, opened.id);
  const after = await available(stage);
  stage.check(after === before + amount, `the balance went from ${rupiah(before)} to ${rupiah(after)}`);
  stage.sees(`the balance is ${rupiah(after)}`);
}

/** Opens a deposit, and reads it back. */
export async function start(stage: Stage, amount: bigint): Promise<Deposit> {
  const { deposit } = await service(stage).createDeposit({ amount: idr(amount), method: Method.SANDBOX });
  return read(stage, given(deposit, "deposit").id);
}

/** Has a deposit paid, and sees it announced and PAID. */
export async function settle(stage: Stage, depositId: string): Promise<void> {
  await stage.client.service(SandboxService).settleDeposit({ depositId, outcome: Outcome.PAID });
  const events = await stage.follow(depositId, EventType.DEPOSIT_PAID);
  const { state } = await read(stage, depositId);
  stage.check(state === State.PAID, `the deposit is ${State[state]} after it was paid`);
  stage.sees(`events ${names(events)}; the deposit is PAID`);
}

async function read(stage: Stage, depositId: string): Promise<Deposit> {
  return given((await service(stage).getDeposit({ depositId })).deposit, "deposit");
}

/** Has the account's books recomputed from their first entry on. */
export async function prove(stage: Stage): Promise<void> {
  stage.asks("prove the ledger: every journal sums to zero, every balance is the sum of its postings");
  const proof = given((await service(stage).proveLedger({})).proof, "proof");
  stage.check(proof.proved, "the ledger is wrong");
  stage.check(proof.accounts === 1n && proof.journals > 0n, `${proof.journals} journals of ${proof.accounts} accounts`);
  const wallet = await balance(stage);
  const books = new Map(Object.entries(proof.trialBalance));
  const agree = (books.get("available") ?? 0n) === units(wallet.available) && (books.get("held") ?? 0n) === units(wallet.held);
  stage.check(agree, "the books and the wallet differ");
  const sum = [...books.values()].reduce((total, one) => total + one, 0n);
  stage.check(sum === 0n, `the trial balance adds up to ${rupiah(sum)}`);
  stage.sees(`${proof.journals} journals, no difference; the trial balance adds up to zero:`);
  for (const [name, total] of [...books].sort()) {
    if (total !== 0n) console.log(`       ${name.padEnd(16)} ${rupiah(total).padStart(14)}`);
  }
}

/** Reads every movement of money, newest first. */
export async function statement(stage: Stage): Promise<void> {
  stage.asks("read the statement, page by page");
  const lines: Transaction[] = [];
  for await (const line of items(service(stage).listTransactions, { pageSize: 5 }, (page) => page.transactions)) lines.push(line);
  const left = await available(stage);
  const total = lines.reduce((sum, line) => sum + units(line.availableChange), 0n);
  const last = units(lines[0]?.availableAfter);
  stage.check(
    total === left && last === left,
    `the lines add up to ${rupiah(total)}, the last one ends at ${rupiah(last)}, and the wallet has ${rupiah(left)}`,
  );
  stage.sees(`${lines.length} lines, which add up to the balance of ${rupiah(total)}:`);
  for (const line of lines) {
    const change = `${rupiah(line.availableChange).padStart(12)} ${rupiah(line.availableAfter).padStart(12)}`;
    console.log(`       ${change}  ${Kind[line.kind].toLowerCase().padEnd(8)} ${line.description}`);
  }
}
