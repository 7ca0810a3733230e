/**
 * One connection for several tabs: browsers allow six per host over HTTP/1.1.
 *
 * The tab that holds a Web Lock is the leader: it has the connection, selects the union of all tabs' selections, and
 * broadcasts every message on a BroadcastChannel. When it closes, the browser passes the lock to another tab, which
 * collects the tabs' last ids and resumes after the oldest; each tab drops duplicates. A tab that missed messages
 * (frozen, slow) rejoins and receives a snapshot.
 */
import type { ClientConnection, ConnectionListener, ConnectionSharing, ConnectionState } from "./client-connection.js";
import type { Clock } from "./clock.js";
import type { ConnectionSupervisor } from "./connection-supervisor.js";
import { crc32 } from "./core/crc32.js";
import { Cursor } from "./core/cursor.js";
import { isBefore, parseEventId } from "./core/event-id.js";
import type { Message } from "./core/message.js";
import { union, type Selection } from "./core/selection.js";
import { asError, ClientClosed, FlagentError, RequestFailed } from "./errors.js";
import { PendingRequests, type Fields } from "./pending-requests.js";

interface Member {
  readonly selection: Selection | null;
  readonly snapshot: boolean;
  readonly lasting: boolean;
  readonly last: string | null;
}

/** A request of another tab for the leader. */
interface TabRequest {
  readonly call: string;
  readonly fields: Fields;
  readonly timeoutMs: number;
}

interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly code?: string;
}

type Post = { readonly from: string } & (
  | { readonly type: "leader" }
  /** `isNew`: the tab waits for a greeting; otherwise it only changes its selection. */
  | ({ readonly type: "join"; readonly isNew: boolean } & Member)
  | { readonly type: "leave" | "hidden" | "wake" }
  | { readonly type: "snapshot"; readonly selection: Selection }
  | { readonly type: "call"; readonly call: string; readonly fields: Fields; readonly timeoutMs: number }
  | { readonly type: "answer"; readonly to: string; readonly call: string; readonly body?: Fields; readonly error?: PlainError }
  | { readonly type: "state"; readonly to?: string; readonly state: ConnectionState; readonly error: PlainError | null }
  | { readonly type: "message"; readonly to?: string; readonly message: Message }
);

type Distributed<T> = T extends unknown ? Omit<T, "from"> : never;

/** How long a new leader waits for the other tabs' last ids. */
const COLLECT_MS = 150;
/** How long the browser may take to register the release of a lock. */
const RELEASE_MS = 50;

/**
 * Shares one connection among the tabs of an origin that have the same URL, the same API key and the same `group`. Keys from functions are
 * assumed to be the same in every tab. Without BroadcastChannel and Web Locks every tab has its own connection.
 */
export function shareTabs(group = ""): ConnectionSharing {
  return ({ url, apiKey, clock, listener, makeOwn }) => {
    if (typeof BroadcastChannel === "undefined" || typeof navigator === "undefined" || navigator.locks === undefined) return null;
    const key = typeof apiKey === "string" ? crc32(apiKey).toString(16) : "";
    return new SharedConnection(`flagent:${group}:${url}:${key}`, makeOwn, listener, clock);
  };
}

export class SharedConnection implements ClientConnection {
  state: ConnectionState = "idle";
  readonly #tab = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
  readonly #channel: BroadcastChannel;
  readonly #cursor = new Cursor();
  readonly #members = new Map<string, Member>();
  readonly #abort = new AbortController();
  readonly #requests: PendingRequests;
  readonly #pauses = new Set<string>();
  #selection: Selection | null = null;
  #wantsSnapshot = false;
  #isLasting = false;
  #inner: ConnectionSupervisor | null = null;
  #isLeader = false;
  #greeting: (Message & { kind: "connected" }) | null = null;
  #failure: PlainError | null = null;
  /** Requests that arrived before this leader had its connection. */
  readonly #earlyRequests: TabRequest[] = [];
  #hasJoined = false;
  /** A tab that is away receives nothing, so that it must rejoin. */
  #isAway = false;
  #needsResync = false;
  #release: () => void = () => undefined;
  #releaseVisible: (() => void) | null = null;
  #requestCount = 0;

  readonly #name: string;
  readonly #makeSupervisor: (listener: ConnectionListener, lastEventId: string | null) => ConnectionSupervisor;
  readonly #listener: ConnectionListener;
  readonly #clock: Clock;

  constructor(
    name: string,
    makeSupervisor: (listener: ConnectionListener, lastEventId: string | null) => ConnectionSupervisor,
    listener: ConnectionListener,
    clock: Clock) {
    this.#name = name;
    this.#makeSupervisor = makeSupervisor;
    this.#listener = listener;
    this.#clock = clock;
    this.#requests = new PendingRequests(clock);
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }: MessageEvent<Post>) => this.#onPost(data);
    this.#holdVisible();
    navigator.locks.request(name, { signal: this.#abort.signal }, () => this.#lead()).catch((error: unknown) => {
      if (!this.#abort.signal.aborted) this.#listener.error(asError(error));
    });
  }

  /** Whether this tab is the leader, which has the connection. */
  get leads(): boolean {
    return this.#isLeader;
  }

  select(selection: Selection | null, snapshot: boolean, isLasting: boolean): void {
    this.#selection = selection;
    this.#wantsSnapshot = snapshot;
    this.#isLasting = isLasting;
    if (this.state === "idle") this.#become("connecting", null);
    this.#join();
  }

  requestSnapshot(selection: Selection): void {
    if (this.#isLeader) this.#inner?.requestSnapshot(selection);
    else this.#post({ type: "snapshot", selection });
  }

  call(fields: Fields, timeoutMs: number): Promise<Fields> {
    if (this.state === "closed") return Promise.reject(new ClientClosed());
    if (this.#inner !== null) return this.#inner.call!(fields, timeoutMs);
    const call = `${this.#tab}-${++this.#requestCount}`;
    const request = { call, fields, timeoutMs };
    this.#post({ type: "call", ...request });
    return this.#requests.wait(call, { ...request, type: fields.type }, timeoutMs);
  }

  pause(reason: string): void {
    if (this.state === "closed") return;
    this.#pauses.add(reason);
    if (reason === "hidden") {
      // A hidden tab keeps receiving as long as another tab is visible.
      this.#releaseVisible?.();
      this.#releaseVisible = null;
      this.#post({ type: "hidden" });
      this.#pauseIfAllHidden();
    } else {
      this.#isAway = true;
      this.#become("paused", null);
    }
  }

  resume(reason: string): void {
    if (!this.#pauses.delete(reason) || this.state === "closed") return;
    if (reason === "hidden") {
      this.#holdVisible();
      this.#post({ type: "wake" });
      this.#inner?.resume("hidden");
    } else if (this.#isAway && this.#pauses.size === 0) {
      this.#isAway = false;
      this.#needsResync = true;
      this.#become("connecting", null);
      if (this.#isLeader && this.#greeting !== null) this.#connected(this.#greeting, true);
      else this.#join();
    }
  }

  reconnectNow(): void {
    if (this.#inner !== null) this.#inner.reconnectNow();
    else this.#post({ type: "wake" });
  }

  close(): void {
    if (this.state === "closed") return;
    this.#post({ type: "leave" });
    this.#become("closed", null);
    this.#abort.abort();
    this.#inner?.close();
    this.#release();
    this.#releaseVisible?.();
    this.#channel.close();
    this.#requests.rejectAll(new ClientClosed());
  }

  /** Runs while this tab holds the lock. */
  #lead(): Promise<void> | undefined {
    if (this.state === "closed") return undefined;
    this.#isLeader = true;
    this.#members.clear();
    this.#post({ type: "leader" });
    this.#clock.setTimer(() => this.#connect(), COLLECT_MS);
    return new Promise((resolve) => { this.#release = resolve; });
  }

  #connect(): void {
    if (this.state === "closed") return;
    this.#inner = this.#makeSupervisor({
      message: (message) => this.#broadcast(message),
      state: (state, error) => {
        if (state === "closed") return;
        if (state !== "connected") this.#greeting = null;
        if (state === "failed" && error !== null) this.#failure = plain(error);
        this.#post({ type: "state", state, error: error === null ? null : plain(error) });
        this.#onState(state, error);
      },
      error: (error) => this.#listener.error(error),
    }, this.#oldestId());
    this.#join();
    for (const { call, fields, timeoutMs } of this.#earlyRequests.splice(0)) this.#answer(call, fields, timeoutMs);
    for (const request of this.#requests.unanswered) this.#callInner(request as unknown as TabRequest);
  }

  /** The last id that every tab has received; null if there is none, or if the ids are not comparable. */
  #oldestId(): string | null {
    const ids = [this.#cursor.id ?? null, ...[...this.#members.values()].map(({ last }) => last)].filter((id) => id !== null);
    let oldest: string | null = null;
    for (const id of ids) {
      if (oldest === null || id === oldest) {
        oldest = id;
        continue;
      }
      const [a, b] = [parseEventId(id), parseEventId(oldest)];
      if (a === null || b === null || a.log !== b.log) return null;
      if (isBefore(a, b)) oldest = id;
    }
    return oldest;
  }

  #broadcast(message: Message): void {
    if (message.kind === "connected") this.#greeting = message;
    this.#post({ type: "message", message });
    this.#onMessage(message);
  }

  #onPost(post: Post): void {
    if (this.state === "closed" || ("to" in post && post.to !== undefined && post.to !== this.#tab)) return;
    switch (post.type) {
      case "leader":
        this.#greeting = null;
        if (!this.#isAway && this.state !== "idle") this.#become("connecting", null);
        this.#join();
        for (const request of this.#requests.unanswered) this.#post({ ...(request as unknown as TabRequest), type: "call" });
        return;
      case "join":
        return this.#onJoin(post);
      case "leave":
        this.#members.delete(post.from);
        this.#applySelection();
        return this.#pauseIfAllHidden();
      case "hidden":
        return this.#pauseIfAllHidden();
      case "wake":
        this.#inner?.resume("hidden");
        return this.#inner?.reconnectNow();
      case "snapshot":
        return this.#inner?.requestSnapshot(post.selection);
      case "call":
        if (!this.#isLeader) return;
        if (this.#inner === null) this.#earlyRequests.push(post);
        else this.#answer(post.call, post.fields, post.timeoutMs);
        return;
      case "answer":
        return this.#onAnswer(post.call, post.body, post.error);
      case "state":
        return this.#onState(post.state, post.error === null ? null : revived(post.error));
      case "message":
        return this.#onMessage(post.message, post.to !== undefined);
    }
  }

  #onJoin(post: Post & { type: "join" }): void {
    if (!this.#isLeader) return;
    const { selection, snapshot, lasting, last } = post;
    this.#members.set(post.from, { selection, snapshot, lasting, last });
    const isOpen = this.#inner?.state === "connected" && this.#greeting !== null;
    this.#applySelection();
    // A stream that is replaced for the new selection greets every tab when it is connected again.
    if (this.#inner === null || !post.isNew) return;
    const { state } = this.#inner;
    this.#post({ type: "state", to: post.from, state, error: this.#failure });
    if (!isOpen || state !== "connected" || this.#greeting === null) return;
    const resumed = last !== null && last === this.#inner.lastEventId;
    this.#post({ type: "message", to: post.from, message: { ...this.#greeting, resumed } });
  }

  #join(): void {
    if (this.state === "closed" || this.#isAway) return;
    if (this.#isLeader) return this.#applySelection();
    if (this.#selection === null && !this.#hasJoined) return;
    this.#hasJoined = true;
    const selection = this.#selection;
    const wantsSnapshot = this.#wantsSnapshot;
    const isLasting = this.#isLasting;
    const cursor = this.#cursor;
    this.#post({ type: "join", selection, snapshot: wantsSnapshot, lasting: isLasting, last: cursor.id ?? null, isNew: this.state !== "connected" });
  }

  #applySelection(): void {
    if (!this.#isLeader || this.#inner === null) return;
    const all = [{ selection: this.#selection, snapshot: this.#wantsSnapshot, lasting: this.#isLasting }, ...this.#members.values()];
    const selection = union(all.flatMap((member) => (member.selection === null ? [] : [member.selection])));
    this.#inner.select(selection, all.some(({ snapshot }) => snapshot), all.some(({ lasting }) => lasting), null);
  }

  #onState(state: ConnectionState, error: Error | null): void {
    if (this.#isAway || this.state === "closed" || (this.#selection === null && state !== "failed")) return;
    // Only the greeting makes a tab connected, so that no store is ready before it.
    if (state !== this.state && state !== "connected") this.#become(state, error);
  }

  #onMessage(message: Message, isDirect = false): void {
    if (this.#isAway || this.#selection === null) return;
    if (message.kind === "connected") return this.#connected(message, isDirect);
    if (this.state !== "connected") return;
    if (message.kind === "events") {
      const events = message.events.filter((event) => this.#cursor.accept(event.id ?? undefined));
      if (events.length > 0) this.#listener.message({ ...message, events });
      return;
    }
    if (message.kind === "heartbeat" && message.id !== null) this.#cursor.advance(message.id);
    if (message.kind === "snapshot") {
      if (message.reason !== null || this.#cursor.id === undefined) this.#cursor.replace(message.id ?? undefined);
      else if (message.id !== null) this.#cursor.advance(message.id);
      if (this.#needsResync && message.reason === null) {
        this.#needsResync = false;
        return this.#listener.message({ ...message, reason: "rejoined" });
      }
    }
    this.#listener.message(message);
  }

  /**
   * The connection resumes after the oldest of the tabs' ids; a tab without an id, or one that was away, needs a
   * snapshot. A new stream delivers one; a tab that is greeted alone has joined later and must request it.
   */
  #connected(message: Message & { kind: "connected" }, isDirect: boolean): void {
    const resumed = message.resumed && this.#cursor.id !== undefined && !this.#needsResync;
    if (!resumed) this.#cursor.replace(message.resumed ? undefined : message.id ?? undefined);
    this.#become("connected", null);
    this.#listener.message({ ...message, resumed });
    if (!resumed && this.#wantsSnapshot && (message.resumed || isDirect)) this.requestSnapshot(this.#selection!);
  }

  /** Sends a request of this tab that was made before it had its connection. */
  #callInner({ call, fields, timeoutMs }: TabRequest): void {
    this.#inner!.call!(fields, timeoutMs).then(
      (body) => this.#requests.resolve(call, body),
      (error: unknown) => this.#requests.reject(call, asError(error)),
    );
  }

  #answer(call: string, fields: Fields, timeoutMs: number): void {
    const to = call.slice(0, call.lastIndexOf("-"));
    this.#inner!.call!(fields, timeoutMs).then(
      (body) => this.#post({ type: "answer", to, call, body }),
      (error: unknown) => this.#post({ type: "answer", to, call, error: plain(asError(error)) }),
    );
  }

  #onAnswer(id: string, body: Fields | undefined, error: PlainError | undefined): void {
    if (body !== undefined) this.#requests.resolve(id, body);
    else this.#requests.reject(id, revived(error!));
  }

  #holdVisible(): void {
    if (this.#releaseVisible !== null || (typeof document !== "undefined" && document.visibilityState === "hidden")) return;
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => { release = resolve; });
    this.#releaseVisible = release;
    navigator.locks.request(`${this.#name}:visible`, { mode: "shared" }, () => held).catch((error: unknown) => this.#listener.error(asError(error)));
  }

  #pauseIfAllHidden(): void {
    if (!this.#isLeader || !this.#pauses.has("hidden")) return;
    this.#clock.setTimer(() => {
      navigator.locks.query().then(({ held }) => {
        const isVisible = held?.some(({ name }) => name === `${this.#name}:visible`) ?? false;
        if (!isVisible && this.#pauses.has("hidden") && this.state !== "closed") this.#inner?.pause("hidden");
      }, (error: unknown) => this.#listener.error(asError(error)));
    }, RELEASE_MS);
  }

  #post(post: Distributed<Post>): void {
    this.#channel.postMessage({ ...post, from: this.#tab });
  }

  #become(state: ConnectionState, error: Error | null): void {
    this.state = state;
    this.#listener.state(state, error);
  }
}

function plain(error: Error): PlainError {
  return { name: error.name, message: error.message, ...(error instanceof RequestFailed ? { code: error.code } : {}) };
}

function revived({ message, code }: PlainError): Error {
  return code !== undefined ? new RequestFailed(message, code) : new FlagentError(message);
}
