/**
 * The life of a connection: opens, resumes after the last id, notices silence, waits, tries again, gives up.
 *
 * One connection at a time. Subscriptions are given as one selection, the union of all; when it grows, an open
 * WebSocket is told, an open event stream is replaced by one that resumes.
 */
import { Calls, type Fields } from "./pending-requests.js";
import type { Clock } from "./clock.js";
import { Backoff, type ReconnectConfig } from "./core/backoff.js";
import { isBeat, type Heartbeat, type Message } from "./core/message.js";
import { Progress } from "./core/event-id.js";
import { covers, removed, toSubscribe, union, type Selector } from "./core/selection.js";
import { asError, ClientClosed, ConnectionFailed, GaveUp, RequestRefused } from "./errors.js";
import type { Connection, Failure, Sink, Transport } from "./transport.js";

/** `waiting` = lost, until the next attempt; `paused` = on purpose (hidden tab, slow handlers); `failed` = given up for good. */
export type LinkState = "idle" | "connecting" | "open" | "waiting" | "paused" | "failed" | "closed";

export interface LinkListener {
  message(message: Message): void;
  /** `error` tells why a connection ended, or why the link failed. */
  state(state: LinkState, error: Error | null): void;
  error(error: Error): void;
}

/** What a client needs of its connection; `Connector` is one, and `SharedLink` is one that several tabs share. */
export interface Link {
  readonly state: LinkState;
  /** Sets what the connection selects; `snapshot` asks for the state when it begins anew. Null selects nothing and disconnects. */
  select(selector: Selector | null, snapshot: boolean): void;
  /** Asks for a snapshot of `selector`, which comes as a message with that scope. */
  requestSnapshot(selector: Selector): void;
  /** Sends a request and resolves with its answer. */
  call(fields: Fields, timeoutMs: number): Promise<Fields>;
  /** Disconnects until every reason is taken back by `resume`. */
  pause(reason: string): void;
  resume(reason: string): void;
  /** Ends a wait at once, because the network or the tab has come back. */
  hurry(): void;
  close(): void;
}

export type ApiKey = string | (() => string | Promise<string>) | null;

export interface ConnectorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly reconnect: ReconnectConfig;
  readonly apiKey: ApiKey;
  /** How often a heartbeat is expected, until the server has shown how often it sends one. */
  readonly heartbeatMs: number;
  /** How long a connection may take to say its first word. */
  readonly connectMs: number;
  /** Where another tab's stream is taken over. */
  readonly lastEventId?: string | null;
}

const SILENT_INTERVALS = 2.5;
const SHORTEST_INTERVAL_MS = 1000;
const REFUSED_MS = 5000;

const GREETING: Message & { kind: "connected" } = {
  kind: "connected", id: null, position: null, fresh: null, ageMs: null, heartbeatMs: null, resumed: false, requestId: null,
};

export class Connector implements Link {
  state: LinkState = "idle";
  private selector: Selector | null = null;
  private wantsSnapshot = false;
  private readonly pauses = new Set<string>();
  private readonly backoff: Backoff;
  private readonly progress = new Progress();

  private connection: Connection | null = null;
  /** Counts openings, so that what a former one still says is not heard. */
  private generation = 0;
  /** What the open connection selects. */
  private selected: Selector | null = null;
  private isResuming = false;
  private awaitsSnapshot = false;
  private openingId = "";
  private timer: unknown = null;
  private receivedAt = 0;
  private heartbeatAt: number | null = null;
  private intervalMs: number;
  private pinged = false;
  private askedForKeyAgain = false;

  private requests = 0;
  private readonly scopes = new Map<string, Selector>();
  private readonly calls: Calls;
  private snapshots = new AbortController();

  constructor(private readonly options: ConnectorOptions, private readonly listener: LinkListener) {
    this.backoff = new Backoff(options.reconnect);
    this.calls = new Calls(options.clock);
    this.intervalMs = options.heartbeatMs;
    if (options.lastEventId != null) this.progress.reset(options.lastEventId);
  }

  get lastEventId(): string | null {
    return this.progress.last ?? null;
  }

  select(selector: Selector | null, snapshot: boolean): void {
    const former = this.selector;
    this.selector = selector;
    this.wantsSnapshot = snapshot;
    if (this.state === "closed" || this.state === "failed" || this.state === "paused") return;
    if (selector === null) {
      this.disconnect();
      this.become("idle", null);
    } else if (this.state === "idle") this.open();
    else if (this.connection !== null && former !== null) this.change(selector);
  }

  requestSnapshot(selector: Selector): void {
    const { connection } = this;
    if (connection === null || this.state !== "open") return;
    if (connection.isTwoWay) {
      const requestId = this.nextRequest();
      this.scopes.set(requestId, selector);
      this.selected = union([this.selected ?? selector, selector]);
      connection.send({ type: "subscribe", requestId, ...toSubscribe(selector), snapshot: true });
    } else void this.fetchSnapshot(selector, 1);
  }

  call(fields: Fields, timeoutMs: number): Promise<Fields> {
    if (this.state === "closed") return Promise.reject(new ClientClosed());
    if (this.state === "failed") return Promise.reject(new GaveUp("the client has given up"));
    const requestId = this.nextRequest();
    const request = { ...fields, requestId };
    if (this.state === "open") this.connection?.send(request);
    return this.calls.wait(requestId, request, timeoutMs);
  }

  pause(reason: string): void {
    this.pauses.add(reason);
    if (this.state === "closed" || this.state === "failed" || this.state === "paused") return;
    this.disconnect();
    this.become("paused", null);
  }

  resume(reason: string): void {
    if (!this.pauses.delete(reason) || this.pauses.size > 0 || this.state !== "paused") return;
    this.become("idle", null);
    if (this.selector !== null) this.open();
  }

  hurry(): void {
    if (this.state === "waiting") this.open();
    else if (this.state === "open") this.watch();
  }

  close(): void {
    if (this.state === "closed") return;
    this.disconnect();
    this.calls.rejectAll(new ClientClosed());
    this.become("closed", null);
  }

  private open(): void {
    const selector = this.selector!;
    const generation = ++this.generation;
    this.clearTimer();
    this.become("connecting", null);
    this.timer = this.options.clock.setTimer(() => {
      this.ended(failure(new ConnectionFailed(`the server did not answer within ${this.options.connectMs} ms`)));
    }, this.options.connectMs);
    const { apiKey } = this.options;
    if (typeof apiKey !== "function") return this.connect(selector, apiKey, generation);
    Promise.resolve().then(apiKey).then(
      (key) => { if (generation === this.generation) this.connect(selector, key, generation); },
      (error) => { if (generation === this.generation) this.ended(failure(asError(error))); },
    );
  }

  private connect(selector: Selector, apiKey: string | null, generation: number): void {
    const lastEventId = this.progress.last ?? null;
    this.selected = selector;
    this.isResuming = lastEventId !== null;
    const snapshot = this.wantsSnapshot && lastEventId === null;
    this.awaitsSnapshot = snapshot;
    const isCurrent = () => generation === this.generation;
    const sink: Sink = {
      received: () => { if (isCurrent()) this.receivedAt = this.options.clock.now(); },
      message: (message) => { if (isCurrent()) this.message(message); },
      retry: (ms) => { if (isCurrent()) this.backoff.retry(ms); },
      malformed: (error) => { if (isCurrent()) this.listener.error(error); },
      ended: (reason) => { if (isCurrent()) this.ended(reason); },
    };
    this.connection = this.options.transport.open({ selector, lastEventId, snapshot, apiKey }, sink);
    this.openingId = this.nextRequest();
    if (!this.connection.isTwoWay) return;
    const resume = lastEventId === null ? {} : { lastEventId };
    this.connection.send({
      type: "subscribe", requestId: this.openingId, ...toSubscribe(selector), ...(snapshot ? { snapshot } : {}), ...resume,
    });
  }

  private message(message: Message): void {
    const now = this.options.clock.now();
    this.receivedAt = now;
    this.pinged = false;
    this.backoff.message(now);
    // A server that greets nobody is connected when it says anything about flags.
    if (this.state === "connecting" && (message.kind === "events" || message.kind === "snapshot" || message.kind === "heartbeat")) {
      this.connected(GREETING);
    }
    switch (message.kind) {
      case "connected":
        return this.connected(message);
      case "snapshot":
        return this.snapshot(message);
      case "heartbeat":
        return this.heartbeat(message, now);
      case "events": {
        const events = message.events.filter((event) => this.progress.accept(event.id ?? undefined));
        if (events.length > 0) this.listener.message({ kind: "events", events });
        return;
      }
      case "reply":
        return this.calls.resolve(message.requestId, message.body);
      case "problem": {
        const refused = new RequestRefused(message.message || message.code, message.code);
        if (message.requestId !== null && this.calls.reject(message.requestId, refused)) return;
        if (message.requestId === this.openingId) this.fail(refused);
        else this.listener.error(refused);
        this.askAgain(message.requestId);
        return;
      }
      case "pulse":
        return;
    }
  }

  private connected(message: Message & { kind: "connected" }): void {
    if (this.state === "open") return;
    this.askedForKeyAgain = false;
    this.clearTimer();
    // Where a snapshot is awaited only that sets the id: lost before it, the next connection asks for it again.
    if (!this.isResuming && !this.awaitsSnapshot && message.id !== null) this.progress.reset(message.id);
    if (message.heartbeatMs !== null) this.intervalMs = message.heartbeatMs;
    this.become("open", null);
    this.listener.message({ ...message, resumed: this.isResuming });
    if (this.connection === null) return;
    for (const request of this.calls.unanswered) this.connection.send(request);
    this.change(this.selector!);
    this.watch();
  }

  private snapshot(message: Message & { kind: "snapshot" }): void {
    const requested = message.requestId !== null && message.requestId !== this.openingId && message.reason === null;
    if (requested) {
      const scope = this.scopes.get(message.requestId!);
      this.scopes.delete(message.requestId!);
      if (scope !== undefined) this.listener.message({ ...message, scope });
      return;
    }
    if (message.id !== null) this.progress.reset(message.id);
    this.listener.message({ ...message, scope: this.selected });
  }

  private heartbeat(message: Heartbeat, now: number): void {
    if (isBeat(message)) {
      if (this.heartbeatAt !== null) this.intervalMs = Math.max(now - this.heartbeatAt, SHORTEST_INTERVAL_MS);
      this.heartbeatAt = now;
    }
    if (message.id !== null) this.progress.advance(message.id);
    this.listener.message(message);
    if (this.state === "open") this.watch();
  }

  /** Tells an open connection what changed in the selection. */
  private change(selector: Selector): void {
    const { connection, selected } = this;
    if (connection === null || this.state !== "open" || selected === null) return;
    if (!covers(selected, selector)) {
      if (!connection.isTwoWay) {
        // The new stream resumes where this one stands, so nothing is lost between the two.
        this.disconnect();
        return this.open();
      }
      connection.send({ type: "subscribe", requestId: this.nextRequest(), ...toSubscribe(selector) });
      this.selected = union([selected, selector]);
    }
    const gone = connection.isTwoWay ? removed(this.selected!, selector) : null;
    if (gone === null) return;
    if (gone.all) connection.send({ type: "subscribe", requestId: this.nextRequest(), ...toSubscribe(selector) });
    connection.send({ type: "unsubscribe", requestId: this.nextRequest(), ...toSubscribe(gone) });
    this.selected = selector;
  }

  /** Waits for silence: halfway through a WebSocket is asked for a sign of life, in the end the connection counts as dead. */
  private watch(): void {
    this.clearTimer();
    const limit = this.intervalMs * SILENT_INTERVALS;
    const silent = this.options.clock.now() - this.receivedAt;
    if (silent > limit) {
      return this.ended(failure(new ConnectionFailed(`the connection has been silent for ${Math.round(silent)} ms`)));
    }
    const canPing = this.connection!.isTwoWay && !this.pinged;
    if (canPing && silent >= limit / 2) {
      this.pinged = true;
      this.connection!.send({ type: "ping", requestId: this.nextRequest() });
    }
    const until = (canPing && !this.pinged ? limit / 2 : limit) - silent;
    this.timer = this.options.clock.setTimer(() => this.watch(), Math.max(until, 0) + 1);
  }

  private ended(reason: Failure): void {
    this.disconnect();
    const canAskAgain = reason.isUnauthorized && typeof this.options.apiKey === "function" && !this.askedForKeyAgain;
    if (canAskAgain) {
      this.askedForKeyAgain = true;
      return this.open();
    }
    if (reason.outcome === "fatal") return this.fail(reason.error);
    const delay = this.backoff.lost(this.options.clock.now(), this.options.clock.random(), reason.retryAfterMs);
    if (delay === null) return this.fail(reason.error);
    this.become("waiting", reason.error);
    if (this.state !== "waiting") return;
    this.timer = this.options.clock.setTimer(() => this.open(), delay);
  }

  private fail(cause: Error): void {
    this.disconnect();
    const error = new GaveUp(`gave up: ${cause.message}`, { cause });
    this.calls.rejectAll(error);
    this.become("failed", error);
  }

  private disconnect(): void {
    this.generation++;
    this.clearTimer();
    this.connection?.close();
    this.connection = null;
    this.selected = null;
    this.heartbeatAt = null;
    this.intervalMs = this.options.heartbeatMs;
    this.pinged = false;
    this.scopes.clear();
    this.snapshots.abort();
    this.snapshots = new AbortController();
  }

  private async fetchSnapshot(selector: Selector, attempt: number): Promise<void> {
    const { signal } = this.snapshots;
    const { apiKey, transport, clock } = this.options;
    try {
      const key = typeof apiKey === "function" ? await apiKey() : apiKey;
      const message = await transport.snapshot!(selector, key, signal);
      if (!signal.aborted) this.listener.message({ ...message, scope: selector } as Message);
    } catch (error) {
      if (signal.aborted) return;
      this.listener.error(asError(error));
      const delay = clock.random() * Math.min(60_000, 1000 * 2 ** attempt);
      const timer = clock.setTimer(() => { if (!signal.aborted) void this.fetchSnapshot(selector, attempt + 1); }, delay);
      signal.addEventListener("abort", () => clock.clearTimer(timer), { once: true });
    }
  }

  /** A snapshot that was refused is still needed: the copy that asked for it is incomplete or wrong. */
  private askAgain(requestId: string | null): void {
    const scope = requestId === null ? undefined : this.scopes.get(requestId);
    if (scope === undefined) return;
    this.scopes.delete(requestId!);
    const { clock } = this.options;
    const { signal } = this.snapshots;
    const timer = clock.setTimer(() => this.requestSnapshot(scope), REFUSED_MS * (1 + clock.random()));
    signal.addEventListener("abort", () => clock.clearTimer(timer), { once: true });
  }

  private nextRequest(): string {
    return `r${++this.requests}`;
  }

  private clearTimer(): void {
    if (this.timer !== null) this.options.clock.clearTimer(this.timer);
    this.timer = null;
  }

  private become(state: LinkState, error: Error | null): void {
    this.state = state;
    this.listener.state(state, error);
  }
}

export function failure(error: Error, outcome: Failure["outcome"] = "retry", retryAfterMs: number | null = null): Failure {
  return { outcome, error, retryAfterMs, isUnauthorized: false };
}
