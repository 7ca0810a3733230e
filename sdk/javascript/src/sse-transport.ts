/** The event stream over `fetch`, which unlike EventSource sends headers and exposes statuses and comments. */
import type { LongIntegers } from "./core/exact-json.js";
import { SseParser, type SseItem } from "./core/sse-parser.js";
import { parseKeepAlive, decodeSseItem } from "./core/message.js";
import { statusOutcome, isEventStream, isUnauthorized, parseRetryAfter, resolveRedirect } from "./core/policy.js";
import { EVERYTHING, isEverything, toQuery, type Selection } from "./core/selection.js";
import { QUERY_LIMITS } from "./core/query-limits.js";
import { asError, ConnectionLost } from "./errors.js";
import { isNode, isPage } from "./platform.js";
import { connectionFailure, type Connection, type ConnectionFailure, type ConnectionRequest, type ConnectionSink, type Transport } from "./transport.js";

export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

const MAX_PROBLEM_LENGTH = 2000;
/** In a page the header `Last-Event-ID` needs the server's permission (CORS); the parameter needs none. */
const RESUMES_BY_PARAMETER = isPage();

/** In Node.js `nodeFetch`, elsewhere the platform's. */
export const defaultFetch: Fetch = async (input, init) => {
  if (!isNode()) return fetch(input, init);
  const { nodeFetch } = await import("./node-fetch.js");
  return nodeFetch(input, init);
};

export class SseTransport implements Transport {
  readonly limits = QUERY_LIMITS;

  readonly #url: string;
  readonly #fetch: Fetch;
  readonly #maxLength: number;

  readonly #integers: LongIntegers | undefined;

  constructor(url: string, fetch: Fetch, maxLength: number, integers?: LongIntegers) {
    this.#integers = integers;
    this.#url = url;
    this.#fetch = fetch;
    this.#maxLength = maxLength;
  }

  open(request: ConnectionRequest, sink: ConnectionSink): Connection {
    const abort = new AbortController();
    const selection = request.selection ?? EVERYTHING;
    const query = toQuery(selection);
    if (request.lastEventId !== null && RESUMES_BY_PARAMETER) query.set("lastEventId", request.lastEventId);
    else if (request.lastEventId === null && request.snapshot) query.set("snapshot", "true");
    // The query cannot express everything plus tables: an empty selection means everything, and tables in it would exclude the flags.
    const reading = isEverything(selection) && selection.tables?.length
      ? Promise.reject(refused("an event stream cannot select everything and tables at once; use the WebSocket, or two clients", null, "fatal", null))
      : this.#read(query, request.apiKey, RESUMES_BY_PARAMETER ? null : request.lastEventId, abort.signal, sink);
    reading.then(
      () => { if (!abort.signal.aborted) sink.ended(connectionFailure(new ConnectionLost("the server ended the stream"))); },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        abort.abort();
        sink.ended(error instanceof Refused ? error.failure : connectionFailure(broken(error)));
      },
    );
    return {
      dialogue: null,
      requestSnapshot: (wanted, selected) => {
        this.#snapshot(wanted, request.apiKey, abort.signal, sink).catch((error: unknown) => {
          if (!abort.signal.aborted) sink.snapshotFailed(wanted, error instanceof Refused ? error.failure.error : broken(error));
        });
        return selected;
      },
      close: () => abort.abort(),
    };
  }

  /** Reads a snapshot beside the stream. */
  async #snapshot(scope: Selection, apiKey: string | null, signal: AbortSignal, sink: ConnectionSink): Promise<void> {
    const query = toQuery(scope);
    query.set("snapshot", "true");
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener("abort", stop, { once: true });
    let isFound = false;
    const nothing = () => undefined;
    try {
      await this.#read(query, apiKey, null, abort.signal, {
        received: nothing,
        retry: nothing,
        ended: nothing,
        snapshotFailed: nothing,
        malformed: (error) => { throw error; },
        message: (message) => {
          if (message.kind !== "snapshot" || isFound) return;
          isFound = true;
          if (!signal.aborted) sink.message({ ...message, scope });
          abort.abort();
        },
      });
    } catch (error) {
      if (!isFound) throw error;
    } finally {
      signal.removeEventListener("abort", stop);
      abort.abort();
    }
    if (!isFound) throw new Error("the server ended the stream before its snapshot");
  }

  async #read(query: URLSearchParams, apiKey: string | null, lastEventId: string | null, signal: AbortSignal, sink: ConnectionSink): Promise<void> {
    const url = new URL(this.#url);
    for (const [name, value] of [["envelope", "true"], ...query]) url.searchParams.append(name!, value!);
    const response = await this.#fetchStream(url.href, apiKey, lastEventId, signal);
    sink.received();
    const parser = new SseParser(this.#maxLength);
    const reader = response.body!.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      sink.received();
      for (const item of parser.push(value)) {
        deliver(item, sink, this.#integers);
        if (signal.aborted) return;
      }
    }
  }

  async #fetchStream(first: string, apiKey: string | null, lastEventId: string | null, signal: AbortSignal): Promise<Response> {
    let url = first;
    let key = apiKey;
    let redirect: RequestRedirect = "manual";
    for (let hop = 1; ; hop++) {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      // When the browser follows a redirect to another origin, it drops this header and no other.
      if (key !== null && redirect === "follow") headers.Authorization = `Bearer ${key}`;
      else if (key !== null) headers["X-API-Key"] = key;
      if (lastEventId !== null) headers["Last-Event-ID"] = lastEventId;
      const response = await this.#fetch(url, { headers, signal, redirect, cache: "no-store" });
      if (response.type === "opaqueredirect") {
        // A browser hides the target of a redirect, but follows it itself.
        redirect = "follow";
        continue;
      }
      const outcome = statusOutcome(response.status);
      // A browser that has followed a redirect shows where it ended: a target without a query has lost the selection.
      const lostQueryAt = response.redirected && new URL(response.url).search === "" && new URL(url).search !== "" ? response.url : null;
      if (outcome === "redirect" || lostQueryAt !== null) {
        const target = resolveRedirect(url, lostQueryAt ?? response.headers.get("location"), hop);
        await response.body?.cancel();
        if (target === null) throw refused(`redirect ${hop} of ${new URL(url).host} is not allowed`, response.status, "fatal", null);
        url = target.url;
        if (!target.sendKey) key = null;
        redirect = "manual";
        continue;
      }
      if (outcome === "stream" && isEventStream(response.headers.get("content-type") ?? "")) return response;
      if (outcome === "stream") {
        await response.body?.cancel();
        throw refused("the server did not respond with an event stream; check the url", response.status, "fatal", null);
      }
      const wait = response.headers.get("retry-after");
      const detail = await problem(response);
      throw refused(detail, response.status, outcome, wait === null ? null : parseRetryAfter(wait, Date.now()));
    }
  }
}

function deliver(item: SseItem, sink: ConnectionSink, integers: LongIntegers | undefined): void {
  try {
    switch (item.kind) {
      case "retry": return sink.retry(item.ms);
      case "id":
        return sink.message({ kind: "heartbeat", id: item.lastEventId || null, position: null, fresh: null, ageMs: null, digest: null });
      case "comment": {
        const heartbeat = parseKeepAlive(item.text);
        if (heartbeat !== null) sink.message(heartbeat);
        return;
      }
      case "event": return sink.message(decodeSseItem(item.event, item.data, item.lastEventId, integers));
    }
  } catch (error) {
    sink.malformed(asError(error));
  }
}

class Refused extends Error {
  constructor(readonly failure: ConnectionFailure) {
    super(failure.error.message);
  }
}

function refused(message: string, status: number | null, outcome: "retry" | "fatal", retryAfterMs: number | null): Refused {
  return new Refused(connectionFailure(new ConnectionLost(message, { status }), outcome, retryAfterMs, status !== null && isUnauthorized(status)));
}

function broken(error: unknown): ConnectionLost {
  const cause = asError(error);
  const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : "";
  return new ConnectionLost(`the connection broke: ${cause.message}${inner}`, { cause });
}

/** The status and the detail of a problem response, in one line. */
async function problem(response: Response): Promise<string> {
  const start = `the server responded with ${response.status}`;
  let body: string;
  try {
    body = (await response.text()).slice(0, MAX_PROBLEM_LENGTH);
  } catch {
    // The status alone decides what follows; the body only explains it.
    return start;
  }
  if (!(response.headers.get("content-type") ?? "").includes("json")) return start;
  try {
    const { detail, title } = JSON.parse(body) as { detail?: unknown; title?: unknown };
    const text = detail ?? title;
    return typeof text === "string" ? `${start}: ${text}` : start;
  } catch {
    return start;
  }
}
