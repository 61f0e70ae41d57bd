// Lists, each page asked for when it is wanted.
import { SewaError } from "./errors.js";

/** A reply that may have a page after it. */
export interface Page {
  readonly nextPageToken: string;
}

/** The pages of a list: `pages(orders.listOrders, { pageSize: 50 })`. The iteration throws a `SewaError`. */
export async function* pages<Q extends object, R extends Page>(method: (request: Q) => Promise<R>, request: Q): AsyncGenerator<R, void, undefined> {
  let token = "pageToken" in request && typeof request.pageToken === "string" ? request.pageToken : "";
  for (;;) {
    const page = await method({ ...request, pageToken: token });
    yield page;
    if (!page.nextPageToken) return;
    if (page.nextPageToken === token) throw new SewaError("INTERNAL", "the server answered a page with its own token");
    token = page.nextPageToken;
  }
}

/** The items of a list: `items(orders.listOrders, {}, (page) => page.orders)`. The iteration throws a `SewaError`. */
export async function* items<Q extends object, R extends Page, T>(
  method: (request: Q) => Promise<R>,
  request: Q,
  pick: (page: R) => Iterable<T>,
): AsyncGenerator<T, void, undefined> {
  for await (const page of pages(method, request)) yield* pick(page);
}
