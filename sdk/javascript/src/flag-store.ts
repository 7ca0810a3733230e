/** A live local copy of flags. */
import type { RealtimeClient } from "./realtime-client.js";
import { digestOf } from "./core/digest.js";
import { DigestCheck } from "./core/digest-check.js";
import { positionOf } from "./core/event-id.js";
import type { FlagChange } from "./core/flag-table.js";
import type { Flag } from "./core/flag.js";
import type { StoreStatus } from "./core/store-core.js";
import { EVERYTHING, selectsFlags, type Selection } from "./core/selection.js";
import { ClientClosed, FlagentError, NotReady } from "./errors.js";
import { StoreDriver } from "./store-driver.js";

/** Called with all differences that one message made. */
export type ChangeListener = (changes: readonly FlagChange[]) => unknown;
export type StatusListener = (status: StoreStatus) => unknown;

/**
 * `READY` means that the copy is complete and that the server confirms its freshness; in every other status it may be
 * behind. Flags stay readable in every status, also after `close`.
 */
export class FlagStore implements Iterable<Flag> {
  readonly #driver: StoreDriver;
  readonly #changeListeners = new Set<ChangeListener>();
  readonly #statusListeners = new Set<StatusListener>();
  /** Called at once, not from the queue of handlers: a slow handler must not delay `ready`. */
  readonly #waiters = new Set<() => void>();

  readonly #client: RealtimeClient;

  /** `selection` = the flags to keep: by key, id or tag; all by default. A partial copy cannot be checked against the digest. */
  constructor(client: RealtimeClient, selection: Selection = EVERYTHING) {
    this.#client = client;
    if (!selectsFlags(selection)) throw new TypeError("a store selects flags; pass flags, flagIDs, tags or all");
    this.#driver = new StoreDriver(selection, (changes) => {
      for (const listener of this.#changeListeners) client.dispatch(() => listener(changes));
    }, (status) => {
      for (const waiter of this.#waiters) waiter();
      for (const listener of this.#statusListeners) client.dispatch(() => listener(status));
    }, new DigestCheck());
    client.attach(this.#driver);
  }

  /** `INITIALIZING` before the first snapshot, `READY`, `STALE` while freshness is not confirmed, `ERROR` after the client has given up, `CLOSED`. */
  get status(): StoreStatus {
    return this.#driver.store.status;
  }

  /** The number of flags. */
  get size(): number {
    return this.#driver.store.size;
  }

  /** The id up to which the copy is complete; null before the first snapshot. */
  get lastEventId(): string | null {
    return this.#driver.store.lastEventId;
  }

  /** The position up to which the copy is complete, as text; null before the first snapshot. */
  get position(): string | null {
    return positionOf(this.lastEventId);
  }

  /** The flag with this key, or undefined. Raises AmbiguousFlag if the server watches several schemas that have the key and `schema` is missing. */
  get(key: string, schema?: string): Flag | undefined {
    return this.#driver.store.get(key, schema);
  }

  /** The flag with this id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    return this.#driver.store.find(id, schema);
  }

  has(key: string, schema?: string): boolean {
    return this.get(key, schema) !== undefined;
  }

  /** All flags at this moment, in no particular order. */
  all(): Flag[] {
    return [...this.#driver.store.values()];
  }

  [Symbol.iterator](): IterableIterator<Flag> {
    return this.all()[Symbol.iterator]();
  }

  /** `<count>:<hex8>`, equal to the server's for the same flags. */
  digest(): string {
    return digestOf(this.#driver.store.values());
  }

  /**
   * Resolves when the copy is ready. Rejects with the client's `failure` if the client gives up, with ClientClosed, or after
   * `timeout` milliseconds with NotReady, whose `cause` is why the last connection failed, if one did.
   */
  ready({ timeout }: { timeout?: number } = {}): Promise<this> {
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const check = () => {
        const { status } = this;
        if (status === "INITIALIZING" || status === "STALE") return;
        this.#waiters.delete(check);
        clearTimeout(timer);
        if (status === "READY") resolve(this);
        else reject(status === "CLOSED" ? new ClientClosed() : this.#client.lastConnectionError ?? new FlagentError("the client has given up"));
      };
      this.#waiters.add(check);
      if (timeout !== undefined) {
        timer = setTimeout(() => {
          this.#waiters.delete(check);
          const { lastConnectionError } = this.#client;
          const reason = lastConnectionError === null ? "" : `: ${lastConnectionError.message}`;
          const options = lastConnectionError === null ? undefined : { cause: lastConnectionError };
          reject(new NotReady(`the store is ${this.status} after ${timeout} ms${reason}`, options));
        }, timeout);
      }
      check();
    });
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
    this.#driver.store.close();
    this.#driver.reportStatus();
    this.#client.detach(this.#driver);
  }
}
