// What both builds, for Node and for browsers, offer.
export { timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
export type { Attempt, ClientOptions, Limits } from "./call.js";
export { BaseClient, type CallSettings, type Reply } from "./client.js";
export { SewaError, type Clock, type FieldViolation, type QuotaViolation, type StatusCode } from "./errors.js";
export { items, pages, type Page } from "./pages.js";
export type { RetryPolicy } from "./retry.js";
export { contract, contractDigest, type MethodRule, type ReasonRule, type Repeat, type RetryClass, type Rules } from "./rules.js";
export { VERSION } from "./version.js";
export { wait, type WaitOptions } from "./wait.js";
export { SILENCE_MS, watch, type WatchOptions } from "./watch.js";
