// What went wrong, typed: the reason, the fields at fault, and whether and when to try again. Everything is taken from the standard details of a
// google.rpc.Status, so an error of a newer server, with a reason this package has never heard of, keeps all it carries.
import { fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  LocalizedMessageSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./generated/google/rpc/error_details_pb.js";
import type { Status } from "./generated/google/rpc/status_pb.js";
import { contract, type RetryClass } from "./rules.js";

const NAMES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** Name of a gRPC status code. */
export type StatusCode = (typeof NAMES)[number];

/** Name of a gRPC status code by its number; an unknown one is `UNKNOWN`. */
export function statusCode(number: number): StatusCode {
  return NAMES[number] ?? "UNKNOWN";
}

/** Number of a gRPC status code, for errors made by a fake. */
export function codeNumber(name: string): Code {
  const found = NAMES.findIndex((one) => one === name);
  return found > 0 ? found : Code.Unknown;
}

/** A clock of this side that ran out: the time given by the caller or the client, that of the contract, or that of one attempt. */
export type Clock = "CALLER" | "CONTRACT" | "ATTEMPT";

const CLOCKS: Record<Clock, string> = {
  CALLER: "the time given by the caller is over",
  CONTRACT: "the time the contract allows is over",
  ATTEMPT: "one attempt took too long",
};

/** One field of the request that breaks a rule. */
export interface FieldViolation {
  /** Path of the field, for example `items[2].plan_id`. */
  readonly field: string;
  /** The rule that is broken, for example `STRING_UUID`. */
  readonly reason: string;
  /** English text for the developer. */
  readonly description: string;
}

/** One quota that is used up. */
export interface QuotaViolation {
  readonly subject: string;
  readonly metric: string;
  readonly limit: bigint;
  readonly description: string;
}

/** The standard details of a status. */
interface Details {
  reason?: string;
  metadata?: Readonly<Record<string, string>>;
  retryAfterMs?: number;
  fieldViolations?: readonly FieldViolation[];
  quotaViolations?: readonly QuotaViolation[];
  localized?: string;
  requestId?: string;
}

type Part = { readonly type: string; readonly value: Uint8Array };

function readDetails(parts: readonly Part[]): Details {
  const details: Details = {};
  for (const part of parts) {
    try {
      addDetail(details, part);
    } catch {
      // A malformed detail must not hide the code and the message.
    }
  }
  return details;
}

function addDetail(details: Details, { type, value }: Part): void {
  switch (type) {
    case ErrorInfoSchema.typeName: {
      const info = fromBinary(ErrorInfoSchema, value);
      if (info.reason) details.reason = info.reason;
      details.metadata = info.metadata;
      break;
    }
    case RetryInfoSchema.typeName: {
      const span = fromBinary(RetryInfoSchema, value).retryDelay;
      const ms = span ? Number(span.seconds) * 1000 + span.nanos / 1e6 : -1;
      if (ms >= 0) details.retryAfterMs = ms;
      break;
    }
    case BadRequestSchema.typeName:
      details.fieldViolations = fromBinary(BadRequestSchema, value).fieldViolations.map(({ field, reason, description }) => ({ field, reason, description }));
      break;
    case QuotaFailureSchema.typeName:
      details.quotaViolations = fromBinary(QuotaFailureSchema, value).violations.map((one) => ({
        subject: one.subject,
        metric: one.quotaMetric,
        limit: one.quotaValue,
        description: one.description,
      }));
      break;
    case LocalizedMessageSchema.typeName:
      details.localized = fromBinary(LocalizedMessageSchema, value).message;
      break;
    case RequestInfoSchema.typeName: {
      const id = fromBinary(RequestInfoSchema, value).requestId;
      if (id) details.requestId = id;
      break;
    }
    default:
  }
}

interface Origin {
  readonly details?: Details;
  readonly headers?: Headers;
  readonly ownClock?: Clock;
  readonly unsent?: boolean;
  readonly cause?: unknown;
}

/** What the runtime adds to an error when a call ends with it. */
export interface CallFacts {
  readonly requestId: string;
  readonly idempotencyKey: string | undefined;
  readonly attempts: number;
}

const BRAND = Symbol.for("sewa.SewaError");

/** An error of a call. Its text and what the console shows of it hold no secret. */
export class SewaError extends Error {
  override readonly name = "SewaError";
  /** The gRPC status code. */
  readonly code: StatusCode;
  /** English text for the developer, alone; `message` adds reason, fields and request id. */
  readonly rawMessage: string;
  /** Which clock of this side ran out; undefined where the server gave the answer, be it `DEADLINE_EXCEEDED`. */
  readonly ownClock: Clock | undefined;
  readonly #details: Details;
  // Metadata of an answer can carry a session, so the console does not see it.
  readonly #headers: Headers;
  readonly #unsent: boolean;
  #facts: CallFacts | undefined;

  constructor(code: StatusCode, message: string, origin: Origin = {}) {
    super(message, origin.cause === undefined ? {} : { cause: origin.cause });
    this.code = code;
    this.rawMessage = message;
    this.ownClock = origin.ownClock;
    this.#details = origin.details ?? {};
    this.#headers = origin.headers ?? new Headers();
    this.#unsent = origin.unsent ?? false;
    Object.defineProperty(this, BRAND, { value: true });
    this.message = this.#text();
  }

  /** True for the errors of either build of this package, ES modules or CommonJS. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && BRAND in value;
  }

  /** The stable reason, for example `INSUFFICIENT_BALANCE`; undefined where the answer did not come from a Sewa server. */
  get reason(): string | undefined {
    return this.#details.reason;
  }

  /** What the reason tells, by key; errors.md lists the keys of each reason. */
  get metadata(): Readonly<Record<string, string>> {
    return this.#details.metadata ?? {};
  }

  /** Fields of the request that break a rule. */
  get fieldViolations(): readonly FieldViolation[] {
    return this.#details.fieldViolations ?? [];
  }

  /** Quotas that are used up. */
  get quotaViolations(): readonly QuotaViolation[] {
    return this.#details.quotaViolations ?? [];
  }

  /** Text for an end user, in the language that was asked for. */
  get localizedMessage(): string | undefined {
    return this.#details.localized;
  }

  /** Names the call in the server's logs. */
  get requestId(): string | undefined {
    return this.#details.requestId ?? this.#headers.get("x-request-id") ?? this.#facts?.requestId;
  }

  /** The key the call was made with. Repeating with it, even in another process, cannot do the work twice. */
  get idempotencyKey(): string | undefined {
    return this.#facts?.idempotencyKey;
  }

  /** Attempts that were made. */
  get attempts(): number {
    return this.#facts?.attempts ?? 1;
  }

  /** What may be repeated. The catalogue decides; a reason it does not know is judged by its code alone. */
  get retry(): RetryClass {
    const known = contract().reasons.get(this.reason ?? "");
    if (known) return known.retry;
    if (this.code === "UNAVAILABLE" || this.code === "DEADLINE_EXCEEDED") return "CALL";
    return this.code === "ABORTED" ? "UNIT_OF_WORK" : "NOTHING";
  }

  /** Milliseconds the server asks to wait first. */
  get retryAfterMs(): number | undefined {
    if (this.#details.retryAfterMs !== undefined) return this.#details.retryAfterMs;
    // For answers made by a proxy that knows no RetryInfo.
    const text = this.#headers.get("retry-after")?.trim() ?? "";
    return /^\d{1,9}$/.test(text) ? Number(text) * 1000 : undefined;
  }

  /** What the catalogue of errors advises, in one sentence. */
  get remedy(): string | undefined {
    return contract().reasons.get(this.reason ?? "")?.remedy;
  }

  /** Headers and trailers of the answer. They can carry a session. */
  get headers(): Headers {
    return this.#headers;
  }

  /** True if no connection was made, so the call surely never began. */
  get unsent(): boolean {
    return this.#unsent;
  }

  /** True for the error of a call, false for one found inside a message, such as that of a failed operation. */
  get ofCall(): boolean {
    return this.#facts !== undefined;
  }

  /** @internal */
  tell(facts: CallFacts): this {
    this.#facts = facts;
    this.message = this.#text();
    return this;
  }

  #text(): string {
    const fields = this.fieldViolations.map((one) => `; ${one.field}: ${one.description}`).join("");
    const request = this.requestId ? ` (request ${this.requestId})` : "";
    return `${this.reason ?? this.code}: ${this.rawMessage}${fields}${request}`;
  }
}

/** The error of a clock of this side that ran out. */
export function expired(clock: Clock): SewaError {
  return new SewaError("DEADLINE_EXCEEDED", CLOCKS[clock], { ownClock: clock });
}

/** The error inside a message, for example that of a failed operation. */
export function ofStatus(status: Status | undefined): SewaError {
  const parts = (status?.details ?? []).map((any) => ({ type: any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1), value: any.value }));
  const code = statusCode(status?.code ?? 0);
  return new SewaError(code === "OK" ? "UNKNOWN" : code, status?.message ?? "", { details: readDetails(parts) });
}

const UNSENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"];
// What connect-es says of answers that stop in the middle. It has no other sign of them.
const CUT = ["http/2 stream closed", "missing trailer", "protocol error: missing status", "protocol error: incomplete envelope", "protocol error: promised"];

/** Reads what a transport of connect-es throws. */
export function ofThrown(thrown: unknown): SewaError {
  if (thrown instanceof SewaError) return thrown;
  const error = ConnectError.from(thrown);
  const cause = error.cause ?? undefined;
  const parts = error.details.filter((part): part is Part & { type: string; value: Uint8Array } => "type" in part);
  const code = statusCode(error.code);
  // Left out of the types of connect-es, it tells what a server said from what went wrong on the way.
  const { isWireError = false } = error as { isWireError?: boolean };
  if (isWireError || parts.length > 0) {
    return new SewaError(code, error.rawMessage, { details: readDetails(parts), headers: error.metadata });
  }
  const unsent = chain(cause).some((one) => UNSENT.includes(codeOf(one)));
  // A broken connection shows itself as anything from CANCELLED to INTERNAL. For a caller it is one thing: the server is out of reach.
  const system = chain(cause).some((one) => codeOf(one) !== "" || (code === "UNKNOWN" && one instanceof Error));
  if (unsent || system || error.code === Code.Aborted || CUT.some((start) => error.rawMessage.startsWith(start))) {
    return new SewaError("UNAVAILABLE", `the connection failed: ${error.rawMessage}`, { unsent, cause });
  }
  return new SewaError(code, error.rawMessage, { headers: error.metadata, cause });
}

/** The code Node gives its errors. */
function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

function chain(cause: unknown): unknown[] {
  const found: unknown[] = [];
  for (let one = cause; one !== undefined && found.length < 8; one = one instanceof Error ? one.cause : undefined) {
    found.push(one);
    if (one instanceof AggregateError) found.push(...one.errors);
  }
  return found;
}
