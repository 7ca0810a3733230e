/** The base of both clients: subscriptions, handlers, copies of flags, and the connection that feeds them. */
import type { ApiKey, ClientConnection, ConnectionListener, ConnectionState } from "./client-connection.js";
import type {
  ClientOptions, ErrorHandler, EventHandler, FlagHandler, FlagsHandler, ResyncHandler, SegmentHandler, StateHandler,
} from "./client-options.js";
import { systemClock, type Clock } from "./clock.js";
import { ConnectionSupervisor, type ConnectionSupervisorOptions } from "./connection-supervisor.js";
import { ReconnectConfig } from "./core/backoff.js";
import type { AnyEvent } from "./core/event.js";
import type { Message, SnapshotMessage } from "./core/message.js";
import { EVERYTHING, union, type Selection } from "./core/selection.js";
import { addWeights, checkLimits, checkValues, NO_WEIGHT, type SelectionLimits } from "./core/selection-limits.js";
import { Dispatcher } from "./dispatcher.js";
import { ClientClosed } from "./errors.js";
import { EventRouter } from "./event-router.js";
import { FlagSubscription, handledFlag, type FlagFeed } from "./flag-subscription.js";
import type { FlagFold } from "./core/flag-fold.js";
import type { EventSubscription, Subscription } from "./subscription.js";
import type { Transport } from "./transport.js";
import { followVisibility } from "./visibility.js";

/** @internal */
export interface Companion {
  start(): void;
  offline(): void;
  close(): void;
}

type Feed = FlagFeed<FlagFold>;
type Supervise = (options: ConnectionSupervisorOptions, listener: ConnectionListener) => ConnectionSupervisor;

export abstract class RealtimeClient {
  protected readonly connection: ClientConnection;
  /** @internal */
  readonly clock: Clock;
  readonly #dispatcher: Dispatcher;
  readonly #router = new EventRouter();
  readonly #feeds = new Set<Feed>();
  readonly #eventSubscriptions = new Set<EventSubscription>();
  readonly #resyncHandlers = new Set<ResyncHandler>();
  readonly #stateHandlers = new Set<StateHandler>();
  readonly #errorHandlers = new Set<ErrorHandler>();
  readonly #unfollow: () => void;
  #isRefreshing = false;
  readonly #limits: SelectionLimits;
  /** An upper bound of what is selected. */
  #weight = NO_WEIGHT;
  /** Whether the selection is sent in parts, and therefore is wider for a moment. */
  #isDivided = false;
  /** Those that need a snapshot. */
  readonly #requests = new Set<Feed>();
  #greeting: (Message & { kind: "connected" }) | null = null;
  #isClosed = false;
  /** @internal Why the last connection ended; null while connected. */
  lastConnectionError: Error | null = null;
  #isOffline = false;
  /** @internal The address of the server, for the key of saved flags. */
  readonly url: string;
  /** @internal */
  readonly apiKey: ApiKey;
  /** @internal What the client's connections have in common. */
  readonly settings: Omit<ConnectionSupervisorOptions, "lastEventId">;
  /** @internal What a function `apiKey` has returned for the first connection, before that is made. */
  firstKey: Promise<string> | null = null;
  readonly #companions = new Set<Companion>();
  #holds = 0;

  protected constructor(options: ClientOptions, transport: Transport, supervise: Supervise = (...parts) => new ConnectionSupervisor(...parts)) {
    const { apiKey = null, heartbeatInterval = 30_000, connectTimeout = 10_000, queueSize = 1000, pauseWhenHidden = 60_000 } = options;
    this.clock = options.clock ?? systemClock;
    this.url = options.url;
    this.apiKey = apiKey;
    this.#limits = transport.limits;
    this.#dispatcher = new Dispatcher({
      limit: queueSize,
      full: () => this.connection.pause("overflow"),
      drained: () => this.connection.resume("overflow"),
      failed: (error) => this.report(error),
    });
    this.settings = {
      transport, clock: this.clock, reconnect: ReconnectConfig.from(options.reconnectConfig), hasOwnLimit: options.reconnectConfig?.maxAttempts !== undefined,
      apiKey: typeof apiKey === "function" ? () => this.#nextKey(apiKey) : apiKey, heartbeatMs: heartbeatInterval, connectMs: connectTimeout,
    };
    const makeOwn = (own: ConnectionListener, lastEventId: string | null) => supervise({ ...this.settings, lastEventId }, own);
    const listener: ConnectionListener = {
      message: (message) => this.#onMessage(message),
      state: (state, error) => this.#onConnectionState(state, error),
      error: (error) => this.report(error),
    };
    this.connection = options.share?.({ url: options.url, apiKey, clock: this.clock, listener, makeOwn }) ?? makeOwn(listener, null);
    this.#unfollow = followVisibility(this.connection, pauseWhenHidden);
    if (options.start === false) this.offline();
  }

  /** The state of the connection. */
  get state(): ConnectionState {
    return this.connection.state;
  }

  /** Why the client has given up: a ConnectionRefused or ReconnectExhausted; null as long as it has not. */
  get failure(): Error | null {
    return this.state === "failed" ? this.lastConnectionError : null;
  }

  /** Handler calls that wait in the queue. */
  get queuedMessages(): number {
    return this.#dispatcher.queued;
  }

  /**
   * The state of one flag, or of several: calls `handler(flag, change)` with the present state and after each difference.
   * After a deletion it is called once more, with the flag `archived` and not `enabled`.
   */
  subscribe(flagKey: string | readonly string[], handler: FlagHandler): Subscription;
  /** Every event of a selection. */
  subscribe(selection: Selection, handler: EventHandler): Subscription;
  /** Every event. */
  subscribe(handler: EventHandler): Subscription;
  subscribe(what: string | readonly string[] | Selection | EventHandler, handler?: FlagHandler | EventHandler): Subscription {
    if (typeof what === "function") return this.#addEventSubscription(EVERYTHING, what);
    if (typeof what === "string" || Array.isArray(what)) return this.#subscribeFlags({ flags: [what].flat() }, handler as FlagHandler);
    return this.#addEventSubscription(what as Selection, handler as EventHandler);
  }

  /** Same as `subscribe` with a flag's key. */
  subscribeFlag(flagKey: string, handler: FlagHandler): Subscription {
    return this.#subscribeFlags({ flags: [flagKey] }, handler);
  }

  /** Flags with any of these tags: calls the handler with all of them, then with those that changed. A flag that loses its tags is passed once more. */
  subscribeTags(tags: readonly string[], handler: FlagsHandler): Subscription {
    if (!(tags?.length > 0)) throw new TypeError("subscribeTags needs at least one tag");
    return this.#addFlagSubscription({ tags: [...tags] }, handler, (changes, moved) => {
      this.#dispatcher.push(() => handler(changes.map((change) => handledFlag(change, moved)), changes));
    });
  }

  /** Every event about flags. */
  subscribeAll(handler: EventHandler): Subscription {
    return this.#addEventSubscription(EVERYTHING, handler);
  }

  /** Every change to any flag's segments, their constraints and distributions. */
  subscribeSegments(handler: SegmentHandler): Subscription {
    return this.#addEventSubscription({ segments: true }, handler as EventHandler);
  }

  /** Receives every event of this client's subscriptions; if there are none, every event. */
  onEvent(handler: EventHandler): Subscription {
    return this.#addEventSubscription(null, handler);
  }

  /** Called after lost events, when a snapshot has replaced the state. Returns a function that removes the handler. */
  onResync(handler: ResyncHandler): () => void {
    return added(this.#resyncHandlers, handler);
  }

  /** Called with each state of the connection, and why the former connection ended. */
  onState(handler: StateHandler): () => void {
    return added(this.#stateHandlers, handler);
  }

  /** Called with each error that does not end the client, such as an exception in a handler or a malformed message. Without a handler, they go to the console. */
  onError(handler: ErrorHandler): () => void {
    return added(this.#errorHandlers, handler);
  }

  /** Ends a subscription, those of a handler, or those of a flag; without an argument all of them. Stores are not affected. */
  unsubscribe(what?: Subscription | string | ((...args: never[]) => unknown)): void {
    if (typeof what === "object") return what.unsubscribe();
    const isMeant = ({ handler, selection }: FlagSubscription | EventSubscription) =>
      what === undefined || handler === what || (selection?.flags?.length === 1 && selection.flags[0] === what);
    for (const feed of this.#feeds) if (feed instanceof FlagSubscription && isMeant(feed)) this.#feeds.delete(feed);
    for (const subscription of this.#eventSubscriptions) if (isMeant(subscription)) this.#eventSubscriptions.delete(subscription);
    this.#refresh();
  }

  /** Connects after `start: false` or `offline`. It does nothing on a client that is started. */
  start(): void {
    this.#isOffline = false;
    this.connection.resume("offline");
    this.#accompany("start");
  }

  /** Ends the connection, and makes none until `start`. Stores stay readable. */
  offline(): void {
    if (this.#isClosed || this.#isOffline) return;
    this.#isOffline = true;
    this.connection.pause("offline");
    this.#accompany("offline");
  }

  /** Whether the client was not started, or `offline` was called. */
  get isOffline(): boolean {
    return this.#isOffline;
  }

  /** Ends everything at once: connection, timers, queued handler calls. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unfollow();
    // Drops the queued calls first: the calls that closing itself causes, such as the last status, still run.
    this.#dispatcher.clear();
    this.connection.close();
    this.#accompany("close");
    this.#feeds.clear();
    this.#eventSubscriptions.clear();
  }

  /** @internal Makes no first connection until `until` is settled, which must be soon. */
  hold(until: Promise<unknown>): void {
    this.#holds++;
    void until.finally(() => {
      this.#holds--;
      this.#refresh();
    });
  }

  /** @internal The transport of a connection beside the client's own. */
  tableTransport(): Transport {
    return this.settings.transport;
  }

  /** @internal Starts, pauses and closes something together with the client. */
  addCompanion(companion: Companion): void {
    if (this.#isClosed) throw new ClientClosed();
    this.#companions.add(companion);
  }

  /** @internal */
  removeCompanion(companion: Companion): void {
    this.#companions.delete(companion);
  }

  /** @internal Feeds a copy of flags until it is detached. */
  attach(feed: Feed): void {
    if (this.#isClosed) throw new ClientClosed();
    this.#checkSelection(feed.selection);
    this.#feeds.add(feed);
    if (this.state === "failed") feed.follow("failed");
    feed.reportStatus();
    this.#refresh();
  }

  /** @internal */
  detach(feed: Feed): void {
    if (this.#feeds.delete(feed)) this.#refresh();
  }

  /** @internal Queues a handler call. */
  dispatch(task: () => unknown): void {
    this.#dispatcher.push(task);
  }

  #accompany(step: keyof Companion): void {
    for (const companion of this.#companions) companion[step]();
  }

  #nextKey(next: () => string | Promise<string>): string | Promise<string> {
    const first = this.firstKey;
    this.firstKey = null;
    return first ?? next();
  }

  #subscribeFlags(selection: Selection, handler: FlagHandler): Subscription {
    return this.#addFlagSubscription(selection, handler, (changes, moved) => {
      for (const change of changes) this.#dispatcher.push(() => handler(handledFlag(change, moved), change));
    });
  }

  #addFlagSubscription(...args: ConstructorParameters<typeof FlagSubscription>): Subscription {
    const subscription = new FlagSubscription(...args);
    checked(subscription.handler);
    this.attach(subscription);
    return { selection: subscription.selection, unsubscribe: () => this.detach(subscription) };
  }

  #addEventSubscription(selection: Selection | null, handler: EventHandler): Subscription {
    checked(handler);
    if (this.#isClosed) throw new ClientClosed();
    if (selection !== null) this.#checkSelection(selection);
    const subscription: EventSubscription = { selection, handler, deliver: (event) => this.#dispatcher.push(() => handler(event)) };
    this.#eventSubscriptions.add(subscription);
    this.#refresh();
    return {
      selection,
      unsubscribe: () => {
        if (this.#eventSubscriptions.delete(subscription)) this.#refresh();
      },
    };
  }

  /** Passes the union of all selections to the connection, once for all subscriptions made in the same turn of the event loop. */
  #refresh(): void {
    if (this.#isRefreshing) return;
    this.#isRefreshing = true;
    queueMicrotask(() => {
      this.#isRefreshing = false;
      // Before a cache has been read, it is not known after which id the first connection resumes.
      if (this.#isClosed || (this.#holds > 0 && /idle|paused/.test(this.connection.state))) return;
      if (this.connection.state === "connected" && this.#greeting !== null) {
        for (const feed of this.#feeds) if (!feed.fold.isConnected) this.#greet(feed, this.#greeting);
      }
      this.#requestSnapshots();
      const selection = this.#selection();
      this.#isDivided = selection !== null && this.#limits.isDivided(selection);
      this.#weight = this.#selections().reduce((sum, one) => addWeights(sum, this.#limits.weigh(one)), NO_WEIGHT);
      let since: string | null | undefined;
      for (const feed of this.#feeds) since = feed.resumeAfter(since);
      this.connection.select(selection, this.#feeds.size > 0, since !== undefined, since ?? null);
    });
  }

  /** Counts `added` as selected; raises RangeError if the connection cannot select it as well. */
  #checkSelection(added: Selection): void {
    checkValues(added);
    const weight = addWeights(this.#weight, this.#limits.weigh(added));
    checkLimits(this.#limits, weight, () => [...this.#selections(), added]);
    this.#weight = weight;
  }

  #selections(): Selection[] {
    return [...this.#feeds, ...this.#eventSubscriptions].flatMap(({ selection }) => (selection === null ? [] : [selection]));
  }

  #selection(): Selection | null {
    const selections = this.#selections();
    return union(selections.length === 0 && this.#eventSubscriptions.size > 0 ? [EVERYTHING] : selections);
  }

  /** What joins an open connection receives its greeting, then waits for a snapshot. */
  #greet(feed: Feed, greeting: Message & { kind: "connected" }): void {
    feed.receive({ ...greeting, resumed: false }, this.clock.now());
    this.#requests.add(feed);
  }

  #requestSnapshots(): void {
    const selection = union([...this.#requests].filter((feed) => this.#feeds.has(feed)).map(({ selection }) => selection));
    this.#requests.clear();
    if (selection !== null) this.connection.requestSnapshot(selection);
  }

  #onMessage(message: Message): void {
    const now = this.clock.now();
    if (message.kind === "connected") this.#greeting = message;
    for (const feed of this.#feeds) {
      if (feed.receive(message, now)) this.#requests.add(feed);
      if (message.kind === "connected" && message.resumed && feed.fold.lastEventId === null) this.#requests.add(feed);
    }
    if (message.kind === "snapshot") this.#onSnapshot(message);
    if (message.kind === "events") for (const event of message.events) this.#router.route(event, this.#eventSubscriptions, !this.#isDivided);
    this.#reportStatuses();
    this.#requestSnapshots();
  }

  #onSnapshot({ id, reason, flags, position }: SnapshotMessage): void {
    this.#router.snapshot(flags);
    if (reason === null) return;
    const event: AnyEvent = {
      type: "resync", typeName: "resync", id, flagKey: null, flagID: null, schema: null, committedAt: null, flag: null, raw: {}, data: { reason, flags },
    };
    for (const { selection, deliver } of this.#eventSubscriptions) if (selection === null) deliver(event);
    for (const handler of this.#resyncHandlers) this.#dispatcher.push(() => handler({ reason, flags, position }));
  }

  #onConnectionState(state: ConnectionState, error: Error | null): void {
    if (state !== "connected") this.#greeting = null;
    if (error !== null) this.lastConnectionError = error;
    else if (state === "connected") this.lastConnectionError = null;
    for (const feed of this.#feeds) feed.follow(state);
    this.#reportStatuses();
    for (const handler of this.#stateHandlers) this.#dispatcher.push(() => handler(state, error));
    if (state === "failed" && this.#stateHandlers.size === 0) this.report(error!);
  }

  #reportStatuses(): void {
    for (const feed of this.#feeds) feed.reportStatus();
  }

  /** @internal Reports an error that does not end the client. */
  report(error: Error): void {
    if (this.#errorHandlers.size === 0) console.error("@flagent/realtime:", error);
    for (const handler of this.#errorHandlers) {
      try {
        handler(error);
      } catch (inner) {
        // An exception in an error handler has no other handler left.
        console.error("@flagent/realtime:", inner);
      }
    }
  }
}

function added<T>(set: Set<T>, item: T): () => void {
  checked(item);
  set.add(item);
  return () => void set.delete(item);
}

function checked(handler: unknown): void {
  if (typeof handler !== "function") throw new TypeError("the last argument, the handler, must be a function");
}
