/** A client of Nightloom's API: lists, items, events. It needs `fetch` alone: browsers, Node 18 and later, Deno, Bun. */

import { AGAIN, Retries, send } from "./retries.js";

/** An item of a list. Scores of one source can be compared, those of different ones cannot. */
export interface Item {
  readonly item_id: string;
  readonly title: string;
  readonly score: number;
  /** The list that the item is from, where a list has items from several. */
  readonly source?: string;
}

/** A list, best first. */
export interface RecommendationList {
  readonly items: readonly Item[];
  /** The list that the first item is from: personal, live, similar, segment or popular; or `fallback`. */
  readonly source: string;
  /** The published version; missing in a fallback, as are the next three. */
  readonly slate_version?: string;
  readonly model_version?: string;
  /** When it was scored, ISO 8601, UTC. */
  readonly generated_at?: string;
  readonly age_seconds?: number;
  /** Whether the server's store is in trouble, or the list is the fallback. */
  readonly stale: boolean;
  /** The `page` that follows. */
  readonly next: string | null;
}

/** An item. `available` is null where a stale answer does not know it. */
export interface ItemDetails {
  readonly item_id: string;
  readonly title: string;
  readonly categories: readonly string[];
  readonly available: boolean | null;
  readonly stale: boolean;
}

/** Which items a list may have, and how many. docs/api.md has more. */
export interface Selection {
  /** How many items; by default the server's `slate.k`. */
  readonly k?: number;
  /** Items that are not wanted, up to 10,000. */
  readonly exclude?: readonly string[];
  /** The segment whose popular list fills the list, such as market=DE. */
  readonly segment?: string;
  /** What is known of the reader, as NAME=VALUE. */
  readonly context?: readonly string[];
  /** Only items that have one of these categories. */
  readonly category?: readonly string[];
  /** Only items that have this value of an attribute, as NAME=VALUE. */
  readonly attribute?: readonly string[];
  /** `next` of the list before: the items that follow. Not for several users at once. */
  readonly page?: string;
}

/** An event that the server did not take; `index` is its place in the request, from 0. */
export interface RejectedEvent {
  readonly index: number;
  readonly field: string;
  readonly found: string;
  readonly expected: string;
}

/** What became of events: those that were accepted are durable. */
export interface EventsResult {
  readonly accepted: number;
  readonly rejected: readonly RejectedEvent[];
}

/** Settings of a client. */
export interface Options {
  /** With the scopes that the calls need: docs/access.md. In a web page: `events` alone. */
  readonly key?: string;
  /** Milliseconds until a try counts as failed; default 1000. */
  readonly timeoutMs?: number;
  /** Milliseconds of all tries and waits of a call together; default 3000. */
  readonly deadlineMs?: number;
  /** Default 3. */
  readonly tries?: number;
  /** Items, best first, that stand for every list which the server does not give in time. Without them the call fails. */
  readonly fallback?: readonly Item[];
}

/** No answer: the server is away or silent, also after the retries. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";
}

/** The server's error. `code` is one of docs/api-reference.md; the server's log has `requestId`. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string,
    /** The bad events of a request without any good one. */
    readonly rejected: readonly RejectedEvent[],
  ) {
    super(`${status} ${code}: ${message} (request ${requestId})`);
  }
}

export class Client {
  readonly #url: string;
  readonly #headers: Record<string, string>;
  readonly #retries: Retries;
  readonly #fallback: readonly Item[] | undefined;

  /** `url` is the server's, such as http://127.0.0.1:8000. */
  constructor(url: string, options: Options = {}) {
    if (!/^https?:\/\/./.test(url)) {
      throw new TypeError(`found the address '${url}', expected one such as http://127.0.0.1:8000`);
    }
    this.#url = url.replace(/\/+$/, "");
    this.#headers = { "Content-Type": "application/json" };
    if (options.key) this.#headers["Authorization"] = `Bearer ${options.key}`;
    const { timeoutMs = 1000, deadlineMs = 3000, tries = 3 } = options;
    this.#retries = { timeoutMs, deadlineMs, tries };
    this.#fallback = options.fallback;
  }

  /** A user's list. */
  recommendations(user: string, selection: Selection = {}): Promise<RecommendationList> {
    return this.#list(`/v1/users/${encodeURIComponent(user)}/recommendations`, selection);
  }

  /** Items similar to an item. */
  similar(item: string, selection: Selection = {}): Promise<RecommendationList> {
    return this.#list(`/v1/items/${encodeURIComponent(item)}/similar`, selection);
  }

  /** The popular list. */
  popular(selection: Selection = {}): Promise<RecommendationList> {
    return this.#list("/v1/popular", selection);
  }

  /** The lists of up to 1,000 users, in their order. */
  async recommendationsOf(users: readonly string[], selection: Selection = {}): Promise<RecommendationList[]> {
    const make = this.#fallback && (() => ({ lists: users.map(() => this.#fallbackList(selection)) }));
    const body = { users, ...selection };
    return (await this.#call<{ lists: RecommendationList[] }>("POST", "/v1/recommendations", body, make)).lists;
  }

  /** An item's title and categories. */
  item(item: string): Promise<ItemDetails> {
    return this.#call("GET", `/v1/items/${encodeURIComponent(item)}`);
  }

  /**
   * Send up to 1,000 events, with the fields that their source declares, an id of its own among them. After an error
   * send the same events again: each counts once by its id. They are sent to their end when the page is left.
   */
  sendEvents(events: readonly object[], source?: string): Promise<EventsResult> {
    const query = source === undefined ? "" : `?source=${encodeURIComponent(source)}`;
    return this.#call("POST", `/v1/events${query}`, events);
  }

  #list(path: string, selection: Selection): Promise<RecommendationList> {
    const make = this.#fallback && !selection.page ? () => this.#fallbackList(selection) : undefined;
    return this.#call("POST", path, selection, make);
  }

  #fallbackList({ k, exclude = [] }: Selection): RecommendationList {
    const items = (this.#fallback ?? []).filter((item) => !exclude.includes(item.item_id)).slice(0, k);
    return { items, source: "fallback", stale: true, next: null };
  }

  async #call<Value>(method: string, path: string, content?: unknown, fallback?: () => Value): Promise<Value> {
    const body = content === undefined ? null : JSON.stringify(content);
    // Browsers end other requests with their page. 64 KiB is the most that they send so.
    const keepalive = path.startsWith("/v1/events") && (body?.length ?? 0) < 60_000;
    const request = { method, headers: this.#headers, body, keepalive };
    const answer = await send(this.#url + path, request, this.#retries);
    if (answer instanceof Response && answer.ok) return (await answer.json()) as Value;
    const inTrouble = !(answer instanceof Response) || AGAIN.has(answer.status) || answer.status === 500;
    if (fallback && inTrouble) return fallback();
    if (answer instanceof Response) throw await readError(answer);
    throw new UnreachableError(`no answer from ${this.#url}: ${answer.message}`, { cause: answer });
  }
}

/** The error in an answer, also where something in front of the API answered. */
async function readError(answer: Response): Promise<ApiError> {
  const text = await answer.text();
  try {
    const content = JSON.parse(text);
    const { code, message, request_id } = content.error;
    return new ApiError(answer.status, code, message, request_id ?? "", content.rejected ?? []);
  } catch {
    return new ApiError(answer.status, "unknown", `found no error of Nightloom: ${text.slice(0, 200)}`, "", []);
  }
}
