/** Flags as a user interface reads them: consistent between two changes, and watched key by key. */
import type { FlagChange } from "./core/flag-table.js";
import { isSameFlag, type Flag } from "./core/flag.js";
import { readBootstrap } from "./core/saved-flags.js";
import { selectsFlag } from "./core/selection.js";
import type { StoreSource, StoreStatus } from "./core/store-core.js";
import { AmbiguousFlag } from "./errors.js";
import { FlagStore, type FlagStoreOptions } from "./flag-store.js";
import type { RealtimeClient } from "./realtime-client.js";

export interface FlagentStatus {
  readonly status: StoreStatus;
  readonly source: StoreSource | null;
}

type Flags = Map<string, Flag>;

const nameOf = (key: string, schema?: string | null) => (schema == null ? key : `${schema}\0${key}`);

/** Reads one state of flags; the methods of a store that evaluation needs. */
export class FlagReader {
  constructor(readonly flags: Flags, readonly position: string | null = null) {}

  get(key: string, schema?: string): Flag | undefined {
    const found = this.flags.get(nameOf(key, schema));
    if (found !== undefined || schema !== undefined) return found;
    const all = this.all().filter((flag) => flag.key === key);
    if (all.length > 1) throw new AmbiguousFlag(`the flag ${key}`, all.map((flag) => flag.schema ?? ""));
    return all[0];
  }

  find(id: number | string): Flag | undefined {
    return this.all().find((flag) => String(flag.id) === String(id));
  }

  all(): Flag[] {
    return [...this.flags.values()];
  }
}

/**
 * The state that components read. It changes only in `#apply`, all at once, so that two components never see different states, and a flag's object
 * changes only when the flag does. What a server renders, and a browser hydrates, is `initial`.
 */
export class FlagView {
  readonly initial: FlagReader;
  readonly initialStatus: FlagentStatus;
  /** Counts the states. */
  version = 0;
  current: FlagReader;
  status: FlagentStatus;
  store: FlagStore | null = null;
  readonly #options: FlagStoreOptions;
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #statusWatchers = new Set<() => void>();

  constructor(options: FlagStoreOptions) {
    this.#options = options;
    const flags: Flags = new Map();
    const given = options.bootstrap == null ? null : readBootstrap(options.bootstrap);
    // A damaged bootstrap is reported when the store begins.
    const isGiven = given !== null && typeof given !== "string";
    if (isGiven) for (const flag of given.flags) if (!flag.archived && selectsFlag(options, flag)) flags.set(nameOf(flag.key, flag.schema), flag);
    this.initial = this.current = new FlagReader(flags);
    this.initialStatus = this.status = isGiven ? { status: "STALE", source: "bootstrap" } : { status: "INITIALIZING", source: null };
  }

  /** Begins to follow a client; returns a function that ends it. `made`: close the client too. */
  follow(client: RealtimeClient, made: boolean): () => void {
    const store = new FlagStore(client, this.#options);
    const end = this.attach(store);
    return () => {
      end();
      store.close();
      if (made) client.close();
    };
  }

  /** Follows a store that somebody else closes. */
  attach(store: FlagStore): () => void {
    this.store = store;
    const detachChanges = store.onChange((changes) => this.#apply(changes));
    const detachStatus = store.onStatus(() => this.#read(store));
    this.#replace(store);
    this.#read(store);
    for (const watcher of [...this.#statusWatchers]) watcher();
    return () => {
      detachChanges();
      detachStatus();
      this.store = null;
    };
  }

  /** Calls `listener` after each change of one of the flags, whose keys are asked for again after each of their changes. */
  watch(keys: () => Iterable<string>, listener: () => void): () => void {
    let watched: string[] = [];
    const call = () => {
      leave();
      join();
      listener();
    };
    const join = () => {
      watched = [...keys()];
      for (const key of watched) {
        const watchers = this.#watchers.get(key) ?? new Set();
        this.#watchers.set(key, watchers.add(call));
      }
    };
    const leave = () => {
      for (const key of watched) {
        const watchers = this.#watchers.get(key);
        watchers?.delete(call);
        if (watchers?.size === 0) this.#watchers.delete(key);
      }
    };
    join();
    return leave;
  }

  watchStatus(listener: () => void): () => void {
    this.#statusWatchers.add(listener);
    return () => void this.#statusWatchers.delete(listener);
  }

  #replace(store: FlagStore): void {
    const changes: FlagChange[] = [];
    const before = new Map(this.current.flags);
    for (const flag of store.all()) {
      const name = nameOf(flag.key, flag.schema);
      const former = before.get(name);
      before.delete(name);
      if (former !== undefined && isSameFlag(former, flag)) continue;
      changes.push({ kind: "updated", key: flag.key, schema: flag.schema ?? null, before: former ?? null, after: flag });
    }
    if (store.source !== null) for (const flag of before.values()) changes.push({ kind: "deleted", key: flag.key, schema: flag.schema ?? null, before: flag, after: null });
    this.#apply(changes);
  }

  #apply(changes: readonly FlagChange[]): void {
    if (changes.length === 0) return;
    const { flags } = this.current;
    const isFirst = this.current === this.initial;
    const next: Flags = isFirst ? new Map(flags) : flags;
    const called = new Set<() => void>();
    for (const { key, schema, after } of changes) {
      const name = nameOf(key, schema);
      if (after === null) next.delete(name);
      else next.set(name, after);
      for (const watcher of this.#watchers.get(key) ?? []) called.add(watcher);
    }
    this.current = new FlagReader(next, this.store?.position ?? null);
    this.version++;
    for (const watcher of called) watcher();
  }

  #read(store: FlagStore): void {
    const { status, source } = store;
    if (status === this.status.status && source === this.status.source) return;
    this.status = { status, source };
    for (const watcher of [...this.#statusWatchers]) watcher();
  }
}
