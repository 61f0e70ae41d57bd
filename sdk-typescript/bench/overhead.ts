// What the runtime costs over the bare stub of connect-es on a call that does nothing, as a ratio of medians. usage: node overhead.js [ROUNDS]
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { Client } from "@sewa/sdk";
import { MetaService } from "@sewa/sdk/meta/v1";
import { createServer, type ServerHttp2Session } from "node:http2";
import type { AddressInfo } from "node:net";

const [ROUNDS, CALLS] = [Number(process.argv[2] ?? 30), 200];

const handler = connectNodeAdapter({ routes: (router) => void router.rpc(MetaService.method.getServerInfo, () => ({})), grpc: true });
const server = createServer(handler);
const sessions = new Set<ServerHttp2Session>();
server.on("session", (session) => sessions.add(session));
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const sessionManager = new Http2SessionManager(baseUrl);
const bare = createClient(MetaService, createGrpcTransport({ baseUrl, sessionManager }));
const client = new Client(baseUrl);
const ours = client.service(MetaService);

/** Milliseconds of some calls, one after the other. */
async function span(stub: typeof bare): Promise<number> {
  const begun = performance.now();
  for (let call = 0; call < CALLS; call += 1) await stub.getServerInfo({});
  return performance.now() - begun;
}

const median = (spans: number[]): number => spans.sort((one, other) => one - other)[Math.floor(spans.length / 2)] ?? NaN;

const stubs = [bare, ours];
for (let warm = 0; warm < 2; warm += 1) for (const stub of stubs) await span(stub);
const spans: [number[], number[]] = [[], []];
// In turns, so that both see the same machine.
for (let round = 0; round < ROUNDS; round += 1) {
  spans[0].push(await span(bare));
  spans[1].push(await span(ours));
}
console.log(`typescript overhead of the runtime over the bare stub: ${(median(spans[1]) / median(spans[0])).toFixed(2)}`);
client.close();
sessionManager.abort();
for (const session of sessions) session.destroy();
server.close();
