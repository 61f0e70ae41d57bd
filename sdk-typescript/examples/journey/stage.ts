// What every step needs: who calls, how far the log of events was read, and how to wait for what is promised.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client, Credentials, SewaError, timestampDate, wait, watch, type BaseClient } from "@sewa/sdk";
import type { Operation } from "@sewa/sdk/api/v1";
import { EventService, EventType, type Event } from "@sewa/sdk/event/v1";
import type { Money, MoneySchema } from "@sewa/sdk/google/type";

/** Milliseconds anything may take. A server that was killed has to start, and the leases it held have to end, within this. */
export const PATIENCE_MS = 120_000;

/** A promise that was not kept. */
export class Broken extends Error {}

/** The demonstration under way. */
export class Stage {
  readonly endpoint: string;
  client: BaseClient;
  #cursor = "";
  #steps = 0;

  constructor(endpoint: string) {
    this.endpoint = endpoint;
    this.client = connect(endpoint, Credentials.nobody());
  }

  /** The rest is played as somebody else, whose events are followed from here on. */
  async enter(client: BaseClient): Promise<void> {
    this.client.close();
    this.client = client;
    const stop = new AbortController();
    for await (const message of client.service(EventService).watchEvents({ checkpoints: true }, { signal: stop.signal })) {
      this.#cursor = message.cursor;
      break;
    }
    stop.abort();
  }

  /** Begins a step: says what is asked for. */
  asks(what: string): void {
    this.#steps += 1;
    console.log(`${String(this.#steps).padStart(3)}. ${what}`);
  }

  /** Ends a step: says what was observed. */
  sees(what: string): void {
    console.log(`     seen: ${what}`);
  }

  /** Fails the step unless what was promised holds. */
  check(holds: boolean, otherwise: string): void {
    if (!holds) throw new Broken(`step ${this.#steps}: ${otherwise}`);
  }

  /** Fails the step unless the call is refused for this reason, and returns the refusal. */
  async refused(call: () => Promise<unknown>, reason: string): Promise<SewaError> {
    try {
      await call();
    } catch (error) {
      if (!(error instanceof SewaError)) throw error;
      this.check(error.reason === reason, `refused with ${error.message} instead of ${reason}`);
      return error;
    }
    throw new Broken(`step ${this.#steps}: allowed instead of refused with ${reason}`);
  }

  /** Reads the log on until something happens to a subject. Returns what happened to it up to then. */
  async follow(subjectId: string, last: EventType): Promise<Event[]> {
    const read: Event[] = [];
    for await (const event of watch(this.client, { resumeCursor: this.#cursor, subjectId, signal: AbortSignal.timeout(PATIENCE_MS) })) {
      read.push(event);
      this.#cursor = event.cursor;
      if (event.type === last) return read;
    }
    throw new Broken(`${EventType[last]} was not seen`);
  }

  /** Waits until an operation has succeeded, and tells through which steps it went. */
  async finish(operation: Operation | undefined): Promise<string> {
    const steps: string[] = [];
    const progress = (now: Operation): void => void steps.push(`${now.step} ${now.progressPercent} %`);
    await wait(this.client, operation?.id ?? "", { timeoutMs: PATIENCE_MS, progress });
    return steps.join(", ");
  }
}

/** A client that outlasts a restart of the server: calls are repeated until their time is over. */
export function connect(endpoint: string, credentials: Credentials): BaseClient {
  return new Client(endpoint, credentials, {
    retry: { maxAttempts: 10_000, maxDelayMs: 500, budget: 10_000 },
    timeoutMs: PATIENCE_MS,
    attemptTimeoutMs: 10_000,
  });
}

/** What a reply must hold. */
export function given<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new Broken(`the reply has no ${what}`);
  return value;
}

/** Looks again and again until there is something to see. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const seen = await look();
    if (seen !== undefined) return seen;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Broken(`${what} was not seen`);
}

/** The names of events in the contract, without their prefix. */
export function names(events: readonly Event[]): string {
  return events.map((event) => EventType[event.type]).join(", ");
}

/** Whole rupiah. */
export function idr(units: bigint): MessageInitShape<typeof MoneySchema> {
  return { currencyCode: "IDR", units };
}

/** The rupiah of an amount. */
export function units(money: Money | undefined): bigint {
  return money?.units ?? 0n;
}

/** Rupiah for people: `Rp1.234.567`. */
export function rupiah(money: Money | bigint | undefined): string {
  const amount = typeof money === "bigint" ? money : units(money);
  const digits = String(amount < 0n ? -amount : amount).replace(/\B(?=(\d{3})+$)/g, ".");
  return `${amount < 0n ? "-" : ""}Rp${digits}`;
}

/** A moment for people. */
export function moment(time: Parameters<typeof timestampDate>[0] | undefined): string {
  return time === undefined ? "never" : timestampDate(time).toISOString();
}
