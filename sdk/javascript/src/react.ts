"use client";
/** Flags in React: a provider, and hooks that render a component only when what it reads has changed. Needs the package `react`. */
import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useState, useSyncExternalStore, type ReactNode } from "react";
import type { Flag } from "./core/flag.js";
import { LocalEvaluation, type Entity, type ExposureHandler } from "./evaluation.js";
import { FlagView, type FlagentStatus, type FlagReader } from "./flag-view.js";
import type { FlagStore, FlagStoreOptions } from "./flag-store.js";
import type { StoreStatus } from "./core/store-core.js";
import type { RealtimeClient } from "./realtime-client.js";
import { TableStore, type Row, type TableStoreOptions } from "./table-store.js";

export type { FlagentStatus } from "./flag-view.js";

export interface FlagentProviderProps {
  /** A function that makes the client, which is called in the browser alone, and whose client is closed with the provider; or a client that stays open. */
  readonly client?: RealtimeClient | (() => RealtimeClient);
  /** A store of the application in place of a client; it stays open. */
  readonly store?: FlagStore;
  /** What the store holds, and what it begins with. A server renders its `bootstrap`, and a browser that hydrates begins with it. */
  readonly options?: FlagStoreOptions;
  /** Whom `useVariant` evaluates for. */
  readonly entity?: Entity;
  /** Called after `useVariant` has shown a variant, once per flag, entity and variant within an hour. */
  readonly onExposure?: ExposureHandler;
  readonly children?: ReactNode;
}

/** A variant of a flag, as `useVariant` returns it. */
export interface ChosenVariant {
  readonly key: string | null;
  readonly attachment: Readonly<Record<string, string>> | null;
  readonly segmentID: number | null;
}

interface Shared {
  readonly view: FlagView;
  readonly entity: Entity | undefined;
  readonly onExposure: ExposureHandler | undefined;
}

const Context = createContext<Shared | null>(null);

/**
 * Gives the components below it live flags. The client and the options are those of the first render: a `key` makes a new provider. Only a mounted provider
 * has a connection, one also where StrictMode mounts twice; a server has none.
 */
export function FlagentProvider({ client, store, options, entity, onExposure, children }: FlagentProviderProps): ReactNode {
  if ((client === undefined) === (store === undefined)) throw new TypeError("FlagentProvider needs either a client or a store");
  const [first] = useState({ client, store });
  const [view] = useState(() => new FlagView(options ?? { all: true }));
  useEffect(() => {
    if (first.store !== undefined) return view.attach(first.store);
    const made = typeof first.client === "function";
    return view.follow(made ? (first.client as () => RealtimeClient)() : (first.client as RealtimeClient), made);
  }, [view, first]);
  // An entity that is written in place is another object at each render.
  const text = JSON.stringify(entity, (_, value) => (typeof value === "bigint" ? String(value) : value));
  const shared = useMemo<Shared>(() => ({ view, entity, onExposure }), [view, text, onExposure]);
  return createElement(Context.Provider, { value: shared }, children);
}

function useShared(): Shared {
  const shared = useContext(Context);
  if (shared === null) throw new Error("there is no FlagentProvider above this component");
  return shared;
}

/** The flag with this key; undefined where there is none. Renders when this flag changes, and only then. */
export function useFlag(key: string, schema?: string): Flag | undefined {
  const { view } = useShared();
  const subscribe = useCallback((listener: () => void) => view.watch(() => [key], listener), [view, key]);
  return useSyncExternalStore(subscribe, () => view.current.get(key, schema), () => view.initial.get(key, schema));
}

/**
 * The variant of a flag for the provider's entity, or for this one; null where it has none. Renders when the variant changes, and only then. It evaluates
 * in the browser: only who uses it pays for the size of that.
 */
export function useVariant(flagKey: string, entity?: Entity): ChosenVariant | null {
  const { view, entity: general, onExposure } = useShared();
  const whom = entity ?? general;
  const text = JSON.stringify(whom, (_, value) => (typeof value === "bigint" ? String(value) : value));
  const choice = useMemo(() => new VariantChoice(view, flagKey, whom, onExposure), [view, flagKey, text, onExposure]);
  return useSyncExternalStore(choice.subscribe, choice.current, choice.initial);
}

/** How far the flags can be trusted, and where they come from. Renders when either changes. */
export function useFlagentStatus(): FlagentStatus {
  const { view } = useShared();
  const subscribe = useCallback((listener: () => void) => view.watchStatus(listener), [view]);
  return useSyncExternalStore(subscribe, () => view.status, () => view.initialStatus);
}

/** The store behind the hooks; null on a server and before the provider is mounted. */
export function useFlagStore(): FlagStore | null {
  const { view } = useShared();
  const subscribe = useCallback((listener: () => void) => view.watchStatus(listener), [view]);
  return useSyncExternalStore(subscribe, () => view.store, () => null);
}

/** The rows of a table, and how far they can be trusted. */
export interface TableView {
  readonly rows: readonly Row[];
  readonly status: StoreStatus;
}

const NO_TABLE: TableView = Object.freeze({ rows: [], status: "INITIALIZING" });

/**
 * The live rows of a watched table that a filter selects, over a connection of its own while the component is mounted. Renders when a row or the status changes.
 * Only who uses it pays for the size of a table store.
 */
export function useTable(table: string, options: TableStoreOptions = {}): TableView {
  const store = useFlagStore();
  const text = JSON.stringify(options, (_, value) => (typeof value === "bigint" ? String(value) : value));
  const [shown, show] = useState<TableView>(NO_TABLE);
  useEffect(() => {
    if (store === null) return;
    const rows = new TableStore(store.client, table, options);
    const read = () => show({ rows: rows.rows, status: rows.status });
    const detach = [rows.onChange(read), rows.onStatus(read)];
    return () => {
      for (const one of detach) one();
      rows.close();
    };
  }, [store, table, text]);
  return shown;
}

/** One evaluation that is repeated when its flag, or one that it depends on, has changed. */
class VariantChoice {
  readonly #view: FlagView;
  readonly #flagKey: string;
  readonly #entity: Entity;
  readonly #shared: SharedEvaluation;
  #version = -1;
  #chosen: ChosenVariant | null = null;
  #initial: ChosenVariant | null | undefined;

  constructor(view: FlagView, flagKey: string, entity: Entity | undefined, onExposure: ExposureHandler | undefined) {
    if (entity?.entityID === undefined || entity.entityID === null) throw new TypeError(`useVariant("${flagKey}") needs an entity with an entityID, its own or the provider's`);
    this.#view = view;
    this.#flagKey = flagKey;
    this.#entity = entity;
    this.#shared = evaluationOf(view, onExposure);
  }

  readonly subscribe = (listener: () => void) => this.#view.watch(() => this.#dependencies(), listener);

  readonly current = () => {
    if (this.#version !== this.#view.version) {
      this.#version = this.#view.version;
      const chosen = this.#evaluate(this.#view.current);
      if (JSON.stringify(chosen) !== JSON.stringify(this.#chosen)) this.#chosen = chosen;
    }
    return this.#chosen;
  };

  readonly initial = () => {
    if (this.#initial === undefined) {
      const chosen = this.#evaluate(this.#view.initial);
      // Where nothing has changed since, both are one object, so that hydration renders once.
      this.#initial = JSON.stringify(chosen) === JSON.stringify(this.current()) ? this.#chosen : chosen;
    }
    return this.#initial;
  };

  #evaluate(reader: FlagReader): ChosenVariant | null {
    this.#shared.reader = reader;
    const { variantID, variantKey, variantAttachment, segmentID } = this.#shared.evaluation.evaluate({ ...this.#entity, flagKey: this.#flagKey });
    return variantID === null ? null : { key: variantKey, attachment: variantAttachment, segmentID };
  }

  #dependencies(): Set<string> {
    const keys = new Set([this.#flagKey]);
    // A set that grows while it is read is read to its end.
    for (const key of keys) for (const more of this.#view.current.flags.get(key)?.dependsOn ?? []) keys.add(more);
    return keys;
  }
}

/** One evaluation per provider and handler, so that all its components share the window in which an exposure is reported once. */
interface SharedEvaluation {
  /** The state to evaluate. */
  reader: FlagReader;
  readonly evaluation: LocalEvaluation;
}

const evaluations = /* @__PURE__ */ new WeakMap<FlagView, Map<ExposureHandler | undefined, SharedEvaluation>>();

function evaluationOf(view: FlagView, onExposure: ExposureHandler | undefined): SharedEvaluation {
  const ofView = evaluations.get(view) ?? new Map<ExposureHandler | undefined, SharedEvaluation>();
  evaluations.set(view, ofView);
  const known = ofView.get(onExposure);
  if (known !== undefined) return known;
  const shared: SharedEvaluation = {
    reader: view.current,
    evaluation: new LocalEvaluation({
      get: (key, schema) => shared.reader.get(key, schema), find: (id) => shared.reader.find(id), all: () => shared.reader.all(),
      get position() { return shared.reader.position; },
    }),
  };
  if (onExposure !== undefined) shared.evaluation.onExposure(onExposure);
  ofView.set(onExposure, shared);
  return shared;
}
