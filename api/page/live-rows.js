// The rows of a table by their key, folded from the rows at the beginning and the events after them.

export class LiveRows {
  #entries = new Map(); // by the text of the key: {key, row, count, tone, sequence}

  get size() {
    return this.#entries.size;
  }

  /** The first entries: `{key, row}`; `row` is null where the values cannot be delivered. */
  first(count) {
    return [...this.#entries.values()].slice(0, count);
  }

  /** A row; in a table without a key, one more like it. `tone` is the colour of what has happened to it. */
  put(key, row, tone = "", sequence = null) {
    const name = JSON.stringify(key ?? row);
    const count = key === null ? (this.#entries.get(name)?.count ?? 0) + 1 : 1;
    this.#entries.set(name, { key, row, count, tone, sequence });
  }

  apply({ type, key, before, after, sequence = null }) {
    if (type === "table_truncated") return this.#entries.clear();
    const former = type === "row_inserted" || key === null || before === null ? key : Object.fromEntries(Object.keys(key).map((column) => [column, column in before ? before[column] : key[column]]));
    const name = JSON.stringify(former ?? before);
    const known = this.#entries.get(name);
    // A lane that is ordered when read may bring an older change later.
    if (sequence !== null && known?.sequence && BigInt(known.sequence) > BigInt(sequence)) return;
    const stays = type !== "row_deleted" && key !== null && JSON.stringify(key) === name;
    if (!stays && known && type !== "row_inserted") {
      if (known.count > 1) known.count--;
      else this.#entries.delete(name);
    }
    if (type !== "row_deleted") this.put(key, after, type === "row_inserted" ? "good" : "row", sequence);
  }
}
