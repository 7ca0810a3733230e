// The list of events: filtered, newest first.
import { valueText } from "./difference.js";
import { byId, element, oncePerFrame, setText } from "./dom.js";
import { Entries, fieldsOf } from "./entries.js";
import { TYPES, clockText, durationText, plural, typeOf } from "./words.js";

const MOST_FIELDS = 12;
const MOST_OF_WHOLE = 3;

export class EventList {
  #open;
  #entries = new Entries();
  #nodes = new Map();
  #query = "";
  #hidden = new Set();
  #hiddenTables = new Set();
  #paused = null; // the entries shown while paused, null otherwise
  #missed = 0;
  #stale = new Set();
  #draw = oncePerFrame(() => this.#render());

  /** `open(id, key, schema)` shows a flag. */
  constructor(open) {
    this.#open = open;
    byId("event-search").addEventListener("input", (event) => {
      this.#query = event.target.value.trim().toLowerCase();
      this.#refilter();
    });
    byId("pause").addEventListener("click", () => this.togglePause());
    byId("clear").addEventListener("click", () => this.clear());
    for (const [type, description] of Object.entries(TYPES)) byId(description.isOfRows ? "row-types" : "event-types").append(this.#chip(type, description));
  }

  #chip(type, { word, tone }) {
    const chip = element("button", { type: "button", class: "chip", "data-tone": tone, "aria-pressed": "true" }, word);
    chip.addEventListener("click", () => {
      const isOn = this.#hidden.has(type);
      this.#hidden[isOn ? "delete" : "add"](type);
      chip.setAttribute("aria-pressed", String(isOn));
      this.#refilter();
    });
    return chip;
  }

  /** Add an event of a flag and its change of the catalog. */
  addFlag(event, change, isReplay) {
    this.#changed(this.#entries.addFlag(event, change, isReplay));
  }

  /** Add an event of a row; `masked` names the columns whose values are hidden. */
  addRow(event, isReplay, masked) {
    this.#changed(this.#entries.addRow(event, isReplay, masked));
  }

  #changed({ entry, isNew }) {
    if (!isNew) this.#stale.add(entry);
    else if (this.#paused) this.#missed++;
    this.#draw();
  }

  /** Insert events from before the page was opened: `[event, change]`, oldest first. */
  addPast(past) {
    for (const [event, change] of past) this.#entries.addFlag(event, change, true);
    this.#draw();
  }

  /** Like `addPast`, for rows; `masked(table)` names the columns whose values are hidden. */
  addPastRows(past, masked) {
    for (const event of past) this.#entries.addRow(event, true, masked(event.table));
    this.#draw();
  }

  /** Add a note about a gap in the list. */
  note(text) {
    this.#entries.note(text);
    this.#draw();
  }

  /** Hide the rows of these tables. */
  hideTables(names) {
    this.#hiddenTables = names;
    this.#draw();
  }

  /** Drop the rows of a table. */
  forgetTable(name) {
    this.#entries.forget(name);
    this.#draw();
  }

  searchFor(text) {
    byId("event-search").value = text;
    this.#query = text.toLowerCase();
    this.#refilter();
  }

  clear() {
    this.#entries.clear();
    if (this.#paused) this.#paused = [];
    this.#missed = 0;
    this.#draw();
  }

  togglePause() {
    this.#paused = this.#paused ? null : [...this.#entries.list];
    this.#missed = 0;
    byId("pause").setAttribute("aria-pressed", String(this.#paused !== null));
    this.#draw();
  }

  #refilter() {
    byId("event-list").scrollTop = 0;
    this.#draw();
  }

  #matches(entry) {
    if (entry.text !== undefined) return !this.#query;
    if (entry.types.every((type) => this.#hidden.has(type))) return false;
    if (this.#hiddenTables.has(entry.table)) return false;
    if (!this.#query) return true;
    const tags = entry.table === undefined ? ((entry.after ?? entry.before)?.tags ?? []).map((tag) => tag.value.toLowerCase()) : [];
    const texts = textsOf(entry).map((text) => String(text).toLowerCase());
    return this.#query.split(/\s+/).every((word) => (word.startsWith("#") ? tags.some((tag) => tag.startsWith(word.slice(1))) : texts.some((text) => text.includes(word))));
  }

  #render() {
    setText(byId("pause"), this.#paused ? (this.#missed ? `Resume · ${this.#missed} new` : "Resume") : "Pause");
    const list = byId("event-list");
    const shown = this.#paused ?? this.#entries.list;
    const wanted = shown.filter((entry) => this.#matches(entry));
    if (!this.#paused) {
      for (const entry of this.#stale) {
        this.#nodes.get(entry)?.remove();
        this.#nodes.delete(entry);
      }
      this.#stale.clear();
    }
    const kept = new Set(wanted);
    for (const [entry, node] of this.#nodes) {
      if (!kept.has(entry)) {
        node.remove();
        this.#nodes.delete(entry);
      }
    }
    // A reader who has scrolled down keeps the scroll position; at the top, new entries push the others down.
    const read = list.scrollTop > 8 ? [...list.children].find((node) => node.offsetTop + node.offsetHeight > list.scrollTop) : null;
    const top = read?.offsetTop;
    // Oldest first, from the end of the list; a node in the right place is not moved.
    let below = null;
    for (const entry of wanted) {
      let node = this.#nodes.get(entry);
      if (!node) this.#nodes.set(entry, (node = this.#nodeOf(entry)));
      if (node.nextElementSibling !== below || node.parentNode !== list) list.insertBefore(node, below);
      below = node;
    }
    if (read?.parentNode === list) list.scrollTop += read.offsetTop - top;
    const none = byId("event-none");
    none.hidden = this.#nodes.size > 0;
    setText(none, shown.length ? "No event matches." : "Nothing has changed yet. Every committed change to a flag appears here, from any writer.");
  }

  #nodeOf(entry) {
    if (entry.text !== undefined) return element("li", { class: "event note" }, element("time", {}, clockText(entry.shownAt)), ` ${entry.text}`);
    const isRow = entry.table !== undefined;
    return element(
      "li",
      { class: "event", "data-tone": typeOf(entry.types.at(-1)).tone, "data-position": entry.position },
      element(
        "p",
        { class: "event-head" },
        isRow ? this.#tableNode(entry) : this.#flagNode(entry),
        [...new Set(entry.types)].map((type) => element("span", { class: "badge", "data-tone": typeOf(type).tone }, typeOf(type).word)),
        element("span", { class: "event-meta" }, latencyText(entry), element("time", { datetime: entry.committedAt.toISOString() }, clockText(entry.committedAt)), element("span", { class: "position", title: "Position in the change log" }, `#${entry.position}`)),
      ),
      isRow ? rowContent(entry) : flagContent(entry),
    );
  }

  #flagNode({ id, key, schema }) {
    return element("button", { type: "button", class: "event-key", onclick: () => this.#open(id, key, schema) }, schema ? `${schema}.${key}` : key);
  }

  #tableNode({ table, key }) {
    const parts = Object.entries(key ?? {}).map(([column, value]) => `${column} ${valueText(value)}`);
    return [
      element("button", { type: "button", class: "event-key", title: "Show events of this table", onclick: () => this.searchFor(table) }, table),
      parts.length ? element("span", { class: "row-key" }, parts.join(", ")) : null,
    ];
  }
}

function flagContent(entry) {
  const fields = fieldsOf(entry);
  return fields.length ? fieldTable(fields, entry.before === null || entry.after === null) : element("p", { class: "hint" }, "No visible difference.");
}

function rowContent({ types: [type], fields, user, application, transaction, more }) {
  const nothing = { row_updated: "Only in masked columns.", table_truncated: "All rows were removed.", schema_changed: "Rows were rewritten." }[type] ?? "No other visible column.";
  return [
    fields.length ? fieldTable(fields, !["row_updated", "schema_changed"].includes(type)) : element("p", { class: "hint" }, nothing),
    element("p", { class: "who" }, element("b", {}, user), application ? ` · ${application}` : "", ` · transaction ${transaction}`),
    more ? element("p", { class: "hint" }, `and ${plural(more, "more row")} of this commit`) : null,
  ];
}

/** The texts that the filter searches. */
function textsOf(entry) {
  const named = entry.table === undefined ? [entry.key, entry.schema] : [entry.table, entry.user, entry.application, entry.transaction, ...Object.values(entry.key ?? {}).map(valueText)];
  return [...named, ...entry.types, ...entry.types.map((type) => typeOf(type).word), ...fieldsOf(entry).map(({ name, before, after }) => `${name} ${before ?? ""} ${after ?? ""}`)];
}

function latencyText(entry) {
  if (entry.sentAfterMs === null) return null;
  return element("span", { class: "latency", title: "From commit to sending" }, durationText(entry.sentAfterMs));
}

/** The differences as a list: name, before → after. For a created or deleted flag, only the first ones. */
export function fieldTable(fields, isWhole) {
  const most = isWhole ? MOST_OF_WHOLE : MOST_FIELDS;
  const table = (some) => element("dl", { class: "fields" }, some.map(fieldRow));
  if (fields.length <= most + 1) return table(fields);
  return [
    table(fields.slice(0, most)),
    element("details", {}, element("summary", {}, `and ${fields.length - most} more`), table(fields.slice(most))),
  ];
}

function fieldRow({ name, before, after, isMasked }) {
  const shade = isMasked ? "masked" : null;
  return element(
    "div",
    {},
    element("dt", {}, name),
    element(
      "dd",
      {},
      before === null ? null : element("del", { class: shade }, before),
      before === null || after === null ? null : element("span", { class: "arrow" }, " → "),
      after === null ? null : element("ins", { class: shade }, after),
    ),
  );
}
