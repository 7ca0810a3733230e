// The connection to the event stream: reconnects by itself, resumes after the last id, and is live only while its
// freshness is confirmed.
import { BlockReader } from "./sse.js";

const MAX_DELAY_MS = 15_000;
// After this many keep-alive intervals without data the connection may be half-open, and is closed.
const SILENT_KEEP_ALIVES = 2.5;
const CONNECT_MS = 15_000;

/** `state.name`: `connecting`, `live`, `stale` (connected, freshness not confirmed), `waiting` (for the next attempt, at
 *  `state.retryAt`), `refused` (a credential is required) or `stopped`. `state.reason` is a sentence. */
export class Stream {
  state = { name: "stopped", reason: "", retryAt: 0 };
  lastId = "";
  attempts = 0;
  #url;
  #handler;
  #credential = null;
  #abort = null;
  #run = 0;
  #wake = null;
  #delayMs = 2_000;
  #silenceTimer = 0;
  #heartbeatMs = 30_000;
  #isPlanned = false;

  /** `url` may ask for a snapshot. `handler` has `onState()`, `onSnapshot(flags, position, why)`, `onEvent(event,
   *  isReplay)`, `onKeepAlive({position, fresh, ageMs, digest})`, and optionally `onConnected({id, position})`,
   *  `onOther(name, data)` for what is no event with an id, and `final`, the statuses after which it does not ask again. */
  constructor(url, handler) {
    this.#url = url;
    this.#handler = handler;
  }

  /** Start after an id, if there is one, with this credential; null sends none. */
  start(credential, lastId = "") {
    this.#credential = credential;
    this.stop();
    this.lastId = lastId;
    this.#follow(++this.#run);
  }

  stop() {
    this.#run++;
    this.#end();
    this.#set("stopped", "");
  }

  /** Start over without the last id. */
  restart() {
    this.lastId = "";
    this.reconnect();
  }

  /** Reconnect now; an open stream is closed first. */
  reconnect() {
    if (this.state.name === "stopped" || this.state.name === "refused") return;
    this.#end();
  }

  #end() {
    clearTimeout(this.#silenceTimer);
    this.#abort?.abort();
    this.#wake?.();
  }

  #set(name, reason, retryAt = 0) {
    const { state } = this;
    if (state.name === name && state.reason === reason && state.retryAt === retryAt) return;
    this.state = { name, reason, retryAt };
    this.#handler.onState();
  }

  async #follow(run) {
    let failures = 0;
    while (run === this.#run) {
      let reason;
      this.attempts++;
      this.#set("connecting", this.state.reason);
      try {
        reason = await this.#connect(run, () => (failures = 0));
      } catch (error) {
        if (error instanceof Refused || this.#handler.final?.includes(error.status)) {
          if (run === this.#run) this.#set("refused", error.message);
          return;
        }
        reason = error instanceof NotNow ? error.message : "the server cannot be reached";
        if (error instanceof NotNow && error.retryAfterMs) this.#delayMs = error.retryAfterMs;
      } finally {
        clearTimeout(this.#silenceTimer);
      }
      if (run !== this.#run) return;
      // The first attempt is immediate, as most interruptions are short; but a server that shuts down has sent each of
      // its clients a delay.
      if (this.#isPlanned) failures++;
      this.#isPlanned = false;
      const delayMs = Math.min(MAX_DELAY_MS, failures ? this.#delayMs * 1.6 ** (failures - 1) : 150) * (0.75 + Math.random() / 2);
      failures++;
      this.#set("waiting", reason, Date.now() + delayMs);
      await new Promise((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, delayMs);
      });
      this.#wake = null;
    }
  }

  /** Resolves with the reason when the stream has ended. */
  async #connect(run, onProven) {
    const abort = (this.#abort = new AbortController());
    this.#listen(abort, CONNECT_MS);
    const pieces = await openStream(this.#url, this.#credential, this.lastId, abort.signal);
    const blocks = new BlockReader();
    const connection = { isReplay: Boolean(this.lastId), signal: abort.signal };
    for (;;) {
      const { done, value } = await pieces.read();
      if (done || run !== this.#run) return "the server closed the stream";
      this.#listen(abort, this.#heartbeatMs * SILENT_KEEP_ALIVES);
      for (const block of blocks.feed(value)) {
        this.#take(block, connection);
        // The handler may have closed this connection: then the remaining blocks are dropped.
        if (abort.signal.aborted) return "the page closed the stream";
      }
      onProven();
    }
  }

  #listen(abort, silenceMs) {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      this.#set("stale", "no data from the server for too long");
      abort.abort();
    }, silenceMs);
  }

  #take(block, connection) {
    if (block.retry !== undefined) this.#delayMs = block.retry;
    for (const comment of block.comments) {
      if (comment === "closing") this.#isPlanned = true;
      const found = /^keep-alive position=(\d+) fresh=(true|false) ageMs=(\d+)(?: digest=(\S+))?/.exec(comment);
      if (!found) continue;
      connection.isReplay = false;
      this.#keepAlive({ position: found[1], fresh: found[2] === "true", ageMs: Number(found[3]), digest: found[4] });
    }
    if (block.data !== null) this.#dispatch(block.event, parse(block), connection);
    // Set after the event was handled, and only if the handler did not restart the stream: the id is that of the last
    // event the page has shown.
    if (block.id && !connection.signal.aborted) this.lastId = block.id;
  }

  #dispatch(name, data, connection) {
    switch (name) {
      case "connected":
        if (data.heartbeatMs) this.#heartbeatMs = data.heartbeatMs;
        // Without a snapshot, the stream resumes after this id from now on.
        if (!this.lastId && !this.#url.searchParams.has("snapshot")) this.lastId = data.id;
        this.#handler.onConnected?.(data);
        this.#keepAlive({ position: data.position, fresh: data.fresh, ageMs: data.ageMs });
        break;
      case "snapshot":
        this.#handler.onSnapshot(data.flags, data.position, "");
        break;
      case "resync":
        connection.isReplay = false;
        this.#handler.onSnapshot(data.snapshot.flags, data.snapshot.position, data.reason);
        break;
      case "unauthorized":
        throw new Refused(data.message);
      default:
        if (typeof data.id === "string" && typeof data.type === "string") this.#handler.onEvent(data, connection.isReplay);
        else this.#handler.onOther?.(name, data);
    }
  }

  #keepAlive(keepAlive) {
    this.#handler.onKeepAlive(keepAlive);
    if (keepAlive.fresh) this.#set("live", "");
    else this.#set("stale", "the server cannot confirm its freshness");
  }
}

/** The data of a block. In rows, numbers keep every digit: a bigint or numeric may exceed a double. */
export function parse({ event, data }) {
  if (!/^rows?(_|$)/.test(event) || !JSON.rawJSON) return JSON.parse(data);
  return JSON.parse(data, (_, value, { source }) => (typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value));
}

/** Open the stream, after an id if there is one; returns a reader of text. Throws if the server refuses. */
export async function openStream(url, credential, lastId, signal) {
  const headers = { accept: "text/event-stream" };
  if (credential) headers.authorization = `Bearer ${credential}`;
  if (lastId) headers["last-event-id"] = lastId;
  const response = await fetch(url, { headers, signal, cache: "no-store" });
  if (!response.ok) await refuse(response);
  return response.body.pipeThrough(new TextDecoderStream()).getReader();
}

class Refused extends Error {}

class NotNow extends Error {
  retryAfterMs = 0;
  status = 0;
}

/** Throw the error of a refused request. */
async function refuse(response) {
  const { sentence } = await problemOf(response);
  if (response.status === 401 || response.status === 403) throw new Refused(sentence);
  const error = new NotNow(sentence);
  error.status = response.status;
  error.retryAfterMs = Number(response.headers.get("retry-after") ?? 0) * 1000;
  throw error;
}

/** The problem of a refused request: `{sentence, problem}`; `problem` is null if a proxy answered. */
export async function problemOf(response) {
  const sentence = `the server answered ${response.status} ${response.statusText}`.trim();
  try {
    const problem = await response.json();
    return { sentence: typeof problem.detail === "string" && problem.detail ? problem.detail : sentence, problem };
  } catch {
    // No JSON: the response is from a proxy, and its status is the only information.
    return { sentence, problem: null };
  }
}
