/**
 * The life of a connection: connects, resumes after the last id, detects silence, reconnects, gives up.
 *
 * One connection at a time. It carries one selection, the union of all subscriptions. When the selection grows, an open
 * WebSocket sends the difference; an open event stream is replaced by a new one, which resumes.
 */
import type { ApiKey, ClientConnection, ConnectionListener, ConnectionState } from "./client-connection.js";
import type { Clock } from "./clock.js";
import { Backoff, type ReconnectConfig } from "./core/backoff.js";
import { Cursor } from "./core/cursor.js";
import { Liveness } from "./core/liveness.js";
import { isKeepAlive, type Heartbeat, type Message } from "./core/message.js";
import { covers, EVERYTHING, isEverything, minus, parts, subscribeMessages, toSubscribe, union, type Selection } from "./core/selection.js";
import { asError, ClientClosed, ConnectionLost, ConnectionRefused, ReconnectExhausted, RequestFailed } from "./errors.js";
import { PendingRequests, type Fields } from "./pending-requests.js";
import { connectionFailure, type Connection, type ConnectionFailure, type ConnectionSink, type Transport } from "./transport.js";

export interface ConnectionSupervisorOptions {
  readonly transport: Transport;
  readonly clock: Clock;
  readonly reconnect: ReconnectConfig;
  /** Whether `reconnect.maxAttempts` was given, and not the default. */
  readonly hasOwnLimit: boolean;
  readonly apiKey: ApiKey;
  /** The heartbeat interval that is assumed until the server's own is known. */
  readonly heartbeatMs: number;
  /** The maximum wait for the server's first message. */
  readonly connectMs: number;
  /** The id to resume after, if the stream of another tab is taken over. */
  readonly lastEventId?: string | null;
}

/** The wait after a failed snapshot request, with jitter up to twice as long. */
const SNAPSHOT_RETRY_MS = 5000;
const MAX_SNAPSHOT_RETRY_MS = 60_000;

const GREETING: Message & { kind: "connected" } = {
  kind: "connected", id: null, position: null, fresh: null, ageMs: null, heartbeatMs: null, resumed: false, requestId: null,
};

export class ConnectionSupervisor implements ClientConnection {
  state: ConnectionState = "idle";
  private selection: Selection | null = null;
  private wantsSnapshot = false;
  private isLasting = false;
  /** Whether requests have been made: then the connection is of use without a selection. */
  private servesRequests = false;
  private readonly pauses = new Set<string>();
  private readonly backoff: Backoff;
  private readonly cursor = new Cursor();
  private readonly liveness: Liveness;

  private connection: Connection | null = null;
  /** Counts connections, so that reports of a former one are ignored. */
  private generation = 0;
  /** What the open connection selects. */
  private selected: Selection | null = null;
  private isResuming = false;
  private awaitsSnapshot = false;
  /** The requests that the connection was opened with. */
  private readonly openingIds = new Set<string>();
  private timer: unknown = null;
  private receivedAt = 0;
  private hasPinged = false;
  private hasRenewedKey = false;
  private failure: Error | null = null;

  private requestCount = 0;
  /** The selections of the requested snapshots, by request id. */
  private readonly scopes = new Map<string, Selection>();
  private readonly requests: PendingRequests;
  private snapshots = new AbortController();

  constructor(private readonly options: ConnectionSupervisorOptions, private readonly listener: ConnectionListener) {
    this.backoff = new Backoff(options.reconnect);
    this.requests = new PendingRequests(options.clock);
    this.liveness = new Liveness(options.heartbeatMs);
    if (options.lastEventId != null) this.cursor.replace(options.lastEventId);
  }

  get lastEventId(): string | null {
    return this.cursor.id ?? null;
  }

  select(selection: Selection | null, snapshot: boolean, isLasting: boolean): void {
    const former = this.selection;
    this.selection = selection;
    this.wantsSnapshot = snapshot;
    this.isLasting = isLasting;
    if (this.state === "closed" || this.state === "failed" || this.state === "paused") return;
    if (selection === null && !this.servesRequests) {
      this.disconnect();
      this.become("idle", null);
    } else if (this.state === "idle") this.open();
    else if (this.connection === null || selection === former) return;
    else if (selection !== null && former !== null) this.updateSelection(selection);
    else {
      // Between a selection and none, the next connection begins as the first one does.
      this.disconnect();
      this.open();
    }
  }

  requestSnapshot(selection: Selection): void {
    const { connection } = this;
    if (connection === null || this.state !== "connected") return;
    if (connection.isTwoWay) {
      const messages = subscribeMessages(selection, { snapshot: true });
      // Where everything is selected anyway, it must stay so.
      const isWide = this.selected !== null && isEverything(this.selected);
      const [requestId] = this.send(isWide ? messages.slice(0, 1) : messages);
      this.scopes.set(requestId!, selection);
      this.selected = union([this.selected ?? selection, selection]);
    } else void this.fetchSnapshot(selection, 1);
  }

  call(fields: Fields, timeoutMs: number): Promise<Fields> {
    if (this.state === "closed") return Promise.reject(new ClientClosed());
    if (this.state === "failed") return Promise.reject(this.failure!);
    const requestId = this.nextRequest();
    const request = { ...fields, requestId };
    if (this.state === "connected") this.connection?.send(request);
    const response = this.requests.wait(requestId, request, timeoutMs);
    this.servesRequests = true;
    if (this.state === "idle") this.open();
    return response;
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
    if (this.selection !== null || this.servesRequests) this.open();
  }

  reconnectNow(): void {
    if (this.state === "reconnecting") this.open();
    else if (this.state === "connected") this.watchSilence();
  }

  close(): void {
    if (this.state === "closed") return;
    this.disconnect();
    this.requests.rejectAll(new ClientClosed());
    this.become("closed", null);
  }

  private open(): void {
    const generation = ++this.generation;
    this.clearTimer();
    this.become("connecting", null);
    this.timer = this.options.clock.setTimer(() => {
      this.ended(connectionFailure(new ConnectionLost(`no message from the server within ${this.options.connectMs} ms`)));
    }, this.options.connectMs);
    const { apiKey } = this.options;
    if (typeof apiKey !== "function") return this.connect(apiKey, generation);
    Promise.resolve().then(apiKey).then(
      (key) => { if (generation === this.generation) this.connect(key, generation); },
      (error) => { if (generation === this.generation) this.ended(connectionFailure(asError(error))); },
    );
  }

  private connect(apiKey: string | null, generation: number): void {
    const { selection, lastEventId } = this;
    this.selected = selection;
    this.isResuming = lastEventId !== null && selection !== null;
    const snapshot = this.wantsSnapshot && lastEventId === null;
    this.awaitsSnapshot = snapshot;
    const isCurrent = () => generation === this.generation;
    const sink: ConnectionSink = {
      received: () => { if (isCurrent()) this.receivedAt = this.options.clock.now(); },
      message: (message) => { if (isCurrent()) this.message(message); },
      retry: (ms) => { if (isCurrent()) this.backoff.retry(ms); },
      malformed: (error) => { if (isCurrent()) this.listener.error(error); },
      ended: (reason) => { if (isCurrent()) this.ended(reason); },
    };
    this.connection = this.options.transport.open({ selection: selection ?? EVERYTHING, lastEventId, snapshot, apiKey }, sink);
    this.openingIds.clear();
    if (!this.connection.isTwoWay) return;
    const start = lastEventId !== null ? { lastEventId } : snapshot ? { snapshot } : {};
    // Without a selection the server greets nobody: the pong takes the place of the greeting.
    const opening = selection === null ? [{ type: "ping" }] : subscribeMessages(selection, start);
    for (const id of this.send(opening)) this.openingIds.add(id);
  }

  /** Sends messages with new request ids, which it returns. */
  private send(messages: readonly Fields[]): string[] {
    return messages.map((message) => {
      const requestId = this.nextRequest();
      this.connection!.send({ ...message, requestId });
      return requestId;
    });
  }

  private message(message: Message): void {
    const now = this.options.clock.now();
    this.receivedAt = now;
    this.hasPinged = false;
    this.backoff.message(now);
    // A server without a greeting is connected once it sends anything about flags.
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
        const events = message.events.filter((event) => this.cursor.accept(event.id ?? undefined));
        if (events.length > 0) this.listener.message({ kind: "events", events });
        return;
      }
      case "response":
        if (this.openingIds.has(message.requestId)) return this.connected(GREETING);
        return this.requests.resolve(message.requestId, message.body);
      case "error": {
        const failed = new RequestFailed(message.message || message.code, message.code);
        if (message.requestId !== null && this.requests.reject(message.requestId, failed)) return;
        if (message.requestId !== null && this.openingIds.has(message.requestId)) this.fail(new ConnectionRefused(failed));
        else this.listener.error(failed);
        this.retrySnapshot(message.requestId);
        return;
      }
      case "ignored":
        return;
    }
  }

  private connected(message: Message & { kind: "connected" }): void {
    if (this.state === "connected") return;
    this.hasRenewedKey = false;
    this.clearTimer();
    // While a snapshot is awaited, only the snapshot sets the id: if the connection ends before it, the next one requests it again.
    if (!this.isResuming && !this.awaitsSnapshot && message.id !== null) this.cursor.replace(message.id);
    this.liveness.reset(message.heartbeatMs);
    this.become("connected", null);
    if (this.selected !== null) this.listener.message({ ...message, resumed: this.isResuming });
    if (this.connection === null) return;
    for (const request of this.requests.unanswered) this.connection.send(request);
    if (this.selected === null) return this.watchSilence();
    this.updateSelection(this.selection!);
    // A store that has joined since the request was sent: the stream brings no snapshot for it.
    if (this.wantsSnapshot && !this.isResuming && !this.awaitsSnapshot) this.requestSnapshot(this.selection!);
    this.watchSilence();
  }

  private snapshot(message: Message & { kind: "snapshot" }): void {
    const requested = message.requestId !== null && !this.openingIds.has(message.requestId) && message.reason === null;
    if (requested) {
      const scope = this.scopes.get(message.requestId!);
      this.scopes.delete(message.requestId!);
      if (scope !== undefined) this.listener.message({ ...message, scope });
      return;
    }
    if (message.id !== null) this.cursor.replace(message.id);
    this.listener.message({ ...message, scope: this.selected });
  }

  private heartbeat(message: Heartbeat, now: number): void {
    if (isKeepAlive(message)) this.liveness.heartbeat(now);
    if (message.id !== null) this.cursor.advance(message.id);
    this.listener.message(message);
    if (this.state === "connected") this.watchSilence();
  }

  /** Brings an open connection in line with a new selection. */
  private updateSelection(selection: Selection): void {
    const { connection, selected } = this;
    if (connection === null || this.state !== "connected" || selected === null) return;
    if (!covers(selected, selection)) {
      if (!connection.isTwoWay) {
        // The new stream resumes after the last id of this one, so that nothing is lost between the two.
        this.disconnect();
        return this.open();
      }
      this.send(subscribeMessages(added(selection, selected)));
      this.selected = union([selected, selection]);
    }
    const gone = connection.isTwoWay ? minus(this.selected!, selection) : null;
    if (gone === null) return;
    if (gone.all) this.send(subscribeMessages(selection));
    this.send(parts(gone).map((part) => ({ type: "unsubscribe", ...toSubscribe(part) })));
    this.selected = selection;
  }

  /** Ends a silent connection at the limit; at half of it, a WebSocket sends a ping first. */
  private watchSilence(): void {
    this.clearTimer();
    const limit = this.liveness.silenceLimitMs;
    const silentMs = this.options.clock.now() - this.receivedAt;
    if (silentMs > limit) {
      return this.ended(connectionFailure(new ConnectionLost(`no data from the server for ${Math.round(silentMs)} ms`)));
    }
    const canPing = this.connection!.isTwoWay && !this.hasPinged;
    if (canPing && silentMs >= limit / 2) {
      this.hasPinged = true;
      this.connection!.send({ type: "ping", requestId: this.nextRequest() });
    }
    const until = (canPing && !this.hasPinged ? limit / 2 : limit) - silentMs;
    this.timer = this.options.clock.setTimer(() => this.watchSilence(), Math.max(until, 0) + 1);
  }

  private ended(reason: ConnectionFailure): void {
    this.disconnect();
    const canRenewKey = reason.isUnauthorized && typeof this.options.apiKey === "function" && !this.hasRenewedKey;
    if (canRenewKey) {
      this.hasRenewedKey = true;
      return this.open();
    }
    if (reason.outcome === "fatal") return this.fail(new ConnectionRefused(reason.error));
    const isLimited = !this.isLasting || this.options.hasOwnLimit;
    const delay = this.backoff.lost(this.options.clock.now(), this.options.clock.random(), reason.retryAfterMs, isLimited);
    if (delay === null) return this.fail(new ReconnectExhausted(this.options.reconnect.maxAttempts, reason.error));
    this.become("reconnecting", reason.error);
    if (this.state !== "reconnecting") return;
    this.timer = this.options.clock.setTimer(() => this.open(), delay);
  }

  private fail(error: Error): void {
    this.disconnect();
    this.failure = error;
    this.requests.rejectAll(error);
    this.become("failed", error);
  }

  private disconnect(): void {
    this.generation++;
    this.clearTimer();
    this.connection?.close();
    this.connection = null;
    this.selected = null;
    this.liveness.reset();
    this.hasPinged = false;
    this.scopes.clear();
    this.snapshots.abort();
    this.snapshots = new AbortController();
  }

  private async fetchSnapshot(selection: Selection, attempt: number): Promise<void> {
    const { signal } = this.snapshots;
    const { apiKey, transport, clock } = this.options;
    try {
      const key = typeof apiKey === "function" ? await apiKey() : apiKey;
      const message = await transport.snapshot!(selection, key, signal);
      if (!signal.aborted) this.listener.message({ ...message, scope: selection } as Message);
    } catch (error) {
      if (signal.aborted) return;
      this.listener.error(asError(error));
      const delay = clock.random() * Math.min(MAX_SNAPSHOT_RETRY_MS, 1000 * 2 ** attempt);
      const timer = clock.setTimer(() => { if (!signal.aborted) void this.fetchSnapshot(selection, attempt + 1); }, delay);
      signal.addEventListener("abort", () => clock.clearTimer(timer), { once: true });
    }
  }

  /** Requests a snapshot again after the server has answered the request with an error: the copy is still incomplete or wrong. */
  private retrySnapshot(requestId: string | null): void {
    const scope = requestId === null ? undefined : this.scopes.get(requestId);
    if (scope === undefined) return;
    this.scopes.delete(requestId!);
    const { clock } = this.options;
    const { signal } = this.snapshots;
    const timer = clock.setTimer(() => this.requestSnapshot(scope), SNAPSHOT_RETRY_MS * (1 + clock.random()));
    signal.addEventListener("abort", () => clock.clearTimer(timer), { once: true });
  }

  private nextRequest(): string {
    return `r${++this.requestCount}`;
  }

  private clearTimer(): void {
    if (this.timer !== null) this.options.clock.clearTimer(this.timer);
    this.timer = null;
  }

  private become(state: ConnectionState, error: Error | null): void {
    this.state = state;
    this.listener.state(state, error);
  }
}

/** What `selection` selects and `selected` does not: only that where both are narrowed alike, otherwise all of it. */
function added(selection: Selection, selected: Selection): Selection {
  const narrowing = ({ types = [], schemas = [] }: Selection) => JSON.stringify([types, schemas]);
  const { types, schemas } = selection;
  const more = narrowing(selection) === narrowing(selected) ? minus(selection, selected) : null;
  return more === null ? selection : { ...more, ...(types && { types }), ...(schemas && { schemas }) };
}
