/** What both clients have in common: subscriptions, handlers, copies of flags, and the link that feeds them. */
import { systemClock, type Clock } from "./clock.js";
import { ReconnectConfig } from "./core/backoff.js";
import type { AnyEvent, DistributionUpdated, SegmentUpdated } from "./core/event.js";
import type { Flag } from "./core/flag.js";
import type { Message, Snapshot } from "./core/message.js";
import type { Change } from "./core/store-core.js";
import { EVERYTHING, union, type Selector } from "./core/selection.js";
import { Connector, type ApiKey, type Link, type LinkListener, type LinkState } from "./connection-supervisor.js";
import { Dispatcher } from "./dispatcher.js";
import { ClientClosed } from "./errors.js";
import { isShareable, SharedLink, shareName } from "./shared-connection.js";
import { Listener, presented, Router, View, type Subscription } from "./subscription.js";
import type { Transport } from "./transport.js";
import { followVisibility } from "./visibility.js";

export interface ClientOptions {
  /** `wss://…/ws`, or `https://…/api/v1/events/stream`. */
  readonly url: string;
  /** A function is asked before each connection, and once more when the server answers 401. */
  readonly apiKey?: string | (() => string | Promise<string>) | null;
  readonly reconnectConfig?: Partial<ReconnectConfig>;
  /** How often the server sends a heartbeat, in milliseconds, until it has shown it; 2.5 intervals of silence end a connection. */
  readonly heartbeatInterval?: number;
  /** How long a connection may take to say its first word, in milliseconds. */
  readonly connectTimeout?: number;
  /** Calls of handlers that may wait; beyond, the client disconnects until half have run, and then resumes. */
  readonly maxQueue?: number;
  /** The longest message that is taken, in bytes (stream: characters); a longer one ends the connection. A page's own WebSocket has no such limit. */
  readonly maxMessageLength?: number;
  /** Browsers: disconnect after this many milliseconds in a hidden tab; `false` never does. */
  readonly pauseWhenHidden?: number | false;
  /** Browsers: share one connection among all tabs of this origin; a text separates groups of tabs. */
  readonly share?: boolean | string;
  /** For tests. */
  readonly clock?: Clock;
}

export const MAX_MESSAGE_LENGTH = 64 * 1024 * 1024;

export type FlagHandler = (flag: Flag, change: Change) => unknown;
export type FlagsHandler = (flags: Flag[], changes: readonly Change[]) => unknown;
export type EventHandler = (event: AnyEvent) => unknown;
export type SegmentHandler = (event: SegmentUpdated | DistributionUpdated) => unknown;
/** What replaced the state, and why: `pruned`, `ahead`, `overflow`, `unknown_id`, `log_replaced`, or `rejoined` where tabs share a connection. */
export interface Resync { readonly reason: string; readonly flags: readonly Flag[]; readonly position: string }
export type ResyncHandler = (resync: Resync) => unknown;
export type StateHandler = (state: LinkState, error: Error | null) => unknown;
export type ErrorHandler = (error: Error) => unknown;

export abstract class RealtimeClient {
  protected readonly link: Link;
  private readonly clock: Clock;
  private readonly dispatcher: Dispatcher;
  private readonly router = new Router();
  private readonly views = new Set<View>();
  private readonly listeners = new Set<Listener>();
  private readonly resyncHandlers = new Set<ResyncHandler>();
  private readonly stateHandlers = new Set<StateHandler>();
  private readonly errorHandlers = new Set<ErrorHandler>();
  private readonly unfollow: () => void;
  private isRefreshing = false;
  private readonly requests = new Set<View>();
  private greeting: (Message & { kind: "connected" }) | null = null;
  private staleTimer: unknown = null;
  private isClosed = false;
  /** @internal Why there is no connection: what ended the last one, until the next is open. */
  trouble: Error | null = null;

  protected constructor(options: ClientOptions, transport: Transport) {
    const { apiKey = null, heartbeatInterval = 30_000, connectTimeout = 10_000, maxQueue = 1000, pauseWhenHidden = 60_000 } = options;
    this.clock = options.clock ?? systemClock;
    this.dispatcher = new Dispatcher({
      limit: maxQueue,
      full: () => this.link.pause("overflow"),
      drained: () => this.link.resume("overflow"),
      failed: (error) => this.report(error),
    });
    const reconnect = ReconnectConfig.from(options.reconnectConfig);
    const makeLink = (listener: LinkListener, lastEventId: string | null) => new Connector({
      transport, clock: this.clock, reconnect, apiKey: apiKey as ApiKey, heartbeatMs: heartbeatInterval, connectMs: connectTimeout, lastEventId,
    }, listener);
    const listener: LinkListener = {
      message: (message) => this.onMessage(message),
      state: (state, error) => this.became(state, error),
      error: (error) => this.report(error),
    };
    const isShared = Boolean(options.share) && isShareable();
    this.link = isShared
      ? new SharedLink(shareName(options.url, apiKey, options.share!), makeLink, listener, this.clock)
      : makeLink(listener, null);
    this.unfollow = followVisibility(this.link, pauseWhenHidden);
  }

  /** What the connection is doing. */
  get state(): LinkState {
    return this.link.state;
  }

  /** Calls of handlers that wait. */
  get waiting(): number {
    return this.dispatcher.waiting;
  }

  /**
   * The state of one flag, or of several: `handler(flag, change)` is called with what it is now and whenever it
   * differs. When the flag is deleted it comes a last time, `archived` and not `enabled`.
   */
  subscribe(flagKey: string | readonly string[], handler: FlagHandler): Subscription;
  /** Every event that a selection brings. */
  subscribe(selector: Selector, handler: EventHandler): Subscription;
  /** Every event. */
  subscribe(handler: EventHandler): Subscription;
  subscribe(what: string | readonly string[] | Selector | EventHandler, handler?: FlagHandler | EventHandler): Subscription {
    if (typeof what === "function") return this.listen(EVERYTHING, what);
    if (typeof handler !== "function") throw new TypeError("subscribe needs a handler, a function");
    if (typeof what === "string") return this.subscribeFlag(what, handler as FlagHandler);
    if (Array.isArray(what)) return this.watchFlags({ flags: strings(what, "flagKey") }, handler as FlagHandler);
    return this.listen(what as Selector, handler as EventHandler);
  }

  /** As `subscribe` with a flag's key. */
  subscribeFlag(flagKey: string, handler: FlagHandler): Subscription {
    return this.watchFlags({ flags: strings([flagKey], "flagKey") }, handler);
  }

  /** Flags that carry any of these tags: all of them at first, then those that changed. One that lost its tags comes a last time. */
  subscribeTags(tags: readonly string[], handler: FlagsHandler): Subscription {
    if (!(tags?.length > 0)) throw new TypeError("subscribeTags needs at least one tag");
    return this.watch({ tags: strings(tags, "tags") }, handler, (changes, moved) => {
      this.dispatcher.push(() => handler(changes.map((change) => presented(change, moved)), changes));
    });
  }

  /** Every event about flags. */
  subscribeAll(handler: EventHandler): Subscription {
    return this.listen(EVERYTHING, handler);
  }

  /** Every change to any flag's segments, their constraints and distributions. */
  subscribeSegments(handler: SegmentHandler): Subscription {
    return this.listen({ segments: true }, handler as EventHandler);
  }

  /** Hears every event that this client's subscriptions bring; where there are none, every event there is. */
  onEvent(handler: EventHandler): Subscription {
    return this.listen(null, handler);
  }

  /** Told when events were lost for good and the state was replaced: why, and by what. */
  onResync(handler: ResyncHandler): () => void {
    return added(this.resyncHandlers, handler);
  }

  /** Told of each state of the connection, and why the former ended. */
  onState(handler: StateHandler): () => void {
    return added(this.stateHandlers, handler);
  }

  /** Told of what went wrong without ending the client: a handler that raised, a message that could not be read. Without one, it goes to the console. */
  onError(handler: ErrorHandler): () => void {
    return added(this.errorHandlers, handler);
  }

  /** Ends a subscription, those of a handler, or those of a flag; without an argument all of them. Stores go on. */
  unsubscribe(what?: Subscription | string | ((...args: never[]) => unknown)): void {
    if (typeof what === "object") return what.unsubscribe();
    const isMeant = (sub: View | Listener) => sub.handler !== null
      && (what === undefined || sub.handler === what || (sub.selector?.flags?.length === 1 && sub.selector.flags[0] === what));
    for (const view of this.views) if (isMeant(view)) this.views.delete(view);
    for (const listener of this.listeners) if (isMeant(listener)) this.listeners.delete(listener);
    this.refresh();
  }

  /** Ends everything at once: connection, timers, waiting handlers. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.unfollow();
    // What waits is forgotten; what the end itself causes to be told is told.
    this.dispatcher.clear();
    this.link.close();
    if (this.staleTimer !== null) this.clock.clearTimer(this.staleTimer);
    this.views.clear();
    this.listeners.clear();
  }

  /** @internal For stores: keeps a copy of what `selector` selects. */
  attach(view: View): () => void {
    if (this.isClosed) throw new ClientClosed();
    this.views.add(view);
    if (this.link.state === "failed") view.replica.failed();
    view.settle();
    this.refresh();
    return () => {
      if (this.views.delete(view)) this.refresh();
    };
  }

  /** @internal Runs a handler in its turn. */
  dispatch(task: () => unknown): void {
    this.dispatcher.push(task);
  }

  private watchFlags(selector: Selector, handler: FlagHandler): Subscription {
    return this.watch(selector, handler, (changes, moved) => {
      for (const change of changes) this.dispatcher.push(() => handler(presented(change, moved), change));
    });
  }

  private watch(selector: Selector, handler: unknown, changed: View["changed"]): Subscription {
    checked(handler);
    const detach = this.attach(new View(selector, handler, changed));
    return { selector, unsubscribe: detach };
  }

  private listen(selector: Selector | null, handler: EventHandler): Subscription {
    checked(handler);
    if (this.isClosed) throw new ClientClosed();
    const listener = new Listener(selector, handler, (event) => this.dispatcher.push(() => handler(event)));
    this.listeners.add(listener);
    this.refresh();
    return {
      selector,
      unsubscribe: () => {
        if (this.listeners.delete(listener)) this.refresh();
      },
    };
  }

  /** Brings the link in line with the subscriptions, once for all that are made in one go. */
  private refresh(): void {
    if (this.isRefreshing) return;
    this.isRefreshing = true;
    queueMicrotask(() => {
      this.isRefreshing = false;
      if (this.isClosed) return;
      if (this.link.state === "open" && this.greeting !== null) {
        for (const view of this.views) {
          if (view.replica.staleAt === null && view.replica.cursor === null) this.greet(view, this.greeting);
        }
      }
      this.ask();
      this.link.select(this.selection(), this.views.size > 0);
    });
  }

  private selection(): Selector | null {
    const selectors = [...this.views, ...this.listeners].flatMap(({ selector }) => (selector === null ? [] : [selector]));
    return union(selectors.length === 0 && this.listeners.size > 0 ? [EVERYTHING] : selectors);
  }

  /** A copy that joins an open connection hears first what the others heard, then waits for its snapshot. */
  private greet(view: View, greeting: Message & { kind: "connected" }): void {
    view.message({ ...greeting, resumed: false }, this.clock.now());
    this.requests.add(view);
  }

  private ask(): void {
    const selector = union([...this.requests].filter((view) => this.views.has(view)).map((view) => view.selector));
    this.requests.clear();
    if (selector !== null) this.link.requestSnapshot(selector);
  }

  private onMessage(message: Message): void {
    const now = this.clock.now();
    if (message.kind === "connected") this.greeting = message;
    for (const view of this.views) {
      if (view.message(message, now)) this.requests.add(view);
      if (message.kind === "connected" && message.resumed && view.replica.cursor === null) this.requests.add(view);
    }
    if (message.kind === "snapshot") this.onSnapshot(message);
    if (message.kind === "events") for (const event of message.events) this.router.route(event, this.listeners);
    this.settle();
    this.ask();
  }

  private onSnapshot({ id, reason, flags, position }: Snapshot): void {
    this.router.snapshot(flags);
    if (reason === null) return;
    const resynced: AnyEvent = {
      type: "resync", typeName: "resync", id, flagKey: null, flagID: null, schema: null, committedAt: null, flag: null, raw: {}, data: { reason, flags },
    };
    for (const { selector, deliver } of this.listeners) if (selector === null) deliver(resynced);
    for (const handler of this.resyncHandlers) this.dispatcher.push(() => handler({ reason, flags, position }));
  }

  private became(state: LinkState, error: Error | null): void {
    if (state !== "open") this.greeting = null;
    if (error !== null) this.trouble = error;
    else if (state === "open") this.trouble = null;
    for (const view of this.views) {
      if (state === "failed") view.replica.failed();
      else if (state === "closed") view.replica.closed();
      else if (state !== "open") view.replica.lost();
    }
    this.settle();
    for (const handler of this.stateHandlers) this.dispatcher.push(() => handler(state, error));
    if (state === "failed" && this.stateHandlers.size === 0) this.report(error!);
  }

  private settle(): void {
    for (const view of this.views) view.settle();
    if (this.staleTimer !== null) this.clock.clearTimer(this.staleTimer);
    this.staleTimer = null;
    const times = [...this.views].flatMap(({ replica }) => replica.staleAt ?? []);
    if (times.length === 0 || this.isClosed) return;
    this.staleTimer = this.clock.setTimer(() => {
      for (const view of this.views) view.replica.tick(this.clock.now());
      this.settle();
    }, Math.max(Math.min(...times) - this.clock.now(), 0) + 1);
  }

  private report(error: Error): void {
    if (this.errorHandlers.size === 0) console.error("@flagent/realtime:", error);
    for (const handler of this.errorHandlers) {
      try {
        handler(error);
      } catch (inner) {
        // The last place there is: an error handler that raises.
        console.error("@flagent/realtime: an error handler raised", inner);
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
  if (typeof handler !== "function") throw new TypeError("a handler must be a function");
}

function strings(values: readonly string[], name: string): readonly string[] {
  for (const value of values) if (typeof value !== "string" || value === "") throw new TypeError(`${name} must be a text that is not empty`);
  return [...values];
}
