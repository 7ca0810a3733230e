/** A live local copy of flags, and evaluation from it without the network. */
import type { RealtimeClient } from "./realtime-client.js";
import { evaluate, evaluateBatch, type BatchRequest, type EvaluationRequest, type EvaluationResult, type Surroundings } from "./core/evaluation.js";
import type { Flag } from "./core/flag.js";
import type { Change, Status } from "./core/store-core.js";
import { EVERYTHING, selectsFlags, type Selector } from "./core/selection.js";
import { ClientClosed, GaveUp, TimedOut } from "./errors.js";
import { View } from "./subscription.js";

/** Told of all differences that one commit or snapshot made. */
export type ChangeListener = (changes: readonly Change[]) => unknown;
export type StatusListener = (status: Status) => unknown;

const SURROUNDINGS: Surroundings = {
  newEntityID: () => `randomly_generated_${crypto.getRandomValues(new Int32Array(1))[0]}`,
  timestamp: () => new Date().toISOString(),
};

/**
 * `READY` means that the copy is complete and the server can prove that it is fresh; every other status tells that it
 * may be behind. What it holds stays readable in every status, also after `close`.
 */
export class FlagStore implements Iterable<Flag> {
  private readonly view: View;
  private readonly detach: () => void;
  private readonly changeListeners = new Set<ChangeListener>();
  private readonly statusListeners = new Set<StatusListener>();
  /** Called at once, not in the handlers' turn: a slow handler must not delay `ready`. */
  private readonly waiters = new Set<() => void>();

  /** `selector` = which flags to keep: by key, id or tag; all by default. A part cannot check itself by digest. */
  constructor(private readonly client: RealtimeClient, selector: Selector = EVERYTHING) {
    if (!selectsFlags(selector)) throw new TypeError("a store selects flags: by flags, flagIDs, tags, or all");
    this.view = new View(selector, null, (changes) => {
      for (const listener of this.changeListeners) client.dispatch(() => listener(changes));
    }, (status) => {
      for (const waiter of this.waiters) waiter();
      for (const listener of this.statusListeners) client.dispatch(() => listener(status));
    });
    this.detach = client.attach(this.view);
  }

  /** `INITIALIZING` before the first snapshot, `READY`, `STALE` while freshness is not proven, `ERROR` when the client has given up, `CLOSED`. */
  get status(): Status {
    return this.view.replica.status;
  }

  /** How many flags there are. */
  get size(): number {
    return this.view.replica.size;
  }

  /** The id up to which the copy is complete; null before the first snapshot. */
  get cursor(): string | null {
    return this.view.replica.cursor;
  }

  /** The flag with this key; undefined where there is none. `schema` matters only where the server watches several. */
  get(key: string, schema?: string): Flag | undefined {
    return this.view.replica.get(key, schema);
  }

  has(key: string, schema?: string): boolean {
    return this.get(key, schema) !== undefined;
  }

  /** All flags, as of this moment and in no particular order. */
  all(): Flag[] {
    return [...this.view.replica.values()];
  }

  [Symbol.iterator](): IterableIterator<Flag> {
    return this.all()[Symbol.iterator]();
  }

  /** `<count>:<hex8>`, equal to the server's for the same flags. */
  digest(): string {
    return this.view.replica.digest();
  }

  /**
   * Resolves when the copy is ready; rejects when the client gives up or is closed, or after `timeout` milliseconds with
   * `TimedOut`, whose `cause` is why the last connection failed, where one did.
   */
  ready({ timeout }: { timeout?: number } = {}): Promise<this> {
    return new Promise((resolve, reject) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const check = () => {
        const { status } = this;
        if (status === "INITIALIZING" || status === "STALE") return;
        this.waiters.delete(check);
        clearTimeout(timer);
        if (status === "READY") resolve(this);
        else reject(status === "CLOSED" ? new ClientClosed() : this.client.trouble ?? new GaveUp("the client has given up"));
      };
      this.waiters.add(check);
      if (timeout !== undefined) {
        timer = setTimeout(() => {
          this.waiters.delete(check);
          const { trouble } = this.client;
          const why = trouble === null ? "" : `; ${trouble.message}`;
          reject(new TimedOut(`the store is ${this.status} after ${timeout} ms${why}`, { cause: trouble ?? undefined }));
        }, timeout);
      }
      check();
    });
  }

  /** Hears every difference, once per commit or snapshot. Returns how to stop. */
  onChange(listener: ChangeListener): () => void {
    this.changeListeners.add(listener);
    return () => void this.changeListeners.delete(listener);
  }

  /** Hears every new status, in turn with the client's handlers. Returns how to stop. */
  onStatus(listener: StatusListener): () => void {
    this.statusListeners.add(listener);
    return () => void this.statusListeners.delete(listener);
  }

  /** What the server would answer, from the copy. A dependency that the store does not select blocks. */
  evaluate(request: EvaluationRequest): EvaluationResult;
  evaluate(flagKey: string, entityID: string, entityContext?: EvaluationRequest["entityContext"]): EvaluationResult;
  evaluate(what: EvaluationRequest | string, entityID?: string, entityContext?: EvaluationRequest["entityContext"]): EvaluationResult {
    const request = typeof what === "string" ? { flagKey: what, entityID: entityID ?? null, entityContext: entityContext ?? null } : what;
    return evaluate(this.view.replica, request, SURROUNDINGS);
  }

  /** `evaluate` for several flags and entities, in the server's order: what the tags select entity by entity, then each id and each key for all entities. */
  evaluateBatch(request: BatchRequest): EvaluationResult[] {
    return evaluateBatch(this.view.replica, request, SURROUNDINGS);
  }

  /** Ends the copy; the client goes on. */
  close(): void {
    this.view.replica.closed();
    this.view.settle();
    this.detach();
  }
}
