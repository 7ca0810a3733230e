/** The rows of a table by their key, folded from the rows at the beginning and the events after them. Pure. */

export type Row = Readonly<Record<string, unknown>>;
export type RowKey = Readonly<Record<string, unknown>>;

export interface RowChange {
  readonly kind: "created" | "updated" | "deleted";
  /** Null in a table without a key. */
  readonly key: RowKey | null;
  /** Null for a created row, and where it could not be read. */
  readonly before: Row | null;
  /** Null for a deleted row, and where it could not be read. */
  readonly after: Row | null;
}

/** One row, and how often a table without a key has it. */
interface Entry {
  readonly key: RowKey | null;
  readonly row: Row | null;
  readonly count: number;
}

/** Equal for equal values; a whole number counts the same as a bigint. */
function textOf(value: unknown): string {
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return `[${value.map(textOf).join()}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  return `{${Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, item]) => `${JSON.stringify(name)}:${textOf(item)}`).join()}}`;
}

export class TableRows {
  #entries = new Map<string, Entry>();
  #keyColumns: string[] | null = null;

  /** The number of rows. */
  get size(): number {
    return this.#entries.size;
  }

  *rows(): IterableIterator<Row> {
    for (const { row, count } of this.#entries.values()) for (let n = 0; n < count && row !== null; n++) yield row;
  }

  /** By the value of a key of one column, or by the key's columns. Undefined where there is none, null where it could not be read. */
  get(key: unknown): Row | null | undefined {
    const isNamed = typeof key === "object" && key !== null && !Array.isArray(key);
    if (!isNamed && this.#keyColumns?.length !== 1) return undefined;
    return this.#entries.get(textOf(isNamed ? key : { [this.#keyColumns![0]!]: key }))?.row;
  }

  put(key: RowKey | null, row: Row | null): void {
    if (key !== null) this.#keyColumns ??= Object.keys(key);
    const name = textOf(key ?? row);
    const count = key === null ? (this.#entries.get(name)?.count ?? 0) + 1 : 1;
    this.#entries.set(name, { key, row, count });
  }

  /** Folds the event of a row in; returns what has changed. */
  apply(type: string, key: RowKey | null, before: Row | null, after: Row | null): RowChange[] {
    if (type === "table_truncated") return this.replace(new TableRows());
    const from = type === "row_inserted" ? key : this.#formerKey(key, before);
    // Where its key stays, a row keeps its place.
    const isSame = key !== null && type !== "row_deleted" && textOf(from) === textOf(key);
    const former = isSame ? this.#entries.get(textOf(key)) ?? null : this.#take(from, before, type === "row_inserted");
    if (type === "row_deleted") return former === null ? [] : [{ kind: "deleted", key: former.key, before: former.row, after: null }];
    this.put(key, after);
    if (former !== null && textOf(former.key) !== textOf(key)) {
      return [{ kind: "deleted", key: former.key, before: former.row, after: null }, { kind: "created", key, before: null, after }];
    }
    return [{ kind: former === null ? "created" : "updated", key, before: former?.row ?? null, after }];
  }

  /** Becomes `next`; returns the difference. */
  replace(next: TableRows): RowChange[] {
    const changes: RowChange[] = [];
    for (const [name, { key, row }] of this.#entries) if (!next.#entries.has(name)) changes.push({ kind: "deleted", key, before: row, after: null });
    for (const [name, { key, row, count }] of next.#entries) {
      const former = this.#entries.get(name);
      if (former !== undefined && former.count === count && textOf(former.row) === textOf(row)) continue;
      changes.push({ kind: former === undefined ? "created" : "updated", key, before: former?.row ?? null, after: row });
    }
    this.#entries = next.#entries;
    this.#keyColumns = next.#keyColumns ?? this.#keyColumns;
    return changes;
  }

  /** The key that a row had: an update may have changed it. */
  #formerKey(key: RowKey | null, before: Row | null): RowKey | null {
    if (key === null || before === null) return key;
    return Object.fromEntries(Object.keys(key).map((name) => [name, name in before ? before[name] : key[name]]));
  }

  #take(key: RowKey | null, row: Row | null, isNew: boolean): Entry | null {
    // A row without a key that is inserted takes the place of no other.
    if (key === null && isNew) return null;
    const name = textOf(key ?? row);
    const entry = this.#entries.get(name);
    if (entry === undefined) return null;
    if (entry.count > 1) this.#entries.set(name, { ...entry, count: entry.count - 1 });
    else this.#entries.delete(name);
    return entry;
  }
}
