/**
 * The life of a connection: connects, resumes after the last id, detects silence, reconnects, gives up.
 *
 * One connection at a time. It carries one selection, the union of all subscriptions. When the selection grows, an open event stream
 * is replaced by a new one, which resumes; `dialogue-supervisor` is for connections that can do more.
 */
import type { ApiKey, ClientConnection, ConnectionListener, ConnectionState } from "./client-connection.js";
import type { Clock } from "./clock.js";
import { Backoff, type ReconnectConfig } from "./core/backoff.js";
import { Cursor } from "./core/cursor.js";
import { Liveness } from "./core/liveness.js";
import { GREETING, isKeepAlive, type Heartbeat, type Message } from "./core/message.js";
import { covers, type Selection } from "./core/selection.js";
import { asError, ClientClosed, ConnectionLost, ConnectionRefused, ReconnectExhausted, RequestFailed } from "./errors.js";
import type { Fields } from "./pending-requests.js";
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
  /** The id to resume after, if the stream of another tab is taken over, or if the state comes from a cache. */
  readonly lastEventId?: string | null;
}

/** The wait after a failed request for a snapshot, with jitter up to twice as long. */
const SNAPSHOT_RETRY_MS = 5000;

export class ConnectionSupervisor implements ClientConnection {
  state: ConnectionState = "idle";
  #selection: Selection | null = null;
  #wantsSnapshot = false;
  #isLasting = false;
  readonly #pauses = new Set<string>();
  readonly #backoff: Backoff;
  readonly #cursor = new Cursor();
  readonly #liveness: Liveness;

  protected connection: Connection | null = null;
  /** Counts connections, so that reports of a former one are ignored. */
  #generation = 0;
  /** What the open connection selects. */
  protected selected: Selection | null = null;
  #isResuming = false;
  #awaitsSnapshot = false;
  #timer: unknown = null;
  protected receivedAt = 0;
  #hasRenewedKey = false;

  readonly #snapshotTimers = new Set<unknown>();

  readonly #options: ConnectionSupervisorOptions;
  readonly #listener: ConnectionListener;

  constructor(options: ConnectionSupervisorOptions, listener: ConnectionListener) {
    this.#options = options;
    this.#listener = listener;
    this.#backoff = new Backoff(options.reconnect);
    this.#liveness = new Liveness(options.heartbeatMs);
    if (options.lastEventId != null) this.#cursor.replace(options.lastEventId);
  }

  get lastEventId(): string | null {
    return this.#cursor.id ?? null;
  }

  select(selection: Selection | null, snapshot: boolean, isLasting: boolean, since: string | null): void {
    if (since !== null && this.lastEventId === null && this.connection === null) this.#cursor.replace(since);
    const former = this.#selection;
    this.#selection = selection;
    this.#wantsSnapshot = snapshot;
    this.#isLasting = isLasting;
    if (this.state === "closed" || this.state === "failed" || this.state === "paused") return;
    if (selection === null && !this.isServing) {
      this.#disconnect();
      this.#become("idle", null);
    } else if (this.state === "idle") this.open();
    else if (this.connection === null || selection === former) return;
    else if (selection !== null && former !== null) {
      if (this.state === "connected" && this.selected !== null) this.change(this.selected, selection);
    }
    else {
      // Between a selection and none, the next connection begins as the first one does.
      this.#disconnect();
      this.open();
    }
  }

  requestSnapshot(selection: Selection): void {
    if (this.connection === null || this.state !== "connected") return;
    this.selected = this.connection.requestSnapshot(selection, this.selected);
  }

  /** Two-way connections only. */
  call?(fields: Fields, timeoutMs: number): Promise<Fields>;

  /** Whether the connection is of use without a selection. */
  protected get isServing(): boolean {
    return false;
  }

  pause(reason: string): void {
    this.#pauses.add(reason);
    if (this.state === "closed" || this.state === "failed" || this.state === "paused") return;
    this.#disconnect();
    this.#become("paused", null);
  }

  resume(reason: string): void {
    if (!this.#pauses.delete(reason) || this.#pauses.size > 0 || this.state !== "paused") return;
    this.#become("idle", null);
    if (this.#selection !== null || this.isServing) this.open();
  }

  reconnectNow(): void {
    if (this.state === "reconnecting") this.open();
    else if (this.state === "connected") this.#watchSilence();
  }

  close(): void {
    if (this.state === "closed") return;
    this.#disconnect();
    this.stopped(new ClientClosed());
    this.#become("closed", null);
  }

  protected open(): void {
    const generation = ++this.#generation;
    this.#clearTimer();
    this.#become("connecting", null);
    this.#timer = this.#options.clock.setTimer(() => {
      this.#ended(connectionFailure(new ConnectionLost(`no message from the server within ${this.#options.connectMs} ms`)), true);
    }, this.#options.connectMs);
    const { apiKey } = this.#options;
    if (typeof apiKey !== "function") return this.#connect(apiKey, generation);
    Promise.resolve().then(apiKey).then(
      (key) => { if (generation === this.#generation) this.#connect(key, generation); },
      (error) => { if (generation === this.#generation) this.#ended(connectionFailure(asError(error))); },
    );
  }

  #connect(apiKey: string | null, generation: number): void {
    const { lastEventId } = this;
    const selection = this.#selection;
    this.selected = selection;
    this.#isResuming = lastEventId !== null && selection !== null;
    const snapshot = this.#wantsSnapshot && lastEventId === null;
    this.#awaitsSnapshot = snapshot;
    const isCurrent = () => generation === this.#generation;
    const sink: ConnectionSink = {
      received: () => { if (isCurrent()) this.receivedAt = this.#options.clock.now(); },
      message: (message) => { if (isCurrent()) this.#message(message); },
      retry: (ms) => { if (isCurrent()) this.#backoff.retry(ms); },
      malformed: (error) => { if (isCurrent()) this.#listener.error(error); },
      snapshotFailed: (scope, error) => { if (isCurrent()) this.#snapshotFailed(scope, error); },
      ended: (reason) => { if (isCurrent()) this.#ended(reason); },
    };
    this.connection = this.#options.transport.open({ selection, lastEventId, snapshot, apiKey }, sink);
  }

  #message(message: Message): void {
    const now = this.#options.clock.now();
    this.receivedAt = now;
    this.#backoff.message(now);
    // A server without a greeting is connected once it sends anything about flags.
    if (this.state === "connecting" && (message.kind === "events" || message.kind === "snapshot" || message.kind === "heartbeat")) {
      this.#connected(GREETING);
    }
    switch (message.kind) {
      case "connected":
        return this.#connected(message);
      case "snapshot":
        return this.#snapshot(message);
      case "heartbeat":
        return this.#heartbeat(message, now);
      case "events": {
        const events = message.events.filter((event) => this.#cursor.accept(event.id ?? undefined));
        if (events.length > 0) this.#listener.message({ kind: "events", events });
        return;
      }
      case "error":
        return this.failed(message.requestId, new RequestFailed(message.message || message.code, message.code));
      default:
        return this.other(message);
    }
  }

  /** The connection is up. */
  protected connected(): void {}

  /** No connection follows. */
  protected stopped(_error: Error): void {}

  protected other(_message: Message): void {}

  protected failed(_requestId: string | null, error: RequestFailed): void {
    this.#listener.error(error);
  }

  #connected(message: Message & { kind: "connected" }): void {
    if (this.state === "connected") return;
    this.#hasRenewedKey = false;
    this.#clearTimer();
    // While a snapshot is awaited, only the snapshot sets the id: if the connection ends before it, the next one requests it again.
    if (!this.#isResuming && !this.#awaitsSnapshot && message.id !== null) this.#cursor.replace(message.id);
    this.#liveness.reset(message.heartbeatMs);
    this.#become("connected", null);
    if (this.selected !== null) this.#listener.message({ ...message, resumed: this.#isResuming });
    if (this.connection === null) return;
    this.connected();
    if (this.selected === null) return this.#watchSilence();
    this.change(this.selected, this.#selection!);
    // A store that has joined since the request was sent: the stream brings no snapshot for it.
    if (this.#wantsSnapshot && !this.#isResuming && !this.#awaitsSnapshot) this.requestSnapshot(this.#selection!);
    this.#watchSilence();
  }

  #snapshot(message: Message & { kind: "snapshot" }): void {
    // With a scope it was requested beside the stream, which goes on after its own last id.
    if (message.scope !== null) return this.#listener.message(message);
    if (message.id !== null) this.#cursor.replace(message.id);
    this.#awaitsSnapshot = false;
    this.#listener.message({ ...message, scope: this.selected });
  }

  #heartbeat(message: Heartbeat, now: number): void {
    if (isKeepAlive(message)) this.#liveness.heartbeat(now);
    if (message.id !== null) this.#cursor.advance(message.id);
    this.#listener.message(message);
    if (this.state === "connected") this.#watchSilence();
  }

  /** Brings the open connection in line with a new selection. */
  protected change(selected: Selection, selection: Selection): void {
    if (covers(selected, selection)) return;
    // The new stream resumes after the last id of this one, so that nothing is lost between the two.
    this.#disconnect();
    this.open();
  }

  /** Ends a silent connection at the limit. */
  #watchSilence(): void {
    this.#clearTimer();
    const { transport, connectMs } = this.#options;
    // A proxy may pass the greeting on and hold back the snapshot: another transport may do better.
    const limit = this.#awaitsSnapshot && transport.judge !== undefined ? Math.min(connectMs, this.#liveness.silenceLimitMs) : this.#liveness.silenceLimitMs;
    const silentMs = this.#options.clock.now() - this.receivedAt;
    if (silentMs > limit) {
      return this.#ended(connectionFailure(new ConnectionLost(`no data from the server for ${Math.round(silentMs)} ms`)), true);
    }
    this.#timer = this.#options.clock.setTimer(() => this.#watchSilence(), Math.max(this.nextCheck(silentMs, limit) - silentMs, 0) + 1);
  }

  /** The silence after which the connection is checked again. */
  protected nextCheck(_silentMs: number, limit: number): number {
    return limit;
  }

  #ended(failure: ConnectionFailure, isSilent = false): void {
    const { transport } = this.#options;
    const end = isSilent ? "silent" : this.state === "connected" ? "connected" : "unanswered";
    const reason = failure.outcome === "again" ? failure : transport.judge?.(failure, end) ?? failure;
    this.#disconnect();
    const canRenewKey = reason.isUnauthorized && typeof this.#options.apiKey === "function" && !this.#hasRenewedKey;
    if (canRenewKey) {
      this.#hasRenewedKey = true;
      return this.open();
    }
    if (reason.outcome === "again") {
      this.#become("reconnecting", reason.error);
      if (this.state === "reconnecting") this.open();
      return;
    }
    if (reason.outcome === "fatal") return this.#fail(new ConnectionRefused(reason.error));
    const isLimited = !this.#isLasting || this.#options.hasOwnLimit;
    const delay = this.#backoff.lost(this.#options.clock.now(), this.#options.clock.random(), reason.retryAfterMs, isLimited);
    if (delay === null) return this.#fail(new ReconnectExhausted(this.#options.reconnect.maxAttempts, reason.error));
    this.#become("reconnecting", reason.error);
    if (this.state !== "reconnecting") return;
    this.#timer = this.#options.clock.setTimer(() => this.open(), delay);
  }

  #fail(error: Error): void {
    this.#disconnect();
    this.stopped(error);
    this.#become("failed", error);
  }

  #disconnect(): void {
    this.#generation++;
    this.#clearTimer();
    this.connection?.close();
    this.connection = null;
    this.selected = null;
    this.#liveness.reset();
    for (const timer of this.#snapshotTimers) this.#options.clock.clearTimer(timer);
    this.#snapshotTimers.clear();
  }

  /** Requests the snapshot again later: the copy is still incomplete or wrong. */
  #snapshotFailed(scope: Selection, error: Error): void {
    this.#listener.error(error);
    const { clock } = this.#options;
    const timer = clock.setTimer(() => {
      this.#snapshotTimers.delete(timer);
      this.requestSnapshot(scope);
    }, SNAPSHOT_RETRY_MS * (1 + clock.random()));
    this.#snapshotTimers.add(timer);
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#options.clock.clearTimer(this.#timer);
    this.#timer = null;
  }

  #become(state: ConnectionState, error: Error | null): void {
    this.state = state;
    this.#listener.state(state, error);
  }
}
