// Following the event log.
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { BaseClient } from "./client.js";
import { expired, SewaError, type StatusCode } from "./errors.js";
import { EventService, type Event, type EventType, type WatchEventsRequestSchema } from "./generated/sewa/event/v1/event_pb.js";
import { delayMs, sleep } from "./retry.js";
import { linked } from "./transport.js";

/** The server sends a checkpoint about every 15 s, so a stream silent for so many milliseconds is dead, whatever the connection says. */
export const SILENCE_MS = 60_000;

// Ids remembered to recognise repeats. A server repeats at most what it sent around the moment of a cut.
const REMEMBERED = 4096;
const INCURABLE: readonly StatusCode[] = [
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "PERMISSION_DENIED",
  "FAILED_PRECONDITION",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "UNAUTHENTICATED",
  "DATA_LOSS",
];

/** What to watch. */
export interface WatchOptions {
  /** Begin after it, normally the cursor of the last event dealt with; now, if it is absent. */
  readonly resumeCursor?: string | undefined;
  /** Only events of these types; numbers of a later contract are allowed. */
  readonly types?: readonly EventType[] | undefined;
  /** Only events of this resource. */
  readonly subjectId?: string | undefined;
  /** After so many milliseconds without a message a stream is taken for dead; 60 000 if absent. */
  readonly silenceMs?: number | undefined;
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Follows the event log without loss and without repeats, across lost connections, restarts of servers and expired tokens.
 *
 * Keep the `cursor` of each event once it is dealt with. The iteration throws only a `SewaError` that a new connection cannot cure. One of them is
 * `CURSOR_EXPIRED`: list the resources again, then watch from the metadata's `oldest_cursor`.
 */
export async function* watch(client: BaseClient, options: WatchOptions = {}): AsyncGenerator<Event, void, undefined> {
  const { subjectId = "", silenceMs = SILENCE_MS, signal } = options;
  const events = client.service(EventService);
  const recent = new Set<string>();
  let cursor = options.resumeCursor ?? "";
  let cuts = 0;
  while (!signal?.aborted) {
    const stop = linked(signal);
    let heard = false;
    let silent = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const listen = (): void => {
      timer = setTimeout(() => {
        silent = true;
        stop.abort();
      }, silenceMs);
    };
    let error = new SewaError("UNAVAILABLE", "the stream ended");
    try {
      const request: MessageInitShape<typeof WatchEventsRequestSchema> = { resumeCursor: cursor, subjectId, checkpoints: true, types: [...(options.types ?? [])] };
      listen();
      for await (const message of events.watchEvents(request, { signal: stop.signal })) {
        // The reader may take its time.
        clearTimeout(timer);
        heard = true;
        cuts = 0;
        cursor = message.cursor;
        const event = message.item.case === "event" ? message.item.value : undefined;
        if (event !== undefined && !recent.has(event.id)) {
          recent.add(event.id);
          if (recent.size > REMEMBERED) recent.delete(recent.values().next().value ?? "");
          yield event;
        }
        listen();
      }
    } catch (thrown) {
      if (signal?.aborted) return;
      if (!(thrown instanceof SewaError)) throw thrown;
      error = silent ? expired("ATTEMPT") : thrown;
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
    // Opening renews an expired token. If opening itself ends so, there is nothing to renew it with.
    const curable = error.reason === "TOKEN_EXPIRED" ? heard : !INCURABLE.includes(error.code);
    if (!curable || client.closed) throw error;
    cuts += 1;
    await sleep(delayMs(client.policy, cuts, error.retryAfterMs), signal);
  }
}
