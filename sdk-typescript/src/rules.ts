// What the contract says about each method and each error reason, read from the descriptors of the generated stubs. Nothing in here names a method, so an RPC
// added to the contract is obeyed as soon as its stub is generated.
import { createRegistry, getOption, hasOption, type DescEnum, type DescFile, type DescMethod, type Registry } from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Level } from "@bufbuild/protobuf/wkt";
import { DIGEST, FILES } from "./generated/contract.js";
import { file_google_rpc_error_details } from "./generated/google/rpc/error_details_pb.js";
import { error, IdempotencyMode, method, RetryClass as Declared } from "./generated/sewa/api/v1/options_pb.js";

/**
 * Whether a method may be repeated when it is not known if the first try took effect: never; freely, because it is a read or idempotent by itself; or with
 * the same idempotency key.
 */
export type Repeat = "UNSAFE" | "FREE" | "KEYED";

/**
 * What a client may repeat after an error: the same call, with the same idempotency key; a new call, after reading the state again; or nothing, because
 * repeating cannot help until something else changes.
 */
export type RetryClass = "CALL" | "UNIT_OF_WORK" | "NOTHING";

/** The rule of one method. */
export interface MethodRule {
  readonly descriptor: DescMethod;
  /** `package.Service/Method`. */
  readonly name: string;
  readonly repeat: Repeat;
  /** True where the method can be called without credentials. */
  readonly public: boolean;
  /** Milliseconds a call may take when the caller does not say. */
  readonly defaultTimeoutMs: number | undefined;
}

/** The rule of one error reason. */
export interface ReasonRule {
  /** gRPC code in capitals, for example `FAILED_PRECONDITION`. */
  readonly code: string;
  readonly retry: RetryClass;
  /** What the caller should do, in one sentence. */
  readonly remedy: string;
}

/** The rules of a contract. */
export interface Rules {
  /** Methods by name, `package.Service/Method`. */
  readonly methods: ReadonlyMap<string, MethodRule>;
  /** Error reasons by name, for example `INSUFFICIENT_BALANCE`. */
  readonly reasons: ReadonlyMap<string, ReasonRule>;
  /** Every message, for protobuf JSON that holds an `Any`. */
  readonly registry: Registry;
}

/** Reads any descriptors that declare their rules with the `sewa.api.v1` options. */
export function readRules(files: readonly DescFile[]): Rules {
  const methods = new Map<string, MethodRule>();
  const reasons = new Map<string, ReasonRule>();
  for (const file of files) {
    for (const found of file.services.flatMap((service) => service.methods)) {
      methods.set(nameOf(found), methodRule(found));
    }
    for (const found of file.enums.filter((one) => one.name.endsWith("ErrorReason"))) addReasons(reasons, found);
  }
  return { methods, reasons, registry: createRegistry(...files, file_google_rpc_error_details) };
}

let read: Rules | undefined;

/** The rules of the contract this package was generated from. */
export function contract(): Rules {
  return (read ??= readRules(FILES));
}

/** SHA-256 of the contract this package was generated from, in hexadecimal: what a server sends as `x-sewa-contract`. */
export function contractDigest(): string {
  return DIGEST;
}

/** `package.Service/Method`. */
export function nameOf(descriptor: DescMethod): string {
  return `${descriptor.parent.typeName}/${descriptor.name}`;
}

const CLASSES: Record<number, RetryClass> = { [Declared.CALL]: "CALL", [Declared.UNIT_OF_WORK]: "UNIT_OF_WORK" };
const CAUTION: Record<RetryClass, number> = { CALL: 1, UNIT_OF_WORK: 2, NOTHING: 3 };

function addReasons(reasons: Map<string, ReasonRule>, found: DescEnum): void {
  const prefix = `${found.name.replace(/(?<!^)(?=[A-Z])/g, "_").toUpperCase()}_`;
  for (const value of found.values) {
    if (!hasOption(value, error)) continue;
    const declared = getOption(value, error);
    const retry = CLASSES[declared.retry] ?? "NOTHING";
    const name = value.name.startsWith(prefix) ? value.name.slice(prefix.length) : value.name;
    const known = reasons.get(name);
    // Two services may use one word; the careful advice wins, because a needless error is cheaper than a wrong repeat.
    if (known === undefined || CAUTION[known.retry] < CAUTION[retry]) {
      reasons.set(name, { code: declared.code, retry, remedy: declared.remedy });
    }
  }
}

function methodRule(descriptor: DescMethod): MethodRule {
  const declared = getOption(descriptor, method);
  const idempotent = descriptor.idempotency === Level.NO_SIDE_EFFECTS || descriptor.idempotency === Level.IDEMPOTENT;
  let repeat: Repeat = "UNSAFE";
  if (declared.idempotency === IdempotencyMode.KEY_OPTIONAL || declared.idempotency === IdempotencyMode.KEY_REQUIRED) repeat = "KEYED";
  else if (declared.idempotency === IdempotencyMode.NONE && idempotent) repeat = "FREE";
  const span = declared.deadline?.default;
  const defaultTimeoutMs = span ? Number(span.seconds) * 1000 + span.nanos / 1e6 : 0;
  const isPublic = declared.access.case === "public" && declared.access.value;
  return { descriptor, name: nameOf(descriptor), repeat, public: isPublic, defaultTimeoutMs: defaultTimeoutMs || undefined };
}
