// A server in this process for tests of programs that use the SDK: no port, no network, answers of your own, and all of the client's runtime.
import { create, type DescMessage, type DescMethodServerStreaming, type DescMethodUnary, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createRouterTransport, type HandlerContext } from "@connectrpc/connect";
import type { ClientOptions } from "./call.js";
import { BaseClient, partsOf } from "./client.js";
import { Credentials } from "./credentials.js";
import { codeNumber, type FieldViolation } from "./errors.js";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./generated/google/rpc/error_details_pb.js";
import { contract, nameOf } from "./rules.js";
import { Connection } from "./transport.js";

/** Answers a unary method. The context has the headers of the call, and takes those of the reply. */
export type Answer<I extends DescMessage, O extends DescMessage> = (
  request: MessageShape<I>,
  context: HandlerContext,
) => MessageInitShape<O> | Promise<MessageInitShape<O>>;

/** Answers a stream. */
export type StreamAnswer<I extends DescMessage, O extends DescMessage> = (request: MessageShape<I>, context: HandlerContext) => AsyncIterable<MessageInitShape<O>>;

type Init = Record<string, unknown>;
type Stored = (request: unknown, context: HandlerContext) => unknown;

/** A server whose methods are functions. Methods without one answer UNIMPLEMENTED. */
export class Fake {
  readonly #answers = new Map<string, Stored>();

  /** Answers a method: `fake.on(WalletService.method.getWallet, () => ({ wallet: {…} }))`. */
  on<I extends DescMessage, O extends DescMessage>(method: DescMethodUnary<I, O>, answer: Answer<I, O>): this;
  on<I extends DescMessage, O extends DescMessage>(method: DescMethodServerStreaming<I, O>, answer: StreamAnswer<I, O>): this;
  on(method: DescMethodUnary | DescMethodServerStreaming, answer: unknown): this {
    this.#answers.set(nameOf(method), answer as Stored);
    return this;
  }

  /** A client of this server. */
  client(credentials: Credentials = Credentials.nobody(), options: ClientOptions = {}): BaseClient {
    const transport = createRouterTransport(({ rpc }) => {
      for (const { descriptor, name } of contract().methods.values()) {
        const answer = (request: unknown, context: HandlerContext): unknown => {
          const found = this.#answers.get(name);
          if (found === undefined) throw new ConnectError(`the fake has no answer for ${name}`, Code.Unimplemented);
          return found(request, context);
        };
        if (descriptor.methodKind === "unary") {
          rpc(descriptor as DescMethodUnary, (request, context) => answer(request, context) as Promise<Init>);
        } else {
          rpc(descriptor as DescMethodServerStreaming, (request, context) => answer(request, context) as AsyncIterable<Init>);
        }
      }
    });
    return new BaseClient(credentials, partsOf(new Connection(transport), credentials, options, []));
  }
}

/** What a refusal says beside its reason. */
export interface RefusalOptions {
  /** Text for the developer; the remedy of the reason if absent. */
  readonly message?: string;
  readonly metadata?: Record<string, string>;
  readonly retryAfterMs?: number;
  readonly fields?: readonly FieldViolation[];
}

/** An error of the catalogue for an answer to throw: `throw refusal("INSUFFICIENT_BALANCE")`. Throws a `TypeError` for a reason the contract does not know. */
export function refusal(reason: string, options: RefusalOptions = {}): ConnectError {
  const rule = contract().reasons.get(reason);
  if (rule === undefined) throw new TypeError(`the contract has no error reason ${reason}`);
  const error = new ConnectError(options.message ?? rule.remedy, codeNumber(rule.code));
  error.details.push({ desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { reason, domain: "sewa", metadata: options.metadata ?? {} }) });
  if (options.retryAfterMs !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: create(RetryInfoSchema, { retryDelay: durationFromMs(options.retryAfterMs) }) });
  }
  if (options.fields !== undefined) {
    error.details.push({ desc: BadRequestSchema, value: create(BadRequestSchema, { fieldViolations: [...options.fields] }) });
  }
  return error;
}
