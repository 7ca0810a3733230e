/**
 * One connection for several tabs: browsers allow six per host over HTTP/1.1.
 *
 * The tab that holds a Web Lock leads: it has the connection, selects what all tabs together select, and repeats every
 * message on a BroadcastChannel. When it goes, the browser hands the lock to another tab, which gathers the tabs and
 * resumes after the oldest of their last ids; each tab drops what it has seen. A tab that was away (frozen, slow)
 * joins anew and gets a snapshot.
 */
import { Calls, type Fields } from "./pending-requests.js";
import type { Clock } from "./clock.js";
import { crc32 } from "./core/crc32.js";
import type { Message } from "./core/message.js";
import { isBefore, parseEventId, Progress } from "./core/event-id.js";
import { union, type Selector } from "./core/selection.js";
import type { ApiKey, Connector, Link, LinkListener, LinkState } from "./connection-supervisor.js";
import { asError, ClientClosed, FlagentError, RequestRefused } from "./errors.js";

interface Member {
  readonly selector: Selector | null;
  readonly snapshot: boolean;
  readonly last: string | null;
}

/** A request on its way to the leading tab. */
interface Early {
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
  /** `anew`: the tab waits for a greeting; else it only selects something else. */
  | ({ readonly type: "join"; readonly anew: boolean } & Member)
  | { readonly type: "leave" | "hidden" | "wake" }
  | { readonly type: "snapshot"; readonly selector: Selector }
  | { readonly type: "call"; readonly call: string; readonly fields: Fields; readonly timeoutMs: number }
  | { readonly type: "answer"; readonly to: string; readonly call: string; readonly body?: Fields; readonly error?: PlainError }
  | { readonly type: "state"; readonly to?: string; readonly state: LinkState; readonly error: PlainError | null }
  | { readonly type: "message"; readonly to?: string; readonly message: Message }
);

type Distributed<T> = T extends unknown ? Omit<T, "from"> : never;

/** How long a new leader waits for the other tabs to say where they stand. */
const GATHER_MS = 150;
/** How long the browser may take to note that a lock was given back. */
const RELEASE_MS = 50;

export function isShareable(): boolean {
  return typeof BroadcastChannel !== "undefined" && typeof navigator !== "undefined" && navigator.locks !== undefined;
}

/** Tabs share what has the same address and the same key. A key that is a function is taken to be the same in every tab. */
export function shareName(url: string, apiKey: ApiKey, group: boolean | string): string {
  const key = typeof apiKey === "string" ? crc32(apiKey).toString(16) : "";
  return `flagent:${typeof group === "string" ? group : ""}:${url}:${key}`;
}

export class SharedLink implements Link {
  state: LinkState = "idle";
  private readonly tab = Array.from(crypto.getRandomValues(new Uint32Array(3)), (n) => n.toString(36)).join("");
  private readonly channel: BroadcastChannel;
  private readonly progress = new Progress();
  private readonly members = new Map<string, Member>();
  private readonly abort = new AbortController();
  private readonly calls: Calls;
  private readonly pauses = new Set<string>();
  private selector: Selector | null = null;
  private wantsSnapshot = false;
  private inner: Connector | null = null;
  private isLeader = false;
  private greeting: (Message & { kind: "connected" }) | null = null;
  private failure: PlainError | null = null;
  private readonly early: Early[] = [];
  private hasJoined = false;
  /** While a tab is away it hears nothing, so that it must join anew. */
  private isAway = false;
  private resyncs = false;
  private release: () => void = () => undefined;
  private releaseVisible: (() => void) | null = null;
  private callCount = 0;

  constructor(
    private readonly name: string,
    private readonly makeLink: (listener: LinkListener, lastEventId: string | null) => Connector,
    private readonly listener: LinkListener,
    private readonly clock: Clock,
  ) {
    this.calls = new Calls(clock);
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }: MessageEvent<Post>) => this.heard(data);
    this.holdVisible();
    navigator.locks.request(name, { signal: this.abort.signal }, () => this.lead()).catch((error: unknown) => {
      if (!this.abort.signal.aborted) this.listener.error(asError(error));
    });
  }

  /** Whether this tab has the connection. */
  get leads(): boolean {
    return this.isLeader;
  }

  select(selector: Selector | null, snapshot: boolean): void {
    this.selector = selector;
    this.wantsSnapshot = snapshot;
    if (this.state === "idle") this.become("connecting", null);
    this.join();
  }

  requestSnapshot(selector: Selector): void {
    if (this.isLeader) this.inner?.requestSnapshot(selector);
    else this.post({ type: "snapshot", selector });
  }

  call(fields: Fields, timeoutMs: number): Promise<Fields> {
    if (this.state === "closed") return Promise.reject(new ClientClosed());
    if (this.inner !== null) return this.inner.call(fields, timeoutMs);
    const call = `${this.tab}-${++this.callCount}`;
    const request = { call, fields, timeoutMs };
    this.post({ type: "call", ...request });
    return this.calls.wait(call, { ...request, type: fields.type }, timeoutMs);
  }

  pause(reason: string): void {
    if (this.state === "closed") return;
    this.pauses.add(reason);
    if (reason === "hidden") {
      // A hidden tab goes on hearing as long as another one is visible.
      this.releaseVisible?.();
      this.releaseVisible = null;
      this.post({ type: "hidden" });
      this.restWhenAllHidden();
    } else {
      this.isAway = true;
      this.become("paused", null);
    }
  }

  resume(reason: string): void {
    if (!this.pauses.delete(reason) || this.state === "closed") return;
    if (reason === "hidden") {
      this.holdVisible();
      this.post({ type: "wake" });
      this.inner?.resume("hidden");
    } else if (this.isAway && this.pauses.size === 0) {
      this.isAway = false;
      this.resyncs = true;
      this.become("connecting", null);
      if (this.isLeader && this.greeting !== null) this.connected(this.greeting, true);
      else this.join();
    }
  }

  hurry(): void {
    if (this.inner !== null) this.inner.hurry();
    else this.post({ type: "wake" });
  }

  close(): void {
    if (this.state === "closed") return;
    this.post({ type: "leave" });
    this.become("closed", null);
    this.abort.abort();
    this.inner?.close();
    this.release();
    this.releaseVisible?.();
    this.channel.close();
    this.calls.rejectAll(new ClientClosed());
  }

  /** Runs while this tab holds the lock. */
  private lead(): Promise<void> | undefined {
    if (this.state === "closed") return undefined;
    this.isLeader = true;
    this.members.clear();
    this.post({ type: "leader" });
    this.clock.setTimer(() => this.connect(), GATHER_MS);
    return new Promise((resolve) => { this.release = resolve; });
  }

  private connect(): void {
    if (this.state === "closed") return;
    this.inner = this.makeLink({
      message: (message) => this.repeat(message),
      state: (state, error) => {
        if (state === "closed") return;
        if (state !== "open") this.greeting = null;
        if (state === "failed" && error !== null) this.failure = plain(error);
        this.post({ type: "state", state, error: error === null ? null : plain(error) });
        this.stateHeard(state, error);
      },
      error: (error) => this.listener.error(error),
    }, this.oldest());
    this.join();
    for (const { call, fields, timeoutMs } of this.early.splice(0)) this.answer(call, fields, timeoutMs);
  }

  /** The last id that every tab has seen; null where one of several logs or forms is among them, and where nobody has seen any. */
  private oldest(): string | null {
    const ids = [this.progress.last ?? null, ...[...this.members.values()].map(({ last }) => last)].filter((id) => id !== null);
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

  private repeat(message: Message): void {
    if (message.kind === "connected") this.greeting = message;
    this.post({ type: "message", message });
    this.messageHeard(message);
  }

  private heard(post: Post): void {
    if (this.state === "closed" || ("to" in post && post.to !== undefined && post.to !== this.tab)) return;
    switch (post.type) {
      case "leader":
        this.greeting = null;
        if (!this.isAway && this.state !== "idle") this.become("connecting", null);
        this.join();
        for (const request of this.calls.unanswered) this.post({ ...(request as unknown as Early), type: "call" });
        return;
      case "join":
        return this.joined(post);
      case "leave":
        this.members.delete(post.from);
        this.applySelection();
        return this.restWhenAllHidden();
      case "hidden":
        return this.restWhenAllHidden();
      case "wake":
        this.inner?.resume("hidden");
        return this.inner?.hurry();
      case "snapshot":
        return this.inner?.requestSnapshot(post.selector);
      case "call":
        if (!this.isLeader) return;
        if (this.inner === null) this.early.push(post);
        else this.answer(post.call, post.fields, post.timeoutMs);
        return;
      case "answer":
        return this.answered(post.call, post.body, post.error);
      case "state":
        return this.stateHeard(post.state, post.error === null ? null : revived(post.error));
      case "message":
        return this.messageHeard(post.message, post.to !== undefined);
    }
  }

  private joined(post: Post & { type: "join" }): void {
    if (!this.isLeader) return;
    const { selector, snapshot, last } = post;
    this.members.set(post.from, { selector, snapshot, last });
    const isOpen = this.inner?.state === "open" && this.greeting !== null;
    this.applySelection();
    // A stream that was replaced for the new selection greets everybody when it is open again.
    if (this.inner === null || !post.anew) return;
    const { state } = this.inner;
    this.post({ type: "state", to: post.from, state, error: this.failure });
    if (!isOpen || state !== "open" || this.greeting === null) return;
    const resumed = last !== null && last === this.inner.lastEventId;
    this.post({ type: "message", to: post.from, message: { ...this.greeting, resumed } });
  }

  private join(): void {
    if (this.state === "closed" || this.isAway) return;
    if (this.isLeader) return this.applySelection();
    if (this.selector === null && !this.hasJoined) return;
    this.hasJoined = true;
    const { selector, wantsSnapshot, progress } = this;
    this.post({ type: "join", selector, snapshot: wantsSnapshot, last: progress.last ?? null, anew: this.state !== "open" });
  }

  private applySelection(): void {
    if (!this.isLeader || this.inner === null) return;
    const all = [{ selector: this.selector, snapshot: this.wantsSnapshot }, ...this.members.values()];
    const selector = union(all.flatMap((member) => (member.selector === null ? [] : [member.selector])));
    this.inner.select(selector, all.some(({ snapshot }) => snapshot));
  }

  private stateHeard(state: LinkState, error: Error | null): void {
    if (this.isAway || this.state === "closed" || (this.selector === null && state !== "failed")) return;
    // Open is what the greeting makes it, so that nothing is taken for fresh before.
    if (state !== this.state && state !== "open") this.become(state, error);
  }

  private messageHeard(message: Message, isDirect = false): void {
    if (this.isAway || this.selector === null) return;
    if (message.kind === "connected") return this.connected(message, isDirect);
    if (this.state !== "open") return;
    if (message.kind === "events") {
      const events = message.events.filter((event) => this.progress.accept(event.id ?? undefined));
      if (events.length > 0) this.listener.message({ ...message, events });
      return;
    }
    if (message.kind === "heartbeat" && message.id !== null) this.progress.advance(message.id);
    if (message.kind === "snapshot") {
      if (message.reason !== null || this.progress.last === undefined) this.progress.reset(message.id ?? undefined);
      else if (message.id !== null) this.progress.advance(message.id);
      if (this.resyncs && message.reason === null) {
        this.resyncs = false;
        return this.listener.message({ ...message, reason: "rejoined" });
      }
    }
    this.listener.message(message);
  }

  /**
   * The connection resumes after what the tabs together have seen; a tab that has seen nothing, or was away, needs a
   * snapshot. With a connection that begins anew it comes by itself; a tab greeted alone has joined later.
   */
  private connected(message: Message & { kind: "connected" }, isDirect: boolean): void {
    const resumed = message.resumed && this.progress.last !== undefined && !this.resyncs;
    if (!resumed) this.progress.reset(message.resumed ? undefined : message.id ?? undefined);
    this.become("open", null);
    this.listener.message({ ...message, resumed });
    if (!resumed && this.wantsSnapshot && (message.resumed || isDirect)) this.requestSnapshot(this.selector!);
  }

  private answer(call: string, fields: Fields, timeoutMs: number): void {
    const to = call.slice(0, call.lastIndexOf("-"));
    this.inner!.call(fields, timeoutMs).then(
      (body) => this.post({ type: "answer", to, call, body }),
      (error: unknown) => this.post({ type: "answer", to, call, error: plain(asError(error)) }),
    );
  }

  private answered(id: string, body: Fields | undefined, error: PlainError | undefined): void {
    if (body !== undefined) this.calls.resolve(id, body);
    else this.calls.reject(id, revived(error!));
  }

  private holdVisible(): void {
    if (this.releaseVisible !== null || (typeof document !== "undefined" && document.visibilityState === "hidden")) return;
    let release = () => undefined as void;
    const held = new Promise<void>((resolve) => { release = resolve; });
    this.releaseVisible = release;
    navigator.locks.request(`${this.name}:visible`, { mode: "shared" }, () => held).catch((error: unknown) => this.listener.error(asError(error)));
  }

  private restWhenAllHidden(): void {
    if (!this.isLeader || !this.pauses.has("hidden")) return;
    this.clock.setTimer(() => {
      navigator.locks.query().then(({ held }) => {
        const isSeen = held?.some(({ name }) => name === `${this.name}:visible`) ?? false;
        if (!isSeen && this.pauses.has("hidden") && this.state !== "closed") this.inner?.pause("hidden");
      }, (error: unknown) => this.listener.error(asError(error)));
    }, RELEASE_MS);
  }

  private post(post: Distributed<Post>): void {
    this.channel.postMessage({ ...post, from: this.tab });
  }

  private become(state: LinkState, error: Error | null): void {
    this.state = state;
    this.listener.state(state, error);
  }
}

function plain(error: Error): PlainError {
  return { name: error.name, message: error.message, ...(error instanceof RequestRefused ? { code: error.code } : {}) };
}

function revived({ message, code }: PlainError): Error {
  return code !== undefined ? new RequestRefused(message, code) : new FlagentError(message);
}
