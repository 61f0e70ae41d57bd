// The SDK for browsers, and for anything else that has `fetch`: gRPC-Web.
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import type { ClientOptions } from "./call.js";
import { agentOf, BaseClient, originOf, partsOf } from "./client.js";
import { Credentials } from "./credentials.js";
import { Connection } from "./transport.js";
import { VERSION } from "./version.js";

export * from "./index.js";
export { Credentials } from "./credentials.js";

/** Settings of a client over gRPC-Web. */
export interface WebOptions extends ClientOptions {
  /** Used in place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
}

/** A client of one Sewa server, over gRPC-Web. Calls may be made at the same time; close it at the end. */
export class Client extends BaseClient {
  /** Throws a `TypeError` for an endpoint that is none. */
  constructor(endpoint: string, credentials: Credentials = Credentials.nobody(), options: WebOptions = {}) {
    const transport = createGrpcWebTransport({ baseUrl: originOf(endpoint), ...(options.fetch && { fetch: options.fetch }) });
    // `user-agent` is not a page's to set.
    const headers = [["x-user-agent", agentOf(VERSION, options.userAgent)]] as const;
    super(credentials, partsOf(new Connection(transport), credentials, options, headers));
  }
}
