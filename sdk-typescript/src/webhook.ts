// Checks that a webhook came from Sewa, as <https://www.standardwebhooks.com> describes, and makes signed deliveries for tests of a receiver.
//
// The signature covers `id.timestamp.body`, so a captured delivery cannot be altered, nor replayed after the tolerance. Verify the raw bytes of the body: a
// parsed and re-printed body is another text.
import { fromJsonString } from "@bufbuild/protobuf";
import { createHmac, createPrivateKey, createPublicKey, sign as signBytes, timingSafeEqual, verify as verifyBytes, type KeyObject } from "node:crypto";
import { EventSchema, EventTypeSchema, type Event } from "./generated/sewa/event/v1/event_pb.js";

/** Seconds the clocks of sender and receiver may be apart, and a captured delivery stays valid. */
export const TOLERANCE_S = 300;

/** Why a delivery is refused: a header is missing or malformed; it is too old or from the future; or no signature matches. */
export type Why = "HEADERS" | "TIMESTAMP" | "SIGNATURE";

const TEXTS: Record<Why, string> = {
  HEADERS: "a header is missing or malformed",
  TIMESTAMP: "the delivery is too old, or from the future",
  SIGNATURE: "no signature matches",
};

/** A delivery that is not genuine. */
export class WebhookRejected extends Error {
  override readonly name = "WebhookRejected";
  readonly why: Why;

  constructor(why: Why) {
    super(TEXTS[why]);
    this.why = why;
  }
}

/** A delivery whose signature is right. */
export interface Delivery {
  /** The same for every repeat of one delivery: keep it to ignore repeats. */
  readonly id: string;
  /** When it was signed. */
  readonly time: Date;
  /** The event, unless the body is something else. */
  readonly event: Event | undefined;
  /** Name of the event's type, also of one this package does not know. */
  readonly type: string | undefined;
}

/** Headers as `fetch` has them, or as Node's `IncomingMessage` has them. */
export type WebhookHeaders = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

/** How to verify. */
export interface VerifyOptions {
  /** The present, if not by this machine's clock. */
  readonly now?: Date;
  /** Instead of `TOLERANCE_S`. */
  readonly toleranceS?: number;
}

/**
 * Verifies a delivery against shared secrets (`whsec_…`) and public keys (`whpk_…`); several are given while one is being rotated out.
 *
 * Throws `WebhookRejected`, and a `TypeError` for a malformed secret.
 */
export function verifyWebhook(secrets: readonly string[], headers: WebhookHeaders, body: Uint8Array | string, options: VerifyOptions = {}): Delivery {
  const keys = secrets.map(keyOf);
  const [id, timestamp, signatures] = ["id", "timestamp", "signature"].map((name) => header(headers, `webhook-${name}`));
  if (!id || !signatures || !timestamp || !/^\d{1,15}$/.test(timestamp)) throw new WebhookRejected("HEADERS");
  const now = (options.now ?? new Date()).getTime() / 1000;
  if (Math.abs(now - Number(timestamp)) > (options.toleranceS ?? TOLERANCE_S)) throw new WebhookRejected("TIMESTAMP");
  const signed = signedBytes(id, timestamp, body);
  // Every pair is tried to the end, and each comparison takes the same time wherever the bytes differ.
  let genuine = false;
  for (const entry of signatures.split(" ")) {
    const comma = entry.indexOf(",");
    const signature = base64(entry.slice(comma + 1));
    if (comma < 0 || signature === undefined) continue;
    for (const key of keys) genuine = fits(key, entry.slice(0, comma), signature, signed) || genuine;
  }
  if (!genuine) throw new WebhookRejected("SIGNATURE");
  return { id, time: new Date(Number(timestamp) * 1000), ...eventOf(body) };
}

/**
 * Makes the headers of a genuine delivery, with a shared secret (`whsec_…`, scheme v1) or a private key (`whsk_…`, scheme v1a).
 *
 * Throws a `TypeError` for a malformed secret.
 */
export function signWebhook(secret: string, id: string, time: Date, body: Uint8Array | string): Record<string, string> {
  const timestamp = String(Math.floor(time.getTime() / 1000));
  const key = keyOf(secret);
  const signed = signedBytes(id, timestamp, body);
  if (!(key instanceof Uint8Array) && key.type !== "private") throw new TypeError("a public key cannot sign");
  const [scheme, signature] = key instanceof Uint8Array ? ["v1", mac(key, signed)] : ["v1a", signBytes(null, signed, key)];
  return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `${scheme},${signature.toString("base64")}` };
}

type Key = Buffer | KeyObject;

function keyOf(secret: string): Key {
  const at = secret.lastIndexOf("_");
  const kind = secret.slice(0, Math.max(at, 0));
  const raw = base64(secret.slice(at + 1)) ?? Buffer.alloc(0);
  const jwk = { kty: "OKP", crv: "Ed25519" };
  if (kind === "whsk" && raw.length === 64) {
    const [d, x] = [raw.subarray(0, 32).toString("base64url"), raw.subarray(32).toString("base64url")];
    return createPrivateKey({ key: { ...jwk, d, x }, format: "jwk" });
  }
  if (kind === "whpk" && raw.length === 32) return createPublicKey({ key: { ...jwk, x: raw.toString("base64url") }, format: "jwk" });
  if ((kind === "whsec" || at < 0) && raw.length > 0) return raw;
  throw new TypeError("the webhook secret is malformed");
}

/** Strict: Node reads past what is no base64. */
function base64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length % 4 === 0 ? Buffer.from(text, "base64") : undefined;
}

function mac(key: Uint8Array, signed: Uint8Array): Buffer {
  return createHmac("sha256", key).update(signed).digest();
}

function fits(key: Key, scheme: string, signature: Buffer, signed: Buffer): boolean {
  if (key instanceof Uint8Array) {
    const own = mac(key, signed);
    return scheme === "v1" && signature.length === own.length && timingSafeEqual(signature, own);
  }
  return scheme === "v1a" && verifyBytes(null, signed, key, signature);
}

function signedBytes(id: string, timestamp: string, body: Uint8Array | string): Buffer {
  return Buffer.concat([Buffer.from(`${id}.${timestamp}.`), typeof body === "string" ? Buffer.from(body) : body]);
}

function header(headers: WebhookHeaders, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const value = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return typeof value === "string" ? value : (value?.[0] ?? "");
}

function eventOf(body: Uint8Array | string): { event: Event | undefined; type: string | undefined } {
  try {
    const text = typeof body === "string" ? body : Buffer.from(body).toString("utf8");
    const event = fromJsonString(EventSchema, text, { ignoreUnknownFields: true });
    const told = (JSON.parse(text) as { type?: unknown }).type;
    if (event.id) return { event, type: typeof told === "string" ? told : (EventTypeSchema.value[event.type]?.name ?? String(told)) };
  } catch {
    // Something else.
  }
  return { event: undefined, type: undefined };
}
