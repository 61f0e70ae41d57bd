// The demonstration: a reseller's day on a sandbox account, from nothing to a machine and back, step by step as `sdk-rust/examples/journey` plays it.
//
// Each step says what it asks for, then what it read back from the platform, and fails if that is not what was promised.
//
// usage: node main.js [http://127.0.0.1:7070]
import * as account from "./account.js";
import * as machine from "./machine.js";
import * as money from "./money.js";
import * as shop from "./shop.js";
import { Stage } from "./stage.js";
import * as time from "./time.js";

const stage = new Stage(process.argv[2] ?? "http://127.0.0.1:7070");
await account.register(stage);
const goods = await shop.choose(stage);
// Three periods can be paid from four net prices, tax included; a fourth cannot.
await money.topUp(stage, 4n * goods.netPrice);
await time.createClock(stage);

const total = await shop.quote(stage, goods);
const bought = await shop.buy(stage, goods, total);
await machine.inspect(stage, bought.instanceId, total);
await shop.repeat(stage, bought);

await machine.powerCycle(stage, bought.instanceId);
await machine.rebuild(stage, bought.instanceId, goods.otherImageId);

await shop.loseNextAnswer(stage);
const spare = await shop.buyDespiteLostAnswer(stage, goods, total);
await machine.remove(stage, spare);

await time.renew(stage, bought.instanceId);
await time.runOutOfMoney(stage, bought.instanceId);
await time.suspend(stage, bought.instanceId);
await time.payAndResume(stage, bought.instanceId, 3n * goods.netPrice);

const held = await time.payAhead(stage, bought.instanceId);
await machine.remove(stage, bought.instanceId);
await time.release(stage, bought.instanceId, held);

await money.prove(stage);
await money.statement(stage);
stage.client.close();
console.log("\nEvery step was observed.");
