// The transport under generated stubs: carries out what `call` decides, on top of a bare transport of connect-es.
import type { DescMessage, DescMethodStreaming, DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { ContextValues, StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { Plan, type Bearer, type Core, type Following } from "./call.js";
import type { Authority } from "./credentials.js";
import { ofThrown, SewaError } from "./errors.js";
import { sleep } from "./retry.js";

/** Ends a call: it follows the caller's signal and the connection until it is released. */
interface Stop {
  readonly signal: AbortSignal;
  readonly abort: () => void;
  readonly release: () => void;
}

/** The bare transport, the calls under way, and whether it is closed. */
export class Connection {
  readonly transport: Transport;
  readonly #end: () => void;
  // Not one signal that all calls listen to: Node takes more than ten listeners for a leak, and warns.
  readonly #calls = new Set<() => void>();
  #closed = false;

  constructor(transport: Transport, end: () => void = () => undefined) {
    this.transport = transport;
    this.#end = end;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Begins a call. */
  begin(signal: AbortSignal | undefined): Stop {
    const stop = linked(signal, () => this.#calls.delete(stop.abort));
    if (this.#closed) stop.abort();
    else if (!stop.signal.aborted) this.#calls.add(stop.abort);
    return stop;
  }

  /** Ends calls under way and closes the connections. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const abort of [...this.#calls]) abort();
    this.#end();
  }
}

/** What a client's calls need. */
export interface Parts {
  readonly core: Core;
  readonly connection: Connection;
  readonly authority: Authority;
}

/** A transport that stubs can be built on. */
export function runtimeTransport(parts: Parts): Transport {
  return {
    unary: async (method, signal, timeoutMs, header, input, values) => (await invoke(parts, method, signal, timeoutMs, header, input, values)).response,
    stream: (method, signal, timeoutMs, header, input, values) => openStream(parts, method, signal, timeoutMs, header, input, values),
  };
}

/** Calls a unary method, repeating it as the contract allows. */
export async function invoke<I extends DescMessage, O extends DescMessage>(
  { core, connection, authority }: Parts,
  method: DescMethodUnary<I, O>,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  header: HeadersInit | undefined,
  input: MessageInitShape<I>,
  values?: ContextValues,
): Promise<{ response: UnaryResponse<I, O>; plan: Plan }> {
  const plan = new Plan(core, method, timeoutMs, header);
  const stop = connection.begin(signal);
  try {
    for (;;) {
      plan.begin();
      const bearer = await credentialsFor(plan, authority, connection, stop.signal);
      let following: Following;
      try {
        const head = plan.head(bearer);
        const response = await connection.transport.unary(method, stop.signal, head.timeoutMs, head.headers, input, values);
        plan.answered(response.header);
        return { response, plan };
      } catch (thrown) {
        following = plan.failed(stopped(connection, stop.signal) ?? ofThrown(thrown), bearer);
        if (following.kind === "end") throw following.error;
        if (following.kind === "renew") await renew(plan, authority, connection, bearer, ofThrown(thrown), stop.signal);
      }
      if (following.kind === "wait") await sleep(following.ms, stop.signal);
    }
  } finally {
    stop.release();
  }
}

async function openStream<I extends DescMessage, O extends DescMessage>(
  { core, connection, authority }: Parts,
  method: DescMethodStreaming<I, O>,
  signal: AbortSignal | undefined,
  timeoutMs: number | undefined,
  header: HeadersInit | undefined,
  input: AsyncIterable<MessageInitShape<I>>,
  values: ContextValues | undefined,
): Promise<StreamResponse<I, O>> {
  if (method.methodKind !== "server_streaming") throw new TypeError("the contract has no streams of requests");
  const requests: MessageInitShape<I>[] = [];
  for await (const request of input) requests.push(request);
  const plan = new Plan(core, method, timeoutMs, header);
  const stop = connection.begin(signal);
  let bearer: Bearer | undefined;

  /** Deals with a stream that was not opened: returns if it should be tried again. */
  const failed = async (thrown: unknown): Promise<void> => {
    const error = stopped(connection, stop.signal) ?? ofThrown(thrown);
    const following = plan.opened(error, bearer);
    if (following?.kind !== "renew") throw following?.kind === "end" ? following.error : error;
    await renew(plan, authority, connection, bearer, error, stop.signal);
  };
  const open = async (): Promise<StreamResponse<I, O>> => {
    for (;;) {
      plan.begin();
      bearer = await credentialsFor(plan, authority, connection, stop.signal);
      try {
        const head = plan.head(bearer);
        return await connection.transport.stream(method, stop.signal, head.timeoutMs, head.headers, each(requests), values);
      } catch (thrown) {
        await failed(thrown);
      }
    }
  };

  let response: StreamResponse<I, O>;
  try {
    response = await open();
  } catch (error) {
    stop.release();
    throw error;
  }
  let messages = response.message[Symbol.asyncIterator]();
  // connect-es stops the timer of a deadline only when it is asked for the next message, and a reader who stops early does not ask.
  stop.signal.addEventListener("abort", () => void messages.next().catch(() => undefined));
  async function* read(): AsyncGenerator<MessageShape<O>> {
    let heard = false;
    try {
      for (;;) {
        let next: IteratorResult<MessageShape<O>>;
        try {
          next = await messages.next();
        } catch (thrown) {
          if (heard) throw plan.final(plan.timed(stopped(connection, stop.signal) ?? ofThrown(thrown)));
          await failed(thrown);
          messages = (await open()).message[Symbol.asyncIterator]();
          continue;
        }
        if (!heard) {
          heard = true;
          plan.opened(response.header, bearer);
        }
        if (next.done) return;
        yield next.value;
      }
    } finally {
      // The server is to hear of it when the reader stops early.
      stop.abort();
    }
  }
  return { ...response, message: read() };
}

async function credentialsFor(plan: Plan, authority: Authority, connection: Connection, signal: AbortSignal): Promise<Bearer | undefined> {
  const end = stopped(connection, signal);
  if (end !== undefined) throw plan.final(end);
  if (plan.hasOwnCredentials) return undefined;
  try {
    const bearer = authority.bearer(plan.public, plan.leftMs(), signal);
    return bearer instanceof Promise ? await bearer : bearer;
  } catch (thrown) {
    throw plan.final(stopped(connection, signal) ?? ofThrown(thrown));
  }
}

async function renew(
  plan: Plan,
  authority: Authority,
  connection: Connection,
  refused: Bearer | undefined,
  error: SewaError,
  signal: AbortSignal,
): Promise<void> {
  let renewed: boolean;
  try {
    renewed = refused !== undefined && (await authority.renew(refused, plan.leftMs(), signal));
  } catch (thrown) {
    throw plan.final(stopped(connection, signal) ?? ofThrown(thrown));
  }
  if (!renewed) throw plan.final(error);
}

/** Why a call is not to go on. */
function stopped(connection: Connection, signal: AbortSignal): SewaError | undefined {
  if (connection.closed) return new SewaError("CANCELLED", "the client is closed");
  return signal.aborted ? new SewaError("CANCELLED", "the caller cancelled the call") : undefined;
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}

/** A signal that follows another until it is released. `AbortSignal.any` would keep one object for each call alive as long as the other. */
export function linked(other: AbortSignal | undefined, released: () => void = () => undefined): Stop {
  const controller = new AbortController();
  const release = (): void => {
    other?.removeEventListener("abort", abort);
    released();
  };
  const abort = (): void => {
    release();
    controller.abort();
  };
  if (other?.aborted) controller.abort();
  else other?.addEventListener("abort", abort);
  return { signal: controller.signal, abort, release };
}
