// Buying: the price, the order, its fulfilment, and what a repeat and a lost answer do.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { items, type Reply } from "@sewa/sdk";
import { BillingPeriod } from "@sewa/sdk/api/v1";
import { CatalogService, type Plan } from "@sewa/sdk/catalog/v1";
import { EventType } from "@sewa/sdk/event/v1";
import { Order_State as State, OrderService, Payment, type OrderDraftSchema, type PlaceOrderRequestSchema, type PlaceOrderResponse } from "@sewa/sdk/order/v1";
import { Fault_Kind as Kind, SandboxService } from "@sewa/sdk/sandbox/v1";
import { randomUUID } from "node:crypto";
import * as machine from "./machine.js";
import { available, balance } from "./money.js";
import { Broken, given, idr, names, rupiah, units, type Stage } from "./stage.js";

type Draft = MessageInitShape<typeof OrderDraftSchema>;
type Request = MessageInitShape<typeof PlaceOrderRequestSchema>;

/** What is bought, and with what it is rebuilt later. */
export interface Goods {
  readonly draft: Draft;
  readonly netPrice: bigint;
  readonly otherImageId: string;
}

/** An order that was placed, and how. */
export interface Bought {
  readonly key: string;
  readonly draft: Draft;
  readonly total: bigint;
  readonly orderId: string;
  readonly instanceId: string;
}

const orders = (stage: Stage) => stage.client.service(OrderService);

/** Finds the cheapest plan by the month, an open region, and two images that fit. */
export async function choose(stage: Stage): Promise<Goods> {
  stage.asks("look for the cheapest plan by the month");
  const catalog = stage.client.service(CatalogService);
  let best: { plan: Plan; price: bigint } | undefined;
  for await (const plan of items(catalog.listPlans, {}, (page) => page.plans)) {
    const price = plan.prices.find((one) => one.available && one.period === BillingPeriod.MONTH)?.amount?.units;
    if (price !== undefined && (best === undefined || price < best.price)) best = { plan, price };
  }
  const { plan, price } = given(best, "plan with a monthly price");
  const region = given((await catalog.listRegions({})).regions.find((one) => one.available), "open region");
  const [image, other] = (await catalog.listImages({})).images.filter((one) => one.minDiskGib <= plan.diskGib);
  if (!image || !other) throw new Broken("there are not two images that fit");
  stage.sees(`${plan.displayName} for ${rupiah(price)} a month before tax, in ${region.displayName}, with ${image.displayName} or ${other.displayName}`);
  const draft = { planId: plan.id, regionId: region.id, imageId: image.id, period: BillingPeriod.MONTH, hostname: "web-1", autoRenew: true };
  return { draft, netPrice: price, otherImageId: other.id };
}

/** Asks what it costs, tax included. */
export async function quote(stage: Stage, goods: Goods): Promise<bigint> {
  stage.asks("price an order without placing it");
  const quoted = given((await orders(stage).previewOrder({ draft: goods.draft })).quote, "quote");
  const total = units(quoted.total);
  const lines = quoted.lines.reduce((sum, line) => sum + units(line.amount), 0n);
  stage.check(lines === total && units(quoted.subtotal) === goods.netPrice, "the quote does not add up");
  const left = await available(stage);
  stage.check(3n * total <= left && left < 4n * total, `${rupiah(left)} are not three periods of ${rupiah(total)}`);
  stage.sees(`${rupiah(goods.netPrice)} and ${rupiah(quoted.tax)} PPN make ${rupiah(total)}`);
  return total;
}

/** Places the order at exactly that price, and follows it until its machine runs. */
export async function buy(stage: Stage, goods: Goods, total: bigint): Promise<Bought> {
  const before = await available(stage);
  stage.asks(`order ${goods.draft.hostname} for ${rupiah(total)}, renewing by itself`);
  const bought = await fulfilled(stage, goods.draft, total);
  const after = await balance(stage);
  stage.check(
    units(after.available) === before - total && units(after.held) === 0n,
    `${rupiah(after.available)} are available and ${rupiah(after.held)} held`,
  );
  stage.sees(`the order is ACTIVE, the balance ${rupiah(after.available)}, nothing held`);
  return bought;
}

async function fulfilled(stage: Stage, draft: Draft, total: bigint): Promise<Bought> {
  const key = randomUUID();
  const placed = (await place(stage, draft, total, key)).message;
  const orderId = given(placed.order, "order").id;
  stage.sees(`the operation went through ${await stage.finish(placed.operation)}`);
  const events = await stage.follow(orderId, EventType.ORDER_ACTIVE);
  const expected = [EventType.ORDER_PLACED, EventType.ORDER_PROVISIONING, EventType.ORDER_ACTIVE];
  stage.check(events.map((event) => event.type).join() === expected.join(), `the events were ${names(events)}`);
  stage.sees(`events ${names(events)}`);
  const order = given((await orders(stage).getOrder({ orderId })).order, "order");
  stage.check(order.state === State.ACTIVE, `the order is ${State[order.state]}`);
  return { key, draft, total, orderId, instanceId: order.instanceId };
}

function place(stage: Stage, draft: Draft, total: bigint, idempotencyKey: string): Promise<Reply<PlaceOrderResponse>> {
  const request: Request = { draft, payment: Payment.WALLET, expectedTotal: idr(total) };
  return stage.client.call(OrderService.method.placeOrder, request, { idempotencyKey });
}

async function count(stage: Stage): Promise<number> {
  return (await orders(stage).listOrders({})).orders.length;
}

/** Sends the order again with its idempotency key, then something else with that key. */
export async function repeat(stage: Stage, bought: Bought): Promise<void> {
  const before = await available(stage);
  stage.asks("send the same order again with the same idempotency key");
  const again = await place(stage, bought.draft, bought.total, bought.key);
  const orderId = again.message.order?.id;
  stage.check(again.replayed && orderId === bought.orderId, `order ${orderId} came back, replayed: ${again.replayed}`);
  stage.check((await count(stage)) === 1 && (await available(stage)) === before, `there are ${await count(stage)} orders now`);
  stage.sees(`idempotency-replayed: true, order ${orderId} again, still the only one, nothing charged`);

  stage.asks("send another order with that key");
  const other = { ...bought.draft, hostname: "another" } as Draft;
  const refusal = await stage.refused(() => place(stage, other, bought.total, bought.key), "IDEMPOTENCY_KEY_REUSED");
  stage.check((await count(stage)) === 1, `there are ${await count(stage)} orders now`);
  stage.sees(`refused: ${refusal.message}`);
}

/** Has the simulated cloud misbehave once, in the way that hurts most. */
export async function loseNextAnswer(stage: Stage): Promise<void> {
  stage.asks("have the cloud make the next machine and then lose its answer");
  await stage.client.service(SandboxService).injectFault({ kind: Kind.ANSWER_LOST, times: 1 });
  const found = await faults(stage);
  stage.check(found === "ANSWER_LOST 1", `the faults are ${found}`);
  stage.sees("the fault ANSWER_LOST is in force for one call");
}

async function faults(stage: Stage): Promise<string> {
  const listed = await stage.client.service(SandboxService).listFaults({});
  return listed.faults.map((fault) => `${Kind[fault.kind]} ${fault.timesLeft}`).join(", ");
}

/** Buys a second machine while the cloud loses its answer. Returns the machine. */
export async function buyDespiteLostAnswer(stage: Stage, goods: Goods, total: bigint): Promise<string> {
  const before = await available(stage);
  stage.asks("order web-2");
  const bought = await fulfilled(stage, { ...goods.draft, hostname: "web-2" } as Draft, total);
  const left = await faults(stage);
  stage.check(left === "", `the fault did not strike: ${left}`);
  const [instances, after] = [await machine.everything(stage), await available(stage)];
  stage.check(
    instances.length === 2 && instances[0]?.ipv4Address !== instances[1]?.ipv4Address && after === before - total,
    `there are ${instances.length} instances and ${rupiah(after)} are available`,
  );
  stage.sees("the answer was lost, the machine found again: two instances, paid once each");
  return bought.instanceId;
}
