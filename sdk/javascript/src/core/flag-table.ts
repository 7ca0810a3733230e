/** Flags by key and by id, and the changes since `changes` was last called. */
import { isSameFlag, type Flag } from "./flag.js";

export type ChangeKind = "created" | "updated" | "deleted";

/** A difference of one flag; bookkeeping (`snapshotID`, `updatedAt`, `updatedBy`) makes no difference. */
export interface FlagChange {
  readonly kind: ChangeKind;
  readonly key: string;
  /** The tenant's schema; null unless the server watches several. */
  readonly schema: string | null;
  /** Null for a created flag. */
  readonly before: Flag | null;
  /** Null for a deleted flag. */
  readonly after: Flag | null;
}

/**
 * A key and an id belong to one flag each. If the server watches several schemas, they are unique within a schema, and every
 * flag carries its schema; with one schema no flag carries it.
 */
export class FlagTable {
  hasSchemas = false;
  readonly #byKey: Map<string, Flag>;
  readonly #byId: Map<string, string>;
  /** The former flag under each key that was written since `changes` was last called. */
  #touched = new Map<string, Flag | undefined>();

  constructor(byKey = new Map<string, Flag>(), byId = new Map<string, string>()) {
    this.#byKey = byKey;
    this.#byId = byId;
  }

  get size(): number {
    return this.#byKey.size;
  }

  values(): IterableIterator<Flag> {
    return this.#byKey.values();
  }

  /** The present order of the flags, to pass to `changes` after several writes. */
  order(): string[] {
    return [...this.#byKey.keys()];
  }

  /** With several schemas a flag is found by its schema too. */
  get(key: string, schema?: string | null): Flag | undefined {
    return this.#byKey.get(this.#qualified(schema, key));
  }

  /** By id; as `get`. */
  find(id: number | string, schema?: string | null): Flag | undefined {
    return this.#byKey.get(this.#byId.get(this.#qualified(schema, String(id)))!);
  }

  /** Stores a flag under its present key; a flag that had the key before is removed. */
  put(flag: Flag): void {
    const key = this.#qualified(flag.schema, flag.key);
    const id = this.#qualified(flag.schema, String(flag.id));
    const former = this.#byKey.get(this.#byId.get(id)!);
    if (former !== undefined && former.key !== flag.key) this.drop(former);
    const holder = this.#byKey.get(key);
    if (holder !== undefined && holder.id !== flag.id) this.#byId.delete(this.#qualified(flag.schema, String(holder.id)));
    this.#touch(key);
    this.#byKey.set(key, flag);
    this.#byId.set(id, key);
  }

  drop(flag: Flag): void {
    const key = this.#qualified(flag.schema, flag.key);
    this.#touch(key);
    this.#byKey.delete(key);
    this.#byId.delete(this.#qualified(flag.schema, String(flag.id)));
  }

  /** Replaces all flags. `onlySchema` is the schema of the former flags, if they carried none and it is known. */
  replace(flags: readonly Flag[], onlySchema: string | null): void {
    const old = new Map(this.#byKey);
    const hadSchemas = this.hasSchemas;
    for (const key of old.keys()) this.#touch(key);
    this.#byKey.clear();
    this.#byId.clear();
    this.hasSchemas = flags.some((flag) => flag.schema !== undefined);
    for (const flag of flags) this.put(flag);
    if (hadSchemas !== this.hasSchemas) this.#respell(old, onlySchema);
  }

  /** If schemas appear or vanish, every key is spelled differently; that alone changes no flag. */
  #respell(old: Map<string, Flag>, onlySchema: string | null): void {
    for (const [key, flag] of this.#byKey) {
      if (this.hasSchemas && onlySchema !== null && flag.schema !== onlySchema) continue;
      const former = this.hasSchemas ? flag.key : [...old.keys()].find((name) => name.endsWith(`\0${flag.key}`));
      const before = old.get(former!);
      if (before?.id !== flag.id) continue;
      this.#touched.set(key, before);
      this.#touched.delete(former!);
      old.delete(former!);
    }
  }

  /** The changes since the last call, bookkeeping apart: in the order of the old state, then of the new. */
  changes(order: readonly string[]): FlagChange[] {
    const touched = this.#touched;
    if (touched.size === 0) return [];
    this.#touched = new Map();
    const former = touched.size > 1 ? order.filter((key) => touched.has(key)) : [];
    const existed = [...touched.keys()].filter((key) => touched.get(key) !== undefined);
    const changes: FlagChange[] = [];
    for (const name of new Set([...former, ...existed, ...touched.keys()])) {
      const before = touched.get(name) ?? null;
      const after = this.#byKey.get(name) ?? null;
      if (before === after || isSameFlag(before, after)) continue;
      const kind = before === null ? "created" : after === null ? "deleted" : "updated";
      const { key, schema = null } = (after ?? before)!;
      changes.push({ kind, key, schema, before, after });
    }
    return changes;
  }

  #touch(key: string): void {
    if (!this.#touched.has(key)) this.#touched.set(key, this.#byKey.get(key));
  }

  /** A key or an id, unique across schemas. */
  #qualified(schema: string | null | undefined, name: string): string {
    return this.hasSchemas ? `${schema ?? ""}\0${name}` : name;
  }
}
