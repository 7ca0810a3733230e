/** Flags by key and by id, and what changed since it was last asked. */
import { canonicalFlag } from "./digest.js";
import type { Flag } from "./flag.js";

/** How one flag differs from what a copy held before; bookkeeping (`snapshotID`, `updatedAt`, `updatedBy`) is no difference. */
export interface Change {
  readonly kind: "created" | "updated" | "deleted";
  readonly key: string;
  /** The flag now; null when it is gone. */
  readonly flag: Flag | null;
  /** The flag before; null when it is new. */
  readonly before: Flag | null;
}

/**
 * A key and an id belong to one flag each. Where the server watches several schemas, that is so within each, and every
 * flag carries its schema; with one schema no flag does.
 */
export class FlagTable {
  hasSchemas = false;
  private readonly byKey = new Map<string, Flag>();
  private readonly byId = new Map<string, string>();
  /** What stood at each place that was written since `changes` was last asked. */
  private touched = new Map<string, Flag | undefined>();

  get size(): number {
    return this.byKey.size;
  }

  values(): IterableIterator<Flag> {
    return this.byKey.values();
  }

  /** The order of the flags now, to be handed to `changes` after several writes. */
  order(): string[] {
    return [...this.byKey.keys()];
  }

  /** Raises RangeError where several schemas have the key and none is named. */
  get(key: string, schema?: string): Flag | undefined {
    if (!this.hasSchemas) return this.byKey.get(key);
    if (schema !== undefined) return this.byKey.get(place(schema, key));
    return this.only((flag) => flag.key === key, `a flag ${key}`);
  }

  /** By id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    if (!this.hasSchemas) return this.at(this.byId.get(String(id)));
    if (schema !== undefined) return this.at(this.byId.get(place(schema, String(id))));
    return this.only((flag) => String(flag.id) === String(id), `a flag with the id ${id}`);
  }

  /** Takes a flag in, under its present key; whoever had that key before loses it. */
  put(flag: Flag): void {
    const key = this.place(flag, flag.key);
    const id = this.place(flag, String(flag.id));
    const former = this.at(this.byId.get(id));
    if (former !== undefined && former.key !== flag.key) this.drop(former);
    const holder = this.byKey.get(key);
    if (holder !== undefined && holder.id !== flag.id) this.byId.delete(this.place(flag, String(holder.id)));
    this.touch(key);
    this.byKey.set(key, flag);
    this.byId.set(id, key);
  }

  drop(flag: Flag): void {
    const key = this.place(flag, flag.key);
    this.touch(key);
    this.byKey.delete(key);
    this.byId.delete(this.place(flag, String(flag.id)));
  }

  /** Takes these flags instead of all others. `onlySchema` is the schema that flags without one were of, where known. */
  replace(flags: readonly Flag[], onlySchema: string | null): void {
    const old = new Map(this.byKey);
    const hadSchemas = this.hasSchemas;
    for (const key of old.keys()) this.touch(key);
    this.byKey.clear();
    this.byId.clear();
    this.hasSchemas = flags.some((flag) => flag.schema !== undefined);
    for (const flag of flags) this.put(flag);
    if (hadSchemas !== this.hasSchemas) this.respell(old, onlySchema);
  }

  /** Where schemas appear or vanish every place has another name; a flag that stays is no change for that. */
  private respell(old: Map<string, Flag>, onlySchema: string | null): void {
    for (const [key, flag] of this.byKey) {
      if (this.hasSchemas && onlySchema !== null && flag.schema !== onlySchema) continue;
      const former = this.hasSchemas ? flag.key : [...old.keys()].find((name) => name.endsWith(`\0${flag.key}`));
      const before = former === undefined ? undefined : old.get(former);
      if (before === undefined || before.id !== flag.id) continue;
      this.touched.set(key, before);
      this.touched.delete(former!);
      old.delete(former!);
    }
  }

  /** The difference since it was last asked, by canonical text: in the order of the old state, then of the new. */
  changes(order: readonly string[]): Change[] {
    const { touched } = this;
    if (touched.size === 0) return [];
    this.touched = new Map();
    const former = touched.size > 1 ? order.filter((key) => touched.has(key)) : [];
    const held = [...touched.keys()].filter((key) => touched.get(key) !== undefined);
    const changes: Change[] = [];
    for (const key of new Set([...former, ...held, ...touched.keys()])) {
      const before = touched.get(key) ?? null;
      const flag = this.byKey.get(key) ?? null;
      if (before === null && flag === null) continue;
      if (before !== null && flag !== null && (before === flag || canonicalFlag(before) === canonicalFlag(flag))) continue;
      const kind = before === null ? "created" : flag === null ? "deleted" : "updated";
      changes.push({ kind, key: (flag ?? before)!.key, flag, before });
    }
    return changes;
  }

  private only(matches: (flag: Flag) => boolean, what: string): Flag | undefined {
    const found = [...this.byKey.values()].filter(matches);
    if (found.length > 1) throw new RangeError(`several schemas have ${what}; name one`);
    return found[0];
  }

  private touch(key: string): void {
    if (!this.touched.has(key)) this.touched.set(key, this.byKey.get(key));
  }

  private at(key: string | undefined): Flag | undefined {
    return key === undefined ? undefined : this.byKey.get(key);
  }

  private place(flag: Flag, name: string): string {
    return this.hasSchemas ? place(flag.schema ?? "", name) : name;
  }
}

function place(schema: string, name: string): string {
  return `${schema}\0${name}`;
}
