// A shop in a browser: signs up, logs in, is told what is missing, tops up, buys, and watches the order become ACTIVE. The driver reads the list it writes.
import { Client, Credentials, SewaError, wait, watch, type BaseClient } from "@sewa/sdk";
import { BillingPeriod } from "@sewa/sdk/api/v1";
import { CatalogService } from "@sewa/sdk/catalog/v1";
import { EventService, EventType } from "@sewa/sdk/event/v1";
import { AccountKind, IdentityService } from "@sewa/sdk/identity/v1";
import { OrderService, Payment } from "@sewa/sdk/order/v1";
import { SandboxService, SettleDepositRequest_Outcome } from "@sewa/sdk/sandbox/v1";
import { Deposit_Method, WalletService } from "@sewa/sdk/wallet/v1";

function show(text: string): void {
  const line = document.createElement("li");
  line.textContent = text;
  document.querySelector("ol")?.append(line);
}

async function refused(call: Promise<unknown>): Promise<SewaError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof SewaError) return error;
    throw error;
  }
  throw new Error("allowed instead of refused");
}

/** Fails on the way once, so that a repeat with its own header has to pass the preflight as well. */
function flaky(): typeof fetch {
  let failed = false;
  return (input, init) => {
    if (failed) return fetch(input, init);
    failed = true;
    return Promise.reject(new TypeError("Failed to fetch"));
  };
}

async function draft(client: BaseClient) {
  const catalog = client.service(CatalogService);
  const plan = (await catalog.listPlans({})).plans.find((one) => one.prices.some((price) => price.available && price.period === BillingPeriod.MONTH));
  const region = (await catalog.listRegions({})).regions.find((one) => one.available);
  const image = (await catalog.listImages({})).images.find((one) => one.minDiskGib <= (plan?.diskGib ?? 0));
  if (!plan || !region || !image) throw new Error("nothing is for sale");
  return { planId: plan.id, regionId: region.id, imageId: image.id, period: BillingPeriod.MONTH, hostname: "toko-1" };
}

async function play(endpoint: string): Promise<void> {
  const mark = crypto.randomUUID();
  const [email, password] = [`toko-${mark}@example.com`, `Rahasia-${mark}`];
  const options = { locale: "id", fetch: flaky() };
  const nobody = new Client(endpoint, Credentials.nobody(), options);
  const settings = { email, password, name: "Sari", accountName: "Toko Sari", accountKind: AccountKind.RESELLER, sandbox: true };
  const registered = await nobody.call(IdentityService.method.register, settings);
  show(`registered in ${registered.attempts} attempts`);

  const wrong = await refused(new Client(endpoint, Credentials.login(email, "salah-sandi")).service(WalletService).getWallet({}));
  show(`wrong password: ${wrong.code} ${wrong.reason}, request ${wrong.requestId ? "named" : "without a name"}`);

  const client = new Client(endpoint, Credentials.login(email, password), { locale: "id", userAgent: "toko/1.0" });
  const goods = await draft(client);
  const { quote } = await client.service(OrderService).previewOrder({ draft: goods });
  const order = { draft: goods, payment: Payment.WALLET };

  const poor = await refused(client.service(OrderService).placeOrder(order));
  show(`too little balance: ${poor.code} ${poor.reason}, ${Object.keys(poor.metadata).length > 0 ? "told how much" : "not told how much"}, retry ${poor.retry}`);

  const amount = { currencyCode: "IDR", units: 2n * (quote?.total?.units ?? 0n) };
  const { deposit } = await client.service(WalletService).createDeposit({ amount, method: Deposit_Method.SANDBOX });
  await client.service(SandboxService).settleDeposit({ depositId: deposit?.id ?? "", outcome: SettleDepositRequest_Outcome.PAID });
  const { wallet } = await client.service(WalletService).getWallet({});
  show(`topped up: ${wallet?.available?.units === amount.units ? "all of it arrived" : "something is missing"}`);

  const stop = new AbortController();
  let cursor = "";
  for await (const message of client.service(EventService).watchEvents({ checkpoints: true }, { signal: stop.signal })) {
    cursor = message.cursor;
    break;
  }
  stop.abort();
  const idempotencyKey = crypto.randomUUID();
  const placed = await client.call(OrderService.method.placeOrder, order, { idempotencyKey });
  const again = await client.call(OrderService.method.placeOrder, order, { idempotencyKey });
  show(`ordered: ${again.replayed && again.message.order?.id === placed.message.order?.id ? "a repeat with the key is the same order" : "twice"}`);

  const seen: string[] = [];
  for await (const event of watch(client, { resumeCursor: cursor, subjectId: placed.message.order?.id })) {
    seen.push(EventType[event.type]);
    if (event.type === EventType.ORDER_ACTIVE) break;
  }
  show(`watched: ${seen.join(", ")}`);
  const operation = await wait(client, placed.message.operation?.id ?? "");
  show(`waited: ${operation.step}`);
  const allowance = placed.headers.get("ratelimit-remaining");
  show(`headers: contract ${placed.headers.get("x-sewa-contract") ? "shown" : "hidden"}, allowance ${allowance === null ? "hidden" : "shown"}`);
  client.close();
  const late = await refused(client.service(WalletService).getWallet({}));
  show(`closed: ${late.code}`);
}

/** From an origin the server does not know, nothing works; also that is an error with a type. */
async function stranger(endpoint: string): Promise<void> {
  const client = new Client(endpoint, Credentials.nobody(), { retry: { maxAttempts: 1 } });
  const error = await refused(client.service(CatalogService).listRegions({}));
  show(`stranger: ${error.code}`);
}

const parameters = new URLSearchParams(location.search);
const endpoint = parameters.get("endpoint") ?? "";
(parameters.has("stranger") ? stranger(endpoint) : play(endpoint)).then(
  () => (document.title = "done"),
  (error: unknown) => {
    show(String(error));
    document.title = "failed";
  },
);
