// How long to wait before a repeat, and when repeating would only add to the load.

/** Limits of repeats. Times are in milliseconds. */
export interface RetryPolicy {
  /** Attempts of one call, the first included; 5 by default. 1 turns repeats off. */
  readonly maxAttempts: number;
  /** The first wait is at most this long, 100 by default; each later one at most twice the one before. */
  readonly firstDelayMs: number;
  /** No wait the SDK chooses is longer; 5000 by default. */
  readonly maxDelayMs: number;
  /** A wait the server asks for is cut to this; 30 000 by default. */
  readonly maxHintMs: number;
  /** Tokens that failures take, as `retryThrottling.maxTokens` of gRPC; 100 by default. Repeats are made while more than half of them are left. */
  readonly budget: number;
  /** Part of a token that a success gives back, as `retryThrottling.tokenRatio` of gRPC; 0.1 by default. */
  readonly refill: number;
}

/** What holds where a client says nothing. */
export const DEFAULT_RETRY: RetryPolicy = { maxAttempts: 5, firstDelayMs: 100, maxDelayMs: 5000, maxHintMs: 30_000, budget: 100, refill: 0.1 };

/**
 * Milliseconds to wait before repeat number `repeat` (from 1). The server's hint wins, with a little added so that callers told the same do not come back at
 * once; otherwise full jitter.
 */
export function delayMs(policy: RetryPolicy, repeat: number, hintMs: number | undefined): number {
  const chance = Math.random();
  if (hintMs !== undefined) {
    const hint = Math.min(hintMs, policy.maxHintMs);
    return hint + (hint / 10) * chance;
  }
  return Math.min(policy.firstDelayMs * 2 ** Math.min(Math.max(repeat - 1, 0), 16), policy.maxDelayMs) * chance;
}

/**
 * Tokens that failures take and successes give back. One bucket is shared by all calls of a client, so that during an outage the repeats of many callers fade
 * out together.
 */
export class Budget {
  readonly #full: number;
  readonly #refill: number;
  #tokens: number;

  constructor(policy: RetryPolicy) {
    this.#full = this.#tokens = policy.budget;
    this.#refill = policy.refill;
  }

  /** Gives back a part of a token. */
  succeeded(): void {
    this.#tokens = Math.min(this.#tokens + this.#refill, this.#full);
  }

  /** Takes a token for a failure and tells whether it may be followed by a repeat. */
  failed(): boolean {
    this.#tokens = Math.max(this.#tokens - 1, 0);
    return this.#tokens > this.#full / 2;
  }
}

/** Waits; ends early, without an error, when the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}
