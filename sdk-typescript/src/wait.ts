// Waiting for work that outlives its call.
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { BaseClient } from "./client.js";
import { expired, ofStatus, SewaError } from "./errors.js";
import { Operation_State as State, type Operation } from "./generated/sewa/api/v1/operation_pb.js";
import { OperationService } from "./generated/sewa/operation/v1/operation_pb.js";
import { delayMs, sleep } from "./retry.js";

// One long poll: short enough for proxies that cut idle connections after a minute. With progress, a server answers when the operation is final or the time is
// over, not at every step.
const POLL_MS = 30_000;
const PROGRESS_POLL_MS = 1000;
// What the answer may take on top.
const SLACK_MS = 5000;

/** How to wait. */
export interface WaitOptions {
  /** Milliseconds to wait at most. When they are over the operation goes on, and can be waited for again by its id. */
  readonly timeoutMs?: number | undefined;
  /** Is shown the operation at once, and again when it got further. */
  readonly progress?: ((operation: Operation) => void) | undefined;
  /** Ends the waiting, not the operation. */
  readonly signal?: AbortSignal | undefined;
}

/** Waits until an operation succeeded, and returns it. If it failed or was cancelled, the `SewaError` thrown is the operation's own. */
export async function wait(client: BaseClient, operationId: string, options: WaitOptions = {}): Promise<Operation> {
  const { progress, signal } = options;
  const end = options.timeoutMs === undefined ? Infinity : performance.now() + options.timeoutMs;
  let span = progress ? 0 : POLL_MS;
  let seen = "";
  let idle = 0;
  for (;;) {
    const begun = performance.now();
    const now = Math.min(span, end - begun);
    if (end - begun <= 0) throw expired("CALLER");
    let failure: SewaError | undefined;
    try {
      const operation = await ask(client, operationId, now, end - begun, signal);
      const mark = `${operation.state} ${operation.progressPercent} ${operation.step}`;
      if (mark !== seen) {
        progress?.(operation);
        span = progress ? PROGRESS_POLL_MS : POLL_MS;
        seen = mark;
        idle = 0;
      }
      if (succeeded(operation)) return operation;
    } catch (thrown) {
      failure = outOfReach(thrown, end);
    }
    // A server may answer before the time is over; it is not to be asked in a tight loop for that.
    if (failure === undefined && performance.now() - begun >= Math.min(now / 2, 1000)) continue;
    idle += 1;
    await sleep(Math.min(delayMs(client.policy, idle, failure?.retryAfterMs), Math.max(end - performance.now(), 0)), signal);
  }
}

/** One look, which the server answers when the operation is final or `pollMs` are over. */
async function ask(client: BaseClient, operationId: string, pollMs: number, leftMs: number, signal: AbortSignal | undefined): Promise<Operation> {
  // A long poll is meant to take long, whatever the client's time for an attempt is; but not longer than the caller has.
  const stub = client.withOptions({ attemptTimeoutMs: pollMs + SLACK_MS }).service(OperationService);
  const settings = { timeoutMs: Math.min(pollMs + SLACK_MS, leftMs), ...(signal && { signal }) };
  const { operation } = await stub.waitOperation({ operationId, timeout: durationFromMs(Math.floor(pollMs)) }, settings);
  if (operation === undefined) throw new SewaError("INTERNAL", "the server answered without the operation");
  return operation;
}

/** The error of a server that is waited for, because the operation does not depend on who watches it. Any other error is thrown. */
function outOfReach(thrown: unknown, end: number): SewaError {
  // The operation's own errors were made by no call.
  if (!(thrown instanceof SewaError) || !thrown.ofCall) throw thrown;
  if (thrown.ownClock !== undefined && performance.now() >= end - 5) throw expired("CALLER");
  if (thrown.retry !== "CALL") throw thrown;
  return thrown;
}

/** Whether it has; throws its own error if it will not. */
function succeeded(operation: Operation): boolean {
  switch (operation.state) {
    case State.SUCCEEDED:
      return true;
    case State.CANCELLED:
      throw new SewaError("CANCELLED", "the operation was cancelled");
    case State.FAILED:
      throw ofStatus(operation.error);
    case State.PENDING:
    case State.RUNNING:
      return false;
    default:
      // States of a later contract are final when they have a finish time.
      if (operation.finishTime !== undefined) throw ofStatus(operation.error);
      return false;
  }
}
