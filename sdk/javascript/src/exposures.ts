/** Reports to the server what local evaluations have shown, as counts. */
import { Backoff, ReconnectConfig } from "./core/backoff.js";
import { ExposureCounts, MAX_ENTRIES } from "./core/exposures.js";
import { parseRetryAfter, statusOutcome } from "./core/policy.js";
import { asError, FlagentError } from "./errors.js";
import type { Exposure } from "./evaluation.js";
import type { Fetch } from "./http-request.js";
import { credentialOf } from "./identity.js";
import type { RealtimeClient } from "./realtime-client.js";

export interface ExposureReporterOptions {
  /** The server's address; by default that of the client. */
  readonly url?: string;
  /** The time between two reports in milliseconds; 10 seconds by default. */
  readonly interval?: number;
  /** The `fetch` to use instead of the platform's. */
  readonly fetch?: Fetch;
}

const INTERVAL_MS = 10_000;
const MAX_KEPT = 10_000;
const SEND_MS = 10_000;
const CLOSE_MS = 1000;

/**
 * Counts exposures per schema, flag and variant, and sends the counts every ten seconds, or when there are a thousand different ones:
 * `local.onExposure(reporter.report)`. What cannot be sent is counted together and sent later, with backoff; of more than 10 000 different ones the oldest are
 * dropped. It never raises, and never disturbs evaluation or the client; a server that refuses it is reported once to the client's `onError`.
 */
export class ExposureReporter {
  readonly #client: RealtimeClient;
  readonly #url: string;
  readonly #interval: number;
  readonly #fetch: Fetch;
  readonly #counts = new ExposureCounts(MAX_KEPT);
  readonly #backoff = new Backoff(ReconnectConfig.from({ maxAttempts: 0, maxDelay: 300_000 }));
  #timer: unknown = null;
  #isSending = false;
  #sending: Promise<void> = Promise.resolve();
  /** Ends the request that is under way. */
  #abort: AbortController | null = null;
  #limit: unknown = null;
  #isWaiting = false;
  #isOver = false;

  constructor(client: RealtimeClient, { url, interval = INTERVAL_MS, fetch: given }: ExposureReporterOptions = {}) {
    if (!(interval > 0)) throw new RangeError(`interval is ${interval}; it must be more than 0, in milliseconds`);
    this.#client = client;
    this.#interval = interval;
    this.#fetch = given ?? ((input, init) => fetch(input, init));
    const base = new URL(url ?? client.url.replace(/^ws/, "http"));
    base.pathname = `${base.pathname.replace(url === undefined ? /\/+(ws|api\/v1\/events\/stream)?$/ : /\/+$/, "")}/api/v1/exposures`;
    base.search = base.hash = "";
    this.#url = base.href;
  }

  /** Exposures that were dropped because there were too many, or because the server refuses them. */
  get dropped(): number {
    return this.#counts.dropped;
  }

  /** Counts one exposure: the handler to pass to `onExposure`. */
  readonly report = ({ flagKey, variantKey, schema }: Pick<Exposure, "flagKey" | "variantKey" | "schema">): void => {
    if (this.#isOver) {
      this.#counts.dropped++;
      return;
    }
    this.#counts.add({ flagKey, variantKey, count: 1, ...(schema === null ? {} : { schema }) });
    if (this.#counts.size >= MAX_ENTRIES && !this.#isWaiting) void this.#send();
    else if (this.#timer === null && !this.#isSending) this.#wait(this.#interval);
  };

  /** Sends what is left, once and within a second, and stops. */
  async close(): Promise<void> {
    this.#clearTimer();
    this.#timeout(CLOSE_MS);
    await this.#sending;
    if (!this.#isOver && this.#counts.size > 0) await this.#send(CLOSE_MS);
    this.#isOver = true;
    this.#clearTimer();
  }

  #send(timeoutMs = SEND_MS): Promise<void> {
    if (!this.#isSending && !this.#isOver) this.#sending = this.#sendNow(timeoutMs);
    return this.#sending;
  }

  async #sendNow(timeoutMs: number): Promise<void> {
    this.#isSending = true;
    this.#isWaiting = false;
    this.#clearTimer();
    const entries = this.#counts.take();
    const { clock } = this.#client;
    const abort = this.#abort = new AbortController();
    this.#timeout(timeoutMs);
    let status = 0;
    let retryAfterMs: number | null = null;
    try {
      const key = await credentialOf(this.#client);
      const headers = { "Content-Type": "application/json", ...(key === null ? {} : { "X-API-Key": key }) };
      const response = await this.#fetch(this.#url, { method: "POST", headers, body: JSON.stringify({ exposures: entries }), signal: abort.signal, redirect: "error", keepalive: timeoutMs === CLOSE_MS });
      ({ status } = response);
      const wait = response.headers.get("retry-after");
      retryAfterMs = wait === null ? null : parseRetryAfter(wait, Date.now());
      await response.body?.cancel();
    } catch {
      // Without an answer it is sent again, as after an answer that asks for it.
    }
    this.#abort = null;
    clock.clearTimer(this.#limit);
    this.#isSending = false;
    const isSent = status >= 200 && status < 300;
    if (!isSent && status !== 0 && statusOutcome(status) === "fatal") return this.#stop(status, entries);
    if (isSent) this.#backoff.message(clock.now());
    else for (const entry of entries) this.#counts.add(entry);
    if (this.#isOver || (isSent && this.#counts.size === 0)) return;
    this.#isWaiting = !isSent;
    this.#wait(isSent ? (this.#counts.size >= MAX_ENTRIES ? 0 : this.#interval) : Math.max(this.#interval, this.#backoff.lost(clock.now(), clock.random(), retryAfterMs) ?? 0));
  }

  #timeout(ms: number): void {
    const { clock } = this.#client;
    const abort = this.#abort;
    if (abort === null) return;
    clock.clearTimer(this.#limit);
    this.#limit = clock.setTimer(() => abort.abort(), ms);
  }

  #stop(status: number, entries: readonly { readonly count: number }[]): void {
    this.#isOver = true;
    this.#counts.dropped += entries.reduce((sum, { count }) => sum + count, 0);
    try {
      this.#client.report(new FlagentError(`exposures are no longer reported: the server responded with ${status}`));
    } catch (error) {
      console.error("@flagent/realtime:", asError(error));
    }
  }

  #wait(ms: number): void {
    this.#clearTimer();
    const timer = this.#client.clock.setTimer(() => void this.#send(), ms);
    this.#timer = timer;
    // A program that has nothing else to do need not wait for it.
    (timer as { unref?(): void } | null)?.unref?.();
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#client.clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}
