// One call: the headers it needs, its clocks, and what follows each attempt. Decides everything and does no I/O; `transport` carries it out.
import type { DescMethod } from "@bufbuild/protobuf";
import { expired, type Clock, type SewaError, type StatusCode } from "./errors.js";
import { Budget, DEFAULT_RETRY, delayMs, type RetryPolicy } from "./retry.js";
import { contract, contractDigest, nameOf, type MethodRule, type Rules } from "./rules.js";

const KEY = "idempotency-key";
const REQUEST_ID = "x-request-id";
const AUTHORIZATION = "authorization";

/** One attempt of a call, after it ended. */
export interface Attempt {
  /** Path of the method, `/package.Service/Method`. */
  readonly method: string;
  /** The id all attempts of one call share. */
  readonly requestId: string;
  /** Number of the attempt, from 1. */
  readonly number: number;
  /** How it ended. A stream counts as OK once its first message came. */
  readonly code: StatusCode;
  /** The reason, if it failed and the server gave one. */
  readonly reason: string | undefined;
  /** Milliseconds it took. */
  readonly elapsedMs: number;
  /** Milliseconds to the next attempt; undefined after the last one. */
  readonly repeatAfterMs: number | undefined;
}

/** Settings of a client. */
export interface ClientOptions {
  /** Limits of repeats that differ from the usual. */
  readonly retry?: Partial<RetryPolicy>;
  /** Milliseconds of a unary call that is given none, instead of the contract's. */
  readonly timeoutMs?: number;
  /** Most milliseconds of each attempt of a unary call. */
  readonly attemptTimeoutMs?: number;
  /** Receives every attempt, for metrics and traces. Called on the path of the call, so it must not take long. */
  readonly observer?: (attempt: Attempt) => void;
  /** Receives deprecations and differences of the contract, each once; otherwise they go to `console.warn`. */
  readonly onNotice?: (text: string) => void;
  /** Language of texts for end users, as in `accept-language`. */
  readonly locale?: string;
  /** Name and version of the program, sent beside those of the SDK. */
  readonly userAgent?: string;
}

/** What calls may do differently from their client's settings. */
export interface Limits {
  /** Attempts of one call, the first included. */
  readonly maxAttempts?: number | undefined;
  /** Most milliseconds of each attempt. */
  readonly attemptTimeoutMs?: number | undefined;
}

/** Credentials ready to send, and which renewal they came from. */
export interface Bearer {
  readonly header: string;
  readonly renewal: number;
}

/** Says once what an operator should hear: a method is going away, or the server speaks another contract. */
class Notices {
  readonly #say: (text: string) => void;
  readonly #said = new Set<string>();

  constructor(say: (text: string) => void) {
    this.#say = say;
  }

  read(name: string, headers: Headers): void {
    const digest = headers.get("x-sewa-contract");
    if (digest !== null && digest !== contractDigest() && this.#first("contract")) {
      const own = contractDigest();
      this.#say(`the server's contract '${digest}' is not the one this SDK was generated from, ${own}; calls work as far as both know them`);
    }
    for (const header of ["deprecation", "warning", "warnings"]) {
      const value = headers.get(header);
      if (value === null || !this.#first(name)) continue;
      this.#say(`the server warns about ${name}, ${header}: '${value}'; sunset: ${headers.get("sunset") ?? "not announced"}`);
    }
  }

  #first(what: string): boolean {
    return !this.#said.has(what) && this.#said.add(what).has(what);
  }
}

/** What all calls of a client share. */
export class Core {
  readonly policy: RetryPolicy;
  readonly budget: Budget;
  readonly notices: Notices;
  readonly headers: readonly (readonly [string, string])[];
  readonly timeoutMs: number | undefined;
  readonly observer: ((attempt: Attempt) => void) | undefined;
  readonly rules: Rules = contract();
  readonly limits: Limits;

  constructor(options: ClientOptions, headers: readonly (readonly [string, string])[]) {
    this.policy = { ...DEFAULT_RETRY, ...options.retry };
    this.budget = new Budget(this.policy);
    this.notices = new Notices(options.onNotice ?? ((text) => console.warn(`sewa: ${text}`)));
    this.headers = options.locale === undefined ? headers : [...headers, ["accept-language", options.locale]];
    this.timeoutMs = options.timeoutMs;
    this.observer = options.observer;
    this.limits = { attemptTimeoutMs: options.attemptTimeoutMs };
  }

  /** The same, shared, with other limits. */
  with(limits: Limits): Core {
    const merged: Limits = {
      maxAttempts: limits.maxAttempts ?? this.limits.maxAttempts,
      attemptTimeoutMs: limits.attemptTimeoutMs ?? this.limits.attemptTimeoutMs,
    };
    return Object.assign(Object.create(Core.prototype) as Core, this, { limits: merged });
  }
}

/** What follows a failed attempt: a wait of so many milliseconds, renewed credentials, or the end. */
export type Following = { readonly kind: "wait"; readonly ms: number } | { readonly kind: "renew" } | { readonly kind: "end"; readonly error: SewaError };

/** A call under way. */
export class Plan {
  readonly name: string;
  readonly requestId: string;
  readonly key: string | undefined;
  readonly hasOwnCredentials: boolean;
  attempts = 0;
  readonly #core: Core;
  readonly #method: DescMethod;
  readonly #rule: MethodRule | undefined;
  readonly #headers: Headers;
  readonly #deadline: number | undefined;
  readonly #clock: Clock;
  #limit: { readonly end: number; readonly clock: Clock } | undefined;
  #started = 0;
  #renewed = false;

  constructor(core: Core, method: DescMethod, timeoutMs: number | undefined, given: HeadersInit | undefined) {
    this.#core = core;
    this.#method = method;
    this.name = nameOf(method);
    this.#rule = core.rules.methods.get(this.name);
    const headers = new Headers(given);
    for (const [name, value] of core.headers) if (!headers.has(name)) headers.set(name, value);
    if (!headers.has(REQUEST_ID)) headers.set(REQUEST_ID, uuid());
    if (!headers.has(KEY) && this.#rule?.repeat === "KEYED") headers.set(KEY, uuid());
    this.hasOwnCredentials = headers.has(AUTHORIZATION);
    this.requestId = headers.get(REQUEST_ID) ?? "";
    this.key = headers.get(KEY) ?? undefined;
    this.#headers = headers;
    // A stream is meant to last: the client's time is for unary calls.
    const own = timeoutMs ?? (this.#method.methodKind === "unary" ? core.timeoutMs : undefined);
    const span = own ?? this.#rule?.defaultTimeoutMs;
    this.#clock = own === undefined ? "CONTRACT" : "CALLER";
    this.#deadline = span === undefined ? undefined : performance.now() + span;
  }

  /** Whether the method works without credentials. */
  get public(): boolean {
    return this.#rule?.public ?? false;
  }

  /** Begins an attempt; throws if the time is over. */
  begin(): void {
    this.attempts += 1;
    this.#started = performance.now();
    this.leftMs();
  }

  /** Milliseconds left for the call; throws if there are none. */
  leftMs(): number | undefined {
    if (this.#deadline === undefined) return undefined;
    const left = this.#deadline - performance.now();
    if (left < 1) throw this.final(expired(this.#clock));
    return left;
  }

  /** Headers of this attempt, and its milliseconds. */
  head(bearer: Bearer | undefined): { headers: Headers; timeoutMs: number | undefined } {
    const headers = this.#headers;
    if (bearer !== undefined) headers.set(AUTHORIZATION, bearer.header);
    // Those of the last attempt, which may have ended.
    else if (!this.hasOwnCredentials) headers.delete(AUTHORIZATION);
    if (this.attempts > 1) headers.set("x-sewa-retry-count", String(this.attempts - 1));
    const now = performance.now();
    this.#limit = this.#deadline === undefined ? undefined : { end: this.#deadline, clock: this.#clock };
    const own = this.#method.methodKind === "unary" ? this.#core.limits.attemptTimeoutMs : undefined;
    if (own !== undefined && (this.#limit === undefined || now + own < this.#limit.end)) this.#limit = { end: now + own, clock: "ATTEMPT" };
    // connect-es takes zero for no limit.
    return { headers, timeoutMs: this.#limit && Math.max(Math.floor(this.#limit.end - now), 1) };
  }

  /** The attempt succeeded. */
  answered(headers: Headers): void {
    this.#core.budget.succeeded();
    this.#observe("OK", undefined, undefined);
    this.#core.notices.read(this.name, headers);
  }

  /** The attempt failed. */
  failed(thrown: SewaError, used: Bearer | undefined): Following {
    const error = this.timed(thrown);
    const following = this.#following(error, used);
    this.#observe(error.code, error.reason, following.kind === "end" ? undefined : following.kind === "wait" ? following.ms : 0);
    return following;
  }

  /** A stream was opened, or was not. It is not opened again once it runs, because only its reader knows how far it came. */
  opened(outcome: Headers | SewaError, used: Bearer | undefined): Following | undefined {
    if (outcome instanceof Headers) {
      this.#observe("OK", undefined, undefined);
      this.#core.notices.read(this.name, outcome);
      return undefined;
    }
    const error = this.timed(outcome);
    const renew = this.#mayRenew(error, used);
    this.#observe(error.code, error.reason, renew ? 0 : undefined);
    return renew ? { kind: "renew" } : { kind: "end", error: this.final(error) };
  }

  /** Adds to a failure the request id to report and the key to repeat with. */
  final(error: SewaError): SewaError {
    return error.tell({ requestId: this.requestId, idempotencyKey: this.key, attempts: Math.max(this.attempts, 1) });
  }

  /** Tells our own time-out from one of the server, which gives a reason. */
  timed(error: SewaError): SewaError {
    if (error.code !== "DEADLINE_EXCEEDED" || error.reason !== undefined || this.#limit === undefined) return error;
    // A timer may fire a little early by another clock.
    return performance.now() >= this.#limit.end - 5 ? expired(this.#limit.clock) : error;
  }

  /** Once: a server that finds a token expired which it has just issued will not change its mind. */
  #mayRenew(error: SewaError, used: Bearer | undefined): boolean {
    if (error.reason !== "TOKEN_EXPIRED" || used === undefined || this.#renewed) return false;
    this.#renewed = true;
    return true;
  }

  #following(error: SewaError, used: Bearer | undefined): Following {
    const end: Following = { kind: "end", error: this.final(error) };
    if (error.reason === "TOKEN_EXPIRED") return this.#mayRenew(error, used) ? { kind: "renew" } : end;
    const { policy, limits, budget } = this.#core;
    if (!this.#repeatable(error) || !budget.failed() || this.attempts >= (limits.maxAttempts ?? policy.maxAttempts)) return end;
    const ms = delayMs(policy, this.attempts, error.retryAfterMs);
    // Better the server's own words now than a time-out later.
    return this.#deadline !== undefined && performance.now() + ms >= this.#deadline ? end : { kind: "wait", ms };
  }

  #repeatable(error: SewaError): boolean {
    if (error.ownClock === "CALLER" || error.ownClock === "CONTRACT") return false;
    const known = this.#core.rules.reasons.get(error.reason ?? "");
    let advised = error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED";
    if (known) advised = known.retry === "CALL";
    else if (error.code === "RESOURCE_EXHAUSTED" || error.code === "ABORTED") advised = error.retryAfterMs !== undefined;
    // Of an unsafe method only what surely never began: the connection was not made, or the call was turned away at the door.
    if (this.#rule === undefined || this.#rule.repeat === "UNSAFE") return error.unsent || (advised && error.code === "RESOURCE_EXHAUSTED");
    return advised;
  }

  #observe(code: StatusCode, reason: string | undefined, repeatAfterMs: number | undefined): void {
    this.#core.observer?.({
      method: `/${this.name}`,
      requestId: this.requestId,
      number: this.attempts,
      code,
      reason,
      elapsedMs: performance.now() - this.#started,
      repeatAfterMs,
    });
  }
}

/** A random id. `crypto.randomUUID` is missing on pages that were not served over TLS. */
export function uuid(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}
