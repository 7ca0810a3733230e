/** The event stream over `fetch`, which unlike EventSource sends headers and exposes statuses and comments. */
import type { LongIntegers } from "./core/exact-json.js";
import { SseParser, type SseItem } from "./core/sse-parser.js";
import { parseKeepAlive, decodeSseItem } from "./core/message.js";
import { isEventStream } from "./core/policy.js";
import { EVERYTHING, isEverything, toQuery, type Selection } from "./core/selection.js";
import { QUERY_LIMITS } from "./core/query-limits.js";
import { asError, ConnectionLost } from "./errors.js";
import { failureOf, httpRequest, refused, type Fetch } from "./http-request.js";
import { isPage } from "./platform.js";
import { connectionFailure, type Connection, type ConnectionRequest, type ConnectionSink, type Transport } from "./transport.js";

/** In a page the header `Last-Event-ID` needs the server's permission (CORS); the parameter needs none. */
const RESUMES_BY_PARAMETER = isPage();

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
    const query = new URLSearchParams(request.query ?? toQuery(selection));
    if (request.lastEventId !== null && RESUMES_BY_PARAMETER) query.set("lastEventId", request.lastEventId);
    else if (request.lastEventId === null && request.snapshot) query.set("snapshot", "true");
    // The query cannot express everything plus tables: an empty selection means everything, and tables in it would exclude the flags.
    const reading = isEverything(selection) && selection.tables?.length
      ? Promise.reject(refused("an event stream cannot select everything and tables at once; use the WebSocket, or two clients"))
      : this.#read(query, request.apiKey, RESUMES_BY_PARAMETER ? null : request.lastEventId, abort.signal, sink);
    reading.then(
      () => { if (!abort.signal.aborted) sink.ended(connectionFailure(new ConnectionLost("the server ended the stream"))); },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        abort.abort();
        sink.ended(failureOf(error));
      },
    );
    return {
      dialogue: null,
      requestSnapshot: (wanted, selected) => {
        this.#snapshot(wanted, request.apiKey, abort.signal, sink).catch((error: unknown) => {
          if (!abort.signal.aborted) sink.snapshotFailed(wanted, failureOf(error).error);
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
    const response = await httpRequest(this.#fetch, {
      url: url.href, apiKey, signal,
      headers: { Accept: "text/event-stream", ...(lastEventId === null ? {} : { "Last-Event-ID": lastEventId }) },
      check: ({ headers }) => (isEventStream(headers.get("content-type") ?? "") ? null : "the server did not respond with an event stream; check the url"),
    });
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
