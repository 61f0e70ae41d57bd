// Many calls at once: all are answered, none leaves a listener behind, and closing ends those under way. Any warning of Node's is a failure.
import { SewaError } from "@sewa/sdk";
import { Fake } from "@sewa/sdk/fake";
import { WalletService } from "@sewa/sdk/wallet/v1";

process.on("warning", (warning) => {
  throw warning;
});

const fake = new Fake();
const client = fake.client();
const wallets = client.service(WalletService);

let asked = 0;
let answer = (): void => undefined;
const open = new Promise<void>((resolve) => (answer = resolve));
fake.on(WalletService.method.getWallet, async () => {
  asked += 1;
  if (asked === 50) answer();
  await open;
  return { wallet: { accountId: "toko" } };
});
const replies = await Promise.all(Array.from({ length: 50 }, () => wallets.getWallet({})));
if (!replies.every(({ wallet }) => wallet?.accountId === "toko")) throw new Error("a call was not answered");

let waiting = (): void => undefined;
const begun = new Promise<void>((resolve) => (waiting = resolve));
fake.on(WalletService.method.getWallet, () => {
  waiting();
  return new Promise(() => undefined);
});
const calls = Array.from({ length: 50 }, () => wallets.getWallet({}).catch((error: unknown) => error));
await begun;
client.close();
const ended = await Promise.all(calls);
if (!ended.every((error) => error instanceof SewaError && error.code === "CANCELLED")) throw new Error("a call outlived its client");
console.log("all calls ended");
