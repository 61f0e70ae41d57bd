// A case a line on stdin, an answer a line on stdout, as tests/sdk-conformance/README.md describes.
import { fromJson, toJson, type DescMessage, type JsonObject, type JsonValue, type Message } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Client, contract, Credentials, items, pages, SewaError, wait, watch, type Attempt, type BaseClient, type ClientOptions, type Reply } from "@sewa/sdk";
import { EventTypeSchema, type EventType } from "@sewa/sdk/event/v1";
import { TokensSchema } from "@sewa/sdk/identity/v1";
import * as web from "@sewa/sdk/web";
import { signWebhook, verifyWebhook, WebhookRejected } from "@sewa/sdk/webhook";
import { create } from "@bufbuild/protobuf";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { inspect } from "node:util";

/** Words of a case; the driver has checked them. */
type Json = Record<string, any>;

const DETAILS = {
  "error-details-are-no-base64": "connect-es itself refuses such an answer, as DATA_LOSS",
  "error-details-are-no-message": "connect-es itself refuses such an answer, as DATA_LOSS",
};
const UNSUPPORTED: Record<string, Record<string, string>> = {
  "grpc": DETAILS,
  "grpc-web": {
    ...DETAILS,
    "oversized-reply-is-refused-and-not-repeated": "fetch and connect-web take whatever comes",
    "header-user-agent": "in a browser the header is not a program's to set; x-user-agent is sent",
  },
};

const { methods, registry } = contract();

function printed(message: Message): JsonValue {
  const desc = registry.getMessage(message.$typeName);
  return desc === undefined ? null : toJson(desc, message, { registry });
}

function toldError(error: SewaError): Json {
  return {
    code: error.code,
    message: error.rawMessage,
    reason: error.reason,
    metadata: error.metadata,
    fields: error.fieldViolations.map(({ field, reason }) => ({ field, reason })),
    request_id: error.requestId,
    idempotency_key: error.idempotencyKey,
    retry: error.retry,
    retry_after_ms: error.retryAfterMs,
    own_timeout: error.ownClock !== undefined,
    attempts: error.attempts,
  };
}

function toldReply(reply: Reply<Message>, raw: boolean): Json {
  const told: Json = { ok: printed(reply.message), replayed: reply.replayed, request_id: reply.requestId, attempts: reply.attempts };
  return raw ? { ...told, headers: Object.fromEntries(reply.headers) } : told;
}

function credentials(wanted: Json): Credentials {
  if (wanted["api_key"]) return Credentials.apiKey(wanted["api_key"]);
  if (wanted["login"]) return Credentials.login(wanted["login"].email, wanted["login"].password);
  if (wanted["session"]) {
    const { access_token: accessToken, refresh_token: refreshToken, access_expires_in_ms: left } = wanted["session"];
    return Credentials.session(create(TokensSchema, { accessToken, refreshToken, accessExpireTime: timestampFromMs(Date.now() + left) }));
  }
  const env = { ...wanted["env"] };
  for (const [name, text] of Object.entries<string>(wanted["files"] ?? {})) {
    env[name] = join(mkdtempSync(join(tmpdir(), "sewa-")), "key");
    writeFileSync(env[name], text);
  }
  return Credentials.fromEnv(env);
}

/** The settings that are given. */
function given<T extends object>(settings: T): T {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined)) as T;
}

async function call(client: BaseClient, step: Json): Promise<Json> {
  const name: string = step["raw"] ?? step["call"];
  const cancel = step["cancel_after_ms"] === undefined ? undefined : AbortSignal.timeout(step["cancel_after_ms"]);
  const reply = await client.call(name, (step["request"] ?? {}) as JsonValue, {
    headers: step["headers"],
    timeoutMs: step["timeout_ms"],
    attemptTimeoutMs: step["attempt_timeout_ms"],
    maxAttempts: step["attempts"],
    idempotencyKey: step["idempotency_key"],
    signal: cancel,
  });
  return toldReply(reply, step["raw"] !== undefined);
}

async function list(client: BaseClient, step: Json, result: Json): Promise<void> {
  const name: string = step["pages"];
  const { input, output } = methods.get(name)?.descriptor as { input: DescMessage; output: DescMessage };
  const listed = output.fields.find((field) => field.fieldKind === "list")?.localName ?? "";
  const limit: number = step["limit"] ?? Infinity;
  const request = fromJson(input, step["request"] ?? {});
  const method = async (asked: Message): Promise<any> => (await client.call(name, asked)).message;
  const add = (page: Json): void => result["items"].push(...page[listed].map(printed));
  if (step["by"] === "page") {
    for await (const page of pages(method, request)) {
      add(page);
      if (result["items"].length >= limit) return;
    }
    return;
  }
  for await (const item of items(method, request, (page: Json) => page[listed] as Message[])) {
    result["items"].push(printed(item));
    if (result["items"].length >= limit) return;
  }
}

async function follow(client: BaseClient, step: Json, result: Json): Promise<void> {
  const wanted: Json = step["watch"];
  const signal = AbortSignal.timeout(step["timeout_ms"] ?? 60_000);
  const types = (wanted["types"] ?? []).map((name: string) => EventTypeSchema.values.find((value) => value.name === name)?.number) as EventType[];
  const settings = { resumeCursor: wanted["resumeCursor"], subjectId: wanted["subjectId"], types, silenceMs: step["silence_ms"], signal };
  for await (const event of watch(client, settings)) {
    const type = EventTypeSchema.value[event.type]?.name ?? String(event.type);
    result["events"].push({ id: event.id, cursor: event.cursor, type });
    if (result["events"].length >= step["events"]) return;
  }
  result["late"] = true;
}

function verified(wanted: Json): Json {
  try {
    const options = given({ now: new Date(wanted["now"] * 1000), toleranceS: wanted["tolerance_s"] });
    const { id, event, type } = verifyWebhook(wanted["secrets"], wanted["headers"], wanted["body"], options);
    return { webhook: { ok: true, id, type, event: event && printed(event) } };
  } catch (error) {
    if (error instanceof WebhookRejected) return { webhook: { ok: false, why: error.why } };
    throw error;
  }
}

async function guarded(result: Json, work: () => Promise<void>): Promise<SewaError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!(error instanceof SewaError)) throw error;
    result["error"] = toldError(error);
    return error;
  }
}

async function play(request: Json): Promise<Json> {
  const wanted: Json = request["client"] ?? {};
  const observed: Json[] = [];
  const notices: string[] = [];
  const options: ClientOptions = given({
    retry: given({
      maxAttempts: wanted["max_attempts"],
      budget: wanted["retry_budget"],
      maxHintMs: wanted["max_hint_ms"],
      firstDelayMs: wanted["backoff"]?.initial_ms,
      maxDelayMs: wanted["backoff"]?.max_ms,
    }),
    timeoutMs: wanted["timeout_ms"],
    attemptTimeoutMs: wanted["attempt_timeout_ms"],
    locale: wanted["locale"],
    userAgent: wanted["user_agent"],
    observer: ({ method, number, code, reason }: Attempt) => void observed.push({ method, attempt: number, code, reason }),
    onNotice: (text: string) => void notices.push(text),
  });
  const who = credentials(wanted);
  const client: BaseClient = request["transport"] === "grpc" ? new Client(request["target"], who, options) : new web.Client(request["target"], who, options);
  const results: Json[] = [];
  let lastError: SewaError | undefined;
  for (const step of request["steps"] as Json[]) {
    const before = observed.length;
    const result: Json = {};
    if (step["show"]) {
      const shown = step["show"] === "client" ? client : step["show"] === "credentials" ? who : lastError;
      result["text"] = `${inspect(shown, { depth: 9 })} ${String(shown)} ${JSON.stringify(shown)}`;
    } else if (step["webhook_verify"]) {
      Object.assign(result, verified(step["webhook_verify"]));
    } else if (step["webhook_sign"]) {
      const { secret, id, timestamp, body } = step["webhook_sign"];
      result["headers"] = signWebhook(secret, id, new Date(timestamp * 1000), body);
    } else if (step["close"]) {
      client.close();
      result["ok"] = {};
    } else {
      const failure = await guarded(result, async () => {
        if (step["parallel"]) {
          const one = async (): Promise<Json> => {
            const own: Json = {};
            await guarded(own, async () => void Object.assign(own, await call(client, step)));
            return own;
          };
          result["parallel"] = await Promise.all(Array.from({ length: step["parallel"] }, one));
        } else if (step["pages"]) {
          result["items"] = [];
          await list(client, step, result);
        } else if (step["wait"]) {
          result["progress"] = [];
          const progress = step["progress"] ? (now: { step: string }) => void result["progress"].push(now.step) : undefined;
          result["operation"] = printed(await wait(client, step["wait"].operation_id, { timeoutMs: step["timeout_ms"], progress }));
        } else if (step["watch"]) {
          result["events"] = [];
          await follow(client, step, result);
        } else {
          Object.assign(result, await call(client, step));
        }
      });
      lastError = failure ?? lastError;
      const seen = observed.slice(before);
      if (step["pages"]) result["pages"] = seen.filter((one) => one["code"] === "OK").length;
      if (step["watch"]) result["connects"] = seen.filter((one) => one["method"] === "/sewa.event.v1.EventService/WatchEvents").length;
    }
    results.push(result);
  }
  client.close();
  return { case: request["case"], results, observed, notices };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line) as JsonObject & Json;
  const unsupported = UNSUPPORTED[request["transport"]]?.[request["case"]];
  const answer = unsupported === undefined ? await play(request) : { case: request["case"], unsupported };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
