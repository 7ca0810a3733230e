// The connection to the event stream: it reconnects by itself, resumes after the last id it has seen, and never claims
// to be live when it cannot know.
import { BlockReader } from "./sse.js";

const MAX_DELAY_MS = 15_000;
// Nothing for so many keep-alive intervals: the state may be old, and the connection half-open.
const SILENT_BEATS = 2.5;
const CONNECT_MS = 15_000;

/** `state.name`: `connecting`, `live`, `stale` (connected, not proven current), `waiting` (for the next attempt, at
 *  `state.retryAt`), `refused` (a credential is needed) or `stopped`. `state.reason` is a sentence. */
export class Stream {
  state = { name: "stopped", reason: "", retryAt: 0 };
  lastId = "";
  attempts = 0;
  #url;
  #heard;
  #credential = null;
  #abort = null;
  #run = 0;
  #wake = null;
  #delayMs = 2_000;
  #silenceTimer = 0;
  #heartbeatMs = 30_000;
  #isPlanned = false;

  /** `url` asks for a snapshot, or for none. `heard` has `onState()`, `onSnapshot(flags, position, why)`,
   *  `onEvent(event, isReplay)`, `onBeat({position, fresh, ageMs, digest})`, and may have `onConnected({id, position})`. */
  constructor(url, heard) {
    this.#url = url;
    this.#heard = heard;
  }

  /** Begin after an id, else anew, with this credential; null asks without one. */
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

  /** Begin anew, as if nothing had been received. */
  restart() {
    this.lastId = "";
    this.reconnect();
  }

  /** Do not wait any longer; a stream that is open is opened anew. */
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
    this.#heard.onState();
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
        if (error instanceof Refused) {
          if (run === this.#run) this.#set("refused", error.message);
          return;
        }
        reason = error instanceof NotNow ? error.message : "the server cannot be reached";
        if (error instanceof NotNow && error.retryAfterMs) this.#delayMs = error.retryAfterMs;
      } finally {
        clearTimeout(this.#silenceTimer);
      }
      if (run !== this.#run) return;
      // The first attempt comes at once, as most breaks are over by then; but a server that goes down in good order
      // has told each of its clients when to come back.
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
      if (done || run !== this.#run) return "the server has ended the stream";
      this.#listen(abort, this.#heartbeatMs * SILENT_BEATS);
      for (const block of blocks.feed(value)) {
        this.#take(block, connection);
        // Who hears may have ended this connection; what else had arrived is no longer theirs.
        if (abort.signal.aborted) return "the page has ended the stream";
      }
      onProven();
    }
  }

  #listen(abort, silenceMs) {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      this.#set("stale", "nothing was heard from the server for too long");
      abort.abort();
    }, silenceMs);
  }

  #take(block, connection) {
    if (block.retry !== undefined) this.#delayMs = block.retry;
    for (const comment of block.comments) {
      if (comment === "closing") this.#isPlanned = true;
      const beat = /^keep-alive position=(\d+) fresh=(true|false) ageMs=(\d+)(?: digest=(\S+))?/.exec(comment);
      if (!beat) continue;
      connection.isReplay = false;
      this.#beat({ position: beat[1], fresh: beat[2] === "true", ageMs: Number(beat[3]), digest: beat[4] });
    }
    if (block.data !== null) this.#dispatch(block.event, parse(block), connection);
    // After it was handled: an id stands for what the page has shown, not for what it is about to. Whoever was told to
    // begin anew meanwhile has none.
    if (block.id && !connection.signal.aborted) this.lastId = block.id;
  }

  #dispatch(name, data, connection) {
    switch (name) {
      case "connected":
        if (data.heartbeatMs) this.#heartbeatMs = data.heartbeatMs;
        // Where no snapshot comes, what is after this is missed from now on.
        if (!this.lastId && !this.#url.searchParams.has("snapshot")) this.lastId = data.id;
        this.#heard.onConnected?.(data);
        this.#beat({ position: data.position, fresh: data.fresh, ageMs: data.ageMs });
        break;
      case "snapshot":
        this.#heard.onSnapshot(data.flags, data.position, "");
        break;
      case "resync":
        connection.isReplay = false;
        this.#heard.onSnapshot(data.snapshot.flags, data.snapshot.position, data.reason);
        break;
      case "unauthorized":
        throw new Refused(data.message);
      default:
        if (typeof data.id === "string" && typeof data.type === "string") this.#heard.onEvent(data, connection.isReplay);
    }
  }

  #beat(beat) {
    this.#heard.onBeat(beat);
    if (beat.fresh) this.#set("live", "");
    else this.#set("stale", "the server cannot prove that it misses nothing");
  }
}

/** What a block says. Of rows with every digit: a bigint or numeric may have more than a double holds. */
export function parse({ event, data }) {
  if (!event.startsWith("row_") || !JSON.rawJSON) return JSON.parse(data);
  return JSON.parse(data, (_, value, { source }) => (typeof value === "number" && String(value) !== source ? JSON.rawJSON(source) : value));
}

/** Open the stream, after an id where there is one; gives a reader of texts. Raises why that is not to be had. */
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
}

/** Raises why a request was not answered as asked. */
async function refuse(response) {
  const { sentence } = await problemOf(response);
  if (response.status === 401 || response.status === 403) throw new Refused(sentence);
  const error = new NotNow(sentence);
  error.retryAfterMs = Number(response.headers.get("retry-after") ?? 0) * 1000;
  throw error;
}

/** What a refusal says: `{sentence, problem}`, the latter null where it is not the server's own. */
export async function problemOf(response) {
  const sentence = `the server answered ${response.status} ${response.statusText}`.trim();
  try {
    const problem = await response.json();
    return { sentence: typeof problem.detail === "string" && problem.detail ? problem.detail : sentence, problem };
  } catch {
    // No JSON: a proxy answered, not the server. Its status says what there is to say.
    return { sentence, problem: null };
  }
}
