/**
 * Polling of a snapshot as a transport, for networks that let no stream through. A response with flags counts as a `resync`, one without changes as a
 * heartbeat. The server holds a request until the next commit, so that a change arrives almost as fast as on a stream.
 */
import type { Clock } from "./clock.js";
import { MalformedMessage, MessageTooLarge } from "./core/errors.js";
import { positionOf } from "./core/event-id.js";
import type { LongIntegers } from "./core/exact-json.js";
import { decodeMessage, parseJson, type SnapshotMessage } from "./core/message.js";
import { QUERY_LIMITS } from "./core/query-limits.js";
import { EVERYTHING, toQuery } from "./core/selection.js";
import { ConnectionLost } from "./errors.js";
import { failureOf, httpRequest, type Fetch } from "./http-request.js";
import { connectionFailure, type Connection, type ConnectionRequest, type ConnectionSink, type Transport } from "./transport.js";

/** How long the server may hold a request; proxies commonly end one without an answer after 10 s or more. */
const WAIT_MS = 8000;
const SHORTEST_INTERVAL_MS = 1000;
export const POLL_INTERVAL_MS = 10_000;
const SELECTORS = new Set(["flag", "flagID", "tag", "schema"]);

export interface PollingOptions {
  readonly url: string;
  readonly fetch: Fetch;
  readonly clock: Clock;
  /** The interval for a server that does not hold requests. */
  readonly intervalMs: number;
  /** The maximum wait for an answer, beside the time that the server holds the request. */
  readonly connectMs: number;
  readonly maxLength: number;
  readonly integers: LongIntegers | undefined;
}

export class PollingTransport implements Transport {
  readonly limits = QUERY_LIMITS;
  readonly #options: PollingOptions;

  constructor(options: PollingOptions) {
    this.#options = options;
  }

  open(request: ConnectionRequest, sink: ConnectionSink): Connection {
    return new Polling(this.#options, request, sink);
  }
}

class Polling implements Connection {
  readonly dialogue = null;
  readonly #options: PollingOptions;
  readonly #request: ConnectionRequest;
  readonly #sink: ConnectionSink;
  #isFirst = true;
  #etag: string | null = null;
  #abort = new AbortController();
  #timer: unknown = null;

  constructor(options: PollingOptions, request: ConnectionRequest, sink: ConnectionSink) {
    this.#options = options;
    this.#request = request;
    this.#sink = sink;
    void this.#poll();
  }

  /** The next answer has all flags of what is selected. */
  requestSnapshot<T>(_: unknown, selected: T): T {
    this.#etag = null;
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#clearTimer();
    void this.#poll();
    return selected;
  }

  close(): void {
    this.#clearTimer();
    this.#abort.abort();
  }

  async #poll(): Promise<void> {
    const { clock, intervalMs, connectMs } = this.#options;
    const { signal } = this.#abort;
    const began = clock.now();
    const limit = connectMs + (this.#etag === null ? 0 : WAIT_MS);
    this.#timer = clock.setTimer(() => {
      this.close();
      this.#sink.ended(connectionFailure(new ConnectionLost(`no answer to a poll within ${limit} ms`, { cause: "silent" })));
    }, limit);
    let isChanged: boolean;
    try {
      isChanged = await this.#answer(signal);
    } catch (error) {
      if (signal.aborted) return;
      this.close();
      return this.#sink.ended(failureOf(error));
    }
    if (signal.aborted) return;
    this.#clearTimer();
    const took = clock.now() - began;
    const interval = !isChanged && took < WAIT_MS / 2 ? intervalMs : SHORTEST_INTERVAL_MS;
    this.#timer = clock.setTimer(() => void this.#poll(), Math.max(interval - took, 0));
  }

  /** Makes one request and delivers its answer; returns whether it has flags. */
  async #answer(signal: AbortSignal): Promise<boolean> {
    const { fetch, maxLength, integers } = this.#options;
    const etag = this.#etag;
    const response = await httpRequest(fetch, {
      url: this.#url(), apiKey: this.#request.apiKey, signal,
      headers: { Accept: "application/json", ...(etag === null ? {} : { "If-None-Match": etag }) },
      check: ({ status, headers }) => (status === 304 || (headers.get("content-type") ?? "").split(";")[0]!.trim().toLowerCase() === "application/json"
        ? null : "the server did not respond with a snapshot; check the url, and that the network needs no login"),
    });
    const fresh = !response.headers.has("flagent-stale");
    const at = response.headers.get("flagent-position");
    let snapshot: SnapshotMessage | null = null;
    if (response.status !== 304) {
      const text = await bodyOf(response, maxLength);
      const message = decodeMessage({ type: "snapshot", ...(parseJson(text, integers) as object) });
      if (message.kind !== "snapshot") throw new MalformedMessage("the answer is not a snapshot");
      snapshot = message;
    }
    if (signal.aborted) return false;
    this.#sink.received();
    if (snapshot !== null && this.#etag === etag) this.#etag = response.headers.get("etag");
    const id = snapshot?.id ?? at;
    const state = { id, position: positionOf(id), fresh, ageMs: 0 };
    if (this.#isFirst) {
      this.#isFirst = false;
      // Silence is measured by the interval between two answers.
      this.#sink.message({ kind: "connected", ...state, heartbeatMs: Math.max(this.#options.intervalMs, WAIT_MS), resumed: false, requestId: null });
      if (signal.aborted) return false;
      if (snapshot !== null) this.#sink.message({ ...snapshot, id, reason: "polling" });
      return true;
    }
    if (snapshot !== null) this.#sink.message({ ...snapshot, id, reason: "polling" });
    // Without a position, because the time between two answers varies: it is not the interval after which silence is measured.
    if (!signal.aborted) this.#sink.message({ kind: "heartbeat", ...state, position: null, digest: null });
    return snapshot !== null;
  }

  #url(): string {
    const url = new URL(this.#options.url);
    for (const [name, value] of toQuery(this.#request.selection ?? EVERYTHING)) if (SELECTORS.has(name)) url.searchParams.append(name, value);
    if (this.#etag !== null) url.searchParams.append("waitMs", String(WAIT_MS));
    return url.href;
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#options.clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}

async function bodyOf(response: Response, maxLength: number): Promise<string> {
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    text += decoder.decode(value, { stream: true });
    if (text.length <= maxLength) continue;
    await reader.cancel();
    throw new MessageTooLarge(`a snapshot exceeds maxMessageBytes (${maxLength} characters)`);
  }
}
