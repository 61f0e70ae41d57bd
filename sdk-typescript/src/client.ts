// What a client offers, whatever it speaks.
import {
  create,
  fromJson,
  isMessage,
  type DescMessage,
  type DescMethodUnary,
  type DescService,
  type JsonValue,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { createClient, type Client as ServiceClient, type Transport } from "@connectrpc/connect";
import { Core, type ClientOptions, type Limits } from "./call.js";
import type { Credentials } from "./credentials.js";
import type { RetryPolicy } from "./retry.js";
import { Connection, invoke, runtimeTransport, type Parts } from "./transport.js";

/** What a call made by its method may be given. */
export interface CallSettings extends Limits {
  /** Milliseconds for the call and all its attempts. */
  readonly timeoutMs?: number | undefined;
  /** Headers to send. */
  readonly headers?: HeadersInit | undefined;
  /** Key that makes repeats safe, also across restarts of the program. */
  readonly idempotencyKey?: string | undefined;
  /** Cancels the call, also on the server. */
  readonly signal?: AbortSignal | undefined;
}

/** The reply of a call made by its method. */
export interface Reply<M> {
  readonly message: M;
  /** Headers of the reply. */
  readonly headers: Headers;
  /** Attempts it took. */
  readonly attempts: number;
  /** Names the call in the server's logs. */
  readonly requestId: string;
  /** Whether this is the stored outcome of an earlier call with the same idempotency key. */
  readonly replayed: boolean;
}

/** A client of one Sewa server. Calls may be made at the same time; close it at the end. */
export class BaseClient {
  readonly #parts: Parts;
  readonly #credentials: Credentials;

  /** @internal */
  constructor(credentials: Credentials, parts: Parts) {
    this.#credentials = credentials;
    this.#parts = parts;
  }

  /** What stubs of connect-es are built on. */
  get transport(): Transport {
    return runtimeTransport(this.#parts);
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#parts.connection.closed;
  }

  /** Limits of repeats. */
  get policy(): RetryPolicy {
    return this.#parts.core.policy;
  }

  /** The stub of a service: `client.service(WalletService).getWallet({})`. */
  service<S extends DescService>(service: S): ServiceClient<S> {
    return createClient(service, this.transport);
  }

  /** A view of this client with other limits, which shares its connections, session and budget. */
  withOptions(limits: Limits): BaseClient {
    return new BaseClient(this.#credentials, { ...this.#parts, core: this.#parts.core.with(limits) });
  }

  /**
   * Calls a unary method and returns its reply with all that came along: `client.call(OrderService.method.placeOrder, {…}, { idempotencyKey })`. By a name,
   * `sewa.wallet.v1.WalletService/GetWallet`, it takes a message or protobuf JSON.
   *
   * Throws a `SewaError`, and a `TypeError` for a method or a field the contract does not know.
   */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    settings?: CallSettings,
  ): Promise<Reply<MessageShape<O>>>;
  call(method: string, request: JsonValue | Message, settings?: CallSettings): Promise<Reply<Message>>;
  async call(method: string | DescMethodUnary, request: unknown, settings: CallSettings = {}): Promise<Reply<Message>> {
    const [descriptor, input] =
      typeof method === "string" ? this.#resolve(method, request) : [method, create(method.input, request as MessageInitShape<DescMessage>)];
    const headers = new Headers(settings.headers);
    if (settings.idempotencyKey !== undefined) headers.set("idempotency-key", settings.idempotencyKey);
    const parts = { ...this.#parts, core: this.#parts.core.with(settings) };
    const { response, plan } = await invoke(parts, descriptor, settings.signal, settings.timeoutMs, headers, input);
    return {
      message: response.message,
      headers: response.header,
      attempts: plan.attempts,
      requestId: response.header.get("x-request-id") ?? plan.requestId,
      replayed: response.header.get("idempotency-replayed") === "true",
    };
  }

  #resolve(name: string, request: unknown): [DescMethodUnary, Message] {
    const { methods, registry } = this.#parts.core.rules;
    const found = methods.get(name.replace(/^\//, ""))?.descriptor;
    if (found === undefined) throw new TypeError(`the contract has no method ${name}`);
    if (found.methodKind !== "unary") throw new TypeError(`${name} is a stream: use its stub`);
    const descriptor = found as DescMethodUnary;
    if (isMessage(request)) {
      if (request.$typeName === descriptor.input.typeName) return [descriptor, request];
      throw new TypeError(`${name} takes ${descriptor.input.typeName}, not ${request.$typeName}`);
    }
    try {
      return [descriptor, fromJson(descriptor.input, request as JsonValue, { registry })];
    } catch (error) {
      throw new TypeError(`not a request of ${name}: ${String(error)}`);
    }
  }

  /** Ends calls under way and closes the connections. Calls made later fail. */
  close(): void {
    this.#parts.connection.close();
  }

  /** Says who it calls as, without the secret. */
  toString(): string {
    return `Client(${String(this.#credentials)})`;
  }
}

/** The parts of a client on a bare transport. */
export function partsOf(connection: Connection, credentials: Credentials, options: ClientOptions, headers: readonly (readonly [string, string])[]): Parts {
  const core = new Core(options, headers);
  const nobody: Parts = { core, connection, authority: { bearer: () => undefined, renew: async () => false } };
  return { core, connection, authority: credentials.authority(runtimeTransport(nobody)) };
}

/** The origin of an endpoint. Throws a `TypeError` unless it is `http://` or `https://` with a host, and a port if need be. */
export function originOf(endpoint: string): string {
  let url: URL | undefined;
  try {
    url = new URL(endpoint);
  } catch {
    // Said below.
  }
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== "/" || url.search || url.hash || url.username) {
    throw new TypeError(`an endpoint is http:// or https:// with a host, and a port if need be, not '${endpoint}'`);
  }
  return url.origin;
}

/** What the SDK calls itself, with the name of the program. */
export function agentOf(version: string, program: string | undefined): string {
  return program === undefined ? `sewa-sdk-typescript/${version}` : `sewa-sdk-typescript/${version} ${program}`;
}
