/** A live local copy of flags. */
import type { RealtimeClient } from "./realtime-client.js";
import { digestOf } from "./core/digest.js";
import { DigestCheck } from "./core/digest-check.js";
import { isBefore, parseEventId, positionOf } from "./core/event-id.js";
import type { FlagChange } from "./core/flag-table.js";
import type { Flag } from "./core/flag.js";
import { isBootstrapNewer, readBootstrap, type SavedFlags } from "./core/saved-flags.js";
import type { StoreSource, StoreStatus } from "./core/store-core.js";
import { EVERYTHING, selectsFlags, type Selection } from "./core/selection.js";
import { ClientClosed, FlagentError, NotReady } from "./errors.js";
import { FlagCache, SavedFlagsIgnored, type Persistence } from "./flag-cache.js";
import { identityOf } from "./identity.js";
import { StoreDriver } from "./store-driver.js";
import { Waiters } from "./waiters.js";

/** Called with all differences that one message made. */
export type ChangeListener = (changes: readonly FlagChange[]) => unknown;
export type StatusListener = (status: StoreStatus) => unknown;

export interface FlagStoreOptions extends Selection {
  /** Keeps the flags between two runs, so that the next one begins with them: readable at once, `STALE` until the server confirms them. */
  readonly persistence?: Persistence;
  /** Flags to begin with: the text or value of `GET /api/v1/snapshot`, of `GET /api/v1/flags?preload=true`, or a saved document. */
  readonly bootstrap?: unknown;
  /** The maximum age of saved flags in milliseconds; 30 days by default. */
  readonly maxAge?: number;
  /** Whose flags these are, in place of a credential that changes. Flags saved for another text are never read. */
  readonly cacheIdentity?: string;
}

const MAX_AGE_MS = 30 * 24 * 3_600_000;
const READY_MS = 30_000;

/**
 * `READY` means that the copy is complete and that the server confirms its freshness; in every other status it may be
 * behind. Flags stay readable in every status, also after `close`.
 */
export class FlagStore implements Iterable<Flag> {
  readonly #driver: StoreDriver;
  readonly #changeListeners = new Set<ChangeListener>();
  readonly #statusListeners = new Set<StatusListener>();
  /** Called at once, not from the queue of handlers: a slow handler must not delay `ready`. */
  readonly #waiters = new Waiters();
  readonly #client: RealtimeClient;
  readonly #cache: FlagCache | null = null;
  #hasChanged = false;
  #wasReady = false;

  /** Which flags to keep: by key, id or tag; all by default. A partial copy cannot be checked against the digest. */
  constructor(client: RealtimeClient, options: FlagStoreOptions = EVERYTHING) {
    const { persistence, bootstrap, maxAge = MAX_AGE_MS, cacheIdentity, ...selection } = options;
    this.#client = client;
    if (!selectsFlags(selection)) throw new TypeError("a store selects flags; pass flags, flagIDs, tags or all");
    this.#driver = new StoreDriver(selection, {
      changed: (changes) => {
        this.#hasChanged = true;
        for (const listener of this.#changeListeners) client.dispatch(() => listener(changes));
      },
      status: (status) => {
        this.#wasReady ||= status === "READY";
        for (const listener of this.#statusListeners) client.dispatch(() => listener(status));
      },
      fed: () => this.#fed(),
    }, client.clock, new DigestCheck());
    const report = (error: Error) => client.report(error);
    let given: SavedFlags | null = null;
    if (bootstrap != null) {
      const read = readBootstrap(bootstrap);
      if (typeof read !== "string") given = read;
      else report(new SavedFlagsIgnored("bootstrap", read));
    }
    if (persistence === undefined) {
      this.#begin(null, given);
      return;
    }
    const { url, clock } = client;
    const credential = () => (cacheIdentity === undefined ? identityOf(client) : cacheIdentity);
    this.#cache = new FlagCache({ persistence, url, selection, maxAgeMs: maxAge, clock, credential, report });
    const saved = this.#cache.load();
    if (saved === null || !("then" in saved)) {
      this.#begin(saved, given);
      return;
    }
    // Until the cache is read, a bootstrap is readable, but nothing connects: the connection resumes after one of both.
    if (given !== null) this.#driver.fold.begin("bootstrap", given);
    client.hold(saved.then((read) => {
      if (this.status !== "CLOSED" && client.state !== "closed") this.#begin(read, given);
      else this.close();
    }));
  }

  #begin(saved: SavedFlags | null, given: SavedFlags | null): void {
    const { fold: store } = this.#driver;
    if (given !== null && (saved === null || isBootstrapNewer(saved.id, given.id))) store.begin("bootstrap", given);
    else if (saved !== null) store.begin("cache", saved);
    this.#client.attach(this.#driver);
  }

  #fed(): void {
    const { lastEventId, source } = this.#driver.fold;
    if (this.#cache !== null && source === "server" && lastEventId !== null) {
      this.#cache.moved(lastEventId, () => this.#driver.fold.values(), this.#hasChanged);
      this.#hasChanged = false;
      if (this.status === "CLOSED" || this.#client.isOffline) this.#cache.flush();
    }
    this.#waiters.notify();
  }

  /** The client that feeds the store. */
  get client(): RealtimeClient {
    return this.#client;
  }

  /** `INITIALIZING` before the first snapshot, `READY`, `STALE` while freshness is not confirmed, `ERROR` after the client has given up, `CLOSED`. */
  get status(): StoreStatus {
    return this.#driver.fold.status;
  }

  /** The number of flags. */
  get size(): number {
    return this.#driver.fold.size;
  }

  /** The id up to which the copy is complete; null before the first snapshot. */
  get lastEventId(): string | null {
    return this.#driver.fold.lastEventId;
  }

  /** The position up to which the copy is complete, as text; null before the first snapshot. */
  get position(): string | null {
    return positionOf(this.lastEventId);
  }

  /** The flag with this key, or undefined. Raises AmbiguousFlag if the server watches several schemas that have the key and `schema` is missing. */
  get(key: string, schema?: string): Flag | undefined {
    return this.#driver.fold.get(key, schema);
  }

  /** The flag with this id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    return this.#driver.fold.find(id, schema);
  }

  has(key: string, schema?: string): boolean {
    return this.get(key, schema) !== undefined;
  }

  /** All flags at this moment, in no particular order. */
  all(): Flag[] {
    return [...this.#driver.fold.values()];
  }

  [Symbol.iterator](): IterableIterator<Flag> {
    return this.all()[Symbol.iterator]();
  }

  /** `<count>:<hex8>`, equal to the server's for the same flags. */
  digest(): string {
    return digestOf(this.#driver.fold.values());
  }

  /** Where the flags come from: `cache` or `bootstrap` until the server has confirmed or replaced them; null without flags. */
  get source(): StoreSource | null {
    return this.#driver.fold.source;
  }

  /**
   * Resolves when the copy is ready. Rejects with the client's `failure` if the client gives up, with ClientClosed, at once with NotReady if the
   * client is offline and the copy was never ready, or after `timeout` milliseconds (30 seconds by default) with NotReady, whose `cause` is why
   * the last connection failed, if one did.
   */
  ready({ timeout = READY_MS }: { timeout?: number } = {}): Promise<this> {
    return this.#wait(timeout, () => {
      if (this.status === "READY") return true;
      if (this.#client.isOffline && !this.#wasReady) throw new NotReady("the client is offline; call start()");
      return this.#client.isOffline;
    }, () => `the store is ${this.status}`);
  }

  /**
   * Resolves when the copy is complete up to a position, or an event id: so that a service reads its own write. Rejects after
   * `timeout` milliseconds (30 seconds by default) with NotReady, as `ready` when the client gives up, and at once for what is no position, or
   * an id of another change log.
   */
  waitFor(position: string | number | bigint, { timeout = READY_MS }: { timeout?: number } = {}): Promise<this> {
    const text = String(position);
    const wanted = parseEventId(/^[0-9]{1,19}$/.test(text) ? `${text}@any` : text);
    if (wanted === null) return Promise.reject(new RangeError(`position is ${JSON.stringify(text.slice(0, 60))}; it must be a position or an event id`));
    return this.#wait(timeout, () => {
      const own = parseEventId(this.lastEventId);
      if (own === null) return false;
      if (wanted.log !== "any" && own.log !== wanted.log) throw new RangeError(`the event id ${text} is of another change log`);
      return wanted.index === null ? own.position >= wanted.position : !isBefore(own, wanted);
    }, () => `the store is at ${this.position ?? "no position"}, not at ${text},`);
  }

  async #wait(timeout: number, isReached: () => boolean, where: () => string): Promise<this> {
    await this.#waiters.wait(timeout, () => {
      const { status } = this;
      if (status === "CLOSED") throw new ClientClosed();
      if (status === "ERROR") throw this.#client.lastConnectionError ?? new FlagentError("the client has given up");
      return isReached();
    }, () => {
      const cause = this.#client.lastConnectionError;
      return new NotReady(`${where()} after ${timeout} ms${cause === null ? "" : `: ${cause.message}`}`, cause === null ? undefined : { cause });
    });
    return this;
  }

  /** Calls `listener` with the differences, once per message. Returns a function that removes the listener. */
  onChange(listener: ChangeListener): () => void {
    this.#changeListeners.add(listener);
    return () => void this.#changeListeners.delete(listener);
  }

  /** Calls `listener` with every new status, in order with the client's handlers. Returns a function that removes the listener. */
  onStatus(listener: StatusListener): () => void {
    this.#statusListeners.add(listener);
    return () => void this.#statusListeners.delete(listener);
  }

  /** @internal */
  report(error: Error): void {
    this.#client.report(error);
  }

  /** Ends the copy; the client stays open. */
  close(): void {
    this.#driver.fold.close();
    this.#driver.reportStatus();
    this.#client.detach(this.#driver);
  }
}
