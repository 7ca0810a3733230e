/** The event stream over `fetch`, which unlike EventSource can send headers, see statuses and read comments. */
import { EventStreamParser, type StreamItem } from "./core/sse-parser.js";
import { decodeKeepAlive, decodeStreamEvent, type Message } from "./core/message.js";
import { httpOutcome, isEventStream, isUnauthorized, parseRetryAfter, redirectTarget } from "./core/policy.js";
import { isEverything, toQuery, type Selector } from "./core/selection.js";
import { asError, ConnectionFailed, FlagentError } from "./errors.js";
import { isNode, isPage } from "./platform.js";
import type { Connection, Failure, Opening, Sink, Transport } from "./transport.js";

export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

const LONGEST_PROBLEM = 2000;
/** In a page `Last-Event-ID` would need the server's permission (CORS); the parameter needs none. */
const RESUMES_BY_PARAMETER = isPage();

/** The best there is here. */
export const defaultFetch: Fetch = async (input, init) => {
  if (!isNode()) return fetch(input, init);
  const { nodeFetch } = await import("./node-fetch.js");
  return nodeFetch(input, init);
};

export class SseTransport implements Transport {
  constructor(private readonly url: string, private readonly fetch: Fetch, private readonly maxLength: number) {}

  open(opening: Opening, sink: Sink): Connection {
    const abort = new AbortController();
    const query = toQuery(opening.selector);
    if (opening.lastEventId !== null && RESUMES_BY_PARAMETER) query.set("lastEventId", opening.lastEventId);
    else if (opening.lastEventId === null && opening.snapshot) query.set("snapshot", "true");
    // The query has no word for everything: tables in it would leave the flags out.
    const reading = isEverything(opening.selector) && opening.selector.tables?.length
      ? Promise.reject(refused("an event stream cannot select everything and tables at once", null, "fatal", null))
      : this.read(query, opening.apiKey, RESUMES_BY_PARAMETER ? null : opening.lastEventId, abort.signal, sink);
    reading.then(
      () => { if (!abort.signal.aborted) sink.ended(retried(new ConnectionFailed("the server ended the stream"))); },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        abort.abort();
        sink.ended(error instanceof Refused ? error.failure : retried(broken(error)));
      },
    );
    return {
      isTwoWay: false,
      send: () => { throw new FlagentError("an event stream is one-way"); },
      close: () => abort.abort(),
    };
  }

  async snapshot(selector: Selector, apiKey: string | null, signal: AbortSignal): Promise<Message> {
    const query = toQuery(selector);
    query.set("snapshot", "true");
    const abort = new AbortController();
    const stop = () => abort.abort();
    signal.addEventListener("abort", stop, { once: true });
    let found: Message | null = null;
    const nothing = () => undefined;
    try {
      await this.read(query, apiKey, null, abort.signal, {
        received: nothing,
        retry: nothing,
        ended: nothing,
        malformed: (error) => { throw error; },
        message: (message) => {
          if (message.kind !== "snapshot") return;
          found = message;
          abort.abort();
        },
      });
    } catch (error) {
      if (found === null) throw error instanceof Refused ? error.failure.error : broken(error);
    } finally {
      signal.removeEventListener("abort", stop);
      abort.abort();
    }
    if (found === null) throw new ConnectionFailed("the stream ended before its snapshot");
    return found;
  }

  private async read(query: URLSearchParams, apiKey: string | null, lastEventId: string | null, signal: AbortSignal, sink: Sink): Promise<void> {
    const url = new URL(this.url);
    for (const [name, value] of [["envelope", "true"], ...query]) url.searchParams.append(name!, value!);
    const response = await this.request(url.href, apiKey, lastEventId, signal);
    sink.received();
    const parser = new EventStreamParser(this.maxLength);
    const reader = response.body!.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      sink.received();
      for (const item of parser.push(value)) {
        deliver(item, sink);
        if (signal.aborted) return;
      }
    }
  }

  private async request(first: string, apiKey: string | null, lastEventId: string | null, signal: AbortSignal): Promise<Response> {
    let url = first;
    let key = apiKey;
    let redirect: RequestRedirect = "manual";
    for (let hop = 1; ; hop++) {
      const headers: Record<string, string> = { Accept: "text/event-stream" };
      // Where the browser follows by itself, it drops this header and no other at another origin.
      if (key !== null && redirect === "follow") headers.Authorization = `Bearer ${key}`;
      else if (key !== null) headers["X-API-Key"] = key;
      if (lastEventId !== null) headers["Last-Event-ID"] = lastEventId;
      const response = await this.fetch(url, { headers, signal, redirect, cache: "no-store" });
      if (response.type === "opaqueredirect") {
        // A browser hides where a redirect leads, but follows it itself.
        redirect = "follow";
        continue;
      }
      const outcome = httpOutcome(response.status);
      if (outcome === "redirect") {
        const target = redirectTarget(url, response.headers.get("location"), hop);
        await response.body?.cancel();
        if (target === null) throw refused(`the redirect of ${new URL(url).host} is refused`, response.status, "fatal", null);
        url = target.url;
        if (!target.sendKey) key = null;
        continue;
      }
      if (outcome === "stream" && isEventStream(response.headers.get("content-type") ?? "")) return response;
      if (outcome === "stream") {
        await response.body?.cancel();
        throw refused("the server did not answer with an event stream", response.status, "fatal", null);
      }
      const wait = response.headers.get("retry-after");
      const detail = await problem(response);
      throw refused(detail, response.status, outcome, wait === null ? null : parseRetryAfter(wait, Date.now()));
    }
  }
}

function deliver(item: StreamItem, sink: Sink): void {
  try {
    switch (item.kind) {
      case "retry": return sink.retry(item.ms);
      case "id":
        return sink.message({ kind: "heartbeat", id: item.lastEventId || null, position: null, fresh: null, ageMs: null, digest: null });
      case "comment": {
        const heartbeat = decodeKeepAlive(item.text);
        if (heartbeat !== null) sink.message(heartbeat);
        return;
      }
      case "event": return sink.message(decodeStreamEvent(item.event, item.data, item.lastEventId));
    }
  } catch (error) {
    sink.malformed(asError(error));
  }
}

class Refused extends Error {
  constructor(readonly failure: Failure) {
    super(failure.error.message);
  }
}

function refused(message: string, status: number | null, outcome: "retry" | "fatal", retryAfterMs: number | null): Refused {
  return new Refused({ outcome, error: new ConnectionFailed(message, status), retryAfterMs, isUnauthorized: status !== null && isUnauthorized(status) });
}

function retried(error: Error): Failure {
  return { outcome: "retry", error, retryAfterMs: null, isUnauthorized: false };
}

function broken(error: unknown): ConnectionFailed {
  const cause = asError(error);
  const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : "";
  return new ConnectionFailed(`the stream broke: ${cause.message}${inner}`, null, { cause });
}

/** What the server says went wrong, in one line. */
async function problem(response: Response): Promise<string> {
  const start = `the server answered ${response.status}`;
  let body: string;
  try {
    body = (await response.text()).slice(0, LONGEST_PROBLEM);
  } catch {
    // The status alone decides what happens; the text would only have explained it.
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
