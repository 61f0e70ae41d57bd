// Time: what happens to a machine as months pass, played on the account's own clock.
import { durationFromMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import { EventType } from "@sewa/sdk/event/v1";
import { Instance_State as InstanceState, type Instance } from "@sewa/sdk/instance/v1";
import { LifecycleService, Renewal_State as RenewalState, type Renewal } from "@sewa/sdk/lifecycle/v1";
import { SandboxService, TestClock_State as ClockState, type TestClock } from "@sewa/sdk/sandbox/v1";
import * as machine from "./machine.js";
import { read, settled } from "./machine.js";
import * as money from "./money.js";
import { available, balance } from "./money.js";
import { given, moment, names, rupiah, units, until, type Stage } from "./stage.js";

async function clock(stage: Stage): Promise<TestClock> {
  return given((await stage.client.service(SandboxService).getTestClock({})).clock, "clock");
}

const micros = (time: Timestamp | undefined): bigint => (time ? time.seconds * 1_000_000n + BigInt(Math.floor(time.nanos / 1000)) : 0n);

/** Gives the account a clock of its own. */
export async function createClock(stage: Stage): Promise<void> {
  stage.asks("give the account a test clock");
  await stage.client.service(SandboxService).createTestClock({});
  const shown = await clock(stage);
  stage.check(shown.state === ClockState.READY, `the clock is ${ClockState[shown.state]}`);
  stage.sees(`the clock stands still at ${moment(shown.nowTime)}`);
}

/** Lets time pass until the next thing the instance announces, and waits until everything due by then has happened. */
async function passTime(stage: Stage, instance: Instance): Promise<void> {
  const target = micros(instance.nextStepTime);
  const ahead = Number(target - micros((await clock(stage)).nowTime)) / 1000;
  stage.check(ahead > 0, "there is no step to come");
  const days = (ahead / 86_400_000).toFixed(1);
  stage.asks(`let ${days} days pass, to ${moment(instance.nextStepTime)}, when it is to ${instance.nextStep}`);
  // Clocks move by whole milliseconds; what is due between two of them is due at the later one.
  await stage.client.service(SandboxService).advanceTestClock({ duration: durationFromMs(Math.ceil(ahead) + 1) });
  await until("the clock at its target", async () => {
    const now = await clock(stage);
    return micros(now.nowTime) >= target && now.state === ClockState.READY ? now : undefined;
  });
}

/** The month ends, and the machine is renewed from the wallet. */
export async function renew(stage: Stage, instanceId: string): Promise<void> {
  const before = await read(stage, instanceId);
  const [charge, had] = [units(before.nextCharge), await available(stage)];
  await passTime(stage, before);
  const events = await stage.follow(instanceId, EventType.RENEWED);
  const [after, left, paid] = [await read(stage, instanceId), await available(stage), await newestRenewal(stage, instanceId)];
  stage.check(charge > 0n && left === had - charge, `${rupiah(had)} became ${rupiah(left)} by a renewal of ${rupiah(charge)}`);
  const end = micros(after.paidUntil);
  stage.check(
    paid.state === RenewalState.PAID && paid.periodNumber === 2 && micros(paid.periodEndTime) === end && end !== micros(before.paidUntil),
    `renewal ${paid.periodNumber} is ${RenewalState[paid.state]}`,
  );
  stage.sees(`${names(events.slice(-1))}; the balance fell by exactly ${rupiah(charge)}; paid until ${moment(after.paidUntil)}`);
}

/** The next month ends with too little in the wallet. */
export async function runOutOfMoney(stage: Stage, instanceId: string): Promise<void> {
  const [before, had] = [await read(stage, instanceId), await available(stage)];
  stage.check(had < units(before.nextCharge), `${rupiah(had)} pay another month`);
  await passTime(stage, before);
  const events = await stage.follow(instanceId, EventType.RENEWAL_FAILED);
  const [after, left] = [await read(stage, instanceId), await available(stage)];
  stage.check(
    after.state === InstanceState.RUNNING && after.nextStep === "suspend" && left === had,
    `it is ${InstanceState[after.state]} and next is ${after.nextStep}`,
  );
  stage.sees(`${names(events.slice(-1))} with ${rupiah(left)} left; it runs on until ${moment(after.nextStepTime)}`);
}

/** The grace ends: the platform powers the machine off, and nobody powers it on. */
export async function suspend(stage: Stage, instanceId: string): Promise<void> {
  await passTime(stage, await read(stage, instanceId));
  const events = await stage.follow(instanceId, EventType.SUSPENDED);
  const after = await settled(stage, instanceId, InstanceState.SUSPENDED);
  stage.check(after.nextStep === "terminate", `next is ${after.nextStep}`);
  stage.sees(`${names(events.slice(-1))}; the instance is SUSPENDED, to be terminated at ${moment(after.nextStepTime)}`);

  stage.asks("power it on all the same");
  const refusal = await stage.refused(() => machine.service(stage).powerOnInstance({ instanceId }), "INSTANCE_SUSPENDED");
  stage.sees(`refused: ${refusal.message}`);
}

/** Money comes in, and the platform does the rest. */
export async function payAndResume(stage: Stage, instanceId: string, amount: bigint): Promise<void> {
  const [charge, before] = [units((await read(stage, instanceId)).nextCharge), await available(stage)];
  stage.asks(`pay in ${rupiah(amount)}, and nothing else`);
  await money.settle(stage, (await money.start(stage, amount)).id);
  const events = await stage.follow(instanceId, EventType.UNSUSPENDED);
  const after = await settled(stage, instanceId, InstanceState.RUNNING);
  const left = await available(stage);
  stage.check(charge > 0n && left === before + amount - charge, `${rupiah(left)} are available after a renewal of ${rupiah(charge)}`);
  stage.check(after.nextStep === "renew", `next is ${after.nextStep}`);
  stage.sees(`events ${names(events)}; the instance is RUNNING, ${rupiah(charge)} were charged, paid until ${moment(after.paidUntil)}`);
}

/** Pays the next period before it begins. Returns what is held for it. */
export async function payAhead(stage: Stage, instanceId: string): Promise<bigint> {
  const before = await balance(stage);
  stage.asks("pay the next period ahead");
  await stage.client.service(LifecycleService).renewInstance({ instanceId });
  const [renewal, after] = [await newestRenewal(stage, instanceId), await balance(stage)];
  const total = units(renewal.total);
  const held = units(after.held) === units(before.held) + total && units(after.available) === units(before.available) - total;
  stage.check(
    renewal.state === RenewalState.HELD && total > 0n && held,
    `${rupiah(after.held)} are held, ${rupiah(after.available)} available, and the renewal is ${RenewalState[renewal.state]}`,
  );
  stage.sees(`renewal ${renewal.periodNumber} is HELD: ${rupiah(after.held)} held, ${rupiah(after.available)} available`);
  return total;
}

/** What was paid ahead for a machine that was deleted comes back by itself. */
export async function release(stage: Stage, instanceId: string, held: bigint): Promise<void> {
  stage.asks("read what became of the money paid ahead");
  const freed = await until("the money paid ahead, released", async () => {
    const wallet = await balance(stage);
    return units(wallet.held) === 0n ? units(wallet.available) : undefined;
  });
  const renewal = await newestRenewal(stage, instanceId);
  stage.check(renewal.state === RenewalState.RELEASED && units(renewal.total) === held, `the renewal is ${RenewalState[renewal.state]}`);
  stage.sees(`the renewal is RELEASED: nothing held, ${rupiah(freed)} available`);
}

async function newestRenewal(stage: Stage, instanceId: string): Promise<Renewal> {
  const { renewals } = await stage.client.service(LifecycleService).listRenewals({ instanceId, pageSize: 1 });
  return given(renewals[0], "renewal");
}
