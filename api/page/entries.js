// The latest events, newest last. All events of one commit about one flag are one entry; each row it changed in a watched
// table is an entry, up to a few for each table.
import { columnDifference, difference, rowDifference } from "./difference.js";
import { elapsedMs, microseconds } from "./words.js";

const MOST_ENTRIES = 400;
// For one commit and table, so that a bulk change does not push out everything else.
const MOST_ROWS = 8;

/** An entry: `{types, position, index, log, at, committedAt, sentAfterMs, fields}`, `at` in microseconds. Of a flag also
 *  `{id, key, schema, before, after}`; of a row `{table, key, user, application, transaction, more}`, `more` the number of
 *  rows of its commit that are not shown. A note is `{text, shownAt, at, index}`. */
export class Entries {
  list = [];

  /** Add a note about a gap between the entries before and after it. */
  note(text) {
    this.list.push({ text, shownAt: new Date(), at: this.list.at(-1)?.at ?? 0, index: 0 });
  }

  /** Add an event of a flag and its change of the catalog. Returns `{entry, isNew}`. */
  addFlag(event, change, isReplay) {
    const made = { ...entryOf(event, isReplay), id: change.id, key: event.flagKey, schema: change.schema, before: change.before, after: change.after };
    const same = this.#findLast(made, (entry) => entry.id === change.id);
    if (!same) return this.#insert(made);
    same.types.push(event.type);
    same.after = change.after;
    same.key = event.flagKey;
    same.fields = null;
    return { entry: same, isNew: false };
  }

  /** Add an event of a row. Returns `{entry, isNew}`. */
  addRow(event, isReplay, masked) {
    const { table, key, user, application, transaction } = event;
    const made = { ...entryOf(event, isReplay), table, key, user, application, transaction, nth: 1, more: 0 };
    const last = this.#findLast(made, (entry) => entry.table === table);
    if (last?.nth === MOST_ROWS) {
      last.more++;
      return { entry: last, isNew: false };
    }
    if (last) made.nth = last.nth + 1;
    made.fields = event.type === "schema_changed" ? columnDifference(event) : rowDifference(event, masked);
    return this.#insert(made);
  }

  clear() {
    this.list = [];
  }

  /** Drop the rows of a table. */
  forget(table) {
    this.list = this.list.filter((entry) => entry.table !== table);
  }

  /** The newest entry of the same commit that matches. */
  #findLast(made, matches) {
    for (let place = this.list.length - 1; place >= 0 && order(this.list[place], made) >= 0; place--) {
      const entry = this.list[place];
      if (entry.position === made.position && entry.log === made.log && matches(entry)) return entry;
    }
    return null;
  }

  #insert(entry) {
    let place = this.list.length;
    // Flags and rows arrive on two connections, so those of one commit arrive in either order.
    while (place > 0 && (order(this.list[place - 1], entry) || this.list[place - 1].index - entry.index) > 0) place--;
    this.list.splice(place, 0, entry);
    if (this.list.length > MOST_ENTRIES) this.list.splice(0, this.list.length - MOST_ENTRIES);
    return { entry, isNew: true };
  }
}

/** The order of two entries: by position within one log, by time across logs, whose positions are not comparable. */
function order(one, other) {
  return one.log === other.log ? Number(one.position) - Number(other.position) : one.at - other.at;
}

function entryOf(event, isReplay) {
  const [place, log] = event.id.split(/[@.]/);
  const [position, index] = place.split("-");
  return {
    types: [event.type],
    position,
    index: Number(index),
    log,
    at: microseconds(event.committedAt),
    committedAt: new Date(event.committedAt),
    sentAfterMs: event.sentAt && !isReplay ? elapsedMs(event.committedAt, event.sentAt) : null,
    fields: null,
  };
}

/** The differences of an entry, field by field. */
export function fieldsOf(entry) {
  entry.fields ??= difference(entry.before, entry.after);
  return entry.fields;
}
