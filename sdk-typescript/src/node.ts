// The SDK for Node: gRPC over HTTP/2.
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { readFileSync } from "node:fs";
import type { SecureClientSessionOptions } from "node:http2";
import { env as environment } from "node:process";
import type { ClientOptions } from "./call.js";
import { agentOf, BaseClient, originOf, partsOf } from "./client.js";
import { Credentials as BaseCredentials } from "./credentials.js";
import { Connection } from "./transport.js";
import { VERSION } from "./version.js";

export * from "./index.js";

// As grpc-go and grpcio have it: a page of any list is far below.
const MOST_BYTES = 4 * 1024 * 1024;

/** Who the calls are made as. */
export class Credentials extends BaseCredentials {
  /** A file that holds an API key. Throws if it cannot be read. */
  static fromFile(path: string): BaseCredentials {
    return BaseCredentials.apiKey(readFileSync(path, "utf8").trim());
  }

  /** `SEWA_API_KEY`, else `SEWA_TOKEN`, else the file named by `SEWA_API_KEY_FILE`, else nobody. The SDK looks at the environment nowhere else. */
  static fromEnv(env: Readonly<Record<string, string | undefined>> = environment): BaseCredentials {
    const { SEWA_API_KEY: key, SEWA_TOKEN: token, SEWA_API_KEY_FILE: path } = env;
    if (key) return BaseCredentials.apiKey(key);
    if (token) return BaseCredentials.token(token);
    return path ? Credentials.fromFile(path) : BaseCredentials.nobody();
  }
}

/** Settings of a client in Node. */
export interface NodeOptions extends ClientOptions {
  /** TLS settings that differ from Node's, for example `ca`. */
  readonly tls?: SecureClientSessionOptions;
}

/** A client of one Sewa server, over gRPC. Calls may be made at the same time; close it at the end. */
export class Client extends BaseClient {
  /** Connects when the first call needs it. Throws a `TypeError` for an endpoint that is none. */
  constructor(endpoint: string, credentials: BaseCredentials = BaseCredentials.nobody(), options: NodeOptions = {}) {
    const baseUrl = originOf(endpoint);
    // A connection that died silently is noticed before the next call would hang on it.
    const sessionManager = new Http2SessionManager(baseUrl, { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 }, options.tls);
    const connection = new Connection(createGrpcTransport({ baseUrl, sessionManager, readMaxBytes: MOST_BYTES }), () => sessionManager.abort());
    super(credentials, partsOf(connection, credentials, options, [["user-agent", agentOf(VERSION, options.userAgent)]]));
  }
}
