// Who the calls are made as. Secrets are in private fields, which neither the console nor JSON shows.
import { createClient, type Transport } from "@connectrpc/connect";
import type { Bearer } from "./call.js";
import { expired, ofThrown, SewaError } from "./errors.js";
import { IdentityService, type Tokens } from "./generated/sewa/identity/v1/identity_pb.js";

// Renewal begins in the background when less than this is left, or a fifth of the token's life if that is less.
const RENEW_AHEAD_MS = 120_000;
// A token is trusted at least this long, so that a wrong clock on this side cannot make each call renew. If it ends sooner, the server says so.
const SHORTEST_LIFE_MS = 5000;
// The pause after a renewal in the background failed.
const PAUSE_MS = 5000;

type Source =
  | { readonly kind: "nobody" }
  | { readonly kind: "secret"; readonly secret: string }
  | { readonly kind: "login"; readonly email: string; readonly password: string }
  | { readonly kind: "session"; readonly tokens: Tokens };

/** Who the calls are made as. */
export class Credentials {
  readonly #source: Source;

  protected constructor(source: Source) {
    this.#source = source;
  }

  /** Nobody: only public methods work. */
  static nobody(): Credentials {
    return new Credentials({ kind: "nobody" });
  }

  /** An API key, `sk_…`. Throws a `TypeError` for a text that cannot be one. */
  static apiKey(key: string): Credentials {
    return new Credentials({ kind: "secret", secret: visible(key) });
  }

  /** An access token that somebody else renews. Throws a `TypeError` for a text that cannot be one. */
  static token(token: string): Credentials {
    return new Credentials({ kind: "secret", secret: visible(token) });
  }

  /** A user who signs in with the first call that needs it; the SDK renews the access token by itself. */
  static login(email: string, password: string): Credentials {
    return new Credentials({ kind: "login", email, password });
  }

  /** Goes on with tokens received before, for example from `Register`. */
  static session(tokens: Tokens): Credentials {
    return new Credentials({ kind: "session", tokens });
  }

  /** @internal */
  authority(transport: Transport): Authority {
    const source = this.#source;
    if (source.kind === "login" || source.kind === "session") return new Session(source, transport);
    return new Fixed(source.kind === "secret" ? { header: `Bearer ${source.secret}`, renewal: 0 } : undefined);
  }

  /** What kind of credentials they are, without the secret. */
  toString(): string {
    return `Credentials(${this.#source.kind})`;
  }
}

function visible(secret: string): string {
  if (!/^[!-~]+$/.test(secret)) throw new TypeError("credentials are visible ASCII without blanks");
  return secret;
}

/** Where calls get what they send. */
export interface Authority {
  /** What to send; nothing where a public method should not wait for it. */
  bearer(isPublic: boolean, leftMs: number | undefined, signal: AbortSignal): Bearer | undefined | Promise<Bearer>;
  /** Gets something other than the refused token; false if there is nothing. Throws what kept it from doing so. */
  renew(refused: Bearer, leftMs: number | undefined, signal: AbortSignal): Promise<boolean>;
}

class Fixed implements Authority {
  readonly #bearer: Bearer | undefined;

  constructor(bearer: Bearer | undefined) {
    this.#bearer = bearer;
  }

  bearer(): Bearer | undefined {
    return this.#bearer;
  }

  async renew(): Promise<boolean> {
    return false;
  }
}

/** Keeps a session alive. One renewal runs at a time, because a refresh token works once, and it is finished even if nobody waits for it any more. */
class Session implements Authority {
  readonly #login: { readonly email: string; readonly password: string } | undefined;
  readonly #transport: Transport;
  #bearer: Bearer | undefined;
  #refreshToken = "";
  #renewAt = 0;
  #endsAt = 0;
  #renewals = 0;
  #renewing: Promise<Bearer> | undefined;

  constructor(source: Source & { kind: "login" | "session" }, transport: Transport) {
    this.#transport = transport;
    if (source.kind === "login") this.#login = source;
    else this.#keep(source.tokens);
  }

  bearer(isPublic: boolean, leftMs: number | undefined, signal: AbortSignal): Bearer | undefined | Promise<Bearer> {
    const atHand = performance.now() < this.#endsAt ? this.#bearer : undefined;
    if (isPublic) return atHand;
    if (atHand === undefined) return within(this.#renewed(), leftMs, signal);
    // In the background; a failure is found out by the call that needs a new token.
    if (performance.now() >= this.#renewAt) this.#renewed().catch(() => undefined);
    return atHand;
  }

  async renew(refused: Bearer, leftMs: number | undefined, signal: AbortSignal): Promise<boolean> {
    if (this.#bearer === undefined || this.#bearer.renewal <= refused.renewal) await within(this.#renewed(), leftMs, signal);
    return true;
  }

  /** The renewal under way, or a new one. Whoever waits for it shares its outcome: a wrong password is not tried once per call. */
  #renewed(): Promise<Bearer> {
    this.#renewing ??= this.#obtain()
      .then((tokens) => {
        this.#renewals += 1;
        return this.#keep(tokens);
      })
      .catch((thrown: unknown) => {
        const error = ofThrown(thrown);
        if (error.code === "UNAUTHENTICATED") {
          this.#bearer = undefined;
          this.#endsAt = 0;
        }
        this.#renewAt = performance.now() + PAUSE_MS;
        throw error;
      })
      .finally(() => {
        this.#renewing = undefined;
      });
    return this.#renewing;
  }

  async #obtain(): Promise<Tokens> {
    const identity = createClient(IdentityService, this.#transport);
    let refused: unknown = new SewaError("UNAUTHENTICATED", "the session has no refresh token");
    if (this.#refreshToken) {
      try {
        return given((await identity.refreshToken({ refreshToken: this.#refreshToken })).tokens);
      } catch (error) {
        refused = error;
      }
    }
    // After any failure the refresh token may have been used up, so with a password at hand this is the safe way on.
    if (this.#login === undefined) throw refused;
    return given((await identity.login({ email: this.#login.email, password: this.#login.password })).tokens);
  }

  #keep(tokens: Tokens): Bearer {
    const end = tokens.accessExpireTime;
    const left = end ? Number(end.seconds) * 1000 + end.nanos / 1e6 - Date.now() : 0;
    const life = Math.max(left, SHORTEST_LIFE_MS);
    const now = performance.now();
    this.#refreshToken = tokens.refreshToken;
    this.#renewAt = now + life - Math.min(RENEW_AHEAD_MS, life / 5);
    this.#endsAt = now + life;
    return (this.#bearer = { header: `Bearer ${tokens.accessToken}`, renewal: this.#renewals });
  }
}

function given(tokens: Tokens | undefined): Tokens {
  if (tokens === undefined) throw new SewaError("UNAUTHENTICATED", "the server gave no tokens");
  return tokens;
}

/** Waits for a renewal as long as the call may; the renewal itself goes on. */
async function within(work: Promise<Bearer>, leftMs: number | undefined, signal: AbortSignal): Promise<Bearer> {
  let stop = (): void => undefined;
  const limit = new Promise<never>((_, reject) => {
    const timer = leftMs === undefined ? undefined : setTimeout(() => reject(expired("CALLER")), leftMs);
    const aborted = (): void => reject(new SewaError("CANCELLED", "the caller cancelled the call"));
    stop = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", aborted);
    };
    if (signal.aborted) aborted();
    signal.addEventListener("abort", aborted);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    stop();
  }
}
